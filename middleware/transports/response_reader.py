"""
One exchange, whatever the HTTP library: its settings, its bounds, its response, and how its failure becomes ours.

A transport sends one attempt and passes what arrives to `receive`, which reads it within bounds. Everything that no
library should decide differently is in this module.
"""

import asyncio
import ssl
import threading
import urllib.request
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import anyio
import httpx

from middleware._internal.cancellation import pass_on_cancel, pending_cancels
from middleware.errors import (
    CallError,
    ConfigError,
    DecodeError,
    PoolTimeoutError,
    RequestNotSentError,
    ResponseLostError,
    ResponseTooLargeError,
    status_error,
)
from middleware.problem import parse_problem
from middleware.redaction import query_values, redact
from middleware.retry_after import parse_retry_after
from middleware.settings import Settings, SettingSpec
from middleware.types import PlatformRequest, PlatformResponse

__all__ = [
    "BODY_METHODS",
    "ERROR_BODY_WAIT_S",
    "MAX_IDLE_FOR_UNSAFE_S",
    "Received",
    "TlsContext",
    "TransportSettings",
    "answer",
    "check_headers",
    "env_proxies",
    "failure",
    "head_too_large",
    "proxy_for",
    "read_body",
    "receive",
    "wire_headers",
]

BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
"""Methods that send `Content-Length: 0` where they have no body (RFC 9110 section 8.6)."""

MAX_IDLE_FOR_UNSAFE_S = 1.0
"""
Longest idle time, in seconds, after which a connection may carry a request that must not be repeated.

Servers close idle connections after whole seconds (uvicorn 5, nginx 75, Kestrel 130), and one that closes while a
request is under way loses it without a word. A read is then simply sent again; a write could not be.
"""

ERROR_BODY_WAIT_S = 1.0
"""
Longest wait, in seconds after the head, for the body of any status but 2xx.

The status alone decides what becomes of the call; the body only explains it.
"""

# One step of zlib takes less than 1 ms. Both bounds are needed: 64 kB can inflate to 64 MB, and 64 kB of empty blocks,
# which inflate to nothing, take 10 ms.
_STEP_IN = 8 * 1024
_STEP_OUT = 64 * 1024
_MEMBER_COST = 1024  # of setting up zlib, in bytes that inflate in the same time
_WORK_PER_TURN = 64 * 1024

_PARTIAL = 64 * 1024  # what is used of an error's body that is not complete
_MARGIN_SHARE, _MARGIN_S = 0.1, 0.02
_GZIP = b"\x1f\x8b"
_NOT_SENT = httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol
_HIDDEN_HEADERS = frozenset({"set-cookie", "www-authenticate", "authorization"})
_LIBRARIES = ("httpcore", "aiohttp")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings(Settings):
    """The wire."""

    library: Annotated[
        str,
        SettingSpec(
            shared=True, doc="HTTP library under the stack; aiohttp needs the extra of its name.", choices=_LIBRARIES
        ),
    ] = "httpcore"
    connect_timeout_s: Annotated[
        float,
        SettingSpec(shared=True, doc="Time for connecting, TLS included.", unit="s", ge=0.001, le=600, source="httpx"),
    ] = 5.0
    max_response_bytes: Annotated[
        int,
        SettingSpec(
            shared=True, doc="Largest response body, as sent and decompressed.", unit="bytes", ge=1024, le=2**31
        ),
    ] = 8 * 1024 * 1024
    max_header_bytes: Annotated[
        int,
        SettingSpec(
            shared=True,
            doc="Largest head of a response: status line and headers.",
            unit="bytes",
            ge=1024,
            le=96 * 1024,  # h11 gives up at 100 kB
            source=".NET HttpClient: MaxResponseHeadersLength",
        ),
    ] = 64 * 1024
    keepalive_expiry_s: Annotated[
        float,
        SettingSpec(
            shared=True, doc="Idle connections are closed after this time.", unit="s", ge=0, le=600, source="httpx"
        ),
    ] = 5.0
    ca_file: Annotated[
        str, SettingSpec(shared=True, doc="PEM file of the authorities to trust instead of the public ones.")
    ] = ""
    client_certificate_file: Annotated[
        str, SettingSpec(shared=True, doc="PEM file of the certificate to show to servers; may hold its key too.")
    ] = ""
    client_key_file: Annotated[
        str, SettingSpec(shared=True, doc="PEM file of that certificate's key, without a passphrase.")
    ] = ""
    trust_env: Annotated[
        bool, SettingSpec(shared=True, doc="Use the proxies that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name.")
    ] = False


class TlsContext:
    """
    The one TLS context that all connections of a transport share.

    Args:
        config: The settings.

    Raises:
        ConfigError: A file of the settings cannot be used; names the setting.
    """

    def __init__(self, config: TransportSettings) -> None:
        self._lock = threading.Lock()
        private = config.ca_file or config.client_certificate_file or config.client_key_file
        # Early where it can fail; late where it costs 35 ms that plain HTTP need not spend.
        self._context = _private_context(config) if private else None

    async def get(self) -> ssl.SSLContext:
        """Return it; the public authorities are loaded when they are first asked for, beside the event loop."""
        return await asyncio.to_thread(self._load) if self._context is None else self._context

    def _load(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                self._context = httpx.create_ssl_context(trust_env=False)
            return self._context


def _private_context(config: TransportSettings) -> ssl.SSLContext:
    try:
        public = not config.ca_file
        context = (
            httpx.create_ssl_context(trust_env=False) if public else ssl.create_default_context(cafile=config.ca_file)
        )
    except OSError as error:
        raise ConfigError(f"TransportSettings.ca_file: cannot be used: {error}") from None
    if config.client_key_file and not config.client_certificate_file:
        raise ConfigError("TransportSettings.client_key_file: needs client_certificate_file")
    if config.client_certificate_file:
        key_file = config.client_key_file or None
        try:
            context.load_cert_chain(config.client_certificate_file, key_file, password=_no_passphrase)
        except (OSError, ValueError) as error:
            names = "TransportSettings.client_certificate_file, client_key_file"
            raise ConfigError(f"{names}: cannot be used: {error}") from None
    return context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")  # else OpenSSL would ask for it on the terminal


def env_proxies(config: TransportSettings) -> dict[str, str]:
    """
    Proxies of the environment by scheme; none when the settings do not ask for them.

    Raises:
        ConfigError: One is not an HTTP proxy. The text does not show it: it may hold a password.
    """
    if not config.trust_env:
        return {}
    found = urllib.request.getproxies()
    proxies = {scheme: found.get(scheme) or found.get("all", "") for scheme in ("http", "https")}
    proxies = {scheme: url if "://" in url else f"http://{url}" for scheme, url in proxies.items() if url}
    for scheme, url in proxies.items():
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:  # what urlsplit says of a port or an IPv6 address
            usable = False
        if not usable:
            raise ConfigError(
                f"TransportSettings.trust_env: the environment's proxy for {scheme} is not an http(s) URL"
            )
    return proxies


def proxy_for(proxies: Mapping[str, str], url: str) -> str | None:
    """Tell which of *proxies* leads to the origin of *url*; None for a direct connection."""
    parts = urlsplit(url)
    proxy = proxies.get(parts.scheme)
    return None if proxy is None or urllib.request.proxy_bypass(parts.netloc) else proxy


def wire_headers(request: PlatformRequest) -> list[tuple[bytes, bytes]]:
    """Headers of *request* as bytes, which is what the libraries of the httpx family take without a second look."""
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in request.headers.items()]


def check_headers(
    request: PlatformRequest, raw: Iterable[tuple[bytes, bytes]], config: TransportSettings
) -> dict[str, str]:
    """
    Return headers by their names in lower case, repeated ones joined, secrets left out.

    Raises:
        CallError: The response is not one to *request*; see `PlatformRequest.check_head`.
        ResponseTooLargeError: They are beyond the limit.
    """
    headers: dict[str, str] = {}
    repeated: dict[str, list[str]] = {}
    size = 0
    for name, value in raw:
        size += len(name) + len(value) + 4  # ": " and the line's end
        key = name.decode("latin-1").lower()
        if key not in _HIDDEN_HEADERS:
            text = value.decode("latin-1")
            if key in headers:
                repeated.setdefault(key, [headers[key]]).append(text)
            else:
                headers[key] = text
    for key, texts in repeated.items():  # at the end: joined one by one they would be copied again and again
        headers[key] = ", ".join(texts)
    if request.check_head is not None:
        request.check_head(request, headers)  # R53: first, since nothing else of another call's response counts
    if size > config.max_header_bytes:
        raise head_too_large(config)
    return headers


def head_too_large(config: TransportSettings) -> ResponseTooLargeError:
    """Make the error for a head beyond the limit."""
    return ResponseTooLargeError(f"response head larger than {config.max_header_bytes} bytes", request_sent="yes")


class Received(NamedTuple):
    """
    A response as it came.

    Attributes:
        status: HTTP status.
        headers: As `check_headers` gives them.
        body: Decompressed.
        is_whole: False for the beginning of an error's body whose rest could not be read: drop the connection.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool


async def receive(
    request: PlatformRequest,
    status: int,
    raw_headers: Iterable[tuple[bytes, bytes]],
    pieces: AsyncIterable[bytes],
    *,
    config: TransportSettings,
    now: Callable[[], float],
    lost: tuple[type[Exception], ...],
) -> Received:
    """
    Read the response to *request*, whose head has just come.

    Of a 2xx, the body must be readable. Any other status decides by itself: its body is waited for no longer than
    `ERROR_BODY_WAIT_S`, and what can be read of it is used.

    Args:
        request: What was asked.
        status: HTTP status.
        raw_headers: Headers as the library gives them.
        pieces: The raw body.
        config: The settings.
        now: Source of time.
        lost: What the library raises for a body that does not come whole.

    Raises:
        ResponseTooLargeError: The headers, or the body of a 2xx, are beyond the limit.
        DecodeError: The body of a 2xx cannot be decompressed.
        Exception: One of *lost*, for the body of a 2xx.
    """
    attempt = request.attempt
    attempt.request_sent, attempt.status = "yes", status
    headers = check_headers(request, raw_headers, config)
    if _is_success(status):
        return Received(status, headers, await read_body(pieces, headers, config), is_whole=True)
    left_s = min(attempt.ends_at, request.call.deadline_at) - now()
    # It ends before the scopes of attempt and call do, which could only say that time is up.
    wait_s = max(0.0, min(ERROR_BODY_WAIT_S, left_s * (1 - _MARGIN_SHARE), left_s - _MARGIN_S))
    found: list[bytes] = []
    before = pending_cancels()
    with anyio.move_on_after(wait_s) as scope, suppress(CallError, *lost):
        return Received(status, headers, await read_body(pieces, headers, config, found), is_whole=True)
    if scope.cancelled_caught:
        pass_on_cancel(before)  # R42
    return Received(status, headers, b"".join(found)[:_PARTIAL], is_whole=False)


async def read_body(
    pieces: AsyncIterable[bytes],
    headers: Mapping[str, str],
    config: TransportSettings,
    found: list[bytes] | None = None,
) -> bytes:
    """
    Read a raw body and inflate it in bounded pieces.

    Args:
        pieces: The raw body.
        headers: As `check_headers` gives them.
        config: The settings.
        found: Where the decompressed pieces are collected, for a caller that can use a part of them.

    Raises:
        ResponseTooLargeError: It is beyond the limit, as sent or decompressed.
        DecodeError: Its encoding is broken, cut short, followed by something else or one that was not asked for.
    """
    limit = config.max_response_bytes
    found = [] if found is None else found
    inflater = _inflater(headers.get("content-encoding", ""))
    sent = size = 0
    source = aiter(pieces)
    try:
        async for raw in source:
            sent += len(raw)
            for piece in (raw,) if inflater is None else inflater.inflate(raw):
                size += len(piece)
                found.append(piece)
                if max(sent, size) > limit:
                    raise ResponseTooLargeError(f"response larger than {limit} bytes", request_sent="yes")
                if inflater is not None and inflater.work >= _WORK_PER_TURN:
                    inflater.work = 0
                    await asyncio.sleep(0)  # other tasks run between two steps
    except CallError:
        if isinstance(source, AsyncGenerator):
            await source.aclose()  # now, and not in a task that the garbage collector starts
        raise
    if inflater is not None and not inflater.is_whole:
        raise DecodeError("content encoding is cut short", request_sent="yes")
    return b"".join(found)


def _inflater(encoding: str) -> "_Inflater | None":
    """
    Return what inflates a body; None for one that is not compressed.

    Raises:
        DecodeError: The encoding is one that was not asked for.
    """
    names = [name.strip().lower() for name in encoding.split(",") if name.strip()]
    if names in ([], ["identity"]):
        return None
    if names not in (["gzip"], ["x-gzip"], ["deflate"]):
        raise DecodeError(f"content encoding {redact(encoding, limit=40)} was not asked for", request_sent="yes")
    return _Inflater()


class _Inflater:
    """
    Inflates gzip, all members of it (RFC 1952 section 2.2), or zlib, in steps of bounded input and output.

    Attributes:
        work: Cost of the steps so far, in bytes; the reader sets it back when it lets other tasks run.
    """

    def __init__(self) -> None:
        self.work = 0
        self._zlib = zlib.decompressobj(47)  # 32: gzip or zlib, by the header; 15: with the largest window
        self._format = b""

    @property
    def is_whole(self) -> bool:
        """True when nothing is missing; an empty body is whole."""
        return self._zlib.eof or not self._format

    def inflate(self, raw: bytes) -> Iterator[bytes]:
        """
        Inflate the next *raw* bytes, at most 64 kB at a time.

        Raises:
            DecodeError: They are not what the encoding promises.
        """
        self._format = self._format or raw[:1]
        for at in range(0, len(raw), _STEP_IN):
            rest = raw[at : at + _STEP_IN]
            while rest:
                if self._zlib.eof:
                    self._begin_member(rest)
                yield self._step(rest)
                rest = self._zlib.unconsumed_tail or self._zlib.unused_data

    def _begin_member(self, rest: bytes) -> None:
        if self._format != b"\x1f" or not _GZIP.startswith(rest[:2]):  # zlib has no members
            raise DecodeError("content encoding is followed by something else", request_sent="yes")
        self._zlib = zlib.decompressobj(31)  # 16: gzip
        self.work += _MEMBER_COST

    def _step(self, data: bytes) -> bytes:
        try:
            piece = self._zlib.decompress(data, _STEP_OUT)
        except zlib.error:
            pass
        else:
            self.work += max(len(data) * (_STEP_OUT // _STEP_IN), len(piece))
            return piece
        raise DecodeError("content encoding is broken", request_sent="yes")


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004


def answer(
    request: PlatformRequest, status: int, headers: Mapping[str, str], body: bytes, wall: Callable[[], float]
) -> PlatformResponse:
    """
    Make the response of a complete 2xx answer.

    Args:
        request: What was asked.
        status: HTTP status.
        headers: As `check_headers` gives them.
        body: Decompressed; of an error, what could be read.
        wall: Seconds since the Unix epoch, for Retry-After as a date.

    Raises:
        StatusError: Any other status, redirects included.
    """
    if _is_success(status):
        correlation_id = headers.get("x-correlation-id") or request.call.info.correlation_id
        return PlatformResponse(status=status, headers=headers, body=body, correlation_id=correlation_id)
    after = parse_retry_after(headers.get("retry-after"), headers.get("date"), wall())
    hidden = request.user_jwt, request.headers.get("x-mozaiks-app-key"), *query_values(request.params)
    problem = parse_problem(body, headers.get("content-type", ""), *hidden)
    overloaded = headers.get("x-envoy-overloaded", "").strip().lower() == "true"
    raise status_error(status, problem, retry_after_s=after, is_overloaded=overloaded)


def failure(request: PlatformRequest, error: BaseException, *, traced: bool, text: str | None = None) -> CallError:
    """
    Translate what a library raised by how far the attempt got; the exception's name cannot tell (RST on accept).

    Args:
        request: What was asked.
        error: What was raised.
        traced: The library told the phase; else the error's class has to do.
        text: What may be shown of an error in the time before the request was sent; None takes the error's own text.
    """
    attempt, name = request.attempt, type(error).__name__
    if not traced and attempt.request_sent == "no" and not isinstance(error, _NOT_SENT):
        attempt.request_sent = "maybe"  # R12
    if attempt.request_sent == "no":
        # The operating system's or TLS's own words. Later ones may quote what the peer sent.
        said = redact(str(error) if text is None else text, request.user_jwt, request.headers.get("x-mozaiks-app-key"))
        kind = PoolTimeoutError if isinstance(error, httpx.PoolTimeout) else RequestNotSentError
        return kind(f"{name}: {said}" if said else name)
    return ResponseLostError(f"{name} after the request was sent", request_sent=attempt.request_sent)
