"""
When the attempts of one call start and end while its service is ill: exact bounds, by arithmetic alone.

The only chance in a lone call is the jitter of its waits. Each wait may be any value between two bounds, so the starts
of an attempt are a few intervals, and each follows from those of the attempt before. A bound that is `exact` is reached
by a choice of waits, which `Schedule.waits_to` returns; one that is not still is never exceeded.

A lone call of a new client is meant: no other call fills the window of its circuit breaker, spends its retry budget or
takes its permits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean, median
from typing import NamedTuple

from middleware.stack import StackSettings
from middleware.status import StatusRule, status_rule
from middleware.types import KEYED_METHODS
from runtime.connectors.endpoint import is_idempotent

from .models import Model
from .simulate import READ, Operation

__all__ = ["AttemptBounds", "Never", "Outcome", "Schedule", "outcome_of", "schedule_of"]

_JITTER_SHARE, _JITTER_CAP_S = 0.1, 1.0  # R15
_BUCKET = 0.1  # of the breaker's window: a failure is counted for at least the other nine tenths
_GRAIN_S = 0.1  # R18: of the budget's window
_SAMPLES = 201
_INSIDE_S = 1e-4  # how far from an open bound the adversary stays
_NEAR = 1e-9


class _Span(NamedTuple):
    """Times from *low* to *high*."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class AttemptBounds:
    """
    When an attempt may start and end, in seconds from the start of its call.

    Attributes:
        number: 1 for the first attempt.
        is_hedge: It starts while another one is in flight.
        starts_s: Earliest and latest start.
        ends_s: Earliest and latest end.
        always: It starts whatever the jitter is.
        exact: Both ends of the bounds are reached by some jitter.
    """

    number: int
    is_hedge: bool
    starts_s: tuple[float, float]
    ends_s: tuple[float, float]
    always: bool
    exact: bool


class Never(NamedTuple):
    """
    Attempts that the settings allow and that can never start.

    Attributes:
        first: Number of the first one.
        last: Number of the last one.
        reason: As the `stop_reason` of a call: the first reason that applies; `success` where an earlier one succeeds.
        text: The same for people, with the settings behind it.
    """

    first: int
    last: int
    reason: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """
    What one call does.

    Attributes:
        fault: The model.
        attempts: Every attempt that may start.
        never: Those that cannot.
        fastest_s: Shortest time from the call to its end.
        worst_case_s: Longest time from the call to its end.
        typical_s: Median of that time over the jitter.
        attempts_per_call: Mean number of attempts over the jitter.
        succeeds: The call may end with a success.
        fails: The call may end with an error.
        deadline_s: Its deadline.
        rounds: Draws of the jitter that reach each attempt's bounds; see `waits_to`.
    """

    fault: str
    attempts: tuple[AttemptBounds, ...]
    never: tuple[Never, ...]
    fastest_s: float
    worst_case_s: float
    typical_s: float
    attempts_per_call: float
    succeeds: bool
    fails: bool
    deadline_s: float
    rounds: "_Rounds"

    def waits_to(self, number: int, *, latest: bool) -> list[float]:
        """Return the draws of a jitter with which attempt *number* starts at its latest, or earliest, moment."""
        return self.rounds.waits_to(number, latest=latest)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """
    What becomes of an attempt that has all the time it needs.

    Attributes:
        lasts_s: Time to its end; infinite for never.
        fails: It ends with a failure.
        lost: No complete response arrived, or none can.
        status: Rule of the status; None for none.
        retry_after_s: The Retry-After.
        refused: Its connection was refused.
    """

    lasts_s: float
    fails: bool
    lost: bool = False
    status: StatusRule | None = None
    retry_after_s: float | None = None
    refused: bool = False

    def is_counted(self, timeout_s: float) -> bool:
        """Return whether the circuit breaker counts it as a failure (R31), at that attempt timeout."""
        if self.lasts_s > timeout_s + _NEAR:
            return True
        if self.status is not None:  # limited: in a window without a success
            return self.status.verdict in {"failure", "limited"}
        return self.fails


def schedule_of(
    settings: StackSettings, fault: Model, *, operation: Operation = READ, latency_s: float = 0.1
) -> Schedule:
    """
    Compute the schedule of one call.

    Args:
        settings: Settings in force for the operation.
        fault: A fault that each request meets: one of `models.FAULTS` or a status. With `flapping` the service goes
            down as the call begins.
        operation: What is called.
        latency_s: Time to a response, where the fault does not say it.

    Raises:
        ValueError: The fault is by chance, or changes with the load.
    """
    outcome = outcome_of(fault, latency_s)
    if outcome is None:
        raise ValueError(
            f"{fault.text!r}: a single call is explained under hang, 503, 429:30, refused, slow:2s, lost, "
            "half-body or flapping:5s; simulate has the others"
        )
    return _Rounds(settings, fault, operation, outcome).schedule()


def outcome_of(fault: Model, latency_s: float) -> Outcome | None:
    """Return what becomes of an attempt under *fault*; None where that is by chance, or changes with the load."""
    by_chance = fault.name in {"lost", "half-body"} and fault.values != (1.0,)
    return _outcome_of(fault, latency_s) if fault.is_fault and not by_chance else None


def _outcome_of(fault: Model, latency_s: float) -> Outcome:
    if fault.name == "hang":
        return Outcome(lasts_s=float("inf"), fails=True, lost=True)
    if fault.name == "refused":
        return Outcome(lasts_s=0.0, fails=True, refused=True)
    if fault.name == "slow":
        return Outcome(lasts_s=fault.values[0], fails=False)
    if fault.name in {"lost", "half-body"}:
        return Outcome(lasts_s=latency_s, fails=True, lost=True)
    if fault.name == "flapping":
        return Outcome(lasts_s=latency_s, fails=True, status=status_rule(503))
    status, *after = fault.values
    retry_after_s = after[0] if after and after[0] > 0 else None  # R15: zero is ignored
    rule = status_rule(int(status), has_retry_after=retry_after_s is not None)
    return Outcome(lasts_s=latency_s, fails=True, status=rule, retry_after_s=retry_after_s)


class _Rounds:
    """
    The rounds of one call: an attempt with its hedges each, and a wait between two.

    Attributes:
        starts: For each round the spans of its possible starts.
        offsets: For each round the starts of its attempts, from its own start.
    """

    def __init__(self, settings: StackSettings, fault: Model, operation: Operation, outcome: Outcome) -> None:
        self._settings = settings
        self._fault = fault
        self._operation = operation
        self._outcome = outcome
        self._deadline_s = settings.deadline.total_s
        self._timeout_s = settings.attempt.timeout_s
        idempotent = is_idempotent(operation.method, operation.idempotent)
        self._repeatable = idempotent or (settings.idempotency.honors_key and operation.method in KEYED_METHODS)
        most = settings.retry.max_attempts
        self._most = most if operation.max_attempts is None else min(most, operation.max_attempts)
        self._allowed = self._most
        if self._outcome.refused and self._most > 1:  # R20
            self._allowed = settings.retry.not_sent_max_attempts
        self._exact = True
        self._withdrawn = 0
        self._stopped: tuple[str, str] = ("", "")
        self._slots = _Span(0.0, 0.0)  # theoretical arrival times of the rate limit, on the shortest and longest way
        self._rejected_at = 0.0
        self._exact_rounds: list[bool] = []
        self.starts: list[list[_Span]] = []
        self.offsets: list[list[float]] = []
        self._build()

    # --- one attempt ---

    @property
    def _times_out(self) -> bool:
        return self._outcome.lasts_s > self._timeout_s + _NEAR

    @property
    def _lasts_s(self) -> float:
        """How long an attempt with all the time lasts."""
        return min(self._outcome.lasts_s, self._timeout_s)

    def _fails_at(self, start: float) -> bool:
        """Return whether an attempt that starts then and has all the time it needs fails."""
        if self._fault.name == "flapping":
            return int(start / self._fault.values[0]) % 2 == 0 or self._times_out
        return self._outcome.fails or self._times_out

    def _counts_as_failure(self) -> bool:
        return self._outcome.is_counted(self._timeout_s)

    def _may_retry(self) -> bool:
        rule = self._outcome.status
        if self._outcome.refused:
            return True
        if rule is None or self._times_out:
            return self._repeatable
        if rule.throttled and self._settings.retry.repeat_writes_after_503:
            return True
        return rule.repeat == "any" or (rule.repeat == "repeatable" and self._repeatable)

    # --- waits ---

    def _wait(self, failures: int) -> tuple[_Span, _Span | None]:
        """Return the bounds of the backoff after so many failures, and those of Retry-After with its jitter."""
        retry, rule = self._settings.retry, self._outcome.status
        if self._outcome.refused:
            base, cap = retry.not_sent_base_delay_s, retry.not_sent_max_delay_s
        elif rule is not None and rule.throttled and not self._times_out:
            base, cap = retry.throttle_base_delay_s, retry.throttle_max_delay_s
        else:
            base, cap = retry.base_delay_s, retry.max_delay_s
        ceiling = min(cap, base * 2 ** (failures - 1))
        backoff = _Span(ceiling / 2 if self._outcome.refused else 0.0, ceiling)
        after = None if self._times_out else self._outcome.retry_after_s
        if after is None:
            return backoff, None
        return backoff, _Span(after, after + min(after * _JITTER_SHARE, _JITTER_CAP_S))

    def _wait_span(self, failures: int) -> _Span:
        backoff, after = self._wait(failures)
        if after is None:
            return backoff
        return _Span(max(backoff.low, after.low), max(backoff.high, after.high))

    def _draws(self, failures: int, wait: float) -> list[float]:
        """Return what the source of jitter gives for that wait."""
        backoff, after = self._wait(failures)
        if after is None:
            return [wait]
        jitter = min(max(0.0, wait - after.low), after.high - after.low)
        return [min(max(backoff.low, wait), backoff.high) if wait > after.high else backoff.low, jitter]

    # --- rounds ---

    def _build(self) -> None:
        if self._settings.circuit_breaker.mode == "forced_open":
            self._stopped = "circuit_open", "circuit_breaker.mode is forced_open"
            return
        self._note_limits()
        if self._rate_limit_binds:
            interval = 1 / self._settings.rate_limit.per_second
            self._slots = _Span(interval, interval)
        spans, made, failed = [_Span(0.0, 0.0)], 0, 0
        while True:
            offsets = self._offsets(made, failed, spans[-1].high)
            self.starts.append(spans)
            self._exact_rounds.append(self._exact)
            self.offsets.append(offsets)
            made += len(offsets)
            failed += len(offsets) if self._counts_as_failure() else 0
            following = self._failing(spans, offsets)
            reason = self._reason(made, failed, following)
            if reason is None:
                spans, reason = self._following(following, offsets)
            if reason is not None:
                self._stopped = reason
                return
            self._withdrawn += 1

    def _note_limits(self) -> None:
        """Note what makes bounds wider than what can happen."""
        settings = self._settings
        may_wait = settings.circuit_breaker.mode == "normal" and self._min_calls <= self._allowed  # R39
        if self._is_hedged and (
            settings.bulkhead.adaptive
            or (may_wait and self._deadline_s <= self._timeout_s + _NEAR)
            or self._rate_limit_binds
        ):
            self._exact = False

    @property
    def _is_hedged(self) -> bool:
        return self._settings.hedging.max_hedges > 0 and self._repeatable

    @property
    def _rate_limit_binds(self) -> bool:
        limit = self._settings.rate_limit
        return limit.per_second > 0 and limit.burst < self._allowed

    def _offsets(self, made: int, failed: int, latest: float) -> list[float]:
        """Return when the attempts of the next round start, from its own start (R19)."""
        hedging, settings = self._settings.hedging, self._settings
        offsets = [0.0]
        if hedging.max_hedges == 0 or not self._repeatable:
            return offsets
        for hedge in range(1, hedging.max_hedges + 1):
            at = hedge * hedging.delay_s
            first_ends = self._lasts_s
            if abs(first_ends + offsets[-1] - at) < _NEAR or abs(first_ends - at) < _NEAR:
                self._exact = False
            if self._fault.name == "flapping" or not self._fails_at(0.0):
                if at >= first_ends:
                    break
            elif offsets[-1] + first_ends <= at:
                break  # all of the round have failed
            ended = sum(offset + first_ends <= at for offset in offsets)
            rule = self._outcome.status
            throttled = rule is not None and ended and (rule.throttled or self._outcome.retry_after_s is not None)
            failures = failed + (ended if self._counts_as_failure() else 0)
            in_flight = len(offsets) - ended
            if throttled or made + len(offsets) >= self._allowed or self._is_open(failures):
                continue
            if in_flight >= settings.bulkhead.permits or not self._has_budget(latest + at):
                continue
            self._withdrawn += 1
            offsets.append(at)
        return offsets

    def _has_budget(self, by: float) -> bool:
        """Return whether the budget allows one more retry or hedge of a lone call, decided by then at the latest."""
        budget = self._settings.budget
        always = budget.min_per_s * budget.ttl_s - self._withdrawn
        if not budget.enabled or always >= 1:
            return True
        if by < budget.ttl_s - _GRAIN_S:
            return always + budget.ratio >= 1
        self._exact = False  # by then the call, or a retry, may have left the window
        return True

    def _is_open(self, failures: int) -> bool:
        """Return whether that many failures of this call have opened the circuit."""
        breaker = self._settings.circuit_breaker
        if breaker.mode != "normal" or failures < breaker.min_calls:
            return False
        if self._latest_end() < breaker.window_s * (1 - _BUCKET):
            return True
        self._exact = False  # it depends on the jitter, and on where in a bucket of the window the call began
        return False

    def _latest_end(self) -> float:
        """Return the latest end of the attempts so far."""
        if not self.starts:
            return self._lasts_s
        return max(span.high for span in self.starts[-1]) + self.offsets[-1][-1] + self._lasts_s

    def _failing(self, spans: Sequence[_Span], offsets: Sequence[float]) -> list[_Span]:
        """Return the starts after which the round fails before the deadline."""
        lasts = offsets[-1] + self._lasts_s
        latest = self._deadline_s - lasts
        found = []
        for span in spans:
            for low, high in self._down(span):
                if low < latest:
                    found.append(_Span(low, min(high, latest)))
        return found

    def _down(self, span: _Span) -> Iterator[_Span]:
        """Return the parts of *span* in which an attempt fails."""
        if self._fault.name != "flapping" or self._times_out:
            if self._fails_at(span.low):
                yield span
            return
        (period,) = self._fault.values
        at = 0.0
        while at <= span.high:
            low, high = max(span.low, at), min(span.high, at + period)
            if low < at + period and low <= high:
                yield _Span(low, high)
            at += 2 * period

    def _reason(self, made: int, failed: int, following: Sequence[_Span]) -> tuple[str, str] | None:
        """Return why no attempt follows the failure of a round, in the order of R10."""
        if not following:
            return self._without_failure()
        if not self._may_retry():
            return "not_retryable", f"{self._operation.method} must not be repeated after this failure (R11)"
        if made >= self._allowed:
            name = "retry.not_sent_max_attempts" if self._outcome.refused and self._most > 1 else "retry.max_attempts"
            return "max_attempts", f"{name} is {self._allowed}"
        if self._is_open(failed):
            return "circuit_open", f"its failures open the circuit: circuit_breaker.min_calls is {self._min_calls}"
        after, most = self._outcome.retry_after_s, self._settings.retry.retry_after_max_s
        if after is not None and not self._times_out and after > most:
            return "retry_after_max", f"Retry-After {after:g} s is above retry.retry_after_max_s, {most:g} s"
        return None

    @property
    def _min_calls(self) -> int:
        return self._settings.circuit_breaker.min_calls

    def _without_failure(self) -> tuple[str, str]:
        if self._outcome.fails or self._times_out:
            return "deadline", f"the deadline of {self._deadline_s:g} s ends the attempt before"
        return "success", "an earlier attempt succeeds"

    def _following(
        self, failing: Sequence[_Span], offsets: Sequence[float]
    ) -> tuple[list[_Span], tuple[str, str] | None]:
        """Return the starts of the next round, or why there is none."""
        wait = self._wait_span(len(self.starts))
        lasts, until = offsets[-1] + self._lasts_s, self._deadline_s - self._settings.retry.min_attempt_s
        found = []
        for span in failing:
            low, high = span.low + lasts + wait.low, span.high + lasts + wait.high
            if low < until:
                found.append(_Span(low, min(high, until)))
        if not found:
            ends = min(span.low for span in failing) + lasts
            left = max(0.0, self._deadline_s - ends)
            return [], ("deadline", f"a wait of at least {wait.low:.3g} s, and {left:.3g} s to the deadline (R16)")
        if not self._has_budget(self._latest_end()):
            return [], ("budget", "the retry budget of a lone call is spent: budget.min_per_s and budget.ratio (R18)")
        spans = _merged(found)
        if not self._rate_limit_binds:
            return spans, None
        if self._is_hedged or self._fault.name == "flapping":
            self._exact = False
            return [_Span(spans[0].low, self._deadline_s)], None
        return self._after_the_rate_limit(spans, is_bounded=spans[-1].high >= until - _NEAR)

    def _after_the_rate_limit(
        self, spans: Sequence[_Span], *, is_bounded: bool
    ) -> tuple[list[_Span], tuple[str, str] | None]:
        """Return the starts of attempts that are due in *spans*: each waits for its slot (GCRA)."""
        limit = self._settings.rate_limit
        interval = 1 / limit.per_second
        due = _Span(spans[0].low, spans[-1].high)
        starts = _Span(
            *(max(at, slot - interval * (limit.burst - 1)) for at, slot in zip(due, self._slots, strict=True))
        )
        self._slots = _Span(*(max(at, slot) + interval for at, slot in zip(due, self._slots, strict=True)))
        if starts.high >= self._deadline_s or is_bounded:
            self._rejected_at = due.high
        if starts.low >= self._deadline_s:
            return [], ("rate_limit", "its slot of the rate limit comes after the deadline")
        if self._rejected_at or self.starts[-1][-1].high + self._lasts_s >= self._deadline_s:
            self._exact = False  # a longer way to here may have a shorter wait for the slot
            starts = starts._replace(high=self._deadline_s)
        return [starts], None

    # --- results ---

    def schedule(self) -> Schedule:
        """Return the schedule."""
        attempts = tuple(self._attempts())
        sampled = [self._sample(Random(number)) for number in range(_SAMPLES)]  # noqa: S311 - a simulation
        ends = [end for end, _ in sampled]
        return Schedule(
            fault=self._fault.text,
            attempts=attempts,
            never=tuple(self._never(len(attempts))),
            fastest_s=self._fastest(),
            worst_case_s=max([self._rejected_at, *(one.ends_s[1] for one in attempts)]),
            typical_s=median(ends),
            attempts_per_call=fmean(made for _, made in sampled),
            succeeds=self._may_succeed(),
            fails=self._may_fail(),
            deadline_s=self._deadline_s,
            rounds=self,
        )

    def _attempts(self) -> Iterator[AttemptBounds]:
        number = 0
        for index, (spans, offsets) in enumerate(zip(self.starts, self.offsets, strict=True)):
            low, high = spans[0].low, spans[-1].high
            always = index == 0 or self._always(index)
            for offset in offsets:
                number += 1
                if low + offset > self._deadline_s:
                    continue
                latest = min(high + offset, self._deadline_s)
                if offset > 0 and self._rate_limit_binds:
                    latest = self._deadline_s
                succeeded_at = None if self._fails_at(low) or offset == 0 else low + self._lasts_s
                first = low + offset + self._lasts_s if succeeded_at is None else succeeded_at
                last = latest + self._lasts_s if succeeded_at is None else high + self._lasts_s
                yield AttemptBounds(
                    number=number,
                    is_hedge=offset > 0,
                    starts_s=(low + offset, latest),
                    ends_s=(min(first, self._deadline_s), min(last, self._deadline_s)),
                    always=always and high + offset < self._deadline_s,
                    exact=self._exact_rounds[index],
                )

    def _always(self, index: int) -> bool:
        """Return whether round *index* follows whatever the jitter is."""
        before, offsets = self.starts[index - 1], self.offsets[index - 1]
        wait = self._wait_span(index)
        latest = before[-1].high + offsets[-1] + self._lasts_s + wait.high
        until = self._deadline_s - self._settings.retry.min_attempt_s
        fails = sum(span.high - span.low for one in before for span in self._down(one))
        whole = sum(span.high - span.low for span in before)
        return (
            self._exact_rounds[index]
            and not self._rejected_at
            and latest < until
            and abs(whole - fails) < _NEAR
            and (index == 1 or self._always(index - 1))
        )

    def _never(self, made: int) -> Iterator[Never]:
        reason, text = self._stopped
        if made < self._allowed and reason != "max_attempts":
            yield Never(made + 1, self._allowed, reason, text)

    def _may_fail(self) -> bool:
        if not self.starts:
            return True
        is_late = any(spans[-1].high + self._lasts_s > self._deadline_s for spans in self.starts)
        return is_late or any(True for span in self.starts[-1] for _ in self._down(span))

    def _may_succeed(self) -> bool:
        if self._times_out or not self.starts:
            return False
        if self._fault.name != "flapping":
            return not self._outcome.fails and self._lasts_s <= self._deadline_s
        return any(
            sum(part.high - part.low for part in self._down(span)) < span.high - span.low
            or not any(True for _ in self._down(span))
            for spans in self.starts
            for span in spans
        )

    def _fastest(self) -> float:
        """Return the end of the call that ends first."""
        if not self.starts:
            return 0.0
        ends = []
        for index, (spans, offsets) in enumerate(zip(self.starts, self.offsets, strict=True)):
            last = offsets[-1] if self._fails_at(spans[0].low) else 0.0
            end = min(spans[0].low + last + self._lasts_s, self._deadline_s)
            if index + 1 == len(self.starts) or not self._always(index + 1):
                ends.append(end)
        return min(ends)

    def _sample(self, random: Random) -> tuple[float, int]:
        """Return the end and the number of attempts of one call."""
        at, made = 0.0, 0
        for index, offsets in enumerate(self.offsets):
            made += sum(at + offset < self._deadline_s for offset in offsets)
            fails = self._fails_at(at)
            end = at + (offsets[-1] if fails else 0.0) + self._lasts_s
            if end >= self._deadline_s:
                return self._deadline_s, made
            if not fails or index + 1 == len(self.offsets):
                return end, made
            backoff, after = self._wait(index + 1)
            wait = random.uniform(*backoff)
            if after is not None:
                wait = max(wait, random.uniform(*after))
            if end + wait + self._settings.retry.min_attempt_s >= self._deadline_s:
                return end, made
            at = max(end + wait, self.starts[index + 1][0].low)
        return 0.0, made

    def waits_to(self, number: int, *, latest: bool) -> list[float]:
        """Return the draws of a jitter with which attempt *number* starts at its latest, or earliest, moment."""
        index, before = 0, 0
        while before + len(self.offsets[index]) < number:
            before += len(self.offsets[index])
            index += 1
        if self._rate_limit_binds:
            waits = [(failures, self._wait_span(failures)[latest]) for failures in range(1, index + 1)]
            return [draw for failures, wait in waits for draw in self._draws(failures, wait)]
        spans = self.starts[index]
        target = spans[-1].high if latest else spans[0].low
        if latest and spans[-1].high > spans[-1].low:
            # A hedge that would start after the deadline needs an earlier round.
            target = min(target, self._deadline_s - self.offsets[index][number - before - 1])
            target = max(spans[-1].low, target - _INSIDE_S)
        draws: list[list[float]] = []
        for following in range(index, 0, -1):
            wait, offsets = self._wait_span(following), self.offsets[following - 1]
            lasts = offsets[-1] + self._lasts_s
            came = self._came_from(following - 1, target - lasts, wait, offsets)
            draws.append(self._draws(following, min(max(target - lasts - came, wait.low), wait.high)))
            target = came
        return [draw for one in reversed(draws) for draw in one]

    def _came_from(self, index: int, end: float, wait: _Span, offsets: Sequence[float]) -> float:
        """Return a start of round *index* from which a wait leads to *end*, in the middle of what is possible."""
        possible = [
            _Span(max(span.low, end - wait.high), min(span.high, end - wait.low))
            for span in self._failing(self.starts[index], offsets)
        ]
        low, high = max(possible, key=lambda span: span.high - span.low)
        return (low + high) / 2


def _merged(spans: Sequence[_Span]) -> list[_Span]:
    """Return *spans* in order, those that overlap as one."""
    found: list[_Span] = []
    for span in sorted(spans):
        if found and span.low <= found[-1].high:
            found[-1] = found[-1]._replace(high=max(found[-1].high, span.high))
        else:
            found.append(span)
    return found
