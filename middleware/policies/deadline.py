"""Time limits: one deadline for the whole call, one timeout for each attempt."""

from dataclasses import dataclass
from typing import Annotated

from middleware._internal.cancellation import pass_on_cancel, pending_cancels
from middleware._internal.time_limit import TimeLimit
from middleware.clock import Clock
from middleware.errors import DeadlineExceededError, RequestNotSentError, ResponseLostError
from middleware.events import DeadlineReached, Listener
from middleware.policies.watched_attempts import WatchedAttempts
from middleware.settings import Settings, SettingSpec
from middleware.types import TIME_LEFT_HEADER, Handler, PlatformRequest, PlatformResponse

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
        ),
    ] = 10.0
    announce: Annotated[bool, SettingSpec(doc="Send the attempt's remaining time in X-Request-Timeout-Ms.")] = False


class DeadlineMiddleware:
    """Ends the call at its deadline, whatever it waits for."""

    def __init__(self, clock: Clock, emit: Listener) -> None:
        self._clock = clock
        self._emit = emit

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """
        Run the rest of the stack inside one cancel scope.

        Raises:
            DeadlineExceededError: The deadline has passed.
        """
        call = request.call
        total_s = call.settings(DeadlineSettings).total_s
        if call.deadline_s is not None:
            total_s = min(total_s, call.deadline_s)  # R40: a caller, or an incoming deadline, can only shorten it
        total_s = max(0.0, total_s)
        call.deadline_at = call.started_at + total_s
        left_s = call.deadline_at - self._clock.now()
        if left_s > 0:  # else nothing may be sent; a cancel scope would end the call only at its first wait
            before = pending_cancels()
            with TimeLimit(left_s, call):  # R44, R45
                return await call_next(request)
            pass_on_cancel(before)  # R42
        call.stop_reason = "deadline"
        self._emit(DeadlineReached(call=call.info, total_s=total_s))
        error = DeadlineExceededError(f"deadline of {total_s:g} s exceeded", request_sent=call.most_sent)
        ended = [record.status for record in call.timeline if record.outcome == DeadlineExceededError.__name__]
        error.note_response(ended[-1] if ended else None)
        raise error


class AttemptTimeoutMiddleware:
    """
    Ends an attempt that takes too long, so that time is left for another one.

    Args:
        clock: Source of time.
        watched: Runs the attempts that may go on beyond the deadline of their call.
    """

    def __init__(self, clock: Clock, watched: WatchedAttempts) -> None:
        self._clock = clock
        self._watched = watched

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """
        Run the attempt inside one cancel scope.

        Raises:
            RequestNotSentError: The time was over before the first byte of the request was sent.
            ResponseLostError: The time was over later.
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
            return await self._watched.run(request, _timed(request, call_next, timeout_s), attempt.on_late_end)
        if left_s <= timeout_s:  # R40: the deadline ends it first, with its own error
            return await call_next(request)
        return await _timed(request, call_next, timeout_s)


async def _timed(request: PlatformRequest, call_next: Handler, timeout_s: float) -> PlatformResponse:
    before = pending_cancels()
    with TimeLimit(timeout_s, request.call):  # R44, R45
        return await call_next(request)
    pass_on_cancel(before)  # R42
    request.attempt.timed_out = True
    reason = f"attempt timed out after {timeout_s:g} s"
    if request.attempt.request_sent == "no":
        raise RequestNotSentError(reason)
    raise ResponseLostError(reason, request_sent=request.attempt.request_sent)
