"""How many attempts a service takes at a time: the arithmetic, and what the bulkhead does with it."""

import asyncio
from contextlib import suppress

import pytest
from layer_support import a_request

from middleware.errors import BulkheadFullError, CallError, RequestNotSentError
from middleware.events import AttemptQueued, AttemptRejected
from middleware.policies.adaptive_limit import AdaptiveLimit
from middleware.policies.bulkhead import BulkheadMiddleware, BulkheadSettings
from middleware.policies.deadline import AttemptTimeoutSettings
from runtime.testing import LoopClock, Reply, ScriptedUpstream, virtual_time


def test_nothing_is_limited_before_the_first_overload():
    """R46: the permits apply."""
    limit = AdaptiveLimit()
    assert limit.of(100) == 100
    limit.on_response(100, 100)
    assert limit.of(1000) == 1000


def test_an_overload_halves_what_is_in_flight():
    """R46: the permits, where all are in use; fewer than are in use never."""
    limit = AdaptiveLimit()
    limit.on_overload(0.0, 1.0, 20, 100)
    assert limit.of(100) == 10
    limit.on_overload(1.0, 2.0, 30, 100)
    assert limit.of(100) == 5


def test_it_is_halved_once_per_round_trip():
    """R46: attempts from before the last change say nothing about it; one that starts at that moment does."""
    limit = AdaptiveLimit()
    for _ in range(20):
        limit.on_overload(0.0, 1.0, 20, 100)
    limit.on_overload(0.999, 1.5, 20, 100)
    assert limit.of(100) == 10
    limit.on_overload(1.0, 2.0, 10, 100)
    assert limit.of(100) == 5


def test_it_is_never_below_one():
    """R46: some attempt must find out that the service has recovered."""
    limit = AdaptiveLimit()
    for now in range(10):
        limit.on_overload(now, now, 1, 100)
    assert limit.of(100) == 1


def test_a_round_trip_of_responses_adds_one():
    """R46: only where the limit is reached, else nothing is known beyond it."""
    limit = AdaptiveLimit()
    limit.on_overload(0.0, 1.0, 20, 100)
    for _ in range(50):
        limit.on_response(9, 100)
    assert limit.of(100) == 10
    for _ in range(11):
        limit.on_response(11, 100)
    assert limit.of(100) == 11


def test_the_permits_are_the_upper_bound():
    """R46: and once they are reached the limit is forgotten, so that more permits apply at once."""
    limit = AdaptiveLimit()
    limit.on_overload(0.0, 1.0, 4, 5)
    for _ in range(30):
        limit.on_response(5, 5)
    assert limit.of(5) == 5
    assert limit.of(100) == 100
    limit.on_overload(1.0, 2.0, 2, 2)
    limit.on_response(1, 2)
    assert limit.of(100) == 100, "2 of 2 permits"


ADAPTIVE = {"bulkhead": {"adaptive": True, "permits": 16}, "attempt": {"timeout_s": 1.0}, "deadline": {"total_s": 4.0}}
NO_RETRY = {"retry": {"max_attempts": 1}, "circuit_breaker": {"mode": "disabled"}}


async def limit_after(step, *, calls=16, **sections):
    """The limit in force after *calls* at once that end as *step* says."""
    upstream = ScriptedUpstream([], then=step)
    client = upstream.client(**{**ADAPTIVE, **NO_RETRY, **sections})
    await asyncio.gather(*[client.get("/x") for _ in range(calls)], return_exceptions=True)
    return client._stack.state().attempts_limit


@pytest.mark.parametrize(
    ("step", "limit"),
    [
        ("hang", 8),
        (Reply(status=429, after_s=0.1), 8),
        (Reply(status=503, headers={"retry-after": "1"}, after_s=0.1), 8),
        (Reply(status=503, headers={"x-envoy-overloaded": "true"}, after_s=0.1), 8),
        (503, 16),
        (500, 16),
        (404, 16),
        ({}, 16),
        ("lost", 16),
        (RequestNotSentError("refused"), 16),
    ],
    ids=str,
)
@virtual_time
async def test_what_shows_an_overload(step, limit):
    """R46: attempt timeouts and throttled responses, once for all attempts of a round trip."""
    assert await limit_after(step) == limit


@virtual_time
async def test_off_by_default():
    """R46: the permits apply, whatever happens."""
    assert await limit_after("hang", bulkhead={"permits": 16}) == 16


@pytest.mark.parametrize(("deadline_s", "limit"), [(0.4, 16), (0.5, 8)])
@virtual_time
async def test_an_attempt_that_its_deadline_ended_counts_after_half_the_timeout(deadline_s, limit):
    """R46: with less time it had no fair chance, and says nothing."""
    assert await limit_after("hang", deadline={"total_s": deadline_s}) == limit


@virtual_time
async def test_a_cancelled_attempt_says_nothing():
    """R42, R46: its caller had enough."""
    upstream = ScriptedUpstream([], then="hang")
    client = upstream.client(**ADAPTIVE)
    calls = [asyncio.ensure_future(client.get("/x")) for _ in range(16)]
    await asyncio.sleep(0.9)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert client._stack.state().attempts_limit == 16


@virtual_time
async def test_no_more_than_the_limit_are_sent_and_it_grows_again():
    """R46: the upstream sees the lower number, then one more per round trip."""
    steps = ["hang"] * 16 + [Reply(json={}, after_s=0.1)] * 300
    upstream = ScriptedUpstream(steps)
    client = upstream.client(**ADAPTIVE, **NO_RETRY)
    await asyncio.gather(*[client.get("/x") for _ in range(16)], return_exceptions=True)
    upstream.most_in_flight = 0
    calls = [asyncio.ensure_future(client.get("/x")) for _ in range(200)]
    seen = []
    for _ in range(4):
        await asyncio.sleep(0.1)
        seen.append(upstream.most_in_flight)
    await asyncio.gather(*calls)
    assert seen[0] == 8
    assert seen == sorted(seen)
    assert seen[-1] in {10, 11}
    assert upstream.most_in_flight <= 16


@virtual_time
async def test_an_attempt_stops_waiting_where_its_call_has_no_time_left_for_it():
    """R46: with half an attempt timeout left; the event and the error say so, and nothing was sent."""
    events, upstream = [], ScriptedUpstream(["hang", "hang", {}])
    layer = BulkheadMiddleware(LoopClock(), events.append, lambda _request: None, attempt_timeout_s=lambda _call: 1.0)

    async def rest(_request):
        await asyncio.sleep(10)

    def request(**call):
        return a_request(settings=[BulkheadSettings(permits=1, queue=5, adaptive=True)], **call)

    holder = asyncio.ensure_future(layer(request(), rest))
    await asyncio.sleep(0)
    with pytest.raises(BulkheadFullError) as caught:
        await layer(request(deadline_at=4.0), rest)
    assert asyncio.get_running_loop().time() == 3.5
    assert caught.value.reason == "bulkhead full: 1/1 permits, 0/5 queued, waited 3.5 s"
    with pytest.raises(BulkheadFullError):
        await layer(request(deadline_at=4.3), rest)  # less than a timeout is left: half of what is
    assert asyncio.get_running_loop().time() == pytest.approx(3.9)
    assert [type(event) for event in events] == [AttemptRejected, AttemptRejected]
    await layer(request(deadline_at=100.0), rest)
    assert events[-1] == AttemptQueued(call=request().call.info, waited_s=pytest.approx(6.1))
    await holder
    assert layer.load() == (0, 0)
    assert upstream.requests == []


async def _held_and_waiting():
    """A layer with one permit, the attempt that has it for 10 s, and one that waits until its time is up, after 4 s."""
    layer = BulkheadMiddleware(LoopClock(), lambda _event: None, lambda _request: None)

    async def rest(_request):
        await asyncio.sleep(10)

    def request(**call):
        return a_request(settings=[BulkheadSettings(permits=1, adaptive=True)], **call)

    holder = asyncio.ensure_future(layer(request(), rest))
    await asyncio.sleep(0)
    waiting = asyncio.ensure_future(layer(request(deadline_at=4.0), rest))
    return layer, holder, waiting


@virtual_time
async def test_a_waiting_attempt_that_is_cancelled_as_its_time_is_up_stays_cancelled():
    """R42: the scope of the wait does not swallow the caller's cancellation."""
    _layer, holder, waiting = await _held_and_waiting()
    asyncio.get_running_loop().call_at(4.0, waiting.cancel)
    (result,) = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(result, asyncio.CancelledError)
    await holder


@virtual_time
async def test_a_cancellation_that_the_scope_of_the_wait_has_swallowed_is_passed_on(monkeypatch):
    """R42: as anyio does before 4.16."""
    monkeypatch.setattr("middleware.policies.bulkhead.pending_cancels", lambda: -1)  # one more than before
    layer, holder, waiting = await _held_and_waiting()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert layer.load() == (1, 0)
    await holder


@pytest.mark.parametrize(
    ("step", "limit"),
    [
        ({}, 2),
        (500, 2),
        (Reply(body=b"{"), 2),
        ({"success": False}, 2),
        ("lost", 1),
        (RequestNotSentError("refused"), 1),
    ],
    ids=str,
)
@virtual_time
async def test_any_response_that_is_not_throttled_raises_it(step, limit):
    """R46: whatever it says; without one nothing is known."""
    upstream = ScriptedUpstream(["hang", step])
    client = upstream.client(**ADAPTIVE, **NO_RETRY)
    for _ in range(2):
        with suppress(CallError):
            await client.get("/x", decode=dict)
    assert client._stack.state().attempts_limit == limit


@virtual_time
async def test_a_reload_switches_it():
    """R61: off, the permits apply at once, to those that wait too; on, it starts anew."""
    layer, through = BulkheadMiddleware(LoopClock(), lambda _event: None, lambda _request: None), []

    async def timed_out(request):
        request.attempt.timed_out = True
        raise RequestNotSentError("timed out")

    async def rest(_request):
        through.append(True)
        await asyncio.sleep(1)

    def request(started_at, *, adaptive):
        return a_request(started_at=started_at, settings=[BulkheadSettings(permits=4, adaptive=adaptive)])

    with pytest.raises(RequestNotSentError):
        await layer(request(0.0, adaptive=True), timed_out)
    assert layer.limit() == 1
    calls = [asyncio.ensure_future(layer(request(0.0, adaptive=True), rest)) for _ in range(3)]
    await asyncio.sleep(0.5)
    assert len(through) == 1
    assert layer.load() == (1, 2)
    calls.append(asyncio.ensure_future(layer(request(1.0, adaptive=False), rest)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(through) == 4
    assert layer.limit() == 4
    await asyncio.gather(*calls)
    await layer(request(2.0, adaptive=True), rest)
    assert layer.limit() == 4
    assert layer.load() == (0, 0)


@virtual_time
async def test_a_hedge_needs_room_under_the_limit():
    """R19, R46: not under the permits alone."""
    layer = BulkheadMiddleware(LoopClock(), lambda _event: None, lambda _request: None)

    async def timed_out(request):
        request.attempt.timed_out = True
        raise RequestNotSentError("timed out")

    async def rest(_request):
        await asyncio.sleep(1)

    def request():
        return a_request(settings=[BulkheadSettings(permits=4, adaptive=True), AttemptTimeoutSettings()])

    with pytest.raises(RequestNotSentError):
        await layer(request(), timed_out)
    assert layer.has_room(request())
    call = asyncio.ensure_future(layer(request(), rest))
    await asyncio.sleep(0)
    assert not layer.has_room(request())
    await call


@virtual_time
async def test_a_response_of_a_layer_of_the_host_says_nothing():
    """R31, R46: it did not come from the service."""
    layer = BulkheadMiddleware(LoopClock(), lambda _event: None, lambda _request: None)

    async def timed_out(request):
        request.attempt.timed_out = True
        raise RequestNotSentError("timed out")

    async def cached(request):
        request.attempt.is_short_circuited = True

    def request():
        return a_request(settings=[BulkheadSettings(permits=4, adaptive=True)])

    with pytest.raises(RequestNotSentError):
        await layer(request(), timed_out)
    for _ in range(20):
        await layer(request(), cached)
    assert layer.limit() == 1
