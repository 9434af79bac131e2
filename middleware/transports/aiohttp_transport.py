"""
The opt-in transport: attempts over `aiohttp.ClientSession`, whose parser is compiled. Needs the extra `aiohttp`.

What a session does on its own is switched off: redirects, cookies, decompression, and the silent second send of an
idempotent request whose kept-alive connection was dropped, which would make one attempt two requests. Test doubles of
the httpx family do not intercept what is sent here.
"""

import asyncio
import io
import select
import weakref
from contextvars import ContextVar
from typing import Any

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import LineTooLong

from middleware._internal.per_loop import PerLoop
from middleware.clock import Clock
from middleware.errors import CallError, ClientClosedError
from middleware.types import Attempt, PlatformRequest, PlatformResponse

from .response_reader import (
    MAX_IDLE_FOR_UNSAFE_S,
    Received,
    TlsContext,
    TransportSettings,
    answer,
    env_proxies,
    failure,
    head_too_large,
    proxy_for,
    receive,
)

__all__ = ["AiohttpTransport"]

_IN_ONE_GO = 2**20
_FOREIGN = aiohttp.ClientError, OSError, UnicodeError
_PLAIN = "http://"


class _Exchange:
    """What the connector tells of the attempt that runs in this context: which connection it got, and that it did."""

    __slots__ = ("attempt", "transport")

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.transport: asyncio.Transport | None = None

    def abort(self) -> None:
        """Close the connection without waiting for the peer or for what is still to be sent."""
        if self.transport is not None:
            self.transport.abort()


_current: ContextVar[_Exchange] = ContextVar("_current")


class _Connector(aiohttp.TCPConnector):
    """A connector that looks at an idle connection before it gives it away, and tells the attempt that it did."""

    used: "weakref.WeakSet[ResponseHandler]"  # by protocol: uvloop's TLS transports take no weak references

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109 - aiohttp's signature
        """Connect; from here on, the request may have been sent."""
        exchange = _current.get()
        while True:
            connection = await super().connect(req, traces, timeout)
            transport, protocol = connection.transport, connection.protocol
            assert transport is not None and protocol is not None  # noqa: PT018, S101 - it has just been connected
            if protocol not in self.used or not (protocol.should_close or _is_readable(transport)):
                break
            transport.abort()
            connection.close()
        self.used.add(protocol)
        exchange.transport = transport
        exchange.attempt.request_sent = "maybe"
        return connection


def _is_readable(transport: asyncio.Transport) -> bool:
    """Tell what the operating system knows and the event loop may not have seen yet: the peer closed, or spoke."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


class _Sessions:
    """
    The sessions of one event loop, made inside it.

    Args:
        config: The settings.
    """

    def __init__(self, config: TransportSettings) -> None:
        self._connectors: list[_Connector] = []
        self._busy = 0
        self._closing = False
        self._closer: asyncio.Task[None]  # kept, since the event loop holds tasks weakly
        self._repeatable = self._session(config, config.keepalive_expiry_s)
        self._once = self._session(config, min(MAX_IDLE_FOR_UNSAFE_S, config.keepalive_expiry_s))

    def _session(self, config: TransportSettings, expiry_s: float) -> aiohttp.ClientSession:
        connector = _Connector(limit=0, keepalive_timeout=expiry_s)
        connector.used = weakref.WeakSet()
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

    def begin(self, *, idempotent: bool) -> aiohttp.ClientSession:
        """Give the session for one attempt, which `end` ends."""
        self._busy += 1
        return self._repeatable if idempotent else self._once

    def end(self) -> None:
        """Count an attempt down; the last one closes what was asked to be closed."""
        self._busy -= 1
        if self._closing and not self._busy:
            self._closer = asyncio.get_running_loop().create_task(self._close())

    async def close(self) -> None:
        """Close everything, now or when the last attempt ends."""
        self._closing = True
        if not self._busy:
            await self._close()

    async def _close(self) -> None:
        for connector in self._connectors:
            for protocol in connector.used:
                if protocol.transport is not None:
                    protocol.transport.abort()  # a polite end of TLS would wait for the peer
        await self._repeatable.close()
        await self._once.close()


class _LostError(Exception):
    """A connection that was lost, under a name at which the session does not send the request once more."""


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _LostError from error


def _body(content: bytes | None) -> bytes | io.BytesIO | None:
    # aiohttp copies bytes to the socket in one go; a large body goes in pieces, so that the loop stays free.
    return content if content is None or len(content) <= _IN_ONE_GO else io.BytesIO(content)


class AiohttpTransport:
    """
    Sends attempts over aiohttp.

    Works for many tasks and across event loops and threads: what is bound to a loop is kept per loop.

    Args:
        config: The settings.
        clock: Source of time.

    Raises:
        ConfigError: A file or a proxy that the settings ask for cannot be used.
    """

    def __init__(self, config: TransportSettings, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._closed = False
        self._tls = TlsContext(config)
        self._proxies = env_proxies(config)
        self._sessions = PerLoop(lambda: _Sessions(config))

    async def send(self, request: PlatformRequest, url: str) -> PlatformResponse:
        """Send *request* to *url* once and read the whole answer; errors as for the default transport."""
        if self._closed:
            raise ClientClosedError("the client is closed")
        sessions = self._sessions.get()
        exchange = _Exchange(request.attempt)
        token = _current.set(exchange)
        session = sessions.begin(idempotent=request.is_repeatable)
        try:
            received = await self._exchange(session, exchange, request, url)
        except (*_FOREIGN, _LostError) as error:
            exchange.abort()
            lost = self._failure(request, error)
        except BaseException:
            exchange.abort()
            raise
        else:
            return answer(request, received.status, received.headers, received.body, self._clock.wall)
        finally:
            _current.reset(token)
            sessions.end()
        raise lost  # outside the handler: a foreign exception may hold the request and so the credentials

    async def aclose(self) -> None:
        """Close idle connections now and busy ones when their attempt ends; idempotent."""
        self._closed = True
        here = asyncio.get_running_loop()
        for loop, sessions in self._sessions.drain():
            if loop is here:
                await sessions.close()
            else:
                asyncio.run_coroutine_threadsafe(sessions.close(), loop)

    def request_close(self) -> None:
        """As `aclose`, from code that cannot wait: each event loop closes its own connections when it gets to it."""
        self._closed = True
        for loop, sessions in self._sessions.drain():
            asyncio.run_coroutine_threadsafe(sessions.close(), loop)

    async def _exchange(
        self, session: aiohttp.ClientSession, exchange: _Exchange, request: PlatformRequest, url: str
    ) -> Received:
        proxy = proxy_for(self._proxies, url) if self._proxies else None
        # Whatever is not plainly without TLS gets our context: aiohttp has one of its own, which trusts others.
        needs_tls = not url.startswith(_PLAIN) or not (proxy or _PLAIN).startswith(_PLAIN)
        response = await session.request(
            request.method,
            yarl.URL(url, encoded=True),
            headers=request.headers,
            data=_body(request.content),
            allow_redirects=False,
            proxy=proxy,
            ssl=await self._tls.get() if needs_tls else True,
        )
        is_whole = False
        try:
            received = await receive(
                request,
                response.status,
                response.raw_headers,
                response.content.iter_any(),
                config=self._config,
                now=self._clock.now,
                lost=_FOREIGN,
            )
            is_whole = received.is_whole
        finally:
            if not is_whole:
                exchange.abort()  # first: the response would close politely
                response.close()
        return received

    def _failure(self, request: PlatformRequest, error: BaseException) -> CallError:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, LineTooLong):
                return head_too_large(self._config)
            cause = cause.__cause__
        if isinstance(error, _LostError) and error.__cause__ is not None:
            error = error.__cause__
        # Other texts of aiohttp hold the URL, and so the query's values.
        text = str(error) if isinstance(error, aiohttp.ClientConnectorError) else ""
        return failure(request, error, traced=True, text=text)
