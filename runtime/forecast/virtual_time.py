"""
Virtual time: an event loop whose clock moves at once to the next timer, and the clock and randomness that go with it.

`runtime.testing` makes it public for tests; `runtime.forecast` runs the stack in it.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from random import Random
from typing import Any, TypeVar

import anyio

__all__ = ["LoopClock", "UpperBound", "VirtualTimeLoop", "run_virtual"]

_T = TypeVar("_T")

_EPOCH_S = 1_800_000_000.0  # 2027-01-15T08:00:00Z: the wall clock's reading at virtual time 0
_REAL_WAIT_S = 5.0


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """
    An event loop whose time moves only when nothing else is left to do, and then at once to the next timer.

    While a thread of the loop's own executor works (`asyncio.to_thread`), time does not move.

    Raises:
        RuntimeError: A deadlock: all tasks wait, and no timer, socket or thread will wake one.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self.threads_at_work = 0
        super().__init__(_VirtualSelector(self))

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self._now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override] # generics aside
        """Run *func* in a thread; virtual time does not move until it ends."""
        future = super().run_in_executor(executor, func, *args)
        self.threads_at_work += 1
        future.add_done_callback(self._thread_ended)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - asyncio's
        """Wait for the executor's threads in real time, however long *timeout* would be in virtual time."""
        self.threads_at_work += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self.threads_at_work -= 1

    def _thread_ended(self, _future: Any) -> None:
        self.threads_at_work -= 1

    def advance(self, seconds: float) -> None:
        """Move virtual time forward."""
        self._now += seconds


class _VirtualSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and (timeout is None or (timeout and self._loop.threads_at_work)):
            ready = super().select(_REAL_WAIT_S)  # a thread may still call back
            if not ready and timeout is None and not self._loop.threads_at_work:
                raise RuntimeError(f"deadlock at {self._loop.time():g} s: all tasks wait and nothing is scheduled")
        elif not ready and timeout:
            self._loop.advance(timeout)
            ready = super().select(0)
        found: list[tuple[selectors.SelectorKey, int]] = ready
        return found


class LoopClock:
    """
    The running event loop's time, for the client's `clock`; the wall clock starts at 2027-01-15T08:00:00Z.

    In a thread without a loop, such as that of a metric reader, it is the time of the loop that read it last.
    """

    def __init__(self) -> None:
        self._last: asyncio.AbstractEventLoop | None = None

    def now(self) -> float:
        """Seconds of the loop's time; 0 before any loop has read it."""
        try:
            self._last = asyncio.get_running_loop()
        except RuntimeError:
            return 0.0 if self._last is None else self._last.time()
        return self._last.time()

    def wall(self) -> float:
        """Seconds since the Unix epoch."""
        return _EPOCH_S + self.now()

    async def sleep(self, delay_s: float) -> None:
        """Wait in the loop's time."""
        await anyio.sleep(delay_s)


class UpperBound(Random):
    """Randomness at its upper bound: each wait is the longest it can be, and so exactly known."""

    def uniform(self, _low: float, high: float) -> float:
        """Return *high*."""
        return high


def run_virtual(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run *coroutine* to its end in virtual time and return its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)
