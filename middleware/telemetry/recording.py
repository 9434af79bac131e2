"""
The record of a call: the outermost layer, which no exception but ours passes, and the layers that keep the record.

`OutcomeMiddleware` stands outermost; `CallRecordMiddleware` just inside the call span, so that what hangs on
`CallFinished` (log line, metric exemplar) sees the span; `AttemptRecordMiddleware` just inside the attempt span.
"""

from middleware.clock import Clock
from middleware.errors import CallError, DeadlineExceededError, internal_error
from middleware.events import AttemptFinished, AttemptStarted, CallFinished, CallStarted, Listener
from middleware.records import Applied, AttemptRecord, RequestSent
from middleware.types import Handler, PlatformRequest, PlatformResponse

__all__ = ["AttemptRecordMiddleware", "CallRecordMiddleware", "OutcomeMiddleware"]


class OutcomeMiddleware:
    """Adds the outcome record to what passes and turns the unexpected into `InternalError`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Never touches CancelledError, KeyboardInterrupt or SystemExit: those are no Exceptions."""
        call = request.call
        try:
            response = await call_next(request)
        except CallError as error:
            failed = error
        except Exception as error:  # noqa: BLE001 - that is what this layer is for
            failed = internal_error(error, call.most_sent)
        else:
            if response.outcome is None:  # a layer outside of the record's answered
                response.outcome = call.outcome(self._clock.now())
            return response
        if failed.outcome is None or failed.outcome.call is not call.info:
            failed.outcome = call.outcome(self._clock.now())
        raise failed  # outside the handler: chained, a foreign exception would keep what it holds reachable


def _applied(response: PlatformResponse | None, error: CallError | None, request_sent: RequestSent) -> Applied:
    if response is not None:
        return "yes"
    if error is not None:
        return error.attempt_applied
    return "no" if request_sent == "no" else "maybe"  # cancelled, by the caller or by the deadline


class CallRecordMiddleware:
    """States when a call started and how it finished."""

    def __init__(self, clock: Clock, emit: Listener) -> None:
        self._clock = clock
        self._emit = emit

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Emit `CallStarted`, then `CallFinished` whatever happens in between."""
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
        except Exception as raised:  # noqa: BLE001 - listeners are told what the caller gets
            error, cancelled = internal_error(raised, call.most_sent), False
        finally:
            if error is not None:
                call.stop_reason = call.stop_reason or "not_retryable"
            outcome = call.outcome(self._clock.now())
            if error is not None:
                error.outcome = outcome  # listeners read the record from the error too
            elif response is not None:
                response.outcome = outcome
            self._emit(CallFinished(call=call.info, outcome=outcome, error=error, cancelled=cancelled))
        raise error


class AttemptRecordMiddleware:
    """Numbers the attempts, for the server too, and writes each one into the call's timeline."""

    def __init__(self, clock: Clock, emit: Listener) -> None:
        self._clock = clock
        self._emit = emit

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Emit `AttemptStarted`, then `AttemptFinished` whatever happens in between."""
        call, attempt = request.call, request.attempt
        call.attempts_sent += 1
        number, started = call.attempts_sent, self._clock.now()
        request.headers["x-attempt"] = f"attempt={number}; max={call.max_attempts}"  # R50
        if attempt.on_start is not None:
            attempt.on_start()
        self._emit(AttemptStarted(call=call.info, number=number))
        response: PlatformResponse | None = None
        error: CallError | None = None
        cut: CallError | None = None
        try:
            response = await call_next(request)
            return response
        except CallError as raised:
            error = raised
            attempt.request_sent = raised.request_sent
        except Exception as raised:  # noqa: BLE001 - from here on there are errors of ours alone
            error = internal_error(raised, attempt.request_sent)
        except BaseException:
            if call.is_over(self._clock.now()):  # cut by the call's deadline, and not by its caller
                cut = DeadlineExceededError("cut by the deadline of the call", request_sent=attempt.request_sent)
            raise
        finally:
            told = error or cut
            if told is not None:
                told.note_status(attempt.status)
            record = AttemptRecord(
                number=number,
                started_s=started - call.started_at,
                ended_s=self._clock.now() - call.started_at,
                outcome="ok" if response else type(told).__name__ if told else "cancelled",
                status=response.status if response else told.status if told else attempt.status,
                request_sent=attempt.request_sent,
                delay_s=attempt.delay_s,
                is_hedge=attempt.is_hedge,
                applied=_applied(response, error, attempt.request_sent),
            )
            call.timeline.append(record)
            self._emit(AttemptFinished(call=call.info, record=record, error=told))
        raise error
