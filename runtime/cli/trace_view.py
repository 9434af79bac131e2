"""
Exported spans as trees with bars, and as a table per operation.

Knows spans and metric points alone, nothing of the calls that made them: what is shown is what a backend would get.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from middleware import semconv

__all__ = ["Attempt", "CallTrace", "OperationRow", "call_traces", "operation_rows", "render_rows", "render_trace"]

_BAR = 26


@dataclass(kw_only=True)
class Attempt:
    """A CLIENT span: one try on the wire. Times in seconds after the call's start."""

    span_id: str
    name: str
    start_s: float
    end_s: float
    status: int | None
    error_type: str
    resend_count: int
    request_sent: str


@dataclass(kw_only=True)
class CallTrace:
    """An INTERNAL span with its attempts and events."""

    trace_id: str
    span_id: str
    name: str
    correlation_id: str
    duration_s: float
    outcome: str
    error_type: str
    stop_reason: str
    attempts: list[Attempt] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the trace as a JSON object."""
        return asdict(self)


def call_traces(spans: Iterable[Any]) -> list[CallTrace]:
    """Group finished SDK spans into calls, in the order in which they started."""
    calls: dict[int, tuple[int, CallTrace]] = {}
    attempts = []
    for span in sorted(spans, key=lambda span: span.start_time):
        attributes = span.attributes
        if span.kind.name == "CLIENT":
            attempts.append(span)
            continue
        calls[span.context.span_id] = (
            span.start_time,
            CallTrace(
                trace_id=f"{span.context.trace_id:032x}",
                span_id=f"{span.context.span_id:016x}",
                name=span.name,
                correlation_id=attributes.get(semconv.CORRELATION_ID, ""),
                duration_s=(span.end_time - span.start_time) / 1e9,
                outcome=attributes.get(semconv.OUTCOME, ""),
                error_type=attributes.get(semconv.ERROR_TYPE, ""),
                stop_reason=attributes.get(semconv.STOP_REASON, ""),
                events=[
                    {"name": event.name, "at_s": (event.timestamp - span.start_time) / 1e9, **event.attributes}
                    for event in span.events
                ],
            ),
        )
    for span in attempts:
        if span.parent is None or span.parent.span_id not in calls:
            continue
        started, call = calls[span.parent.span_id]
        attributes = span.attributes
        call.attempts.append(
            Attempt(
                span_id=f"{span.context.span_id:016x}",
                name=span.name,
                start_s=(span.start_time - started) / 1e9,
                end_s=(span.end_time - started) / 1e9,
                status=attributes.get(semconv.HTTP_RESPONSE_STATUS_CODE),
                error_type=attributes.get(semconv.ERROR_TYPE, ""),
                resend_count=attributes.get(semconv.HTTP_REQUEST_RESEND_COUNT, 0),
                request_sent=attributes.get(semconv.REQUEST_SENT, ""),
            )
        )
    return [call for _, call in calls.values()]


def _bar(start_s: float, end_s: float, total_s: float, glyph: str) -> str:
    scale = _BAR / total_s if total_s else 0.0
    first = min(int(start_s * scale), _BAR - 1)
    length = max(1, min(round((end_s - start_s) * scale), _BAR - first))
    return " " * first + glyph * length


def render_trace(call: CallTrace) -> RenderableType:
    """Draw one call as a tree: the call, its attempts and the waits between them, durations as bars."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, min_width=26)
    grid.add_column(no_wrap=True, width=_BAR)
    grid.add_column(justify="right", no_wrap=True, min_width=7)
    grid.add_column(overflow="fold")
    colour = {"success": "green", "unknown": "yellow"}.get(call.outcome, "red")
    said = f"{call.outcome}: {call.error_type}" if call.error_type else call.outcome
    bar = Text(_bar(0, call.duration_s, call.duration_s, "━"), colour)
    grid.add_row(Text(call.name, "bold"), bar, _time(call.duration_s), Text(said, colour))
    rows = sorted([*_attempt_rows(call), *_event_rows(call)])
    if call.stop_reason:
        rows.append((call.duration_s, call.duration_s, "stopped", " ", colour, call.stop_reason))
    for number, (start, end, name, glyph, style, what) in enumerate(rows, start=1):
        branch = "└─ " if number == len(rows) else "├─ "
        bar = Text(_bar(start, end, call.duration_s, glyph), style)
        grid.add_row(Text(branch + name), bar, _time(end - start) if end > start else "", Text(what, style))
    return grid


_Row: TypeAlias = tuple[float, float, str, str, str, str]


def _attempt_rows(call: CallTrace) -> Iterator[_Row]:
    for attempt in call.attempts:
        method, number = attempt.name.partition(" ")[0], attempt.resend_count + 1
        style = "red" if attempt.error_type else "green"
        answer = attempt.error_type or str(attempt.status)
        yield attempt.start_s, attempt.end_s, f"attempt {number}", "█", style, f"{method} {answer}"


def _event_rows(call: CallTrace) -> Iterator[_Row]:
    for event in call.events:
        name, at_s = event["name"], event["at_s"]
        if name == semconv.EVENT_RETRY_SCHEDULED:
            told = event.get(semconv.RETRY_AFTER)
            why = "backoff" if told is None else f"Retry-After {told:g} s"
            yield at_s, at_s + event[semconv.RETRY_DELAY], "wait", "░", "blue", why
        elif name == semconv.EVENT_CIRCUIT_STATE_CHANGED:
            change = f"{event[semconv.CIRCUIT_BREAKER_FROM]} → {event[semconv.CIRCUIT_BREAKER_TO]}"
            yield at_s, at_s, "circuit breaker", "◆", "magenta", change
        else:
            yield at_s, at_s, "refused", "◆", "magenta", f"by {event[semconv.GUARD]}"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


@dataclass(kw_only=True)
class OperationRow:
    """Figures of one operation."""

    operation: str
    calls: int = 0
    attempts: int = 0
    retries: int = 0
    failures: int = 0
    p50_s: float = 0.0
    p99_s: float = 0.0


def operation_rows(traces: Sequence[CallTrace], metrics: Any) -> list[OperationRow]:
    """Summarise per operation: calls, failures and retries from metric points, attempts and times from spans."""
    rows: dict[str, OperationRow] = {}

    def row(labels: Any) -> OperationRow:
        name = f"{labels[semconv.CONNECTOR_NAME]}.{labels[semconv.CONNECTOR_OPERATION]}"
        return rows.setdefault(name, OperationRow(operation=name))

    for metric in _metrics(metrics):
        for point in metric.data.data_points:
            if metric.name == semconv.METRIC_CALL_DURATION.name:
                row(point.attributes).calls += point.count
                if point.attributes[semconv.OUTCOME] in {"failure", "unknown"}:
                    row(point.attributes).failures += point.count
            elif metric.name == semconv.METRIC_RETRIES.name:
                row(point.attributes).retries += point.value
    durations: dict[str, list[float]] = defaultdict(list)
    for trace in traces:
        durations[trace.name].append(trace.duration_s)
        rows.setdefault(trace.name, OperationRow(operation=trace.name)).attempts += len(trace.attempts)
    for name, values in durations.items():
        values.sort()
        rows[name].p50_s = values[(len(values) - 1) // 2]
        rows[name].p99_s = values[-max(1, len(values) // 100)]
    return sorted(rows.values(), key=lambda found: found.operation)


def _metrics(data: Any) -> Iterable[Any]:
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            yield from scope.metrics


def render_rows(rows: Sequence[OperationRow]) -> RenderableType:
    """Draw the table per operation."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("operation")
    for name in ("calls", "attempts", "retries", "failures", "p50", "p99"):
        table.add_column(name, justify="right")
    for row in rows:
        counts = (row.calls, row.attempts, row.retries, row.failures)
        table.add_row(row.operation, *map(str, counts), _time(row.p50_s), _time(row.p99_s))
    return table
