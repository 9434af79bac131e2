"""The picture of docs/performance.md: a panel of sorted bars for each concurrency, for light and dark pages."""

from html import escape
from typing import Any

PANEL, LINE, TOP, BARS, BARS_WIDTH, GAP = 390, 22, 44, 190, 138, 12
LEFT_OUT = "stack on one-connection httpx transports"
"""A candidate that was not chosen; its row is in the table."""

_STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #1c1d1f; }
.soft { fill: #5a5f66; } .title { font-weight: 600; font-size: 14px; } .own { font-weight: 600; }
.card { fill: #fff; stroke: #d9dbde; }
.ours { fill: #1a7f37; } .other { fill: #b9bec5; }
@media (prefers-color-scheme: dark) {
text { fill: #e8eaed; } .soft { fill: #a3a9b1; } .card { fill: #1e2125; stroke: #3a3f45; }
.ours { fill: #6fcf87; } .other { fill: #5c636b; }
}"""


def panel(concurrency: str, costs: dict[str, float], x: int, y: int) -> list[str]:
    """One concurrency: the clients by cost, the cheapest first; the stack's bars in a colour, the others grey."""
    height = TOP + LINE * len(costs) + 8
    parts = [
        f'<g transform="translate({x} {y})">',
        f'<rect class="card" x="0.5" y="0.5" width="{PANEL - 1}" height="{height - 1}" rx="8"/>',
        f'<text class="title" x="14" y="27">{concurrency} at a time</text>',
        f'<text class="soft" x="{PANEL - 14}" y="27" text-anchor="end">CPU per call, µs</text>',
    ]
    most = max(costs.values())
    for number, (name, cost) in enumerate(sorted(costs.items(), key=lambda one: one[1])):
        row, is_ours = TOP + LINE * number + 14, name.startswith("stack")
        label, bar = ("own", "ours") if is_ours else ("", "other")
        width = max(1.0, cost / most * BARS_WIDTH)
        parts += [
            # A name with what is left out of it is longer than its column.
            f'<text class="{label}" x="14" y="{row}">{escape(name.replace(" on httptools,", ","))}</text>',
            f'<rect class="{bar}" x="{BARS}" y="{row - 10}" width="{width:.1f}" height="12"/>',
            f'<text class="soft" x="{PANEL - 14}" y="{row}" text-anchor="end">{cost:.0f}</text>',
        ]
    return [*parts, "</g>"]


def chart(document: dict[str, Any], *, columns: int) -> str:
    """Draw the document of compare.py, with so many panels next to each other."""
    table = document["table"]
    chosen = {
        str(concurrency): {name: row["cpu_us"] for name, row in rows.items() if name != LEFT_OUT}
        for concurrency, rows in table.items()
    }
    step = TOP + LINE * max(map(len, chosen.values())) + 8 + GAP
    parts = []
    for place, (concurrency, costs) in enumerate(chosen.items()):
        parts += panel(concurrency, costs, place % columns * (PANEL + GAP), place // columns * step)
    width, height = columns * (PANEL + GAP) - GAP, -(-len(chosen) // columns) * step - GAP
    about = "CPU per call of each client, by calls at a time; the cheapest first"
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{about}">'
    return "\n".join([head, f"<style>\n{_STYLE}\n</style>", *parts, "</svg>\n"])
