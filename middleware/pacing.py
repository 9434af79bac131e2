"""
Turns of the event loop, shared fairly: of many calls made at once, a bounded number begins in each.

The first step of a call, up to its first wait, is some tenth of a millisecond of work. A thousand tasks that begin in
one turn would hold up the loop, and everything else the program does on it, for all of them together.
"""

import asyncio
from collections import deque
from contextlib import suppress

from .per_loop import PerLoop

__all__ = ["Pace"]

_PER_TURN = 64
"""Calls that begin in one turn of the event loop: a few milliseconds of work."""


class _Turns:
    """The calls of one event loop that wait for their turn."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def begin(self) -> asyncio.Future[None] | None:
        """Count one call in; where it has to wait, return what it waits for."""
        if self._begun < _PER_TURN:
            self._begun += 1
            return None
        if not self._waiting:
            self._loop.call_soon(self._next)
        waiter = self._loop.create_future()
        self._waiting.append(waiter)
        return waiter

    def leave(self, waiter: asyncio.Future[None]) -> None:
        """Forget a waiter that was cancelled."""
        with suppress(ValueError):  # its turn came in the same moment
            self._waiting.remove(waiter)

    def _next(self) -> None:
        """Let the next calls begin, first come, first served; come back as long as others wait."""
        self._begun = 0
        while self._waiting and self._begun < _PER_TURN:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._begun += 1
                waiter.set_result(None)
        if self._waiting:
            self._loop.call_soon(self._next)


class Pace:
    """Lets calls begin, 64 in one turn of each event loop, all clients together."""

    def __init__(self) -> None:
        self._turns = PerLoop(_Turns)

    async def wait(self) -> None:
        """Return when the call may begin: at once, unless many others begin in this turn."""
        turns = self._turns.here()
        waiter = turns.begin()
        if waiter is None:
            return
        try:
            await waiter
        except BaseException:
            turns.leave(waiter)
            raise
