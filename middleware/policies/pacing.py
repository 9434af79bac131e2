"""
Turns of the event loop, shared fairly: of many calls made at once, a bounded number begins in each.

The first step of a call, up to its first wait, is some tenth of a millisecond of work, connecting and sending included.
A thousand tasks that took it in one turn would hold up the loop, and all else that the program does on it.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from middleware._internal.per_loop import PerLoop
from middleware.types import Call, Handler, PlatformRequest, PlatformResponse

__all__ = ["PacingMiddleware"]

_PER_TURN = 16
"""Calls that begin in one turn of the event loop: a few milliseconds of work."""


class _Turns:
    """The calls of one event loop that wait for their turn."""

    def __init__(self) -> None:
        self._begun = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def try_begin(self) -> bool:
        """Count a call in, if it may begin in this turn."""
        if self._begun >= _PER_TURN:
            return False
        self._begun += 1
        return True

    async def wait(self) -> None:
        """Return in the turn in which the call may begin."""
        loop = asyncio.get_running_loop()  # not kept: what is kept per loop must not keep the loop
        if not self._waiting:
            loop.call_soon(self._next)
        waiter = loop.create_future()
        self._waiting.append(waiter)
        await waiter

    def _next(self) -> None:
        """Let the next calls begin, first come, first served; come back as long as others wait."""
        self._begun = 0
        while self._waiting and self._begun < _PER_TURN:
            waiter = self._waiting.popleft()
            if not waiter.done():  # else its call was cancelled
                self._begun += 1
                waiter.set_result(None)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)


_TURNS = PerLoop(_Turns)  # of all clients: they share the loop


class PacingMiddleware:
    """
    Lets 16 calls begin in one turn of each event loop; what will be refused anyway does not wait for that.

    Args:
        expect: Promises a waiting call its place of the call cap; False where none is free.
        arrived: Takes that promise back, right before the call takes the place.
    """

    def __init__(self, expect: Callable[[Call], bool], arrived: Callable[[], None]) -> None:
        self._expect = expect
        self._arrived = arrived

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Go on at once, or in one of the next turns."""
        turns = _TURNS.get()
        if not turns.try_begin() and self._expect(request.call):
            try:
                await turns.wait()
            finally:
                self._arrived()
        return await call_next(request)
