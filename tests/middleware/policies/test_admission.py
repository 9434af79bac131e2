"""How many calls start in one iteration of the event loop, and how many are in flight at most."""

import asyncio
import gc
import weakref
from contextvars import ContextVar, copy_context

import pytest
import uvloop
from layer_support import Upstream, a_request

from middleware import BulkheadFullError, StackSettings
from middleware.events import AttemptRejected
from middleware.policies.admission import CallCapMiddleware, CallCapSettings, PacingMiddleware
from middleware.types import PlatformResponse
from runtime.connectors.base import PlatformHttpClient
from runtime.testing import ScriptedUpstream

SETTINGS = [CallCapSettings(max_in_flight=2)]


async def test_a_call_beyond_the_cap_is_rejected_at_once():
    """The guard emits the rejection; nothing is sent, and the other calls keep their slots."""
    events, release = [], asyncio.Event()
    layer, upstream = CallCapMiddleware(events.append), Upstream(None)

    async def rest(_request):
        await release.wait()

    in_flight = [asyncio.create_task(layer(a_request(settings=SETTINGS), rest)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(BulkheadFullError) as caught:
        await layer(a_request(settings=SETTINGS), upstream)
    assert caught.value.reason == "call cap reached: 2 calls in flight"
    assert caught.value.request_sent == "no"
    assert events == [AttemptRejected(call=a_request().call.info, guard="call_cap")]
    assert upstream.calls == 0
    assert layer.in_flight == 2
    release.set()
    await asyncio.gather(*in_flight)
    assert layer.in_flight == 0
    assert (await layer(a_request(settings=SETTINGS), upstream)).status == 200


async def test_a_call_that_fails_releases_its_slot():
    """However it ends: with an error or a cancellation."""
    layer = CallCapMiddleware(print)
    for error in (ValueError(), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            await layer(a_request(settings=SETTINGS), Upstream(error))
    assert layer.in_flight == 0


@pytest.mark.parametrize("kind", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_loop_that_is_closed_gives_the_slots_of_its_calls_back(kind):
    """R3: those of calls in flight and those that were reserved; a call that is collected later counts once."""
    layer = CallCapMiddleware(print)

    async def rest(_request):
        await asyncio.Event().wait()

    async def begin():
        call = asyncio.create_task(layer(a_request(settings=SETTINGS), rest))
        assert layer.reserve(a_request(settings=SETTINGS).call)
        await asyncio.sleep(0)
        call._log_destroy_pending = False
        assert (layer.in_flight, layer.reserve(a_request(settings=SETTINGS).call)) == (2, False)
        return call

    async def fill():
        requests = [a_request(settings=SETTINGS) for _ in range(2)]
        assert [layer.reserve(request.call) for request in requests] == [True, True]
        gc.collect()  # ends the calls of the closed loop
        assert not layer.reserve(a_request(settings=SETTINGS).call)
        for request in requests:
            layer.release(request.call)

    for _ in range(3):
        loop = kind()
        pending = loop.run_until_complete(begin())
        loop.close()
        assert layer.in_flight == 0
        loop = kind()
        pending = loop.run_until_complete(begin())
        loop.close()
        loop = kind()
        del pending
        loop.run_until_complete(fill())
        loop.close()
    assert layer.in_flight == 0


class Paced:
    """The layer alone, and which calls it let start."""

    def __init__(self, *, room=10**6):
        self.started, self.reserved, self._room = [], 0, room
        self._layer = PacingMiddleware(self._reserve, self._cancel_reservation)

    def _reserve(self, _call):
        self.reserved += self.reserved < self._room
        return self.reserved <= self._room and self._room > 0

    def _cancel_reservation(self, _call):
        self.reserved -= 1

    async def start(self, number):
        async def rest(_request):
            self.started.append(number)
            return PlatformResponse(status=200, headers={})

        return await self._layer(a_request(), rest)

    def make(self, count):
        return [asyncio.create_task(self.start(number)) for number in range(count)]

    async def iterations(self, count):
        """How many have started after each iteration of the loop."""
        seen = []
        for _ in range(count):
            await asyncio.sleep(0)
            seen.append(len(self.started))
        return seen


async def test_a_bounded_number_starts_in_each_iteration_in_order():
    """R3: 16 of those that were made at once, first come, first served; each waiting one has a reservation."""
    paced = Paced()
    tasks = paced.make(50)
    await asyncio.sleep(0)
    assert len(paced.started) == 16
    assert paced.reserved == 34
    assert await paced.iterations(4) == [16, 32, 48, 50]
    await asyncio.gather(*tasks)
    assert paced.started == list(range(50))
    assert paced.reserved == 0


async def test_the_queue_of_waiting_calls_keeps_no_context(monkeypatch):
    """It goes on for as long as any call waits, not only the first one."""
    loop, contexts = asyncio.get_running_loop(), []
    call_soon = loop.call_soon

    def recorded(callback, *args, context=None):
        if getattr(callback, "__name__", "") == "_start_next":
            contexts.append(len(copy_context() if context is None else context))
        return call_soon(callback, *args, context=context)

    ContextVar("user").set("alice")
    monkeypatch.setattr(loop, "call_soon", recorded)
    paced = Paced()
    await asyncio.gather(*paced.make(50))
    assert contexts[:3] == [0, 0, 0]
    assert set(contexts) == {0}
    assert len(paced.started) == 50


async def test_calls_one_after_another_never_wait():
    """The count of an iteration starts anew only when calls wait for it; without any it must not block."""
    paced = Paced()
    for number in range(1000):
        await paced.start(number)
    assert len(paced.started) == 1000


async def test_a_cancelled_waiter_takes_no_start_from_others():
    """Its reservation is cancelled too."""
    paced = Paced()
    tasks = paced.make(16 + 22)
    await paced.iterations(1)
    for task in tasks[16:22]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert paced.started == [*range(16), *range(22, 38)]
    assert sum(task.cancelled() for task in tasks) == 6
    assert paced.reserved == 0


async def test_a_call_without_a_reservation_goes_on_at_once():
    """R3: it will be rejected by the call cap, and need not wait for that."""
    paced = Paced(room=0)
    tasks = paced.make(50)
    assert await paced.iterations(1) == [50]
    await asyncio.gather(*tasks)


def test_each_loop_has_a_queue_of_its_own():
    """The core re-creates loops; what waited in a closed one must not block the next."""
    paced = Paced()

    async def abandon():
        paced.make(100)
        await asyncio.sleep(0)

    asyncio.run(abandon())
    asyncio.run(paced.start("here"))
    assert paced.started[-1] == "here"


def test_it_keeps_no_loop_alive():
    """Not even a loop in which calls had to wait."""
    paced = Paced()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.wait([loop.create_task(paced.start(number)) for number in range(100)]))
    gone = weakref.ref(loop)
    loop.close()
    del loop
    gc.collect()
    assert gone() is None


async def test_all_clients_share_the_iteration():
    """R3: they share the loop, and so its 16 starts."""
    upstreams = [ScriptedUpstream([], then=200) for _ in range(2)]
    clients = [PlatformHttpClient("http://platform.test", transport=upstream) for upstream in upstreams]
    tasks = [asyncio.create_task(client.get("/things")) for _ in range(50) for client in clients]
    await asyncio.sleep(0)
    assert [len(upstream.requests) for upstream in upstreams] == [8, 8]
    await asyncio.gather(*tasks)
    assert [len(upstream.requests) for upstream in upstreams] == [50, 50]


async def test_calls_that_wait_to_start_have_a_slot_of_the_cap():
    """R3: so the surplus is rejected at once, and not when it could start."""
    config = StackSettings(calls=CallCapSettings(max_in_flight=100))
    respond_now = asyncio.Event()

    async def respond(_request):
        await respond_now.wait()
        return 200

    upstream = ScriptedUpstream(respond)
    async with PlatformHttpClient("http://platform.test", transport=upstream, policies=config) as client:
        tasks = [asyncio.create_task(client.get("/things")) for _ in range(150)]
        await asyncio.sleep(0)
        rejected = [task for task in tasks if task.done()]
        assert {type(task.exception()) for task in rejected} == {BulkheadFullError}
        assert client._stack.state().calls_in_flight == 100
        respond_now.set()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert len(rejected) == 50
        assert sum(isinstance(one, Exception) for one in ended) == 50
        assert len(upstream.requests) == 100


async def test_a_call_cancelled_while_it_waits_releases_its_slot():
    """R42: and nothing of it is sent."""
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
