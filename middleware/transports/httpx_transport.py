"""Attempts over any transport of the httpx family that was passed in, `httpx.MockTransport` among them."""

import ssl
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from typing import Any

import anyio
import httpx

from middleware.clock import Clock
from middleware.errors import ClientClosedError
from middleware.types import Attempt, PlatformRequest, PlatformResponse

from .response_reader import TransportSettings, answer, failure, receive, wire_headers

__all__ = ["HttpxTransport"]

# Everything that a broken network, peer or request can raise from below: httpx translates most of it, but lets OS,
# TLS and grouped errors of anyio through (a connect to port 99999, say).
_FOREIGN = httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ssl.SSLError, ExceptionGroup, UnicodeError


class HttpxTransport:
    """
    Sends attempts over an `httpx.AsyncBaseTransport`.

    Args:
        config: The settings; those of connections are the inner transport's own.
        clock: Source of time.
        inner: Is not closed by `aclose`: whoever made it closes it.
    """

    def __init__(self, config: TransportSettings, clock: Clock, inner: httpx.AsyncBaseTransport) -> None:
        self._config = config
        self._clock = clock
        self._inner = inner
        self._closed = False

    async def send(self, request: PlatformRequest, url: str) -> PlatformResponse:
        """
        Send *request* to *url* once and read the whole answer; errors as for the default transport.

        Whether an inner transport that tells no phase sent a request is judged by its exception's class.
        """
        if self._closed:
            raise ClientClosedError("the client is closed")
        progress = _Progress(request.attempt)
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
                    lost=_FOREIGN,
                )
                if received.is_whole:
                    await response.aclose()
            except BaseException:
                # Shielded: a connection half given back is a lost one.
                with anyio.CancelScope(shield=True):
                    await response.aclose()
                raise
            if not received.is_whole:
                with anyio.CancelScope(shield=True), suppress(*_FOREIGN):  # the status decides, however that ends
                    await response.aclose()
        except _FOREIGN as error:
            lost = failure(request, error, traced=progress.traced)
        else:
            return answer(request, received.status, received.headers, received.body, self._clock.wall)
        raise lost  # outside the handler: httpx's exception holds the request and so the credentials

    def _timeouts(self, attempt: Attempt) -> dict[str, float | None]:
        """The inner transport's own timeouts, behind the attempt's: each step has at most the time of all of them."""
        left = attempt.timeout_s  # R2
        return {"connect": self._config.connect_timeout_s, "read": left, "write": left, "pool": left}

    async def aclose(self) -> None:
        """Refuse further attempts; idempotent."""
        self._closed = True


class _Progress:
    """How far the attempt got, told by httpcore's trace events where httpcore is what sends."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self.traced = False

    async def trace(self, event: str, _info: dict[str, Any]) -> None:
        self.traced = True
        if event.endswith(".send_request_headers.started"):
            self._attempt.request_sent = "maybe"  # R12


def _raw_pieces(response: httpx.Response) -> AsyncIterable[bytes]:
    stream = response.stream
    return stream if isinstance(stream, httpx.AsyncByteStream) else _ready_made(response)


async def _ready_made(response: httpx.Response) -> AsyncIterator[bytes]:
    yield response.content  # of a mock transport
