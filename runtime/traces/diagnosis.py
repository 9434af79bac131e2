"""
What a summary means, in sentences: since when, which operation, how bad, and which setting to look at.

The settings are those of docs/runbook.md, under the heading that is named with them.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .model import clock_text, count_text, time_text
from .summary import Change, Figures, Onset, Operation, Summary

__all__ = [
    "Comparison",
    "advice",
    "compare",
    "failure_text",
    "findings",
    "share_text",
    "with_failing",
    "worst_first",
]

_MOST_KINDS = 4
_NEAR_S = 120.0
_SLOWER = 1.5
_FEW = 10
_OFTEN = 0.05
_A_LITTLE = 1.05
_LEAST_TIMEOUT_S = 1.0
"""Of docs/runbook.md, where good responses take less."""
_ROUND = (1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8)


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
    Return one sentence for each of *onsets*, in their order, with its `advice`.

    The services that are well are named once, in the first sentence on a change.

    Args:
        summary: The figures.
        onsets: Those of `with_failing`.
        clock: How a time, in nanoseconds since 1970, is written.
    """
    found = []
    changed = {onset.operation for onset in onsets}
    well = {operation.service for operation in summary.operations} - {onset.service for onset in onsets}
    for onset in onsets:
        if onset.throughout:
            share = f"failed {share_text(onset.worse.failed, onset.worse.calls)} {_counted(onset.worse)}"
            sentence = f"{onset.operation}: {share} throughout; {failure_text(onset.worse)}"
            found.append((sentence, list(advice(onset, (), clock))))
            continue
        sentence = _sentence(onset, _unchanged(onset, summary, changed, well), clock)
        found.append((sentence, list(advice(onset, summary.settings_changes, clock))))
        well = set()
    return found


def _counted(figures: Figures) -> str:
    return f"({figures.failed} of {count_text(figures.calls, 'call')})"


def with_failing(summary: Summary, onsets: Sequence[Onset]) -> list[Onset]:
    """Return *onsets*, and the other operations that fail all the time as such from the start; the worst first."""
    found = [*onsets, *_failing(summary, {onset.operation for onset in onsets})]
    return sorted(found, key=lambda onset: -onset.harm)


def _failing(summary: Summary, changed: set[str]) -> Iterator[Onset]:
    """Yield the others that fail all the time, with nothing to compare with: `--since` may begin too late."""
    for operation in summary.operations:
        if operation.name in changed:
            continue
        total = operation.total()
        if total.calls >= _FEW and total.failed >= total.calls * _OFTEN:
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
        more = [f"{len(well) - _MOST_KINDS} more"] if len(well) > _MOST_KINDS else []
        names = ", ".join([*sorted(well)[:_MOST_KINDS], *more])
        parts.append("other services unchanged" if well == others else f"other services ({names}) unchanged")
    return ", ".join(parts[::-1])


def _sentence(onset: Onset, unchanged: str, clock: Callable[[int], str]) -> str:
    usual, worse = onset.usual, onset.worse
    what = []
    before_s, after_s = usual.good.quantile(0.95), worse.quantile(0.95)
    if usual.good.count and after_s >= before_s * _SLOWER:
        what.append(f"p95 {time_text(before_s)} → {time_text(after_s)}")
    if worse.failed and (not what or worse.failed >= worse.calls * _OFTEN):
        shares = [share_text(figures.failed, figures.calls) for figures in (usual, worse)]
        what.append(f"failed {' → '.join(shares)} {_counted(worse)}")
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


_TIMEOUT = "{timeout}"
_LOWER = "lower {ATTEMPT_TIMEOUT_S}"
_KEEP = "keep {ATTEMPT_TIMEOUT_S}"
_FEWER = "; lower {RETRY_MAX_ATTEMPTS} if retries, {retries} in this time, add load"
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
        "sent by the platform, look at its logs: no setting mends it{fewer}",
        "connectorcallsfail",
    ),
    (r"^4\d\d$", "the platform does not accept the request: look at what the program asks for", "connectorcallsfail"),
    (r"", "search the platform's logs for the correlation id of a failed call", "connectorcallsfail"),
)


def _advice_on(kind: str, onset: Onset) -> str:
    text, heading = next((text, heading) for pattern, text, heading in _ADVICE if re.search(pattern, kind))
    return f"{_filled(text, onset)} (docs/runbook.md#{heading})"


def _filled(text: str, onset: Onset) -> str:
    """Put figures and the variables of the service into *text*."""
    retries = onset.worse.retries
    fewer = _FEWER.replace("{retries}", str(retries)) if retries else ""
    for name, value in (("timeout", _timeout(onset)), ("fewer", fewer), ("accepted", _accepted(onset))):
        text = text.replace(f"{{{name}}}", value)
    prefix = f"MOZAIKS_CONNECTORS_{re.sub('[^A-Z0-9]', '_', onset.service.upper())}__"
    return re.sub(r"\{([A-Z_]+)\}", rf"{prefix}\1", text)


def _timeout(onset: Onset) -> str:
    """Return which timeout of an attempt fails hardly any call that succeeds now, and what it is made from."""
    now_s = _timeout_in_force(onset)
    lower = _LOWER + (f" from {now_s:g} s" if now_s else "")
    usual, good = onset.usual.good, onset.worse.good
    usual_s = usual.quantile(0.99)
    alone = good.count - onset.worse.recovered  # without a retry, whose time has the timeout of the attempt before
    if alone * 2 > good.count:
        p99_s = good.quantile(0.99 * alone / good.count)
        what = "the p99 of what still succeeds" + (" without a retry" if onset.worse.recovered else "")
        what += " in this time" + (f" ({time_text(usual_s)} at other times)" if usual.count else "")
    elif usual.count:
        p99_s, what = usual_s, "the p99 at other times"
    else:
        return f"{lower} to a little above the slowest good response"
    value_s = max(_LEAST_TIMEOUT_S, _rounded_up(p99_s * _A_LITTLE))
    if now_s and value_s >= now_s:
        return f"{_KEEP} at {now_s:g} s, which is little enough: {time_text(p99_s)} is {what}"
    above = "a little above" if value_s > _LEAST_TIMEOUT_S else "well above"
    return f"{lower} to {value_s:g} s: {above} {time_text(p99_s)}, {what}"


def _timeout_in_force(onset: Onset) -> float:
    """Return the timeout in seconds that most attempts ran into; 0.0 without any."""
    kinds = onset.worse.failures + onset.worse.attempt_failures
    found = (re.fullmatch(r"timed out after (\d{1,9}(?:\.\d{1,9})?) s", kind) for kind, _ in kinds.most_common())
    return next((float(one[1]) for one in found if one), 0.0)


def _rounded_up(seconds: float) -> float:
    """Return the next number of those that people set: of `_ROUND`, times a power of ten."""
    unit = 10.0 ** math.floor(math.log10(seconds)) if seconds else 1.0
    return next((unit * step for step in _ROUND if unit * step >= seconds), unit * 10)


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

    @property
    def harm(self) -> float:
        """How much worse a call is in the second, on average."""
        return self.after.harm - self.before.harm


def compare(before: Summary, after: Summary) -> list[Comparison]:
    """Compare two summaries by operation: the ones that became worse first, and of them the worst."""
    first, second = _by_name(before), _by_name(after)
    rows = []
    for name in sorted({*first, *second}):
        one, other = (found[name].total() if name in found else Figures() for found in (first, second))
        rows.append(Comparison(operation=name, before=one, after=other, verdict=_verdict(one, other)))
    order = ("worse", "new", "gone", "better", "too few", "unchanged")
    return sorted(rows, key=lambda row: (order.index(row.verdict), -row.harm if row.verdict == "worse" else 0))


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
