"""Traces in the terminal: one as a tree with bars, many as a table, one per line; summaries and comparisons."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from middleware.telemetry import semconv
from runtime._internal.files import write_text

from .diagnosis import Comparison, failure_text, findings, share_text, with_failing, worst_first
from .model import CallTrace, Row, Trace, clock_text, count_text, how_often, rows_of, step_text, time_text, zone_text
from .summary import Figures, Onset, Operation, Summary

__all__ = [
    "OperationRow",
    "operation_rows",
    "render_comparison",
    "render_line",
    "render_list",
    "render_rows",
    "render_summary",
    "render_trace",
    "write_picture",
]

_BAR = 26
_NARROW_BAR = 12
_DEEPEST = 32  # rows below are drawn at this depth: a chain of n spans would else take n² characters
_NARROW = 100
"""Columns below which bars are short."""
_STYLES = {
    "good": "green",
    "recovered": "cyan",
    "slow": "bright_magenta",
    "bad": "red",
    "unsure": "yellow",
    "wait": "blue",
    "note": "magenta",
    "plain": "",
}
_GLYPHS = {"call": "━", "span": "━", "attempt": "█", "wait": "░", "event": "◆", "stop": " "}


def _bar(row: Row, total_s: float, width: int) -> str:
    scale = width / total_s if total_s else 0.0
    first = max(0, min(int(row.start_s * scale), width - 1))
    length = max(1, min(round((row.end_s - row.start_s) * scale), width - first))
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


def render_trace(trace: Trace, *, width: int = _NARROW) -> Table:
    """
    Draw one trace as a tree: spans, attempts and the waits between them, durations as bars.

    Args:
        trace: The trace.
        width: Columns that there are.
    """
    bars = _BAR if width >= _NARROW else _NARROW_BAR
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, min_width=26)
    grid.add_column(no_wrap=True, width=bars)
    grid.add_column(justify="right", no_wrap=True, min_width=7)
    grid.add_column(overflow="fold")
    rows = rows_of(trace)
    for row, branch in zip(rows, _branches(rows), strict=True):
        style = _STYLES[row.tone]
        label = Text(branch + row.label, "bold" if row.kind in {"call", "span"} else "")
        timed = row.end_s > row.start_s
        bar = Text(_bar(row, trace.duration_s, bars), style)
        grid.add_row(label, bar, time_text(row.end_s - row.start_s) if timed else "", Text(row.text, style))
    return grid


def render_list(traces: Sequence[Trace]) -> RenderableType:
    """Draw a table with one line per trace; how often was called and tried is shown where it was more than once."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("trace", no_wrap=True)
    table.add_column(f"started ({_zone(traces)})", no_wrap=True)
    table.add_column("duration", justify="right", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("outcome", min_width=_LEAST_TEXT)
    for trace in traces:
        how = ", ".join(how_often(trace))
        outcome = Text(trace.outcome, _STYLES[trace.tone] if trace.tone != "good" else "")
        table.add_row(
            trace.trace_id[:8],
            clock_text(trace.start_ns, parts=3),
            time_text(trace.duration_s),
            Text(trace.name),
            outcome.append(f" ({how})" if how else "", ""),
        )
    return table


_LEAST_TEXT = 12


def _zone(traces: Sequence[Trace]) -> str:
    return zone_text(traces[0].start_ns) if traces else ""


def render_line(trace: Trace, *, name_width: int = 0) -> Text:
    """Draw a call on one line: when it started, its name, how long it took, how it ended, and what was decided."""
    notes = [f"{row.label} {row.text}" for row in rows_of(trace) if row.label == "circuit breaker"]
    line = Text(
        f"{clock_text(trace.start_ns, parts=3)}  {trace.name.ljust(name_width)}  {time_text(trace.duration_s):>8}  "
    )
    line.append(trace.outcome, _STYLES[trace.tone])
    line.append("".join(f", {part}" for part in how_often(trace)))
    line.append("".join(f"  ◆ {note}" for note in notes), _STYLES["note"])
    return line.append(f"  {trace.trace_id[:8]}", "dim")


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


_MOST_STEPS = 20
_MOST_CHANGES = 6
_DAY_NS = 86_400_000_000_000
_MOST_TABLES = 8
_NOTHING = "no operation became slower or failed more often"
_COUNTS = ("calls", "attempts", "retries", "failed")
_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


def render_summary(
    summary: Summary, *, width: int = _NARROW, chosen: bool = False, narrowed: str = "", all_tables: bool = False
) -> Iterator[RenderableType]:
    """
    Draw what changed and since when, a table of the operations, and of those that are not well their figures over time.

    Args:
        summary: The figures.
        width: Columns that there are.
        chosen: True when they are not of all calls.
        narrowed: Why what is usual may not be among the calls; empty when it is.
        all_tables: Draw the figures over time of operations that are well, too.
    """
    onsets, settings_changes = with_failing(summary, summary.onsets()), summary.settings_changes
    said = findings(summary, onsets)
    if not said:
        yield Text(narrowed or _NOTHING, "bold")
    for sentence, lines in said:
        yield Text(sentence, "bold red")
        yield from (Padding(Text(f"→ {line}"), (0, 0, 0, 2)) for line in lines)
    if narrowed and any(onset.throughout for onset in onsets):
        yield Text(narrowed)
    changes = sorted([*summary.changes, *settings_changes], key=lambda change: change.at_ns)
    for change in changes[:_MOST_CHANGES]:
        yield Text(f"◆ {clock_text(change.at_ns)} {change.text}", _STYLES["note"])
    if len(changes) > _MOST_CHANGES:
        yield Text(f"◆ {count_text(len(changes) - _MOST_CHANGES, 'more state change')}", _STYLES["note"])
    found = {onset.operation: onset for onset in onsets}
    ordered = worst_first(summary, onsets)
    yield ""
    span = f"{clock_text(summary.first_ns)} to {clock_text(summary.last_ns)}"
    yield Text(f"{'chosen' if chosen else 'all'} calls, {span}", "bold cyan")
    rows = [(one.name, total, "bold red" if one.name in found else "", "") for one, total in ordered]
    yield from _figures("operation", rows, width)
    step_ns = summary.step_ns(_MOST_STEPS)
    drawn = [operation for operation, _ in ordered if all_tables or operation.name in found][:_MOST_TABLES]
    for operation in drawn:
        yield ""
        yield Text(f"{operation.name}, by {step_text(step_ns)}", "bold cyan")
        yield from _figures("from", _over_time(operation, summary, step_ns, found.get(operation.name)), width)
    if len(ordered) > len(drawn):
        more = count_text(len(ordered) - len(drawn), "more operation" if drawn else "operation")
        yield ""
        yield Text(f"{more} over time: choose with --service or --operation", "dim")


_FigureRow: TypeAlias = "tuple[str, Figures, str, str]"
"""First column, figures, style, and a note."""


def _over_time(operation: Operation, summary: Summary, step_ns: int, onset: Onset | None) -> list[_FigureRow]:
    steps: dict[int, Figures] = defaultdict(Figures)
    for number, cell in operation.cells.items():
        steps[number * summary.slice_ns // step_ns].update(cell)
    long = summary.last_ns - summary.first_ns >= _DAY_NS
    rows = []
    for number, figures in sorted(steps.items()):
        start_ns = number * step_ns
        first_ns = max(start_ns, summary.first_ns)
        at = datetime.fromtimestamp(first_ns / 1e9).astimezone().strftime("%m-%d %H:%M" if long else "%H:%M:%S")
        marked = onset is not None and not onset.throughout and start_ns <= onset.at_ns < start_ns + step_ns
        note = f"◀ onset {clock_text(onset.at_ns)}" if onset is not None and marked else ""
        rows.append((at, figures, "bold red" if marked else "", note))
    return rows


def _figures(first: str, rows: Sequence[_FigureRow], width: int) -> Iterator[RenderableType]:
    """Draw rows of figures; what failed is behind its row where there is space, else on a line below it."""
    lines = [(first, *_COUNTS, *(name for name, _ in _QUANTILES))]
    for name, figures, _, _ in rows:
        counts = (str(number) for number in (figures.calls, figures.attempts, figures.retries, figures.failed))
        lines.append((name, *counts, *(time_text(figures.quantile(share)) for _, share in _QUANTILES)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    gap = "  " if sum(widths) + 2 * len(widths) <= width + 2 else " "
    short = sum(widths) + len(widths) > width + 1  # then names are on lines of their own
    texts = []
    for name, *cells in lines:
        figures_text = gap.join(cell.rjust(size) for cell, size in zip(cells, widths[1:], strict=True))
        texts.append(f"{name}\n    {figures_text}" if short else gap.join([name.ljust(widths[0]), figures_text]))
    yield Text(texts[0], "bold", no_wrap=True)
    for text, (_, figures, style, note) in zip(texts[1:], rows, strict=True):
        line = Text(text, style, no_wrap=True, overflow="ignore")
        more = Text("  ".join(filter(None, [note, failure_text(figures)])), "red")
        if more and len(text.rpartition("\n")[2]) + 2 + len(more) <= width:
            yield line.append("  ").append(more)
            continue
        yield line
        if more:
            yield Padding(more, (0, 0, 0, 4))


_VERDICTS = {"worse": "red", "better": "green", "gone": "yellow", "new": "yellow"}


def render_comparison(
    rows: Sequence[Comparison], before: str, after: str, *, width: int = _NARROW
) -> Iterator[RenderableType]:
    """
    Draw two times, files or settings next to each other, by operation.

    Args:
        rows: The operations.
        before: What the first is.
        after: What the second is.
        width: Columns that there are; where they are too few, names are on lines of their own.
    """
    worse = [row for row in rows if row.verdict == "worse"]
    for row in worse:
        yield Text(f"{row.operation}: {_difference(row)}", "bold red")
    if not worse:
        yield Text("no operation is worse", "bold")
    yield ""
    yield Text(f"before: {before}; after: {after}", "dim")
    yield from _comparison(rows, width)


_COMPARED = ("calls", "retries", "failed", "p50", "p95", "p99")


def _comparison(rows: Sequence[Comparison], width: int) -> Iterator[RenderableType]:
    lines = [["operation", "", *_COMPARED, "verdict"]]
    for row in rows:
        for name, figures, verdict in ((row.operation, row.before, ""), ("", row.after, row.verdict)):
            times = [time_text(figures.quantile(share)) if figures.calls else "" for _, share in _QUANTILES]
            failed = share_text(figures.failed, figures.calls) if figures.calls else ""
            counts = (str(figures.calls), str(figures.retries), failed)
            lines.append([name, "before" if name else "after", *counts, *times, verdict])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    short = sum(widths) + len(widths) - 1 > width
    for name, which, *figures_texts, verdict in lines:
        cells = " ".join(cell.rjust(size) for cell, size in zip(figures_texts, widths[2:-1], strict=True))
        style = "bold" if name == "operation" else ""
        if short and name:
            yield Text(name, style, no_wrap=True, overflow="ignore")
        first = "    " if short else f"{name.ljust(widths[0])} "
        line = Text(f"{first}{which.ljust(widths[1])} {cells}", style, no_wrap=True, overflow="ignore")
        yield line.append(f" {verdict}" * bool(verdict), _VERDICTS.get(verdict, ""))


def _difference(row: Comparison) -> str:
    before, after = row.before, row.after
    parts = [f"p95 {time_text(before.quantile(0.95))} → {time_text(after.quantile(0.95))}"]
    if before.failed or after.failed:
        shares = (share_text(figures.failed, figures.calls) for figures in (before, after))
        parts.append(f"failed {' → '.join(shares)}")
    return "; ".join(filter(None, [", ".join(parts), failure_text(after)]))


def write_picture(console: Console, path: Path, *, title: str, inputs: Iterable[Path] = ()) -> None:
    """
    Write what *console* recorded as an SVG picture; it loads nothing: the viewer's own monospace font will do.

    Raises:
        OSError: *path* cannot be written, is a symbolic link or one of *inputs*.
    """
    drawing = re.sub(r"@font-face \{[^{}]*+\}", "", console.export_svg(title=title))
    write_text(path, drawing, inputs=inputs, private=True)
