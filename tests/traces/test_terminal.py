"""Traces in the terminal: trees with bars, comparisons, any width."""

import io

import pytest
from rich.console import Console
from trace_spans import incident, summary_of
from trace_tree import CALL, a_span

from runtime.traces.diagnosis import compare
from runtime.traces.model import Trace, call_traces, rows_of, traces_of
from runtime.traces.terminal import render_comparison, render_trace


@pytest.mark.parametrize(("width", "short"), [(60, True), (80, False)])
def test_a_comparison_breaks_nothing(width, short):
    """Where columns are too few, names are on lines of their own; no figure and no verdict is broken."""
    first, second = (summary_of(one) for one in (incident(after_s=(0.004, 0.005)), incident()))
    console = Console(width=width, file=io.StringIO(), color_system=None)
    for part in render_comparison(compare(first, second), "a", "b", width=width):
        console.print(part)
    lines = console.file.getvalue().splitlines()
    (after,) = (line for line in lines if "after " in line and line.endswith("worse"))
    assert len(after) <= width
    assert not any("…" in line for line in lines)
    assert ("identity.get_user" in lines) is short


def an_attempt(span_id, parent_id, start_ms, end_ms, **attributes):
    return a_span(span_id, parent_id, start_ms, end_ms, name="GET /r", kind="CLIENT", **attributes)


RETRIED = [
    a_span(
        1,
        0,
        0,
        100,
        events=[("retry.scheduled", 10, {"mozaiks.retry.attempt": 1, "mozaiks.retry.delay": 0.05, "error.type": "503"})],
        **CALL,
        **{"mozaiks.outcome": "success"},
    ),
    an_attempt(2, 1, 0, 10, **{"mozaiks.attempt.outcome": "ServerError", "error.type": "503", "http.response.status_code": 503}),
    an_attempt(3, 1, 60, 100, **{"mozaiks.attempt.outcome": "ok", "http.response.status_code": 200, "http.request.resend_count": 1}),
]  # fmt: skip


def drawn(found):
    console = Console(width=100, file=io.StringIO())
    console.print(render_trace(found))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_trace_is_a_tree_with_bars():
    """Each attempt and each wait at its place in time."""
    (found,) = traces_of(RETRIED)
    lines = drawn(found)
    bars = lines[0].index("━")
    assert [(line[:bars].rstrip(), line[bars : bars + 26].rstrip(), line[bars + 26 :].split()) for line in lines] == [
        ("svc.op", "━━━━━━━━━━━━━━━━━━━━━━━━━━", ["100", "ms", "recovered"]),
        ("├─ attempt 1", "███", ["10", "ms", "GET", "503"]),
        ("├─ wait", "  ░░░░░░░░░░░░░", ["50", "ms", "backoff"]),
        ("└─ attempt 2", "               ██████████", ["40", "ms", "GET", "200"]),
    ]


def test_a_call_hangs_below_the_hosts_spans():
    """A server's span, two calls in it, a span of another program below an attempt."""
    spans = [
        a_span(9, 0, 0, 120, name="GET /page", kind="SERVER"),
        a_span(1, 9, 10, 50, **CALL, **{"mozaiks.outcome": "success"}),
        an_attempt(2, 1, 10, 50, **{"mozaiks.attempt.outcome": "ok", "http.response.status_code": 200}),
        a_span(5, 2, 20, 40, name="SELECT", kind="CLIENT"),
        a_span(
            6, 9, 60, 110, status="ERROR", **CALL, **{"mozaiks.outcome": "failure", "error.type": "CircuitOpenError"}
        ),
    ]
    (found,) = traces_of(reversed(spans))
    assert [line[:26].rstrip() for line in drawn(found)] == [
        "GET /page",
        "├─ svc.op",
        "│  └─ attempt 1",
        "│     └─ SELECT",
        "└─ svc.op",
    ]
    assert (found.calls, found.attempts, found.retries, found.failed) == (2, 1, 0, True)
    assert found.outcome == "success, failure: CircuitOpenError"


@pytest.mark.parametrize(
    ("name", "attributes", "row"),
    [
        ("retry.scheduled", {"mozaiks.retry.delay": 1.0, "mozaiks.retry.retry_after": 1.0}, ("wait", "Retry-After 1 s")),
        ("bulkhead.queued", {"mozaiks.bulkhead.wait": 0.2}, ("queued", "bulkhead")),
        ("quota.waited", {"mozaiks.quota.source": "shared", "mozaiks.quota.wait": 0.2}, ("wait", "shared quota")),
        ("quota.waited", {"mozaiks.quota.source": "local", "mozaiks.quota.wait": 2.0, "mozaiks.quota.penalty": 1.5}, ("wait", "local quota, 1.5 s of it for a Retry-After")),
        ("quota.source_changed", {"mozaiks.quota.source": "local", "mozaiks.quota.reason": "timeout"}, ("quota", "local, server timeout")),
        ("circuit_breaker.state_changed", {"mozaiks.circuit_breaker.from": "closed", "mozaiks.circuit_breaker.to": "open"}, ("circuit breaker", "closed → open")),
        ("circuit_breaker.rejected", {"mozaiks.guard": "circuit_breaker", "mozaiks.retry.retry_after": 4.2}, ("rejected", "by circuit_breaker for 4.2 s more")),
        ("rejected", {"mozaiks.guard": "bulkhead"}, ("rejected", "by bulkhead")),
        ("retry.abandoned", {"mozaiks.stop_reason": "budget"}, ("no retry", "budget")),
        ("retry_budget.exhausted", {"mozaiks.retry_budget.balance": 0.4}, ("retry budget", "0.4 left")),
        ("hedge.started", {"mozaiks.hedge.number": 1, "mozaiks.hedge.delay": 0.1}, ("hedge", "started after 0.1 s")),
        ("hedge.refused", {"mozaiks.hedge.refusal": "budget"}, ("hedge", "not started: budget")),
        ("hedge.won", {"mozaiks.hedge.number": 1}, ("hedge", "first response")),
        ("deadline.reached", {"mozaiks.deadline": 25.0}, ("deadline", "25 s exceeded")),
        (
            "correlation_id.mismatched",
            {"mozaiks.correlation_id.received": "9d8b"},
            ("another call's response", "9d8b"),
        ),
        ("something.else", {"a": 1, "b": "x"}, ("something.else", "1, x")),
    ],
)  # fmt: skip
def test_each_event_has_its_row(name, attributes, row):
    """In words of its own, with its attributes behind it."""
    found = Trace("1" * 32, [a_span(1, events=[(name, 5, attributes)], **CALL)])
    shown = rows_of(found)[1]
    assert (shown.label, shown.text) == row
    assert [key for key, _ in shown.details[1:]] == list(attributes)


@pytest.mark.parametrize(
    ("name", "attribute"), [("bulkhead.queued", "mozaiks.bulkhead.wait"), ("quota.waited", "mozaiks.quota.wait")]
)
def test_a_wait_in_a_queue_lies_before_its_event(name, attribute):
    """The event is emitted when it is over; the attribute's value has its unit."""
    found = Trace("1" * 32, [a_span(1, 0, 0, 100, events=[(name, 50, {attribute: 0.03})], **CALL)])
    row = rows_of(found)[1]
    assert row.kind == "wait"
    assert row.start_s == pytest.approx(0.02)
    assert row.end_s == pytest.approx(0.05)
    assert (attribute, "0.03 s") in row.details


def test_what_follows_from_an_attempt_is_behind_it():
    """Also where it took no time, as in virtual time: by attempt; what lets an attempt begin is before it."""
    events = [
        ("bulkhead.queued", 0, {"mozaiks.bulkhead.wait": 0.0}),
        ("retry.scheduled", 0, {"mozaiks.retry.attempt": 1, "mozaiks.retry.delay": 0.0}),
        ("circuit_breaker.state_changed", 0, {"mozaiks.circuit_breaker.from": "closed", "mozaiks.circuit_breaker.to": "open"}),
        ("retry.abandoned", 0, {"mozaiks.retry.attempt": 2, "mozaiks.stop_reason": "max_attempts"}),
    ]  # fmt: skip
    failed = {"mozaiks.attempt.outcome": "ServerError", "error.type": "503"}
    spans = [a_span(1, 0, 0, 0, events=events, **CALL), an_attempt(2, 1, 0, 0, **failed)]
    spans.append(an_attempt(3, 1, 0, 0, **failed, **{"http.request.resend_count": 1}))
    rows = rows_of(traces_of(spans)[0])
    assert [row.label for row in rows] == ["svc.op", "queued", "attempt 1", "wait", "attempt 2", "no retry", "circuit breaker"]  # fmt: skip


def test_a_refused_call_of_no_duration_can_be_drawn():
    """One row for the call, one for the guard, one for the reason."""
    spans = [
        a_span(
            1,
            0,
            0,
            0,
            status="ERROR",
            events=[("rejected", 0, {"mozaiks.guard": "bulkhead"})],
            **CALL,
            **{"mozaiks.stop_reason": "not_retryable"},
        )
    ]
    assert len(drawn(traces_of(spans)[0])) == 3
    assert call_traces(spans)[0].attempts == []


def test_spans_that_are_each_others_parents_are_shown_once():
    """Whatever a file contains, the tree ends."""
    spans = [a_span(1, 2), a_span(2, 1), a_span(3, 3)]
    assert len(rows_of(traces_of(spans)[0])) == 3


def test_a_deep_trace_is_drawn_without_recursion():
    """Deeper than Python's stack."""
    spans = [a_span(number + 1, number) for number in range(3000)]
    assert len(rows_of(traces_of(spans)[0])) == 3000
