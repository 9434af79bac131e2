"""
The sockets under the default transport: httpcore's network backend, written on asyncio's own transports.

It does what httpcore's own backends cannot: abort a connection at once, whatever it is doing; record when the first
byte of a request is sent; detect a stale connection; bound a response's head; and detect bytes that follow a complete
response, so that they are never read as the response to another request.
"""

import asyncio
import select
import socket
import ssl
import sys
from collections.abc import Iterable
from contextvars import Context
from typing import Any

import anyio
import httpcore

from middleware._internal.detached import detached
from middleware.clock import SystemClock
from middleware.errors import ResponseTooLargeError
from middleware.types import Attempt

from .exhaustion import as_exhausted
from .resolver import Address, Resolver

__all__ = ["Socket"]

_PAUSE_ABOVE = 128 * 1024
_UNBOUNDED = sys.maxsize
_TICKETS = 4  # iterations of the event loop that read what follows a handshake; servers send two tickets at most
_HAPPY_EYEBALLS_S = 0.25  # RFC 8305 section 5


class Socket(httpcore.AsyncNetworkBackend, httpcore.AsyncNetworkStream, asyncio.Protocol):
    """
    One socket: the backend that connects it, the stream that httpcore uses, the protocol that asyncio calls.

    Args:
        tls_layers: Number of TLS handshakes before the first byte of a request.
        resolver: Looks names up; None makes one.
        proxy: The proxy that it connects to, for people; empty for a direct connection.
        proxy_tls_layers: How many of the handshakes are with the proxy.

    Attributes:
        proxy: As above; empty once the proxy has connected it to the service.
    """

    def __init__(
        self, tls_layers: int, resolver: Resolver | None = None, *, proxy: str = "", proxy_tls_layers: int = 0
    ) -> None:
        self.proxy = proxy
        self._proxy_tls_layers = proxy_tls_layers
        self._tls_layers = tls_layers
        self._resolver = resolver or Resolver(0.0, SystemClock().now)
        self._by_tls = tls_layers > 0
        self._is_new = True
        self._connect_by = float("inf")
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._received = b""
        self._ended = False
        self._error: Exception | None = None
        self._aborted = False
        self._paused_reading = False
        self._paused_writing = False
        self._waiter: asyncio.Future[None] | None = None
        self._attempt: Attempt | None = None
        self._head_left = self._max_header_bytes = _UNBOUNDED

    # Called by `HttpcoreTransport`.

    def begin(self, attempt: Attempt, max_header_bytes: int) -> None:
        """Start an exchange for *attempt*; the head of its response may have *max_header_bytes*."""
        self._attempt = attempt
        self._head_left = self._max_header_bytes = max_header_bytes

    def head_ended(self) -> None:
        """End the bound: what follows is the body, which its reader counts."""
        self._head_left = _UNBOUNDED

    @property
    def is_stale(self) -> bool:
        """
        True when an idle connection cannot be used: the peer closed it, or sent bytes that belong to no request.

        The operating system is asked too: it knows before the event loop does.
        """
        return bool(self._received) or self._is_gone or bool(self._poll.poll(0))

    def abort(self) -> None:
        """Close now, without waiting for the peer or for unsent data; idempotent."""
        self._aborted = True
        if self._transport is not None:
            self._transport.abort()

    # Called by httpcore. Its read and write timeouts are not used: the stack's cancel scopes end an attempt.

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,  # noqa: ARG002 - as above
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 - as above
    ) -> "Socket":
        """Connect; *timeout* also bounds the TLS handshakes that follow."""
        return await detached(self._connect(host, port, timeout))  # a connection outlives the call that opens it

    async def _connect(self, host: str, port: int, timeout: float | None) -> "Socket":  # noqa: ASYNC109 - as above
        loop = asyncio.get_running_loop()
        self._connect_by = loop.time() + (float("inf") if timeout is None else timeout)
        try:
            with anyio.fail_after(self._connect_by - loop.time()):
                await loop.create_connection(lambda: self, sock=await _open(await self._resolver.resolve(host, port)))
        except TimeoutError:
            raise httpcore.ConnectTimeout("no connection in time") from None
        except (OSError, UnicodeError, OverflowError) as error:  # a port or host that no socket accepts
            raise as_exhausted(error) or httpcore.ConnectError(str(error)) from None
        return self

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109, ARG002 - see connect_tcp
    ) -> "Socket":
        """Start TLS on the connection; where that fails, the caller aborts the socket."""
        return await detached(self._start_tls(ssl_context, server_hostname))

    async def _start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None) -> "Socket":
        loop = asyncio.get_running_loop()
        below = self._transport
        if below is None or self._received:  # a proxy sent bytes before the handshake
            raise httpcore.ConnectError("not ready for TLS")
        if self._proxy_tls_layers:
            self._proxy_tls_layers -= 1
        else:
            self.proxy = ""
        try:
            with anyio.fail_after(self._connect_by - loop.time()):
                self._transport = await loop.start_tls(below, self, ssl_context, server_hostname=server_hostname)
        except TimeoutError:
            raise httpcore.ConnectTimeout("no TLS handshake in time") from None
        except (OSError, ValueError) as error:
            raise as_exhausted(error) or httpcore.ConnectError(
                str(error) or "connection lost in the TLS handshake"
            ) from None
        if self._transport is None:
            raise httpcore.ConnectError("connection lost in the TLS handshake")
        self._tls_layers -= 1
        return self

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109, ARG002 - see above
        """
        Return the next bytes; none at the end.

        The last byte that arrived is kept for a read of its own. A parser that has its whole message does not read
        again, so whatever is still here then came after the message, and makes the connection stale.

        Raises:
            ResponseTooLargeError: The response's head exceeds its bound.
        """
        while not self._received:
            if self._error is not None:
                raise httpcore.ReadError(str(self._error)) from self._error
            if self._is_gone:
                return b""
            await self._wait()
        if self._head_left <= 0:
            raise ResponseTooLargeError(f"response head larger than {self._max_header_bytes} bytes", request_sent="yes")
        size = min(max_bytes, self._head_left, len(self._received) - 1 or 1)
        piece, self._received = self._received[:size], self._received[size:]
        self._head_left -= size
        if self._paused_reading and len(self._received) < _PAUSE_ABOVE and self._transport is not None:
            self._paused_reading = False
            Context().run(self._transport.resume_reading)
        return piece

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109, ARG002 - see above
        """
        Send *buffer*; from the first byte of a request on, its attempt may have been sent.

        Raises:
            WriteError: The connection is closed, or the response has begun: httpcore reads it then, and does not reuse
                the connection.
            ConnectError: The peer sent bytes before the first byte of the request, which no request has asked for.
        """
        if not buffer:
            return
        if self._attempt is not None and not self._tls_layers and self._attempt.request_sent == "no":
            if self._received or (self._is_new and await self._peer_spoke_first()):
                raise httpcore.ConnectError("the peer sent bytes before the request")
            if not self._is_gone:
                self._is_new = False
                self._attempt.request_sent = "maybe"
                self._attempt = None  # an idle connection must not keep the call that used it
        transport = self._transport
        if transport is None or self._is_gone:
            raise httpcore.WriteError("connection closed")
        # All at once: from its own buffer asyncio writes after it has read. A write to a connection that the peer has
        # reset would discard the response.
        transport.write(buffer)
        while self._paused_writing and not self._is_gone:
            await self._wait()
            self._stop_for_response()

    async def aclose(self) -> None:
        """Close, as `abort` does."""
        self.abort()

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore asks about the connection."""
        if info == "is_readable":
            return self.is_stale
        name = {"client_addr": "sockname", "server_addr": "peername"}  # the other names are asyncio's too
        return None if self._transport is None else self._transport.get_extra_info(name.get(info, info))

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
        self._wake()

    def eof_received(self) -> None:
        """The peer has closed: the connection is over, and asyncio closes our side."""
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._ended = True
        self._error = exc
        self._wake()

    def pause_writing(self) -> None:
        """The peer does not read: writes wait."""
        self._paused_writing = True

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._paused_writing = False
        self._wake()

    @property
    def _is_gone(self) -> bool:
        return self._ended or self._aborted or self._transport is None or self._transport.is_closing()

    async def _peer_spoke_first(self) -> bool:
        """Return whether bytes of the peer are here, before any of ours: the operating system may have them still."""
        for _ in range(_TICKETS):
            if self._received or not self._poll.poll(0):
                break
            if not self._by_tls:
                return not self._is_gone
            await asyncio.sleep(0)  # the event loop reads it: a session ticket (RFC 8446 section 4.6.1), or more
        return bool(self._received)

    def _stop_for_response(self) -> None:
        """Raise WriteError once a response has begun that is not an interim one: it asks for no more of the body."""
        head = self._received
        while head[9:10] == b"1":
            end = head.find(b"\r\n\r\n")
            if end < 0:
                return
            head = head[end + 4 :]
        if len(head) > len(b"HTTP/1.1 "):
            raise httpcore.WriteError("the response came before the end of the request")

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


async def _open(addresses: list[Address]) -> socket.socket:
    """
    Connect a socket to the first of *addresses* that responds; the next one starts after 250 ms (RFC 8305).

    asyncio and anyio do this too, but leak sockets when they are cancelled at the wrong moment. Here every socket is in
    a list as soon as it exists, and all but the returned one are closed.
    """
    opened: list[socket.socket] = []
    chosen: socket.socket | None = None
    try:
        # equivalent: `-1`: it is the only one
        chosen = await (_connect(addresses[0], opened) if len(addresses) == 1 else _race(addresses, opened))
    finally:
        for sock in opened:
            if sock is not chosen:
                sock.close()
    return chosen


async def _connect(address: Address, opened: list[socket.socket]) -> socket.socket:
    # The protocol is explicit, since asyncio checks it: without it TCP_NODELAY stays off, and each body after its head
    # waits 40 ms for a delayed acknowledgement.
    sock = socket.socket(address[0], socket.SOCK_STREAM, socket.IPPROTO_TCP)
    opened.append(sock)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, address[1])
    return sock


async def _race(addresses: list[Address], opened: list[socket.socket]) -> socket.socket:
    connected: list[socket.socket] = []
    errors: list[OSError] = []

    async def attempt(address: Address, ended: anyio.Event) -> None:
        try:
            connected.append(await _connect(address, opened))
            group.cancel_scope.cancel()
        except OSError as error:
            errors.append(error)
        finally:
            ended.set()

    async with anyio.create_task_group() as group:
        for address in addresses:
            ended = anyio.Event()
            group.start_soon(attempt, address, ended)
            with anyio.move_on_after(_HAPPY_EYEBALLS_S):
                await ended.wait()
    if not connected:
        raise next(filter(as_exhausted, errors), None) or OSError("; ".join(map(str, errors)))
    return connected[0]  # equivalent: `-1`: if two connected in the same moment, either will do
