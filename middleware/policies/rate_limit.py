"""The client's own rate limit, off by default: attempts leave no faster than a configured rate."""

import threading
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from middleware.clock import Clock
from middleware.errors import RateLimitExceededError
from middleware.events import AttemptRejected, Listener
from middleware.settings import Settings, SettingSpec
from middleware.types import Handler, PlatformRequest, PlatformResponse

__all__ = ["RateLimitMiddleware", "RateLimitSettings", "RateLimiter", "Turn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitSettings(Settings):
    """Attempts per second of one service; 0 switches the limit off."""

    per_second: Annotated[
        float,
        SettingSpec(
            doc="Attempts per second of one service; 0 means no limit.", unit="1/s", ge=0, le=1_000_000, shared=True
        ),
    ] = 0.0
    burst: Annotated[
        int, SettingSpec(doc="Attempts that may leave at once after a quiet time.", ge=1, le=1_000_000, shared=True)
    ] = 10


class Turn(NamedTuple):
    """
    A place in the rate.

    Attributes:
        wait_s: Seconds until it may be used.
        at: Theoretical arrival time before it was reserved.
        next_at: The same after.
    """

    wait_s: float
    at: float
    next_at: float


class RateLimiter:
    """
    Decide when the next attempt may leave; pure arithmetic.

    Generic cell rate algorithm (ITU-T I.371): each attempt moves the theoretical arrival time one interval on. The
    settings come with each question, so that a reload keeps what was counted.
    """

    def __init__(self) -> None:
        self._arrival_at = float("-inf")
        self._lock = threading.Lock()

    def reserve(self, now: float, latest: float, config: RateLimitSettings) -> Turn | None:
        """Reserve a turn; None, and nothing reserved, if it comes after *latest*."""
        interval_s = 1.0 / config.per_second
        with self._lock:
            arrival = max(self._arrival_at, now)
            wait = max(0.0, arrival - interval_s * (config.burst - 1) - now)
            if now + wait >= latest:
                return None
            self._arrival_at = arrival + interval_s
            return Turn(wait, arrival, self._arrival_at)

    def give_back(self, turn: Turn) -> None:
        """Return a turn that was not used; one that others have reserved turns after stays empty, and the rate kept."""
        with self._lock:
            if self._arrival_at == turn.next_at:
                self._arrival_at = turn.at


class RateLimitMiddleware:
    """Delays attempts so that they keep to the rate."""

    def __init__(self, clock: Clock, emit: Listener) -> None:
        self._limiter = RateLimiter()
        self._clock = clock
        self._emit = emit

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """
        Wait for this attempt's turn.

        Raises:
            RateLimitExceededError: Its turn comes after the deadline.
        """
        config = request.call.settings(RateLimitSettings)
        if config.per_second > 0:
            await self._take_turn(request, config)
        return await call_next(request)

    async def _take_turn(self, request: PlatformRequest, config: RateLimitSettings) -> None:
        turn = self._limiter.reserve(self._clock.now(), request.call.deadline_at, config)
        if turn is None:
            self._emit(AttemptRejected(call=request.call.info, guard="rate_limit"))
            raise RateLimitExceededError("the client's rate limit leaves no turn before the deadline")
        if turn.wait_s > 0:
            try:
                await self._clock.sleep(turn.wait_s)
            except BaseException:
                self._limiter.give_back(turn)
                raise
