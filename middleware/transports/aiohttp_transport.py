"""
The opt-in transport: attempts over `aiohttp.ClientSession`, whose parser is compiled. Needs the extra `aiohttp`.

What a session does by itself is disabled: redirects, cookies, decompression, and the silent resending of an idempotent
request whose kept-alive connection was dropped, which would make one attempt two requests. Test doubles of the httpx
family do not intercept what is sent here.
"""

import asyncio
import re
import select
import socket
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import suppress
from contextvars import Context, ContextVar
from typing import Any

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import LineTooLong

from middleware._internal.context_variables import reset
from middleware._internal.detached import detached
from middleware.clock import Clock, SystemClock
from middleware.errors import CallError
from middleware.types import PlatformRequest, PlatformResponse

from .framing import FramingWatch
from .keep_alive import idle_limit_s, may_be_reused
from .lifetime import Lifetime
from .loop_bound import LoopBoundTransport
from .proxies import proxy_for
from .resolver import Resolver
from .response_reader import Received, head_too_large, receive
from .translation import to_response, translate_error
from .transport_settings import MAX_IDLE_FOR_UNSAFE_S, TransportSettings

__all__ = ["AiohttpTransport"]

_MAX_BYTES = 2**16  # equivalent: the same bytes on the wire
_TRANSLATED = aiohttp.ClientError, OSError, MemoryError, UnicodeError
_PLAIN = "http://"
_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
_HEAD_END = re.compile(rb"\r?\n\r?\n")  # aiohttp reads lines without the carriage return, too
_STATUS_END = len(b"HTTP/1.1 200")
_STEP = 16 * 1024  # bytes parsed between two looks at the time; chunks of one byte, which has six, take 8 ms
_PARSE_S = 0.005  # time for parsing per iteration of the event loop; to read what was parsed takes as long again
_MACHINE = SystemClock()
_TICKETS = 4  # iterations of the event loop that read what follows a handshake; servers send two tickets at most


class _Exchange:
    """The attempt that runs in this context, and its connection, which the connector sets."""

    __slots__ = ("guard", "is_new", "protocol", "proxy", "request", "transport")

    def __init__(self, request: PlatformRequest) -> None:
        self.request = request
        self.guard: _Guard | None = None
        self.transport: asyncio.Transport | None = None
        self.protocol: ResponseHandler | None = None
        self.is_new = False
        self.proxy: str | None = None

    def end(self) -> BaseException | None:
        """Return why the connection is closed: what fails because of it, such as writing a body, does not say so."""
        closed = None if self.protocol is None else self.protocol.closed
        return _error_of(closed) if closed is not None and closed.done() else None

    def abort(self) -> None:
        """Close the connection without waiting for the peer or for unsent data."""
        if self.transport is not None:
            _abort(self.transport)


def _abort(transport: asyncio.Transport) -> None:
    # RuntimeError: its event loop is closed, and `_abandon` closes the socket. AttributeError: early releases of Python
    # 3.11, of a TLS transport whose connection is lost already.
    with suppress(RuntimeError, AttributeError):
        transport.abort()


_current: ContextVar[_Exchange] = ContextVar("_current")  # equivalent: a display name, for debugging


class _Resolver(AbstractResolver):
    """Our resolver in the form that aiohttp takes."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of *host* as aiohttp needs them; it asks for those of all families."""
        del family
        return [
            ResolveResult(
                hostname=host, host=_numeric(address), port=port, family=kind, proto=socket.IPPROTO_TCP, flags=_NUMERIC
            )
            for kind, address in await self._resolver.resolve(host, port)
        ]

    async def close(self) -> None:
        """Do nothing: other sessions use it too."""


def _numeric(address: Any) -> str:
    """Return the address alone, with the scope that a link-local one of IPv6 needs (RFC 4007 section 11)."""
    host, scope = address[0], address[3:]
    return f"{host}%{scope[0]}" if scope and scope[0] and "%" not in host else host


class _SpokeFirstError(aiohttp.ClientError):
    """The peer sent bytes before the request: no request has asked for them."""


class _HeadTooLargeError(aiohttp.ClientError):
    """The head of a response exceeds its bound, interim responses included."""


class _Guard(asyncio.Protocol):
    """
    Between a connection and aiohttp's parser: bounds heads, and passes on nothing after a response without a body.

    aiohttp skips interim responses silently, and discards a response that comes in one piece with bytes that are none.
    It parses all that has arrived at once; here what takes long, such as chunks of few bytes, takes several iterations
    of the event loop.

    Args:
        parser: What aiohttp connected.
        transport: The connection.
        max_header_bytes: Bound of a head.

    Attributes:
        idle_until: Clock reading until which the connection may be used again.
        unparsed: What has arrived and is not parsed yet.
    """

    def __init__(self, parser: ResponseHandler, transport: asyncio.Transport, max_header_bytes: int) -> None:
        self.idle_until = float("inf")
        self._parser = parser
        self._transport = transport
        self._max_header_bytes = max_header_bytes
        self._request: PlatformRequest | None = None
        self._head_left = 0
        self._in_head = False
        self._is_over = self._is_broken = False
        self._content: aiohttp.StreamReader | None = None
        self._start = self._tail = self.unparsed = b""
        self._watch = FramingWatch()
        self.pause_writing = parser.pause_writing  # type: ignore[method-assign] # passed on as it is, as the next one
        self.resume_writing = parser.resume_writing  # type: ignore[method-assign]

    def begin(self, request: PlatformRequest) -> None:
        """Expect the response to *request*."""
        self._request = request
        self._head_left = self._max_header_bytes
        self._watch.begin(request.method, self._max_header_bytes)
        self._in_head = True
        self._content = None
        self._start = self._tail = b""
        self.idle_until = float("inf")

    def end(self, idle_until: float) -> None:
        """
        Forget the request, whose response has ended: an idle connection must not keep its call.

        A connection whose response did not end cleanly is not used again; aiohttp's parser takes more.
        """
        self._request = self._content = None
        self.idle_until = idle_until if self._watch.is_clean else float("-inf")

    def data_received(self, data: bytes) -> None:
        """Pass on what belongs to the response."""
        self._watch.received(data)
        while self._in_head and data:
            data = self._head_received(data)
        if not data:
            return
        if self._is_over:
            self._parser.force_close()
        elif len(data) <= _STEP and not self.unparsed:
            self._parse(data)
        else:
            is_scheduled = bool(self.unparsed)
            self.unparsed += data
            if not is_scheduled:
                self._parse_some()

    def eof_received(self) -> None:
        """The peer has closed; what it sent before comes first."""
        self._parse_all()
        self._parser.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed; what came before comes first."""
        self._parse_all()
        self._parser.connection_lost(exc)

    def _parse_some(self) -> None:
        """Parse for a time, and the rest in later iterations of the event loop; read nothing more until then."""
        data, self.unparsed = self.unparsed, b""
        ends_at, end = _MACHINE.now() + _PARSE_S, 0
        while end < len(data) and not self._is_broken:
            self._parse(data[end : end + _STEP])
            end += _STEP
            if end < len(data) and _MACHINE.now() >= ends_at:
                self.unparsed = data[end:]
                self._transport.pause_reading()
                asyncio.get_running_loop().call_soon(self._parse_some, context=Context())
                return
        if not self._parser._reading_paused:  # noqa: SLF001 - else aiohttp's own reader is behind, and resumes it
            self._transport.resume_reading()

    def _parse_all(self) -> None:
        data, self.unparsed = self.unparsed, b""
        if data:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        self._parser.data_received(data)
        if self._parser.exception() is not None:
            self._is_broken = True
            self._end_body()

    def body_begins(self, content: aiohttp.StreamReader) -> None:
        """Let *content* end with an error where the body is broken: aiohttp would let its reader wait for ever."""
        self._content = content
        self._end_body()

    def _end_body(self) -> None:
        if self._is_broken and self._content is not None and not self._content.is_eof():
            self._content.set_exception(aiohttp.ClientPayloadError())

    def _head_received(self, data: bytes) -> bytes:
        """Pass on what of *data* belongs to the head, and return what follows it."""
        known = len(self._tail)
        found = _HEAD_END.search(self._tail + data)
        size = len(data) if found is None else found.end() - known
        piece = data[:size]
        self._head_left -= size
        if self._head_left < 0:
            self._in_head, self._is_over = False, True
            self._parser.set_exception(_HeadTooLargeError())
            _abort(self._transport)
            return b""
        self._start = (self._start + piece)[:_STATUS_END]
        self._tail = (self._tail + piece)[-3:]
        if found is not None:
            self._head_ended(self._start[-3:])
        self._parser.data_received(piece)
        return data[size:]

    def _head_ended(self, status: bytes) -> None:
        self._start = self._tail = b""
        request = self._request
        if request is None or (status[:1] == b"1" and status != b"101"):
            return
        self._in_head = False
        self._is_over = request.method == "HEAD" or status in {b"204", b"304"}
        if status.isdigit() and not may_be_reused(request, int(status)):
            self._parser.force_close()


class _Connector(aiohttp.TCPConnector):
    """
    A connector that checks a connection before it uses it, and reports it to the attempt.

    Attributes:
        lifetime: Of each connection.
        used: Until when each connection may be used, by protocol: uvloop's TLS transports take no weak references.
        sockets: Those that it has opened.
        is_abandoned: Its event loop ended, or its client was dropped, without closing it.
    """

    lifetime: Lifetime
    used: "weakref.WeakKeyDictionary[ResponseHandler, float]"
    sockets: "weakref.WeakSet[socket.socket]"
    now: Callable[[], float]
    max_header_bytes: int
    is_abandoned = False

    @property
    def closed(self) -> bool:
        """True also where it was abandoned: aiohttp logs an error for each session that is collected unclosed."""
        return self.is_abandoned or super().closed

    def __del__(self, _warnings: Any = None) -> None:
        """Log nothing, where aiohttp logs an error."""

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109 - aiohttp's signature
        """Connect; from here on, the request may have been sent."""
        exchange = _current.get()
        while True:
            connection = await detached(super().connect(req, traces, timeout))
            transport, protocol = connection.transport, connection.protocol
            assert transport is not None and protocol is not None  # noqa: PT018, S101 - it has just been connected
            exchange.protocol = protocol
            guard = transport.get_protocol()
            exchange.is_new = not isinstance(guard, _Guard)
            if not isinstance(guard, _Guard):
                if protocol.closed is not None:  # asyncio logs errors that are never retrieved
                    protocol.closed.add_done_callback(_error_of, context=Context())
                if await _spoke_first(transport, protocol):
                    _abort(transport)
                    connection.close()
                    raise _SpokeFirstError
                guard = _Guard(protocol, transport, self.max_header_bytes)
                transport.set_protocol(guard)
                self.used[protocol] = self.lifetime.ends_at()
                break
            is_fresh = self.now() <= guard.idle_until and self.lifetime.lasts(self.used[protocol])
            if is_fresh and not (guard.unparsed or protocol.should_close or _is_readable(transport)):
                break
            _abort(transport)
            connection.close()
        guard.begin(exchange.request)
        exchange.guard, exchange.transport = guard, transport
        exchange.request.attempt.request_sent = "maybe"
        return connection

    def _release(self, *args: Any, **options: Any) -> None:
        """Release a connection; the timer for idle ones, which aiohttp sets here, must not keep the call's context."""
        if self._loop.is_closed():  # the attempt is collected; `_abandon` closes the socket
            return
        Context().run(super()._release, *args, **options)


def _error_of(closed: "asyncio.Future[None]") -> BaseException | None:
    return None if closed.cancelled() else closed.exception()


def _is_readable(transport: asyncio.Transport) -> bool:
    """Ask the operating system, which knows before the event loop does: has the peer closed, or sent something?"""
    connected = transport.get_extra_info("socket")
    if connected is None or connected.fileno() < 0:
        return True  # closed, and the event loop has not reported it yet
    poll = select.poll()
    poll.register(connected.fileno(), select.POLLIN)
    return bool(poll.poll(0))


async def _spoke_first(transport: asyncio.Transport, protocol: ResponseHandler) -> bool:
    """Return whether the peer sent something on a new connection: the operating system may have it still."""
    by_tls = transport.get_extra_info("ssl_object") is not None
    for _ in range(_TICKETS):
        if protocol.should_close or not _is_readable(transport):
            break
        if not by_tls:
            return True
        await asyncio.sleep(0)  # the event loop reads it: a session ticket (RFC 8446 section 4.6.1), or more
    return protocol.should_close or transport.is_closing()


def _abandon(connectors: Iterable[_Connector], loop: asyncio.AbstractEventLoop) -> None:
    """Close what was dropped unclosed, from any thread."""
    for connector in connectors:
        connector.is_abandoned = True
    try:
        loop.call_soon_threadsafe(_abort_all, connectors)
    except RuntimeError:  # the event loop is closed, and closes no socket
        for connector in connectors:
            for opened in list(connector.sockets):
                opened.close()


def _abort_all(connectors: Iterable[_Connector], except_for: Collection[asyncio.BaseTransport | None] = ()) -> None:
    for connector in connectors:
        for protocol in list(connector.used):
            if protocol.transport is not None and protocol.transport not in except_for:
                _abort(protocol.transport)  # a TLS shutdown would wait for the peer


class _Sessions:
    """
    The sessions of one event loop, made inside it.

    Args:
        config: The settings.
        resolver: Looks names up.
        lifetime: Of each connection.
        now: Source of time.
    """

    def __init__(
        self, config: TransportSettings, resolver: Resolver, lifetime: Lifetime, now: Callable[[], float]
    ) -> None:
        self._resolver = _Resolver(resolver)
        self._lifetime = lifetime
        self._now = now
        self._connectors: list[_Connector] = []
        self._busy: set[_Exchange] = set()
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._closer: asyncio.Task[None]  # kept, since the event loop refers to tasks weakly
        self._repeatable = self._session(config, config.keepalive_expiry_s)
        self._once = self._session(config, min(MAX_IDLE_FOR_UNSAFE_S, config.keepalive_expiry_s))
        # Before the sessions, whichever way this object goes: a finalizer runs before those of what it refers to.
        self._abandon = weakref.finalize(self, _abandon, tuple(self._connectors), self._loop)

    def _session(self, config: TransportSettings, expiry_s: float) -> aiohttp.ClientSession:
        opened = weakref.WeakSet[socket.socket]()

        def open_socket(address: aiohttp.AddrInfoType) -> socket.socket:
            opened.add(made := socket.socket(*address[:3]))
            return made

        connector = _Connector(
            limit=0,
            keepalive_timeout=expiry_s,
            resolver=self._resolver,
            use_dns_cache=False,
            socket_factory=open_socket,
        )
        connector.sockets = opened
        connector.used, connector.lifetime = weakref.WeakKeyDictionary(), self._lifetime
        connector.now = self._now
        connector.max_header_bytes = config.max_header_bytes
        self._connectors.append(connector)
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("content-type",),
            timeout=aiohttp.ClientTimeout(total=None, connect=config.connect_timeout_s),
            max_line_size=config.max_header_bytes,
            max_field_size=config.max_header_bytes,
            middlewares=(_send_once,),
        )

    def begin(self, exchange: _Exchange, *, idempotent: bool) -> aiohttp.ClientSession:
        """Return the session for one attempt; `end` follows it."""
        self._busy.add(exchange)
        return self._repeatable if idempotent else self._once

    def end(self, exchange: _Exchange) -> None:
        """Note the end of an attempt; after `close`, the last one closes the connections."""
        self._busy.discard(exchange)
        if self._closing and not self._busy and not self._loop.is_closed():
            self._closer = self._loop.create_task(self._close())

    def abandoned(self) -> None:
        """Close what the event loop, which is closed, has not closed."""
        self._abandon()

    def request_close(self) -> None:
        """Close as `close` does, without waiting, from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._begin_close)
        except RuntimeError:  # the loop has just been closed, by its thread
            self._abandon()

    def _begin_close(self) -> None:
        self._closer = self._loop.create_task(self.close())

    async def close(self) -> None:
        """Close idle connections now, and the others when the last attempt ends."""
        self._closing = True
        if self._busy:
            _abort_all(self._connectors, except_for=[exchange.transport for exchange in self._busy])
        else:
            await self._close()

    async def _close(self) -> None:
        _abort_all(self._connectors)
        await self._repeatable.close()
        await self._once.close()


class _LostError(Exception):
    """A lost connection, as a class for which the session does not resend the request."""


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _LostError from error


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    # All at once: from its own buffer asyncio writes after it has read. A write of another piece to a connection that
    # the peer has reset would discard the response. An iterator, since aiohttp warns of large bytes.
    yield content


async def _pieces(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    # To read may resume the connection, which then must not keep this call's context.
    while piece := await detached(content.readany()):
        yield piece


class AiohttpTransport(LoopBoundTransport[_Sessions]):
    """
    Sends attempts over aiohttp; errors of construction as for `LoopBoundTransport`.

    Args:
        config: The settings.
        clock: Source of time.
    """

    def __init__(self, config: TransportSettings, clock: Clock) -> None:
        super().__init__(
            config, clock, lambda: _Sessions(config, self._resolver, self._lifetime, clock.now), _Sessions.abandoned
        )

    async def send(self, request: PlatformRequest, url: str) -> PlatformResponse:
        """Send *request* to *url* once and read the whole response; errors as for the default transport."""
        sessions = self._resources()
        exchange = _Exchange(request)
        token = _current.set(exchange)
        session = sessions.begin(exchange, idempotent=request.is_repeatable)
        try:
            received = await self._exchange(session, exchange, request, url)
        except (*_TRANSLATED, _LostError) as error:
            exchange.abort()
            lost = self._translate_error(request, error, exchange)
        except BaseException:
            exchange.abort()
            raise
        else:
            return to_response(request, received.status, received.headers, received.body, self._clock.wall)
        finally:
            reset(_current, token)
            sessions.end(exchange)
        raise lost  # outside the handler, so unchained: a third-party exception may refer to the credentials

    async def aclose(self) -> None:
        """Close idle connections now and busy ones when their attempt ends; idempotent."""
        here = asyncio.get_running_loop()
        for loop, sessions in self._drain():
            if loop is here:
                await sessions.close()
            else:
                sessions.request_close()

    def request_close(self) -> None:
        """Close as `aclose` does, without waiting, from any thread: each event loop closes its own connections."""
        for _, sessions in self._drain():
            sessions.request_close()

    def drop_connections(self) -> None:
        """Close as `request_close` does, and stay open: later attempts open new connections."""
        for _, sessions in self._per_loop.drain():
            sessions.request_close()

    def describe(self) -> str:
        """Return the name of the library."""
        return "aiohttp"

    async def _exchange(
        self, session: aiohttp.ClientSession, exchange: _Exchange, request: PlatformRequest, url: str
    ) -> Received:
        proxy = exchange.proxy = proxy_for(self._proxies, url) if self._proxies else None
        # Unless no TLS is involved, pass our context: aiohttp's default one trusts other authorities.
        needs_tls = not url.startswith(_PLAIN) or not (proxy or _PLAIN).startswith(_PLAIN)
        content, headers = request.content, request.headers
        if content is not None and len(content) > _MAX_BYTES:
            headers = {**headers, "content-length": str(len(content))}
        response = await session.request(
            request.method,
            yarl.URL(url, encoded=True),
            headers=headers,
            data=content if content is None or len(content) <= _MAX_BYTES else _whole(content),
            allow_redirects=False,
            proxy=proxy,
            ssl=await self._tls.get() if needs_tls else True,  # equivalent: `False`: plain HTTP does not use it
        )
        if exchange.guard is not None:
            exchange.guard.body_begins(response.content)
        is_complete = False
        assert exchange.transport is not None  # noqa: S101 - the connector has set it
        try:
            received = await receive(
                request,
                response.status,
                response.raw_headers,
                _pieces(response.content),
                config=self._config,
                now=self._clock.now,
                lost=_TRANSLATED,
                extra_info=exchange.transport.get_extra_info,
            )
            is_complete = received.is_complete
            if exchange.guard is not None:
                limit_s = idle_limit_s(received.headers, self._config.keepalive_expiry_s)
                exchange.guard.end(self._clock.now() + limit_s)
        finally:
            if not is_complete:
                exchange.abort()  # first: closing the response alone would be graceful, and so wait
                response.close()
        return received

    def _translate_error(self, request: PlatformRequest, error: BaseException, exchange: _Exchange) -> CallError:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, (LineTooLong, _HeadTooLargeError)):
                return head_too_large(self._config.max_header_bytes)
            cause = cause.__cause__
        if isinstance(error, _LostError) and error.__cause__ is not None:
            error = error.__cause__
        # Other texts of aiohttp contain the URL, and so the query's values.
        text = proxy = ""
        if isinstance(error, aiohttp.ClientConnectorError):
            text = str(error).replace(f" ssl:{error.ssl}", "")  # a context shows its address in memory
            through = None if exchange.proxy is None else yarl.URL(exchange.proxy)
            if through is not None and (error.host, error.port) == (through.host, through.port):
                # Not `os_error`, which a certificate's error lacks.
                proxy, text = f"proxy {error.host}:{error.port}", str(error.__cause__ or "")
        elif isinstance(error, aiohttp.ClientHttpProxyError):
            text = f"{error.status} response to CONNECT"
        elif isinstance(error, _SpokeFirstError):
            text = "the peer sent bytes before the request"
        return translate_error(
            request,
            error,
            phase_known=True,
            text=text,
            proxy=proxy,
            is_new=exchange.is_new,
            connection_error=exchange.end(),
        )
