"""Injected time: the stack reads the time and waits through a `Clock` only."""

import time
from typing import Protocol

import anyio

from ._internal.detached import detached

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Source of time for durations, waiting and HTTP dates."""

    def now(self) -> float:
        """Seconds on a monotonic clock; only differences have a meaning."""
        ...

    def wall(self) -> float:
        """Seconds since the Unix epoch; for HTTP dates only."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait *delay_s* seconds."""
        ...


class SystemClock:
    """The system's clock."""

    now = staticmethod(time.monotonic)  # itself, and no function around it: a call reads it ten times
    wall = staticmethod(time.time)

    async def sleep(self, delay_s: float) -> None:
        """Wait *delay_s* seconds on the running event loop."""
        await detached(anyio.sleep(delay_s))  # asyncio keeps the timer of a wait that was cancelled
