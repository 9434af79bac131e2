"""
Layers that record: `CallRecordingMiddleware` each call, `AttemptRecordingMiddleware` each attempt.

Each one opens a span, emits the event of the start, runs the rest of the stack, emits the event of the end and ends the
span, in this order: so log lines and metric exemplars, which listeners write from the events, carry the span's ids.
"""

from collections.abc import Callable
from typing import TypeAlias

from opentelemetry.trace import INVALID_SPAN, SpanKind

from middleware._internal.frozen import maker
from middleware.clock import Clock
from middleware.errors import CallError, DeadlineExceededError, internal_error, is_refused_connection
from middleware.events import AttemptFinished, AttemptStarted, CallFinished, CallStarted, Event, FanOut, Listener
from middleware.records import AnsweredBy, Applied, AttemptRecord
from middleware.steps import Step
from middleware.types import PlatformRequest, PlatformResponse

from . import semconv
from .tracing import SUPPRESS, OpenSpan, SafeTracer, attempt_span

__all__ = ["AttemptRecordingMiddleware", "CallRecordingMiddleware"]

_new_record = maker(AttemptRecord)
_attempt_finished = maker(AttemptFinished)
_call_finished = maker(CallFinished)


class CallRecordingMiddleware(Step):
    """
    Records the call: INTERNAL span `{service}.{operation}`, events `CallStarted` and `CallFinished`, `Outcome`.

    Args:
        clock: Source of the current time.
        emit: Receives the events.
        tracer: Opens the span.
    """

    def __init__(self, clock: Clock, emit: Listener, tracer: SafeTracer) -> None:
        self._clock = clock
        self._emit = emit
        self._emits_start = _is_received(emit, CallStarted)
        self._is_needed = _need(emit)
        self._tracer = tracer

    def enter(self, request: PlatformRequest) -> OpenSpan | None:
        """Open the call's span, which ends last; without an SDK there is none. Emit `CallStarted`."""
        info, opened = request.call.info, None
        if self._tracer.refresh_provider():
            attributes = {
                semconv.CONNECTOR_NAME: info.service,
                semconv.CONNECTOR_OPERATION: info.operation,
                semconv.CORRELATION_ID: info.correlation_id,
            }
            if request.call.settings_hash:
                attributes[semconv.SETTINGS_HASH] = request.call.settings_hash
            opened = self._tracer.start(f"{info.service}.{info.operation}", SpanKind.INTERNAL, attributes)
        try:
            if self._emits_start:
                self._emit(CallStarted(call=info))
        except BaseException:
            self._end_span(opened)
            raise
        return opened

    def succeeded(self, request: PlatformRequest, opened: OpenSpan | None, response: PlatformResponse) -> None:
        """Emit `CallFinished`, and end the span."""
        call = request.call
        response.outcome = outcome = call.outcome(self._clock.now())
        if opened is None:
            if self._is_needed(CallFinished):
                self._emit(_call_finished(call=call.info, outcome=outcome, error=None))
            return
        try:
            self._emit(_call_finished(call=call.info, outcome=outcome, error=None))
        finally:
            self._tracer.end(*opened)

    def failed(self, request: PlatformRequest, opened: OpenSpan | None, error: BaseException) -> BaseException:
        """Emit `CallFinished`, with the error that the caller gets, and end the span."""
        call, failure = request.call, None
        if isinstance(error, Exception):
            failure = error = error if isinstance(error, CallError) else internal_error(error, call.most_sent)
            call.stop_reason = call.stop_reason or "not_retryable"
        outcome = call.outcome(self._clock.now(), answered_by=failure.answered_by if failure is not None else "")
        if failure is not None:
            failure.outcome = outcome  # before the event: listeners read it from the error too
        try:
            self._emit(_call_finished(call=call.info, outcome=outcome, error=failure, cancelled=failure is None))
        finally:
            self._end_span(opened and _to_end(opened, error))
        return error

    def _end_span(self, opened: OpenSpan | None) -> None:
        if opened is not None:
            self._tracer.end(*opened)


_Entered: TypeAlias = tuple[OpenSpan, int, float]
"""The span of an attempt, or an invalid one where no SDK is, its number, and the clock reading at its start."""


class AttemptRecordingMiddleware(Step):
    """
    Records the attempt: CLIENT span, events `AttemptStarted` and `AttemptFinished`, `AttemptRecord` in the timeline.

    It also sends the span's context (`traceparent`) and the attempt's number to the platform.

    Args:
        clock: Source of the current time.
        emit: Receives the events.
        tracer: Opens the span.
        base_url: Base URL of the service.
    """

    def __init__(self, clock: Clock, emit: Listener, tracer: SafeTracer, base_url: str) -> None:
        self._clock = clock
        self._emit = emit
        self._emits_start = _is_received(emit, AttemptStarted)
        self._is_needed = _need(emit)
        self._tracer = tracer
        self._base_url = base_url
        self._server = semconv.server_attributes(base_url)

    def enter(self, request: PlatformRequest) -> _Entered:
        """Open the attempt's span, which ends last; without an SDK there is none. Emit `AttemptStarted`."""
        tracer, call, attempt = self._tracer, request.call, request.attempt
        if tracer.has_no_sdk:
            opened: OpenSpan = INVALID_SPAN, tracer.suppress_instrumentation(request.headers)
        else:
            name, attributes = attempt_span(request, self._base_url, self._server)
            opened = tracer.start(name, SpanKind.CLIENT, attributes, SUPPRESS)
            request.headers.update(tracer.headers())
        call.attempts_sent += 1
        number, started = call.attempts_sent, self._clock.now()
        request.headers["x-attempt"] = f"attempt={number}; max={call.max_attempts + call.attempts_refused}"  # R50
        try:
            if attempt.on_start is not None:
                attempt.on_start()
            if self._emits_start:
                self._emit(AttemptStarted(call=call.info, number=number))
        except BaseException:
            self._end_span(opened)
            raise
        return opened, number, started

    def succeeded(self, request: PlatformRequest, entered: _Entered, response: PlatformResponse) -> None:
        """Add the record to the timeline, emit `AttemptFinished`, and end the span."""
        self._end(request, entered, outcome="ok", status=response.status, applied="yes")

    def failed(self, request: PlatformRequest, entered: _Entered, error: BaseException) -> BaseException:
        """Add the record to the timeline, emit `AttemptFinished`, and end the span."""
        call, attempt = request.call, request.attempt
        failure: CallError | None = None  # what the layers outside see
        recorded: CallError | None = None
        if isinstance(error, CallError):
            failure = recorded = error
            attempt.request_sent = error.request_sent
            call.note_failure(error)
            if call.max_refused and is_refused_connection(error):
                call.attempts_refused += 1  # R20
        elif isinstance(error, Exception):  # layers outside of this one see our errors only
            failure = recorded = error = internal_error(error, attempt.request_sent)
        elif call.is_over(self._clock.now()):  # cancelled by the deadline of the call, not by its caller
            recorded = DeadlineExceededError(
                "attempt cancelled by the call deadline", request_sent=attempt.request_sent
            )
        if recorded is not None:
            recorded.note_response(attempt.status, attempt.platform_correlation_id)
        # A cancelled one, by the caller or by the deadline, may have been applied once it was sent.
        cancelled: Applied = "no" if attempt.request_sent == "no" else "maybe"
        self._end(
            request,
            (_to_end(entered[0], error), *entered[1:]),
            outcome="cancelled" if recorded is None else type(recorded).__name__,
            status=attempt.status if recorded is None else recorded.status,
            applied=cancelled if failure is None else failure.attempt_applied,
            answered_by="" if failure is None else failure.answered_by,
            error=recorded,
        )
        return error

    def _end(
        self,
        request: PlatformRequest,
        entered: _Entered,
        *,
        outcome: str,
        status: int | None,
        applied: Applied,
        answered_by: AnsweredBy = "",
        error: CallError | None = None,
    ) -> None:
        call, attempt = request.call, request.attempt
        opened, number, started = entered
        record = _new_record(
            number=number,
            started_s=started - call.started_at,
            ended_s=self._clock.now() - call.started_at,
            outcome=outcome,
            status=status,
            request_sent=attempt.request_sent,
            delay_s=attempt.delay_s,
            is_hedge=attempt.is_hedge,
            applied=applied,
            platform_correlation_id=attempt.platform_correlation_id,
            answered_by=answered_by,
        )
        call.timeline.append(record)
        if error is None and opened[0] is INVALID_SPAN and not self._is_needed(AttemptFinished):
            self._tracer.detach(opened[1])
            return
        try:
            self._emit(_attempt_finished(call=call.info, record=record, error=error))
        finally:
            self._end_span(opened)

    def _end_span(self, opened: OpenSpan) -> None:
        if opened[0] is INVALID_SPAN:
            self._tracer.detach(opened[1])
        else:
            self._tracer.end(*opened)


def _to_end(opened: OpenSpan, error: BaseException) -> OpenSpan:
    """Return *opened*, without its token where the call is collected: that happens in another context."""
    return (opened[0], None) if isinstance(error, GeneratorExit) else opened


def _need(emit: Listener) -> Callable[[type[Event]], bool]:
    """Return what says whether a success needs an event, where there is no span that it may be written to."""
    return emit.needs_success if isinstance(emit, FanOut) else lambda _kind: True


def _is_received(emit: Listener, kind: type[Event]) -> bool:
    """Return whether an event of type *kind* would be received, so that it needs to be made."""
    return not isinstance(emit, FanOut) or emit.has_subscribers(kind)
