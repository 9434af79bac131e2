"""Spans of calls that say something of the state of their service."""

import trace_spans
from trace_spans import START

from runtime.traces.calls import Call
from runtime.traces.states import ServiceStates
from runtime.traces.trace_file import SpanEvent

SECOND = 1_000_000_000


def call(number, *, failed=False, events=(), breaker="", **fields):
    found = trace_spans.call(
        number,
        error="503" if failed else "",
        events=[SpanEvent(kind, START + round(at * SECOND), values) for kind, at, values in events],
        **fields,
    )
    state = {"mozaiks.circuit_breaker.state": breaker} if breaker else {}
    return found._replace(attributes={**found.attributes, **state})


def attempt(number, parent, at_s):
    found = call(number, at_s=at_s)
    return found._replace(parent_id=parent.span_id, kind="CLIENT", attributes={"mozaiks.attempt.outcome": "ok"})


def states_of(*calls):
    states = ServiceStates()
    for one in calls:
        states.add(one if isinstance(one, Call) else Call(one))
    return states
