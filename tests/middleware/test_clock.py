"""The machine's clock."""

import asyncio
import time

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
