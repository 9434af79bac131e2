"""The client's own rate limit: which slot an attempt gets, and what happens to an unused one."""

import asyncio

import pytest
from layer_support import FakeClock, Upstream, a_request

from middleware.errors import RateLimitExceededError
from middleware.policies.rate_limit import RateLimiter, RateLimitMiddleware, RateLimitSettings

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
    assert (second.wait_s, again.wait_s, third.wait_s) == (0.25, 0.25, 0.5)
    assert limiter.reserve(0.0, NEVER, config).wait_s == 0.75


async def test_without_a_rate_nothing_waits():
    """Off by default."""
    clock, upstream = FakeClock(), Upstream(None)
    layer = RateLimitMiddleware(clock, lambda _event: None)
    for _ in range(50):
        assert (await layer(a_request(), upstream)).status == 200
    assert (upstream.calls, clock.slept) == (50, [])


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
    assert (upstream.calls, clock.slept) == (2, [2.0])
    assert [event.guard for event in events] == ["rate_limit"]


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
    assert (upstream.calls, clock.slept) == (2, [1.0, 1.0])
