"""Traces in the terminal: one as a tree with bars, many as a table; and a table per operation."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from middleware.telemetry import semconv
from runtime._internal.files import write_text

from .model import CallTrace, Row, Trace, rows_of, time_text

__all__ = [
    "OperationRow",
    "operation_rows",
    "render_list",
    "render_rows",
    "render_trace",
    "write_picture",
]

_BAR = 26
_DEEPEST = 32  # rows below are drawn at this depth: a chain of n spans would else take n² characters
_STYLES = {"good": "green", "bad": "red", "unsure": "yellow", "wait": "blue", "note": "magenta", "plain": ""}
_GLYPHS = {"call": "━", "span": "━", "attempt": "█", "wait": "░", "event": "◆", "stop": " "}


def _bar(row: Row, total_s: float) -> str:
    scale = _BAR / total_s if total_s else 0.0
    first = max(0, min(int(row.start_s * scale), _BAR - 1))
    length = max(1, min(round((row.end_s - row.start_s) * scale), _BAR - first))
    return " " * first + _GLYPHS[row.kind] * length


def _branches(rows: Sequence[Row]) -> list[str]:
    """Lines of the tree to the left of each row."""
    found = []
    open_below: set[int] = set()  # depths at which a later row goes on
    for row in reversed(rows):
        deep = min(row.depth, _DEEPEST)
        open_below = {depth for depth in open_below if depth <= deep}
        lines = "".join("│  " if depth in open_below else "   " for depth in range(1, deep))
        corner = ("├─ " if deep in open_below else "└─ ") if deep else ""
        found.append(lines + corner)
        open_below.add(deep)
    return found[::-1]


def render_trace(trace: Trace) -> Table:
    """Draw one trace as a tree: spans, attempts and the waits between them, durations as bars."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, min_width=26)
    grid.add_column(no_wrap=True, width=_BAR)
    grid.add_column(justify="right", no_wrap=True, min_width=7)
    grid.add_column(overflow="fold")
    rows = rows_of(trace)
    for row, branch in zip(rows, _branches(rows), strict=True):
        style = _STYLES[row.tone]
        label = Text(branch + row.label, "bold" if row.kind in {"call", "span"} else "")
        timed = row.end_s > row.start_s
        bar = Text(_bar(row, trace.duration_s), style)
        grid.add_row(label, bar, time_text(row.end_s - row.start_s) if timed else "", Text(row.text, style))
    return grid


def render_list(traces: Sequence[Trace]) -> RenderableType:
    """Draw a table with one line per trace."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("trace", "started (UTC)"):
        table.add_column(name, no_wrap=True)
    for name in ("duration", "calls", "attempts", "retries"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("outcome")
    table.add_column("what", overflow="fold")
    for trace in traces:
        started = datetime.fromtimestamp(trace.start_ns / 1e9, UTC).strftime("%H:%M:%S.%f")[:-3]
        table.add_row(
            trace.trace_id[:8],
            started,
            time_text(trace.duration_s),
            str(trace.calls),
            str(trace.attempts),
            str(trace.retries),
            Text(trace.outcome, "red" if trace.failed else ""),
            Text(trace.name),
        )
    return table


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


def operation_rows(calls: Sequence[CallTrace], metrics: Any) -> list[OperationRow]:
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
    for call in calls:
        durations[call.name].append(call.duration_s)
        rows.setdefault(call.name, OperationRow(operation=call.name)).attempts += len(call.attempts)
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
        table.add_row(row.operation, *map(str, counts), time_text(row.p50_s), time_text(row.p99_s))
    return table


def write_picture(console: Console, path: Path, *, title: str, inputs: Iterable[Path] = ()) -> None:
    """
    Write what *console* recorded as an SVG picture; it loads nothing: the viewer's own monospace font will do.

    Raises:
        OSError: *path* cannot be written, is a symbolic link or one of *inputs*.
    """
    drawing = re.sub(r"@font-face \{[^{}]*+\}", "", console.export_svg(title=title))
    write_text(path, drawing, inputs=inputs)
