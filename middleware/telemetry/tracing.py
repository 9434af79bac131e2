"""
Spans: one INTERNAL span per call, one CLIENT span per attempt; needs the OpenTelemetry API only.

The layers of `recording.py` open and end the spans through `SafeTracer`; attributes that are known at the end, and
span events, are written by `SpanListener` from the events that layers emit.

The call span has no `http.*` attribute: the conventions want one HTTP span per resend and no span around them.
Exceptions are not recorded as span events; a status text is the reason of our own error, never the server's text.
"""

from collections.abc import Callable, Mapping
from contextvars import Token
from types import MappingProxyType
from typing import Any, TypeAlias

from opentelemetry import context, trace
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
    AttemptRejectedInShadow,
    CallFinished,
    CircuitStateChanged,
    CorrelationIdMismatched,
    DeadlineReached,
    Event,
    HedgeRefused,
    HedgeStarted,
    HedgeWon,
    QuotaAcquired,
    QuotaSourceChanged,
    RetryAbandoned,
    RetryBudgetExhausted,
    RetryScheduled,
)
from middleware.redaction import redact, redact_target
from middleware.types import PlatformRequest

from . import propagation, semconv

__all__ = ["SUPPRESS", "OpenSpan", "SafeTracer", "SpanListener", "attempt_span", "current_ids"]

# Context keys that instrumentations of HTTP libraries check; set while an attempt runs, since the attempt has a span of
# its own. All of them honour the first; the second is the API's key for HTTP only, which has no public name.
SUPPRESS: Mapping[str, bool] = MappingProxyType(
    {
        "suppress_instrumentation": True,
        # equivalent: `'suppress_http_instrumentation~'`: every version of the API that is supported has the key
        getattr(context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", "suppress_http_instrumentation"): True,
    }
)
_SUPPRESSED = context.Context(SUPPRESS)
_NO_VALUES: Mapping[str, bool] = MappingProxyType({})
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_ROUND_TRIP_S = 0.005
"""An admission to the quota that took no longer is no wait."""
_OURS = context.create_key("mozaiks-span")  # equivalent: a display name; the key has an id of its own
_get_provider = trace.get_tracer_provider
_WITHOUT_SDK = trace.ProxyTracerProvider, trace.NoOpTracerProvider

OpenSpan: TypeAlias = tuple[Span, Token[context.Context] | None]
"""A span, and what makes the context before it current again; None where it could not be made current."""


class SafeTracer:
    """
    Opens and ends spans; an exception of the SDK loses the span only, and is counted.

    Attributes:
        dropped: Spans, or headers for them, lost because the SDK raised.
        has_no_sdk: No SDK was installed when `refresh_provider` last looked, so spans are not opened.
    """

    def __init__(self, provider: TracerProvider | None, version: str) -> None:
        self.dropped = 0
        self.has_no_sdk = True
        self._looked = False
        self._provider = provider
        self._tracer = self._get_tracer(version)
        self.refresh_provider()
        propagation.report_unusable()

    def _get_tracer(self, version: str) -> trace.Tracer:
        try:
            return trace.get_tracer(
                semconv.SCOPE, version, tracer_provider=self._provider, schema_url=semconv.SCHEMA_URL
            )
        except Exception:  # noqa: BLE001 - the SDK and its plugins are third-party code, and telemetry never fails a call
            self.dropped += 1
            return NoOpTracer()

    def refresh_provider(self) -> bool:
        """Look for an SDK, which a host may install late but cannot uninstall; False where there is none."""
        if self.has_no_sdk:
            # The variable is private, and None while the global provider is the API's own: read where it exists, and
            # where nothing has replaced the function, which looks into the environment each time.
            is_apis_own = (
                getattr(trace, "_TRACER_PROVIDER", self) is None and trace.get_tracer_provider is _get_provider
            )
            if self._looked and self._provider is None and is_apis_own:
                return False
            self._looked = True  # once through the API, which may load the provider that the environment names
            try:
                self.has_no_sdk = isinstance(self._provider or trace.get_tracer_provider(), _WITHOUT_SDK)
            except Exception:  # noqa: BLE001 - as above
                self.dropped += 1
        return not self.has_no_sdk

    def start(
        self, name: str, kind: SpanKind, attributes: dict[str, Any], values: Mapping[str, bool] = _NO_VALUES
    ) -> OpenSpan:
        """Open a span and make it current, with *values* set in its context; `end` takes what this returns."""
        try:
            outside = context.get_current()
            try:
                span = self._tracer.start_span(name, outside, kind, attributes)
            except Exception:  # noqa: BLE001 - as below, with a substitute that propagates the caller's trace
                self.dropped += 1
                span = NonRecordingSpan(trace.get_current_span().get_span_context())
            try:
                inside = trace.set_span_in_context(span, outside)
                return span, context.attach(context.Context({**inside, **values, _OURS: span}))
            except Exception:
                span.end()  # what cannot be current would lack its children and its end
                raise
        except Exception:  # noqa: BLE001 - the SDK and its plugins are third-party code
            self.dropped += 1
            return INVALID_SPAN, None

    def end(self, span: Span, token: Token[context.Context] | None) -> None:
        """Make the span that was current before *span* current again, and end *span*."""
        try:
            try:
                if token is not None:
                    context.detach(token)
            finally:
                span.end()
        except Exception:  # noqa: BLE001 - as above
            self.dropped += 1

    def suppress_instrumentation(self, headers: dict[str, str] | None = None) -> Token[context.Context] | None:
        """
        Suppress instrumentations of HTTP libraries, without a span; `detach` takes what this returns.

        *headers* get those that carry the current context to the platform.
        """
        try:
            current = context.get_current()
            if current and headers is not None:
                headers.update(self.headers(current))
            return context.attach(context.Context({**current, **SUPPRESS}) if current else _SUPPRESSED)
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

    def headers(self, here: context.Context | None = None) -> Mapping[str, str]:
        """Return the headers that carry *here*, or the current context, to the platform; none when that fails."""
        try:
            here = context.get_current() if here is None else here
            if not here:
                return _NO_HEADERS  # no span, no baggage
            carrier: dict[str, str] = {}
            propagation.inject(carrier, here)
            headers = {}
            for name, value in carrier.items():
                if isinstance(value, str) and value.isascii() and value.isprintable():  # else no header may carry it
                    headers[name.lower()] = value
            return headers
        except Exception:  # noqa: BLE001 - as above
            self.dropped += 1
            return _NO_HEADERS


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


def attempt_span(request: PlatformRequest, base_url: str, server: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """
    Name and attributes of the span of an attempt that is about to be counted.

    Args:
        request: The attempt.
        base_url: Base URL of the service.
        server: Its `server.*` attributes.
    """
    call = request.call
    method = name = request.method
    attributes: dict[str, Any] = {
        semconv.HTTP_REQUEST_METHOD: method,
        semconv.URL_FULL: base_url + redact_target(request.target),
        **server,
    }
    if method not in semconv.KNOWN_METHODS:
        name = "HTTP"
        attributes[semconv.HTTP_REQUEST_METHOD] = "_OTHER"
        attributes[semconv.HTTP_REQUEST_METHOD_ORIGINAL] = method
    if call.info.route != "other":
        attributes[semconv.URL_TEMPLATE] = call.info.route
        name = f"{name} {call.info.route}"
    if call.attempts_sent:
        attributes[semconv.HTTP_REQUEST_RESEND_COUNT] = call.attempts_sent
    if request.attempt.is_hedge:
        attributes[semconv.IS_HEDGE] = True
    return name, attributes


class SpanListener:
    """
    Writes events to our current span: the attempt's inside an attempt, else the call's.

    Args:
        tracer: Opens the spans; None for any.

    Attributes:
        event_types: Events that are written.
        needs_success: Nothing is written without a span.
    """

    needs_success = False

    def __init__(self, tracer: SafeTracer | None = None) -> None:
        self._tracer = tracer
        self.event_types = frozenset(_WRITERS)

    def __call__(self, event: Event) -> None:
        """Add *event* to the current span of ours."""
        if self._tracer is not None and self._tracer.has_no_sdk:
            return
        # Not the current span of the API: without a span of ours, that is the host's.
        span: Any = context.get_current().get(_OURS)
        if span is not None and span.is_recording():
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
    if outcome.platform_correlation_id:
        attributes[semconv.PLATFORM_CORRELATION_ID] = outcome.platform_correlation_id
    if outcome.already_deleted:
        attributes[semconv.ALREADY_DELETED] = True
    error = event.error
    if error is not None:
        attributes[semconv.ERROR_TYPE] = error_type(error)
        if outcome.answered_by:
            attributes[semconv.ANSWERED_BY] = outcome.answered_by
        if outcome.stop_reason:
            attributes[semconv.STOP_REASON] = outcome.stop_reason
        retry_after_s = getattr(error, "retry_after_s", None)
        if retry_after_s is not None:
            attributes[semconv.RETRY_AFTER] = retry_after_s
        span.set_status(_failed(error))
    # A recovered call is not an error, and neither is a cancelled one: the status of both stays unset.
    span.set_attributes(attributes)


def _attempt_finished(span: Span, event: AttemptFinished) -> None:
    record = event.record
    attributes: dict[str, Any] = {semconv.ATTEMPT_OUTCOME: record.outcome, semconv.REQUEST_SENT: record.request_sent}
    if record.status is not None:
        attributes[semconv.HTTP_RESPONSE_STATUS_CODE] = record.status
    if record.platform_correlation_id:
        attributes[semconv.PLATFORM_CORRELATION_ID] = record.platform_correlation_id
    if event.error is not None:
        attributes[semconv.ERROR_TYPE] = error_type(event.error)
        span.set_status(_failed(event.error))
    if record.answered_by:
        attributes[semconv.ANSWERED_BY] = record.answered_by
    span.set_attributes(attributes)


def _failed(error: Exception) -> Status:
    """
    Status of a span that ended with *error*.

    Without a text where the error comes from a response: the conventions want no text that repeats the status code,
    and the server's own text is part of a body.
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


def _attempt_rejected_in_shadow(span: Span, event: AttemptRejectedInShadow) -> None:
    attributes: dict[str, Any] = {semconv.CIRCUIT_BREAKER_NAME: event.breaker}
    if event.retry_after_s is not None:
        attributes[semconv.RETRY_AFTER] = event.retry_after_s
    span.add_event(semconv.EVENT_CIRCUIT_REJECTED_IN_SHADOW, attributes)


def _attempt_queued(span: Span, event: AttemptQueued) -> None:
    span.add_event(semconv.EVENT_QUEUED, {semconv.BULKHEAD_WAIT: event.waited_s})


def _quota_acquired(span: Span, event: QuotaAcquired) -> None:
    if event.waited_s < _ROUND_TRIP_S:
        return
    attributes: dict[str, Any] = {semconv.QUOTA_SOURCE: event.source, semconv.QUOTA_WAIT: event.waited_s}
    if event.penalty_s:
        attributes[semconv.QUOTA_PENALTY] = event.penalty_s
    span.add_event(semconv.EVENT_QUOTA_WAITED, attributes)


def _quota_source_changed(span: Span, event: QuotaSourceChanged) -> None:
    attributes: dict[str, Any] = {semconv.QUOTA_SOURCE: event.source}
    if event.reason:
        attributes[semconv.QUOTA_REASON] = event.reason
    span.add_event(semconv.EVENT_QUOTA_SOURCE_CHANGED, attributes)


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
    AttemptRejectedInShadow: _attempt_rejected_in_shadow,
    CallFinished: _call_finished,
    CircuitStateChanged: _circuit_state_changed,
    CorrelationIdMismatched: _correlation_id_mismatched,
    DeadlineReached: _deadline_reached,
    HedgeRefused: _hedge_refused,
    HedgeStarted: _hedge_started,
    HedgeWon: _hedge_won,
    QuotaAcquired: _quota_acquired,
    QuotaSourceChanged: _quota_source_changed,
    RetryAbandoned: _retry_abandoned,
    RetryBudgetExhausted: _budget_exhausted,
    RetryScheduled: _retry_scheduled,
}
