"""Many calls made at once leave the event loop its turns."""

import asyncio
import gc
import weakref

from middleware import BulkheadFullError, StackConfig
from middleware.call_cap import CallCapConfig
from middleware.pacing import Pace
from runtime.connectors.base import PlatformHttpClient
from runtime.testing import ScriptedUpstream


async def begin(pace, begun, number):
    await pace.wait()
    begun.append(number)


async def turns(begun, count):
    """How many have begun after each turn of the loop."""
    seen = []
    for _ in range(count):
        await asyncio.sleep(0)
        seen.append(len(begun))
    return seen


async def test_a_bounded_number_begins_in_each_turn_in_order():
    """64 of those that were made at once, first come, first served."""
    pace, begun = Pace(), []
    tasks = [asyncio.create_task(begin(pace, begun, number)) for number in range(200)]
    assert await turns(begun, 5) == [64, 64, 128, 192, 200]
    await asyncio.gather(*tasks)
    assert begun == list(range(200))


async def test_calls_one_after_another_go_on_for_ever():
    """The turn is taken note of only when it is full."""
    pace, begun = Pace(), []
    for number in range(1000):
        await begin(pace, begun, number)
    assert len(begun) == 1000


async def test_a_cancelled_waiter_costs_nobody_a_turn():
    """Whether it waits still, or its turn has just come."""
    pace, begun = Pace(), []
    tasks = [asyncio.create_task(begin(pace, begun, number)) for number in range(64 + 70)]
    await turns(begun, 1)
    for task in tasks[64:70]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert begun == [*range(64), *range(70, 134)]
    assert sum(task.cancelled() for task in tasks) == 6


def test_each_loop_has_turns_of_its_own():
    """The core re-creates loops; what waited in a closed one blocks nobody."""
    pace = Pace()

    async def abandon():
        for _ in range(100):
            asyncio.get_running_loop().create_task(pace.wait())
        await asyncio.sleep(0)

    async def one():
        begun = []
        await begin(pace, begun, 1)
        return begun

    asyncio.run(abandon())
    assert asyncio.run(one()) == [1]


def test_it_keeps_no_loop_alive():
    """Not even one that nobody closed."""
    pace = Pace()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.wait([loop.create_task(pace.wait()) for _ in range(100)]))
    gone = weakref.ref(loop)
    loop.close()
    del loop
    gc.collect()
    assert gone() is None


async def test_all_clients_share_the_turns():
    """They share the loop."""
    upstreams = [ScriptedUpstream([], then=200) for _ in range(2)]
    clients = [PlatformHttpClient("http://platform.test", transport=upstream) for upstream in upstreams]
    tasks = [asyncio.create_task(client.get("/things")) for _ in range(50) for client in clients]
    await asyncio.sleep(0)
    assert [len(upstream.requests) for upstream in upstreams] == [32, 32]
    await asyncio.gather(*tasks)


async def test_calls_that_wait_for_their_turn_hold_a_place_of_the_cap():
    """So the surplus is refused at once, and not when its turn has come."""
    config = StackConfig(calls=CallCapConfig(max_in_flight=100))
    answers = asyncio.Event()

    async def respond(_request):
        await answers.wait()
        return 200

    upstream = ScriptedUpstream(respond)
    async with PlatformHttpClient("http://platform.test", transport=upstream, policies=config) as client:
        tasks = [asyncio.create_task(client.get("/things")) for _ in range(150)]
        await asyncio.sleep(0)
        refused = [task for task in tasks if task.done()]
        answers.set()
        assert {type(task.exception()) for task in refused} == {BulkheadFullError}
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert (len(refused), sum(isinstance(one, Exception) for one in ended)) == (50, 50)
        assert len(upstream.requests) == 100


async def test_a_call_cancelled_while_it_waits_gives_its_place_back():
    """And nothing of it is sent."""
    upstream = ScriptedUpstream([], then=200)
    config = StackConfig(calls=CallCapConfig(max_in_flight=100))
    async with PlatformHttpClient("http://platform.test", transport=upstream, policies=config) as client:
        tasks = [asyncio.create_task(client.get("/things")) for _ in range(100)]
        await asyncio.sleep(0)
        for task in tasks[64:]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(task.cancelled() for task in tasks) == 36
        assert len(upstream.requests) == 64
        await asyncio.gather(*(client.get("/things") for _ in range(100)))
