"""The client's own rate limit: which slot an attempt gets, and what happens to an unused one."""

import asyncio

import pytest
from layer_support import FakeClock, Upstream, a_request

from middleware.errors import RateLimitExceededError
from middleware.policies.rate_limit import RateLimiter, RateLimitMiddleware, RateLimitSettings
from runtime.settings import ResolvedSettings
from runtime.testing import LoopClock, ScriptedUpstream, virtual_time

NEVER = float("inf")


def waits(config, *times):
    limiter = RateLimiter()
    return [limiter.reserve(now, NEVER, config).wait_s for now in times]


def test_a_burst_is_sent_at_once_and_the_rest_one_interval_apart():
    """Three at once, then four a second."""
    config = RateLimitSettings(per_second=4, burst=3)
    assert waits(config, 0, 0, 0, 0, 0) == [0, 0, 0, 0.25, 0.5]


def test_a_quiet_time_gives_the_burst_back_and_no_more():
    """However long it was."""
    config = RateLimitSettings(per_second=4, burst=2)
    assert waits(config, 0, 0, 0, 100, 100, 100) == [0, 0, 0.25, 0, 0, 0.25]


def test_a_slot_that_is_too_late_is_not_reserved():
    """At the deadline is too late; the next one finds the place free."""
    limiter, config = RateLimiter(), RateLimitSettings(per_second=4, burst=1)
    limiter.reserve(0.0, NEVER, config)
    assert limiter.reserve(0.0, 0.25, config) is None
    assert limiter.reserve(0.0, 0.26, config).wait_s == 0.25


def test_a_cancelled_slot_is_free_unless_later_ones_are_reserved():
    """The rate is kept in either case."""
    limiter, config = RateLimiter(), RateLimitSettings(per_second=4, burst=1)
    limiter.reserve(0.0, NEVER, config)
    second = limiter.reserve(0.0, NEVER, config)
    limiter.cancel_reservation(second)
    again = limiter.reserve(0.0, NEVER, config)
    third = limiter.reserve(0.0, NEVER, config)
    limiter.cancel_reservation(again)
    assert second.wait_s == 0.25
    assert again.wait_s == 0.25
    assert third.wait_s == 0.5
    assert limiter.reserve(0.0, NEVER, config).wait_s == 0.75


async def test_without_a_rate_nothing_waits():
    """Off by default."""
    clock, upstream = FakeClock(), Upstream(None)
    layer = RateLimitMiddleware(clock, lambda _event: None)
    for _ in range(50):
        assert (await layer(a_request(), upstream)).status == 200
    assert upstream.calls == 50
    assert clock.slept == []


async def test_the_layer_waits_for_its_slot_or_rejects_at_once():
    """A slot after the deadline is an error and an event, and nothing is sent."""
    clock, events = FakeClock(), []
    layer, upstream = RateLimitMiddleware(clock, events.append), Upstream(None)
    settings = [RateLimitSettings(per_second=0.5, burst=1)]
    await layer(a_request(settings=settings), upstream)
    await layer(a_request(settings=settings), upstream)
    assert clock.slept == [2.0]
    with pytest.raises(RateLimitExceededError) as caught:
        await layer(a_request(settings=settings, deadline_at=3.0), upstream)
    assert caught.value.reason == "client-side rate limit: next slot is after the deadline"
    assert upstream.calls == 2
    assert clock.slept == [2.0]
    assert [event.guard for event in events] == ["rate_limit"]
    assert caught.value.retry_after_s == 2.0
    assert events[0].retry_after_s == 2.0


async def test_a_wait_that_is_cancelled_releases_its_slot():
    """R42: an attempt that was never made does not count to the rate."""

    class Cancelled(FakeClock):
        async def sleep(self, delay_s):
            if not self.slept:
                self.slept.append(delay_s)
                raise asyncio.CancelledError
            await super().sleep(delay_s)

    clock, settings = Cancelled(), [RateLimitSettings(per_second=1, burst=1)]
    layer, upstream = RateLimitMiddleware(clock, lambda _event: None), Upstream(None)
    await layer(a_request(settings=settings), upstream)
    with pytest.raises(asyncio.CancelledError):
        await layer(a_request(settings=settings), upstream)
    await layer(a_request(settings=settings), upstream)
    assert upstream.calls == 2
    assert clock.slept == [1.0, 1.0]


def test_a_raised_rate_shortens_the_backlog():
    """R61: thirty slots at one a second are thirty at a thousand a second, and no thirty seconds."""
    limiter, slow, fast = (
        RateLimiter(),
        RateLimitSettings(per_second=1, burst=1),
        RateLimitSettings(per_second=1000, burst=1),
    )
    for _ in range(31):
        limiter.reserve(0.0, NEVER, slow)
    assert limiter.wait_s(1.0, slow) == 30
    assert limiter.reserve(1.0, NEVER, fast).wait_s == pytest.approx(0.03)
    assert limiter.reserve(1.0, NEVER, fast).wait_s == pytest.approx(0.031)


def test_a_short_backlog_is_kept_in_slots_too():
    """R61: also one of less than a second."""
    limiter, slow, fast = (
        RateLimiter(),
        RateLimitSettings(per_second=4, burst=1),
        RateLimitSettings(per_second=1000, burst=1),
    )
    for _ in range(2):
        limiter.reserve(0.0, NEVER, slow)
    assert limiter.reserve(0.0, NEVER, fast).wait_s == pytest.approx(0.002)


def test_a_reduced_rate_applies_to_later_slots():
    """R61: those that were allowed keep their times, and are not paid for at the new rate."""
    limiter, fast, slow = (
        RateLimiter(),
        RateLimitSettings(per_second=1000, burst=1),
        RateLimitSettings(per_second=1, burst=1),
    )
    for _ in range(1000):
        limiter.reserve(0.0, NEVER, fast)
    assert limiter.reserve(0.0, NEVER, slow).wait_s == pytest.approx(1.0)
    assert limiter.reserve(0.0, NEVER, slow).wait_s == pytest.approx(2.0)


class Reloaded:
    """A source of settings whose rate a test changes."""

    def __init__(self, per_second, **sections):
        self.sections = sections
        self.set(per_second)

    def set(self, per_second):
        self.resolved = ResolvedSettings({"rate_limit": {"per_second": per_second, "burst": 1}, **self.sections})

    def of(self, *names):
        return self.resolved.of(*names)

    def poll(self, _now):
        return None


@pytest.mark.parametrize("sections", [{}, {"bulkhead": {"permits": 5}}], ids=["permits free", "permits in use"])
@pytest.mark.parametrize("raised", [1000.0, 0.0])
@virtual_time
async def test_a_raised_rate_is_in_force_at_once(raised, sections):
    """R61: for those that wait already too, which may have the permits that a new call needs; 0 is no limit at all."""
    live, upstream = Reloaded(1.0, **sections), ScriptedUpstream([], then={})
    client = upstream.client(policies=live)
    waiting = [asyncio.ensure_future(client.get("/x")) for _ in range(20)]
    await asyncio.sleep(1.5)
    assert len(upstream.requests) == 2
    live.set(raised)
    await client.get("/x")
    if raised or sections:
        await asyncio.gather(*waiting)
        assert upstream.requests[-1].at_s == pytest.approx(1.5, abs=0.03)
    assert upstream.requests[2].at_s == pytest.approx(1.5, abs=0.03)
    await asyncio.gather(*waiting)


@virtual_time
async def test_an_older_call_does_not_undo_a_raised_rate():
    """R61: it started before the reload, and comes to the rate limit after it; one of the same moment does."""
    layer, times = RateLimitMiddleware(LoopClock(), lambda _event: None), []

    async def rest(_request):
        times.append(round(asyncio.get_running_loop().time(), 6))

    def request(started_at, per_second):
        return a_request(started_at=started_at, settings=[RateLimitSettings(per_second=per_second, burst=1)])

    await layer(request(2.0, 10.0), rest)
    await layer(request(1.0, 0.1), rest)
    await layer(request(2.0, 10.0), rest)
    await layer(request(2.0, 1000.0), rest)
    assert times == [0.0, 0.1, 0.2, 0.201]


async def _raised_while_one_waits():
    """An attempt that waits as the limit is raised, and what was sent so far."""
    layer, sent = RateLimitMiddleware(LoopClock(), lambda _event: None), []

    async def rest(_request):
        sent.append(True)

    def request(per_second):
        return a_request(settings=[RateLimitSettings(per_second=per_second, burst=1)])

    await layer(request(0.1), rest)
    waiting = asyncio.ensure_future(layer(request(0.1), rest))
    await asyncio.sleep(1)
    layer.apply(request(1000.0))
    return waiting, sent


@virtual_time
async def test_a_waiting_attempt_that_is_cancelled_at_the_reload_stays_cancelled():
    """R42: the end of its sleep does not swallow the caller's cancellation."""
    waiting, sent = await _raised_while_one_waits()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(sent) == 1


@virtual_time
async def test_a_cancellation_that_the_scope_of_the_sleep_has_swallowed_is_passed_on(monkeypatch):
    """R42: as anyio does before 4.16."""
    monkeypatch.setattr("middleware.policies.rate_limit.pending_cancels", lambda: -1)  # one more than before
    waiting, sent = await _raised_while_one_waits()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert len(sent) == 1


def test_a_loop_that_was_closed_with_a_waiting_attempt_does_not_stop_a_reload():
    """R3, R61: a client outlives event loops."""
    layer = RateLimitMiddleware(LoopClock(), lambda _event: None)

    async def rest(_request):
        return None

    def request(per_second):
        return a_request(settings=[RateLimitSettings(per_second=per_second, burst=1)])

    async def leave_one_behind():
        await layer(request(0.001), rest)
        return asyncio.ensure_future(layer(request(0.001), rest)), await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    task, _ = loop.run_until_complete(leave_one_behind())
    loop.close()
    task._log_destroy_pending = False

    async def reload():
        layer.apply(request(1000.0))

    asyncio.run(reload())
