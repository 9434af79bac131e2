"""
Bulkhead: a bounded number of attempts at a time, and a bounded first-in-first-out queue for the others.

With `adaptive` the number follows what the service takes (`adaptive_limit.py`); the permits are its upper bound.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import anyio

from middleware._internal.cancellation import pass_on_cancel, pending_cancels
from middleware._internal.per_loop import PerLoop
from middleware.clock import Clock
from middleware.errors import BulkheadFullError, CallError, StatusError
from middleware.events import AttemptQueued, AttemptRejected, Listener
from middleware.policies.adaptive_limit import AdaptiveLimit
from middleware.settings import Settings, SettingSpec
from middleware.steps import Step
from middleware.types import Call, PlatformRequest, PlatformResponse

__all__ = ["Bulkhead", "BulkheadMiddleware", "BulkheadSettings"]

_FAIR_SHARE = 0.5  # of the attempt timeout: with less time an attempt is likely to be sent in vain


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
            raise_when="Attempts queue while the service has headroom.",
            lower_when="The service slows down under so many attempts; [sizing](../resilience.md#sizing-the-bulkhead).",
        ),
    ] = 100
    queue: Annotated[
        int,
        SettingSpec(
            doc="Attempts that may wait for a permit; more are rejected at once.",
            ge=0,
            le=1_000_000,
            shared=True,
            raise_when="Bursts are rejected although the service works them off in time.",
            lower_when="Calls that have waited end by their deadline: about as long as the permits is enough.",
        ),
    ] = 900
    adaptive: Annotated[
        bool,
        SettingSpec(
            doc="Fewer permits while attempts time out or are throttled: half of those in use, then one more per round "
            "trip; an attempt stops waiting where its call has no time left for it.",
            shared=True,
            source="TCP congestion avoidance",
            raise_when="The service times out or throttles under load, and how much it takes is not known.",
            lower_when="The service's limit is known, and `bulkhead.permits` says it.",
        ),
    ] = False


class Bulkhead:
    """
    Permits of one event loop.

    Waiters get permits first in, first out. A cancelled waiter is removed from the queue, and releases a permit that it
    got at the same moment.

    Attributes:
        permits: How many there are; `resize` changes it at any time.
        adaptive: Lowers the number in force; None where the host's number applies.
        limit: The number in force, at most `permits`.
        in_flight: Permits that are in use.
        sized_at: Start of the call whose settings the number of permits came from.
    """

    def __init__(self, permits: int) -> None:
        self.permits = self.limit = permits
        self.adaptive: AdaptiveLimit | None = None
        self.sized_at = float("-inf")
        self.in_flight = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def queued(self) -> int:
        """Attempts that wait for a permit."""
        return len(self._waiters)

    def resize(self, permits: int, *, adaptive: bool = False) -> None:
        """Set the number of permits; waiters get new ones at once, and surplus ones end with their attempts."""
        self.permits = permits
        self.adaptive = (self.adaptive or AdaptiveLimit()) if adaptive else None
        self.adapt()

    def adapt(self) -> None:
        """Apply the present value of the adaptive limit."""
        self.limit = self.permits if self.adaptive is None else self.adaptive.of(self.permits)
        self._transfer()

    def try_acquire(self) -> bool:
        """Acquire a permit if one is free and the queue is empty."""
        if self._waiters or self.in_flight >= self.limit:  # R41: no attempt overtakes the queue
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
        if self._waiters:
            self._transfer()

    def _transfer(self) -> None:
        """Transfer free permits to waiters, first come, first served."""
        while self.in_flight < self.limit and self._waiters:
            waiter = self._waiters.popleft()  # R41: first in, first out
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)


_Permit: TypeAlias = tuple[Bulkhead, AdaptiveLimit | None, float]
"""Where the permit of an attempt was acquired, the adaptive limit there, if any, and for that the clock reading."""


class BulkheadMiddleware(Step):
    """
    Lets a bounded number of attempts through at a time.

    Args:
        clock: Source of time, for how long an attempt waited.
        emit: Listener for waits and rejections.
        before_waiting: Called before an attempt waits here or in a layer below; raises when it would be rejected after.
        on_queue: Called with an attempt that has to wait for a permit.
        attempt_timeout_s: Returns the attempt timeout of a call in seconds.
    """

    def __init__(
        self,
        clock: Clock,
        emit: Listener,
        before_waiting: Callable[[PlatformRequest], None],
        on_queue: Callable[[PlatformRequest], None] = lambda _request: None,
        attempt_timeout_s: Callable[[Call], float] = lambda _call: 0.0,
    ) -> None:
        self._clock = clock
        self._emit = emit
        self._before_waiting = before_waiting
        self._on_queue = on_queue
        self._attempt_timeout_s = attempt_timeout_s
        # equivalent: `-1`: no setting allows either: the first call sizes it
        self._bulkheads = PerLoop(lambda: Bulkhead(0))  # futures belong to one loop

    def _bulkhead(self, call: Call, config: BulkheadSettings) -> Bulkhead:
        bulkhead = self._bulkheads.get()
        differs = bulkhead.permits != config.permits or (bulkhead.adaptive is not None) is not config.adaptive
        if differs and call.started_at >= bulkhead.sized_at:
            # R61: the settings were reloaded. Acquired permits stay valid; an older call does not undo the change.
            bulkhead.resize(config.permits, adaptive=config.adaptive)
            bulkhead.sized_at = call.started_at
        return bulkhead

    def load(self) -> tuple[int, int]:
        """Return the numbers of attempts in flight and queued, all event loops together."""
        bulkheads = self._bulkheads.all()
        return sum(one.in_flight for one in bulkheads), sum(one.queued for one in bulkheads)

    def limit(self) -> int:
        """Return the number of attempts allowed at a time now, all event loops together."""
        return sum(one.limit for one in self._bulkheads.all())

    def has_room(self, request: PlatformRequest) -> bool:
        """Return whether an attempt of *request* could start now, without waiting."""
        bulkhead = self._bulkhead(request.call, request.call.settings(BulkheadSettings))
        return bulkhead.in_flight < bulkhead.limit and not bulkhead.queued

    def enter(self, request: PlatformRequest) -> _Permit | Coroutine[Any, Any, _Permit]:
        """
        Acquire the permit that the attempt has until it ends.

        Raises:
            BulkheadFullError: No permit is free, and the queue is full, the attempt is a hedge, which never waits, or,
                with `adaptive`, its call has no time left to wait.
        """
        config = request.call.settings(BulkheadSettings)
        bulkhead = self._bulkhead(request.call, config)
        self._before_waiting(request)
        if not bulkhead.try_acquire():
            return self._queue(request, bulkhead, config)
        return (bulkhead, None, 0.0) if bulkhead.adaptive is None else self._permit(bulkhead)

    def _permit(self, bulkhead: Bulkhead) -> _Permit:
        return bulkhead, bulkhead.adaptive, self._clock.now()

    def succeeded(self, request: PlatformRequest, permit: _Permit, _response: PlatformResponse) -> None:
        """Release the permit."""
        if permit[1] is None:
            permit[0].release()
        else:
            self._end(request, permit, None)

    def failed(self, request: PlatformRequest, permit: _Permit, error: BaseException) -> BaseException:
        """Release the permit."""
        self._end(request, permit, error)
        return error

    def _end(self, request: PlatformRequest, permit: _Permit, error: BaseException | None) -> None:
        bulkhead, limit, started = permit
        if limit is not None:
            self._adapt(request, bulkhead, limit, started, error)
        bulkhead.release()

    def _adapt(
        self,
        request: PlatformRequest,
        bulkhead: Bulkhead,
        limit: AdaptiveLimit,
        started: float,
        error: BaseException | None,
    ) -> None:
        """Let the end of an attempt change the limit."""
        now = self._clock.now()
        if request.attempt.is_short_circuited:
            pass  # R31: a response that a layer of the host made says nothing about the service
        elif _shows_overload(request, error, now):
            limit.on_overload(started, now, bulkhead.in_flight, bulkhead.permits)  # R46
        elif error is None or (isinstance(error, CallError) and request.attempt.status is not None):
            limit.on_response(bulkhead.in_flight, bulkhead.permits)  # R46
        bulkhead.adapt()

    async def _queue(self, request: PlatformRequest, bulkhead: Bulkhead, config: BulkheadSettings) -> _Permit:
        is_full = bulkhead.queued >= config.queue  # R41
        if request.attempt.is_hedge or is_full:  # R19, R41
            raise self._rejection(request, bulkhead, config)
        self._on_queue(request)
        started = self._clock.now()
        if bulkhead.adaptive is None:
            await bulkhead.wait()
        elif not await _wait_for(bulkhead, self._patience_s(request.call, started)):
            raise self._rejection(request, bulkhead, config, waited_s=self._clock.now() - started)
        try:
            self._emit(AttemptQueued(call=request.call.info, waited_s=self._clock.now() - started))
        except BaseException:
            bulkhead.release()  # no layer above knows of the permit that was just acquired
            raise
        return self._permit(bulkhead)

    def _patience_s(self, call: Call, now: float) -> float:
        """Return the longest wait after which an attempt still has a fair chance (R46)."""
        left_s = call.deadline_at - now
        return left_s - _FAIR_SHARE * min(left_s, self._attempt_timeout_s(call))

    def _rejection(
        self, request: PlatformRequest, bulkhead: Bulkhead, config: BulkheadSettings, *, waited_s: float | None = None
    ) -> BulkheadFullError:
        self._emit(AttemptRejected(call=request.call.info, guard="bulkhead"))
        in_use, queued = f"{bulkhead.in_flight}/{bulkhead.limit}", f"{bulkhead.queued}/{config.queue}"
        waited = "" if waited_s is None else f", waited {waited_s:.3g} s"
        return BulkheadFullError(f"bulkhead full: {in_use} permits, {queued} queued{waited}")


async def _wait_for(bulkhead: Bulkhead, patience_s: float) -> bool:
    """Wait for a permit; False, and no permit, after *patience_s*."""
    before = pending_cancels()
    with anyio.move_on_after(patience_s):
        await bulkhead.wait()
        return True
    pass_on_cancel(before)  # R42
    return False


def _shows_overload(request: PlatformRequest, error: BaseException | None, now: float) -> bool:
    """Return whether the end of an attempt says that the service has more to do than it can (R46)."""
    if isinstance(error, StatusError):
        return error.is_throttled
    attempt = request.attempt
    if isinstance(error, asyncio.CancelledError) and attempt.timeout_s is not None:
        # Ended by the deadline: it says something if it had a fair share of the attempt timeout.
        return request.call.is_over(now) and now - attempt.started_at >= _FAIR_SHARE * attempt.timeout_s
    return attempt.timed_out
