"""Time limits: one deadline for the whole call, one timeout for each attempt."""

from dataclasses import dataclass
from typing import Annotated

import anyio

from .clock import Clock
from .errors import DeadlineExceededError, RequestNotSentError, ResponseLostError
from .knobs import Knob, Settings
from .types import Handler, PlatformRequest, PlatformResponse

__all__ = ["AttemptTimeoutConfig", "AttemptTimeoutMiddleware", "DeadlineConfig", "DeadlineMiddleware"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineConfig(Settings):
    """Time for one call, all attempts and waits together."""

    total_s: Annotated[
        float,
        Knob(
            doc="Total time for one call: attempts, backoff and queueing together.",
            unit="s",
            ge=0.001,
            le=3600,
            source="below the 30 s after which the core cancels a plugin",
        ),
    ] = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptTimeoutConfig(Settings):
    """Time for one attempt."""

    timeout_s: Annotated[
        float,
        Knob(
            doc="Time for one attempt: connect, send, wait, read the body and decode it.",
            unit="s",
            ge=0.001,
            le=3600,
            source=".NET standard resilience handler",
        ),
    ] = 10.0


class DeadlineMiddleware:
    """Ends the call when its time is up, wherever it is waiting."""

    def __init__(self, config: DeadlineConfig, clock: Clock) -> None:
        self._total_s = config.total_s
        self._clock = clock

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """
        Run the rest of the stack inside one cancel scope.

        Raises:
            DeadlineExceededError: The time is up.
        """
        call = request.call
        total_s = self._total_s if call.deadline_s is None else min(self._total_s, call.deadline_s)
        call.deadline_at = call.started_at + total_s
        # anyio scopes, never asyncio.timeout: native cancellation damages httpcore's connections.
        with anyio.move_on_after(call.deadline_at - self._clock.now()):
            return await call_next(request)
        call.stop_reason = "deadline"
        raise DeadlineExceededError(f"deadline of {total_s:g} s exceeded", request_sent=call.most_sent)


class AttemptTimeoutMiddleware:
    """Ends an attempt that takes too long, so that another one can still be made."""

    def __init__(self, config: AttemptTimeoutConfig, clock: Clock) -> None:
        self._timeout_s = config.timeout_s
        self._clock = clock

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """
        Run the attempt inside one cancel scope.

        Raises:
            RequestNotSentError: Time ran out before the first byte of the request was sent.
            ResponseLostError: Time ran out later.
        """
        call = request.call
        if call.deadline_at - self._clock.now() <= self._timeout_s:
            return await call_next(request)  # the deadline cuts first, and its error is the honest one
        with anyio.move_on_after(self._timeout_s):
            return await call_next(request)
        reason = f"attempt timed out after {self._timeout_s:g} s"
        if request.attempt.request_sent == "no":
            raise RequestNotSentError(reason)
        raise ResponseLostError(reason, request_sent=request.attempt.request_sent)
