"""
Traces as one self-contained HTML page: no other file, no network, no framework.

The overview is markup, and reads without scripts. The traces are JSON: `page.js` makes elements of the lines that are
near the screen, however many there are, and of what is inside of a trace when it is opened. The page's policy permits
that script and `page.css` by their hashes and nothing else.
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from importlib.resources import files

from middleware.redaction import printable
from runtime._internal.page_style import PAGE_STYLE

from .calls import Call, calls_of, is_call
from .diagnosis import with_failing, worst_first
from .model import Row, Trace, count_text, how_often, rows_of, time_text
from .overview import render_overview, time_element
from .states import ServiceStates
from .summary import Summary

__all__ = ["render_page"]

_MAX_TEXT = 400
_SHORTEST_S = 1e-4
_KINDS = ("call", "attempt", "span", "wait", "event", "stop")
_TONES = ("good", "recovered", "slow", "bad", "unsure", "wait-tone", "note", "plain")
_DAY_NS = 86_400_000_000_000


def render_page(
    traces: Sequence[Trace],
    *,
    of: int,
    source: str,
    note: str = "",
    summary: Summary | None = None,
    states: ServiceStates | None = None,
) -> str:
    """
    Draw *traces* as a page.

    Args:
        traces: What to list, the worst first, whatever their order; a single one is shown unfolded.
        of: How many there are in all.
        source: Name of the file they come from.
        note: Something that the reader must know of the file.
        summary: Figures of all calls; of *traces* without.
        states: What all calls say of their services; those of *traces* without.
    """
    if summary is None or states is None:
        summary, states = Summary(), ServiceStates()
        for call in calls_of(span for trace in traces for span in trace.spans):
            summary.add(call)
            states.add(call)
    onsets = with_failing(summary, summary.onsets())
    operations = worst_first(summary, onsets)
    ordered = sorted(traces, key=lambda trace: (trace.failed, trace.retries, trace.duration_s), reverse=True)
    style, script = PAGE_STYLE + _own("page.css"), _own("page.js")
    policy = f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; base-uri 'none'"
    policy += "; form-action 'none'; require-trusted-types-for 'script'"
    title = f"Traces in {escape(printable(source))}"
    warning = f'<p class="bad">{escape(note)}</p>' if note else ""
    body = _Lines(ordered, [operation.name for operation, _ in operations], summary, of)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{style}</style>
</head>
<body{" data-days" * (summary.last_ns - summary.first_ns >= _DAY_NS)}>
<header>
<h1>{title}</h1>
<p class="soft">{_counted(of, len(traces), summary)}
Times are of the time zone <span id="zone">{_zone(summary)}</span>.</p>
{warning}
<noscript><p>Without scripts this page shows the overview alone.</p></noscript>
</header>
<main>
{render_overview(summary, states, onsets, operations)}
<section aria-labelledby="traces"><h2 id="traces">Traces</h2>
{body.form()}
{body.head()}
<ol id="list" role="list"></ol></section>
</main>
<p id="said" class="quiet" role="status"></p>
<script type="application/json" id="rows">{_json(body.rows())}</script>
<script type="application/json" id="inside">
{body.inside()}</script>
<script>{script}</script>
</body>
</html>
"""


def _own(name: str) -> str:
    return files(__package__ or "").joinpath(name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _zone(summary: Summary) -> str:
    first = datetime.fromtimestamp(summary.first_ns / 1e9).astimezone()
    return f"{escape(first.tzname() or '')} (UTC{first.isoformat()[-6:]})"


def _counted(of: int, listed: int, summary: Summary) -> str:
    number = count_text(of, "trace")
    if listed < of:
        number = f"{listed} of {of} traces: those that failed, were retried most or took longest"
    if not summary.first_ns:
        return f"{number}."
    return f"{number}; calls from {time_element(summary.first_ns)} to {time_element(summary.last_ns)}."


class _Lines:
    """
    The list of traces: its filters, its head, and what its lines are made of.

    Args:
        traces: The traces, in their order.
        operations: Names in the order of the table above.
        summary: The figures.
        of: How many traces there are in all.
    """

    def __init__(self, traces: Sequence[Trace], operations: Sequence[str], summary: Summary, of: int) -> None:
        self._traces = traces
        self._summary = summary
        self._worst_of = f' data-worst-of="{of}"' * (len(traces) < of)
        self._operations = {name: number for number, name in enumerate(operations)}
        self._calls = [_calls(trace) for trace in traces]
        services = sorted({call.service for calls in self._calls for call in calls})
        self._services = {name: number for number, name in enumerate(services)}
        durations = [max(trace.duration_s, _SHORTEST_S) for trace in traces] or [1.0]
        self._low = math.floor(math.log10(min(durations)))
        self._high = max(math.ceil(math.log10(max(durations))), self._low + 1)

    def form(self) -> str:
        """Return the filters; they need the script, which shows them."""
        options = "".join(
            f'<option value="{number}">{escape(name)}</option>' for name, number in self._services.items()
        )
        first_ns, last_ns = self._summary.first_ns, self._summary.last_ns
        kind = "datetime-local" if last_ns - first_ns >= _DAY_NS else "time"
        time = f'type="{kind}" step="1" data-first="{first_ns // 1_000_000}" data-last="{last_ns // 1_000_000}"'
        return f"""<form hidden role="search">
<label class="wide">Name, id, status, attribute<input id="search" type="search" placeholder="press /"></label>
<label>Service<select id="service"><option value="">all</option>{options}</select></label>
<label>From<input id="from" {time}></label>
<label>Before<input id="until" {time}></label>
<label>Order<select id="sort"><option value="worst">worst first</option><option value="start">by start</option>\
<option value="duration">slowest first</option><option value="retries">most retried first</option></select></label>
<label class="check"><input id="failed" type="checkbox">failed</label>
<label class="check"><input id="retried" type="checkbox">retried</label>
<label class="check"><input id="slow" type="checkbox">&gt; 1 s</label>
<button id="all" type="button">Show all</button>
<p id="count" class="soft" role="status"{self._worst_of}></p>
</form>"""

    def head(self) -> str:
        """Return the head of the columns; bars have one logarithmic scale, which it names."""
        ticks = "".join(
            f'<text x="{self._at(10.0**power):.1f}%" y="12" text-anchor="'
            f'{"start" if power == self._low else "end" if power == self._high else "middle"}">{_tick(power)}</text>'
            for power in range(self._high, self._low - 1, -max(1, (self._high - self._low) // 2))
        )
        return (
            '<div class="columns soft" aria-hidden="true"><span>Started</span><span>Trace</span>'
            f'<svg width="100%" height="16">{ticks}</svg><span class="time">Duration</span><span>Outcome</span>'
            "<span></span></div>"
        )

    def _at(self, seconds: float) -> float:
        """Return the end of a duration's bar, in percent."""
        share = (math.log10(max(seconds, _SHORTEST_S)) - self._low) / (self._high - self._low)
        return 1 + 99 * min(max(share, 0.0), 1.0)

    def rows(self) -> list[tuple[object, ...]]:
        """Return what the line of each trace shows, and what the filters and orders look at."""
        return list(map(self._row, self._traces, self._calls))

    def _row(self, trace: Trace, calls: Sequence[Call]) -> tuple[object, ...]:
        return (
            trace.start_ns // 1_000_000,
            round(trace.duration_s, 6),
            trace.retries,
            int(trace.failed),
            _numbers(self._operations, (call.operation for call in calls)),
            _numbers(self._services, (call.service for call in calls)),
            trace.name,
            round(self._at(trace.duration_s), 1),
            time_text(trace.duration_s),
            trace.outcome,
            _TONES.index(trace.tone),
            ", ".join(how_often(trace)),
        )

    def inside(self) -> str:
        """
        Return two lines per trace, each a JSON array.

        The first has all texts, which is what the search looks at: its id, its correlation ids, and per row the label,
        the text, then names and values. The second has the numbers of each row.
        """
        return "".join(
            f"{_json(_texts(trace, rows))}\n{_json(_figures(trace, rows))}\n" for trace, rows in self._rows()
        )

    def _rows(self) -> Iterable[tuple[Trace, list[Row]]]:
        return ((trace, rows_of(trace)) for trace in self._traces)


def _calls(trace: Trace) -> list[Call]:
    """Return the calls of a trace; its roots, where there are none."""
    return [Call(span) for span in trace.spans if is_call(span)] or [Call(span) for span in trace.roots]


def _numbers(known: Mapping[str, int], names: Iterable[str]) -> list[int]:
    return [known[name] for name in dict.fromkeys(names) if name in known]


def _tick(power: int) -> str:
    seconds = 10.0**power
    return f"{seconds:g} s" if power >= 0 else f"{seconds * 1000:g} ms"


def _tone(tone: str) -> str:
    return "wait-tone" if tone == "wait" else tone


def _json(value: object) -> str:
    """Return JSON that no parser of HTML takes for a tag."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _texts(trace: Trace, rows: Sequence[Row]) -> list[object]:
    found: list[object] = [trace.trace_id, trace.correlation_ids]
    for row in rows:
        texts = [text[:_MAX_TEXT] for pair in row.details for text in pair]
        found.append([row.label, row.text, *texts])
    return found


def _figures(trace: Trace, rows: Sequence[Row]) -> list[tuple[object, ...]]:
    total_s = trace.duration_s
    found: list[tuple[object, ...]] = []
    for row in rows:
        lasted_s = row.end_s - row.start_s
        start, width = (100 * row.start_s / total_s, 100 * lasted_s / total_s) if total_s else (0.0, 100.0)
        bar = (round(max(0.0, min(start, 100.0)), 3), round(min(width, 100.0), 3))
        times = (time_text(lasted_s) if lasted_s > 0 else "", time_text(row.start_s))
        found.append((row.depth, _KINDS.index(row.kind), _TONES.index(_tone(row.tone)), *bar, *times))
    return found
