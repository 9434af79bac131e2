"""The record of a call and of its attempts."""

import asyncio
import json
import logging
import re

import pytest
from layer_support import FakeClock, Upstream, a_request
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from middleware.errors import (
    DeadlineExceededError,
    DecodeError,
    InternalError,
    ResponseLostError,
    ServerError,
    status_error,
)
from middleware.events import AttemptFinished, AttemptStarted, CallFinished, CallStarted, FanOut
from middleware.problem import Problem
from middleware.records import AttemptRecord
from middleware.request.error_boundary import ErrorBoundaryMiddleware
from middleware.telemetry.logs import LOGGER_NAME, LogListener
from middleware.telemetry.recording import AttemptRecordingMiddleware, CallRecordingMiddleware
from middleware.telemetry.tracing import SafeTracer, current_ids
from middleware.types import PlatformResponse


def call_layer(clock, emit, provider=None):
    """The layer around the call, with spans where there is a *provider*."""
    return CallRecordingMiddleware(clock, emit, SafeTracer(provider or trace.NoOpTracerProvider(), "0"))


def attempt_layer(clock, emit, provider=None):
    """The layer around each attempt, likewise."""
    tracer = SafeTracer(provider or trace.NoOpTracerProvider(), "0")
    return AttemptRecordingMiddleware(clock, emit, tracer, "http://platform")


def takes(clock, seconds, result=None, sent=None):
    """A rest of the stack that takes its time."""

    async def rest(request):
        clock.time += seconds
        request.attempt.request_sent = sent or request.attempt.request_sent
        if isinstance(result, BaseException):
            raise result
        return PlatformResponse(status=201, headers={})

    return rest


@pytest.mark.parametrize("result", [None, ResponseLostError("x")], ids=str)
async def test_the_outcome_of_the_event_is_the_one_that_the_caller_gets(result):
    """R52: time spent in layers further out is no part of the call."""
    clock, events, request = FakeClock(), [], a_request()
    record = call_layer(clock, events.append)

    async def rest(request):
        try:
            return await record(request, takes(clock, 1.0, result))
        finally:
            clock.time += 5.0

    left = None
    try:
        left = await ErrorBoundaryMiddleware(clock)(request, rest)
    except ResponseLostError as error:
        left = error
    assert left.outcome is events[-1].outcome
    assert left.outcome.elapsed_s == 1.0


@pytest.mark.parametrize("layer", ["boundary", "call", "attempt"])
async def test_an_unexpected_error_is_replaced_by_one_of_ours_with_its_origin(layer):
    """R52: not chained, since it may refer to the request."""
    clock, events = FakeClock(), []
    made = {
        "boundary": ErrorBoundaryMiddleware(clock),
        "call": call_layer(clock, events.append),
        "attempt": attempt_layer(clock, events.append),
    }[layer]
    request = a_request()
    request.call.timeline.append(
        AttemptRecord(number=1, started_s=0, ended_s=0, outcome="x", status=None, request_sent="maybe", delay_s=0)
    )
    with pytest.raises(InternalError) as caught:
        await made(request, takes(clock, 1.0, KeyError("s3cret"), sent="maybe"))
    error = caught.value
    assert error.reason == f"unexpected KeyError ({error.origin[-1]})"
    assert error.request_sent == "maybe"
    assert error.__context__ is None
    if layer != "boundary":
        assert events[-1].error is error
    if layer == "call":
        assert events[-1].result == "failure"
    assert re.fullmatch(r"test_recording:\d+ in takes\.<locals>\.rest", error.origin[-1])
    assert not [frame for frame in error.origin if "/" in frame]
    details = error.to_plugin_error()["details"]
    assert (details["origin"], json.dumps(details) != "") == (list(error.origin), True)


@pytest.mark.parametrize(
    ("result", "reason", "cancelled"),
    [(None, "", False), (ResponseLostError("x"), "not_retryable", False), (asyncio.CancelledError(), "", True)],
    ids=str,
)
async def test_a_call_emits_one_event_when_it_starts_and_one_when_it_ends(result, reason, cancelled):
    """R42: a cancellation is no failure."""
    clock, events, request = FakeClock(), [], a_request()
    try:
        await call_layer(clock, events.append)(request, takes(clock, 2.0, result))
        error = None
    except BaseException as raised:
        error = raised
    assert error is result
    started, finished = events
    assert type(started) is CallStarted
    assert started.call == request.call.info
    assert type(finished) is CallFinished
    assert finished.call == request.call.info
    assert finished.cancelled == cancelled
    assert finished.error is (None if cancelled else result)
    assert finished.outcome.stop_reason == reason
    assert finished.outcome.elapsed_s == 2.0
    if reason:
        assert result.outcome is finished.outcome


async def test_a_reason_to_stop_that_was_named_stays():
    """R10: not_retryable is what is left when no layer named one."""
    clock, request = FakeClock(), a_request()
    request.call.stop_reason = "budget"
    with pytest.raises(ResponseLostError) as caught:
        await call_layer(clock, print)(request, takes(clock, 0, ResponseLostError("x")))
    assert caught.value.outcome.stop_reason == "budget"


@pytest.mark.parametrize(
    ("result", "sent", "recorded"),
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
async def test_an_attempt_is_written_into_the_timeline(result, sent, recorded):
    """R52: when, after which wait, with which end, and whether the server did what it asked."""
    clock, events, request = FakeClock(), [], a_request(started_at=-1.0)
    request.attempt.delay_s, request.attempt.is_hedge = 0.5, True
    try:
        await attempt_layer(clock, events.append)(request, takes(clock, 2.0, result, sent))
    except BaseException as raised:
        assert raised is result
    (record,) = request.call.timeline
    assert (record.outcome, record.status, record.request_sent, record.applied) == recorded
    assert record.is_ambiguous is (record.applied == "maybe")
    assert (record.number, record.started_s, record.ended_s, record.delay_s, record.is_hedge) == (
        1,
        1.0,
        3.0,
        0.5,
        True,
    )
    assert [type(event) for event in events] == [AttemptStarted, AttemptFinished]
    assert events[0].number == 1
    assert events[1].record == record
    assert events[1].error is (None if isinstance(result, asyncio.CancelledError) else result)


@pytest.mark.parametrize(("ends_at", "outcome"), [(2.0, "DeadlineExceededError"), (2.001, "cancelled")])
async def test_an_attempt_that_the_deadline_cancelled_says_so(ends_at, outcome):
    """R40: by the clock; else it was its caller."""
    clock, events, request = FakeClock(), [], a_request(deadline_at=ends_at)
    with pytest.raises(asyncio.CancelledError):
        await attempt_layer(clock, events.append)(request, takes(clock, 2.0, asyncio.CancelledError(), "maybe"))
    assert request.call.timeline[0].outcome == outcome
    recorded = events[1].error
    if outcome == "cancelled":
        assert recorded is None
    else:
        assert type(recorded) is DeadlineExceededError
        assert recorded.reason == "attempt cancelled by the call deadline"
        assert recorded.request_sent == "maybe"


async def test_the_server_receives_the_number_of_the_attempt():
    """R50: with how many there may be."""
    request, upstream = a_request(max_attempts=3), Upstream(status_error(500, Problem()))
    layer = attempt_layer(FakeClock(), print)
    request.call.attempts_sent = 1
    with pytest.raises(ServerError):
        await layer(request, upstream)
    assert upstream.requests[0].headers["x-attempt"] == "attempt=2; max=3"


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter):
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return made


@pytest.mark.parametrize("layer", [call_layer, attempt_layer])
async def test_events_are_emitted_inside_the_span_which_ends_last(layer, provider, exporter):
    """Log lines and exemplars, which are written from events, carry the span's ids."""
    seen = []

    def listen(event):
        seen.append((type(event).__name__, current_ids().get("span_id"), len(exporter.get_finished_spans())))

    clock = FakeClock()
    await layer(clock, listen, provider)(a_request(), takes(clock, 1.0))
    (span,) = exporter.get_finished_spans()
    span_id = f"{span.context.span_id:016x}"
    assert [(ids, ended) for _, ids, ended in seen] == [(span_id, 0)] * 2
    assert [name for name, _, _ in seen] in (
        ["CallStarted", "CallFinished"],
        ["AttemptStarted", "AttemptFinished"],
    )
    assert current_ids() == {}


@pytest.mark.parametrize("layer", [call_layer, attempt_layer])
@pytest.mark.parametrize("at", [1, 2])
async def test_an_interrupt_in_a_listener_still_ends_the_span(layer, at, provider, exporter):
    """Else all later spans of the task would be its children."""
    emitted = []

    def interrupt(event):
        emitted.append(event)
        if len(emitted) == at:
            raise KeyboardInterrupt

    clock = FakeClock()
    with pytest.raises(KeyboardInterrupt):
        await layer(clock, interrupt, provider)(a_request(), takes(clock, 1.0))
    assert len(exporter.get_finished_spans()) == 1
    assert current_ids() == {}


class Sparing(list):
    """A listener that has no use for successes."""

    def needs_success(self, kind):
        return False

    __call__ = list.append


@pytest.mark.parametrize("needed", [False, True])
async def test_a_success_that_no_listener_needs_has_no_event(needed):
    """Without an SDK and below the level that is logged most events would be made for nothing; failures always are."""
    clock, request, received = FakeClock(), a_request(), Sparing()
    others = [[].append] if needed else []
    emit = FanOut([received, *others])
    layers = call_layer(clock, emit), attempt_layer(clock, emit)
    for layer in layers:
        await layer(request, takes(clock, 1.0))
    assert [type(event) for event in received] == ([CallStarted, CallFinished, AttemptStarted, AttemptFinished])[
        :: 1 if needed else 2
    ]
    received.clear()
    for layer in layers:
        with pytest.raises(ResponseLostError):
            await layer(a_request(), takes(clock, 1.0, ResponseLostError("x")))
    assert [type(event) for event in received if event.__class__ in {CallFinished, AttemptFinished}] == [
        CallFinished,
        AttemptFinished,
    ]


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_what_a_success_needs_is_asked_of_logging(level):
    """At each call: a host may change a level at any time."""
    logger, emit = logging.getLogger(LOGGER_NAME), FanOut([LogListener()])
    before = logger.level
    logger.setLevel(level)
    try:
        assert emit.needs_success(CallFinished) is (level == logging.DEBUG)
    finally:
        logger.setLevel(before)
