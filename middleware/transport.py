"""
The terminal of the stack and the only module that knows the HTTP library.

It sends one attempt, reads the whole answer within bounds and turns every foreign exception into our error tree with
the phase it happened in, so that all layers decide on our types.

Connections: httpx's own pool loses slots for ever when a call is cancelled while its connection is set up, and its
cost grows with the square of open connections. So each event loop keeps a last-in-first-out stack of one-connection
`httpx.AsyncHTTPTransport`s per origin; one whose attempt failed or was cancelled is closed and dropped.
How many are open at once is the bulkhead's matter.
"""

import asyncio
import ssl
import threading
import weakref
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

import anyio
import httpx

from .clock import Clock
from .errors import (
    CallError,
    ClientClosedError,
    DecodeError,
    PoolTimeoutError,
    RequestNotSentError,
    ResponseLostError,
    ResponseTooLargeError,
    status_error,
)
from .knobs import Knob, Settings
from .problem import parse_problem
from .redaction import query_values, redact
from .retry_after import parse_retry_after
from .types import Attempt, PlatformRequest, PlatformResponse, Transport

__all__ = ["HttpxTransport", "TransportConfig", "as_transport"]

_CHUNK = 65536
_NOT_SENT = httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol
# Everything that a broken network, peer or request can raise from below: httpx translates most of it, but lets OS,
# TLS and grouped errors of anyio through (a connect to port 99999, say).
_FOREIGN = httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ssl.SSLError, ExceptionGroup, UnicodeError
_HIDDEN_HEADERS = frozenset({"set-cookie", "www-authenticate", "authorization"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportConfig(Settings):
    """The wire."""

    connect_timeout_s: Annotated[
        float, Knob(doc="Time for connecting, TLS included.", unit="s", ge=0.001, le=600, shared=True, source="httpx")
    ] = 5.0
    max_response_bytes: Annotated[
        int, Knob(doc="Largest response body, decompressed.", unit="bytes", ge=1024, le=2**31, shared=True)
    ] = 8 * 1024 * 1024
    keepalive_expiry_s: Annotated[
        float,
        Knob(doc="Idle connections are closed after this time.", unit="s", ge=0, le=600, shared=True, source="httpx"),
    ] = 5.0


class _Connection:
    """One httpx transport limited to one connection, and since when it has been idle."""

    __slots__ = ("idle_since", "transport")

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self.transport = transport
        self.idle_since = 0.0


class HttpxTransport:
    """
    Sends attempts over connections of its own, or over any `httpx.AsyncBaseTransport`.

    Works for many tasks and across event loops and threads: what is bound to a loop is kept per loop.

    Args:
        config: The settings.
        clock: Source of time.
        inner: Use this httpx transport instead of own connections, for example `httpx.MockTransport`. It is not
            closed by `aclose`: whoever made it closes it.
    """

    def __init__(self, config: TransportConfig, clock: Clock, *, inner: httpx.AsyncBaseTransport | None = None) -> None:
        self._config = config
        self._clock = clock
        self._inner = inner
        self._closed = False
        self._tls: ssl.SSLContext | None = None
        self._lock = threading.Lock()
        self._idle: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, list[_Connection]]] = (
            weakref.WeakKeyDictionary()
        )

    async def send(self, request: PlatformRequest, url: str) -> PlatformResponse:
        """
        Send *request* to *url* once and read the whole answer.

        Raises:
            StatusError: Any status but 2xx, redirects included.
            RequestNotSentError: No byte left us.
            ResponseLostError: The request was sent, or may have been; no complete answer came.
            ResponseTooLargeError: The answer is beyond the limit.
            ClientClosedError: `aclose` was called before.
        """
        if self._closed:
            raise ClientClosedError("the client is closed")
        if self._inner is not None:
            return await self._exchange(self._inner, request, url)
        idle, origin = self._idle_here(), _origin(url)
        connection = await self._take(idle, origin)
        try:
            response = await self._exchange(connection.transport, request, url)
        except CallError as error:
            # An answer with a complete body leaves the connection usable; anything else does not.
            if error.status is None:
                await _drop(connection)
            else:
                await self._give_back(idle, origin, connection)
            raise
        except BaseException:
            await _drop(connection)
            raise
        await self._give_back(idle, origin, connection)
        request.attempt.request_sent = "yes"
        return response

    async def aclose(self) -> None:
        """Close idle connections now and busy ones when their attempt ends; idempotent."""
        here = asyncio.get_running_loop()
        for loop, connections in self._detach():
            if loop is here:
                await _drop_all(connections)
            else:
                _drop_elsewhere(loop, connections)

    def close_soon(self) -> None:
        """As `aclose`, from code that cannot wait: each event loop closes its own connections when it gets to it."""
        for loop, connections in self._detach():
            _drop_elsewhere(loop, connections)

    def _detach(self) -> list[tuple[asyncio.AbstractEventLoop, list[_Connection]]]:
        """Refuse further attempts and take all idle connections away."""
        self._closed = True
        with self._lock:
            idle = list(self._idle.items())
            self._idle.clear()
        found = []
        for loop, stacks in idle:
            found.append((loop, [connection for stack in stacks.values() for connection in stack]))
            stacks.clear()
        return found

    def _idle_here(self) -> dict[str, list[_Connection]]:
        loop = asyncio.get_running_loop()
        idle = self._idle.get(loop)
        if idle is None:
            with self._lock:
                for gone in [known for known in self._idle if known.is_closed()]:
                    del self._idle[gone]
                idle = self._idle[loop] = {}
        return idle

    async def _take(self, idle: dict[str, list[_Connection]], origin: str) -> _Connection:
        stack = idle.setdefault(origin, [])
        oldest = self._clock.now() - self._config.keepalive_expiry_s
        expired = []
        while stack and stack[0].idle_since < oldest:
            expired.append(stack.pop(0))
        connection = stack.pop() if stack else _Connection(self._new_transport(origin))
        for stale in expired:
            await _drop(stale)
        return connection

    async def _give_back(self, idle: dict[str, list[_Connection]], origin: str, connection: _Connection) -> None:
        if self._closed:
            await _drop(connection)
        else:
            connection.idle_since = self._clock.now()
            idle.setdefault(origin, []).append(connection)

    def _new_transport(self, origin: str) -> httpx.AsyncHTTPTransport:
        verify: ssl.SSLContext | bool = False  # plain http: no context is ever used
        if origin.startswith("https"):
            # Made once: loading the CA bundle costs some 35 ms.
            if self._tls is None:
                self._tls = httpx.create_ssl_context(trust_env=False)
            verify = self._tls
        return httpx.AsyncHTTPTransport(
            verify=verify,
            trust_env=False,  # proxies and CA files of the environment are not ours to follow
            limits=httpx.Limits(
                max_connections=1, max_keepalive_connections=1, keepalive_expiry=self._config.keepalive_expiry_s
            ),
        )

    async def _exchange(
        self, transport: httpx.AsyncBaseTransport, request: PlatformRequest, url: str
    ) -> PlatformResponse:
        """One request and its whole answer over *transport*, every foreign exception translated."""
        progress = _Progress(request.attempt)
        try:
            wire_request = httpx.Request(
                request.method,
                url,
                headers=list(request.headers.items()),
                content=request.content,
                extensions={
                    "timeout": self._timeouts(request.attempt),
                    "trace": progress.trace,
                },
            )
            response = await transport.handle_async_request(wire_request)
            request.attempt.request_sent = "yes"
            try:
                body = await self._read(response)
            finally:
                # Shielded: a connection half given back is a lost one.
                with anyio.CancelScope(shield=True):
                    await response.aclose()
        except _FOREIGN as error:
            failure = progress.failure(error, request)
        else:
            return self._answer(request, response, body)
        # Raised here, outside the handler: httpx's exception holds the request and so the credentials.
        raise failure

    def _timeouts(self, attempt: Attempt) -> dict[str, float | None]:
        """The library's own timeouts, behind the attempt's: each step has at most the time of all of them."""
        left = attempt.timeout_s  # R2
        return {"connect": self._config.connect_timeout_s, "read": left, "write": left, "pool": left}

    async def _read(self, response: httpx.Response) -> bytes:
        """Read the raw body and inflate it in bounded pieces."""
        limit = self._config.max_response_bytes
        inflate = _inflater(response.headers.get("content-encoding", ""))
        pieces: list[bytes] = []
        size = 0
        async for raw in _raw_pieces(response):
            for piece in inflate(raw):
                size += len(piece)
                if size > limit:
                    raise ResponseTooLargeError(f"response larger than {limit} bytes", request_sent="yes")
                pieces.append(piece)
        return b"".join(pieces)

    def _answer(self, request: PlatformRequest, response: httpx.Response, body: bytes) -> PlatformResponse:
        headers: dict[str, str] = {}
        for name, value in response.headers.multi_items():
            key = name.lower()
            if key not in _HIDDEN_HEADERS:
                headers[key] = f"{headers[key]}, {value}" if key in headers else value
        status = response.status_code
        if not 200 <= status < 300:  # noqa: PLR2004
            after = parse_retry_after(headers.get("retry-after"), headers.get("date"), self._clock.wall())
            hidden = request.user_jwt, request.headers.get("x-mozaiks-app-key"), *query_values(request.params)
            problem = parse_problem(body, headers.get("content-type", ""), *hidden)
            raise status_error(status, problem, retry_after_s=after)
        return PlatformResponse(
            status=status,
            headers=headers,
            body=body,
            correlation_id=headers.get("x-correlation-id") or request.call.info.correlation_id,
        )


def as_transport(
    given: Transport | httpx.AsyncBaseTransport | None, config: TransportConfig, clock: Clock
) -> Transport:
    """Take a transport as it is, wrap an httpx one, or make the default one."""
    if given is None or isinstance(given, httpx.AsyncBaseTransport):
        return HttpxTransport(config, clock, inner=given)
    return given


class _Progress:
    """How far the attempt got, told by httpcore's trace events: the exception's name cannot tell (RST on accept)."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._traced = False

    async def trace(self, event: str, _info: dict[str, Any]) -> None:
        self._traced = True
        if event.endswith(".send_request_headers.started"):
            self._attempt.request_sent = "maybe"

    def failure(self, error: BaseException, request: PlatformRequest) -> CallError:
        """Translate *error* by the phase it happened in; a transport that tells no phase is judged by its error."""
        attempt = self._attempt
        if not self._traced and attempt.request_sent == "no" and not isinstance(error, _NOT_SENT):
            attempt.request_sent = "maybe"
        name = type(error).__name__
        if attempt.request_sent == "no":
            # The operating system's or TLS's own words. Later ones may quote what the peer sent.
            kind = PoolTimeoutError if isinstance(error, httpx.PoolTimeout) else RequestNotSentError
            text = redact(str(error), request.user_jwt, request.headers.get("x-mozaiks-app-key"))
            return kind(f"{name}: {text}" if text else name)
        return ResponseLostError(f"{name} after the request was sent", request_sent=attempt.request_sent)


async def _raw_pieces(response: httpx.Response) -> Any:
    stream = response.stream
    if isinstance(stream, httpx.AsyncByteStream):
        async for raw in stream:
            yield raw
    else:
        yield response.content  # a ready-made response of a mock transport


def _inflater(encoding: str) -> Any:
    """Return a function that inflates raw pieces, each call giving pieces of at most 64 kB."""
    names = [name.strip().lower() for name in encoding.split(",") if name.strip()]
    if names in ([], ["identity"]):
        return lambda raw: (raw,)
    if names not in (["gzip"], ["x-gzip"], ["deflate"]):
        raise DecodeError(f"content encoding {redact(encoding, limit=40)} was not asked for", request_sent="yes")
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip or zlib, by the header

    def inflate(raw: bytes) -> Any:
        try:
            yield inflater.decompress(raw, _CHUNK)
            while inflater.unconsumed_tail:
                yield inflater.decompress(inflater.unconsumed_tail, _CHUNK)
            return
        except zlib.error:
            pass
        raise DecodeError("content encoding is broken", request_sent="yes")

    return inflate


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


async def _drop_all(connections: list[_Connection]) -> None:
    for connection in connections:
        await _drop(connection)


def _drop_elsewhere(loop: asyncio.AbstractEventLoop, connections: list[_Connection]) -> None:
    # A connection is closed by its own loop; one of a loop that is gone goes with its last reference.
    if connections and not loop.is_closed():
        asyncio.run_coroutine_threadsafe(_drop_all(connections), loop)


async def _drop(connection: _Connection) -> None:
    """Close without waiting for the network and whatever happens; the caller may be cancelled already."""
    with anyio.CancelScope(shield=True), suppress(Exception):
        await connection.transport.aclose()
