"""
A time limit that never discards a result which has already arrived.

A timer does not say when its time was over, only when the event loop got round to it: after the host blocked the loop,
timers and responses become ready in the same moment. And between the last byte of a response and the result of its
call are steps, locks of an HTTP library among them, that a cancellation would interrupt.
"""

import asyncio
from contextvars import Context
from types import TracebackType
from typing import Protocol, Self

import anyio

__all__ = ["Progress", "TimeLimit"]

# From bytes in the socket's buffer to the result of the call there are up to six: TLS, a parser's reads, the locks of
# httpcore, the task of a watched attempt. Layers of the host may wait in between.
_ITERATIONS = 24


class Progress(Protocol):
    """
    What shows that a response is arriving.

    Attributes:
        pieces_read: Number of pieces of responses that were read so far.
    """

    pieces_read: int


class TimeLimit:
    """
    Cancels its block after some time, by a cancel scope of anyio (R44), and swallows that cancellation.

    When its time is over, the event loop runs a few more iterations before the block is cancelled, so that what has
    arrived by then is used (R45). When the timer itself was late, the block goes on while pieces of the response are
    read in these iterations, for as long again as the timer was late.

    Args:
        seconds: Time for the block; none at all still allows those iterations.
        progress: Where pieces of the response are counted.
        iterations: How many more iterations; fewer for a limit within another one, which may end in the same moment.
    """

    __slots__ = (
        "_allowed",
        "_ends_at",
        "_iterations",
        "_late_until",
        "_pieces_read",
        "_progress",
        "_scope",
        "_seconds",
        "_timer",
    )

    _ends_at: float
    _timer: asyncio.Handle

    def __init__(self, seconds: float, progress: Progress, iterations: int = _ITERATIONS) -> None:
        self._seconds = seconds
        self._progress = progress
        self._scope = anyio.CancelScope()
        self._allowed = iterations
        self._iterations = 0
        self._late_until = 0.0
        self._pieces_read = 0

    @property
    def is_exceeded(self) -> bool:
        """True when the block was cancelled because its time was over."""
        return self._scope.cancelled_caught

    def __enter__(self) -> Self:
        """Start the time."""
        loop = asyncio.get_running_loop()
        self._scope.__enter__()
        self._ends_at = loop.time() + self._seconds
        # In a context of its own: a cancelled timer stays with its loop until its time has come.
        self._timer = loop.call_at(self._ends_at, self._end, context=Context())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Stop the time."""
        self._timer.cancel()
        return bool(self._scope.__exit__(kind, error, traceback))

    def _end(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now < self._ends_at:  # uvloop's timers are rounded to milliseconds
            self._timer = loop.call_at(self._ends_at, self._end)
            return
        if not self._late_until:
            self._late_until = now + (now - self._ends_at)
            self._pieces_read = self._progress.pieces_read
        if self._progress.pieces_read != self._pieces_read and now < self._late_until:
            self._pieces_read = self._progress.pieces_read
            self._iterations = 0
        if self._iterations < self._allowed:
            self._iterations += 1
            self._timer = loop.call_soon(self._end)
            return
        self._scope.cancel()
