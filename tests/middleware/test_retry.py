"""Retries: the matrix, the waits, the stops and the budget."""

import asyncio
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_support import FakeClock, Highest, Upstream, a_request

from middleware.errors import (
    BulkheadFullError,
    CircuitOpenError,
    DeadlineExceededError,
    DecodeError,
    InternalError,
    InvalidArgumentError,
    RequestNotSentError,
    ResponseLostError,
    ResponseTooLargeError,
    StatusError,
    status_error,
)
from middleware.events import RetryScheduled
from middleware.problem import Problem
from middleware.retry import RetryBudget, RetryBudgetConfig, RetryConfig, RetryMiddleware, RetryPolicy

NO_BUDGET = RetryBudgetConfig(enabled=False)


def status(code, retry_after_s=None):
    return status_error(code, Problem(), retry_after_s=retry_after_s)


def a_layer(clock, *, events=None, circuit_is_open=lambda: False, budget=NO_BUDGET, **config):
    policy = RetryPolicy(RetryConfig(**config), Highest())
    emit = (events if events is not None else []).append
    return RetryMiddleware(policy, RetryBudget(budget), clock, emit, circuit_is_open)


ALWAYS, IDEMPOTENT, KEYED, NEVER = "always", "idempotent", "keyed", "never"
MATRIX = [
    (RequestNotSentError("refused"), ALWAYS),
    (ResponseLostError("reset", request_sent="maybe"), IDEMPOTENT),
    (ResponseLostError("short", request_sent="yes"), IDEMPOTENT),
    (status(429), ALWAYS),
    (status(503, 1.0), ALWAYS),
    *((status(code), IDEMPOTENT) for code in (408, 500, 502, 503, 504)),
    (status(409), KEYED),
    *((status(code), NEVER) for code in (301, 400, 401, 403, 404, 410, 418, 422, 425, 501, 505)),
    *((kind("x"), NEVER) for kind in (BulkheadFullError, CircuitOpenError, DeadlineExceededError, DecodeError)),
    *((kind("x"), NEVER) for kind in (InternalError, InvalidArgumentError, ResponseTooLargeError)),
]


@pytest.mark.parametrize(("error", "when"), MATRIX, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("keyed", [True, False])
def test_the_matrix(error, when, idempotent, keyed):
    """R11: by what became of the request, and whether repeating it is harmless."""
    policy = RetryPolicy(RetryConfig(), Random(1))
    expected = {ALWAYS: True, IDEMPOTENT: idempotent, KEYED: keyed, NEVER: False}[when]
    assert policy.is_retryable(error, idempotent=idempotent, keyed=keyed) is expected


@given(st.integers(1, 10), st.integers(0, 2**32))
def test_the_backoff_is_full_jitter_within_its_ceiling(attempt, seed):
    """uniform(0, min(5, 0.1 * 2 ** (attempt - 1)))."""
    policy = RetryPolicy(RetryConfig(), Random(seed))
    assert 0 <= policy.delay_s(status(500), attempt) <= min(5.0, 0.1 * 2 ** (attempt - 1))
    assert 0 <= policy.delay_s(status(429), attempt) <= min(20.0, 1.0 * 2 ** (attempt - 1))


@given(st.floats(0.001, 100), st.integers(0, 2**32))
def test_retry_after_is_never_shortened(after, seed):
    """R15: it is a floor, plus at most 10 % or one second."""
    delay = RetryPolicy(RetryConfig(), Random(seed)).delay_s(status(503, after), 1)
    assert after <= delay
    assert delay <= max(1.0, after + min(0.1 * after, 1.0))


def test_the_longer_of_backoff_and_retry_after_wins():
    """R15: a short Retry-After does not shorten the backoff."""
    assert RetryPolicy(RetryConfig(), Highest()).delay_s(status(429, 0.5), 4) == 8.0


async def test_success_enters_no_engine(monkeypatch):
    """The first attempt pays nothing for retries it does not need."""
    monkeypatch.setattr("tenacity.AsyncRetrying", None)
    upstream = Upstream(None)
    await a_layer(FakeClock())(a_request(), upstream)
    assert upstream.calls == 1


async def test_attempts_waits_and_events_go_together():
    """Two failures, two waits, two facts; the next attempt's record knows its wait."""
    clock, events = FakeClock(), []
    upstream = Upstream(status(503), status(503), None)
    await a_layer(clock, events=events)(a_request(), upstream)
    assert (upstream.calls, clock.slept) == (3, [0.1, 0.2])
    assert [(e.attempt, e.delay_s) for e in events if isinstance(e, RetryScheduled)] == [(1, 0.1), (2, 0.2)]
    assert [request.attempt.delay_s for request in upstream.requests] == [0.0, 0.1, 0.2]


@pytest.mark.parametrize(("asked", "made"), [(None, 3), (1, 1), (2, 2), (9, 3)])
async def test_the_caller_only_lowers_the_attempts(asked, made):
    """R10: max_attempts."""
    request, upstream = a_request(max_attempts=asked), Upstream(status(503))
    with pytest.raises(StatusError):
        await a_layer(FakeClock())(request, upstream)
    assert (upstream.calls, request.call.stop_reason) == (made, "max_attempts")


async def test_a_failure_that_may_not_be_repeated_stops():
    """R10: not_retryable, also when it comes second."""
    for results in ([status(404)], [status(503), status(404)]):
        request, upstream = a_request(), Upstream(*results)
        with pytest.raises(StatusError) as caught:
            await a_layer(FakeClock())(request, upstream)
        assert (caught.value.status, upstream.calls) == (404, len(results) or 1)
        assert request.call.stop_reason == "not_retryable"


async def test_a_retry_after_beyond_the_limit_stops_at_once():
    """R16: retry_after_max, without a wait."""
    clock, request = FakeClock(), a_request(deadline_at=1000.0)
    with pytest.raises(StatusError) as caught:
        await a_layer(clock)(request, Upstream(status(503, 20.1)))
    assert (clock.slept, request.call.stop_reason, caught.value.retry_after_s) == ([], "retry_after_max", 20.1)


@pytest.mark.parametrize(("deadline", "slept"), [(0.104, []), (0.106, [0.1])])
async def test_a_wait_that_leaves_no_time_is_not_begun(deadline, slept):
    """R16: now + delay + 5 ms must lie before the deadline."""
    clock, request = FakeClock(), a_request(deadline_at=deadline)
    with pytest.raises(StatusError):
        await a_layer(clock)(request, Upstream(status(503)))
    assert (clock.slept, request.call.stop_reason) == (slept, "deadline")


async def test_an_open_circuit_stops_before_the_wait():
    """R37: the upstream's own error, not the breaker's."""
    clock, request = FakeClock(), a_request()
    with pytest.raises(StatusError):
        await a_layer(clock, circuit_is_open=lambda: True)(request, Upstream(status(503)))
    assert (clock.slept, request.call.stop_reason) == ([], "circuit_open")


async def test_a_circuit_that_opens_during_the_wait_gives_the_upstreams_error():
    """R37: the caller learns what went wrong, and why it was not tried again."""
    request = a_request()
    with pytest.raises(StatusError) as caught:
        await a_layer(FakeClock())(request, Upstream(status(502), CircuitOpenError("open")))
    assert (caught.value.status, request.call.stop_reason) == (502, "circuit_open")


async def test_a_circuit_open_from_the_start_is_the_error():
    """R37: nothing was sent, and the error says so."""
    request = a_request()
    with pytest.raises(CircuitOpenError):
        await a_layer(FakeClock())(request, Upstream(CircuitOpenError("open")))
    assert request.call.stop_reason == "circuit_open"


async def test_cancellation_passes_untouched():
    """At the first attempt and at a later one."""
    for results in ([asyncio.CancelledError()], [status(503), asyncio.CancelledError()]):
        upstream = Upstream(*results)
        with pytest.raises(asyncio.CancelledError):
            await a_layer(FakeClock())(a_request(), upstream)
        assert upstream.calls == len(results)


async def test_concurrent_calls_do_not_share_their_retries():
    """A fresh engine per call: twenty calls, each with its own three attempts."""
    clock, upstream = FakeClock(), Upstream(status(503))
    layer = a_layer(clock)
    results = await asyncio.gather(*(layer(a_request(), upstream) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(result, StatusError) for result in results)
    assert upstream.calls == 60


async def test_the_budget_is_asked_last_and_stops():
    """R10, R18: ten retries of the minimum, then none."""
    clock, config = FakeClock(), RetryBudgetConfig(ratio=0.0, min_per_s=0.2, ttl_s=10)
    layer = a_layer(clock, budget=config, max_attempts=2, base_delay_s=0.0)
    reasons = []
    for _ in range(4):
        request = a_request()
        with pytest.raises(StatusError):
            await layer(request, Upstream(status(503)))
        reasons.append(request.call.stop_reason)
    assert reasons == ["max_attempts", "max_attempts", "budget", "budget"]


def test_the_budget_grows_with_traffic_and_slides():
    """R18: min_per_s * ttl + ratio * calls - retries, within the window."""
    budget = RetryBudget(RetryBudgetConfig(ratio=0.2, min_per_s=0, ttl_s=10))
    for _ in range(10):
        budget.deposit(0.0)
    assert budget.balance(0.0) == 2
    assert [budget.withdraw(1.0) for _ in range(3)] == [True, True, False]
    assert budget.balance(9.9) == 0
    budget.deposit(10.5)
    assert budget.balance(10.5) == pytest.approx(0.2 - 2)
    assert budget.balance(11.5) == pytest.approx(0.2)


def test_a_budget_that_is_off_never_refuses():
    """It is legitimate where the upstream has headroom."""
    budget = RetryBudget(NO_BUDGET)
    assert all(budget.withdraw(0.0) for _ in range(1000))
