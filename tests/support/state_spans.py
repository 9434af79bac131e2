"""Spans of calls that say something of the state of their service."""

from datetime import datetime

from runtime.traces.calls import Call
from runtime.traces.states import ServiceStates
from runtime.traces.trace_file import Span, SpanEvent

START = round(datetime(2026, 11, 28, 13, 45).astimezone().timestamp()) * 1_000_000_000


SECOND = 1_000_000_000


def call(number, *, at_s=0.0, lasts_s=0.005, name="identity.get_user", failed=False, events=(), **attributes):
    service, _, operation = name.partition(".")
    start_ns = START + round(at_s * SECOND)
    said = {"breaker": "mozaiks.circuit_breaker.state", "settings": "mozaiks.settings.hash"}
    return Span(
        trace_id=f"{number:032x}",
        span_id=f"{number:016x}",
        parent_id="",
        name=name,
        kind="INTERNAL",
        start_ns=start_ns,
        end_ns=start_ns + round(lasts_s * SECOND),
        status="ERROR" if failed else "UNSET",
        message="",
        attributes={
            "mozaiks.connector.name": service,
            "mozaiks.connector.operation": operation,
            "mozaiks.outcome": "failure" if failed else "success",
            **({"error.type": "503"} if failed else {}),
            **{said[key]: value for key, value in attributes.items()},
        },
        events=tuple(SpanEvent(kind, START + round(at * SECOND), values) for kind, at, values in events),
        service="core",
    )


def attempt(number, parent, at_s):
    found = call(number, at_s=at_s)
    return found._replace(parent_id=parent.span_id, kind="CLIENT", attributes={"mozaiks.attempt.outcome": "ok"})


def states_of(*calls):
    states = ServiceStates()
    for one in calls:
        states.add(one if isinstance(one, Call) else Call(one))
    return states
