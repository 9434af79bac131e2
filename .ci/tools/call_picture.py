"""
The picture of the README and of the site's first page: one recorded call, drawn 390 px wide, for light and dark pages.

    python3 .ci/tools/call_picture.py    # writes docs/call.svg, from docs/traces/stories.jsonl
"""

import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STORIES = ROOT / "docs" / "traces" / "stories.jsonl"
PICTURE = ROOT / "docs" / "call.svg"
STORY = "recovered"
WIDTH, LINE, TOP, BARS, BARS_WIDTH = 390, 26, 64, 180, 134
TONES = {"bad": "bad", "good": "good", "recovered": "good", "wait": "wait"}

sys.path.insert(0, str(ROOT))

from runtime.traces.model import Row, rows_of, time_text, traces_of
from runtime.traces.trace_file import read_line

_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1c1d1f; }
.soft { fill: #5a5f66; } .title { font-weight: 600; font-size: 14px; }
.card { fill: #fff; stroke: #d9dbde; }
.bad { fill: #b3261e; } .good { fill: #1a7f37; } .wait { fill: #b9bec5; }
@media (prefers-color-scheme: dark) {
text { fill: #e8eaed; } .soft { fill: #a3a9b1; } .card { fill: #1e2125; stroke: #3a3f45; }
.bad { fill: #ff8a80; } .good { fill: #6fcf87; } .wait { fill: #5c636b; }
}"""


def story(name: str) -> list[Row]:
    """Rows of the recorded call with this correlation id."""
    spans = [span for line in STORIES.read_bytes().splitlines() for span in read_line(line)]
    for trace in traces_of(spans):
        if any(name in span.attributes.values() for span in trace.spans):
            return rows_of(trace)
    raise SystemExit(f"no call {name} in {STORIES}")


def bar(row: Row, y: int, total_s: float) -> str:
    """The bar of a row: where it is in the time of the call."""
    x = BARS + row.start_s / total_s * BARS_WIDTH
    width = max(3.0, (row.end_s - row.start_s) / total_s * BARS_WIDTH)
    tone = TONES.get(row.tone, "wait")
    x = min(x, BARS + BARS_WIDTH - width)
    return f'<rect class="{tone}" x="{x:.1f}" y="{y - 10}" width="{width:.1f}" height="11" rx="2"/>'


def picture() -> str:
    """The drawing as SVG."""
    call, *rows = story(STORY)
    height = TOP + LINE * len(rows) + 8
    lines = [
        f'<text class="title" x="14" y="26">{escape(f"{call.label}: {call.text} in {time_text(call.end_s)}")}</text>',
        '<text class="soft" x="14" y="45">one call, as its trace shows it</text>',
    ]
    for number, row in enumerate(rows):
        y = TOP + LINE * number + 14
        what = f"{row.label}: {row.text.removeprefix('GET ')}" if row.kind == "attempt" else f"wait: {row.text}"
        lines += [
            f'<text x="14" y="{y}">{escape(what)}</text>',
            bar(row, y, call.end_s),
            f'<text class="soft" x="376" y="{y}" text-anchor="end">{time_text(row.end_s - row.start_s)}</text>',
        ]
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(call.label)}: its attempts, and the waits between them">\n'
        f"<style>\n{_STYLE}\n</style>\n"
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    PICTURE.write_text(picture())
