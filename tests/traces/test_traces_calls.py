"""Calls from a stream of spans, and what is said of each."""

import pytest
from trace_spans import RETRY, START, attempt, call, span, summary_of, with_attempts

from runtime.traces.calls import Call, calls_of, state_of, what_happened


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 2, 1)], ids=["after", "before", "between"])
def test_a_call_has_its_attempts_wherever_its_span_is(order):
    """Jaeger lists by start, exporters by end."""
    spans = [attempt(1, 1), attempt(1, 1, at_s=1), with_attempts(call(1), 2)]
    spans[1] = spans[1]._replace(span_id="f" * 16)
    (found,) = calls_of(spans[index] for index in order)
    assert [one.start_ns for one in found.attempts] == [START, START + 1_000_000_000]


def test_a_span_that_is_there_twice_counts_once():
    """At-least-once delivery; the same id in another trace is another span."""
    one = with_attempts(call(1), 1)
    other = one._replace(trace_id="e" * 32)
    found = list(calls_of([attempt(1, 1), one, attempt(1, 1), one, other]))
    assert [(len(each.attempts), each.span.trace_id[0]) for each in found] == [(1, "0"), (0, "e")]


def test_calls_that_wait_are_there_when_nothing_more_comes():
    """`--follow` shows a call whose attempts are elsewhere."""
    stream = calls_of(iter([with_attempts(call(1), 3), None, call(2)]))
    assert next(stream).span.trace_id.endswith("1")


def test_a_program_without_connectors_has_calls_too():
    """What it serves, and what has no parent."""
    root = span(1, name="job")
    served = span(2, parent=9, name="GET /page")._replace(kind="SERVER")
    inner = span(3, parent=9, name="SELECT")
    summary = summary_of([root, served._replace(status="ERROR"), inner])
    assert [(one.name, one.total().failed) for one in summary.operations] == [("core GET /page", 1), ("core job", 0)]


@pytest.mark.parametrize(
    ("kind", "message", "said"),
    [
        ("ResponseLostError", "attempt timed out after 10 s", "timed out after 10 s"),
        ("RequestNotSentError", "attempt timed out after 2 s", "timed out after 2 s"),
        ("ResponseLostError", "ReadError after the request was sent", "ReadError after the request was sent"),
        ("CircuitOpenError", "circuit identity is open", "circuit identity is open"),
        ("DeadlineExceededError", "deadline of 0.37 s exceeded", "deadline exceeded"),
        ("BulkheadFullError", "bulkhead full: 2/2 permits, 1/4 queued, waited 0.348 s", "bulkhead full"),
        ("BulkheadFullError", "call cap reached: 1000 calls in flight", "call cap reached"),
        ("503", "", "503"),
    ],
)
def test_a_failed_attempt_says_what_happened(kind, message, said):
    """In the words of its own error, where the class says less."""
    assert what_happened(attempt(1, 1, error=kind, message=message)) == said


def test_a_third_party_text_is_no_kind_of_failure():
    """It may differ from span to span."""
    found = span(1, status="ERROR", message="no user 4711")
    assert what_happened(found) == "error"
    assert what_happened(found._replace(attributes={"error.type": "KeyError"})) == "KeyError"


@pytest.mark.parametrize(
    ("found", "median_s", "state"),
    [
        (call(1), 0.005, "success"),
        (call(1, lasts_s=0.9, events=[RETRY]), 0.005, "recovered"),
        (call(1, lasts_s=0.9), 0.005, "slow"),
        (call(1, lasts_s=0.9), 0.2, "success"),
        (call(1, lasts_s=0.09), 0.001, "success"),
        (call(1, lasts_s=0.9), None, "success"),
        (call(1, lasts_s=0.9, error="503"), 0.005, "failure"),
        (call(1, error="ResponseLostError", outcome="unknown"), None, "unknown"),
    ],
)
def test_states(found, median_s, state):
    """Slow is far above the operation's own median, and long enough for someone to wait."""
    assert state_of(Call(found), median_s) == state
