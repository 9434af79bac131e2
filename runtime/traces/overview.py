"""
The top of the page of traces: what changed and since when, calls over time, the state of services, and operations.

Pictures are SVG in percentages of their width, so that they fit any screen, and all of them have one time axis. Texts
are escaped here; colours are classes, since the page's policy permits no style in the markup.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import groupby

from .diagnosis import failure_text, findings, share_text
from .model import clock_text, count_text, step_text, time_text
from .states import ServiceStates, States, worst_states
from .summary import STEPS_S, Change, Figures, Onset, Operation, Summary

__all__ = ["render_overview", "time_element"]

_MOST_BARS = 120
_MOST_TICKS = 5
_MOST_OPERATIONS = 60
_MOST_SERVICES = 30
_MOST_CHANGES = 200
_WIDE = 9.0
"""Percent of the width from which on there is space for the digits of a hash."""
_DIGIT = 4.0
"""Percent of the width that the number of an onset takes, with its comma, on a phone."""
_OFTEN = 0.05
_TIME = re.compile("\ue000([0-9]+)\ue000")
_IN_A_VARIABLE = re.compile("(?<=[A-Z])_+(?=[A-Z])")
_TONES = {"closed": "good", "half_open": "unsure", "open": "bad", "forced_open": "bad"}
_TONES |= {"shadow_open": "unsure", "shadow_half_open": "unsure"}


def time_element(at_ns: int, *, parts: int = 0, tag: str = "time") -> str:
    """
    Return a time of day as an element whose text the page's script puts into the reader's time zone.

    Args:
        at_ns: Nanoseconds since 1970.
        parts: Digits of the second's fraction.
        tag: Name of the element.
    """
    return f"<{tag}{_moment(at_ns)}>{clock_text(at_ns, parts=parts)}</{tag}>"


def _moment(at_ns: int) -> str:
    return f' datetime="{datetime.fromtimestamp(at_ns // 1000 / 1e6, UTC).isoformat(timespec="milliseconds")[:-6]}Z"'


class _Axis:
    """The time of all pictures, in steps."""

    def __init__(self, summary: Summary, states: ServiceStates) -> None:
        self.step_ns = math.lcm(summary.step_ns(_MOST_BARS), states.slice_ns)
        self.first = summary.first_ns // self.step_ns
        self.steps = summary.last_ns // self.step_ns - self.first + 1
        self.width = 100 / self.steps
        self.start_ns, self.end_ns = self.first * self.step_ns, (self.first + self.steps) * self.step_ns

    def left(self, number: int) -> float:
        """Return where a step begins, in percent."""
        return (number - self.first) * self.width

    def at(self, at_ns: int) -> float:
        """Return where a time is, in percent."""
        return 100 * (at_ns - self.start_ns) / (self.end_ns - self.start_ns)

    def ticks(self) -> Iterator[int]:
        """Yield times to name, in nanoseconds since 1970."""
        length_s = (self.end_ns - self.start_ns) / 1e9
        days_s = -(-length_s // (86400 * _MOST_TICKS)) * 86400
        tick_ns = int(next((one for one in STEPS_S if length_s / one <= _MOST_TICKS), days_s)) * 1_000_000_000
        at_ns = -(-self.start_ns // tick_ns) * tick_ns
        while at_ns <= self.end_ns:
            yield at_ns
            at_ns += tick_ns


def render_overview(
    summary: Summary, states: ServiceStates, onsets: Sequence[Onset], operations: Sequence[tuple[Operation, Figures]]
) -> str:
    """
    Draw the section; empty without calls.

    Args:
        summary: The figures.
        states: What is known of the services.
        onsets: When operations changed for the worse, and which fail all the time, the worst first.
        operations: All operations in the order of the table; a button's number is its place.
    """
    if not summary.first_ns:
        return ""
    axis = _Axis(summary, states)
    return f"""<section aria-labelledby="overview"><h2 id="overview">Overview</h2>
{_findings(summary, onsets)}
<div class="lanes">{_calls_lane(summary, axis, onsets)}</div>
{_services(states, axis, onsets)}
{_changes(summary)}
{_operations(summary, axis, onsets, operations)}
</section>"""


def _marked(at_ns: int) -> str:
    """Write a time so that it is found again when its sentence has been escaped; what is found are digits alone."""
    return f"\ue000{at_ns}\ue000"


def _sentence(text: str) -> str:
    breakable = _IN_A_VARIABLE.sub(r"\g<0><wbr>", escape(text))  # else they are broken anywhere on a phone
    return _TIME.sub(lambda found: time_element(int(found[1])), breakable)


def _findings(summary: Summary, onsets: Sequence[Onset]) -> str:
    items = []
    for text, lines in findings(summary, onsets, _marked):
        below = "".join(f"<li>{_sentence(line)}</li>" for line in lines)
        items.append(f"<li><strong>{_sentence(text)}</strong>{f'<ul>{below}</ul>' if below else ''}</li>")
    if not items:
        return "<p>No operation became slower or failed more often.</p>"
    return f'<ol class="findings">{"".join(items)}</ol>'


def _in_parts(name: str) -> str:
    """Return a name that is broken behind its dots alone."""
    return "".join(f"<span>{escape(part)}</span>" for part in re.findall(r"[^.]*\.|[^.]+", name))


def _label(name: str, text: str) -> str:
    return f"<b>{escape(name)}</b> <small>{escape(text)}</small>"


def _lane(label: str, picture: str, kind: str, spoken: str) -> str:
    """Draw one line of the pictures: *label* is markup, *spoken* what a screen reader says of the picture."""
    return (
        f'<div class="lane {kind}"><span class="lane-name">{label}</span>'
        f'<svg role="img" aria-label="{escape(spoken)}" width="100%" height="100%">{picture}</svg></div>'
    )


def _bar(left: float, width: float, height: float, tone: str, title: str) -> str:
    """Draw a bar from the bottom of the picture; in percent."""
    return (
        f'<rect class="{tone}" x="{left:.2f}%" width="{max(width, 0.15):.2f}%" y="{100 - height:.1f}%"'
        f' height="{height:.1f}%">{title}</rect>'
    )


def _title(axis: _Axis, number: int, text: str) -> str:
    at_ns = number * axis.step_ns
    return f'<title{_moment(at_ns)} data-more=", {escape(text)}">{clock_text(at_ns)}, {escape(text)}</title>'


def _onset_lines(axis: _Axis, onsets: Iterable[Onset]) -> str:
    places = (f"{axis.at(onset.at_ns):.2f}%" for onset in onsets if not onset.throughout)
    return "".join(f'<line class="onset" x1="{at}" x2="{at}" y1="0" y2="100%"/>' for at in places)


def _numbered(onsets: Sequence[Onset]) -> Iterator[tuple[int, Onset]]:
    """Yield those that have a time, with their numbers in the list of findings."""
    return ((number, onset) for number, onset in enumerate(onsets, 1) if not onset.throughout)


def _onset_numbers(axis: _Axis, onsets: Sequence[Onset]) -> str:
    """Write the number of each onset at its line; those that have no space of their own are one text."""
    texts: list[tuple[float, list[str]]] = []
    for at, number in sorted((axis.at(onset.at_ns), number) for number, onset in _numbered(onsets)):
        if texts and at < texts[-1][0] + _DIGIT * len(texts[-1][1]):
            texts[-1][1].append(str(number))
        else:
            texts.append((at, [str(number)]))
    return "".join(
        f'<text class="onset-name" x="{at:.2f}%" dx="3" y="11">{", ".join(sorted(numbers, key=int))}</text>'
        for at, numbers in texts
    )


def _by_step(operations: Iterable[Operation], summary: Summary, axis: _Axis) -> dict[int, Figures]:
    found: dict[int, Figures] = defaultdict(Figures)
    for operation in operations:
        for number, cell in operation.cells.items():
            found[number * summary.slice_ns // axis.step_ns].update(cell)
    return found


def _calls_lane(summary: Summary, axis: _Axis, onsets: Sequence[Onset]) -> str:
    """Draw calls over time, failed ones at the bottom, with the onsets and the axis."""
    steps = _by_step(summary.operations, summary, axis)
    most = max(figures.calls for figures in steps.values())
    bars = []
    for number, figures in sorted(steps.items()):
        what = f"{count_text(figures.calls, 'call')}, {figures.failed} failed, p95 {time_text(figures.quantile(0.95))}"
        title = _title(axis, number, what)
        left, width = axis.left(number), axis.width * 0.86
        bars.append(_bar(left, width, 100 * figures.calls / most, "wait-tone", title))
        if figures.failed:
            bars.append(_bar(left, width, 100 * figures.failed / most, "bad", title))
    marks = "".join(f" Change {number} began at {clock_text(onset.at_ns)}." for number, onset in _numbered(onsets))
    total = sum(figures.calls for figures in steps.values())
    failed_calls = sum(figures.failed for figures in steps.values())
    strip = _lane(
        _label(f"Calls per {step_text(axis.step_ns)}", f"0 to {most}, failed in red"),
        f'<g id="strip" data-start="{axis.start_ns // 1_000_000}" data-end="{axis.end_ns // 1_000_000}" data-steps="'
        f'{axis.steps}"><rect class="ground" width="100%" height="100%"/>{"".join(bars)}</g>'
        + _onset_lines(axis, onsets)
        + _onset_numbers(axis, onsets),
        "strip",
        f"Calls over time: {total}, {failed_calls} failed.{marks}",
    )
    return strip + _axis_lane(axis)


def _axis_lane(axis: _Axis) -> str:
    texts = []
    for at_ns in axis.ticks():
        at = axis.at(at_ns)
        anchor = "start" if at < 4 else "end" if at > 96 else "middle"  # noqa: PLR2004 - within the picture
        text = f' x="{at:.2f}%" y="14" text-anchor="{anchor}"'
        texts.append(f'<line class="tick" x1="{at:.2f}%" x2="{at:.2f}%" y1="0" y2="4"/>')
        texts.append(f"<text{_moment(at_ns)}{text}>{clock_text(at_ns)}</text>")
    return (
        '<div class="lane axis" aria-hidden="true"><span class="lane-name"></span>'
        f'<svg width="100%" height="100%">{"".join(texts)}</svg></div>'
    )


def _services(states: ServiceStates, axis: _Axis, onsets: Sequence[Onset]) -> str:
    """Draw what is known of breaker, budget and settings of each service; unfolded if any of it changed."""
    lanes: list[str] = []
    remarkable = False
    for service in states.services[:_MOST_SERVICES]:
        known = states.over_time(service, axis.step_ns).items()
        steps = {number: one for number, one in known if 0 <= number - axis.first < axis.steps}
        lines = _onset_lines(axis, (onset for onset in onsets if onset.service == service))
        breaker, tripped = _breaker_lane(service, steps, axis, lines)
        budget = _budget_lane(service, steps, axis, lines)
        settings, changed = _settings_lane(service, steps, axis, lines)
        lanes += filter(None, (breaker, budget, settings))
        remarkable = remarkable or tripped or changed
    if not lanes:
        return ""
    more = len(states.services) - _MOST_SERVICES
    said = "" if remarkable else ": nothing changed"
    note = "Gaps: no call said anything." + (f" {more} more services are not drawn." if more > 0 else "")
    return (
        f'<details class="fold"{" open" * remarkable}><summary>Circuit breakers, retry budgets and settings over'
        f' time{said}</summary><p class="soft">{note}</p><div class="lanes">{"".join(lanes)}{_axis_lane(axis)}</div>'
        "</details>"
    )


_Runs = list[tuple[int, int, str]]


def _runs(steps: Mapping[int, States], value: Callable[[States], str]) -> _Runs:
    """Return stretches of one value without gaps: the first step, their number, and the value."""
    known = [(number, value(one)) for number, one in sorted(steps.items())]
    known = [(number, text) for number, text in known if text]
    found = []
    for _, group in groupby(enumerate(known), key=lambda item: (item[1][0] - item[0], item[1][1])):
        members = [member for _, member in group]
        found.append((members[0][0], len(members), members[0][1]))
    return found


def _breaker_lane(service: str, steps: Mapping[int, States], axis: _Axis, lines: str) -> tuple[str, bool]:
    runs = _runs(steps, lambda one: ", ".join(worst_states(one.breaker)))
    if not runs:
        return "", False
    bars = []
    for number, length, text in runs:
        tone = _TONES.get(text.partition(",")[0], "plain")
        height = 100 if tone in {"bad", "unsure"} else 45
        title = _title(axis, number, f"{service}: {text}")
        bars.append(_bar(axis.left(number), axis.width * length, height, tone, title))
    seen = worst_states({state for one in steps.values() for state in one.breaker})
    text = f"circuit breaker: {', '.join(seen)}"
    lane = _lane(_label(service, text), "".join(bars) + lines, "track", f"{service}, {text}")
    return lane, len(seen) > 1 or _TONES.get(seen[0]) == "bad"


def _budget_lane(service: str, steps: Mapping[int, States], axis: _Axis, lines: str) -> str:
    known = {number: one.least_balance for number, one in steps.items() if one.least_balance is not None}
    if not known:
        return ""
    most, least = max(known.values()), min(known.values())
    bars = []
    for number, balance in sorted(known.items()):
        tone = "bad" if balance < 1 else "note"
        height = max(8.0, 100 * balance / most if most else 0.0)
        title = _title(axis, number, f"{service}: {balance:.3g} retries left")
        bars.append(_bar(axis.left(number), axis.width * 0.86, height, tone, title))
    text = f"retry budget: {least:.3g} to {most:.3g} left"
    return _lane(_label(service, text), "".join(bars) + lines, "track", f"{service}, {text}")


def _settings_lane(service: str, steps: Mapping[int, States], axis: _Axis, lines: str) -> tuple[str, bool]:
    runs = _runs(steps, lambda one: " and ".join(sorted(one.hashes)))
    if not runs:
        return "", False
    order = list(dict.fromkeys(text for _, _, text in runs))
    bars = []
    for number, length, text in runs:
        tone = "mixed" if " and " in text else f"hash{order.index(text) % 2}"
        title = _title(axis, number, f"{service}: settings {text}")
        bars.append(_bar(axis.left(number), axis.width * length, 80, tone, title))
        if axis.width * length >= _WIDE:
            bars.append(f'<text class="hash" x="{axis.left(number):.2f}%" dx="4" y="82%">{escape(text)}</text>')
    hashes = {one for states in steps.values() for one in states.hashes}
    text = f"settings: {', '.join(order[:2])}{', …' * (len(order) > 2)}"  # noqa: PLR2004 - as many have space
    return _lane(_label(service, text), "".join(bars) + lines, "track", f"{service}, {text}"), len(hashes) > 1


def _changes(summary: Summary) -> str:
    changes: list[Change] = sorted([*summary.changes, *summary.settings_changes], key=lambda change: change.at_ns)
    if not changes:
        return ""
    items = "".join(
        f"<li>{time_element(change.at_ns, parts=3)} {escape(change.text)}</li>" for change in changes[:_MOST_CHANGES]
    )
    more = len(changes) - _MOST_CHANGES
    rest = f"<li>{more} more</li>" if more > 0 else ""
    counted = f"{len(changes)} changes of state or settings" if len(changes) > 1 else "1 change of state or settings"
    return f'<details class="fold"><summary>{counted}</summary><ol class="changes">{items}{rest}</ol></details>'


def _operations(
    summary: Summary, axis: _Axis, onsets: Sequence[Onset], ordered: Sequence[tuple[Operation, Figures]]
) -> str:
    """Draw the table of the operations; the button in its first column filters the traces."""
    by_name = {onset.operation: onset for onset in onsets}
    rows = []
    for number, (operation, total) in enumerate(ordered[:_MOST_OPERATIONS]):
        onset = by_name.get(operation.name)
        share = f" <small>({share_text(total.failed, total.calls)})</small>" if total.failed else ""
        cells = "".join(f"<td>{cell}</td>" for cell in (total.calls, total.retries))
        cells += (
            f'<td{" class=bad" * bool(total.failed)} title="{escape(failure_text(total))}">{total.failed}{share}</td>'
        )
        cells += "".join(f"<td>{time_text(total.quantile(part))}</td>" for part in (0.5, 0.95, 0.99))
        rows.append(
            f'<tr><th scope="row"><button type="button" aria-pressed="false" disabled data-operation="{number}">'
            f"{_in_parts(operation.name)}</button></th>"
            f'<td class="over-time">{_sparks(operation, summary, axis, onset)}</td>{cells}</tr>'
        )
    more = len(ordered) - _MOST_OPERATIONS
    rest = f'<p class="soft">{more} more operations: search for them by name.</p>' if more > 0 else ""
    heads = ("Calls", "Retries", "Failed", "p50", "p95", "p99")
    return f"""<h3 id="operations">Operations</h3>
<div class="scroll" role="region" aria-labelledby="operations" tabindex="0"><table><thead><tr>\
<th scope="col">Operation</th><th scope="col" class="over-time">p95 over time, red where 5 % failed</th>\
{"".join(f'<th scope="col">{head}</th>' for head in heads)}</tr></thead>
<tbody>{"".join(rows)}</tbody></table></div>{rest}"""


def _sparks(operation: Operation, summary: Summary, axis: _Axis, onset: Onset | None) -> str:
    steps = _by_step([operation], summary, axis)
    slow = {number: figures.quantile(0.95) for number, figures in steps.items()}
    most = max(slow.values())
    bars = []
    for number, figures in sorted(steps.items()):
        height = max(6.0, 100 * slow[number] / most if most else 0.0)
        tone = "bad" if figures.failed >= figures.calls * _OFTEN else "wait-tone"
        title = _title(axis, number, f"p95 {time_text(slow[number])}, {figures.failed} of {figures.calls} failed")
        bars.append(_bar(axis.left(number), axis.width * 0.86, height, tone, title))
    spoken = f"p95 over time, at most {time_text(most)}"
    spoken += f"; changed at {clock_text(onset.at_ns)}" if onset and not onset.throughout else ""
    lines = _onset_lines(axis, [onset] if onset else [])
    return f'<svg role="img" aria-label="{escape(spoken)}" width="100%" height="100%">{"".join(bars)}{lines}</svg>'
