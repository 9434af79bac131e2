"""The machine's clock."""

import asyncio
import gc
import time
import weakref
from contextvars import ContextVar

import anyio

from middleware.clock import SystemClock
from runtime.testing import run_virtual


def test_the_two_clocks_are_the_machines_own():
    """One for durations, which never goes back, and one for dates."""
    clock = SystemClock()
    monotonic, wall = time.monotonic(), time.time()
    assert monotonic <= clock.now() <= time.monotonic()
    assert wall <= clock.wall() <= time.time()


def test_it_waits_on_the_running_event_loop():
    """Whichever that is."""

    async def scenario():
        await SystemClock().sleep(90.0)
        return asyncio.get_running_loop().time()

    assert run_virtual(scenario()) == 90.0


user = ContextVar("user")


class Session:
    """What a request keeps in its context."""


async def kept_by(wait):
    """How many of ten sessions are alive after their requests, while a timer of the host's keeps the loop's queue."""
    other = asyncio.get_running_loop().call_later(0.5, print)

    async def request():
        session = Session()
        user.set(session)
        await wait()
        return weakref.ref(session)

    sessions = [await asyncio.create_task(request()) for _ in range(10)]
    await asyncio.sleep(0.01)
    gc.collect()
    other.cancel()
    return sum(session() is not None for session in sessions)


async def test_a_sleep_that_is_cancelled_does_not_keep_the_context():
    """A wait before a retry that the deadline ends, for example."""

    async def cancelled():
        with anyio.move_on_after(0):
            await SystemClock().sleep(3600.0)

    async def ordinary():
        with anyio.move_on_after(0):
            await anyio.sleep(3600.0)

    assert (await kept_by(ordinary), await kept_by(cancelled)) == (10, 0)
