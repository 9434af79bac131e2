"""The circuit breaker's state machine, and its layer."""

import asyncio
from dataclasses import replace
from random import Random

import interlock
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_support import FakeClock, LowerBound, Upstream, a_request

from middleware.errors import (
    BulkheadFullError,
    CircuitOpenError,
    DeadlineExceededError,
    DecodeError,
    InternalError,
    InvalidArgumentError,
    OperationFailedError,
    PoolTimeoutError,
    RateLimitExceededError,
    RequestNotSentError,
    ResponseLostError,
    ResponseTooLargeError,
    StatusError,
    status_error,
)
from middleware.events import AttemptRejectedInShadow
from middleware.policies.circuit_breaker import (
    CircuitBreaker,
    CircuitBreakerMiddleware,
    CircuitBreakers,
    CircuitBreakerSettings,
    verdict_of,
)
from middleware.policies.deadline import AttemptTimeoutMiddleware, DeadlineMiddleware
from middleware.policies.watched_attempts import WatchedAttempts
from middleware.problem import Problem
from middleware.stack import compose
from middleware.types import PlatformResponse
from runtime.testing import LoopClock, UpperBound, virtual_time


class Breaker:
    """A breaker with its settings, so that a test reads like a story."""

    def __init__(self, random=None, **config):
        self.config = CircuitBreakerSettings(**config)
        self.machine = CircuitBreaker("svc", random or LowerBound())

    @property
    def state(self):
        return self.machine.state

    def acquire(self, now=0.0, watch_timeout_s=None):
        return self.machine.acquire(now, self.config, 15.0, watch_timeout_s=watch_timeout_s)[0]

    def end_by_deadline(self, permit, now=0.0):
        """The deadline ends the call of *permit*; True where the attempt is watched and goes on."""
        if permit.watch is None:
            self.record(permit, "deadline", now)
        else:
            self.machine.go_on(permit)
        return permit.watch is not None

    def must_wait(self, now):
        return self.machine.must_wait(now, self.config)

    def record(self, permit, verdict, now=0.0, slow=False, refused=False):
        return self.machine.record(permit, verdict, now, self.config, slow=slow, refused=refused)

    def play(self, verdict, now=0.0, slow=False, refused=False):
        return self.record(self.acquire(now), verdict, now, slow, refused)

    def retry_after_s(self, now):
        return self.machine.retry_after_s(now)


def opened(**config):
    breaker = Breaker(**config)
    for _ in range(10):
        breaker.play("failure")
    assert breaker.state == "open"
    return breaker


def test_it_opens_at_the_ratio_and_not_before():
    """R32: seven failures of ten."""
    breaker = Breaker()
    for verdict in ["success"] * 3 + ["failure"] * 6:
        breaker.play(verdict)
    assert breaker.state == "closed"
    assert breaker.play("failure") == ("closed", "open")


def test_it_needs_enough_calls():
    """R32: nine failures are not ten."""
    breaker = Breaker()
    for _ in range(9):
        breaker.play("failure")
    assert breaker.state == "closed"


def test_the_window_slides():
    """R32: old failures do not count."""
    breaker = Breaker()
    for _ in range(9):
        breaker.play("failure", 0.0)
    breaker.play("failure", 10.5)
    assert breaker.state == "closed"


@pytest.mark.parametrize(("first", "state"), [(0.95, "closed"), (1.05, "open")])
def test_the_window_is_kept_in_tenths(first, state):
    """R32: what happened in the tenth that began ten seconds ago is gone, the next tenth is not."""
    breaker = Breaker()
    for _ in range(9):
        breaker.play("failure", first)
    breaker.play("failure", 10.0)
    assert breaker.state == state


def test_the_window_takes_no_more_room_with_more_attempts():
    """Ten thousand attempts in twenty seconds, at most ten tenths of the window."""
    breaker = Breaker()
    for number in range(10_000):
        breaker.play("success", number / 500)
    assert len(breaker.machine._window) <= 10


@pytest.mark.parametrize(("random", "open_s"), [(LowerBound(), 5.0), (UpperBound(), 6.0)])
def test_it_stays_open_for_its_time(random, open_s):
    """R33: open_s * U(1, 1.2), and at exactly that time the next call is the probe."""
    breaker = opened(random=random)
    assert breaker.acquire(open_s - 0.001) is None
    assert breaker.retry_after_s(open_s - 1) == pytest.approx(1.0)
    assert breaker.acquire(open_s).is_probe


@pytest.mark.parametrize(
    ("random", "config", "open_s"),
    [
        (LowerBound(), {}, 0.8),
        (UpperBound(), {}, 0.95),
        (LowerBound(), {"open_s": 0.5}, 0.5),
        (UpperBound(), {"open_s": 0.5}, 0.6),
    ],
)
def test_refused_connections_open_it_for_less_than_a_second(random, config, open_s):
    """R33: while all failures are refused connections, successes aside; and never for longer than the open time."""
    breaker = Breaker(random=random, **config)
    for _ in range(4):
        breaker.play("success")
    for _ in range(9):
        breaker.play("failure", refused=True)
    breaker.play("failure", 1.0, refused=True)
    assert breaker.state == "open"
    assert breaker.retry_after_s(1.0) == pytest.approx(open_s)


@pytest.mark.parametrize("other_at", [0.0, 1.0])
def test_another_failure_in_the_window_opens_it_for_the_whole_time(other_at):
    """R33: nine refused connections and one 503, in whichever order."""
    breaker = Breaker()
    for _ in range(9):
        breaker.play("failure", 1.0 - other_at, refused=True)
    breaker.play("failure", other_at)
    assert breaker.retry_after_s(1.0) == pytest.approx(5.0 - (1.0 - other_at))


def test_slow_successes_open_it_for_the_whole_time():
    """R33: no failure is not a refused connection."""
    breaker = Breaker(slow_ratio=0.5)
    for _ in range(10):
        breaker.play("success", slow=True)
    assert breaker.retry_after_s(0.0) == 5.0


@pytest.mark.parametrize(("refused", "open_s"), [(True, 0.8), (False, 5.0)])
def test_the_probe_alone_decides_for_how_long_it_opens_anew(refused, open_s):
    """R33: it is the whole window of its epoch; a service that is away after it failed, or the other way round."""
    breaker = Breaker()
    for _ in range(10):
        breaker.play("failure", refused=not refused)
    breaker.play("failure", 5.0, refused=refused)
    assert breaker.retry_after_s(5.0) == pytest.approx(open_s)


def test_one_probe_at_a_time():
    """R34: a hundred callers, one probe."""
    breaker = opened()
    permits = [breaker.acquire(5.0) for _ in range(100)]
    assert sum(permit is not None for permit in permits) == 1


def test_a_rejection_during_a_probe_says_when_the_next_one_is_due():
    """R36: the open time left, then the time for which the probe is alone."""
    breaker = opened()
    assert breaker.retry_after_s(4.0) == 1.0
    assert breaker.retry_after_s(5.0) is None
    probe = breaker.acquire(5.0)
    assert breaker.machine.rejects(5.1, breaker.config)
    assert breaker.retry_after_s(6.0) == 14.0
    assert breaker.retry_after_s(20.0) is None
    breaker.record(probe, "success", 6.0)
    assert breaker.retry_after_s(6.0) is None


def test_a_good_probe_closes_with_an_empty_window():
    """R34: what came before is forgotten."""
    breaker = opened()
    assert breaker.play("success", 5.0) == ("half_open", "closed")
    for _ in range(9):
        breaker.play("failure", 5.0)
    assert breaker.state == "closed"


def test_a_bad_probe_opens_anew():
    """R34: for the same time, without growth."""
    breaker = opened()
    assert breaker.play("failure", 5.0) == ("half_open", "open")
    assert breaker.acquire(9.99) is None
    assert breaker.acquire(10.0).is_probe


def test_a_neutral_probe_makes_room_for_another():
    """R34: a cancelled probe says nothing."""
    breaker = opened()
    assert breaker.play("neutral", 5.0) == ("half_open", "half_open")
    assert breaker.acquire(5.0).is_probe


def test_a_silent_probe_is_alone_for_a_while():
    """R34: half_open cannot last for ever; then there are two, and no third."""
    breaker = opened()
    breaker.acquire(5.0)
    assert breaker.acquire(19.9) is None
    assert breaker.acquire(20.0).is_probe
    assert breaker.acquire(20.0) is None
    assert breaker.acquire(35.0).is_probe


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(("verdict", "state"), [("success", "closed"), ("failure", "open")])
def test_of_two_probes_the_first_result_decides(first, verdict, state):
    """R34: whichever it is; a slow service is not one that never responds."""
    breaker = opened()
    probes = [breaker.acquire(5.0), breaker.acquire(20.0)]
    assert breaker.record(probes[first], verdict, 21.0) == ("half_open", state)
    # R35: an open circuit has another epoch; a closed one counts what is still in flight as any attempt.
    assert breaker.record(probes[1 - first], "failure", 22.0) == (state, state)
    assert breaker.machine._totals(22.0, breaker.config)[:2] == ((1, 1) if state == "closed" else (0, 0))


def test_a_long_probe_that_ends_without_a_result_does_not_end_the_time_of_the_second():
    """R34: only that of the last one does."""
    breaker = opened()
    first, second = breaker.acquire(5.0), breaker.acquire(20.0)
    breaker.record(first, "neutral", 21.0)
    assert breaker.acquire(21.0) is None
    breaker.record(second, "neutral", 22.0)
    assert breaker.acquire(22.0).is_probe


def test_results_of_an_older_epoch_are_ignored():
    """R35: a call from before the outage does not reopen what has recovered."""
    breaker = Breaker()
    old = [breaker.acquire(0.0) for _ in range(20)]
    for _ in range(10):
        breaker.play("failure")
    breaker.play("success", 5.0)
    for permit in old:
        breaker.record(permit, "failure", 5.0)
    assert breaker.state == "closed"


def test_a_disabled_breaker_passes_everything():
    """R30: nothing is counted."""
    breaker = Breaker(mode="disabled")
    for _ in range(100):
        breaker.play("failure")
    assert breaker.state == "closed"
    breaker.config = CircuitBreakerSettings()
    for _ in range(9):
        breaker.play("failure")
    assert breaker.state == "closed"


def test_a_breaker_forced_open_rejects_everything():
    """R30: until a person changes the mode; nothing it knew is lost."""
    breaker = Breaker(mode="forced_open")
    assert breaker.acquire(1e9) is None
    assert breaker.machine.rejects(0.0, breaker.config)
    assert breaker.machine.shown_state(breaker.config) == "forced_open"
    breaker.config = CircuitBreakerSettings()
    assert breaker.acquire() is not None


def test_a_shadow_breaker_counts_and_never_rejects():
    """R30: its states change as a normal one's would, and every attempt passes."""
    breaker, changes = Breaker(mode="shadow"), []
    for now in range(60):
        permit = breaker.acquire(now / 10)
        changes.append(breaker.record(permit, "failure", now / 10))
    assert [change for change in changes if change[0] != change[1]] == [("closed", "open"), ("half_open", "open")]
    assert not breaker.machine.rejects(2.0, breaker.config)
    assert breaker.machine.shown_state(breaker.config) == "shadow_open"


def test_the_shown_state_in_shadow_mode_says_what_normal_would_do():
    """R30: so that it can be tried before it is switched on."""
    breaker = Breaker(mode="shadow")
    assert breaker.machine.shown_state(breaker.config) == "shadow"
    for _ in range(10):
        breaker.play("failure")
    assert breaker.machine.shown_state(breaker.config) == "shadow_open"
    breaker.acquire(5.0)
    assert breaker.machine.shown_state(breaker.config) == "shadow_half_open"


async def test_shadow_mode_reports_each_attempt_that_normal_would_reject():
    """R30: with the breaker and the time until which it would reject; the attempt is sent, and the probe is not listed."""
    events, clock = [], FakeClock()
    breakers = CircuitBreakers("svc", LowerBound())
    layer = CircuitBreakerMiddleware(breakers, clock, events.append, lambda _call: 10.0)
    settings, upstream = [CircuitBreakerSettings(mode="shadow", min_calls=1)], Upstream(ResponseLostError("x"))

    async def attempt():
        request = a_request(settings=settings)
        with pytest.raises(ResponseLostError):
            await layer(request, upstream)
        return request.call.circuit_state

    states = [await attempt()]
    clock.time = 2.0
    states.append(await attempt())
    clock.time = 5.0
    states.append(await attempt())
    call = a_request().call.info
    assert [event for event in events if isinstance(event, AttemptRejectedInShadow)] == [
        AttemptRejectedInShadow(call=call, breaker="svc", retry_after_s=3.0)
    ]
    assert upstream.calls == 3
    assert states == ["shadow_open"] * 3


async def test_a_disabled_breaker_reports_no_rejections():
    """R30: it knows nothing."""
    events = []
    layer = CircuitBreakerMiddleware(
        CircuitBreakers("svc", LowerBound()), FakeClock(), events.append, lambda _call: 10.0
    )
    await layer(a_request(settings=[CircuitBreakerSettings(mode="disabled")]), Upstream(None))
    assert events == []


def test_a_limiter_is_neutral_while_others_succeed():
    """R31: it lets some requests through; the circuit would keep out the rest."""
    breaker = Breaker()
    breaker.play("success", 0.0)
    for _ in range(100):
        breaker.play("limited", 9.0)
    assert breaker.state == "closed"
    for _ in range(3):  # they would be enough, had the others been counted
        breaker.play("failure", 9.0)
    assert breaker.state == "closed"


def test_a_limiter_without_any_success_is_a_failure():
    """R31: Varnish says 503 with Retry-After for a dead upstream too; failures are no successes."""
    breaker = Breaker()
    breaker.play("failure")
    for _ in range(8):
        breaker.play("limited")
    assert breaker.state == "closed"
    breaker.play("limited")
    assert breaker.state == "open"


def test_a_success_that_has_left_the_window_does_not_count_for_a_limiter():
    """R31: an upstream that died a window ago."""
    breaker = Breaker()
    breaker.play("success", 0.0)
    for _ in range(10):
        breaker.play("limited", 9.9)
    assert breaker.state == "closed"
    for _ in range(10):
        breaker.play("limited", 11.0)
    assert breaker.state == "open"


def test_a_probe_that_is_limited_opens_it_anew():
    """R31, R34: its window is empty."""
    breaker = opened()
    breaker.play("limited", 5.0)
    assert breaker.state == "open"


@pytest.mark.parametrize("headers", [{"retry_after_s": 5.0}, {"is_overloaded": True}])
async def test_a_503_of_a_limiter_has_a_verdict_of_its_own(headers):
    """R31: by its headers; a plain 503 is a failure as ever."""
    assert verdict_of(status_error(503, Problem(), **headers)) == "limited"
    assert verdict_of(status_error(503, Problem())) == "failure"


def test_slow_attempts_open_it_where_that_is_switched_on():
    """R32: eight slow ones of ten; off by default."""
    for ratio, state in ((0.8, "open"), (0.9, "closed"), (0.0, "closed")):
        breaker = Breaker(slow_ratio=ratio)
        for slow in [False] * 2 + [True] * 8:
            breaker.play("success", slow=slow)
        assert breaker.state == state


@pytest.mark.parametrize(("ratio", "state"), [(0.8, "open"), (0.0, "closed")])
def test_a_slow_probe_does_not_close_it_where_slowness_counts(ratio, state):
    """R34: a service that responds too late has not recovered."""
    breaker = opened(slow_ratio=ratio)
    breaker.play("success", 5.0, slow=True)
    assert breaker.state == state


def test_changed_numbers_keep_state_and_window():
    """R61: nine failures seen under the old settings count under the new ones."""
    breaker = Breaker()
    for _ in range(9):
        breaker.play("failure")
    breaker.config = CircuitBreakerSettings(min_calls=5)
    assert breaker.play("failure") == ("closed", "open")


def a_call(route="/r", method="GET", **config):
    request = a_request(method=method, settings=[CircuitBreakerSettings(**config)])
    return replace_route(request, route).call


def replace_route(request, route):
    request.call.info = replace(request.call.info, route=route)
    return request


def breaker_of(breakers, **call):
    found = a_call(**call)
    return breakers.get(found, found.settings(CircuitBreakerSettings))


def test_the_key_says_who_shares_a_breaker():
    """R30: a service has one; a route or a named group its own."""
    breakers = CircuitBreakers("svc", LowerBound())
    assert breaker_of(breakers, route="/a") is breaker_of(breakers, route="/b")
    assert breaker_of(breakers, route="/a", key="route") is not breaker_of(breakers, route="/b", key="route")
    assert breaker_of(breakers, route="/a", key="route") is breaker_of(breakers, route="/a", key="route")
    assert breaker_of(breakers, route="/a", key="slow") is breaker_of(breakers, route="/b", key="slow")
    assert breaker_of(breakers, method="PUT", key="route") is not breaker_of(breakers, key="route")
    assert {breaker.name for breaker in breakers.all()} == {
        "svc", "svc GET /a", "svc GET /b", "svc slow", "svc GET /r", "svc PUT /r"
    }  # fmt: skip


def test_the_registry_is_bounded_and_evicts_idle_closed_ones_only():
    """R30: 1024 keys; an open one and one in use stay; the least recently used is evicted."""
    breakers = CircuitBreakers("svc", LowerBound())
    config = CircuitBreakerSettings(min_calls=1)
    first, used = breaker_of(breakers, key="k0"), breaker_of(breakers, key="k1")
    permit, _, _ = first.acquire(0.0, config, 1.0)
    first.record(permit, "failure", 0.0, config)
    used.acquire(0.0, config, 1.0)
    idle = breaker_of(breakers, key="k2")
    for number in range(3, 1025):
        breaker_of(breakers, key=f"k{number}")
    assert len(breakers.all()) == 1025
    assert breaker_of(breakers, key="k0") == first
    assert breaker_of(breakers, key="k1") == used
    assert breaker_of(breakers, key="k2") is not idle


def test_where_none_is_idle_a_new_key_shares_the_services_own():
    """R30: bounded, whatever happens."""
    breakers = CircuitBreakers("svc", LowerBound())
    for number in range(1024):
        breaker_of(breakers, key=f"k{number}").acquire(0.0, CircuitBreakerSettings(), 1.0)
    assert breaker_of(breakers, key="new") is breaker_of(breakers)


def status(code):
    return status_error(code, Problem())


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (None, "success"),
        *((status(code), "success") for code in (301, 400, 401, 403, 404, 409, 422, 499, 501, 505)),
        *((status(code), "failure") for code in (500, 502, 503, 504, 520)),
        *((status(code), "neutral") for code in (408, 429)),
        (RequestNotSentError("x"), "failure"),
        (PoolTimeoutError("x"), "neutral"),
        (OperationFailedError("x"), "success"),
        (ResponseTooLargeError("x"), "neutral"),
        (InternalError("x"), "neutral"),
        (ResponseLostError("x"), "failure"),
        (DecodeError("x", is_incomplete=True), "neutral"),
        *(
            (kind("x"), "neutral")
            for kind in (BulkheadFullError, RateLimitExceededError, CircuitOpenError, DecodeError, InvalidArgumentError)
        ),
        (KeyboardInterrupt(), "neutral"),
    ],
    ids=str,
)
def test_what_a_result_says_of_the_service(error, verdict):
    """R31: by the row of its status, or by the class of the error."""
    assert verdict_of(error) == verdict


@given(st.lists(st.tuples(st.sampled_from(["success", "failure", "neutral"]), st.floats(0, 3)), max_size=60))
def test_open_never_lets_through_before_its_time(steps):
    """Whatever happens, and never two probes."""
    breaker, now, until = Breaker(random=Random(3), min_calls=2), 0.0, None
    for verdict, passed in steps:
        now += passed
        if breaker.state == "open" and until is None:
            until = now - passed + breaker.retry_after_s(now - passed) if breaker.retry_after_s(now - passed) else now
        permit = breaker.acquire(now)
        if until is not None and now < until:
            assert permit is None
        if permit is not None:
            until = None
            assert not permit.is_probe or breaker.acquire(now) is None
            breaker.record(permit, verdict, now)


def a_layer(clock=None, events=None, timeout_s=10.0, usual_s=None):
    emit = (events if events is not None else []).append
    breakers = CircuitBreakers("svc", LowerBound())
    usual = None if usual_s is None else lambda: usual_s
    return CircuitBreakerMiddleware(breakers, clock or FakeClock(), emit, lambda _call: timeout_s, usual), breakers


async def fail_ten_times(layer, **request):
    for _ in range(10):
        with pytest.raises(StatusError):
            await layer(a_request(**request), Upstream(status(500)))


async def test_each_rejection_is_a_new_error_that_says_when():
    """R36: one exception object raised again and again would grow for ever."""
    events = []
    layer, _ = a_layer(events=events)
    await fail_ten_times(layer)
    upstream, errors = Upstream(None), []
    for _ in range(2):
        with pytest.raises(CircuitOpenError) as caught:
            await layer(a_request(), upstream)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert str(errors[0]) == "circuit svc is open"
    assert errors[0].retry_after_s == 5.0
    assert upstream.calls == 0
    assert [event.guard for event in events[1:]] == ["circuit_breaker"] * 2


async def test_the_layer_reports_each_result_once():
    """Ten failed attempts through the layer open it; one event is emitted."""
    events = []
    layer, _ = a_layer(events=events)
    await fail_ten_times(layer)
    assert [(event.before, event.after) for event in events] == [("closed", "open")]
    with pytest.raises(CircuitOpenError) as caught:
        layer.reject_if_open(a_request())
    assert caught.value.retry_after_s == 5.0
    assert layer.is_open(a_request())
    assert not layer.is_closed(a_request())


async def test_forced_open_has_no_retry_after():
    """R30: until when an operator forces it open is unknown."""
    layer, _ = a_layer()
    request = a_request(settings=[CircuitBreakerSettings(mode="forced_open")])
    with pytest.raises(CircuitOpenError) as caught:
        await layer(request, Upstream(None))
    assert caught.value.retry_after_s is None
    assert request.call.circuit_state == "forced_open"


@pytest.mark.parametrize("mode", ["disabled", "shadow"])
async def test_modes_that_never_reject_allow_hedges(mode):
    """R19, R30: there is no circuit to spare."""
    layer, _ = a_layer()
    assert layer.is_closed(a_request(settings=[CircuitBreakerSettings(mode=mode)]))
    assert not layer.is_open(a_request(settings=[CircuitBreakerSettings(mode=mode)]))
    assert not layer.is_closed(a_request(settings=[CircuitBreakerSettings(mode="forced_open")]))


async def test_an_attempt_is_slow_beyond_its_share_of_the_timeout():
    """R32: half of ten seconds is not slow, more is."""
    clock, settings = FakeClock(), [CircuitBreakerSettings(slow_ratio=0.5, min_calls=1)]
    clock.time = 100.0
    layer, breakers = a_layer(clock)

    async def takes(seconds):
        async def rest(_request):
            await clock.sleep(seconds)
            return "response"

        await layer(a_request(settings=settings), rest)

    await takes(5.0)
    assert breakers.all()[0].state == "closed"
    await takes(5.001)
    assert breakers.all()[0].state == "open"


@pytest.mark.parametrize(
    ("timeout_s", "usual_s", "open_s", "alone_s"),
    [
        (10.0, 10.0, 5.0, 15.0),
        (2.0, 2.0, 5.0, 5.0),
        (2.0, 10.0, 5.0, 5.0),
        (2.0, 10.0, 1.5, 3.0),
        (100.0, 100.0, 5.0, 15.0),
        (100.0, 100.0, 20.0, 20.0),
        (100.0, 10.0, 5.0, 5.0),
        (10.1, 10.0, 5.0, 5.0),
        (100.0, 10.0, 0.5, 1.0),
    ],
)
async def test_a_silent_probe_is_alone_for_one_and_a_half_timeouts(timeout_s, usual_s, open_s, alone_s):
    """R34: or the open time, whichever is longer; a long operation for the open time only."""
    for layer_usual_s in (usual_s, None) if timeout_s <= usual_s else (usual_s,):
        clock, settings = FakeClock(), [CircuitBreakerSettings(open_s=open_s)]
        layer, _ = a_layer(clock, timeout_s=timeout_s, usual_s=layer_usual_s)
        await fail_ten_times(layer, settings=settings)
        clock.time = open_s

        async def silent(_request, clock=clock, layer=layer, settings=settings):
            clock.time = open_s + alone_s - 0.001
            assert layer.is_open(a_request(settings=settings))
            clock.time = open_s + alone_s
            assert not layer.is_open(a_request(settings=settings))

        await layer(a_request(settings=settings), silent)


@pytest.mark.parametrize("gone", [asyncio.CancelledError(), KeyboardInterrupt()])
async def test_a_cancelled_attempt_counts_nowhere_and_frees_the_probe(gone):
    """R31, R42: neither success nor failure."""
    clock = FakeClock()
    layer, breakers = a_layer(clock)
    await fail_ten_times(layer)
    clock.time = 5.0
    with pytest.raises(type(gone)):
        await layer(a_request(), Upstream(gone))
    assert breakers.all()[0].state == "half_open"
    await layer(a_request(), Upstream(None))
    assert breakers.all()[0].state == "closed"


class Manual:
    """A clock for the oracle."""

    time = 0.0

    def monotonic(self):
        return self.time


class TroubleError(Exception):
    pass


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.25, 0.5, 1.25, 2.75, 5.0])), min_size=1, max_size=80))
def test_it_agrees_with_an_independent_breaker(steps):
    """R32, R33, R34: the same history opens, rejects and closes both, step by step."""
    clock, config = Manual(), CircuitBreakerSettings(failure_ratio=0.5, min_calls=4, open_s=5.0)
    oracle = interlock.CircuitBreaker(
        name="oracle",
        clock=clock,
        config=interlock.Config(
            failure_rate_threshold=0.5,
            minimum_number_of_calls=4,
            wait_duration_in_open=5.0,
            permitted_calls_in_half_open=1,
            window_type=interlock.WindowType.TIME_BASED,
            window_size=10,
        ),
    )
    breaker = CircuitBreaker("svc", LowerBound())
    for fails, passed in steps:
        clock.time += passed

        def work(fails=fails):
            if fails:
                raise TroubleError

        allowed = True
        try:
            oracle.call_sync(work)
        except TroubleError:
            pass
        except interlock.CircuitOpenError:
            allowed = False
        permit, _, _ = breaker.acquire(clock.time, config, 1e9)
        assert (permit is not None) == allowed, clock.time
        if permit is not None:
            breaker.record(permit, "failure" if fails else "success", clock.time, config)


def test_what_is_neutral_counts_nowhere():
    """R31: neither to the attempts nor to the failures."""
    breaker = Breaker()
    for _ in range(100):
        breaker.play("neutral")
    for _ in range(9):
        breaker.play("failure")
    assert breaker.state == "closed"
    breaker.play("failure")
    assert breaker.state == "open"


def test_results_of_attempts_begun_before_it_opened_do_not_keep_it_open():
    """R35: ten late failures while it is open change nothing."""
    breaker = Breaker()
    late = [breaker.acquire(0.0) for _ in range(10)]
    for _ in range(10):
        breaker.play("failure")
    for permit in late:
        assert breaker.record(permit, "failure", 4.0) == ("open", "open")
    assert breaker.acquire(5.0).is_probe


def test_a_rejected_attempt_has_no_effect():
    """R30: a breaker that rejected is idle again once it is closed and its attempts have ended."""
    breaker = opened()
    assert not breaker.machine.is_idle
    assert breaker.acquire(1.0) is None
    probe = breaker.acquire(5.0)
    assert not breaker.machine.is_idle
    breaker.record(probe, "success", 5.0)
    assert breaker.machine.is_idle
    held = breaker.acquire(6.0)
    assert not breaker.machine.is_idle
    breaker.record(held, "neutral", 6.0)
    assert breaker.machine.is_idle


@pytest.mark.parametrize("mode", ["normal", "shadow", "disabled", "forced_open"])
def test_the_shown_state_is_the_mode_where_a_mode_decides(mode):
    """R30: and the breaker's own where none does; in shadow mode both."""
    breaker = opened(mode="normal")
    config = CircuitBreakerSettings(mode=mode)
    shown = {"normal": "open", "shadow": "shadow_open"}.get(mode, mode)
    assert breaker.machine.shown_state(config) == shown
    assert breaker.machine.rejects(1.0, config) is (mode in {"normal", "forced_open"})
    assert breaker.machine.acquire(1.0, config, 15.0)[1:] == ("open", "open")


def test_the_open_time_that_remains():
    """R36: none once it is over."""
    breaker = opened()
    assert [breaker.retry_after_s(now) for now in (1.0, 4.0, 5.0, 6.0)] == [4.0, 1.0, None, None]


def test_late_results_do_not_disturb_the_probe():
    """R35: neither while it is in flight nor after it closed the circuit."""
    breaker = Breaker()
    late = [breaker.acquire(0.0) for _ in range(20)]
    for _ in range(10):
        breaker.play("failure")
    probe, before, after = breaker.machine.acquire(5.0, breaker.config, 15.0)
    assert before == "open"
    assert after == "half_open"
    for permit in late[:10]:
        assert breaker.record(permit, "failure", 5.0) == ("half_open", "half_open")
    assert breaker.record(probe, "success", 5.0) == ("half_open", "closed")
    for permit in late[10:]:
        assert breaker.record(permit, "failure", 5.0) == ("closed", "closed")


def test_an_attempt_is_not_slow_unless_it_is_said_to_be():
    """R32: its end alone says nothing of its time."""
    config, machine = CircuitBreakerSettings(slow_ratio=0.1, min_calls=1), CircuitBreaker("svc", LowerBound())
    permit, _, _ = machine.acquire(0.0, config, 15.0)
    assert machine.record(permit, "success", 0.0, config) == ("closed", "closed")


def test_a_breaker_that_is_used_is_not_the_longest_unused():
    """R30: however long ago it was made."""
    breakers = CircuitBreakers("svc", LowerBound())
    made = [breaker_of(breakers, key=f"k{number}") for number in range(1024)]
    assert breaker_of(breakers, key="k0") is made[0]
    breaker_of(breakers, key="new")
    assert breaker_of(breakers, key="k0") is made[0]
    assert breaker_of(breakers, key="k1") is not made[1]


async def test_the_call_knows_the_state_before_and_after_its_attempt():
    """R52: and each change is emitted, the one at the start of the probe too."""
    clock, events, seen = FakeClock(), [], []
    layer, _ = a_layer(clock, events=events)
    await fail_ten_times(layer)
    clock.time = 5.0

    async def rest(request):
        seen.append(request.call.circuit_state)
        return "response"

    request = a_request()
    assert await layer(request, rest) == "response"
    assert seen == ["half_open"]
    assert request.call.circuit_state == "closed"
    changes = [(event.breaker, event.before, event.after) for event in events]
    assert changes == [("svc", "closed", "open"), ("svc", "open", "half_open"), ("svc", "half_open", "closed")]


# --- attempts that the deadline of their call ends --------------------------------------------------------------------


def test_as_many_are_watched_as_can_open_it():
    """R38: ten at a time; none that has its whole timeout; a place is free at the end, and after 1.5 timeouts."""
    breaker = Breaker()
    assert breaker.acquire(0.0).watch is None
    permits = [breaker.acquire(0.0, 10.0) for _ in range(11)]
    assert [permit.watch is not None for permit in permits] == [True] * 10 + [False]
    breaker.record(permits[0], "success", 1.0)
    assert breaker.acquire(1.0, 10.0).watch is not None
    assert breaker.acquire(14.9, 10.0).watch is None
    assert breaker.acquire(15.0, 10.0).watch is not None  # an event loop may have ended with nine of them


def test_a_changed_number_changes_how_many_are_watched():
    """R38, R61: the places that are taken stay taken."""
    breaker = Breaker()
    for _ in range(10):
        breaker.acquire(0.0, 10.0)
    breaker.config = CircuitBreakerSettings(min_calls=11)
    assert [breaker.acquire(0.0, 10.0).watch is not None for _ in range(2)] == [True, False]


def test_what_ends_unwatched_counts_only_through_those_that_are_watched():
    """R31, R38: twenty end unwatched while two watched ones fail: each of the two represents ten, and itself."""
    breaker = Breaker(min_calls=22)
    watched = [breaker.acquire(0.0, 10.0) for _ in range(22)][:2]
    for permit in watched:
        assert breaker.end_by_deadline(permit)
    others = [breaker.acquire(0.0, 10.0) for _ in range(20)]
    for permit in others:
        assert not breaker.end_by_deadline(permit, 2.0)
    assert breaker.record(watched[0], "failure", 10.0) == ("closed", "closed")
    assert breaker.machine._totals(10.0, breaker.config) == (11, 11, 0)
    assert breaker.record(watched[1], "failure", 10.0, slow=True) == ("closed", "open")


def test_a_watched_success_speaks_for_the_others_too():
    """R38, R32: a slow service is a healthy one, and slow where that counts."""
    breaker = Breaker(min_calls=1)
    watched = breaker.acquire(0.0, 10.0)
    breaker.end_by_deadline(watched)
    for _ in range(9):
        breaker.end_by_deadline(breaker.acquire(2.0, 10.0), 4.0)
    breaker.record(watched, "success", 8.0, slow=True)
    assert breaker.machine._totals(8.0, breaker.config) == (10, 0, 10)


def test_each_attempt_that_ended_unwatched_counts_once():
    """R38: the second watched attempt represents those that the first one does not."""
    breaker = Breaker(min_calls=2)
    watched = [breaker.acquire(0.0, 10.0) for _ in range(2)]
    for permit in watched:
        breaker.end_by_deadline(permit)
    for _ in range(20):
        breaker.end_by_deadline(breaker.acquire(0.0, 10.0), 2.0)
    for permit in watched:
        breaker.record(permit, "success", 8.0)
    assert breaker.machine._totals(8.0, breaker.config) == (22, 0, 0)


def test_those_ended_before_it_opened_do_not_count_after_it_closed():
    """R35, R38: neither they nor those that were watched."""
    breaker = Breaker(min_calls=1)
    watched = breaker.acquire(0.0, 10.0)
    breaker.end_by_deadline(watched)
    breaker.end_by_deadline(breaker.acquire(0.0, 10.0), 2.0)
    breaker.play("failure", 2.0)
    breaker.play("success", 7.0)
    late = breaker.acquire(7.0, 10.0)
    breaker.end_by_deadline(late)
    breaker.record(watched, "success", 8.0)
    breaker.record(late, "success", 9.0)
    assert breaker.machine._totals(9.0, breaker.config) == (1, 0, 0)


def test_what_ends_unwatched_counts_nowhere_where_none_is_watched_beyond_its_call():
    """R31, R38: neither now nor later."""
    breaker = Breaker(min_calls=1)
    quick = breaker.acquire(0.0, 10.0)
    for _ in range(20):
        breaker.end_by_deadline(breaker.acquire(0.0, 10.0), 2.0)
    breaker.record(quick, "success", 2.0)
    late = breaker.acquire(3.0, 10.0)
    breaker.end_by_deadline(late)
    breaker.record(late, "success", 9.0)
    assert breaker.machine._totals(9.0, breaker.config) == (2, 0, 0)


def test_an_attempt_that_ended_before_its_deadline_speaks_for_itself_alone():
    """R38: the one that outlived its call represents the other three."""
    breaker = Breaker(min_calls=2)
    quick, late = breaker.acquire(0.0, 10.0), breaker.acquire(0.0, 10.0)
    breaker.end_by_deadline(late)
    for _ in range(3):
        breaker.end_by_deadline(breaker.acquire(0.0, 10.0), 2.0)
    breaker.record(quick, "success", 3.0)
    assert breaker.machine._totals(3.0, breaker.config) == (1, 0, 0)
    breaker.record(late, "success", 8.0)
    assert breaker.machine._totals(8.0, breaker.config) == (5, 0, 0)


def test_a_probe_is_watched_whatever_else_is():
    """R34, R38: places of the time before are free again."""
    breaker = Breaker()
    for _ in range(10):
        breaker.acquire(0.0, 10.0)
    for _ in range(10):
        breaker.play("failure")
    probe = breaker.acquire(5.0, 10.0)
    assert probe.is_probe
    assert breaker.end_by_deadline(probe)
    assert breaker.acquire(14.9, 10.0) is None
    breaker.record(probe, "success", 13.0)
    assert breaker.state == "closed"
    assert [breaker.acquire(13.0, 10.0).watch is not None for _ in range(11)] == [True] * 10 + [False]


def test_a_probe_that_lost_its_permit_takes_no_place():
    """R34, R38: the next one is watched in its stead."""
    breaker = Breaker(min_calls=1)
    breaker.play("failure")
    silent = breaker.acquire(5.0, 20.0)
    second = breaker.acquire(20.0, 10.0)
    assert silent.watch is not None
    assert second.watch is not None
    breaker.record(second, "success", 21.0)
    assert breaker.acquire(21.0, 10.0).watch is not None


def test_a_probe_that_ends_with_its_call_makes_room_for_another():
    """R34: one that could not go on says nothing."""
    breaker = opened()
    assert breaker.play("deadline", 5.0) == ("half_open", "half_open")
    assert breaker.acquire(5.0).is_probe


def test_calls_wait_while_what_is_watched_is_overdue():
    """R39: ten that are silent for half their timeout, or whose calls have ended; one a second goes nevertheless."""
    breaker = Breaker()
    permits = [breaker.acquire(0.0, 10.0) for _ in range(10)]
    assert not breaker.must_wait(4.999)
    assert [breaker.must_wait(now) for now in (5.0, 5.0, 5.999, 6.0, 6.5)] == [False, True, True, False, True]
    breaker.record(permits[0], "success", 6.5)
    breaker.record(permits[1], "success", 6.5)
    breaker.record(permits[2], "success", 6.5)
    assert breaker.must_wait(6.9)  # seven of ten
    breaker.record(permits[3], "success", 6.9)
    assert not breaker.must_wait(6.9)  # six of ten


def test_calls_wait_as_soon_as_the_callers_of_what_is_watched_have_gone():
    """R39: before half the timeout."""
    breaker = Breaker()
    permits = [breaker.acquire(0.0, 10.0) for _ in range(10)]
    for permit in permits[:9]:
        breaker.end_by_deadline(permit)
    assert [breaker.must_wait(2.0) for _ in range(2)] == [False, False]
    breaker.end_by_deadline(permits[9])
    assert [breaker.must_wait(2.0) for _ in range(2)] == [False, True]


def test_calls_wait_for_failures_and_overdue_ones_together_and_not_for_ever():
    """R39: seven failures of the window, three overdue; what is silent for 1.5 timeouts is not waited for."""
    breaker = Breaker(min_calls=11)
    for _ in range(7):
        breaker.play("failure", 9.9)
    for _ in range(4):
        breaker.acquire(0.0, 10.0)
    assert [breaker.must_wait(10.0) for _ in range(2)] == [False, True]
    assert [breaker.must_wait(15.0) for _ in range(2)] == [False, False]


def test_calls_do_not_wait_for_failures_alone():
    """R39: after a reload the window may contain more failures than the new settings allow."""
    breaker = Breaker(min_calls=20)
    for _ in range(10):
        breaker.play("failure")
    breaker.config = CircuitBreakerSettings()
    assert [breaker.must_wait(1.0) for _ in range(2)] == [False, False]


@pytest.mark.parametrize("mode", ["shadow", "disabled", "forced_open"])
def test_calls_wait_in_normal_mode_alone(mode):
    """R30, R39: shadow never delays an attempt."""
    breaker = Breaker()
    for _ in range(10):
        breaker.acquire(0.0, 10.0)
    breaker.config = CircuitBreakerSettings(mode=mode)
    assert [breaker.must_wait(6.0) for _ in range(2)] == [False, False]


def test_a_shadow_breaker_watches():
    """R30, R38: it counts as a normal one would."""
    breaker = Breaker(mode="shadow")
    permits = [breaker.acquire(0.0, 10.0) for _ in range(10)]
    for permit in permits:
        breaker.end_by_deadline(permit)
        breaker.record(permit, "failure", 10.0)
    assert breaker.state == "open"
    assert breaker.acquire(11.0, 10.0).watch is None  # it would have been rejected


def test_nothing_waits_once_it_is_open():
    """R37, R39: it is rejected at once."""
    breaker = Breaker()
    for _ in range(10):
        breaker.acquire(0.0, 10.0)
    for _ in range(10):
        breaker.play("failure", 6.0)
    assert [breaker.must_wait(6.0) for _ in range(2)] == [False, False]


async def test_an_attempt_waits_before_it_gets_a_permit():
    """R39: one that the deadline would end, until the watched ones have ended; one with its whole timeout does not."""
    clock = FakeClock()
    layer, breakers = a_layer(clock)
    machine, config = breakers.all()[0], CircuitBreakerSettings()
    permits = [machine.acquire(0.0, config, 15.0, watch_timeout_s=10.0)[0] for _ in range(10)]
    clock.time = 5.0
    await layer(a_request(deadline_at=15.0), Upstream(None))  # the one of this second
    await layer(a_request(deadline_at=15.001), Upstream(None))
    assert clock.slept == []
    sleep = clock.sleep

    async def until_six(delay_s):
        await sleep(delay_s)
        if len(clock.slept) == 4:
            for permit in permits:
                machine.record(permit, "success", clock.time, config)

    clock.sleep = until_six
    await layer(a_request(deadline_at=15.0), Upstream(None))
    assert clock.slept == [0.1] * 4


@pytest.mark.parametrize(("deadline_at", "is_watched"), [(10.0, True), (10.001, False)])
async def test_an_attempt_is_watched_where_the_deadline_ends_it_first(deadline_at, is_watched):
    """R38: also where both would end in the same moment."""
    layer, _ = a_layer()
    upstream = Upstream(None)
    await layer(a_request(deadline_at=deadline_at), upstream)
    assert (upstream.requests[0].attempt.on_late_end is not None) == is_watched


@pytest.mark.parametrize(("error", "state"), [(ResponseLostError("x"), "open"), (None, "closed")])
async def test_a_late_end_counts_as_if_its_call_had_waited(error, state):
    """R38: and a change of state is emitted."""
    clock, events = FakeClock(), []
    layer, breakers = a_layer(clock, events)
    request = a_request(deadline_at=2.0, settings=[CircuitBreakerSettings(min_calls=1)])

    async def goes_on(request):
        clock.time = 2.0
        request.attempt.goes_on = True
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await layer(request, goes_on)
    assert breakers.all()[0].state == "closed"
    assert not breakers.all()[0].is_idle
    clock.time = 10.0
    request.attempt.on_late_end(error)
    assert breakers.all()[0].state == state
    assert [event.after for event in events] == ["open"] * (state == "open")


@pytest.mark.torture
@pytest.mark.parametrize(("per_second", "seconds"), [(1, 1200), (5, 240), (20, 60)])
@pytest.mark.parametrize("share", [0.0, 0.05])
@virtual_time
async def test_the_circuit_of_a_slow_service_stays_closed(per_second, seconds, share):
    """R31, R38, R39: responses take 8 of 10 s; all, or 95 of 100, callers wait for 2 to 6 s, the first fifty too."""
    draw, events, clock = Random(5), [], LoopClock()
    layer, _ = a_layer(clock, events)

    async def responds(request):
        request.attempt.request_sent = "maybe"
        await asyncio.sleep(8)
        return PlatformResponse(status=200, headers={})

    layers = [DeadlineMiddleware(clock, lambda _event: None), layer]
    handle = compose([*layers, AttemptTimeoutMiddleware(clock, WatchedAttempts(clock))], responds)

    async def call(number):
        is_short = number < 50 or draw.random() >= share
        request = a_request(started_at=clock.now(), deadline_s=draw.uniform(2, 6) if is_short else None)
        try:
            await handle(request)
        except DeadlineExceededError:
            assert is_short

    async with asyncio.TaskGroup() as calls:
        for number in range(per_second * seconds):
            calls.create_task(call(number))
            await asyncio.sleep(1 / per_second)
    assert events == []


@pytest.mark.parametrize(
    ("took_s", "lost_race", "slow_ratio", "counted"),
    [
        (5.1, True, 0.5, (1, 0, 1)),
        (5.0, True, 0.5, (0, 0, 0)),
        (5.1, False, 0.5, (0, 0, 0)),
        (5.1, True, 0.0, (0, 0, 0)),
    ],
)
async def test_an_attempt_that_lost_to_a_hedge_counts_only_if_it_was_slow(took_s, lost_race, slow_ratio, counted):
    """R31: its time is known, its result is not; never after a caller's cancellation, or with slow_ratio 0."""
    clock = FakeClock()
    layer, breakers = a_layer(clock)
    config = CircuitBreakerSettings(slow_ratio=slow_ratio)

    async def lose(request):
        clock.time = took_s
        request.attempt.lost_race = lost_race
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await layer(a_request(settings=[config]), lose)
    assert breakers.all()[0]._totals(took_s, config) == counted


async def test_the_layer_knows_what_the_deadline_has_cut():
    """R31, R38: one that goes on speaks for one that does not; for one whose caller went away it does not."""
    clock = FakeClock()
    layer, breakers = a_layer(clock)
    config = CircuitBreakerSettings(min_calls=1, failure_ratio=1)

    async def goes_on(request):
        clock.time = 2.0
        request.attempt.goes_on = True
        raise asyncio.CancelledError

    request = a_request(deadline_at=2.0, settings=[config])
    for made, rest in (
        (request, goes_on),
        (a_request(deadline_at=2.0, settings=[config]), Upstream(asyncio.CancelledError())),
        (a_request(deadline_at=2.1, settings=[config]), Upstream(asyncio.CancelledError())),
    ):
        layer._breakers.all()[0]._next_scout_at = 0.0
        with pytest.raises(asyncio.CancelledError):
            await layer(made, rest)
    request.attempt.on_late_end(None)
    assert breakers.all()[0]._totals(2.0, config) == (2, 0, 0)
