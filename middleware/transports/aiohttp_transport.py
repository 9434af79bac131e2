"""
The opt-in transport: attempts over `aiohttp.ClientSession`, whose parser is compiled. Needs the extra `aiohttp`.

What a session does by itself is disabled: redirects, cookies, decompression, and the silent resending of an idempotent
request whose kept-alive connection was dropped, which would make one attempt two requests. Test doubles of the httpx
family do not intercept what is sent here.
"""

import asyncio
import select
import socket
import weakref
from collections.abc import AsyncIterator, Sequence
from contextvars import Context, ContextVar
from typing import Any

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import LineTooLong

from middleware._internal.detached import detached
from middleware._internal.per_loop import PerLoop
from middleware.clock import Clock
from middleware.errors import CallError
from middleware.types import Attempt, PlatformRequest, PlatformResponse

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


class _Exchange:
    """The attempt that runs in this context, and its connection, which the connector sets."""

    __slots__ = ("attempt", "is_new", "protocol", "proxy", "transport")

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
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
            self.transport.abort()


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


class _Connector(aiohttp.TCPConnector):
    """A connector that checks an idle connection before it reuses it, and reports the connection to the attempt."""

    lifetime: Lifetime
    # Until when each connection may be used; by protocol: uvloop's TLS transports take no weak references.
    used: "weakref.WeakKeyDictionary[ResponseHandler, float]"

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109 - aiohttp's signature
        """Connect; from here on, the request may have been sent."""
        exchange = _current.get()
        while True:
            connection = await detached(super().connect(req, traces, timeout))
            transport, protocol = connection.transport, connection.protocol
            assert transport is not None and protocol is not None  # noqa: PT018, S101 - it has just been connected
            ends_at = self.used.get(protocol)
            exchange.is_new = ends_at is None
            if ends_at is None:
                self.used[protocol] = self.lifetime.ends_at()
                if protocol.closed is not None:
                    protocol.closed.add_done_callback(_error_of, context=Context())  # asyncio logs errors that are never retrieved
                break
            if self.lifetime.lasts(ends_at) and not (protocol.should_close or _is_readable(transport)):
                break
            transport.abort()
            connection.close()
        exchange.transport, exchange.protocol = transport, protocol
        exchange.attempt.request_sent = "maybe"
        return connection

    def _release(self, *args: Any, **options: Any) -> None:
        """Release a connection; the timer for idle ones, which aiohttp sets here, must not keep the call's context."""
        Context().run(super()._release, *args, **options)


def _error_of(closed: "asyncio.Future[None]") -> BaseException | None:
    return None if closed.cancelled() else closed.exception()


def _is_readable(transport: asyncio.Transport) -> bool:
    """Ask the operating system, which knows before the event loop does: has the peer closed, or sent something?"""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


class _Sessions:
    """
    The sessions of one event loop, made inside it.

    Args:
        config: The settings.
        resolver: Looks names up.
        lifetime: Of each connection.
    """

    def __init__(self, config: TransportSettings, resolver: Resolver, lifetime: Lifetime) -> None:
        self._resolver = _Resolver(resolver)
        self._lifetime = lifetime
        self._connectors: list[_Connector] = []
        self._busy: set[_Exchange] = set()
        self._closing = False
        self._closer: asyncio.Task[None]  # kept, since the event loop refers to tasks weakly
        self._repeatable = self._session(config, config.keepalive_expiry_s)
        self._once = self._session(config, min(MAX_IDLE_FOR_UNSAFE_S, config.keepalive_expiry_s))

    def _session(self, config: TransportSettings, expiry_s: float) -> aiohttp.ClientSession:
        connector = _Connector(limit=0, keepalive_timeout=expiry_s, resolver=self._resolver, use_dns_cache=False)
        connector.used, connector.lifetime = weakref.WeakKeyDictionary(), self._lifetime
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
        if self._closing and not self._busy:
            self._closer = asyncio.get_running_loop().create_task(self._close())

    async def close(self) -> None:
        """Close idle connections now, and the others when the last attempt ends."""
        self._closing = True
        if self._busy:
            self._abort(except_for=[exchange.transport for exchange in self._busy])
        else:
            await self._close()

    def _abort(self, except_for: Sequence[asyncio.BaseTransport | None] = ()) -> None:
        for connector in self._connectors:
            for protocol in list(connector.used):
                if protocol.transport is not None and protocol.transport not in except_for:
                    protocol.transport.abort()  # a TLS shutdown would wait for the peer

    async def _close(self) -> None:
        self._abort()
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


def _close_soon(per_loop: PerLoop[_Sessions]) -> None:
    for loop, sessions in per_loop.drain():
        closing = sessions.close()
        try:
            asyncio.run_coroutine_threadsafe(closing, loop)
        except RuntimeError:  # the loop has just been closed, by its thread
            closing.close()


class AiohttpTransport(LoopBoundTransport[_Sessions]):
    """
    Sends attempts over aiohttp; errors of construction as for `LoopBoundTransport`.

    Args:
        config: The settings.
        clock: Source of time.
    """

    def __init__(self, config: TransportSettings, clock: Clock) -> None:
        super().__init__(config, clock, lambda: _Sessions(config, self._resolver, self._lifetime))
        # aiohttp reports a session that is dropped without being closed, as it is when a bundle has its last caller.
        weakref.finalize(self, _close_soon, self._per_loop).atexit = False

    async def send(self, request: PlatformRequest, url: str) -> PlatformResponse:
        """Send *request* to *url* once and read the whole response; errors as for the default transport."""
        sessions = self._resources()
        exchange = _Exchange(request.attempt)
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
            _current.reset(token)
            sessions.end(exchange)
        raise lost  # outside the handler, so unchained: a third-party exception may refer to the credentials

    async def aclose(self) -> None:
        """Close idle connections now and busy ones when their attempt ends; idempotent."""
        here = asyncio.get_running_loop()
        for loop, sessions in self._drain():
            if loop is here:
                await sessions.close()
            else:
                asyncio.run_coroutine_threadsafe(sessions.close(), loop)

    def request_close(self) -> None:
        """Close as `aclose` does, without waiting, from any thread: each event loop closes its own connections."""
        for loop, sessions in self._drain():
            asyncio.run_coroutine_threadsafe(sessions.close(), loop)

    def drop_connections(self) -> None:
        """Close as `request_close` does, and stay open: later attempts open new connections."""
        _close_soon(self._per_loop)

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
        finally:
            if not is_complete:
                exchange.abort()  # first: closing the response alone would be graceful, and so wait
                response.close()
        return received

    def _translate_error(self, request: PlatformRequest, error: BaseException, exchange: _Exchange) -> CallError:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, LineTooLong):
                return head_too_large(self._config)
            cause = cause.__cause__
        if isinstance(error, _LostError) and error.__cause__ is not None:
            error = error.__cause__
        # Other texts of aiohttp contain the URL, and so the query's values.
        text = str(error) if isinstance(error, aiohttp.ClientConnectorError) else ""
        proxy = ""
        if exchange.proxy is not None and isinstance(error, aiohttp.ClientConnectorError):
            through = yarl.URL(exchange.proxy)
            if (error.host, error.port) == (through.host, through.port):
                proxy, text = f"proxy {error.host}:{error.port}", str(error.os_error)
        return translate_error(
            request,
            error,
            phase_known=True,
            text=text,
            proxy=proxy,
            is_new=exchange.is_new,
            connection_error=exchange.end(),
        )
