"""Pictures: the schedule of a call as bars in a terminal and as SVG, and figures over time as SVG."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from .schedule import AttemptBounds, Schedule

__all__ = ["Line", "bar", "lines_svg", "never_text", "schedule_svg", "seconds"]

_MAY_RUN, _RUNS = "░", "█"
_COLOURS = (
    ":root{--ink:#1c1d1f;--soft:#5a5f66;--line:#d9dbde;--runs:#2f66c4;--may:#a9c4ee;--page:#fbfbfa}"
    "@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a3a9b1;--line:#363b42;--runs:#84aef5;"
    "--may:#34507f;--page:#16181b}}"
)


def seconds(value: float) -> str:
    """Return a time for people, at most a millisecond exact."""
    if value == float("inf"):
        return "for ever"
    return f"{value * 1000:.0f} ms" if 0 < value < 1 else f"{round(value, 3):g} s"


def bar(one: AttemptBounds, end_s: float, width: int) -> str:
    """Return a bar of *width* characters from 0 to *end_s*: full where the attempt surely runs, light where it may."""
    cells = []
    for cell in range(width):
        at = (cell + 0.5) * end_s / width
        if one.always and one.starts_s[1] <= at < one.ends_s[0]:
            cells.append(_RUNS)
        else:
            cells.append(_MAY_RUN if one.starts_s[0] <= at < one.ends_s[1] else " ")
    if not "".join(cells).strip():  # shorter than a cell
        cells[min(width - 1, int(one.starts_s[0] / end_s * width))] = _RUNS if one.always else _MAY_RUN
    return "".join(cells).rstrip()


def schedule_svg(schedule: Schedule, title: str) -> str:
    """Return the schedule as a self-contained SVG document."""
    width, left, row = 720, 96, 26
    end = max(schedule.worst_case_s, 1e-3)
    height = 74 + row * len(schedule.attempts) + 18 * len(schedule.never)
    scale = (width - left - 20) / end
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-size="13"',
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif">',
        f"<style>{_COLOURS}text{{fill:var(--ink)}}.soft{{fill:var(--soft)}}</style>",
        f'<rect width="{width}" height="{height}" fill="var(--page)"/>',
        f'<text x="12" y="22" font-weight="600">{escape(title)}</text>',
    ]
    bottom = 40 + row * len(schedule.attempts)
    for tick in _ticks(end):
        x = left + tick * scale
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="34" y2="{bottom}" stroke="var(--line)"/>')
        parts.append(f'<text class="soft" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{seconds(tick)}</text>')
    for index, one in enumerate(schedule.attempts):
        y = 40 + row * index
        name = f"hedge {one.number}" if one.is_hedge else f"attempt {one.number}"
        says = f"{name}: starts at {_span(one.starts_s)}, ends at {_span(one.ends_s)}"
        parts.append(f'<text x="12" y="{y + 14}">{name}</text>')
        parts.append(f"<g><title>{escape(says)}</title>")
        parts.append(_rect(left + one.starts_s[0] * scale, y, (one.ends_s[1] - one.starts_s[0]) * scale, "may"))
        if one.always and one.ends_s[0] > one.starts_s[1]:
            parts.append(_rect(left + one.starts_s[1] * scale, y, (one.ends_s[0] - one.starts_s[1]) * scale, "runs"))
        parts.append("</g>")
    for index, never in enumerate(schedule.never):
        y = bottom + 34 + 18 * index
        parts.append(
            f'<text class="soft" x="12" y="{y}">{escape(never_text(never.first, never.last, never.text))}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def never_text(first: int, last: int, why: str) -> str:
    """Return which attempts never start, and why."""
    return (
        f"{'attempt' if first == last else 'attempts'} {first if first == last else f'{first} to {last}'} never: {why}"
    )


def _span(bounds: tuple[float, float]) -> str:
    low, high = map(seconds, bounds)
    return low if low == high else f"{low} to {high}"


def _rect(x: float, y: float, width: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{max(2.0, width):.1f}" height="18" rx="3" fill="var(--{colour})"/>'


def _ticks(end: float) -> list[float]:
    """Return four to eight round numbers from 0 to *end*."""
    step = 1e-4
    for power in range(-4, 5):
        for factor in (1, 2, 5):
            step = factor * 10.0**power
            if end / step <= 8:  # noqa: PLR2004 - as above
                return [round(step * index, 6) for index in range(int(end / step + 1e-9) + 1)]
    return [0.0, end]


class Line(NamedTuple):
    """
    One line of a chart.

    Attributes:
        name: For the legend.
        tone: Name of its colour in the page's style.
        values: One per second.
        low: Lower edge of its band; empty for none.
        high: Upper edge.
        dashed: It is a reference.
    """

    name: str
    tone: str
    values: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dashed: bool = False


def lines_svg(title: str, lines: Sequence[Line], *, top: float, ill: tuple[float, float], percent: bool) -> str:
    """Return a chart over time, for a page whose style has the colours; *ill* is shaded."""
    width, height, left, bottom = 720, 220, 64, 26
    many = max(len(line.values) for line in lines)
    across, up = (width - left - 12) / max(1, many - 1), (height - bottom - 14) / max(top, 1e-9)

    def at(index: float, value: float) -> str:
        return f"{left + index * across:.1f},{height - bottom - min(value, top) * up:.1f}"

    x1, x2 = (left + min(max(0.0, one), many - 1) * across for one in ill)
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">',
        f'<rect class="ill" x="{x1:.1f}" y="14" width="{x2 - x1:.1f}" height="{height - bottom - 14}"/>',
    ]
    for share in (0, 0.5, 1):
        y = height - bottom - share * top * up
        shown = f"{share:.0%}" if percent else f"{share * top:.3g}"
        parts.append(f'<line class="grid" x1="{left}" x2="{width - 12}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>')
    parts += [
        f'<text x="{left + tick * across:.1f}" y="{height - 6}" text-anchor="middle">{tick:g} s</text>'
        for tick in _ticks(many - 1)
    ]
    for line in lines:
        if line.low:
            edge = [at(index, value) for index, value in enumerate(line.high)]
            edge += [at(index, line.low[index]) for index in reversed(range(len(line.low)))]
            parts.append(f'<polygon class="band {line.tone}" points="{" ".join(edge)}"/>')
    for line in lines:
        points = " ".join(at(index, value) for index, value in enumerate(line.values))
        dash = " dashed" if line.dashed else ""
        parts.append(f'<polyline class="line {line.tone}{dash}" points="{points}"/>')
    return "\n".join([*parts, "</svg>"])
