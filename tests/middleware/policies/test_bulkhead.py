"""Permits and the queue before them."""

import asyncio
from dataclasses import replace

import pytest
from layer_support import FakeClock, a_request

from middleware.errors import BulkheadFullError, CircuitOpenError
from middleware.events import AttemptQueued, AttemptRejected
from middleware.policies.bulkhead import Bulkhead, BulkheadMiddleware, BulkheadSettings
from middleware.types import Attempt


async def test_waiters_are_served_in_order():
    """R41: first in, first out; no attempt overtakes the queue."""
    bulkhead, order = Bulkhead(1), []
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


async def test_a_cancelled_waiter_leaves_the_queue():
    """R41: the queue has room again."""
    bulkhead = Bulkhead(1)
    bulkhead.try_acquire()
    task = asyncio.create_task(bulkhead.wait())
    await asyncio.sleep(0)
    assert bulkhead.queued == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert bulkhead.queued == 0
    assert bulkhead.in_flight == 1
    bulkhead.release()
    assert bulkhead.try_acquire()


async def test_a_waiter_cancelled_together_with_the_owner_is_simply_cancelled():
    """The permit comes free while the waiter's cancellation is on its way: a thousand deadlines end so at once."""
    bulkhead = Bulkhead(1)
    bulkhead.try_acquire()
    task = asyncio.create_task(bulkhead.wait())
    await asyncio.sleep(0)
    task.cancel()
    bulkhead.release()
    (result,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(result, asyncio.CancelledError)
    assert bulkhead.try_acquire()


async def test_a_permit_handed_to_a_cancelled_waiter_is_passed_on():
    """R41: it would be lost for ever."""
    bulkhead = Bulkhead(1)
    bulkhead.try_acquire()
    first, second = asyncio.create_task(bulkhead.wait()), asyncio.create_task(bulkhead.wait())
    await asyncio.sleep(0)
    bulkhead.release()  # handed to the first …
    first.cancel()  # … which goes in the same moment
    await second
    assert first.cancelled()
    assert bulkhead.in_flight == 1


async def test_more_permits_reach_those_who_wait_at_once():
    """R61: a reload widens it without a release; a narrower one takes nothing away."""
    bulkhead, through = Bulkhead(1), []
    assert bulkhead.try_acquire()

    async def wait(name):
        await bulkhead.wait()
        through.append(name)

    tasks = [asyncio.create_task(wait(name)) for name in "abc"]
    await asyncio.sleep(0)
    bulkhead.resize(3)
    await asyncio.sleep(0)
    assert through == ["a", "b"]
    assert bulkhead.in_flight == 3
    assert bulkhead.queued == 1
    bulkhead.resize(1)
    bulkhead.release()
    bulkhead.release()
    await asyncio.sleep(0)
    assert through == ["a", "b"]
    assert bulkhead.in_flight == 1
    bulkhead.release()
    await asyncio.gather(*tasks)
    assert through == ["a", "b", "c"]


def settings(permits=1, queue=9):
    return {"settings": [BulkheadSettings(permits=permits, queue=queue)]}


class Occupied:
    """A layer with one attempt inside."""

    def __init__(self):
        self.events, self.clock, self.release = [], FakeClock(), asyncio.Event()
        self.layer = BulkheadMiddleware(self.clock, self.events.append, lambda _request: None)

    async def rest(self, _request):
        await self.release.wait()

    async def __aenter__(self):
        self.holder = asyncio.create_task(self.layer(a_request(**settings()), self.rest))
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_):
        self.release.set()
        await self.holder
        assert self.layer.load() == (0, 0)


async def test_the_circuit_is_asked_before_anything_waits():
    """R37: an attempt that would be rejected later does not queue, here or in a layer below."""

    def reject(_request):
        raise CircuitOpenError("open")

    layer = BulkheadMiddleware(FakeClock(), print, reject)
    with pytest.raises(CircuitOpenError):
        await layer(a_request(**settings()), None)
    assert layer.load() == (0, 0)


async def test_an_older_call_does_not_size_it_back():
    """R61: it started before the reload, and retries after it; one that started with the newest call resizes."""
    async with Occupied() as occupied:
        new = asyncio.create_task(occupied.layer(a_request(started_at=2.0, **settings(permits=3)), occupied.rest))
        await asyncio.sleep(0)
        old = asyncio.create_task(occupied.layer(a_request(started_at=1.0, **settings(permits=1)), occupied.rest))
        await asyncio.sleep(0)
        assert occupied.layer.load() == (3, 0)
        same = asyncio.create_task(occupied.layer(a_request(started_at=2.0, **settings(permits=4)), occupied.rest))
        await asyncio.sleep(0)
        assert occupied.layer.load() == (4, 0)
        occupied.release.set()
        await asyncio.gather(new, old, same)


async def test_the_first_call_sizes_it_for_all_that_are_older():
    """R61: also where it allows as little as can be."""
    async with Occupied() as occupied:
        new = asyncio.create_task(occupied.layer(a_request(started_at=2.0, **settings(permits=1)), occupied.rest))
        await asyncio.sleep(0)
        assert occupied.layer.load() == (1, 1)
        old = asyncio.create_task(occupied.layer(a_request(started_at=-1.0, **settings(permits=3)), occupied.rest))
        await asyncio.sleep(0)
        assert occupied.layer.load() == (1, 2)
        occupied.release.set()
        await asyncio.gather(new, old)


async def test_a_full_queue_rejects_at_once():
    """R41: an event is emitted, and nothing is queued."""
    async with Occupied() as occupied:
        occupied.clock.time = 2.0
        waiting = asyncio.create_task(occupied.layer(a_request(**settings(queue=1)), occupied.rest))
        await asyncio.sleep(0)
        assert occupied.layer.load() == (1, 1)
        with pytest.raises(BulkheadFullError) as caught:
            await occupied.layer(a_request(**settings(queue=1)), occupied.rest)
        assert caught.value.reason == "bulkhead full: 1/1 permits, 1/1 queued"
        occupied.clock.time = 5.0
        occupied.release.set()
        await waiting
    call = a_request().call.info
    assert occupied.events == [AttemptRejected(call=call, guard="bulkhead"), AttemptQueued(call=call, waited_s=3.0)]


async def test_a_listener_that_ends_the_process_does_not_leak_a_permit():
    """R41: whatever is raised between the permit and the attempt."""

    class Ended(BaseException):
        pass

    def end(_event):
        raise Ended

    layer, release = BulkheadMiddleware(FakeClock(), end, lambda _request: None), asyncio.Event()

    async def rest(_request):
        await release.wait()

    holder = asyncio.create_task(layer(a_request(**settings()), rest))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(layer(a_request(**settings()), rest))
    await asyncio.sleep(0)
    release.set()
    (_, result) = await asyncio.gather(holder, waiting, return_exceptions=True)
    assert type(result) is Ended
    assert layer.load() == (0, 0)


async def test_a_hedge_never_waits():
    """R19: it takes a free permit or none."""
    async with Occupied() as occupied:
        request = replace(a_request(**settings()), attempt=Attempt(is_hedge=True))
        assert not occupied.layer.has_room(request)
        with pytest.raises(BulkheadFullError):
            await occupied.layer(request, occupied.rest)
        assert occupied.layer.has_room(a_request(**settings(permits=2)))
