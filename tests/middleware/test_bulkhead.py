"""Permits and the queue before them."""

import asyncio

import pytest
from layer_support import a_request

from middleware.bulkhead import Bulkhead, BulkheadConfig, BulkheadMiddleware
from middleware.errors import CircuitOpenError


async def test_waiters_are_served_in_order():
    """R41: first in, first out; nobody overtakes the queue."""
    bulkhead, order = Bulkhead(1, 10), []
    assert bulkhead.try_acquire()

    async def wait(name):
        await bulkhead.wait()
        order.append(name)
        bulkhead.release()

    tasks = [asyncio.create_task(wait(name)) for name in "abc"]
    await asyncio.sleep(0)
    bulkhead.release()
    assert not bulkhead.try_acquire()
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c"]


async def test_a_cancelled_waiter_gives_its_place_back():
    """R41: the queue has room again."""
    bulkhead = Bulkhead(1, 1)
    bulkhead.try_acquire()
    task = asyncio.create_task(bulkhead.wait())
    await asyncio.sleep(0)
    assert bulkhead.queue_is_full
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not bulkhead.queue_is_full
    bulkhead.release()
    assert bulkhead.try_acquire()


async def test_a_permit_handed_to_a_cancelled_waiter_is_passed_on():
    """R41: it would be lost for ever."""
    bulkhead = Bulkhead(1, 5)
    bulkhead.try_acquire()
    first, second = asyncio.create_task(bulkhead.wait()), asyncio.create_task(bulkhead.wait())
    await asyncio.sleep(0)
    bulkhead.release()  # handed to the first …
    first.cancel()  # … which goes in the same moment
    await second
    assert first.cancelled() or (await asyncio.gather(first, return_exceptions=True))


async def test_the_circuit_is_asked_only_before_queueing():
    """An attempt that would be refused after the queue does not join it."""
    asked = []

    def refuse(_request):
        asked.append(1)
        raise CircuitOpenError("open")

    layer = BulkheadMiddleware(BulkheadConfig(permits=1, queue=9), print, refuse)
    release = asyncio.Event()

    async def rest(_request):
        await release.wait()

    holder = asyncio.create_task(layer(a_request(), rest))
    await asyncio.sleep(0)
    assert asked == []
    with pytest.raises(CircuitOpenError):
        await layer(a_request(), rest)
    release.set()
    await holder
    assert asked == [1]
