"""
Facts about calls, in the past tense. Layers state them to one listener; spans, metrics and logs hang on these.

A decision never waits for a listener and never knows one: `FanOut` swallows what a listener raises and counts it.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from .errors import CallError
from .records import AttemptRecord, CallInfo, Outcome, StopReason

__all__ = [
    "AttemptFinished",
    "AttemptQueued",
    "AttemptRejected",
    "AttemptStarted",
    "CallFinished",
    "CallStarted",
    "CircuitStateChanged",
    "CorrelationIdMismatched",
    "CorrelationIdReplaced",
    "DeadlineReached",
    "Event",
    "FanOut",
    "HedgeRefused",
    "HedgeStarted",
    "HedgeWon",
    "Listener",
    "RetryAbandoned",
    "RetryBudgetExhausted",
    "RetryScheduled",
    "SettingsRejected",
    "SettingsReloaded",
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
    error: CallError | None
    cancelled: bool = False

    @property
    def result(self) -> str:
        """`success`, `failure`, `cancelled`, or `unknown` for a write that may have been applied."""
        if self.cancelled:
            return "cancelled"
        if self.error is None:
            return "success"
        return "unknown" if self.error.outcome_unknown else "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrelationIdReplaced(Event):
    """The caller's correlation id could not be sent and a fresh one took its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrelationIdMismatched(Event):
    """
    A response carried the correlation id of another call, and was not used.

    Attributes:
        received: The id that it carried.
    """

    received: str


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
    error: CallError | None


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
        budget_balance: Retries that the service's budget still allows after this one; None when it is off.
    """

    attempt: int
    delay_s: float
    error: CallError
    budget_balance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryAbandoned(Event):
    """
    An attempt failed in a way that may be retried, and no other one follows.

    Attributes:
        attempt: Number of the attempt that failed.
        stop_reason: Why none follows.
        error: Why the attempt failed.
    """

    attempt: int
    stop_reason: StopReason
    error: CallError


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudgetExhausted(Event):
    """
    The budget of the call's service refused a retry or a hedge.

    Attributes:
        balance: What is left; below one.
        first: True once per length of the budget's window: what an engineer should be told, not every refusal.
    """

    balance: float
    first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptQueued(Event):
    """
    An attempt waited for a permit of the bulkhead and got one.

    Attributes:
        waited_s: How long.
    """

    waited_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeStarted(Event):
    """
    A further try began beside one still in flight; told once all guards let it through.

    Attributes:
        hedge: 1 for the first hedge of this round.
        delay_s: How long the round had been running, the hedge's wait for the rate limit included.
    """

    hedge: int
    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeRefused(Event):
    """
    A hedge was due and not started; the try in flight goes on.

    Attributes:
        reason: `max_attempts`, `circuit_open`, `bulkhead`, `rate_limit` or `budget`.
    """

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeWon(Event):
    """
    A hedge answered first; the other tries of its round were cancelled.

    Attributes:
        hedge: Which one; 1 for the first of its round.
    """

    hedge: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineReached(Event):
    """
    The time for the whole call ran out, and what it was waiting for was cut.

    Attributes:
        total_s: The time it had.
    """

    total_s: float


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsReloaded(Event):
    """
    Changed settings came into force, with this call as the first.

    Attributes:
        changes: One line per changed value: its name, old and new value.
    """

    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsRejected(Event):
    """
    A changed settings file cannot be used; the last good settings stay in force.

    Attributes:
        problems: Every problem, each naming its place.
    """

    problems: tuple[str, ...]


Listener: TypeAlias = Callable[[Event], None]


def _hears(listener: Listener, kind: type[Event]) -> bool:
    types: object = None
    with suppress(Exception):  # foreign code, as in `FanOut`
        types = getattr(listener, "event_types", None)
    return kind in types if isinstance(types, frozenset) else True


class FanOut:
    """
    Hands each event to several listeners; what one raises is swallowed and counted, so telemetry cannot fail a call.

    A listener subscribes to types of events by an attribute `event_types`, a frozenset of exactly these types,
    and receives no others. Any other callable receives all events.

    Attributes:
        dropped: Events lost because a listener raised.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._by_type = {kind: tuple(one for one in listeners if _hears(one, kind)) for kind in Event.__subclasses__()}
        # For what a layer of the host's own states.
        self._of_all = tuple(one for one in listeners if _hears(one, Event))
        self.dropped = 0

    def __call__(self, event: Event) -> None:
        """Tell every listener that event_types it of *event*."""
        for listener in self._by_type.get(type(event), self._of_all):
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a listener is foreign code; see the class docstring
                self.dropped += 1
