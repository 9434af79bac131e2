"""
Turns of the event loop, shared fairly: of many calls that get here in one turn, a bounded number goes on in each.

The first step of a call, up to its first wait, is some tenth of a millisecond of work, connecting and sending included.
A thousand tasks that took it in one turn would hold up the loop, and all else that the program does on it.
"""

import asyncio
from collections import deque

from .per_loop import PerLoop

__all__ = ["Pace"]

_PER_TURN = 64
"""Calls that go on in one turn of the event loop: some milliseconds of work."""


class _Turns:
    """The calls of one event loop that wait for their turn."""

    def __init__(self) -> None:
        self._begun = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def begin(self) -> asyncio.Future[None] | None:
        """Count one call in; where it has to wait, return what it waits for."""
        if self._begun < _PER_TURN:
            self._begun += 1
            return None
        loop = asyncio.get_running_loop()  # not kept: what is kept per loop must not keep the loop
        if not self._waiting:
            loop.call_soon(self._next)
        waiter = loop.create_future()
        self._waiting.append(waiter)
        return waiter

    def _next(self) -> None:
        """Let the next calls go on, first come, first served; come back as long as others wait."""
        self._begun = 0
        while self._waiting and self._begun < _PER_TURN:
            waiter = self._waiting.popleft()
            if not waiter.done():  # else its call was cancelled
                self._begun += 1
                waiter.set_result(None)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)


class Pace:
    """Lets calls go on, 64 in one turn of each event loop."""

    def __init__(self) -> None:
        self._turns = PerLoop(_Turns)

    async def wait(self) -> None:
        """Return when the call may go on: at once, unless many others did in this turn."""
        waiter = self._turns.here().begin()
        if waiter is not None:
            await waiter
