"""
Spans: one INTERNAL span per call, one CLIENT span per attempt, by the OpenTelemetry API alone.

The call span carries no `http.*` attribute: the conventions want one HTTP span per resend and no encompassing one.
Exceptions are not recorded as span events and never become a status text: their text is not the telemetry's to show.
What a span says at its end comes from the events, through `SpanListener`.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import context, propagate, trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode, TracerProvider

from . import semconv
from .errors import error_type
from .events import (
    AttemptFinished,
    AttemptRejected,
    CallFinished,
    CircuitStateChanged,
    Event,
    RetryScheduled,
)
from .types import Handler, PlatformRequest, PlatformResponse

__all__ = ["AttemptTracingMiddleware", "CallTracingMiddleware", "SpanListener"]

# The keys by which instrumentations of HTTP libraries are told to stand back: ours is the attempt's span.
_SUPPRESS = "suppress_instrumentation", "suppress_http_instrumentation"


def _tracer(provider: TracerProvider | None, version: str) -> trace.Tracer:
    return trace.get_tracer(semconv.SCOPE, version, tracer_provider=provider, schema_url=semconv.SCHEMA_URL)


@contextmanager
def _span(tracer: trace.Tracer, name: str, kind: SpanKind, attributes: dict[str, Any], *keys: str) -> Iterator[Span]:
    """Make a span current for a block, *keys* switched on in its context; a failing tracer costs the span alone."""
    try:
        span = tracer.start_span(name, kind=kind, attributes=attributes)
    except Exception:  # noqa: BLE001 - a failure inside telemetry never changes a call
        span = INVALID_SPAN
    here = trace.set_span_in_context(span)
    for key in keys:
        here = context.set_value(key, True, here)
    token = context.attach(here)
    try:
        yield span
    finally:
        context.detach(token)
        with suppress(Exception):  # as above
            span.end()


class CallTracingMiddleware:
    """Opens the call's INTERNAL span `{service}.{operation}`."""

    def __init__(self, provider: TracerProvider | None, version: str) -> None:
        self._tracer = _tracer(provider, version)

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Run the rest of the call under its span."""
        info = request.call.info
        attributes = {
            semconv.CONNECTOR_NAME: info.service,
            semconv.CONNECTOR_OPERATION: info.operation,
            semconv.CORRELATION_ID: info.correlation_id,
        }
        with _span(self._tracer, f"{info.service}.{info.operation}", SpanKind.INTERNAL, attributes):
            return await call_next(request)


class AttemptTracingMiddleware:
    """Opens the attempt's CLIENT span and sends its context to the platform."""

    def __init__(self, provider: TracerProvider | None, version: str, base_url: str) -> None:
        self._tracer = _tracer(provider, version)
        parts = urlsplit(base_url)
        self._base_url = base_url
        self._server = {
            semconv.SERVER_ADDRESS: parts.hostname or "",
            semconv.SERVER_PORT: parts.port or (443 if parts.scheme == "https" else 80),
        }

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Run the attempt under its span, with a `traceparent` of its own."""
        call = request.call
        attributes = {
            semconv.HTTP_REQUEST_METHOD: request.method,
            semconv.URL_FULL: self._base_url + _without_values(request.target),
            **self._server,
        }
        name = request.method
        if call.info.route != "other":
            attributes[semconv.URL_TEMPLATE] = call.info.route
            name = f"{request.method} {call.info.route}"
        if call.attempts:  # the record layer below counts this one
            attributes[semconv.HTTP_REQUEST_RESEND_COUNT] = call.attempts
        with _span(self._tracer, name, SpanKind.CLIENT, attributes, *_SUPPRESS):
            carrier: dict[str, str] = {}
            with suppress(Exception):  # a failing propagator costs the header alone
                propagate.inject(carrier)
                request.headers.update(carrier)
            return await call_next(request)


def _without_values(target: str) -> str:
    """Query keys tell an engineer what was asked; values may be anything, so they never reach a span."""
    path, mark, query = target.partition("?")
    if not mark:
        return path
    return path + "?" + "&".join(f"{pair.partition('=')[0]}=REDACTED" for pair in query.split("&"))


class SpanListener:
    """Writes events onto the current span: the call's, or the attempt's for what happens inside an attempt."""

    def __call__(self, event: Event) -> None:
        """Add what *event* tells to the current span."""
        span = trace.get_current_span()
        if not span.is_recording():
            return
        if isinstance(event, CallFinished):
            _end_call(span, event)
        elif isinstance(event, AttemptFinished):
            _end_attempt(span, event)
        elif isinstance(event, RetryScheduled):
            attributes: dict[str, Any] = {
                semconv.RETRY_ATTEMPT: event.attempt,
                semconv.RETRY_DELAY: event.delay_s,
                semconv.ERROR_TYPE: error_type(event.error),
            }
            if event.error.retry_after_s is not None:
                attributes[semconv.RETRY_AFTER] = event.error.retry_after_s
            span.add_event(semconv.EVENT_RETRY_SCHEDULED, attributes)
        elif isinstance(event, AttemptRejected):
            by_breaker = event.guard == "circuit_breaker"
            name = semconv.EVENT_CIRCUIT_REJECTED if by_breaker else semconv.EVENT_REJECTED
            attributes = {semconv.GUARD: event.guard}
            if event.retry_after_s is not None:
                attributes[semconv.RETRY_AFTER] = event.retry_after_s
            span.add_event(name, attributes)
        elif isinstance(event, CircuitStateChanged):
            span.add_event(
                semconv.EVENT_CIRCUIT_STATE_CHANGED,
                {
                    semconv.CIRCUIT_BREAKER_NAME: event.breaker,
                    semconv.CIRCUIT_BREAKER_FROM: event.before,
                    semconv.CIRCUIT_BREAKER_TO: event.after,
                },
            )


def _end_call(span: Span, event: CallFinished) -> None:
    outcome = event.outcome
    span.set_attribute(semconv.RETRY_ATTEMPTS, outcome.attempts)
    span.set_attribute(semconv.REQUEST_SENT, outcome.request_sent)
    if outcome.circuit_state:
        span.set_attribute(semconv.CIRCUIT_BREAKER_STATE, outcome.circuit_state)
    if event.error is not None:
        span.set_attribute(semconv.ERROR_TYPE, error_type(event.error))
        if outcome.stop_reason:
            span.set_attribute(semconv.STOP_REASON, outcome.stop_reason)
        span.set_status(Status(StatusCode.ERROR))
    # A recovered call is no error, and a cancelled one is nobody's fault: both stay unset.
    span.set_attribute(semconv.OUTCOME, event.result)


def _end_attempt(span: Span, event: AttemptFinished) -> None:
    if event.record.status is not None:
        span.set_attribute(semconv.HTTP_RESPONSE_STATUS_CODE, event.record.status)
    span.set_attribute(semconv.REQUEST_SENT, event.record.request_sent)
    if event.error is not None:
        span.set_attribute(semconv.ERROR_TYPE, error_type(event.error))
        span.set_status(Status(StatusCode.ERROR))
