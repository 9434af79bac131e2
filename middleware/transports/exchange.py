"""
One exchange, whatever the HTTP library: its settings, its bounds, its answer, and how its failure becomes ours.

A transport sends one attempt, reads the whole answer within bounds and keeps `request.attempt.request_sent` current.
Everything that no library should decide differently stands here.
"""

import asyncio
import ssl
import threading
import urllib.request
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

import httpx

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
    "MAX_IDLE_FOR_UNSAFE_S",
    "TlsContext",
    "TransportSettings",
    "answer",
    "check_headers",
    "env_proxies",
    "failure",
    "head_too_large",
    "proxy_for",
    "read_body",
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

_CHUNK = 65536
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
        int, SettingSpec(shared=True, doc="Largest response body, decompressed.", unit="bytes", ge=1024, le=2**31)
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
    size = 0
    for name, value in raw:
        size += len(name) + len(value) + 4  # ": " and the line's end
        key = name.decode("latin-1").lower()
        if key not in _HIDDEN_HEADERS:
            text = value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
    if request.check_head is not None:
        request.check_head(request, headers)  # R53: first, since nothing else of another call's response counts
    if size > config.max_header_bytes:
        raise head_too_large(config)
    return headers


def head_too_large(config: TransportSettings) -> ResponseTooLargeError:
    """Make the error for a head beyond the limit."""
    return ResponseTooLargeError(f"response head larger than {config.max_header_bytes} bytes", request_sent="yes")


async def read_body(pieces: AsyncIterable[bytes], headers: Mapping[str, str], config: TransportSettings) -> bytes:
    """
    Read a raw body and inflate it in bounded pieces.

    Raises:
        ResponseTooLargeError: It is beyond the limit, counted decompressed.
        DecodeError: Its encoding is broken, cut short or one that was not asked for.
    """
    limit = config.max_response_bytes
    inflate, ended = _inflater(headers.get("content-encoding", ""))
    found: list[bytes] = []
    size = 0
    source = aiter(pieces)
    try:
        async for raw in source:
            for piece in inflate(raw):
                size += len(piece)
                if size > limit:
                    raise ResponseTooLargeError(f"response larger than {limit} bytes", request_sent="yes")
                found.append(piece)
    except CallError:
        if isinstance(source, AsyncGenerator):
            await source.aclose()  # now, and not in a task that the garbage collector starts
        raise
    if not ended():
        raise DecodeError("content encoding is cut short", request_sent="yes")
    return b"".join(found)


def _inflater(encoding: str) -> tuple[Callable[[bytes], Iterable[bytes]], Callable[[], bool]]:
    """Return a function that inflates raw pieces, at most 64 kB at a time, and one that tells if all is there."""
    names = [name.strip().lower() for name in encoding.split(",") if name.strip()]
    if names in ([], ["identity"]):
        return lambda raw: (raw,), lambda: True
    if names not in (["gzip"], ["x-gzip"], ["deflate"]):
        raise DecodeError(f"content encoding {redact(encoding, limit=40)} was not asked for", request_sent="yes")
    inflater = zlib.decompressobj(47)  # 32: gzip or zlib, by the header; 15: with the largest window
    begun = False

    def inflate(raw: bytes) -> Iterator[bytes]:
        nonlocal begun
        begun = begun or bool(raw)
        try:
            yield inflater.decompress(raw, _CHUNK)
            while inflater.unconsumed_tail:
                yield inflater.decompress(inflater.unconsumed_tail, _CHUNK)
            return
        except zlib.error:
            pass
        raise DecodeError("content encoding is broken", request_sent="yes")

    return inflate, lambda: inflater.eof or not begun


def answer(
    request: PlatformRequest, status: int, headers: Mapping[str, str], body: bytes, wall: Callable[[], float]
) -> PlatformResponse:
    """
    Make the response of a complete 2xx answer.

    Args:
        request: What was asked.
        status: HTTP status.
        headers: As `check_headers` gives them.
        body: Whole and decompressed.
        wall: Seconds since the Unix epoch, for Retry-After as a date.

    Raises:
        StatusError: Any other status, redirects included.
    """
    if 200 <= status < 300:  # noqa: PLR2004
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
