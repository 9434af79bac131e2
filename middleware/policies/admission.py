"""
Admission of calls: how many start in one iteration of the event loop, and how many may be in flight.

Two layers, because they have two places in the stack. Pacing comes before all other work of a call, since that work is
what it spreads. The call cap comes inside the call's span and record, so that a rejected call is traced and logged too.
"""

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass
from typing import Annotated, Any

from middleware._internal.per_loop import PerLoop
from middleware.errors import BulkheadFullError
from middleware.events import AttemptRejected, Listener
from middleware.settings import Settings, SettingSpec
from middleware.steps import Step
from middleware.types import Call, PlatformRequest, PlatformResponse

__all__ = ["CallCapMiddleware", "CallCapSettings", "PacingMiddleware"]

_PER_ITERATION = 16
"""Calls that start in one iteration of the event loop: a few milliseconds of work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCapSettings(Settings):
    """Cap on the calls of one service in flight in this process."""

    max_in_flight: Annotated[
        int,
        SettingSpec(
            doc="Calls of one service in flight, waiting ones included; more are rejected at once.",
            ge=1,
            le=1_000_000,
            shared=True,
            source=".NET standard resilience handler",
            raise_when="Calls are rejected with `BULKHEAD_FULL` while memory is free and the service takes more.",
            lower_when="Memory is short, or callers would rather be rejected than wait.",
        ),
    ] = 1000


class CallCapMiddleware(Step):
    """Rejects a call at once when too many are in flight: bounds memory when all calls wait in backoff."""

    def __init__(self, emit: Listener) -> None:
        self._emit = emit
        self._slots: dict[Call, weakref.ref[asyncio.AbstractEventLoop]] = {}
        self._lock = threading.Lock()  # several loops, in several threads, may share one client

    @property
    def in_flight(self) -> int:
        """Calls that have a slot, and those that have reserved one until they start."""
        with self._lock:
            self._drop_abandoned()
            return len(self._slots)

    def reserve(self, call: Call) -> bool:
        """Reserve a slot for *call*, which starts in a later iteration of its event loop; False if none is free."""
        return self._acquire(call, call.settings(CallCapSettings).max_in_flight)

    def release(self, call: Call) -> None:
        """Release the slot of *call*: it has ended, or it is about to acquire the slot that was reserved for it."""
        with self._lock:
            self._slots.pop(call, None)

    def _acquire(self, call: Call, limit: int) -> bool:
        with self._lock:
            if len(self._slots) >= limit:
                self._drop_abandoned()
                if len(self._slots) >= limit:
                    return False
            self._slots[call] = weakref.ref(asyncio.get_running_loop())
            return True

    def _drop_abandoned(self) -> None:
        """Release the slots of calls that will never end: their event loop was closed while they were in flight."""
        known = list(self._slots.items())
        for call in [call for call, loop in known if (found := loop()) is None or found.is_closed()]:  # R3
            del self._slots[call]

    def enter(self, request: PlatformRequest) -> None:
        """
        Acquire the slot that the call has until it ends.

        Raises:
            BulkheadFullError: No slot is free.
        """
        limit = request.call.settings(CallCapSettings).max_in_flight
        with self._lock:  # as `_acquire`, without a function for each call
            if len(self._slots) < limit:
                self._slots[request.call] = weakref.ref(asyncio.get_running_loop())
                return
        if not self._acquire(request.call, limit):
            self._emit(AttemptRejected(call=request.call.info, guard="call_cap"))
            raise BulkheadFullError(f"call cap reached: {limit} calls in flight")

    def succeeded(self, request: PlatformRequest, _entered: None, _response: PlatformResponse) -> None:
        """Release the slot."""
        with self._lock:
            self._slots.pop(request.call, None)

    def failed(self, request: PlatformRequest, _entered: None, error: BaseException) -> BaseException:
        """Release the slot."""
        self.release(request.call)
        return error


class _StartQueue:
    """
    Calls of one event loop that wait for the iteration in which they may start.

    Attributes:
        started: Calls that have started since the last iteration in which others waited.
    """

    def __init__(self) -> None:
        self.started = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Return in the iteration in which the call may start."""
        loop = asyncio.get_running_loop()  # not stored: a value per loop must not keep its loop alive
        if not self._waiting:
            loop.call_soon(self._start_next, context=Context())
        waiter = loop.create_future()
        self._waiting.append(waiter)
        await waiter

    def _start_next(self) -> None:
        """Let the next calls start, first come, first served; runs in each iteration while calls wait."""
        self.started = 0
        while self._waiting and self.started < _PER_ITERATION:
            waiter = self._waiting.popleft()
            if not waiter.done():  # else its call was cancelled
                self.started += 1
                waiter.set_result(None)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._start_next, context=Context())


_QUEUES = PerLoop(_StartQueue)  # one for all clients, since they share the loop


class PacingMiddleware(Step):
    """
    Lets 16 calls start in each iteration of the event loop, so that a burst cannot block it.

    The first step of a call, up to its first wait, is some tenth of a millisecond of work, connecting and sending
    included. A thousand tasks that did it in one iteration would block the loop for all other work of the program.

    Args:
        reserve: Reserves a slot under the call cap for a call that has to wait; False where none is free. The call goes
            on then, to be rejected at once.
        cancel_reservation: Cancels that reservation, right before the call acquires the slot.
    """

    def __init__(self, reserve: Callable[[Call], bool], cancel_reservation: Callable[[Call], None]) -> None:
        self._reserve = reserve
        self._cancel_reservation = cancel_reservation

    def enter(self, request: PlatformRequest) -> Coroutine[Any, Any, None] | None:
        """Start the call now, or in one of the next iterations."""
        queue = _QUEUES.get()
        if queue.started < _PER_ITERATION:
            queue.started += 1
            return None
        return self._wait(queue, request.call)

    async def _wait(self, queue: _StartQueue, call: Call) -> None:
        if not self._reserve(call):  # R3
            return
        try:
            await queue.wait()
        finally:
            self._cancel_reservation(call)
