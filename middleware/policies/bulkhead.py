"""Bulkhead: a bounded number of attempts at a time, and a bounded first-in-first-out queue for the others."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

from middleware._internal.per_loop import PerLoop
from middleware.clock import Clock
from middleware.errors import BulkheadFullError
from middleware.events import AttemptQueued, AttemptRejected, Listener
from middleware.settings import Settings, SettingSpec
from middleware.types import Call, Handler, PlatformRequest, PlatformResponse

__all__ = ["Bulkhead", "BulkheadMiddleware", "BulkheadSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkheadSettings(Settings):
    """Attempts of one service at a time, per event loop."""

    permits: Annotated[
        int,
        SettingSpec(
            doc="Attempts of one service on the wire at a time, per event loop.",
            ge=1,
            le=100_000,
            shared=True,
            source="httpx: 100 connections",
        ),
    ] = 100
    queue: Annotated[
        int,
        SettingSpec(
            doc="Attempts that may wait for a permit; more are rejected at once.", ge=0, le=1_000_000, shared=True
        ),
    ] = 900


class Bulkhead:
    """
    Permits of one event loop.

    Waiters get permits first in, first out. A cancelled waiter is removed from the queue, and releases a permit that it
    got at the same moment.

    Attributes:
        permits: How many there are; `resize` changes it at any time.
        in_flight: Permits that are in use.
        sized_at: Start of the call whose settings the number of permits came from.
    """

    def __init__(self, permits: int) -> None:
        self.permits = permits
        self.sized_at = float("-inf")
        self.in_flight = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def queued(self) -> int:
        """Attempts that wait for a permit."""
        return len(self._waiters)

    def resize(self, permits: int) -> None:
        """Set the number of permits; waiters get new ones at once, and surplus ones end with their attempts."""
        self.permits = permits
        self._transfer()

    def try_acquire(self) -> bool:
        """Acquire a permit if one is free and the queue is empty."""
        if self._waiters or self.in_flight >= self.permits:  # R41: no attempt overtakes the queue
            return False
        self.in_flight += 1
        return True

    async def wait(self) -> None:
        """Wait for a permit, and return once it is acquired."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():
                self.release()  # R41: transferred to a waiter that was cancelled
            else:
                with suppress(ValueError):  # `_transfer` may have removed it already
                    self._waiters.remove(waiter)
            raise

    def release(self) -> None:
        """Release a permit."""
        self.in_flight -= 1
        self._transfer()

    def _transfer(self) -> None:
        """Transfer free permits to waiters, first come, first served."""
        while self.in_flight < self.permits and self._waiters:
            waiter = self._waiters.popleft()  # R41: first in, first out
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)


class BulkheadMiddleware:
    """
    Lets a bounded number of attempts through at a time.

    Args:
        clock: Source of time, for how long an attempt waited.
        emit: Listener for waits and rejections.
        before_waiting: Called before an attempt waits here or in a layer below; raises when it would be rejected after.
    """

    def __init__(self, clock: Clock, emit: Listener, before_waiting: Callable[[PlatformRequest], None]) -> None:
        self._clock = clock
        self._emit = emit
        self._before_waiting = before_waiting
        # equivalent: `-1`: no setting allows either: the first call sizes it
        self._bulkheads = PerLoop(lambda: Bulkhead(0))  # futures belong to one loop

    def _bulkhead(self, call: Call, permits: int) -> Bulkhead:
        bulkhead = self._bulkheads.get()
        if bulkhead.permits != permits and call.started_at >= bulkhead.sized_at:
            # R61: the settings were reloaded. Acquired permits stay valid; an older call does not undo the change.
            bulkhead.resize(permits)
            bulkhead.sized_at = call.started_at
        return bulkhead

    def load(self) -> tuple[int, int]:
        """Return the numbers of attempts in flight and queued, all event loops together."""
        bulkheads = self._bulkheads.all()
        return sum(one.in_flight for one in bulkheads), sum(one.queued for one in bulkheads)

    def has_room(self, request: PlatformRequest) -> bool:
        """Return whether an attempt of *request* could start now, without waiting."""
        bulkhead = self._bulkhead(request.call, request.call.settings(BulkheadSettings).permits)
        return bulkhead.in_flight < bulkhead.permits and not bulkhead.queued

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """
        Keep one permit for the duration of the attempt.

        Raises:
            BulkheadFullError: No permit is free, and the queue is full or the attempt is a hedge, which never waits.
        """
        config = request.call.settings(BulkheadSettings)
        bulkhead = self._bulkhead(request.call, config.permits)
        self._before_waiting(request)
        if not bulkhead.try_acquire():
            await self._queue(request, bulkhead, config)
        try:
            return await call_next(request)
        finally:
            bulkhead.release()

    async def _queue(self, request: PlatformRequest, bulkhead: Bulkhead, config: BulkheadSettings) -> None:
        is_full = bulkhead.queued >= config.queue  # R41
        if request.attempt.is_hedge or is_full:  # R19, R41
            self._emit(AttemptRejected(call=request.call.info, guard="bulkhead"))
            in_use, queued = f"{bulkhead.in_flight}/{bulkhead.permits}", f"{bulkhead.queued}/{config.queue}"
            raise BulkheadFullError(f"bulkhead full: {in_use} permits, {queued} queued")
        started = self._clock.now()
        await bulkhead.wait()
        try:
            self._emit(AttemptQueued(call=request.call.info, waited_s=self._clock.now() - started))
        except BaseException:
            bulkhead.release()  # no layer above knows of the permit that was just acquired
            raise
