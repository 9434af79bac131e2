"""
Figures per operation over time, and the moment from which an operation was slow or failed.

Calls are added one after the other and forgotten: memory depends on the number of operations and of seconds, not of
calls. Durations are counted in buckets that are 2 % wide, so a percentile is exact to 1 %.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from middleware.telemetry import semconv

from .calls import NO_FAILURES, Call, is_call, what_happened

__all__ = ["STEPS_S", "Change", "Durations", "Figures", "Onset", "Operation", "Summary", "onset_of"]

_LOG_WIDTH = math.log(1.02)
_MAX_CELLS = 20_000
"""Seconds with calls, summed over all operations, before two of them become one."""
_MAX_OPERATIONS = 300
_MAX_CHANGES = 1000
_MAX_KINDS = 30
_AS_BAD_S = 10.0
"""Wait that is as bad as a failure."""
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Usual lengths of time on clocks and axes."""
OTHER = "(other)"
"""Where operations go that are too many, as those of a program with ids in its names."""


class Durations:
    """Durations in buckets, each 2 % wider than the one before, and the longest of them as it is."""

    __slots__ = ("buckets", "count", "longest_ns")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = 0
        self.longest_ns = 0

    def add(self, nanoseconds: int) -> None:
        """Count a duration."""
        self.add_in(_bucket(nanoseconds), nanoseconds)

    def add_in(self, bucket: int, nanoseconds: int) -> None:
        """Count a duration whose bucket is known."""
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.count += 1
        self.longest_ns = max(self.longest_ns, nanoseconds)

    def update(self, other: "Durations") -> None:
        """Add all durations of *other*."""
        buckets = self.buckets
        for bucket, number in other.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + number
        self.count += other.count
        self.longest_ns = max(self.longest_ns, other.longest_ns)

    def quantile(self, share: float) -> float:
        """Return the duration in seconds that *share* of all do not exceed; 0.0 of none."""
        rank = max(1, math.ceil(share * self.count))
        for bucket in sorted(self.buckets):
            rank -= self.buckets[bucket]
            if rank <= 0:
                return min(math.exp((bucket - 0.5) * _LOG_WIDTH), self.longest_ns) / 1e9  # no timeout is exceeded
        return 0.0

    def waited_s(self, most_s: float) -> float:
        """Return the sum of all in seconds, of each at most *most_s*."""
        buckets = self.buckets.items()
        return sum(number * min(math.exp((bucket - 0.5) * _LOG_WIDTH) / 1e9, most_s) for bucket, number in buckets)

    def above(self, seconds: float) -> int:
        """Return how many are longer."""
        limit = _bucket(int(seconds * 1e9))
        return sum(number for bucket, number in self.buckets.items() if bucket > limit)


def _bucket(nanoseconds: int) -> int:
    return math.ceil(math.log(nanoseconds) / _LOG_WIDTH) if nanoseconds > 1 else 0


@dataclass(slots=True)
class Figures:
    """
    What happened in some time.

    Attributes:
        first_ns: Start of the first call; 0 without calls.
        last_ns: Start of the last call.
        calls: Calls.
        attempts: Attempts.
        retries: Retries.
        recovered: Calls that succeeded after a retry.
        failures: Calls that failed, by what happened.
        attempt_failures: Attempts that failed, by what happened.
        good: Durations of the calls that did not fail.
        bad: Durations of those that did.
    """

    first_ns: int = 0
    last_ns: int = 0
    calls: int = 0
    attempts: int = 0
    retries: int = 0
    recovered: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    attempt_failures: Counter[str] = field(default_factory=Counter)
    good: Durations = field(default_factory=Durations)
    bad: Durations = field(default_factory=Durations)

    @property
    def failed(self) -> int:
        """Calls that failed."""
        return self.bad.count

    @property
    def harm(self) -> float:
        """How bad a call is for its caller, on average: 1 for a failure, and 1 for ten seconds or more of time."""
        waited_s = self.good.waited_s(_AS_BAD_S) + self.bad.waited_s(_AS_BAD_S)
        return (self.failed + waited_s / _AS_BAD_S) / self.calls if self.calls else 0.0

    def quantile(self, share: float) -> float:
        """Return a percentile of the duration of all calls, in seconds."""
        whole = Durations()
        whole.update(self.good)
        whole.update(self.bad)
        return whole.quantile(share)

    def add(self, call: Call, lasted_ns: int, bucket: int, outcome: str) -> None:
        """Count *call*, with its duration and the bucket of it, and its outcome."""
        span = call.span
        start_ns = span.start_ns
        if not self.calls or start_ns < self.first_ns:
            self.first_ns = start_ns
        self.last_ns = max(self.last_ns, start_ns)
        self.calls += 1
        self.attempts += call.attempts_made
        retries = call.retries if span.events else 0
        self.retries += retries
        if outcome in NO_FAILURES:
            self.good.add_in(bucket, lasted_ns)
            self.recovered += retries > 0 and outcome == "success"
        else:
            self.bad.add_in(bucket, lasted_ns)
            _count(self.failures, what_happened(span) or outcome)
        for attempt in call.attempts:
            if attempt.status == "ERROR":
                _count(self.attempt_failures, what_happened(attempt))

    def update(self, other: "Figures") -> None:
        """Add all of *other*."""
        if other.calls:
            self.first_ns = min(self.first_ns, other.first_ns) if self.calls else other.first_ns
        self.last_ns = max(self.last_ns, other.last_ns)
        self.calls += other.calls
        self.attempts += other.attempts
        self.retries += other.retries
        self.recovered += other.recovered
        for kind, number in other.failures.items():
            _count(self.failures, kind, number)
        for kind, number in other.attempt_failures.items():
            _count(self.attempt_failures, kind, number)
        self.good.update(other.good)
        self.bad.update(other.bad)


def _count(kinds: Counter[str], kind: str, number: int = 1) -> None:
    kinds[kind if kind in kinds or len(kinds) < _MAX_KINDS else OTHER] += number


def _sum(figures: Iterable[Figures]) -> Figures:
    found = Figures()
    for one in figures:
        found.update(one)
    return found


@dataclass(slots=True)
class Operation:
    """
    One operation over time.

    Attributes:
        name: Name, such as `identity.get_user`.
        service: Its service.
        connector: True for an operation of a connector.
        cells: Figures by the number of their time slice: `Summary.slice_ns` long, counted from 1970.
        good: Durations of all calls that did not fail.
    """

    name: str
    service: str
    connector: bool
    cells: dict[int, Figures] = field(default_factory=dict)
    good: Durations = field(default_factory=Durations)

    @property
    def median_s(self) -> float | None:
        """Median of the calls that did not fail, in seconds; None of fewer than ten."""
        return self.good.quantile(0.5) if self.good.count >= _FEW else None

    def total(self) -> Figures:
        """Return the figures of all the time."""
        return _sum(self.cells.values())


@dataclass(frozen=True, slots=True)
class Change:
    """A circuit breaker changed its state, or a service got other settings, at a time in nanoseconds since 1970."""

    at_ns: int
    service: str
    text: str


class Summary:
    """
    Figures per operation and time slice.

    Attributes:
        slice_ns: Length of a slice: a second, doubled whenever there are too many of them.
        changes: State changes of circuit breakers, and changes of settings; the first 1000.
        first_ns: Start of the first call; 0 without calls.
        last_ns: End of the last one.
    """

    def __init__(self) -> None:
        self.slice_ns = 1_000_000_000
        self.changes: list[Change] = []
        self.first_ns = 0
        self.last_ns = 0
        self._operations: dict[str, Operation] = {}
        self._cells = 0
        self._hashes: dict[str, dict[str, int]] = defaultdict(dict)  # service -> hash -> first start

    def add(self, call: Call) -> None:
        """Count *call*."""
        span, outcome = call.span, call.outcome
        start_ns, lasted_ns = span.start_ns, span.end_ns - span.start_ns
        bucket = _bucket(lasted_ns)
        operation = self._operations.get(call.operation)
        if operation is None:
            operation = self._new_operation(call)
        number = start_ns // self.slice_ns
        cell = operation.cells.get(number)
        if cell is None:
            cell = operation.cells[number] = Figures()
            self._cells += 1
        cell.add(call, lasted_ns, bucket, outcome)
        if outcome in NO_FAILURES:
            operation.good.add_in(bucket, lasted_ns)
        if start_ns < self.first_ns or not self.first_ns:
            self.first_ns = start_ns
        self.last_ns = max(self.last_ns, span.end_ns)
        if span.events:
            self._note_events(call)
        if digits := call.settings_hash:
            hashes = self._hashes[operation.service]
            if digits in hashes:
                hashes[digits] = min(hashes[digits], start_ns)
            elif len(hashes) < _MAX_CHANGES:
                hashes[digits] = start_ns
        while self._cells > _MAX_CELLS:
            self._widen()

    def _new_operation(self, call: Call) -> Operation:
        name = call.operation if len(self._operations) < _MAX_OPERATIONS else OTHER
        made = Operation(name=name, service=call.service, connector=is_call(call.span))
        return self._operations.setdefault(name, made)

    def _note_events(self, call: Call) -> None:
        for event in call.span.events:
            if event.name == semconv.EVENT_CIRCUIT_STATE_CHANGED and len(self.changes) < _MAX_CHANGES:
                before, after = (event.attributes.get(name) for name in _FROM_TO)
                name = event.attributes.get(semconv.CIRCUIT_BREAKER_NAME, call.service)
                self.changes.append(Change(event.at_ns, call.service, f"circuit breaker {name} {before} → {after}"))

    def _widen(self) -> None:
        self.slice_ns *= 2
        self._cells = 0
        for operation in self._operations.values():
            merged: dict[int, Figures] = {}
            for number, cell in operation.cells.items():
                if number // 2 in merged:
                    merged[number // 2].update(cell)
                else:
                    merged[number // 2] = cell
            operation.cells = merged
            self._cells += len(merged)

    @property
    def operations(self) -> list[Operation]:
        """All operations by name: those of connectors, or, where there are none, of whichever programs there are."""
        ours = [operation for operation in self._operations.values() if operation.connector]
        return sorted(ours or self._operations.values(), key=lambda operation: operation.name)

    @property
    def settings_changes(self) -> list[Change]:
        """When each service got other settings than it had at first, by time."""
        found = []
        for service, hashes in self._hashes.items():
            known = sorted(hashes.items(), key=lambda item: item[1])
            for (before, _), (after, at_ns) in pairwise(known):
                found.append(Change(at_ns, service, f"settings of {service} {before} → {after}"))
        return sorted(found, key=lambda change: change.at_ns)

    def step_ns(self, most: int) -> int:
        """Return the length of a step, a usual one for clocks, of which about *most* make up the whole time."""
        length_s = (self.last_ns - self.first_ns) / 1e9
        least_s = max(length_s / most, self.slice_ns / 1e9)
        step_s = next((step for step in STEPS_S if step >= least_s), 0) or int(-(-least_s // 86400) * 86400)
        return -(-step_s * 1_000_000_000 // self.slice_ns) * self.slice_ns

    def onsets(self) -> "list[Onset]":
        """Return when operations changed for the worse, the worst first."""
        found = (onset_of(operation) for operation in self.operations)
        return sorted(filter(None, found), key=lambda onset: -onset.harm)

    def medians(self) -> dict[str, float]:
        """Return the median of each operation that has one, in seconds, by its name."""
        found = {operation.name: operation.median_s for operation in self._operations.values()}
        return {name: median_s for name, median_s in found.items() if median_s is not None}

    def median(self, call: Call) -> float | None:
        """Return the median of the operation of *call*, in seconds, if it has one."""
        operation = self._operations.get(call.operation)
        return None if operation is None else operation.median_s


_FROM_TO = (semconv.CIRCUIT_BREAKER_FROM, semconv.CIRCUIT_BREAKER_TO)
_FEW = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Onset:
    """
    An operation changed for the worse.

    Attributes:
        operation: Name of the operation.
        service: Its service.
        at_ns: Start of the first call that was worse.
        until_ns: Start of the last one; None when it lasts to the end of the file.
        from_start: True when no calls lie before it.
        usual: Figures of the other time.
        worse: Figures of this time.
        weight: Log-likelihood ratio: how unlikely it is that nothing changed.
    """

    operation: str
    service: str
    at_ns: int
    until_ns: int | None
    from_start: bool
    usual: Figures
    worse: Figures
    weight: float

    @property
    def harm(self) -> float:
        """How much worse a call is than at other times, on average."""
        return self.worse.harm - self.usual.harm

    @property
    def throughout(self) -> bool:
        """True when there is no other time: what is usual is not known."""
        return not self.usual.calls


_WINDOWS = 24
_LEAST_CALLS = 20
_LEAST_ODD = 3
_SLOWER = 2.0
_SLOWER_S = 0.02
_MORE_ODD = 0.05
_SHARES = (0.03, 0.1, 0.25, 0.5, 0.75)
_LEAST_WEIGHT = 12.0
_SURE = 0.01


def onset_of(operation: Operation) -> Onset | None:
    """
    Return when *operation* changed for the worse, or None.

    A call is odd when it failed, or took more than twice as long as is usual, and 20 ms longer. What is usual is taken
    from the quiet part of the time: of 24 windows of equally many calls, the 95th percentile that a sixth of them does
    not exceed. The result is the stretch of time in which odd calls are most unlikely to be chance, by Kulldorff's scan
    statistic (https://doi.org/10.1080/03610929708831995): the log-likelihood ratio is at least 12, three calls or more
    are odd, and their share is at least 5 points, and twice, above that of the other time. One stretch is found per
    operation, the worst.
    """
    cells = [operation.cells[number] for number in sorted(operation.cells)]
    calls = [cell.calls for cell in cells]
    if sum(calls) < _LEAST_CALLS:
        return None
    limit_s = _usual_limit(cells)
    odd = [cell.failed + (cell.good.above(limit_s) if limit_s else 0) for cell in cells]
    all_calls, all_odd = sum(calls), sum(odd)
    best: tuple[float, int, int] = (0.0, 0, 0)
    for share in _SHARES:
        first, end = _fullest(calls, odd, share)
        best = max(best, (_weight(sum(odd[first:end]), sum(calls[first:end]), all_odd, all_calls), first, end))
    weight, first, end = best
    inside, odd_inside = sum(calls[first:end]), sum(odd[first:end])
    if weight < _LEAST_WEIGHT or odd_inside < _LEAST_ODD:
        return None
    share = odd_inside / inside
    others = (all_odd - odd_inside) / (all_calls - inside)
    if share < max(others * 2, others + _MORE_ODD):
        return None
    after = sum(calls[end:])
    return Onset(
        operation=operation.name,
        service=operation.service,
        at_ns=cells[first].first_ns,
        until_ns=cells[end - 1].last_ns if (1 - share) ** after < _SURE else None,
        from_start=first == 0,
        usual=_sum([*cells[:first], *cells[end:]]),
        worse=_sum(cells[first:end]),
        weight=weight,
    )


def _usual_limit(cells: Sequence[Figures]) -> float:
    """Return the seconds from which a successful call is odd; 0.0 when hardly any succeeded."""
    size = max(_FEW / 2, sum(cell.calls for cell in cells) / _WINDOWS)
    found = sorted(window.quantile(0.95) for window in _windows(cells, size))
    if not found:
        return 0.0
    usual = found[len(found) // 6]
    return max(usual * _SLOWER, usual + _SLOWER_S)


def _windows(cells: Sequence[Figures], size: float) -> Iterator[Durations]:
    window = Durations()
    for cell in cells:
        window.update(cell.good)
        if window.count >= size:
            yield window
            window = Durations()


def _fullest(calls: Sequence[int], odd: Sequence[int], share: float) -> tuple[int, int]:
    """Return the stretch that has most odd calls above *share* of all (Kadane's maximum subarray)."""
    best, found, total, start = 0.0, (0, 0), 0.0, 0
    for index, (number, bad) in enumerate(zip(calls, odd, strict=True)):
        if total <= 0:
            total, start = 0.0, index
        total += bad - share * number
        if total > best:
            best, found = total, (start, index + 1)
    return found


def _weight(odd: int, calls: int, all_odd: int, all_calls: int) -> float:
    if calls in {0, all_calls}:
        return 0.0
    whole = _likelihood(all_odd, all_calls)
    return _likelihood(odd, calls) + _likelihood(all_odd - odd, all_calls - calls) - whole


def _likelihood(odd: int, calls: int) -> float:
    return sum(part * math.log(part / calls) for part in (odd, calls - odd) if part)
