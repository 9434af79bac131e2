"""
Layers that record: `CallRecordingMiddleware` each call, `AttemptRecordingMiddleware` each attempt.

Each one opens a span, emits the event of the start, runs the rest of the stack, emits the event of the end and ends the
span, in this order: so log lines and metric exemplars, which listeners write from the events, carry the span's ids.
"""

from opentelemetry.trace import SpanKind

from middleware.clock import Clock
from middleware.errors import CallError, DeadlineExceededError, internal_error, is_refused_connection
from middleware.events import AttemptFinished, AttemptStarted, CallFinished, CallStarted, Listener
from middleware.records import Applied, AttemptRecord, RequestSent
from middleware.types import Handler, PlatformRequest, PlatformResponse

from . import semconv
from .tracing import SUPPRESS, SafeTracer, attempt_span

__all__ = ["AttemptRecordingMiddleware", "CallRecordingMiddleware"]


class CallRecordingMiddleware:
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
        self._tracer = tracer

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Run the rest of the call under its span, which ends last; without an SDK there is none."""
        if not self._tracer.refresh_provider():
            return await self._record(request, call_next)
        info = request.call.info
        attributes = {
            semconv.CONNECTOR_NAME: info.service,
            semconv.CONNECTOR_OPERATION: info.operation,
            semconv.CORRELATION_ID: info.correlation_id,
        }
        if request.call.settings_hash:
            attributes[semconv.SETTINGS_HASH] = request.call.settings_hash
        span, token = self._tracer.start(f"{info.service}.{info.operation}", SpanKind.INTERNAL, attributes)
        try:
            return await self._record(request, call_next)
        finally:
            self._tracer.end(span, token)

    async def _record(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Emit `CallStarted`, then `CallFinished` however the call ends."""
        call = request.call
        self._emit(CallStarted(call=call.info))
        error: CallError | None = None
        response: PlatformResponse | None = None
        cancelled = True
        try:
            response = await call_next(request)
            cancelled = False
            return response
        except CallError as raised:
            error, cancelled = raised, False
        except Exception as raised:  # noqa: BLE001 - listeners receive the error that the caller gets
            error, cancelled = internal_error(raised, call.most_sent), False
        finally:
            if error is not None:
                call.stop_reason = call.stop_reason or "not_retryable"
            outcome = call.outcome(self._clock.now(), answered_by=error.answered_by if error is not None else "")
            if error is not None:
                error.outcome = outcome  # before the event: listeners read it from the error too
            elif response is not None:
                response.outcome = outcome
            self._emit(CallFinished(call=call.info, outcome=outcome, error=error, cancelled=cancelled))
        raise error


class AttemptRecordingMiddleware:
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
        self._tracer = tracer
        self._base_url = base_url
        self._server = semconv.server_attributes(base_url)

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Run the attempt under its span, which ends last; without an SDK, under the caller's context."""
        tracer = self._tracer
        if tracer.has_no_sdk:
            request.headers.update(tracer.headers())
            token = tracer.suppress_instrumentation()
            try:
                return await self._record(request, call_next)
            finally:
                tracer.detach(token)
        name, attributes = attempt_span(request, self._base_url, self._server)
        span, token = tracer.start(name, SpanKind.CLIENT, attributes, SUPPRESS)
        try:
            request.headers.update(tracer.headers())
            return await self._record(request, call_next)
        finally:
            tracer.end(span, token)

    async def _record(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Emit `AttemptStarted`, then `AttemptFinished` however the attempt ends."""
        call, attempt = request.call, request.attempt
        call.attempts_sent += 1
        number, started = call.attempts_sent, self._clock.now()
        request.headers["x-attempt"] = f"attempt={number}; max={call.max_attempts + call.attempts_refused}"  # R50
        if attempt.on_start is not None:
            attempt.on_start()
        self._emit(AttemptStarted(call=call.info, number=number))
        response: PlatformResponse | None = None
        error: CallError | None = None
        timed_out: CallError | None = None
        try:
            response = await call_next(request)
            return response
        except CallError as raised:
            error = raised
            attempt.request_sent = raised.request_sent
            call.note_failure(raised)
            if call.max_refused and is_refused_connection(raised):
                call.attempts_refused += 1  # R20
        except Exception as raised:  # noqa: BLE001 - layers outside of this one see our errors only
            error = internal_error(raised, attempt.request_sent)
        except BaseException:
            if call.is_over(self._clock.now()):  # cancelled by the deadline of the call, not by its caller
                timed_out = DeadlineExceededError(
                    "attempt cancelled by the call deadline", request_sent=attempt.request_sent
                )
            raise
        finally:
            recorded = error or timed_out
            if recorded is not None:
                recorded.note_response(attempt.status, attempt.platform_correlation_id)
            record = AttemptRecord(
                number=number,
                started_s=started - call.started_at,
                ended_s=self._clock.now() - call.started_at,
                outcome="ok" if response else type(recorded).__name__ if recorded else "cancelled",
                status=response.status if response else recorded.status if recorded else attempt.status,
                request_sent=attempt.request_sent,
                delay_s=attempt.delay_s,
                is_hedge=attempt.is_hedge,
                applied=_applied(response, error, attempt.request_sent),
                platform_correlation_id=attempt.platform_correlation_id,
                answered_by=error.answered_by if error is not None else "",
            )
            call.timeline.append(record)
            self._emit(AttemptFinished(call=call.info, record=record, error=recorded))
        raise error


def _applied(response: PlatformResponse | None, error: CallError | None, request_sent: RequestSent) -> Applied:
    if response is not None:
        return "yes"
    if error is not None:
        return error.attempt_applied
    return "no" if request_sent == "no" else "maybe"  # cancelled, by the caller or by the deadline
