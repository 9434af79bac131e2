"""
What a summary means, in sentences: since when, which operation, how bad, and which setting to look at.

The settings are those of docs/runbook.md, under the heading that is named with them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .model import clock_text, time_text
from .summary import Change, Figures, Onset, Operation, Summary

__all__ = ["Comparison", "advice", "compare", "failure_text", "findings", "share_text", "worst_first"]

_MOST_KINDS = 4
_NEAR_S = 120.0
_SLOWER = 1.5
_FEW = 10
_OFTEN = 0.05


def share_text(part: float, whole: float) -> str:
    """Return a share as text: a whole percentage, or `< 1 %`."""
    share = 100 * part / whole if whole else 0.0
    return "< 1 %" if 0 < share < 1 else f"{share:.0f} %"


def failure_text(figures: Figures, *, most: int = _MOST_KINDS) -> str:
    """Return the kinds of failures of calls, most frequent first: `38 % timed out after 10 s, 41 % 503`."""
    kinds = figures.failures.most_common(most)
    return ", ".join(f"{share_text(number, figures.calls)} {kind}" for kind, number in kinds)


def worst_first(summary: Summary, onsets: Sequence[Onset]) -> list[tuple[Operation, Figures]]:
    """Return all operations with their figures: those of *onsets* first, then those with most failed calls."""
    rank = {onset.operation: number for number, onset in enumerate(onsets)}
    found = [(operation, operation.total()) for operation in summary.operations]
    return sorted(found, key=lambda row: (rank.get(row[0].name, len(rank)), -row[1].failed, row[0].name))


def findings(
    summary: Summary, onsets: Sequence[Onset], clock: Callable[[int], str] = clock_text
) -> list[tuple[str, list[str]]]:
    """
    Return one sentence per operation that changed for the worse, or that fails all the time, each with its `advice`.

    Args:
        summary: The figures.
        onsets: Its onsets; the worst is the first, here too.
        clock: How a time, in nanoseconds since 1970, is written.
    """
    changed = {onset.operation for onset in onsets}
    well = {operation.service for operation in summary.operations} - {onset.service for onset in onsets}
    found = []
    for onset in onsets:
        sentence = _sentence(onset, _unchanged(onset, summary, changed, well), clock)
        found.append((sentence, list(advice(onset, summary.settings_changes, clock))))
    for one in _failing(summary, changed):
        sentence = f"{one.operation}: fails all the time; {failure_text(one.worse)}"
        found.append((sentence, list(advice(one, (), clock))))
    return found


def _failing(summary: Summary, changed: set[str]) -> Iterator[Onset]:
    """Yield the others that fail all the time, with nothing to compare with: `--since` may begin too late."""
    for operation in summary.operations:
        calls = sum(cell.calls for cell in operation.cells.values())
        failed = sum(cell.failed for cell in operation.cells.values())
        if operation.name not in changed and calls >= _FEW and failed >= calls * _OFTEN:
            total = operation.total()
            yield Onset(
                operation=operation.name,
                service=operation.service,
                at_ns=total.first_ns,
                until_ns=None,
                from_start=True,
                usual=Figures(),
                worse=total,
                weight=0.0,
            )


def _unchanged(onset: Onset, summary: Summary, changed: set[str], well: set[str]) -> str:
    parts = []
    own = [operation for operation in summary.operations if operation.service == onset.service]
    if len(own) > 1 and all(operation.name in changed for operation in own):
        parts.append(f"all {len(own)} operations of {onset.service} changed")
    elif any(operation.name not in changed for operation in own):
        parts.append(f"other operations of {onset.service} unchanged")
    if well:
        others = {operation.service for operation in summary.operations} - {onset.service}
        names = ", ".join(sorted(well)[:_MOST_KINDS])
        parts.append("other services unchanged" if well == others else f"{names} unchanged")
    return ", ".join(parts[::-1])


def _sentence(onset: Onset, unchanged: str, clock: Callable[[int], str]) -> str:
    usual, worse = onset.usual, onset.worse
    what = []
    before_s, after_s = usual.good.quantile(0.95), worse.quantile(0.95)
    if usual.good.count and after_s >= before_s * _SLOWER:
        what.append(f"p95 {time_text(before_s)} → {time_text(after_s)}")
    if worse.failed and (not what or worse.failed >= worse.calls * _OFTEN):
        what.append(f"failed {share_text(usual.failed, usual.calls)} → {share_text(worse.failed, worse.calls)}")
    when = f"{'already at' if onset.from_start else 'at'} {clock(onset.at_ns)}"
    if onset.until_ns is not None:
        when += f" until {clock(onset.until_ns)}"
    parts = [f"{onset.operation}: {', '.join(what)} {when}", unchanged, failure_text(worse)]
    if worse.recovered >= worse.calls * _OFTEN:
        kinds = ", ".join(kind for kind, _ in worse.attempt_failures.most_common(2))
        share = share_text(worse.recovered, worse.calls)
        parts.append(f"{share} recovered by retries" + (f" after {kinds}" if kinds else ""))
    return "; ".join(filter(None, parts))


def advice(onset: Onset, changes: Iterable[Change], clock: Callable[[int], str] = clock_text) -> Iterator[str]:
    """Yield what to look at, and which setting to change, each with its heading in docs/runbook.md; as `findings`."""
    for change in changes:
        if change.service == onset.service and -_NEAR_S * 1e9 <= change.at_ns - onset.at_ns <= _NEAR_S * 1e9:
            yield f"{change.text} at {clock(change.at_ns)}"
    kinds = onset.worse.failures + onset.worse.attempt_failures
    often = [kind for kind, number in kinds.most_common() if number >= max(1, onset.worse.calls * 0.01)]
    for kind in sorted(often, key=lambda kind: "circuit" in kind):  # a consequence, so behind its causes
        yield f"{kind}: {_advice_on(kind, onset)}"
    if not often:
        yield f"slow, without failures: {_advice_on('timed out', onset)}"


_TIMEOUT = "lower {ATTEMPT_TIMEOUT_S} to a little above the slowest good response{usual}"
# What a kind of failure begins with or contains, what to do, and the heading of the runbook.
_ADVICE = (
    (r"timed out", _TIMEOUT, "connectorcallsslow"),
    (
        r"circuit",
        "follows from failures before it: nothing is sent for {CIRCUIT_BREAKER_OPEN_S}, then one call probes",
        "circuitbreakeropen",
    ),
    (r"call cap", "raise {CALLS_MAX_IN_FLIGHT} if the service has capacity", "connectorrefusesitself"),
    (r"bulkhead", "raise {BULKHEAD_PERMITS} if the service has capacity", "connectorrefusesitself"),
    (r"rate limit", "raise {RATE_LIMIT_PER_SECOND} if the service allows more", "connectorrefusesitself"),
    (
        r"^429$|quota: Retry-After",
        "the platform asks for less: pace calls with {RATE_LIMIT_PER_SECOND}{accepted}",
        "connectorcallsfail",
    ),
    (
        r"quota",
        "raise {QUOTA_PER_SECOND} if the service allows more; of a process' share, look at the quota's server",
        "connectorrefusesitself",
    ),
    (  # behind the guards, whose texts say that a slot is after the deadline
        r"deadline",
        "{DEADLINE_TOTAL_S} is over before attempts and waits are; see which of them takes the time",
        "connectorcallsslow",
    ),
    (
        r"^5\d\d$",
        "sent by the platform, look at its logs: no setting mends it; lower {RETRY_MAX_ATTEMPTS} if retries add load",
        "connectorcallsfail",
    ),
    (r"^4\d\d$", "the platform does not accept the request: look at what the program asks for", "connectorcallsfail"),
    (r"", "search the platform's logs for the correlation id of a failed call", "connectorcallsfail"),
)


def _advice_on(kind: str, onset: Onset) -> str:
    text, heading = next((text, heading) for pattern, text, heading in _ADVICE if re.search(pattern, kind))
    return f"{_filled(text, onset)} (docs/runbook.md#{heading})"


def _filled(text: str, onset: Onset) -> str:
    """Put the variables of the service into *text*."""
    good = onset.usual.good
    usual = f": {time_text(good.quantile(0.99))} at other times (p99)" if good.count else ""
    if usual and onset.worse.good.count and not onset.worse.recovered:  # a timeout below it fails these calls too
        usual += f", {time_text(onset.worse.good.quantile(0.99))} in this time"
    elif usual and onset.worse.recovered < onset.worse.good.count / 2:
        usual += f"; in this time half of them take {time_text(onset.worse.good.quantile(0.5))} or longer"
    prefix = f"MOZAIKS_CONNECTORS_{re.sub('[^A-Z0-9]', '_', onset.service.upper())}__"
    text = text.replace("{usual}", usual).replace("{accepted}", _accepted(onset))
    return re.sub(r"\{([A-Z_]+)\}", rf"{prefix}\1", text)


def _accepted(onset: Onset) -> str:
    """Return how many attempts per second got another response than a 429, for a rate to begin with."""
    worse = onset.worse
    seconds = (worse.last_ns - worse.first_ns) / 1e9
    asked_less = worse.attempt_failures["429"]
    if not asked_less or seconds < 1:
        return ""
    sent, accepted = worse.attempts / seconds, (worse.attempts - asked_less) / seconds
    return f"; of {sent:.1f} attempts/s to {onset.operation} it accepted {accepted:.1f}/s in this time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """
    One operation in two times, files or settings.

    Attributes:
        operation: Name.
        before: Its figures in the first.
        after: Its figures in the second.
        verdict: `worse`, `better`, `unchanged`, `new`, `gone`, or `too few` calls to say.
    """

    operation: str
    before: Figures
    after: Figures
    verdict: str


def compare(before: Summary, after: Summary) -> list[Comparison]:
    """Compare two summaries by operation: the ones that became worse first."""
    first, second = _by_name(before), _by_name(after)
    rows = []
    for name in sorted({*first, *second}):
        one, other = (found[name].total() if name in found else Figures() for found in (first, second))
        rows.append(Comparison(operation=name, before=one, after=other, verdict=_verdict(one, other)))
    order = ("worse", "new", "gone", "better", "too few", "unchanged")
    return sorted(rows, key=lambda row: order.index(row.verdict))


def _by_name(summary: Summary) -> dict[str, Operation]:
    return {operation.name: operation for operation in summary.operations}


def _verdict(before: Figures, after: Figures) -> str:
    if not before.calls or not after.calls:
        return "gone" if before.calls else "new"
    if min(before.calls, after.calls) < _FEW:
        return "too few"
    # Two standard deviations of the difference of two shares, and never less than one point.
    whole = (before.failed + after.failed) / (before.calls + after.calls)
    margin = max(0.01, 2 * (whole * (1 - whole) * (1 / before.calls + 1 / after.calls)) ** 0.5)
    failed = after.failed / after.calls - before.failed / before.calls
    if abs(failed) >= margin:
        return "worse" if failed > 0 else "better"
    one, other = before.quantile(0.95), after.quantile(0.95)
    if max(one, other) >= min(one, other) * _SLOWER and abs(one - other) >= 0.01:  # noqa: PLR2004 - 10 ms
        return "worse" if other > one else "better"
    return "unchanged"
