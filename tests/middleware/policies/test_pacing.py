"""Many calls made at once leave the event loop its turns."""

import asyncio
import gc
import weakref

from layer_support import a_request

from middleware import BulkheadFullError, StackSettings
from middleware.policies.admission import CallCapSettings
from middleware.policies.pacing import PacingMiddleware
from middleware.types import PlatformResponse
from runtime.connectors.base import PlatformHttpClient
from runtime.testing import ScriptedUpstream


class Paced:
    """A layer alone, and which calls went on."""

    def __init__(self, *, room=10**6):
        self.begun, self.expected, self._room = [], 0, room
        self._layer = PacingMiddleware(self._expect, self._arrived)

    def _expect(self, _call):
        self.expected += self.expected < self._room
        return self.expected <= self._room and self._room > 0

    def _arrived(self):
        self.expected -= 1

    async def begin(self, number):
        async def rest(_request):
            self.begun.append(number)
            return PlatformResponse(status=200, headers={})

        return await self._layer(a_request(), rest)

    def make(self, count):
        return [asyncio.create_task(self.begin(number)) for number in range(count)]

    async def turns(self, count):
        """How many have begun after each turn of the loop."""
        seen = []
        for _ in range(count):
            await asyncio.sleep(0)
            seen.append(len(self.begun))
        return seen


async def test_a_bounded_number_begins_in_each_turn_in_order():
    """16 of those that were made at once, first come, first served; each waiting one is expected."""
    paced = Paced()
    tasks = paced.make(50)
    await asyncio.sleep(0)
    assert (len(paced.begun), paced.expected) == (16, 34)
    assert await paced.turns(4) == [16, 32, 48, 50]
    await asyncio.gather(*tasks)
    assert (paced.begun, paced.expected) == (list(range(50)), 0)


async def test_calls_one_after_another_go_on_for_ever():
    """The turn is taken note of only when it is full."""
    paced = Paced()
    for number in range(1000):
        await paced.begin(number)
    assert len(paced.begun) == 1000


async def test_a_cancelled_waiter_costs_nobody_a_turn():
    """And is expected no longer."""
    paced = Paced()
    tasks = paced.make(16 + 22)
    await paced.turns(1)
    for task in tasks[16:22]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert paced.begun == [*range(16), *range(22, 38)]
    assert (sum(task.cancelled() for task in tasks), paced.expected) == (6, 0)


async def test_what_nobody_keeps_a_place_for_goes_on_at_once():
    """It will be refused; that needs no turn."""
    paced = Paced(room=0)
    tasks = paced.make(50)
    assert await paced.turns(1) == [50]
    await asyncio.gather(*tasks)


def test_each_loop_has_turns_of_its_own():
    """The core re-creates loops; what waited in a closed one blocks nobody."""
    paced = Paced()

    async def abandon():
        paced.make(100)
        await asyncio.sleep(0)

    asyncio.run(abandon())
    asyncio.run(paced.begin("here"))
    assert paced.begun[-1] == "here"


def test_it_keeps_no_loop_alive():
    """Not even one in which calls had to wait."""
    paced = Paced()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.wait([loop.create_task(paced.begin(number)) for number in range(100)]))
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
    assert [len(upstream.requests) for upstream in upstreams] == [8, 8]
    await asyncio.gather(*tasks)
    assert [len(upstream.requests) for upstream in upstreams] == [50, 50]


async def test_calls_that_wait_for_their_turn_hold_a_place_of_the_cap():
    """So the surplus is refused at once, and not when its turn has come."""
    config = StackSettings(calls=CallCapSettings(max_in_flight=100))
    answers = asyncio.Event()

    async def respond(_request):
        await answers.wait()
        return 200

    upstream = ScriptedUpstream(respond)
    async with PlatformHttpClient("http://platform.test", transport=upstream, policies=config) as client:
        tasks = [asyncio.create_task(client.get("/things")) for _ in range(150)]
        await asyncio.sleep(0)
        refused = [task for task in tasks if task.done()]
        assert {type(task.exception()) for task in refused} == {BulkheadFullError}
        assert client._stack.state().calls_in_flight == 100
        answers.set()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert (len(refused), sum(isinstance(one, Exception) for one in ended)) == (50, 50)
        assert len(upstream.requests) == 100


async def test_a_call_cancelled_while_it_waits_gives_its_place_back():
    """And nothing of it is sent."""
    upstream = ScriptedUpstream([], then=200)
    config = StackSettings(calls=CallCapSettings(max_in_flight=100))
    async with PlatformHttpClient("http://platform.test", transport=upstream, policies=config) as client:
        tasks = [asyncio.create_task(client.get("/things")) for _ in range(100)]
        await asyncio.sleep(0)
        for task in tasks[16:]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(task.cancelled() for task in tasks) == 84
        assert len(upstream.requests) == 16
        assert client._stack.state().calls_in_flight == 0
        await asyncio.gather(*(client.get("/things") for _ in range(100)))
