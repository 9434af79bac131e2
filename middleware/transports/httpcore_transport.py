"""
The transport over httpcore: each event loop keeps a last-in-first-out stack of its connections per origin.

httpcore's own pool is not used: it loses slots for ever when a call is cancelled while its connection is set up, and
its cost grows with the square of open connections. Here an attempt takes a connection or opens one and shares nothing
with other attempts; a connection whose attempt failed or was cancelled is aborted and dropped, without waiting. The
bulkhead bounds how many are open at once.
"""

from collections.abc import AsyncIterable
from contextlib import suppress
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import httpcore
import httpx

from middleware.clock import Clock
from middleware.errors import RequestNotSentError
from middleware.types import PlatformRequest, PlatformResponse

from .httpcore_backend import Socket
from .idle_connections import IdleConnections
from .keep_alive import may_be_reused
from .loop_bound import KeepingTransport, LoopBoundTransport
from .origin import DEFAULT_PORTS, Origin
from .response_reader import Received, receive
from .translation import BODY_METHODS, to_response, translate_error, wire_headers
from .transport_settings import MAX_IDLE_FOR_UNSAFE_S, TransportSettings

__all__ = ["HttpcoreTransport"]

# httpcore's own exceptions, those it lets pass, and httpx's, which a test double such as respx may raise.
_TRANSLATED = (
    httpcore.ConnectionNotAvailable,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    httpx.HTTPError,
    OSError,
    MemoryError,
    UnicodeError,
)


class _Connection:
    """One httpcore connection, its socket, since when it has been idle, for how long it may be, and its end."""

    __slots__ = ("ends_at", "http", "idle_limit_s", "idle_since", "is_new", "socket")

    idle_since: float
    idle_limit_s: float
    is_new: bool

    def __init__(self, http: httpcore.AsyncConnectionInterface, socket: Socket, ends_at: float) -> None:
        self.http = http
        self.socket = socket
        self.ends_at = ends_at
        self.is_new = True

    @property
    def is_reusable(self) -> bool:
        """True when httpcore has read a whole response, which ended cleanly, and its connection may be used again."""
        return self.http.is_idle() and self.socket.ended_cleanly

    @property
    def is_stale(self) -> bool:
        """As of the socket."""
        return self.socket.is_stale

    def abort(self) -> None:
        """As of the socket."""
        self.socket.abort()


_Idle: TypeAlias = IdleConnections[Origin, _Connection]


class HttpcoreTransport(KeepingTransport[_Connection]):
    """
    Sends attempts over httpcore connections; errors of construction as for `LoopBoundTransport`.

    Args:
        config: The settings.
        clock: Source of time.
        sharing: As for `LoopBoundTransport`.
    """

    def __init__(self, config: TransportSettings, clock: Clock, sharing: LoopBoundTransport[Any] | None = None) -> None:
        super().__init__(config, clock, sharing)
        self._extensions = {"timeout": {"connect": config.connect_timeout_s}}

    async def send(self, request: PlatformRequest, url: str) -> PlatformResponse:
        """
        Send *request* to *url* once and read the whole response.

        Raises:
            StatusError: Any status but 2xx, redirects included.
            RequestNotSentError: No byte was sent.
            ResponseLostError: The request was sent, or may have been; no complete response arrived.
            ResponseTooLargeError: The head, or the body of a 2xx, exceeds a limit.
            DecodeError: The content encoding of a 2xx cannot be read.
            ClientClosedError: The transport was closed before.
        """
        idle = self._resources()
        origin, target = self._origins.split(url)
        longest_s = self._config.keepalive_expiry_s if request.is_repeatable else MAX_IDLE_FOR_UNSAFE_S
        connection = idle.take(origin, longest_s)
        if connection is not None:
            with suppress(RequestNotSentError):  # it was closed after the check, and before the first byte
                return await self._attempt(connection, idle, origin, target, request)
        return await self._attempt(await self._open(origin), idle, origin, target, request)

    def describe(self) -> str:
        """Return the name of the library."""
        return "httpcore"

    async def _attempt(
        self, connection: _Connection, idle: _Idle, origin: Origin, target: str, request: PlatformRequest
    ) -> PlatformResponse:
        """Make one exchange over *connection*, and keep or drop it."""
        try:
            received = await self._exchange(connection, _wire_request(request, origin, target), request)
        except _TRANSLATED as error:
            idle.discard(connection)
            # httpx's own exceptions come from a test double, which reports no phase.
            lost = translate_error(
                request,
                error,
                phase_known=not isinstance(error, httpx.HTTPError),
                proxy=connection.socket.proxy,
                is_new=connection.is_new,
            )
        except BaseException:
            idle.discard(connection)
            raise
        else:
            idle.put(origin, connection, received.headers)
            return to_response(request, received.status, received.headers, received.body, self._clock.wall)
        raise lost  # outside the handler, so unchained: a third-party exception may refer to the credentials

    async def _exchange(
        self, connection: _Connection, wire_request: httpcore.Request, request: PlatformRequest
    ) -> Received:
        wire_request.extensions = self._extensions
        connection.socket.begin(request.attempt, request.method, self._config.max_header_bytes)
        response = await connection.http.handle_async_request(wire_request)
        connection.socket.head_ended()
        assert isinstance(response.stream, AsyncIterable)  # noqa: S101 - httpcore's contract
        received = await receive(
            request,
            response.status,
            response.headers,
            response.stream,
            config=self._config,
            now=self._clock.now,
            lost=_TRANSLATED,
            extra_info=connection.socket.get_extra_info,
        )
        if received.is_complete and may_be_reused(request, received.status):
            await response.aclose()
        return received  # else the connection is still busy with it, and so is not reused

    async def _open(self, origin: Origin) -> _Connection:
        """Make a connection; it connects with its first request."""
        where = httpcore.Origin(origin.scheme.encode(), origin.host.encode(), origin.port)
        by_tls = origin.scheme == "https"
        proxy = urlsplit(origin.proxy) if origin.proxy else None
        to_proxy_by_tls = proxy is not None and proxy.scheme == "https"
        tls = await self._tls.get() if by_tls or to_proxy_by_tls else None
        shown = "" if proxy is None else f"proxy {proxy.hostname}:{proxy.port or DEFAULT_PORTS[proxy.scheme]}"
        tls_layers = by_tls + to_proxy_by_tls
        socket = Socket(tls_layers, self._resolver, proxy=shown, proxy_tls_layers=int(to_proxy_by_tls))
        ends_at = self._lifetime.ends_at()
        if proxy is None:
            return _Connection(httpcore.AsyncHTTPConnection(where, tls, network_backend=socket), socket, ends_at)
        user, password = unquote(proxy.username or ""), unquote(proxy.password or "")
        through = httpcore.AsyncHTTPProxy(
            # equivalent: `'~'`: a proxy without a host is rejected earlier
            httpcore.URL(scheme=proxy.scheme, host=proxy.hostname or "", port=proxy.port),
            proxy_auth=(user.encode(), password.encode()) if user or password else None,
            ssl_context=tls,
            proxy_ssl_context=tls if to_proxy_by_tls else None,
            network_backend=socket,
        )
        return _Connection(through.create_connection(where), socket, ends_at)


def _wire_request(request: PlatformRequest, origin: Origin, target: str) -> httpcore.Request:
    headers = [(b"host", origin.host_header.encode()), *wire_headers(request)]
    if request.content is not None or request.method in BODY_METHODS:
        headers.append((b"content-length", str(len(request.content or b"")).encode()))
    url = httpcore.URL(scheme=origin.scheme.encode(), host=origin.host.encode(), port=origin.port, target=target)
    return httpcore.Request(request.method, url, headers=headers, content=request.content)
