"""Spans of calls and attempts, as a trace file has them."""

from datetime import datetime
from random import Random

from runtime.traces.calls import calls_of
from runtime.traces.summary import Summary
from runtime.traces.trace_file import Span, SpanEvent

START = round(datetime(2026, 11, 28, 13, 45).astimezone().timestamp()) * 1_000_000_000


RETRY = SpanEvent(name="retry.scheduled", at_ns=START, attributes={})


def span(number, *, at_s=0.0, lasts_s=0.005, parent=0, attributes=(), name="identity.get_user", **fields):
    start = START + round(at_s * 1e9)
    return Span(
        trace_id=f"{number:032x}",
        span_id=f"{parent or number:016x}" if not parent else f"{number + 10**6:016x}",
        parent_id=f"{parent:016x}" if parent else "",
        name=name,
        kind="CLIENT" if parent else "INTERNAL",
        start_ns=start,
        end_ns=start + round(lasts_s * 1e9),
        status=fields.get("status", "UNSET"),
        message=fields.get("message", ""),
        attributes=dict(attributes),
        events=tuple(fields.get("events", ())),
        service="core",
    )


def call(number, *, name="identity.get_user", error="", settings="", outcome="", **fields):
    service, _, operation = name.partition(".")
    attributes = {
        "mozaiks.connector.name": service,
        "mozaiks.connector.operation": operation,
        "mozaiks.outcome": outcome or ("failure" if error else "success"),
    }
    if error:
        attributes["error.type"] = error
    if settings:
        attributes["mozaiks.settings.hash"] = settings
    return span(number, name=name, attributes=attributes, status="ERROR" if error else "UNSET", **fields)


def attempt(number, parent, *, error="", message="", status=None, **fields):
    attributes = {"mozaiks.attempt.outcome": error or "ok"} | ({"error.type": error} if error else {})
    if status:
        attributes["http.response.status_code"] = status
    return span(
        number, parent=parent, name="GET /r", attributes=attributes, status="ERROR" if error else "UNSET", message=message, **fields
    )  # fmt: skip


def with_attempts(found, number):
    return found._replace(attributes={**found.attributes, "mozaiks.retry.attempts": number})


def summary_of(spans):
    summary = Summary()
    for one in calls_of(spans):
        summary.add(one)
    return summary


def incident(
    *,
    after_s=(3.0, 3.1),
    until_s=1800.0,
    error="",
    share=1.0,
    name="identity.get_user",
    first=0,
    settings=("a" * 8,) * 2,
):
    """Half an hour of a call per second: 5 ms, and from 920 s until *until_s* as given."""
    chance, found = Random(name), []
    for second in range(1800):
        bad = 920 <= second < until_s and chance.random() < share
        lasts_s = chance.uniform(*after_s) if bad else chance.lognormvariate(-5.3, 0.3)
        made = call(
            first + second, name=name, at_s=second, lasts_s=lasts_s, error=error if bad else "", settings=settings[second >= 915]
        )  # fmt: skip
        found.append(made)
    return found
