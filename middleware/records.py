"""Records of calls and attempts: what was asked, what happened, and why no further attempt was made."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Applied", "AttemptRecord", "CallInfo", "Outcome", "RequestSent", "StopReason", "most"]

RequestSent: TypeAlias = Literal["no", "maybe", "yes"]
"""Did the server get the request? `no`: no byte left; `maybe`: sent, no answer; `yes`: it answered."""

Applied: TypeAlias = Literal["no", "maybe", "yes"]
"""Did the server do what the request asked? `no`: it did not; `maybe`: only the server knows; `yes`: a 2xx says so."""

StopReason: TypeAlias = Literal[
    "", "not_retryable", "max_attempts", "circuit_open", "retry_after_max", "deadline", "budget"
]
"""Why no further attempt was made; empty for a call that succeeded or was cancelled."""

_Level: TypeAlias = Literal["no", "maybe", "yes"]

_RANK: dict[_Level, int] = {"no": 0, "maybe": 1, "yes": 2}


def most(levels: Iterable[_Level]) -> _Level:
    """Return the highest of *levels*, of what was sent or of what was applied; `no` for none."""
    return max(levels, key=_RANK.__getitem__, default="no")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """
    One try on the wire.

    Attributes:
        number: 1 for the first try.
        started_s: Start, in seconds after the call's start.
        ended_s: End, in seconds after the call's start.
        outcome: `ok`, or the name of the error class.
        status: HTTP status; None when no response came. It says nothing of the body, which may have been lost.
        request_sent: Whether the server got this try.
        delay_s: Backoff slept before this try.
        is_hedge: True for a try that was started beside one still in flight.
        applied: Whether the server did what this try asked.
    """

    number: int
    started_s: float
    ended_s: float
    outcome: str
    status: int | None
    request_sent: RequestSent
    delay_s: float
    is_hedge: bool = False
    applied: Applied = "no"

    @property
    def is_ambiguous(self) -> bool:
        """True when only the server knows whether it did what this try asked."""
        return self.applied == "maybe"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallInfo:
    """
    What a call is, fixed before it starts.

    Attributes:
        service: Service the client speaks to.
        operation: Operation name, for example `get_user`.
        method: HTTP method, upper case.
        route: Path template; `other` when the path was filled by hand.
        idempotent: Whether making the call again is harmless (RFC 9110 section 9.2.2, or declared by the connector). An
            idempotency key makes attempts of one call repeatable, not the call: the next one has a key of its own.
        correlation_id: Id sent on every attempt.
        base_url: URL of the service; the request's target is appended to it.
    """

    service: str
    operation: str
    method: str
    route: str
    idempotent: bool
    correlation_id: str
    base_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    What happened in one call: carried by the response or by the error.

    Attributes:
        call: What the call was.
        attempts: Tries begun on the wire; 0 when the call was refused before.
        elapsed_s: Duration of the whole call in seconds.
        timeline: One record per attempt.
        stop_reason: Why no further attempt was made.
        request_sent: The most that any attempt reached.
        circuit_state: State of the circuit breaker when it was last asked; empty when it never was.
        already_deleted: True for a DELETE that was answered "not found" after an earlier attempt may have done it.
        keyed: True when all attempts carried one idempotency key that the service honours.
    """

    call: CallInfo
    attempts: int
    elapsed_s: float
    timeline: tuple[AttemptRecord, ...]
    stop_reason: StopReason
    request_sent: RequestSent
    circuit_state: str
    already_deleted: bool = False
    keyed: bool = False
