"""Time limits: one deadline for the whole call, one timeout for each attempt."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from middleware._internal.time_limit import TimeLimit
from middleware.clock import Clock
from middleware.errors import DeadlineExceededError, RequestNotSentError, ResponseLostError
from middleware.events import DeadlineReached, Listener
from middleware.policies.watched_attempts import WatchedAttempts
from middleware.settings import Settings, SettingSpec
from middleware.steps import Step
from middleware.types import TIME_LEFT_HEADER, Call, Handler, PlatformRequest, PlatformResponse

__all__ = ["AttemptTimeoutMiddleware", "AttemptTimeoutSettings", "DeadlineMiddleware", "DeadlineSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineSettings(Settings):
    """Time for one call, all attempts and waits together."""

    total_s: Annotated[
        float,
        SettingSpec(
            doc="Total time for one call: attempts, backoff and queueing together.",
            unit="s",
            ge=0.001,
            le=3600,
            source="below the 30 s after which the core cancels a plugin",
            raise_when="Callers wait longer, and slow operations end by their deadline although the service works.",
            lower_when="Callers give up earlier: stay below the time that the caller of a call has (ST301).",
        ),
    ] = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptTimeoutSettings(Settings):
    """Time for one attempt."""

    timeout_s: Annotated[
        float,
        SettingSpec(
            doc="Time for one attempt: connect, send, wait, read the body and decode it.",
            unit="s",
            ge=0.001,
            le=3600,
            source=".NET standard resilience handler",
            raise_when="Slow but healthy responses are cancelled.",
            lower_when="A hang takes the time that a retry needs: stay well below `deadline.total_s`.",
        ),
    ] = 10.0
    announce: Annotated[
        bool,
        SettingSpec(
            doc="Send the attempt's remaining time in X-Request-Timeout-Ms.",
            raise_when="The service reads X-Request-Timeout-Ms and stops work that its caller no longer waits for.",
            lower_when="No service reads it, or a gateway rejects unknown headers.",
        ),
    ] = False


class DeadlineMiddleware(Step):
    """Ends the call at its deadline, whatever it waits for."""

    def __init__(self, clock: Clock, emit: Listener) -> None:
        self._clock = clock
        self._emit = emit

    def enter(self, request: PlatformRequest) -> tuple[TimeLimit, float]:
        """
        Start the time of the call.

        Returns:
            The limit, and the seconds that the whole call has.

        Raises:
            DeadlineExceededError: The deadline has passed already.
        """
        call = request.call
        total_s = call.settings(DeadlineSettings).total_s
        if call.deadline_s is not None:
            total_s = min(total_s, call.deadline_s)  # R40: a caller, or an incoming deadline, can only shorten it
        total_s = max(0.0, total_s)
        call.deadline_at = call.started_at + total_s
        left_s = call.deadline_at - self._clock.now()
        if left_s <= 0:  # nothing may be sent; a time limit would end the call only at its first wait
            raise self._exceeded(call, total_s)
        return TimeLimit(left_s, call), total_s  # R44, R45

    def succeeded(
        self, _request: PlatformRequest, entered: tuple[TimeLimit, float], _response: PlatformResponse
    ) -> None:
        """Stop the time."""
        entered[0].__exit__(None, None, None)

    def failed(self, request: PlatformRequest, entered: tuple[TimeLimit, float], error: BaseException) -> BaseException:
        """Stop the time; a cancellation at the deadline becomes a `DeadlineExceededError`."""
        limit, total_s = entered
        if limit.__exit__(type(error), error, None):  # R42
            return self._exceeded(request.call, total_s)
        return error

    def _exceeded(self, call: Call, total_s: float) -> DeadlineExceededError:
        call.stop_reason = "deadline"
        self._emit(DeadlineReached(call=call.info, total_s=total_s))
        error = DeadlineExceededError(f"deadline of {total_s:g} s exceeded", request_sent=call.most_sent)
        ended = [record.status for record in call.timeline if record.outcome == DeadlineExceededError.__name__]
        error.note_response(ended[-1] if ended else None)
        return error


class AttemptTimeoutMiddleware(Step):
    """
    Ends an attempt that takes too long, so that time is left for another one.

    Args:
        clock: Source of time.
        watched: Runs the attempts that may go on beyond the deadline of their call.
    """

    def __init__(self, clock: Clock, watched: WatchedAttempts) -> None:
        self._clock = clock
        self._watched = watched

    def enter_above(
        self, below: Handler, request: PlatformRequest
    ) -> TimeLimit | Coroutine[Any, Any, PlatformResponse] | None:
        """
        Start the time of the attempt; one that may outlive its call is run in a task of its own.

        Returns:
            The limit; None where the deadline comes first.
        """
        call, attempt = request.call, request.attempt
        config = call.settings(AttemptTimeoutSettings)
        now = self._clock.now()
        left_s = call.deadline_at - now
        attempt.started_at = now
        attempt.timeout_s = timeout_s = config.timeout_s
        attempt.ends_at = now + min(left_s, timeout_s)
        if config.announce:
            left_ms = max(1, int(min(left_s, timeout_s) * 1000))
            request.headers[TIME_LEFT_HEADER] = str(left_ms)  # R50
        if attempt.on_late_end is not None:
            return self._watched.run(request, _timed(request, below, timeout_s), attempt.on_late_end)
        if left_s <= timeout_s:  # R40: the deadline ends it first, with its own error
            return None
        return TimeLimit(timeout_s, call)  # R42, R44, R45

    def succeeded(self, _request: PlatformRequest, limit: TimeLimit | None, _response: PlatformResponse) -> None:
        """Stop the time."""
        if limit is not None:
            limit.__exit__(None, None, None)

    def failed(self, request: PlatformRequest, limit: TimeLimit | None, error: BaseException) -> BaseException:
        """
        Stop the time; a cancellation at its end becomes one of our errors.

        Returns:
            A `RequestNotSentError` where the first byte of the request was not sent yet, else a `ResponseLostError`.
        """
        if limit is not None and limit.__exit__(type(error), error, None):  # R42
            return _timed_out(request, limit.seconds)
        return error


async def _timed(request: PlatformRequest, call_next: Handler, timeout_s: float) -> PlatformResponse:
    with TimeLimit(timeout_s, request.call):  # R42, R44, R45
        return await call_next(request)
    raise _timed_out(request, timeout_s)


def _timed_out(request: PlatformRequest, timeout_s: float) -> RequestNotSentError | ResponseLostError:
    request.attempt.timed_out = True
    reason = f"attempt timed out after {timeout_s:g} s"
    if request.attempt.request_sent == "no":
        return RequestNotSentError(reason)
    return ResponseLostError(reason, request_sent=request.attempt.request_sent)
