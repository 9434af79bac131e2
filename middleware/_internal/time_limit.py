"""
A time limit that never discards a result which has already arrived.

A timer does not say when its time was over, only when the event loop got round to it: after the host blocked the loop,
timers and responses become ready in the same moment. And between the last byte of a response and the result of its
call are steps, locks of an HTTP library among them, that a cancellation would interrupt.
"""

import asyncio
from contextvars import Context
from types import TracebackType
from typing import Any, Protocol, Self

__all__ = ["Alarm", "Progress", "TimeLimit"]

# From bytes in the socket's buffer to the result of the call there are up to six: TLS, a parser's reads, the locks of
# httpcore, the task of a watched attempt. Layers of the host may wait in between.
_ITERATIONS = 24

# A cancellation that something in the block has swallowed is delivered again after this time, then after twice it, and
# so on: a loop that swallows each one must not fill the event loop.
_AGAIN_S, _AGAIN_MAX_S = 0.001, 0.1


class Progress(Protocol):
    """
    What shows that a response is arriving.

    Attributes:
        pieces_read: Number of pieces of responses that were read so far.
    """

    pieces_read: int


class Alarm:
    """
    One timer of the event loop for several time limits, those of one call.

    A timer costs more than all else of a limit. It is set for the time at which a limit may first be over, and set
    again where none is by then: most calls have ended before.
    """

    __slots__ = ("_limits", "_looks_at", "_timer")

    _timer: asyncio.Handle

    def __init__(self) -> None:
        self._limits: list[TimeLimit] = []
        self._looks_at = float("inf")

    def add(self, limit: "TimeLimit", loop: asyncio.AbstractEventLoop, look_at: float) -> None:
        """Look after *limit* from now on, and look at it at *look_at* or before."""
        self._limits.append(limit)
        if look_at < self._looks_at:
            if len(self._limits) > 1:
                self._timer.cancel()
            self._looks_at = look_at
            # In a context of its own: a cancelled timer stays with its loop until its time has come.
            self._timer = loop.call_at(look_at, self._look, context=Context())

    def remove(self, limit: "TimeLimit") -> None:
        """Look after *limit* no longer; it may have been removed already, when it was over."""
        if limit in self._limits:
            self._limits.remove(limit)
            if not self._limits:
                self._timer.cancel()
                self._looks_at = float("inf")

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now, limits = loop.time(), self._limits
        # Earlier ones remain: uvloop's timers are rounded to milliseconds, and the first look may be an early one.
        self._limits, self._looks_at = [limit for limit in limits if now < limit.ends_at], float("inf")
        if self._limits:
            self._looks_at = min(limit.ends_at for limit in self._limits)
            self._timer = loop.call_at(self._looks_at, self._look, context=Context())
        for limit in limits:
            if now >= limit.ends_at:
                limit.end()


class TimeLimit:
    """
    Cancels its block after some time, and swallows that cancellation (R44).

    When its time is over, the event loop runs a few more iterations before the block is cancelled, so that what has
    arrived by then is used (R45). When the timer itself was late, the block goes on while pieces of the response are
    read in these iterations, for as long again as the timer was late.

    The cancellation is delivered again until the task has left the block. asyncio counts the requests to cancel a task
    (`Task.cancelling`): the limit withdraws its own, and where one of its caller remains, the cancellation is not
    swallowed (R42).

    Args:
        seconds: Time for the block; none at all still allows those iterations.
        progress: Where pieces of the response are counted.
        iterations: How many more iterations; fewer for a limit within another one, which may end in the same moment.
        alarm: What it shares a timer with; None for a timer of its own.
        look_s: Seconds after which a limit of the same alarm may first be over, where that is earlier than this one.

    Attributes:
        ends_at: Reading of the event loop's clock when its time is over.
        is_exceeded: The block was cancelled because its time was over, and not by its caller too.
    """

    __slots__ = (
        "_again_s",
        "_alarm",
        "_allowed",
        "_before",
        "_cancels",
        "_handle",
        "_iterations",
        "_late_until",
        "_look_s",
        "_pieces_read",
        "_progress",
        "_seconds",
        "_task",
        "ends_at",
        "is_exceeded",
    )

    ends_at: float
    _before: int
    _task: "asyncio.Task[Any]"

    def __init__(
        self,
        seconds: float,
        progress: Progress,
        iterations: int = _ITERATIONS,
        alarm: Alarm | None = None,
        look_s: float = float("inf"),
    ) -> None:
        self._seconds = seconds
        self._progress = progress
        self._allowed = iterations
        self._alarm = alarm or Alarm()
        self._look_s = look_s
        self._cancels = 0
        self._handle: asyncio.Handle | None = None
        self.is_exceeded = False

    def __enter__(self) -> Self:
        """Start the time."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a time limit needs a task, which it can cancel")
        self._task = task
        self._before = task.cancelling()
        now = loop.time()
        self.ends_at = now + self._seconds
        self._alarm.add(self, loop, now + min(self._seconds, self._look_s))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Stop the time; True, which swallows *error*, when it is the cancellation by this limit alone."""
        if self._handle is None:
            self._alarm.remove(self)
            return False
        self._handle.cancel()
        left = self._task.cancelling()
        for _ in range(self._cancels):
            left = self._task.uncancel()
        is_ours = self._cancels > 0 and isinstance(error, asyncio.CancelledError) and left <= self._before
        self._cancels, self.is_exceeded = 0, is_ours
        return is_ours

    def end(self) -> None:
        """Begin to end the block: its time is over."""
        now = asyncio.get_running_loop().time()
        self._late_until = now + (now - self.ends_at)
        self._pieces_read = self._progress.pieces_read
        self._iterations = 0
        self._again_s = _AGAIN_S
        self._end()

    def _end(self) -> None:
        loop = asyncio.get_running_loop()
        if self._progress.pieces_read != self._pieces_read and loop.time() < self._late_until:
            self._pieces_read = self._progress.pieces_read
            self._iterations = 0
        if self._iterations < self._allowed:
            self._iterations += 1
            self._handle = loop.call_soon(self._end)
            return
        self._cancel()

    def _cancel(self) -> None:
        """Cancel the task, and look again later whether it has left the block."""
        loop, task = asyncio.get_running_loop(), self._task
        # As anyio does: a task whose wait has ended runs in the next iteration, with a result that it would lose; and
        # after a cancellation that was not delivered yet, another one would be left over when the block has ended.
        waiter = task._fut_waiter  # type: ignore[attr-defined] # noqa: SLF001
        if task._must_cancel or (isinstance(waiter, asyncio.Future) and waiter.done()):  # type: ignore[attr-defined] # noqa: SLF001
            self._handle = loop.call_soon(self._cancel)
            return
        task.cancel()
        self._cancels += 1
        self._handle = loop.call_later(self._again_s, self._cancel)
        self._again_s = min(2 * self._again_s, _AGAIN_MAX_S)
