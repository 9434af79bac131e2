"""Spans of a tree, by their ids and their milliseconds."""

from runtime.traces.trace_file import Span, SpanEvent

START = 1_700_000_000_000_000_000


CALL = {"mozaiks.connector.name": "svc", "mozaiks.connector.operation": "op", "mozaiks.correlation_id": "c-1"}


def a_span(span_id, parent_id="", start_ms=0, end_ms=10, *, trace_id=1, name="svc.op", kind="INTERNAL", status="UNSET", events=(), **attributes):  # fmt: skip
    return Span(
        trace_id=f"{trace_id:032x}",
        span_id=f"{span_id:016x}",
        parent_id=f"{parent_id:016x}" if parent_id else "",
        name=name,
        kind=kind,
        start_ns=START + start_ms * 1_000_000,
        end_ns=START + end_ms * 1_000_000,
        status=status,
        message="",
        attributes=attributes,
        events=tuple(SpanEvent(name=name, at_ns=START + at * 1_000_000, attributes=told) for name, at, told in events),
        service="core",
    )
