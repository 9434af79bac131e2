"""
The sockets under httpcore: its network backend, written on asyncio's own transports.

It does what httpcore's own backends cannot: abort a connection at once, whatever it is doing; record when the first
byte of a request is sent; detect a stale connection; bound a response's head; and detect bytes that follow a complete
response, so that they are never read as the response to another request.
"""

import ssl
import sys
from collections.abc import Iterable
from typing import Any

import httpcore

from middleware.clock import SystemClock
from middleware.types import Attempt

from .framing import FramingWatch
from .resolver import Resolver
from .response_reader import head_too_large
from .stream import ConnectError, ConnectTimeout, Stream

__all__ = ["Socket"]

_UNBOUNDED = sys.maxsize


class Socket(httpcore.AsyncNetworkBackend, httpcore.AsyncNetworkStream, Stream):
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
        Stream.__init__(self, by_tls=tls_layers > 0)
        self.proxy = proxy
        self._proxy_tls_layers = proxy_tls_layers
        self._tls_layers = tls_layers
        self._resolver = resolver or Resolver(0.0, SystemClock().now)
        self._is_new = True
        self._paused_writing = False
        self._attempt: Attempt | None = None
        self._head_left = self._max_header_bytes = _UNBOUNDED
        self._watch = FramingWatch()

    # Called by `HttpcoreTransport`.

    def begin(self, attempt: Attempt, method: str, max_header_bytes: int) -> None:
        """Start an exchange by *method* for *attempt*; the head of its response may have *max_header_bytes*."""
        self._attempt = attempt
        self._head_left = self._max_header_bytes = max_header_bytes
        self._watch.begin(method, max_header_bytes)

    def head_ended(self) -> None:
        """End the bound: what follows is the body, which its reader counts."""
        self._head_left = _UNBOUNDED

    @property
    def ended_cleanly(self) -> bool:
        """True when the response had an end that all parsers agree on; h11 takes more."""
        return self._watch.is_clean

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
        try:
            await self.connect(self._resolver, host, port, float("inf") if timeout is None else timeout)
        except ConnectTimeout as error:
            raise httpcore.ConnectTimeout(str(error)) from None
        except ConnectError as error:
            raise httpcore.ConnectError(str(error)) from None
        return self

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109, ARG002 - see connect_tcp
    ) -> "Socket":
        """Start TLS on the connection; where that fails, the caller aborts the socket."""
        if self._transport is not None and not self._received:
            if self._proxy_tls_layers:
                self._proxy_tls_layers -= 1
            else:
                self.proxy = ""
        try:
            await self.shake_hands(ssl_context, server_hostname)
        except ConnectTimeout as error:
            raise httpcore.ConnectTimeout(str(error)) from None
        except ConnectError as error:
            raise httpcore.ConnectError(str(error)) from None
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
            raise head_too_large(self._max_header_bytes)
        size = min(max_bytes, self._head_left, len(self._received) - 1 or 1)
        piece, self._received = self._received[:size], self._received[size:]
        self._head_left -= size
        self._resume()
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

    def data_received(self, data: bytes) -> None:
        """Buffer *data* until it is read, and watch what belongs to a response."""
        if not self._tls_layers:
            self._watch.received(data)
        super().data_received(data)

    def pause_writing(self) -> None:
        """The peer does not read: writes wait."""
        self._paused_writing = True

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._paused_writing = False
        self._wake()

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
