"""
Facts about calls, in the past tense. Layers state them to one listener; spans, metrics and logs hang on these.

A decision never waits for a listener and never knows one: `safely` swallows what a listener raises and counts it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .errors import CallError
from .types import AttemptRecord, CallInfo, Outcome

__all__ = [
    "AttemptFinished",
    "AttemptRejected",
    "AttemptStarted",
    "CallFinished",
    "CallStarted",
    "CircuitStateChanged",
    "CorrelationIdReplaced",
    "Event",
    "FanOut",
    "Listener",
    "RetryScheduled",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    Something that happened in a call.

    Attributes:
        call: The call it happened in.
    """

    call: CallInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStarted(Event):
    """A connector's call entered the stack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFinished(Event):
    """
    A call ended.

    Attributes:
        outcome: Record of the whole call.
        error: What the caller gets instead of a result; None for success.
        cancelled: True when the caller went away; then *error* is None too.
    """

    outcome: Outcome
    error: Exception | None
    cancelled: bool = False

    @property
    def result(self) -> str:
        """`success`, `failure`, `cancelled`, or `unknown` for a write that may have been applied."""
        if self.cancelled:
            return "cancelled"
        if self.error is None:
            return "success"
        return "unknown" if isinstance(self.error, CallError) and self.error.outcome_unknown else "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrelationIdReplaced(Event):
    """The caller's correlation id could not be sent and a fresh one took its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(Event):
    """
    One try began.

    Attributes:
        number: 1 for the first try.
    """

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFinished(Event):
    """
    One try ended.

    Attributes:
        record: What became of it.
        error: Why it failed; None for success and for cancellation.
    """

    record: AttemptRecord
    error: Exception | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRejected(Event):
    """
    A local guard refused a call or an attempt; nothing was sent.

    Attributes:
        guard: `circuit_breaker`, `bulkhead`, `call_cap` or `rate_limit`.
        retry_after_s: When the guard may let through again; None when it cannot tell.
    """

    guard: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled(Event):
    """
    An attempt failed and another one will follow.

    Attributes:
        attempt: Number of the attempt that failed.
        delay_s: Seconds until the next one.
        error: Why the attempt failed.
    """

    attempt: int
    delay_s: float
    error: CallError


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitStateChanged(Event):
    """
    A circuit breaker changed its state during this call.

    Attributes:
        breaker: Name of the breaker.
        before: State it left: `closed`, `open` or `half_open`.
        after: State it entered.
    """

    breaker: str
    before: str
    after: str


Listener: TypeAlias = Callable[[Event], None]


class FanOut:
    """
    Hands each event to several listeners; what one raises is swallowed and counted, so telemetry cannot fail a call.

    Attributes:
        dropped: Events lost because a listener raised.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = tuple(listeners)
        self.dropped = 0

    def __call__(self, event: Event) -> None:
        """Tell every listener of *event*."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a listener is foreign code; see the class docstring
                self.dropped += 1
