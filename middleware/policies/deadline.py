"""One deadline for the whole call: all its attempts, waits and queues together."""

from dataclasses import dataclass
from typing import Annotated

import anyio

from middleware._internal.cancellation import pass_on_cancel, pending_cancels
from middleware.clock import Clock
from middleware.errors import DeadlineExceededError
from middleware.events import DeadlineReached, Listener
from middleware.settings import Settings, SettingSpec
from middleware.types import Handler, PlatformRequest, PlatformResponse

__all__ = ["DeadlineMiddleware", "DeadlineSettings"]


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
            # R44: anyio's scopes, never asyncio.timeout or wait_for.
            with anyio.move_on_after(left_s):
                return await call_next(request)
            pass_on_cancel(before)  # R42
        call.stop_reason = "deadline"
        self._emit(DeadlineReached(call=call.info, total_s=total_s))
        error = DeadlineExceededError(f"deadline of {total_s:g} s exceeded", request_sent=call.most_sent)
        ended = [record.status for record in call.timeline if record.outcome == DeadlineExceededError.__name__]
        error.note_status(ended[-1] if ended else None)
        raise error
