"""
Spans: one INTERNAL span per call, one CLIENT span per attempt, by the OpenTelemetry API alone.

The call span carries no `http.*` attribute: the conventions want one HTTP span per resend and no encompassing one.
Exceptions are not recorded as span events; a status text is our own error's reason, never what a server said.
What a span says at its end comes from the events, through `SpanListener`.
"""

from collections.abc import Callable, Mapping
from contextvars import Token
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
)

from middleware.errors import CallError, OperationFailedError, StatusError, error_type
from middleware.events import (
    AttemptFinished,
    AttemptQueued,
    AttemptRejected,
    CallFinished,
    CircuitStateChanged,
    CorrelationIdMismatched,
    DeadlineReached,
    Event,
    HedgeRefused,
    HedgeStarted,
    HedgeWon,
    RetryAbandoned,
    RetryBudgetExhausted,
    RetryScheduled,
)
from middleware.redaction import redact, redact_target
from middleware.types import Handler, PlatformRequest, PlatformResponse

from . import semconv

__all__ = ["AttemptTracingMiddleware", "CallTracingMiddleware", "SafeTracer", "SpanListener", "current_ids"]

# By these the instrumentations of HTTP libraries are told to stand back: ours is the attempt's span. The first is the
# name they all honour; the second is the API's own key for HTTP alone, which has no public name.
_SUPPRESS = {
    "suppress_instrumentation": True,
    getattr(context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", "suppress_http_instrumentation"): True,
}
_SUPPRESSED = context.Context(_SUPPRESS)
_NO_SWITCHES: dict[str, bool] = {}
_OURS = context.create_key("mozaiks-span")
_WITHOUT_SDK = trace.ProxyTracerProvider, trace.NoOpTracerProvider


class SafeTracer:
    """
    Opens spans; whatever the SDK raises costs the span alone and is counted.

    Attributes:
        dropped: Spans, or headers for them, lost because the SDK raised.
        is_idle: No SDK was there when `wake` last looked: spans would say nothing to nobody.
    """

    def __init__(self, provider: TracerProvider | None, version: str) -> None:
        self.dropped = 0
        self._provider = provider
        self.is_idle = True
        self._tracer: trace.Tracer = NoOpTracer()
        try:
            self._tracer = trace.get_tracer(
                semconv.SCOPE, version, tracer_provider=provider, schema_url=semconv.SCHEMA_URL
            )
        except Exception:  # noqa: BLE001 - a failure inside telemetry never changes a call
            self.dropped += 1
        self.wake()

    def wake(self) -> bool:
        """Look for an SDK, which a host may set up late and cannot take away again; False where there is none."""
        if self.is_idle:
            try:
                self.is_idle = isinstance(self._provider or trace.get_tracer_provider(), _WITHOUT_SDK)
            except Exception:  # noqa: BLE001 - as above
                self.dropped += 1
        return not self.is_idle

    def start(
        self, name: str, kind: SpanKind, attributes: dict[str, Any], switches: Mapping[str, bool] = _NO_SWITCHES
    ) -> tuple[Span, Token[context.Context] | None]:
        """Open a span and make it current, with *switches* set in its context; `end` takes what this returns."""
        span: Span = INVALID_SPAN
        try:
            span = self._started(name, kind, attributes)
            here = trace.set_span_in_context(span)
            return span, context.attach(context.Context({**here, **switches, _OURS: span}))
        except Exception:  # noqa: BLE001 - as above
            self.dropped += 1
            return span, None

    def _started(self, name: str, kind: SpanKind, attributes: dict[str, Any]) -> Span:
        try:
            return self._tracer.start_span(name, kind=kind, attributes=attributes)
        except Exception:  # noqa: BLE001 - as above
            self.dropped += 1
            # In its place one that says nothing and hands the caller's trace on.
            return NonRecordingSpan(trace.get_current_span().get_span_context())

    def end(self, span: Span, token: Token[context.Context] | None) -> None:
        """Make the span that was current before *span* current again, and end it."""
        self.detach(token)
        try:
            span.end()
        except Exception:  # noqa: BLE001 - as above
            self.dropped += 1

    def suppress_instrumentation(self) -> Token[context.Context] | None:
        """Tell instrumentations of HTTP libraries to stand back without a span; `detach` takes what this returns."""
        try:
            here = context.get_current()
            return context.attach(context.Context({**here, **_SUPPRESS}) if here else _SUPPRESSED)
        except Exception:  # noqa: BLE001 - as above
            self.dropped += 1
            return None

    def detach(self, token: Token[context.Context] | None) -> None:
        """Undo `suppress_instrumentation`."""
        try:
            if token is not None:
                context.detach(token)
        except Exception:  # noqa: BLE001 - as above
            self.dropped += 1

    def headers(self) -> dict[str, str]:
        """Return what carries the current context to the platform; none when the propagator fails."""
        try:
            if not context.get_current():
                return {}  # no span, no baggage
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            return {name.lower(): value for name, value in carrier.items() if _is_sendable(value)}
        except Exception:  # noqa: BLE001 - as above
            self.dropped += 1
            return {}


def current_ids() -> dict[str, str]:
    """Ids of the current span as log lines carry them ("Trace Context in non-OTLP Log Formats"); none outside one."""
    here = trace.get_current_span().get_span_context()
    if not here.is_valid:
        return {}
    return {
        "trace_id": f"{here.trace_id:032x}",
        "span_id": f"{here.span_id:016x}",
        "trace_flags": f"{here.trace_flags:02x}",
    }


def _is_sendable(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


class CallTracingMiddleware:
    """Opens the call's INTERNAL span `{service}.{operation}`."""

    def __init__(self, tracer: SafeTracer) -> None:
        self._tracer = tracer

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Run the rest of the call under its span."""
        if not self._tracer.wake():
            return await call_next(request)
        info = request.call.info
        attributes = {
            semconv.CONNECTOR_NAME: info.service,
            semconv.CONNECTOR_OPERATION: info.operation,
            semconv.CORRELATION_ID: info.correlation_id,
        }
        span, token = self._tracer.start(f"{info.service}.{info.operation}", SpanKind.INTERNAL, attributes)
        try:
            return await call_next(request)
        finally:
            self._tracer.end(span, token)


class AttemptTracingMiddleware:
    """Opens the attempt's CLIENT span and sends its context to the platform."""

    def __init__(self, tracer: SafeTracer, base_url: str) -> None:
        self._tracer = tracer
        self._base_url = base_url
        self._server = semconv.server_attributes(base_url)

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Run the attempt under its span, with a `traceparent` of its own; without an SDK, with the caller's."""
        if self._tracer.is_idle:
            request.headers.update(self._tracer.headers())
            token = self._tracer.suppress_instrumentation()
            try:
                return await call_next(request)
            finally:
                self._tracer.detach(token)
        call = request.call
        method = name = request.method
        attributes: dict[str, Any] = {
            semconv.HTTP_REQUEST_METHOD: method,
            semconv.URL_FULL: self._base_url + redact_target(request.target),
            **self._server,
        }
        if method not in semconv.KNOWN_METHODS:
            name = "HTTP"
            attributes[semconv.HTTP_REQUEST_METHOD] = "_OTHER"
            attributes[semconv.HTTP_REQUEST_METHOD_ORIGINAL] = method
        if call.info.route != "other":
            attributes[semconv.URL_TEMPLATE] = call.info.route
            name = f"{name} {call.info.route}"
        if call.attempts_sent:  # the record layer below counts this one
            attributes[semconv.HTTP_REQUEST_RESEND_COUNT] = call.attempts_sent
        if request.attempt.is_hedge:
            attributes[semconv.IS_HEDGE] = True
        span, token = self._tracer.start(name, SpanKind.CLIENT, attributes, _SUPPRESS)
        try:
            request.headers.update(self._tracer.headers())
            return await call_next(request)
        finally:
            self._tracer.end(span, token)


class SpanListener:
    """
    Writes events onto our own current span: the call's, or the attempt's for what happens inside an attempt.

    Attributes:
        event_types: Events that a span tells of.
    """

    def __init__(self) -> None:
        self.event_types = frozenset(_WRITERS)

    def __call__(self, event: Event) -> None:
        """Add what *event* tells to the current span."""
        span = context.get_value(_OURS)  # and not whatever is current: without a span of ours that is the host's
        if isinstance(span, Span) and span.is_recording():
            _WRITERS[type(event)](span, event)


def _call_finished(span: Span, event: CallFinished) -> None:
    outcome = event.outcome
    attributes: dict[str, Any] = {
        semconv.OUTCOME: event.result,
        semconv.RETRY_ATTEMPTS: outcome.attempts,
        semconv.REQUEST_SENT: outcome.request_sent,
    }
    if outcome.circuit_state:
        attributes[semconv.CIRCUIT_BREAKER_STATE] = outcome.circuit_state
    if outcome.already_deleted:
        attributes[semconv.ALREADY_DELETED] = True
    error = event.error
    if error is not None:
        attributes[semconv.ERROR_TYPE] = error_type(error)
        if outcome.stop_reason:
            attributes[semconv.STOP_REASON] = outcome.stop_reason
        retry_after_s = getattr(error, "retry_after_s", None)
        if retry_after_s is not None:
            attributes[semconv.RETRY_AFTER] = retry_after_s
        span.set_status(_failed(error))
    # A recovered call is no error, and a cancelled one is nobody's fault: both stay unset.
    span.set_attributes(attributes)


def _attempt_finished(span: Span, event: AttemptFinished) -> None:
    record = event.record
    attributes: dict[str, Any] = {semconv.ATTEMPT_OUTCOME: record.outcome, semconv.REQUEST_SENT: record.request_sent}
    if record.status is not None:
        attributes[semconv.HTTP_RESPONSE_STATUS_CODE] = record.status
    if event.error is not None:
        attributes[semconv.ERROR_TYPE] = error_type(event.error)
        span.set_status(_failed(event.error))
    span.set_attributes(attributes)


def _failed(error: Exception) -> Status:
    """
    Status of a span that ended with *error*.

    Where a server said something the text is left out: the conventions want none that the status code tells, and
    an answer's words are part of its body.
    """
    if not isinstance(error, CallError) or isinstance(error, StatusError | OperationFailedError):
        return Status(StatusCode.ERROR)
    return Status(StatusCode.ERROR, redact(error.reason))


def _retry_scheduled(span: Span, event: RetryScheduled) -> None:
    attributes: dict[str, Any] = {
        semconv.RETRY_ATTEMPT: event.attempt,
        semconv.RETRY_DELAY: event.delay_s,
        semconv.ERROR_TYPE: error_type(event.error),
    }
    if event.error.retry_after_s is not None:
        attributes[semconv.RETRY_AFTER] = event.error.retry_after_s
    if event.budget_balance is not None:
        attributes[semconv.RETRY_BUDGET_BALANCE] = event.budget_balance
    span.add_event(semconv.EVENT_RETRY_SCHEDULED, attributes)


def _retry_abandoned(span: Span, event: RetryAbandoned) -> None:
    attributes: dict[str, Any] = {
        semconv.RETRY_ATTEMPT: event.attempt,
        semconv.STOP_REASON: event.stop_reason,
        semconv.ERROR_TYPE: error_type(event.error),
    }
    if event.error.retry_after_s is not None:
        attributes[semconv.RETRY_AFTER] = event.error.retry_after_s
    span.add_event(semconv.EVENT_RETRY_ABANDONED, attributes)


def _budget_exhausted(span: Span, event: RetryBudgetExhausted) -> None:
    span.add_event(semconv.EVENT_BUDGET_EXHAUSTED, {semconv.RETRY_BUDGET_BALANCE: event.balance})


def _attempt_rejected(span: Span, event: AttemptRejected) -> None:
    by_breaker = event.guard == "circuit_breaker"
    attributes: dict[str, Any] = {semconv.GUARD: event.guard}
    if event.retry_after_s is not None:
        attributes[semconv.RETRY_AFTER] = event.retry_after_s
    span.add_event(semconv.EVENT_CIRCUIT_REJECTED if by_breaker else semconv.EVENT_REJECTED, attributes)


def _attempt_queued(span: Span, event: AttemptQueued) -> None:
    span.add_event(semconv.EVENT_QUEUED, {semconv.BULKHEAD_WAIT: event.waited_s})


def _circuit_state_changed(span: Span, event: CircuitStateChanged) -> None:
    span.add_event(
        semconv.EVENT_CIRCUIT_STATE_CHANGED,
        {
            semconv.CIRCUIT_BREAKER_NAME: event.breaker,
            semconv.CIRCUIT_BREAKER_FROM: event.before,
            semconv.CIRCUIT_BREAKER_TO: event.after,
        },
    )


def _hedge_started(span: Span, event: HedgeStarted) -> None:
    span.add_event(semconv.EVENT_HEDGE_STARTED, {semconv.HEDGE_NUMBER: event.hedge, semconv.HEDGE_DELAY: event.delay_s})


def _hedge_refused(span: Span, event: HedgeRefused) -> None:
    span.add_event(semconv.EVENT_HEDGE_REFUSED, {semconv.HEDGE_REFUSAL: event.reason})


def _hedge_won(span: Span, event: HedgeWon) -> None:
    span.add_event(semconv.EVENT_HEDGE_WON, {semconv.HEDGE_NUMBER: event.hedge})


def _deadline_reached(span: Span, event: DeadlineReached) -> None:
    span.add_event(semconv.EVENT_DEADLINE_REACHED, {semconv.DEADLINE: event.total_s})


def _correlation_id_mismatched(span: Span, event: CorrelationIdMismatched) -> None:
    span.add_event(semconv.EVENT_CORRELATION_ID_MISMATCHED, {semconv.CORRELATION_ID_RECEIVED: event.received})


_WRITERS: dict[type[Event], Callable[[Span, Any], None]] = {
    AttemptFinished: _attempt_finished,
    AttemptQueued: _attempt_queued,
    AttemptRejected: _attempt_rejected,
    CallFinished: _call_finished,
    CircuitStateChanged: _circuit_state_changed,
    CorrelationIdMismatched: _correlation_id_mismatched,
    DeadlineReached: _deadline_reached,
    HedgeRefused: _hedge_refused,
    HedgeStarted: _hedge_started,
    HedgeWon: _hedge_won,
    RetryAbandoned: _retry_abandoned,
    RetryBudgetExhausted: _budget_exhausted,
    RetryScheduled: _retry_scheduled,
}
