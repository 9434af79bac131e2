"""A bounded number of attempts at a time, and a bounded first-in-first-out queue before them."""

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from .errors import BulkheadFullError
from .events import AttemptRejected, Listener
from .knobs import Knob, Settings
from .types import Handler, PlatformRequest, PlatformResponse

__all__ = ["Bulkhead", "BulkheadConfig", "BulkheadMiddleware"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkheadConfig(Settings):
    """Attempts of one service at a time, per event loop."""

    permits: Annotated[
        int, Knob(doc="Attempts of one service on the wire at a time, per event loop.", ge=1, le=100_000)
    ] = 100
    queue: Annotated[
        int, Knob(doc="Attempts that may wait for a permit; more are refused at once.", ge=0, le=1_000_000)
    ] = 900


class Bulkhead:
    """
    Permits of one event loop.

    Waiters are served first in, first out. A cancelled waiter gives its place back, and passes on a permit that was
    handed to it in the same moment.
    """

    def __init__(self, permits: int, queue: int) -> None:
        self._permits = permits
        self._free = permits
        self._queue_limit = queue
        self._waiters: deque[asyncio.Future[None]] = deque()

    def try_acquire(self) -> bool:
        """Take a permit if one is free and nobody waits."""
        if self._free > 0 and not self._waiters:
            self._free -= 1
            return True
        return False

    @property
    def in_flight(self) -> int:
        """Permits that are held."""
        return self._permits - self._free

    @property
    def queued(self) -> int:
        """Attempts that wait for a permit."""
        return len(self._waiters)

    @property
    def queue_is_full(self) -> bool:
        """True when nobody else may wait."""
        return len(self._waiters) >= self._queue_limit

    async def wait(self) -> None:
        """Wait for a permit; returns holding it."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():
                self.release()  # handed over, but its owner is gone
            else:
                self._waiters.remove(waiter)
            raise

    def release(self) -> None:
        """Give a permit back: to the first waiter, else to the pool."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1


class BulkheadMiddleware:
    """
    Lets a bounded number of attempts through at a time.

    Args:
        config: The settings.
        emit: Listener for refusals.
        before_waiting: Asked before an attempt queues; raises when queueing would be for nothing.
    """

    def __init__(
        self, config: BulkheadConfig, emit: Listener, before_waiting: Callable[[PlatformRequest], None]
    ) -> None:
        self._config = config
        self._emit = emit
        self._before_waiting = before_waiting
        # Futures belong to one loop; the core re-creates loops and uses several threads.
        self._per_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Bulkhead] = weakref.WeakKeyDictionary()

    def _bulkhead(self) -> Bulkhead:
        loop = asyncio.get_running_loop()
        bulkhead = self._per_loop.get(loop)
        if bulkhead is None:
            bulkhead = self._per_loop[loop] = Bulkhead(self._config.permits, self._config.queue)
        return bulkhead

    def load(self) -> tuple[int, int]:
        """Attempts in flight and attempts that wait, all event loops together."""
        bulkheads = list(self._per_loop.values())
        return sum(one.in_flight for one in bulkheads), sum(one.queued for one in bulkheads)

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """
        Hold one permit for the duration of the attempt.

        Raises:
            BulkheadFullError: No permit is free and the queue is full.
        """
        bulkhead = self._bulkhead()
        if not bulkhead.try_acquire():
            self._before_waiting(request)
            if bulkhead.queue_is_full:
                self._emit(AttemptRejected(call=request.call.info, guard="bulkhead"))
                raise BulkheadFullError(
                    f"{self._config.permits} attempts in flight and {self._config.queue} waiting already"
                )
            await bulkhead.wait()
        try:
            return await call_next(request)
        finally:
            bulkhead.release()
