"""The client's own rate limit, off by default: attempts are sent no faster than a configured rate."""

import threading
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from middleware.clock import Clock
from middleware.errors import RateLimitExceededError
from middleware.events import AttemptRejected, Listener
from middleware.settings import Settings, SettingSpec
from middleware.types import Handler, PlatformRequest, PlatformResponse

__all__ = ["RateLimitMiddleware", "RateLimitSettings", "RateLimiter", "Slot"]


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
        int, SettingSpec(doc="Burst: attempts allowed back to back after idling.", ge=1, le=1_000_000, shared=True)
    ] = 10


class Slot(NamedTuple):
    """
    The time that one attempt has reserved.

    Attributes:
        wait_s: Seconds until the attempt may be sent.
        at: Theoretical arrival time before the reservation.
        next_at: Theoretical arrival time after it.
    """

    wait_s: float
    at: float
    next_at: float


class RateLimiter:
    """
    Decides when the next attempt may be sent; pure arithmetic.

    Generic cell rate algorithm (ITU-T I.371): each attempt adds one interval to the theoretical arrival time. The
    settings are arguments, so that a reload keeps what was counted.
    """

    def __init__(self) -> None:
        self._arrival_at = float("-inf")
        self._lock = threading.Lock()

    def reserve(self, now: float, latest: float, config: RateLimitSettings) -> Slot | None:
        """Reserve the next slot; None, and nothing reserved, if it is after *latest*."""
        interval_s = 1.0 / config.per_second
        with self._lock:
            arrival = max(self._arrival_at, now)
            wait = max(0.0, arrival - interval_s * (config.burst - 1) - now)
            if now + wait >= latest:
                return None
            self._arrival_at = arrival + interval_s
            return Slot(wait, arrival, self._arrival_at)

    def cancel_reservation(self, slot: Slot) -> None:
        """Cancel an unused slot; one that is not the last stays empty, since later slots depend on it."""
        with self._lock:
            if self._arrival_at == slot.next_at:
                self._arrival_at = slot.at


class RateLimitMiddleware:
    """Delays attempts so that they do not exceed the rate."""

    def __init__(self, clock: Clock, emit: Listener) -> None:
        self._limiter = RateLimiter()
        self._clock = clock
        self._emit = emit

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """
        Wait for this attempt's slot.

        Raises:
            RateLimitExceededError: Its slot is after the deadline.
        """
        config = request.call.settings(RateLimitSettings)
        if config.per_second > 0:
            await self._wait_for_slot(request, config)
        return await call_next(request)

    async def _wait_for_slot(self, request: PlatformRequest, config: RateLimitSettings) -> None:
        slot = self._limiter.reserve(self._clock.now(), request.call.deadline_at, config)
        if slot is None:
            self._emit(AttemptRejected(call=request.call.info, guard="rate_limit"))
            raise RateLimitExceededError("client-side rate limit: next slot is after the deadline")
        if slot.wait_s > 0:
            try:
                await self._clock.sleep(slot.wait_s)
            except BaseException:
                self._limiter.cancel_reservation(slot)
                raise
