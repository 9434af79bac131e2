"""The circuit breaker's state machine, and its layer."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_support import FakeClock, Highest, Upstream, a_request

from middleware.circuit_breaker import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerMiddleware, verdict_of
from middleware.errors import (
    BulkheadFullError,
    CircuitOpenError,
    DecodeError,
    InvalidArgumentError,
    RequestNotSentError,
    ResponseLostError,
    StatusError,
    status_error,
)
from middleware.problem import Problem


class Lowest:
    def uniform(self, low, _high):
        return low


def a_breaker(random=None, **config):
    return CircuitBreaker("svc", CircuitBreakerConfig(**config), random or Lowest(), probe_timeout_s=15.0)


def play(breaker, verdict, now=0.0):
    permit, _, _ = breaker.acquire(now)
    return breaker.record(permit, verdict, now)


def opened(**config):
    breaker = a_breaker(**config)
    for _ in range(10):
        play(breaker, "failure")
    assert breaker.state == "open"
    return breaker


def test_it_opens_at_the_ratio_and_not_before():
    """R32: seven failures of ten."""
    breaker = a_breaker()
    for verdict in ["success"] * 3 + ["failure"] * 6:
        play(breaker, verdict)
    assert breaker.state == "closed"
    assert play(breaker, "failure") == ("closed", "open")


def test_it_needs_enough_calls():
    """R32: nine failures are not ten."""
    breaker = a_breaker()
    for _ in range(9):
        play(breaker, "failure")
    assert breaker.state == "closed"


def test_the_window_slides():
    """R32: old failures do not count."""
    breaker = a_breaker()
    for _ in range(9):
        play(breaker, "failure", 0.0)
    play(breaker, "failure", 10.5)
    assert breaker.state == "closed"


@pytest.mark.parametrize(("random", "open_s"), [(Lowest(), 5.0), (Highest(), 6.0)])
def test_it_stays_open_for_its_time(random, open_s):
    """R33: open_s * U(1, 1.2), and at exactly that time the next call is the probe."""
    breaker = opened(random=random)
    assert breaker.acquire(open_s - 0.001)[0] is None
    assert breaker.retry_after_s(open_s - 1) == pytest.approx(1.0)
    assert breaker.acquire(open_s)[0].is_probe


def test_one_probe_at_a_time():
    """R34: a hundred callers, one probe."""
    breaker = opened()
    permits = [breaker.acquire(5.0)[0] for _ in range(100)]
    assert sum(permit is not None for permit in permits) == 1


def test_a_good_probe_closes_with_an_empty_window():
    """R34: what came before is forgotten."""
    breaker = opened()
    assert play(breaker, "success", 5.0) == ("half_open", "closed")
    for _ in range(9):
        play(breaker, "failure", 5.0)
    assert breaker.state == "closed"


def test_a_bad_probe_opens_anew():
    """R34: for the same time, without growth."""
    breaker = opened()
    assert play(breaker, "failure", 5.0) == ("half_open", "open")
    assert breaker.acquire(9.99)[0] is None
    assert breaker.acquire(10.0)[0].is_probe


def test_a_neutral_probe_makes_room_for_another():
    """R34: a cancelled probe says nothing."""
    breaker = opened()
    assert play(breaker, "neutral", 5.0) == ("half_open", "half_open")
    assert breaker.acquire(5.0)[0].is_probe


def test_a_silent_probe_loses_its_permit():
    """R34: half_open cannot last for ever; the late result counts nowhere."""
    breaker = opened()
    silent, _, _ = breaker.acquire(5.0)
    assert breaker.acquire(19.9)[0] is None
    second, _, _ = breaker.acquire(20.0)
    assert second.is_probe
    assert breaker.record(silent, "success", 20.0) == ("half_open", "half_open")


def test_results_of_an_older_epoch_are_ignored():
    """R35: a call from before the outage does not reopen what has recovered."""
    breaker = a_breaker()
    old = [breaker.acquire(0.0)[0] for _ in range(20)]
    for _ in range(10):
        play(breaker, "failure")
    play(breaker, "success", 5.0)
    for permit in old:
        breaker.record(permit, "failure", 5.0)
    assert breaker.state == "closed"


def test_a_disabled_breaker_passes_everything():
    """And never leaves closed."""
    breaker = a_breaker(enabled=False)
    for _ in range(100):
        play(breaker, "failure")
    assert breaker.state == "closed"


def status(code):
    return status_error(code, Problem())


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (None, "success"),
        *((status(code), "success") for code in (301, 400, 401, 403, 404, 409, 422, 501, 505)),
        *((status(code), "failure") for code in (500, 502, 503, 504, 520)),
        *((status(code), "neutral") for code in (408, 429)),
        (RequestNotSentError("x"), "failure"),
        (ResponseLostError("x"), "failure"),
        *((kind("x"), "neutral") for kind in (BulkheadFullError, CircuitOpenError, DecodeError, InvalidArgumentError)),
        (KeyboardInterrupt(), "neutral"),
    ],
    ids=str,
)
def test_what_a_result_says_of_the_service(error, verdict):
    """R31."""
    assert verdict_of(error) == verdict


@given(st.lists(st.tuples(st.sampled_from(["success", "failure", "neutral"]), st.floats(0, 3)), max_size=60))
def test_open_never_lets_through_before_its_time(steps):
    """Whatever happens, and never two probes."""
    breaker, now, until = a_breaker(random=Random(3), min_calls=2), 0.0, None
    for verdict, passed in steps:
        now += passed
        if breaker.state == "open" and until is None:
            until = now - passed + breaker.retry_after_s(now - passed) if breaker.retry_after_s(now - passed) else now
        permit, _, _ = breaker.acquire(now)
        if until is not None and now < until:
            assert permit is None
        if permit is not None:
            until = None
            assert not permit.is_probe or breaker.acquire(now)[0] is None
            breaker.record(permit, verdict, now)


async def test_each_rejection_is_a_new_error_that_says_when():
    """R36: one exception object raised again and again would grow for ever."""
    events = []
    layer = CircuitBreakerMiddleware(opened(), FakeClock(), events.append)
    upstream, errors = Upstream(None), []
    for _ in range(2):
        with pytest.raises(CircuitOpenError) as caught:
            await layer(a_request(), upstream)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert (errors[0].retry_after_s, upstream.calls) == (5.0, 0)
    assert [event.guard for event in events] == ["circuit_breaker"] * 2


async def test_the_layer_reports_each_result_once():
    """Ten failed attempts through the layer open it; the fact is told once."""
    events, clock = [], FakeClock()
    layer = CircuitBreakerMiddleware(a_breaker(), clock, events.append)
    for _ in range(10):
        with pytest.raises(StatusError):
            await layer(a_request(), Upstream(status(500)))
    assert [(event.before, event.after) for event in events] == [("closed", "open")]
    with pytest.raises(CircuitOpenError):
        layer.refuse_if_open(a_request())
    assert layer.is_open()
