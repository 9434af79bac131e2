"""Virtual time: waiting takes none, every moment is exact, and other threads may read it."""

import asyncio
import hashlib
import threading

import anyio
import pytest

from runtime.testing import (
    LoopClock,
    run_virtual,
)


def test_waiting_takes_no_time_and_every_moment_is_exact():
    """A day of timers, in order; anyio and asyncio alike."""

    async def scenario():
        seen = []

        async def at(seconds):
            await (asyncio.sleep(seconds) if seconds % 2 else anyio.sleep(seconds))
            seen.append((seconds, LoopClock().now()))

        await asyncio.gather(*(at(seconds) for seconds in (86400, 3, 2, 1)))
        return seen

    assert run_virtual(scenario()) == [(1, 1), (2, 2), (3, 3), (86400, 86400)]


def test_a_deadlock_is_an_error_and_no_hang(monkeypatch):
    """Nothing is scheduled, so nothing will ever come."""
    monkeypatch.setattr("runtime.forecast.virtual_time._REAL_WAIT_S", 0.01)
    with pytest.raises(RuntimeError, match="deadlock at 2 s"):
        run_virtual(asyncio.wait_for(stuck(), None))


async def stuck():
    await asyncio.sleep(2)
    await asyncio.Event().wait()


def test_a_thread_may_call_back():
    """Virtual time waits for real work, also while a timer is pending."""

    async def scenario():
        async with asyncio.timeout(10):
            return await asyncio.to_thread(work), LoopClock().now()

    def work():
        started.set()
        for _ in range(1000):
            hashlib.sha256(b"x" * 10_000).digest()
        return threading.get_ident()

    started = threading.Event()

    ident, now = run_virtual(scenario())
    assert ident != threading.get_ident()
    assert now == 0


def test_the_wall_clock_is_known():
    """HTTP dates can be written into a script."""

    async def scenario():
        await asyncio.sleep(60)
        return LoopClock().wall()

    assert run_virtual(scenario()) == 1_800_000_060


def test_the_loops_time_can_be_read_from_any_thread():
    """That of the loop that read the clock last; before the first it is 0."""
    clock = LoopClock()

    async def scenario():
        await asyncio.sleep(3)
        before = clock.now()
        await asyncio.sleep(2)
        return before, await asyncio.to_thread(clock.now)

    assert clock.now() == 0
    assert run_virtual(scenario()) == (3, 5)
    assert clock.now() == 5
    assert clock.wall() == 1_800_000_005
