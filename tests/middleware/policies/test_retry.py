"""Retries: which failures, after which waits, and the reasons to stop."""

import asyncio
from datetime import UTC, datetime
from email.utils import format_datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_support import FakeClock, Upstream
from layer_support import a_request as a_plain_request

from middleware.errors import (
    BulkheadFullError,
    CircuitOpenError,
    DeadlineExceededError,
    DecodeError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PoolTimeoutError,
    RequestNotSentError,
    ResponseLostError,
    ResponseTooLargeError,
    StatusError,
    status_error,
)
from middleware.events import RetryAbandoned, RetryBudgetExhausted, RetryScheduled
from middleware.policies.retry import RetryMiddleware, RetryPolicy, RetrySettings
from middleware.policies.retry_budget import RetryBudget, RetryBudgetSettings
from middleware.problem import Problem
from middleware.records import AttemptRecord
from middleware.retry_after import parse_retry_after
from runtime.testing import UpperBound

NO_BUDGET = RetryBudgetSettings(enabled=False)


def status(code, retry_after_s=None, *, is_overloaded=False, answered_by="platform"):
    return status_error(
        code, Problem(), retry_after_s=retry_after_s, is_overloaded=is_overloaded, answered_by=answered_by
    )


def a_layer(clock, *, events=None, circuit_is_open=lambda _request: False):
    emit = (events if events is not None else []).append
    return RetryMiddleware(RetryPolicy(UpperBound()), RetryBudget(), clock, emit, circuit_is_open)


def a_request(*settings, **options):
    return a_plain_request(settings=[NO_BUDGET, *settings], **options)


ALWAYS, IDEMPOTENT, IF_SET, KEYED, NEVER = "always", "idempotent", "idempotent or set", "keyed", "never"
MATRIX = [
    (RequestNotSentError("refused"), ALWAYS),
    (PoolTimeoutError("full"), ALWAYS),
    (ResponseLostError("reset", request_sent="maybe"), IDEMPOTENT),
    (ResponseLostError("short", request_sent="yes"), IDEMPOTENT),
    (status(429), ALWAYS),
    (status(503, is_overloaded=True), ALWAYS),
    (status(503, 1.0, is_overloaded=True), ALWAYS),
    (status(503, 1.0), IF_SET),
    *((status(code), IDEMPOTENT) for code in (408, 500, 502, 503, 504)),
    (status(409), KEYED),
    *((status(code, 1.0), IDEMPOTENT) for code in (408, 500, 502, 504)),
    (status(502, is_overloaded=True), IDEMPOTENT),
    *((status(code), NEVER) for code in (301, 400, 401, 403, 404, 410, 418, 422, 425, 501, 505)),
    *((status(code, 1.0), NEVER) for code in (301, 400, 507, 520)),
    *((kind("x"), NEVER) for kind in (BulkheadFullError, CircuitOpenError, DeadlineExceededError, DecodeError)),
    *((kind("x"), NEVER) for kind in (InternalError, InvalidArgumentError, ResponseTooLargeError)),
]


@pytest.mark.parametrize(("error", "when"), MATRIX, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("set_", [True, False])
def test_the_matrix(error, when, repeatable, keyed, set_):
    """R11, R12, R37: by what became of the request, and whether repeating it is harmless."""
    policy, config = RetryPolicy(Random(1)), RetrySettings(repeat_writes_after_503=set_)
    allowed = {ALWAYS: True, IDEMPOTENT: repeatable, IF_SET: repeatable or set_, KEYED: keyed, NEVER: False}
    assert policy.is_retryable(error, config, repeatable=repeatable, keyed=keyed) is allowed[when]


@given(st.integers(1, 10), st.integers(0, 2**32))
def test_the_backoff_is_full_jitter_within_its_ceiling(attempt, seed):
    """uniform(0, min(5, 0.1 * 2 ** (attempt - 1)))."""
    policy = RetryPolicy(Random(seed))
    assert 0 <= policy.delay_s(status(500), attempt, RetrySettings()) <= min(5.0, 0.1 * 2 ** (attempt - 1))
    assert 0 <= policy.delay_s(status(429), attempt, RetrySettings()) <= min(20.0, 1.0 * 2 ** (attempt - 1))


@given(st.floats(0.001, 100), st.integers(0, 2**32))
def test_retry_after_is_never_shortened(after, seed):
    """R15: it is a floor, plus at most 10 % or one second."""
    delay = RetryPolicy(Random(seed)).delay_s(status(503, after), 1, RetrySettings())
    assert after <= delay
    assert delay <= max(1.0, after + min(0.1 * after, 1.0))


@pytest.mark.parametrize(
    ("error", "longest"),
    [
        (status(503), 0.1),
        (status(502, is_overloaded=True), 0.1),
        (status(429), 1.0),
        (status(503, 0.5), 1.0),
        (status(503, is_overloaded=True), 1.0),
    ],
    ids=repr,
)
def test_the_backoff_after_throttling_is_longer(error, longest):
    """R15: the wait after a throttle has its own base, whether or not the request may be repeated."""
    assert RetryPolicy(UpperBound()).delay_s(error, 1, RetrySettings()) == longest


def test_the_longer_of_backoff_and_retry_after_wins():
    """R15: a short Retry-After does not shorten the backoff."""
    assert RetryPolicy(UpperBound()).delay_s(status(429, 0.5), 4, RetrySettings()) == 8.0


async def test_success_enters_no_engine(monkeypatch):
    """A call without a retry does not pay for the engine."""
    monkeypatch.setattr("tenacity.AsyncRetrying", None)
    upstream = Upstream(None)
    await a_layer(FakeClock())(a_request(), upstream)
    assert upstream.calls == 1


@pytest.mark.parametrize(("code", "reason", "emitted"), [(503, "max_attempts", 1), (404, "not_retryable", 0)])
async def test_a_call_with_one_attempt_enters_no_engine(monkeypatch, code, reason, emitted):
    """R10: not_retryable comes before max_attempts; only a failure that could have been retried emits an event."""
    monkeypatch.setattr("tenacity.AsyncRetrying", None)
    events, request, upstream = [], a_request(max_attempts=1), Upstream(status(code))
    with pytest.raises(StatusError) as caught:
        await a_layer(FakeClock(), events=events)(request, upstream)
    assert caught.value.status == code
    assert upstream.calls == 1
    assert request.call.stop_reason == reason
    assert [(event.attempt, event.stop_reason, event.error) for event in events] == [
        (1, "max_attempts", caught.value)
    ] * emitted


async def test_attempts_waits_and_events_go_together():
    """Two failures, two waits, two facts; the next attempt's record knows its wait."""
    clock, events = FakeClock(), []
    upstream = Upstream(status(503), status(503), None)
    await a_layer(clock, events=events)(a_request(), upstream)
    assert upstream.calls == 3
    assert clock.slept == [0.1, 0.2]
    assert [(e.attempt, e.delay_s) for e in events if isinstance(e, RetryScheduled)] == [(1, 0.1), (2, 0.2)]
    assert [request.attempt.delay_s for request in upstream.requests] == [0.0, 0.1, 0.2]


@pytest.mark.parametrize(("asked", "made"), [(3, 3), (1, 1), (2, 2)])
async def test_the_attempts_are_counted(asked, made):
    """R10: max_attempts."""
    request, upstream = a_request(max_attempts=asked), Upstream(status(503))
    with pytest.raises(StatusError):
        await a_layer(FakeClock())(request, upstream)
    assert upstream.calls == made
    assert request.call.stop_reason == "max_attempts"


async def test_a_failure_that_may_not_be_repeated_stops():
    """R10: not_retryable, also when it comes second."""
    for results in ([status(404)], [status(503), status(404)]):
        request, upstream = a_request(), Upstream(*results)
        with pytest.raises(StatusError) as caught:
            await a_layer(FakeClock())(request, upstream)
        assert caught.value.status == 404
        assert upstream.calls == (len(results) or 1)
        assert request.call.stop_reason == "not_retryable"


async def test_a_retry_after_beyond_the_limit_stops_at_once():
    """R16: retry_after_max, without a wait."""
    clock, request = FakeClock(), a_request(deadline_at=1000.0)
    with pytest.raises(StatusError) as caught:
        await a_layer(clock)(request, Upstream(status(503, 20.1)))
    assert clock.slept == []
    assert request.call.stop_reason == "retry_after_max"
    assert caught.value.retry_after_s == 20.1


async def test_a_retry_after_of_just_the_limit_is_waited_for():
    """R10, R16: beyond it means beyond it; Retry-After and the most jitter make 21 s."""
    clock, request = FakeClock(), a_request(deadline_at=1000.0)
    await a_layer(clock)(request, Upstream(status(503, 20.0), None))
    assert clock.slept == [21.0]
    assert request.call.stop_reason == ""


@pytest.mark.parametrize(("deadline", "slept"), [(0.75, []), (0.8, [0.5])])
async def test_a_retry_needs_more_than_its_least_time(deadline, slept):
    """R10, R16: half a second's wait, and more than a quarter for the attempt."""
    clock, config = FakeClock(), RetrySettings(base_delay_s=0.5, min_attempt_s=0.25)
    with pytest.raises(StatusError):
        await a_layer(clock)(a_request(config, deadline_at=deadline, max_attempts=2), Upstream(status(503)))
    assert clock.slept == slept


@pytest.mark.parametrize(("deadline", "slept"), [(0.104, []), (0.106, [0.1])])
async def test_a_wait_that_leaves_no_time_is_not_begun(deadline, slept):
    """R16: now + delay + 5 ms must lie before the deadline."""
    clock, request = FakeClock(), a_request(deadline_at=deadline)
    with pytest.raises(StatusError):
        await a_layer(clock)(request, Upstream(status(503)))
    assert clock.slept == slept
    assert request.call.stop_reason == "deadline"


async def test_an_open_circuit_stops_before_the_wait():
    """R37: the upstream's own error, not the breaker's."""
    clock, request = FakeClock(), a_request()
    with pytest.raises(StatusError):
        await a_layer(clock, circuit_is_open=lambda _request: True)(request, Upstream(status(503)))
    assert clock.slept == []
    assert request.call.stop_reason == "circuit_open"


async def test_a_circuit_that_opens_during_the_wait_gives_the_upstreams_error():
    """R37: the caller learns what went wrong, and why it was not tried again."""
    request = a_request()
    with pytest.raises(StatusError) as caught:
        await a_layer(FakeClock())(request, Upstream(status(502), CircuitOpenError("open")))
    assert caught.value.status == 502
    assert request.call.stop_reason == "circuit_open"


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
    """R10, R18: two retries of the minimum, then none, and only the first rejection is reported as such."""
    clock, events = FakeClock(), []
    config = RetryBudgetSettings(ratio=0.0, min_per_s=0.2, ttl_s=10)
    layer = a_layer(clock, events=events)
    reasons = []
    for _ in range(4):
        request = a_plain_request(max_attempts=2, settings=[config, RetrySettings(base_delay_s=0.0)])
        with pytest.raises(StatusError):
            await layer(request, Upstream(status(503)))
        reasons.append(request.call.stop_reason)
    assert reasons == ["max_attempts", "max_attempts", "budget", "budget"]
    assert [(e.balance, e.first) for e in events if isinstance(e, RetryBudgetExhausted)] == [(0, True), (0, False)]
    assert [e.budget_balance for e in events if isinstance(e, RetryScheduled)] == [1, 0]
    assert [e.stop_reason for e in events if isinstance(e, RetryAbandoned)] == reasons


async def test_a_reason_that_comes_before_the_budget_withdraws_nothing():
    """R10: a call that stops anyway withdraws nothing."""
    clock, config = FakeClock(), RetryBudgetSettings(ratio=0.0, min_per_s=0.2, ttl_s=10)
    layer = a_layer(clock)
    for _ in range(5):
        with pytest.raises(StatusError):
            await layer(a_plain_request(deadline_at=0.05, settings=[config]), Upstream(status(503)))
    request = a_plain_request(settings=[config, RetrySettings(base_delay_s=0.0)])
    with pytest.raises(StatusError):
        await layer(request, Upstream(status(503)))
    assert request.call.stop_reason == "max_attempts"


ORDER = ["max_attempts", "circuit_open", "retry_after_max", "deadline", "budget"]


@pytest.mark.parametrize("bits", range(1, 32))
async def test_the_first_reason_that_applies_is_named(bits):
    """R10: max_attempts, circuit_open, retry_after_max, deadline, budget, in this order, for every combination."""
    reasons = [name for bit, name in enumerate(ORDER) if bits >> bit & 1]
    request = a_plain_request(
        max_attempts=1 if "max_attempts" in reasons else 2,
        deadline_at=1.0 if "deadline" in reasons else 1000.0,
        settings=[RetryBudgetSettings(ratio=0, min_per_s=0 if "budget" in reasons else 1)],
    )
    layer = a_layer(FakeClock(), circuit_is_open=lambda _request: "circuit_open" in reasons)
    after = 30.0 if "retry_after_max" in reasons else 5.0
    with pytest.raises(StatusError):
        await layer(request, Upstream(status(503, after)))
    assert request.call.stop_reason == reasons[0]


async def test_every_call_counts_to_the_budget():
    """R18: two calls allow one retry; the event has the balance."""
    events, config = [], RetryBudgetSettings(ratio=0.5, min_per_s=0)
    layer, made = a_layer(FakeClock(), events=events), []
    for _ in range(2):
        upstream = Upstream(status(503))
        with pytest.raises(StatusError):
            await layer(a_plain_request(max_attempts=2, settings=[config]), upstream)
        made.append(upstream.calls)
    assert made == [1, 2]
    assert [event.balance for event in events if isinstance(event, RetryBudgetExhausted)] == [0.5]


def attempted(request, *records):
    """Write attempts into the call's timeline: (status, request_sent) each, and what is known to be applied."""
    for number, (code, sent, *known) in enumerate(records, 1):
        applied = known[0] if known else None
        request.call.timeline.append(
            AttemptRecord(
                number=number,
                started_s=0,
                ended_s=0,
                outcome="x",
                status=code,
                request_sent=sent,
                delay_s=0,
                applied=applied or ("no" if code is None and sent == "no" else "maybe"),
            )
        )
    return request


AMBIGUOUS = [(None, "maybe"), (None, "yes"), *((code, "yes") for code in (500, 502, 503, 504)), (None, "yes", "yes")]
CLEAR = [(None, "no"), (408, "yes"), (429, "yes", "no"), (503, "yes", "no")]


@pytest.mark.parametrize("gone", [404, 410])
@pytest.mark.parametrize("before", [*AMBIGUOUS, *CLEAR, None], ids=str)
async def test_a_delete_that_finds_nothing_after_it_may_have_deleted_is_a_success(before, gone):
    """R13: flagged; after what was not processed, or as the first attempt, it stays an error."""
    request = a_request(method="DELETE", decode=lambda document: document == {})
    attempted(request, *([before] if before else []), (gone, "yes"))
    call = a_layer(FakeClock())(request, Upstream(status(gone)))
    if before in AMBIGUOUS:
        response = await call
        assert (response.status, response.data, request.call.already_deleted) == (204, True, True)
        assert request.call.stop_reason == ""
        assert response.correlation_id == "c-1"
    else:
        with pytest.raises(NotFoundError):
            await call
        assert (request.call.already_deleted, request.call.stop_reason) == (False, "not_retryable")


@pytest.mark.parametrize("answered_by", ["gateway", "unknown"])
async def test_a_404_that_is_not_known_to_be_the_platforms_deletes_nothing(answered_by):
    """R13: a gateway without a route for it says nothing about the resource."""
    request = attempted(a_request(method="DELETE"), (500, "yes"), (404, "yes"))
    with pytest.raises(NotFoundError):
        await a_layer(FakeClock())(request, Upstream(status(404, answered_by=answered_by)))
    assert (request.call.already_deleted, request.call.stop_reason) == (False, "not_retryable")


async def test_any_earlier_attempt_may_have_deleted():
    """R13: not the first one alone."""
    request = attempted(a_request(method="DELETE"), (429, "yes", "no"), (500, "yes"), (404, "yes"))
    assert (await a_layer(FakeClock())(request, Upstream(status(404)))).status == 204


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_only_a_delete_may_be_done_already(method):
    """R13."""
    request = attempted(a_request(method=method), (500, "yes"), (404, "yes"))
    with pytest.raises(NotFoundError):
        await a_layer(FakeClock())(request, Upstream(status(404)))


async def test_already_deleted_can_be_switched_off_per_operation():
    """R13: where a 404 means something else."""
    request = a_request(RetrySettings(accept_already_deleted=False), method="DELETE")
    with pytest.raises(NotFoundError):
        await a_layer(FakeClock())(attempted(request, (500, "yes"), (404, "yes")), Upstream(status(404)))


async def test_a_delete_whose_result_needs_a_document_stays_an_error():
    """R13: there is none, and the decoder's own error is not shown."""

    def decode(document):
        return document["id"]

    request = attempted(a_request(method="DELETE", decode=decode), (500, "yes"), (404, "yes"))
    with pytest.raises(NotFoundError) as caught:
        await a_layer(FakeClock())(request, Upstream(status(404)))
    assert not request.call.already_deleted
    assert not isinstance(caught.value.__context__, KeyError)


@given(st.text(max_size=60), st.text(max_size=40))
def test_no_retry_after_is_ever_a_surprise(value, date):
    """R15: whatever the header contains, the result is a positive number of seconds or None."""
    found = parse_retry_after(value, date, 1_800_000_000.0)
    assert found is None or found > 0


@given(st.integers(-5, 10**7), st.integers(0, 2 * 10**9))
def test_a_retry_after_date_is_measured_against_the_responses_own(seconds, since):
    """R15: whatever our own clock says."""
    date = format_datetime(datetime.fromtimestamp(since, UTC), usegmt=True)
    until = format_datetime(datetime.fromtimestamp(since + seconds, UTC), usegmt=True)
    assert parse_retry_after(until, date, 7.0) == (float(seconds) if seconds > 0 else None)
