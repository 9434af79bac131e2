"""
Traces as one self-contained HTML page: no other file, no network, no framework.

Everything is in the markup, so it also reads without scripts; the script only filters and sorts. Opens by keyboard
(`summary` elements are buttons), follows the reader's light or dark scheme, and folds to one column on a phone.
"""

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from middleware.redaction import printable
from runtime._internal.page_style import PAGE_STYLE

from .model import Row, Trace, rows_of, time_text

__all__ = ["render_page"]

_MAX_TEXT = 400

_STYLE = """
form { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: end; margin-top: .75rem; }
label { display: flex; flex-direction: column; font-size: .8125rem; color: var(--soft); }
label.check { flex-direction: row; gap: .4rem; align-items: center; min-height: 2.25rem; }
input[type=search], select { font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; padding: .35rem .5rem; min-height: 2.25rem; max-width: 100%; }
ol { list-style: none; margin: 0; padding: 0; }
.trace { background: var(--card); border: 1px solid var(--line); border-radius: 8px; margin: 0 0 .5rem; }
summary { cursor: pointer; border-radius: 6px; }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 1px; }
.trace > details > summary { display: grid; grid-template-columns: minmax(9rem, 1fr) auto auto; gap: .1rem 1rem;
  padding: .6rem .8rem; align-items: baseline; }
.trace > details > summary::marker, .row > summary::marker { content: ""; }
summary::-webkit-details-marker { display: none; }
.name { font-weight: 600; overflow-wrap: anywhere; }
.name::before { content: "\\25B8\\00A0"; color: var(--soft); }
details[open] > summary > .name::before { content: "\\25BE\\00A0"; }
.outcome { font-weight: 600; }
.meta { grid-column: 1 / -1; }
.body { padding: 0 .8rem .8rem; }
.row > summary, .plain-row { display: grid; grid-template-columns: minmax(8rem, 15rem) minmax(6rem, 1fr) 4.5rem
  minmax(7rem, 15rem); gap: .75rem; align-items: center; padding: .2rem .3rem; }
.row > summary:hover { background: var(--track); }
.what { padding-left: calc(var(--depth) * 1rem); overflow-wrap: anywhere; }
.call .what, .span .what { font-weight: 600; }
.time { text-align: right; font-variant-numeric: tabular-nums; }
.track { position: relative; height: .9rem; background: var(--track); border-radius: 3px; overflow: hidden; }
.bar { position: absolute; top: 0; bottom: 0; left: min(var(--from), calc(100% - 3px));
  width: max(3px, var(--width)); border-radius: 3px; background: currentColor; }
.call .bar, .span .bar { top: .3rem; bottom: .3rem; }
.wait .bar { background: repeating-linear-gradient(45deg, currentColor 0 3px, transparent 3px 6px); }
.event .bar { width: .55rem; height: .55rem; top: .175rem; bottom: auto; transform: translateX(-50%) rotate(45deg);
  left: clamp(.4rem, var(--from), calc(100% - .4rem)); border-radius: 0; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .1rem .8rem;
  margin: .2rem 0 .6rem 1.3rem; padding: .4rem .6rem; border-left: 3px solid var(--line); }
dt { color: var(--soft); } dd { margin: 0; }
[hidden] { display: none; }
@media (max-width: 44rem) {
  header, main { padding: .75rem; }
  .row > summary { grid-template-columns: 1fr auto; gap: .1rem .5rem; padding: .35rem .3rem; }
  .row .track { grid-column: 1 / -1; order: 3; } .row .text { grid-column: 1 / -1; order: 4;
    padding-left: calc(var(--depth) * 1rem); }
  dl { grid-template-columns: 1fr; margin-left: .3rem; } dd { margin-bottom: .3rem; }
  .trace > details > summary { grid-template-columns: 1fr auto; } .outcome { order: 3; grid-column: 1 / -1; }
  label, input[type=search] { width: 100%; } label.check { width: auto; }
}
@media print { form { display: none; } }
"""

_SCRIPT = """
const list = document.querySelector("ol"), items = [...list.children];
const search = document.querySelector("#search"), sort = document.querySelector("#sort");
const failed = document.querySelector("#failed"), count = document.querySelector("#count");
document.querySelector("form").hidden = false;
function show() {
  const wanted = search.value.trim().toLowerCase();
  let seen = 0;
  for (const item of items) {
    item.hidden = (failed.checked && item.dataset.failed !== "1") || !item.dataset.text.includes(wanted);
    seen += !item.hidden;
  }
  const key = sort.value, sign = key === "start" ? 1 : -1;
  list.append(...[...items].sort((a, b) => sign * (a.dataset[key] - b.dataset[key])));
  count.textContent = `${seen} of ${items.length} shown`;
}
for (const control of [search, sort, failed]) control.addEventListener("input", show);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
show();
"""


def render_page(traces: Sequence[Trace], *, of: int, source: str, note: str = "") -> str:
    """
    Draw *traces* as a page.

    Args:
        traces: What to show; a single one is shown unfolded.
        of: How many there are in all.
        source: Name of the file they come from.
        note: Something that the reader must know of the file.
    """
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    policy += "; base-uri 'none'; form-action 'none'"
    shown = _counted(of, "trace")
    if len(traces) < of:
        shown = f"{len(traces)} of {of} traces: those that failed, were retried most or took longest"
    items = "\n".join(_trace(trace, number, unfolded=len(traces) == 1) for number, trace in enumerate(traces))
    title = f"Traces in {escape(printable(source))}"
    warning = f'<p class="bad">{escape(note)}</p>' if note else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{PAGE_STYLE}{_STYLE}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="soft">{shown}. Times are UTC. Open a trace for what happened in it, and a line for its attributes.</p>
{warning}
<form hidden>
<label>Name, id or outcome<input id="search" type="search"></label>
<label>Order<select id="sort"><option value="start">by start</option><option value="duration">slowest first</option>\
<option value="retries">most retried first</option></select></label>
<label class="check"><input id="failed" type="checkbox">failed only</label>
<p id="count" class="soft" role="status"></p>
</form>
</header>
<main><ol>
{items}
</ol></main>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _trace(trace: Trace, number: int, *, unfolded: bool) -> str:
    started = datetime.fromtimestamp(trace.start_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    rows = rows_of(trace)
    text = " ".join([trace.trace_id, *trace.correlation_ids, trace.outcome, *(f"{r.label} {r.text}" for r in rows)])
    counts = (trace.calls, trace.attempts, trace.retries)
    counted = [_counted(trace.calls, "call"), _counted(trace.attempts, "attempt")]
    facts = ", ".join([started, *(counted if counts != (1, 1, 0) else ()), *_retries(trace)])
    ids = "".join(f"<p>correlation id <code>{escape(found)}</code></p>" for found in trace.correlation_ids)
    return f"""<li class="trace" data-start="{number}" data-duration="{trace.duration_s:.9f}" \
data-retries="{trace.retries}" data-failed="{trace.failed:d}" data-text="{escape(text.lower())}">
<details{" open" if unfolded else ""}><summary><span class="name">{escape(trace.name)}</span>\
<span class="outcome {trace.tone}">{escape(trace.outcome)}</span>\
<span class="time">{time_text(trace.duration_s)}</span><span class="meta soft">{facts}</span></summary>
<div class="body"><p>trace <code>{trace.trace_id}</code></p>{ids}
{"".join(_row(row, trace.duration_s) for row in rows)}</div></details></li>"""


def _retries(trace: Trace) -> list[str]:
    return [_counted(trace.retries, "retry", "retries")] if trace.retries else []


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _row(row: Row, total_s: float) -> str:
    start, width = (100 * row.start_s / total_s, 100 * (row.end_s - row.start_s) / total_s) if total_s else (0, 100)
    lasted = time_text(row.end_s - row.start_s) if row.end_s > row.start_s else ""
    tone = "wait-tone" if row.tone == "wait" else row.tone
    bar = "" if row.kind == "stop" else '<span class="bar"></span>'
    details = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value[:_MAX_TEXT])}</dd>" for name, value in row.details)
    at = f"<dt>at</dt><dd>{time_text(row.start_s)} after the start</dd>"
    place = f"--depth:{row.depth};--from:{max(0.0, min(start, 100)):.3f}%;--width:{min(width, 100):.3f}%"
    return f"""<details class="row {row.kind}" style="{place}"><summary><span class="what">{escape(row.label)}</span>\
<span class="track {tone}" aria-hidden="true">{bar}</span><span class="time">{lasted}</span>\
<span class="text {tone}">{escape(row.text)}</span></summary><dl class="mono">{at}{details}</dl></details>
"""
