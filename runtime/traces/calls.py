"""
Calls, one after the other, from a stream of spans: what `--summary`, `--follow` and the lists work on.

A call is a connector's span with its attempts. Of programs without connectors, each request that they serve, and each
span without a parent, counts as a call, so that their files can be summarised as well.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from middleware.telemetry import semconv

from .trace_file import Span

__all__ = ["NO_FAILURES", "Call", "calls_of", "is_call", "state_of", "what_happened"]

_KEPT = 10_000
"""Spans that wait for their call, or calls that wait for their attempts, at most."""
SLOW_FACTOR = 5.0
"""A call is slow from this many times the median of its operation on: three of 100 exponential durations are."""
SLOW_FLOOR_S = 0.1
"""No call is slow that takes less than this longer than the median: no user would notice."""


NO_FAILURES = frozenset({"success", "cancelled"})
"""Outcomes without an error for the caller."""


class Call(NamedTuple):
    """
    One call.

    Attributes:
        span: Its span.
        attempts: Its attempts, by their start; those that were in the file.
    """

    span: Span
    attempts: tuple[Span, ...] = ()

    @property
    def service(self) -> str:
        """Service that was called; of a program without connectors, the program."""
        return str(self.span.attributes.get(semconv.CONNECTOR_NAME, self.span.service))

    @property
    def operation(self) -> str:
        """Name, such as `identity.get_user`."""
        return self.span.name if is_call(self.span) else f"{self.span.service} {self.span.name}".strip()

    @property
    def duration_s(self) -> float:
        """Seconds from its start to its end."""
        return (self.span.end_ns - self.span.start_ns) / 1e9

    @property
    def outcome(self) -> str:
        """`success`, `failure`, `unknown` or `cancelled`."""
        said = self.span.attributes.get(semconv.OUTCOME)
        return str(said) if said else "failure" if self.span.status == "ERROR" else "success"

    @property
    def failed(self) -> bool:
        """Did its caller get an error?"""
        return self.outcome not in NO_FAILURES

    @property
    def retries(self) -> int:
        """Attempts that failed and were followed by another one."""
        return sum(event.name == semconv.EVENT_RETRY_SCHEDULED for event in self.span.events)

    @property
    def attempts_made(self) -> int:
        """Attempts, as the call itself counted them."""
        said = self.span.attributes.get(semconv.RETRY_ATTEMPTS)
        return said if isinstance(said, int) and 0 <= said < _KEPT else len(self.attempts)

    @property
    def correlation_id(self) -> str:
        """Id to search the platform's logs for."""
        return str(self.span.attributes.get(semconv.CORRELATION_ID, ""))

    @property
    def settings_hash(self) -> str:
        """Digits of the settings that were in force."""
        return str(self.span.attributes.get(semconv.SETTINGS_HASH, ""))

    def has_status(self, wanted: str) -> bool:
        """Did an attempt, or the call, end with status *wanted*, `503` or `5xx`?"""
        spans = (self.span, *self.attempts)
        found = {str(span.attributes.get(semconv.HTTP_RESPONSE_STATUS_CODE, "")) for span in spans}
        found.add(str(self.span.attributes.get(semconv.ERROR_TYPE, "")))
        if wanted.endswith("xx"):
            return any(re.fullmatch(rf"{re.escape(wanted[:-2])}\d\d", one) for one in found)
        return wanted in found


def is_call(span: Span) -> bool:
    """Is *span* the span of a connector's call?"""
    return semconv.CONNECTOR_OPERATION in span.attributes


def is_attempt(span: Span) -> bool:
    """Is *span* the span of a call's attempt?"""
    return semconv.ATTEMPT_OUTCOME in span.attributes


def state_of(call: Call, median_s: float | None = None) -> str:
    """
    Return how *call* ended, in one word: `failure`, `unknown`, `cancelled`, `recovered`, `slow` or `success`.

    Args:
        call: The call.
        median_s: Median of the operation's successful calls, if it is known; without it no call is slow.
    """
    if call.outcome != "success":
        return call.outcome
    if call.retries:
        return "recovered"
    return "slow" if median_s is not None and is_slow(call.duration_s, median_s) else "success"


def is_slow(duration_s: float, median_s: float) -> bool:
    """Is a duration far above the median of its operation?"""
    return duration_s > median_s * SLOW_FACTOR and duration_s > median_s + SLOW_FLOOR_S


def what_happened(span: Span) -> str:
    """
    Return what ended a call or an attempt with an error; empty for none.

    A status is its number. Else it is the text of our own error, such as `timed out after 10 s`: the class of a timeout
    says only that the response was lost. Without a text, and for third-party spans, whose texts may differ from
    span to span, it is `error.type`.
    """
    kind = str(span.attributes.get(semconv.ERROR_TYPE, "")) or ("error" if span.status == "ERROR" else "")
    if not kind or not span.message or not (is_call(span) or is_attempt(span)):
        return kind
    if kind == "DeadlineExceededError":  # the text has the seconds, which callers choose
        return "deadline exceeded"
    if kind == "BulkheadFullError":  # the text has the figures of that moment: `bulkhead full: 2/2 permits, …`
        return span.message.partition(":")[0]
    return span.message.removeprefix("attempt ")


def calls_of(spans: Iterable[Span | None]) -> Iterator[Call]:
    """
    Yield each call once, with its attempts, in bounded memory.

    Attempts end before their call, so a file has them first; where it does not, the call waits for as many as it says
    that it made, while at most 10 000 others wait. A span that a file contains twice counts once, unless more than
    10 000 calls lie between.

    Args:
        spans: Spans; at a None no more are there for now, and calls that wait are yielded as they are.
    """
    waiting = _Waiting()
    for span in spans:
        call = None
        if span is None:
            yield from waiting.all()
        elif is_attempt(span):
            call = waiting.with_attempt(span)
        elif is_call(span) or not span.parent_id or span.kind in {"SERVER", "CONSUMER"}:
            call = waiting.with_call(span)
        if call is not None:
            yield call
    yield from waiting.all()


class _Waiting:
    """Attempts that wait for their call, calls that wait for their attempts, and the calls that are complete."""

    def __init__(self) -> None:
        # By trace and call: a span's id is unique in its trace alone.
        self._attempts: OrderedDict[tuple[str, str], dict[str, Span]] = OrderedDict()
        self._calls: OrderedDict[tuple[str, str], Span] = OrderedDict()
        self._seen: set[tuple[str, str]] = set()
        self._seen_before: set[tuple[str, str]] = set()

    def with_attempt(self, span: Span) -> Call | None:
        """Return the call that is complete with this attempt, if it is."""
        key = (span.trace_id, span.parent_id)
        known = self._attempts.get(key)
        if known is None:
            known = self._attempts[key] = {}
        known[span.span_id] = span
        call = self._calls.get(key)
        if call is not None and _is_whole(call, known):
            del self._calls[key]
            return self._taken(key, call)
        if len(self._attempts) > _KEPT:
            self._attempts.popitem(last=False)
        return None

    def with_call(self, span: Span) -> Call | None:
        """Return the call, if all of its attempts are there; or the one that waited longest, if too many wait."""
        key = (span.trace_id, span.span_id)
        if key in self._seen or key in self._seen_before:
            if key not in self._calls:
                self._attempts.pop(key, None)  # those of the second copy
            return None
        self._seen.add(key)
        if len(self._seen) > _KEPT:
            self._seen, self._seen_before = set(), self._seen
        if _is_whole(span, self._attempts.get(key, _NO_ATTEMPTS)):
            return self._taken(key, span)
        self._calls[key] = span
        return self._taken(*self._calls.popitem(last=False)) if len(self._calls) > _KEPT else None

    def all(self) -> Iterator[Call]:
        """Yield the calls that wait, as they are."""
        while self._calls:
            yield self._taken(*self._calls.popitem(last=False))

    def _taken(self, key: tuple[str, str], span: Span) -> Call:
        found = tuple(self._attempts.pop(key, _NO_ATTEMPTS).values())
        return Call(span, found if len(found) < 2 else tuple(sorted(found, key=lambda attempt: attempt.start_ns)))  # noqa: PLR2004 - one is sorted


_NO_ATTEMPTS: dict[str, Span] = {}


def _is_whole(span: Span, attempts: dict[str, Span]) -> bool:
    wanted = span.attributes.get(semconv.RETRY_ATTEMPTS, 0)
    return not isinstance(wanted, int) or len(attempts) >= wanted
