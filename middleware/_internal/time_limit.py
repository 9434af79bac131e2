"""
A time limit that never discards a result which has already arrived.

A timer does not say when its time was over, only when the event loop got round to it: after the host blocked the loop,
timers and responses become ready in the same moment. And between the last byte of a response and the result of its
call are steps, locks of an HTTP library among them, that a cancellation would interrupt.
"""

import asyncio
import weakref
from contextvars import Context
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count
from types import TracebackType
from typing import Protocol, Self

from .per_loop import PerLoop

__all__ = ["Alarm", "Progress", "TimeLimit"]

# From bytes in the socket's buffer to the result of the call there are up to six: TLS, a parser's reads, the locks of
# httpcore, the task of a watched attempt. Layers of the host may wait in between.
_ITERATIONS = 24

# A cancellation that something in the block has swallowed is delivered again after this time, then after twice it, and
# so on: a loop that swallows each one must not fill the event loop.
_AGAIN_S, _AGAIN_MAX_S = 0.001, 0.1

_FEWEST_KEPT = 256  # limits, stopped ones included, below which none is looked for that has stopped


class Progress(Protocol):
    """
    What shows that a response is arriving.

    Attributes:
        pieces_read: Number of pieces of responses that were read so far.
    """

    pieces_read: int


class Alarm:
    """
    One timer of an event loop for all its time limits.

    A timer costs more than all else of a limit, and most limits have ended long before theirs. So none is set while one
    is set already for an earlier time, and none is cancelled; when it fires, it is set for the next limit that runs.

    It refers to limits weakly, and to no timer: both refer to the loop, which a value of it must not keep alive.
    """

    __slots__ = ("__weakref__", "_limits", "_looks_at", "_most", "_numbers")

    def __init__(self) -> None:
        # A heap, and a number for those that end at the same time: first come, first served.
        self._limits: list[tuple[float, int, weakref.ref[TimeLimit]]] = []
        self._numbers = count()
        self._most = _FEWEST_KEPT
        self._looks_at = float("inf")

    def add(self, limit: "TimeLimit", loop: asyncio.AbstractEventLoop) -> None:
        """Look after *limit* from now on, until it has stopped."""
        if len(self._limits) >= self._most:
            self._drop_stopped()
        heappush(self._limits, (limit.ends_at, next(self._numbers), weakref.ref(limit)))
        if limit.ends_at < self._looks_at:
            self._set(limit.ends_at, loop)

    def _set(self, looks_at: float, loop: asyncio.AbstractEventLoop) -> None:
        self._looks_at = looks_at
        # In a context of its own: it outlives the call that it was set for.
        loop.call_at(looks_at, partial(self._look, looks_at), context=Context())

    def _drop_stopped(self) -> None:
        self._limits = [entry for entry in self._limits if (limit := entry[2]()) is not None and limit.is_running]
        heapify(self._limits)
        self._most = max(_FEWEST_KEPT, 2 * len(self._limits))  # so that a limit costs the same, however many run

    def _look(self, looks_at: float) -> None:
        if looks_at != self._looks_at:
            return  # one for an earlier time was set since
        loop, limits = asyncio.get_running_loop(), self._limits
        over: list[tuple[int, TimeLimit]] = []
        now = loop.time()
        while limits:
            ends_at, number, found = limits[0]
            limit = found()
            if limit is not None and limit.is_running:
                if now < ends_at:  # it may fire early: uvloop's timers are rounded to milliseconds
                    break
                over.append((number, limit))
            heappop(limits)
        self._looks_at = float("inf")
        if limits:
            self._set(limits[0][0], loop)
        if over:
            # A limit within another one began later. Where both are over, the outer one ends the block, with its own
            # error: that of the inner one would say that there is time left.
            _Ending([limit for _, limit in sorted(over)], now).run()


_ALARMS = PerLoop(Alarm)


class _Ending:
    """
    Ends the blocks of limits that are over together, as of the calls that share a deadline: one callback for them all.

    Only the event loop refers to it, as a callback: it refers to tasks, and so to the loop.

    Args:
        limits: In the order in which their blocks are cancelled.
        now: Reading of the event loop's clock.
    """

    __slots__ = ("_iteration", "_late_until", "_limits", "_next")

    def __init__(self, limits: "list[TimeLimit]", now: float) -> None:
        self._limits = limits
        self._iteration = 0
        for limit in limits:
            limit.begin_to_end(now)
        self._next = min(limit.cancelled_in for limit in limits)
        self._late_until = max(limit.late_until for limit in limits)

    def run(self) -> None:
        """Let the event loop run the iterations that each limit allows, then cancel its block."""
        loop, iteration = asyncio.get_running_loop(), self._iteration
        if iteration and (now := loop.time()) < self._late_until:
            for limit in self._limits:
                limit.look_for_pieces(now, iteration)
        due: list[TimeLimit] = []
        if iteration >= self._next:
            running = [limit for limit in self._limits if limit.is_running]
            due = [limit for limit in running if limit.cancelled_in <= iteration]
            self._limits = [limit for limit in running if limit.cancelled_in > iteration]
            self._next = min((limit.cancelled_in for limit in self._limits), default=0)
        if self._limits:
            self._iteration = iteration + 1
            loop.call_soon(self.run)
        if due:
            _cancel(due, _AGAIN_S)


def _cancel(limits: "list[TimeLimit]", again_s: float) -> None:
    """Cancel the blocks of *limits* that still run, and look again after *again_s* which of them have been left."""
    loop = asyncio.get_running_loop()
    cancelled, later = list[TimeLimit](), list[TimeLimit]()
    rest = iter(limits)
    try:
        for limit in rest:
            if limit.is_running:
                (cancelled if limit.cancel() else later).append(limit)
    finally:
        later += rest  # where a task waits for what a host has made, and its `cancel` raises: the loop reports that
        if later:
            loop.call_soon(_cancel, later, again_s)
        if cancelled:
            loop.call_later(again_s, _cancel, cancelled, min(2 * again_s, _AGAIN_MAX_S))


class TimeLimit:
    """
    Cancels its block after some time, and swallows that cancellation (R44); the time starts when it is made.

    When its time is over, the event loop runs a few more iterations before the block is cancelled, so that what has
    arrived by then is used (R45). When the timer itself was late, the block goes on while pieces of the response are
    read in these iterations, for as long again as the timer was late.

    One that is made must be ended by `__exit__`, or its task is cancelled outside of any block.

    The cancellation is delivered again until the task has left the block. asyncio counts the requests to cancel a task
    (`Task.cancelling`): the limit withdraws its own, and where one of its caller remains, the cancellation is not
    swallowed (R42).

    Args:
        seconds: Time for the block; none at all still allows those iterations.
        progress: Where pieces of the response are counted.
        iterations: How many more iterations; fewer for a limit within another one, which may end in the same moment.

    Attributes:
        seconds: The time for the block.
        cancelled_in: Iteration after its time in which the block is cancelled.
        ends_at: Reading of the event loop's clock when its time is over.
        is_exceeded: The block was cancelled because its time was over, and not by its caller too.
        is_running: Its block has begun and not ended.
        late_until: Reading of that clock until which pieces of the response postpone the cancellation.
    """

    __slots__ = (
        "__weakref__",
        "_allowed",
        "_before",
        "_cancels",
        "_pieces_read",
        "_progress",
        "_task",
        "cancelled_in",
        "ends_at",
        "is_exceeded",
        "is_running",
        "late_until",
        "seconds",
    )

    cancelled_in: int
    late_until: float

    def __init__(self, seconds: float, progress: Progress, iterations: int = _ITERATIONS) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a time limit needs a task, which it can cancel")
        self._task = task
        self._before = task.cancelling()
        self._progress = progress
        self._allowed = iterations
        self._cancels = 0
        self.seconds = seconds
        self.ends_at = loop.time() + seconds
        self.is_exceeded = False
        self.is_running = True
        _ALARMS.get().add(self, loop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Stop the time; True, which swallows *error*, when it is the cancellation by this limit alone."""
        self.is_running = False
        if not self._cancels:
            return False
        left = 0
        for _ in range(self._cancels):
            left = self._task.uncancel()
        is_ours = isinstance(error, asyncio.CancelledError) and left <= self._before
        self._cancels, self.is_exceeded = 0, is_ours
        return is_ours

    def begin_to_end(self, now: float) -> None:
        """Note that its time is over, by the reading *now* of the event loop's clock."""
        self.late_until = now + (now - self.ends_at)
        self.cancelled_in = self._allowed
        self._pieces_read = self._progress.pieces_read

    def look_for_pieces(self, now: float, iteration: int) -> None:
        """Allow as many iterations again after *iteration* where pieces were read meanwhile and the timer was late."""
        if self._progress.pieces_read != self._pieces_read and now < self.late_until:
            self._pieces_read = self._progress.pieces_read
            self.cancelled_in = iteration + self._allowed

    def cancel(self) -> bool:
        """Cancel the task; False where it cannot be cancelled in this iteration of the event loop."""
        task = self._task
        # As anyio does: a task whose wait has ended runs in the next iteration, with a result that it would lose; and
        # after a cancellation that was not delivered yet, another one would be left over when the block has ended.
        waiter = task._fut_waiter  # type: ignore[attr-defined] # noqa: SLF001
        if task._must_cancel or (isinstance(waiter, asyncio.Future) and waiter.done()):  # type: ignore[attr-defined] # noqa: SLF001
            return False
        task.cancel()
        self._cancels += 1
        return True
