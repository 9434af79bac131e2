"""
Telemetry events. Layers emit them to a single listener; spans, metrics and log lines are written from them.

Emitting cannot change a call: `FanOut`, that listener, counts and suppresses what its subscribers raise. The name of an
event is in the past tense: it says what has happened.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from .errors import CallError
from .records import AttemptRecord, CallInfo, Outcome, StopReason

__all__ = [
    "AttemptFinished",
    "AttemptQueued",
    "AttemptRejected",
    "AttemptRejectedInShadow",
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
    "QuotaAcquired",
    "QuotaSource",
    "QuotaSourceChanged",
    "RetryAbandoned",
    "RetryBudgetExhausted",
    "RetryScheduled",
    "SettingsContradictory",
    "SettingsRejected",
    "SettingsReloaded",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    Something that happened in a call.

    Attributes:
        call: The call in which it happened.
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
        cancelled: True when the caller cancelled the call; then *error* is None too.
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
    """The caller's correlation id could not be sent and was replaced by a fresh one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrelationIdMismatched(Event):
    """
    A response carried the correlation id of another call, and was not used.

    Attributes:
        received: The id of the response.
    """

    received: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(Event):
    """
    An attempt started.

    Attributes:
        number: 1 for the first attempt.
    """

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFinished(Event):
    """
    An attempt ended.

    Attributes:
        record: Its record, as in the call's timeline.
        error: Why it failed; None for success and for cancellation.
    """

    record: AttemptRecord
    error: CallError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRejected(Event):
    """
    A local guard rejected a call or an attempt; nothing was sent.

    Attributes:
        guard: `circuit_breaker`, `bulkhead`, `call_cap`, `rate_limit` or `quota`.
        retry_after_s: Seconds until the guard may allow attempts again; None when it is not known.
    """

    guard: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRejectedInShadow(Event):
    """
    A circuit breaker in mode shadow let an attempt through that it would have rejected in mode normal.

    Attributes:
        breaker: Name of the breaker.
        retry_after_s: Seconds until it would allow attempts again; None when it is not known.
    """

    breaker: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled(Event):
    """
    An attempt failed and a retry will follow.

    Attributes:
        attempt: Number of the attempt that failed.
        delay_s: Seconds until the retry.
        error: Why the attempt failed.
        budget_balance: Retries that the service's budget allows after this one; None when the budget is off.
    """

    attempt: int
    delay_s: float
    error: CallError
    budget_balance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryAbandoned(Event):
    """
    An attempt failed in a way that may be retried, and no retry follows.

    Attributes:
        attempt: Number of the attempt that failed.
        stop_reason: Why no retry follows.
        error: Why the attempt failed.
    """

    attempt: int
    stop_reason: StopReason
    error: CallError


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudgetExhausted(Event):
    """
    The budget of the call's service did not allow a retry or a hedge.

    Attributes:
        balance: Retries that remain; below one.
        first: True once per length of the budget's window, so that a listener can report this one and not each of many.
    """

    balance: float
    first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptQueued(Event):
    """
    An attempt waited for a permit of the bulkhead and acquired one.

    Attributes:
        waited_s: Seconds waited.
    """

    waited_s: float


QuotaSource: TypeAlias = Literal["shared", "local", "own"]
"""
What admitted an attempt to the quota.

`shared`: the server that all processes share; `local`: this process' share, while the server cannot be used; `own`: the
part that needs no server.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaAcquired(Event):
    """
    An attempt was admitted to the quota of the application's key.

    Attributes:
        source: What admitted it.
        waited_s: Seconds waited, the round trip to the server and *penalty_s* included.
        penalty_s: Seconds waited for the end of a Retry-After that this process or another one was given.
    """

    source: QuotaSource
    waited_s: float
    penalty_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaSourceChanged(Event):
    """
    Attempts are admitted by another source from now on; this call is the first to find out.

    Attributes:
        source: `shared`, or `local` where the server cannot be used.
        reason: What is wrong with the server, one of few words; empty where it is well again.
    """

    source: QuotaSource
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeStarted(Event):
    """
    A hedge started while an attempt was in flight; emitted once all guards allowed it.

    Attributes:
        hedge: 1 for the first hedge of this round.
        delay_s: Seconds since the round started, the hedge's wait for the rate limit included.
    """

    hedge: int
    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeRefused(Event):
    """
    A hedge was due and did not start; the attempt in flight continues.

    Attributes:
        reason: Why: `throttled`, `max_attempts`, `circuit_open`, `bulkhead`, `rate_limit` or `budget`.
    """

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeWon(Event):
    """
    A hedge received the first response; the other attempts of its round were cancelled.

    Attributes:
        hedge: Its number; 1 for the first hedge of the round.
    """

    hedge: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineReached(Event):
    """
    The deadline of the call passed, and what the call was waiting for was cancelled.

    Attributes:
        total_s: Seconds that the whole call had.
    """

    total_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitStateChanged(Event):
    """
    A circuit breaker changed its state during this call.

    Attributes:
        breaker: Name of the breaker.
        before: The old state: `closed`, `open` or `half_open`.
        after: The new state.
    """

    breaker: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsReloaded(Event):
    """
    Changed settings came into force; this call, of whichever service, is the first to use them.

    Attributes:
        changes: One line per changed value: its name, old and new value.
        scopes: For what they were changed: `all services`, services, operations as `service.operation`.
        shadowed: One line per value of the file that a stronger source overrides.
        hashes: Hash of the settings in force, by service.
        policy: The settings in force: the values for all services, and those given for a service or an operation.
    """

    changes: tuple[str, ...]
    scopes: tuple[str, ...] = ()
    shadowed: tuple[str, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsRejected(Event):
    """
    A changed settings file is invalid; the last valid settings stay in force.

    Attributes:
        problems: Every problem, each with its place.
    """

    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsContradictory(Event):
    """
    Settings came into force that contradict each other.

    Attributes:
        contradictions: One line each, with the place of each value.
    """

    contradictions: tuple[str, ...]


Listener: TypeAlias = Callable[[Event], None]


def _event_types(listener: Listener) -> frozenset[object] | None:
    """Types of events that *listener* subscribes to; None for all."""
    types = _frozenset_attribute(listener, "event_types")
    if types is None:
        types = _frozenset_attribute(listener, "hears")
        if types is not None:
            text = f"{type(listener).__name__}.hears is now called event_types; the old name goes with the next release"
            warnings.warn(text, DeprecationWarning, stacklevel=3)
    return types


def _frozenset_attribute(listener: Listener, name: str) -> frozenset[object] | None:
    try:
        value = getattr(listener, name, None)
    except Exception:  # noqa: BLE001 - a listener is third-party code, as in `FanOut`
        return None
    return value if isinstance(value, frozenset) else None


def _own_need(listener: Listener) -> Callable[[type[Event]], bool] | Literal[False] | None:
    # Of the class: an attribute of a host's own object may be anything.
    return getattr(listener, "needs_success") if hasattr(type(listener), "needs_success") else None  # noqa: B009


class FanOut:
    """
    Dispatches each event to several listeners; what one raises is counted and suppressed: telemetry never fails a call.

    A listener subscribes to types of events by an attribute `event_types`, a frozenset of exactly these types,
    and receives no others. Any other callable receives all events. One of ours may also say by `needs_success` that it
    has no use for the event of a success without a span: never, by False, or, by a method, not now, such as for a line
    below the level that is logged.

    Attributes:
        dropped: Events lost because a listener raised.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        subscriptions = [(listener, _event_types(listener)) for listener in listeners]
        self._by_type = {
            kind: tuple(listener for listener, types in subscriptions if types is None or kind in types)
            for kind in Event.__subclasses__()
        }
        asked = [(_own_need(listener), types) for listener, types in subscriptions]
        self._needs_success = {
            kind: tuple(needs for needs, types in asked if needs is not False and (types is None or kind in types))
            for kind in self._by_type
        }
        # For types defined by layers of the host's own.
        self._catch_all = tuple(listener for listener, types in subscriptions if types is None)
        self.dropped = 0

    def has_subscribers(self, kind: type[Event]) -> bool:
        """Return whether any listener subscribes to events of type *kind*."""
        return bool(self._by_type.get(kind, self._catch_all))

    def needs_success(self, kind: type[Event]) -> bool:
        """Return whether any listener has a use now for an event of type *kind*, of a success without a span."""
        for needs in self._needs_success[kind]:  # noqa: SIM110 - a generator is one more function for each call
            if needs is None or needs(kind):
                return True
        return False

    def __call__(self, event: Event) -> None:
        """Dispatch *event* to its subscribers."""
        for listener in self._by_type.get(type(event), self._catch_all):
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a listener is third-party code; see the class docstring
                self.dropped += 1
