"""Attempts over any transport of the httpx family that was passed in, `httpx.MockTransport` among them."""

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import anyio
import httpx

from middleware.clock import Clock
from middleware.errors import ClientClosedError
from middleware.types import Attempt, PlatformRequest, PlatformResponse

from .response_reader import receive
from .translation import to_response, translate_error, wire_headers
from .transport_settings import TransportSettings

__all__ = ["HttpxTransport"]

# Everything that a broken network, peer or request can raise: httpx translates most of it, but not all errors of the
# operating system and of TLS, nor exception groups of anyio (for example on connecting to port 99999).
_TRANSLATED = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    OSError,
    ssl.SSLError,
    ExceptionGroup,
    MemoryError,
    UnicodeError,
)


_DEFAULT_PORTS = {"http": 80, "https": 443}


class HttpxTransport:
    """
    Sends attempts over an `httpx.AsyncBaseTransport`.

    Args:
        config: The settings; those of connections do not apply to *inner*, which has its own.
        clock: Source of time.
        inner: The transport that sends. `aclose` does not close it: that is its owner's task.
    """

    def __init__(self, config: TransportSettings, clock: Clock, inner: httpx.AsyncBaseTransport) -> None:
        self._config = config
        self._clock = clock
        self._inner = inner
        self._closed = False

    async def send(self, request: PlatformRequest, url: str) -> PlatformResponse:
        """
        Send *request* to *url* once and read the whole response; errors as for the default transport.

        Where the inner transport reports no phase, its exception's class decides whether the request was sent.
        """
        if self._closed:
            raise ClientClosedError("the client is closed")
        progress = _Progress(request.attempt, url)
        try:
            wire_request = httpx.Request(
                request.method,
                url,
                headers=wire_headers(request),
                content=request.content,
                extensions={
                    "timeout": self._timeouts(request.attempt),
                    "trace": progress.trace,
                },
            )
            response = await self._inner.handle_async_request(wire_request)
            try:
                received = await receive(
                    request,
                    response.status_code,
                    response.headers.raw,
                    _raw_pieces(response),
                    config=self._config,
                    now=self._clock.now,
                    lost=_TRANSLATED,
                    extra_info=_extra_info(response),
                )
                if received.is_complete:
                    await response.aclose()
            except BaseException:
                # Shielded: a connection whose release is interrupted never returns to its pool.
                with anyio.CancelScope(shield=True):
                    await response.aclose()
                raise
            if not received.is_complete:
                with (
                    anyio.CancelScope(shield=True),
                    suppress(*_TRANSLATED),
                ):  # the status decides
                    await response.aclose()
        except _TRANSLATED as error:
            lost = translate_error(
                request, error, phase_known=progress.is_reported, proxy=progress.proxy, is_new=progress.is_new
            )
        else:
            return to_response(request, received.status, received.headers, received.body, self._clock.wall)
        raise lost  # outside the handler, so unchained: httpx's exception refers to the credentials

    def _timeouts(self, attempt: Attempt) -> dict[str, float | None]:
        """Return timeouts for the inner transport, in addition to the attempt's: each step may take all of its time."""
        left = attempt.timeout_s  # R2
        return {"connect": self._config.connect_timeout_s, "read": left, "write": left, "pool": left}

    async def aclose(self) -> None:
        """Reject further attempts; idempotent."""
        self._closed = True


class _Progress:
    """
    How far the attempt got, by httpcore's trace events; other transports report nothing.

    Attributes:
        is_reported: There were such events.
        is_new: A connection was made for the attempt.
        proxy: The proxy that it is being made to, for people.
    """

    def __init__(self, attempt: Attempt, url: str) -> None:
        self._attempt = attempt
        self._url = url
        self.is_reported = False
        self.is_new = False
        self.proxy = ""

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        self.is_reported = True
        if event.endswith(".send_request_headers.started"):
            self._attempt.request_sent = "maybe"  # R12
        elif event == "connection.connect_tcp.started":
            self.is_new = True
            host, port, url = info.get("host"), info.get("port"), httpx.URL(self._url)
            if host is not None and (host, port) != (url.host, url.port or _DEFAULT_PORTS.get(url.scheme)):
                self.proxy = f"proxy {host}:{port}"
        elif event == "connection.connect_tcp.complete":
            self.proxy = ""


def _extra_info(response: httpx.Response) -> Callable[[str], Any]:
    """Return what gives facts about the connection of *response*; a mock transport has none."""
    stream = response.extensions.get("network_stream")
    return _no_info if stream is None else stream.get_extra_info


def _no_info(_name: str) -> None:
    return None


def _raw_pieces(response: httpx.Response) -> AsyncIterable[bytes]:
    stream = response.stream
    return stream if isinstance(stream, httpx.AsyncByteStream) else _mocked_body(response)


async def _mocked_body(response: httpx.Response) -> AsyncIterator[bytes]:
    yield response.content  # already complete: of a mock transport
