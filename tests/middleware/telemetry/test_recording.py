"""The record of a call and of its attempts, and what leaves the stack."""

import asyncio
import re

import pytest
from layer_support import FakeClock, Upstream, a_request

from middleware.errors import (
    DeadlineExceededError,
    DecodeError,
    InternalError,
    ResponseLostError,
    ServerError,
    status_error,
)
from middleware.events import AttemptFinished, AttemptStarted, CallFinished, CallStarted
from middleware.problem import Problem
from middleware.records import AttemptRecord
from middleware.telemetry.recording import AttemptRecordMiddleware, CallRecordMiddleware, OutcomeMiddleware
from middleware.types import PlatformResponse


def takes(clock, seconds, result=None, sent=None):
    """A rest of the stack that takes its time."""

    async def rest(request):
        clock.time += seconds
        request.attempt.request_sent = sent or request.attempt.request_sent
        if isinstance(result, BaseException):
            raise result
        return PlatformResponse(status=201, headers={})

    return rest


async def test_a_success_leaves_with_its_record():
    """Its own answer, and how long it took."""
    clock = FakeClock()
    response = await OutcomeMiddleware(clock)(a_request(), takes(clock, 1.5))
    assert (response.status, response.outcome.elapsed_s) == (201, 1.5)


async def test_one_of_our_errors_leaves_as_it_is_with_its_record():
    """And without what the stack was handling."""
    clock, error = FakeClock(), ResponseLostError("x")
    with pytest.raises(ResponseLostError) as caught:
        await OutcomeMiddleware(clock)(a_request(), takes(clock, 1.5, error))
    assert caught.value is error
    assert (error.outcome.elapsed_s, error.__context__) == (1.5, None)


@pytest.mark.parametrize("result", [None, ResponseLostError("x")], ids=str)
async def test_the_record_that_was_told_is_the_one_that_leaves(result):
    """R52: what the layers further out do is no part of the call."""
    clock, events, request = FakeClock(), [], a_request()
    record = CallRecordMiddleware(clock, events.append)

    async def rest(request):
        try:
            return await record(request, takes(clock, 1.0, result))
        finally:
            clock.time += 5.0

    left = None
    try:
        left = await OutcomeMiddleware(clock)(request, rest)
    except ResponseLostError as error:
        left = error
    assert left.outcome is events[-1].outcome
    assert left.outcome.elapsed_s == 1.0


async def test_the_record_of_another_call_is_none_of_this_one():
    """R52: an error that was kept and raised once more tells of the call that it ends now."""
    clock, error = FakeClock(), ResponseLostError("x")
    error.outcome = other = a_request().call.outcome(9.0)
    request = a_request()
    with pytest.raises(ResponseLostError):
        await OutcomeMiddleware(clock)(request, takes(clock, 1.0, error))
    assert error.outcome is not other
    assert (error.outcome.call, error.outcome.elapsed_s) == (request.call.info, 1.0)


@pytest.mark.parametrize("layer", ["outcome", "call", "attempt"])
async def test_a_foreign_error_leaves_as_one_of_ours_that_tells_where(layer):
    """R52: not chained, since it may hold the request."""
    clock, events = FakeClock(), []
    made = {
        "outcome": OutcomeMiddleware(clock),
        "call": CallRecordMiddleware(clock, events.append),
        "attempt": AttemptRecordMiddleware(clock, events.append),
    }[layer]
    request = a_request()
    request.call.timeline.append(
        AttemptRecord(number=1, started_s=0, ended_s=0, outcome="x", status=None, request_sent="maybe", delay_s=0)
    )
    with pytest.raises(InternalError) as caught:
        await made(request, takes(clock, 1.0, KeyError("s3cret"), sent="maybe"))
    error = caught.value
    assert (error.reason, error.request_sent, error.__context__) == ("unexpected KeyError", "maybe", None)
    if layer != "outcome":
        assert events[-1].error is error
    if layer == "call":
        assert events[-1].result == "failure"
    assert re.fullmatch(re.escape(__file__) + r":\d+ in takes\.<locals>\.rest", error.origin[-1])


@pytest.mark.parametrize(
    ("result", "reason", "cancelled"),
    [(None, "", False), (ResponseLostError("x"), "not_retryable", False), (asyncio.CancelledError(), "", True)],
    ids=str,
)
async def test_a_call_is_told_of_once_when_it_starts_and_once_when_it_ends(result, reason, cancelled):
    """R42: a cancellation is no failure."""
    clock, events, request = FakeClock(), [], a_request()
    try:
        await CallRecordMiddleware(clock, events.append)(request, takes(clock, 2.0, result))
        error = None
    except BaseException as raised:
        error = raised
    assert error is result
    started, finished = events
    assert (type(started), started.call) == (CallStarted, request.call.info)
    assert (type(finished), finished.call, finished.cancelled) == (CallFinished, request.call.info, cancelled)
    assert finished.error is (None if cancelled else result)
    assert (finished.outcome.stop_reason, finished.outcome.elapsed_s) == (reason, 2.0)
    if reason:
        assert result.outcome is finished.outcome


async def test_a_reason_to_stop_that_was_named_stays():
    """R10: not_retryable is what is left when no layer named one."""
    clock, request = FakeClock(), a_request()
    request.call.stop_reason = "budget"
    with pytest.raises(ResponseLostError) as caught:
        await CallRecordMiddleware(clock, print)(request, takes(clock, 0, ResponseLostError("x")))
    assert caught.value.outcome.stop_reason == "budget"


@pytest.mark.parametrize(
    ("result", "sent", "told"),
    [
        (None, "yes", ("ok", 201, "yes", "yes")),
        (ResponseLostError("x", request_sent="maybe"), "no", ("ResponseLostError", None, "maybe", "maybe")),
        (DecodeError("x", request_sent="yes"), "yes", ("DecodeError", None, "yes", "yes")),
        (status_error(500, Problem()), "yes", ("ServerError", 500, "yes", "maybe")),
        (status_error(404, Problem()), "yes", ("NotFoundError", 404, "yes", "no")),
        (asyncio.CancelledError(), "no", ("cancelled", None, "no", "no")),
        (asyncio.CancelledError(), "maybe", ("cancelled", None, "maybe", "maybe")),
    ],
    ids=str,
)
async def test_an_attempt_is_written_into_the_timeline(result, sent, told):
    """R52: when, after which wait, with which end, and whether the server did what it asked."""
    clock, events, request = FakeClock(), [], a_request(started_at=-1.0)
    request.attempt.delay_s, request.attempt.is_hedge = 0.5, True
    try:
        await AttemptRecordMiddleware(clock, events.append)(request, takes(clock, 2.0, result, sent))
    except BaseException as raised:
        assert raised is result
    (record,) = request.call.timeline
    assert (record.outcome, record.status, record.request_sent, record.applied) == told
    assert record.is_ambiguous is (record.applied == "maybe")
    assert (record.number, record.started_s, record.ended_s, record.delay_s, record.is_hedge) == (
        1,
        1.0,
        3.0,
        0.5,
        True,
    )
    assert [type(event) for event in events] == [AttemptStarted, AttemptFinished]
    assert (events[0].number, events[1].record) == (1, record)
    assert events[1].error is (None if isinstance(result, asyncio.CancelledError) else result)


@pytest.mark.parametrize(("ends_at", "outcome"), [(2.0, "DeadlineExceededError"), (2.001, "cancelled")])
async def test_an_attempt_that_the_deadline_cut_says_so(ends_at, outcome):
    """R40: by the clock; else it was its caller."""
    clock, events, request = FakeClock(), [], a_request(deadline_at=ends_at)
    with pytest.raises(asyncio.CancelledError):
        await AttemptRecordMiddleware(clock, events.append)(
            request, takes(clock, 2.0, asyncio.CancelledError(), "maybe")
        )
    assert request.call.timeline[0].outcome == outcome
    told = events[1].error
    if outcome == "cancelled":
        assert told is None
    else:
        assert (type(told), told.reason) == (DeadlineExceededError, "cut by the deadline of the call")
        assert told.request_sent == "maybe"


async def test_the_server_is_told_which_attempt_it_is():
    """R50: with how many there may be."""
    request, upstream = a_request(max_attempts=3), Upstream(status_error(500, Problem()))
    layer = AttemptRecordMiddleware(FakeClock(), print)
    request.call.attempts_sent = 1
    with pytest.raises(ServerError):
        await layer(request, upstream)
    assert upstream.requests[0].headers["x-attempt"] == "attempt=2; max=3"
