"""
The default transport: each event loop keeps a last-in-first-out stack of connections of ours per origin.

An attempt takes a connection or opens one and shares nothing with other attempts; a connection whose attempt failed or
was cancelled is aborted and dropped, without waiting. The bulkhead bounds how many are open at once.

Two things are left to httpcore: proxies, and what a test double such as respx intercepts, which it does there.
"""

import re
from collections.abc import Iterable
from types import FunctionType
from typing import Any, ClassVar, TypeAlias

import httpcore

from middleware.clock import Clock
from middleware.errors import RequestNotSentError
from middleware.types import PlatformRequest, PlatformResponse

from .framing import RemoteProtocolError
from .http1_connection import Http1Connection
from .httpcore_transport import HttpcoreTransport
from .idle_connections import IdleConnections
from .keep_alive import may_be_reused
from .loop_bound import KeepingTransport
from .origin import Origin
from .parser import Parser
from .response_reader import receive_body, receive_head
from .translation import BODY_METHODS, to_response, translate_error
from .transport_settings import MAX_IDLE_FOR_UNSAFE_S, TransportSettings

__all__ = ["Http1Transport"]

_Idle: TypeAlias = IdleConnections[Origin, Http1Connection]
_TRANSLATED = RemoteProtocolError, OSError, MemoryError, UnicodeError

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = bytes({*range(0x20), 0x7F} - set(b"\t\r\n"))
_OURS = frozenset({"host", "content-length", "transfer-encoding"})
_MOST_TOKENS = 1024
_tokens: set[str] = set()  # names and methods that were checked, since there are few


class LocalProtocolError(ValueError):
    """The request cannot be written as HTTP/1.1, as a layer of the host has made it."""


class Http1Transport(KeepingTransport[Http1Connection]):
    """
    Sends attempts over connections of ours; errors of construction as for `LoopBoundTransport`.

    Args:
        config: The settings.
        clock: Source of time.

    Attributes:
        library: Name of the library that parses.
        parser: Parses one response.
    """

    library: ClassVar[str]
    parser: ClassVar[type[Parser]]

    def __init__(self, config: TransportSettings, clock: Clock) -> None:
        super().__init__(config, clock)
        self._by_httpcore = HttpcoreTransport(config, clock, sharing=self)

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
        origin, target = self._origins.split(url)
        if origin.proxy is not None or not _is_httpcores_own(httpcore.AsyncHTTPConnection.handle_async_request):
            return await self._by_httpcore.send(request, url)
        idle = self._resources()
        longest_s = self._config.keepalive_expiry_s if request.is_repeatable else MAX_IDLE_FOR_UNSAFE_S
        connection = idle.take(origin, longest_s)
        if connection is not None:
            try:  # `suppress` takes half a microsecond
                return await self._attempt(connection, idle, origin, target, request)
            except RequestNotSentError:
                pass
        return await self._attempt(self._new(origin), idle, origin, target, request)

    def request_close(self) -> None:
        """As `KeepingTransport`, and what httpcore has connected."""
        self._by_httpcore.request_close()
        super().request_close()

    def drop_connections(self) -> None:
        """As `KeepingTransport`, and what httpcore has connected."""
        self._by_httpcore.drop_connections()
        super().drop_connections()

    def describe(self) -> str:
        """Return the name of the library that parses, and which one connects through proxies."""
        return f"{self.library}, through a proxy httpcore" if self._proxies else self.library

    def _new(self, origin: Origin) -> Http1Connection:
        return Http1Connection(by_tls=origin.scheme == "https", ends_at=self._lifetime.ends_at())

    async def _attempt(
        self, connection: Http1Connection, idle: _Idle, origin: Origin, target: str, request: PlatformRequest
    ) -> PlatformResponse:
        """Make one exchange over *connection*, and keep or drop it."""
        config = self._config
        try:
            wire = _wire_request(request, origin, target)
            if connection.is_new:
                await self._connect(connection, origin)
            status, fields = await connection.exchange(request, wire, self.parser(), config.max_header_bytes)
            headers = receive_head(request, status, fields, config)
            body = connection.whole_body()
            received = await receive_body(
                request,
                status,
                headers,
                connection.pieces() if body is None else body,
                config=config,
                now=self._clock.now,
                lost=_TRANSLATED,
                extra_info=connection.get_extra_info,
            )
        except (LocalProtocolError, *_TRANSLATED) as error:
            idle.discard(connection)
            lost = translate_error(request, error, phase_known=True, is_new=connection.is_new)
        except BaseException:
            idle.discard(connection)
            raise
        else:
            if received.is_complete and may_be_reused(request, received.status):
                idle.put(origin, connection, received.headers)
            else:
                idle.discard(connection)
            return to_response(request, received.status, received.headers, received.body, self._clock.wall)
        raise lost  # outside the handler, so unchained: a traceback may refer to the credentials

    async def _connect(self, connection: Http1Connection, origin: Origin) -> None:
        tls = await self._tls.get() if origin.scheme == "https" else None
        await connection.connect(self._resolver, origin.host, origin.port, self._config.connect_timeout_s)
        if tls is not None:
            await connection.shake_hands(tls, origin.host)


_own_function: Any = None


def _is_httpcores_own(function: Any) -> bool:
    """Return whether *function* is httpcore's own, and no test double is in its place, whenever we looked first."""
    global _own_function  # noqa: PLW0603 - the one that was recognised last
    if function is _own_function:
        return True
    # A double may have copied the name and the module of what it replaces, but not its globals.
    if type(function) is not FunctionType or function.__globals__.get("__name__") != "httpcore._async.connection":
        return False
    _own_function = function
    return True


def _wire_request(request: PlatformRequest, origin: Origin, target: str) -> bytes:
    """
    Return *request* as bytes.

    Raises:
        LocalProtocolError: Its method, its target or a header cannot be sent.
        UnicodeError: A header has characters beyond Latin-1.
    """
    method, content, headers = request.method, request.content, request.headers
    if not ((method in _tokens and _tokens.issuperset(headers)) or _are_tokens((method, *headers))):
        raise LocalProtocolError("invalid method, or name of a header")
    if not target.isascii() or " " in target:
        raise LocalProtocolError("invalid target")
    lines = [f"{method} {target} HTTP/1.1\r\nhost: {origin.host_header}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if content is not None or method in BODY_METHODS:
        lines.append(f"content-length: {len(content or b'')}")
    ends = len(lines) + 2
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    # All values at once: a line end in one of them would be one more.
    if head.count(b"\n") != ends or head.count(b"\r") != ends or len(head.translate(None, _CONTROLS)) != len(head):
        raise LocalProtocolError("invalid target, or value of a header")
    return head + content if content else head


def _are_tokens(names: Iterable[str]) -> bool:
    """Look at each of *names*, and keep those that are valid in `_tokens`."""
    for name in names:
        if _TOKEN.fullmatch(name) is None or name.lower() in _OURS:
            return False
        if len(_tokens) < _MOST_TOKENS:
            _tokens.add(name)
    return True
