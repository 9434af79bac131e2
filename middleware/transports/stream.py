"""
One connection's bytes, on asyncio's own transports: connected, checked before use, buffered, aborted.

What asyncio's streams and HTTP libraries' backends cannot: abort at once, whatever the connection is doing, and detect
a stale one.
"""

import asyncio
import select
import socket
import ssl
from contextvars import Context

import anyio

from middleware._internal.detached import detached

from .connecting import open_socket
from .exhaustion import as_exhausted
from .resolver import Resolver

__all__ = ["ConnectError", "ConnectTimeout", "Stream"]

_PAUSE_ABOVE = 128 * 1024
_TICKETS = 4  # iterations of the event loop that read what follows a handshake; servers send two tickets at most


class ConnectError(OSError):
    """No connection; no byte of a request was sent."""


class ConnectTimeout(TimeoutError):  # noqa: N818 - the name that the httpx family gave it, which texts show
    """No connection in time."""


class Stream(asyncio.Protocol):
    """
    One connection: connects itself, and buffers what arrives until it is read.

    Args:
        by_tls: Whether a TLS handshake comes before the first byte of a request.
    """

    def __init__(self, *, by_tls: bool) -> None:
        self._by_tls = by_tls
        self._connect_by = float("inf")
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._poll = select.poll()
        self._received = b""
        self._ended = False
        self._error: Exception | None = None
        self._aborted = False
        self._paused_reading = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_stale(self) -> bool:
        """
        True when an idle connection cannot be used: the peer closed it, or sent bytes that belong to no request.

        The operating system is asked too: it knows before the event loop does.
        """
        return bool(self._received) or self._is_gone or bool(self._poll.poll(0))

    def abort(self) -> None:
        """
        Close now, without waiting for the peer or for unsent data; idempotent.

        Also once the event loop is closed, which closes no socket by itself.
        """
        self._aborted = True
        if self._transport is None:
            return
        try:
            self._transport.abort()
        except RuntimeError:  # the event loop is closed
            assert self._socket is not None  # noqa: S101 - it has a transport
            self._socket.close()

    async def connect(self, resolver: Resolver, host: str, port: int, seconds: float) -> None:
        """
        Connect; *seconds* also bounds the TLS handshakes that follow.

        Raises:
            ConnectTimeout: Not in time.
            ConnectError: Not at all.
            OSError: This process lacks the means.
        """
        await detached(self._connect(resolver, host, port, seconds))  # a connection outlives the call that opens it

    async def _connect(self, resolver: Resolver, host: str, port: int, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._connect_by = loop.time() + seconds
        try:
            with anyio.fail_after(seconds):
                self._socket = await open_socket(await resolver.resolve(host, port))
                await loop.create_connection(lambda: self, sock=self._socket)
        except TimeoutError:
            raise ConnectTimeout("no connection in time") from None
        except (OSError, UnicodeError, OverflowError) as error:  # a port or host that no socket accepts
            raise as_exhausted(error) or ConnectError(str(error)) from None

    async def shake_hands(self, context: ssl.SSLContext, server_hostname: str | None) -> None:
        """
        Start TLS on the connection; where that fails, the caller aborts it.

        Raises:
            ConnectTimeout: Not within the time for connecting.
            ConnectError: Not at all.
            OSError: This process lacks the means.
        """
        await detached(self._shake_hands(context, server_hostname))

    async def _shake_hands(self, context: ssl.SSLContext, server_hostname: str | None) -> None:
        loop = asyncio.get_running_loop()
        below = self._transport
        if below is None or self._received:  # bytes came before the handshake
            raise ConnectError("not ready for TLS")
        try:
            with anyio.fail_after(self._connect_by - loop.time()):
                self._transport = await loop.start_tls(below, self, context, server_hostname=server_hostname)
        except TimeoutError:
            raise ConnectTimeout("no TLS handshake in time") from None
        except (OSError, ValueError) as error:
            raise as_exhausted(error) or ConnectError(str(error) or "connection lost in the TLS handshake") from None
        if self._transport is None:
            raise ConnectError("connection lost in the TLS handshake")

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; called once more for each layer of TLS."""
        if self._transport is None:
            self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._transport = transport  # type: ignore[assignment] # uvloop's does not inherit from asyncio's
        if self._aborted:
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Buffer *data* until it is read; pause reading when the buffer is large."""
        self._received += data
        if len(self._received) > _PAUSE_ABOVE and not self._paused_reading and self._transport is not None:
            self._paused_reading = True
            self._transport.pause_reading()
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def eof_received(self) -> None:
        """The peer has closed: the connection is over, and asyncio closes our side."""
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._ended = True
        self._error = exc
        self._wake()

    @property
    def _is_gone(self) -> bool:
        return self._ended or self._aborted or self._transport is None or self._transport.is_closing()

    def _resume(self) -> None:
        """Read on where reading was paused and the buffer is small again."""
        if self._paused_reading and len(self._received) < _PAUSE_ABOVE and self._transport is not None:
            self._paused_reading = False
            Context().run(self._transport.resume_reading)

    async def _peer_spoke_first(self) -> bool:
        """Return whether bytes of the peer are here, before any of ours: the operating system may have them still."""
        for _ in range(_TICKETS):
            if self._received or not self._poll.poll(0):
                break
            if not self._by_tls:
                return not self._is_gone
            await asyncio.sleep(0)  # the event loop reads it: a session ticket (RFC 8446 section 4.6.1), or more
        return bool(self._received)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
