"""The client's own rate limit, off by default: attempts are sent no faster than a configured rate."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

import anyio

from middleware._internal.cancellation import pass_on_cancel, pending_cancels
from middleware.clock import Clock
from middleware.errors import RateLimitExceededError
from middleware.events import AttemptRejected, Listener
from middleware.settings import Settings, SettingsLookup, SettingSpec
from middleware.steps import Step
from middleware.types import Call, PlatformRequest

from .gcra import RateLimiter, Slot

__all__ = ["RateLimitMiddleware", "RateLimitSettings", "RateLimiter", "Slot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitSettings(Settings):
    """Attempts per second of one service; 0 switches the limit off."""

    per_second: Annotated[
        float,
        SettingSpec(
            doc="Attempts per second of one service; 0 means no limit.",
            unit="1/s",
            ge=0,
            le=1_000_000,
            shared=True,
            raise_when="The service allows more than this process sends.",
            lower_when="The service responds 429: use its limit divided by the number of processes.",
        ),
    ] = 0.0
    burst: Annotated[
        int,
        SettingSpec(
            doc="Burst: attempts allowed back to back after idling.",
            ge=1,
            le=1_000_000,
            shared=True,
            raise_when="Short bursts wait although the service takes them.",
            lower_when="The service rejects bursts that are within its rate.",
        ),
    ] = 10


@dataclass(slots=True, eq=False)
class _Waiting:
    """
    An attempt that waits for its slot.

    Attributes:
        due_at: When the slot comes; a raised rate moves it.
        scope: Ends the present sleep.
        loop: The event loop of the attempt.
    """

    due_at: float
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)


class RateLimitMiddleware(Step):
    """Delays attempts so that they do not exceed the rate."""

    def __init__(self, clock: Clock, emit: Listener) -> None:
        self._waiting: set[_Waiting] = set()
        self._in_force = RateLimitSettings()
        self._in_force_since = float("-inf")
        self._limiter = RateLimiter(self._shorten)
        self._clock = clock
        self._emit = emit

    def is_needed(self, settings: SettingsLookup) -> bool:
        """The limit is off by default."""
        return settings(RateLimitSettings).per_second > 0

    def enter(self, request: PlatformRequest) -> Coroutine[Any, Any, None] | None:
        """
        Wait for this attempt's slot.

        Raises:
            RateLimitExceededError: Its slot is after the deadline; `retry_after_s` is the time until it.
        """
        if request.call.settings(RateLimitSettings).per_second > 0:
            return self._wait_for_slot(request)
        return None

    def apply(self, request: PlatformRequest) -> None:
        """Let the settings of *request* apply to the attempts that wait already, which may have what it waits for."""
        self._limiter.apply(self._clock.now(), self._newest(request.call))

    def _newest(self, call: Call) -> RateLimitSettings:
        if call.started_at >= self._in_force_since:  # R61: an older call does not undo a reload
            self._in_force, self._in_force_since = call.settings(RateLimitSettings), call.started_at
        return self._in_force

    async def _wait_for_slot(self, request: PlatformRequest) -> None:
        now, config = self._clock.now(), self._newest(request.call)
        slot = self._limiter.reserve(now, request.call.deadline_at, config)
        if slot is None:
            retry_after_s = self._limiter.wait_s(now, config)
            self._emit(AttemptRejected(call=request.call.info, guard="rate_limit", retry_after_s=retry_after_s))
            raise RateLimitExceededError(
                "client-side rate limit: next slot is after the deadline", retry_after_s=retry_after_s
            )
        if slot.wait_s > 0:
            try:
                await self._sleep(now, slot.wait_s)
            except BaseException:
                self._limiter.cancel_reservation(slot)
                raise

    async def _sleep(self, now: float, delay_s: float) -> None:
        waiting, before = _Waiting(now + delay_s), pending_cancels()
        self._waiting.add(waiting)
        try:
            while True:
                with waiting.scope:
                    await self._clock.sleep(delay_s)
                    return
                pass_on_cancel(before)  # R42
                delay_s, waiting.scope = max(0.0, waiting.due_at - self._clock.now()), anyio.CancelScope()
        finally:
            self._waiting.discard(waiting)

    def _shorten(self, now: float, factor: float) -> None:
        """Let the attempts that wait at the old rate go at the new one: they have permits that others need."""
        for waiting in tuple(self._waiting):
            waiting.due_at = now + (waiting.due_at - now) * factor
            with suppress(RuntimeError):  # its loop was closed before the attempt ended
                waiting.loop.call_soon_threadsafe(waiting.scope.cancel)
