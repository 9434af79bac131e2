"""Records of calls and attempts: what was requested, what happened, and why no further attempt was made."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["RANK", "AnsweredBy", "Applied", "AttemptRecord", "CallInfo", "Outcome", "RequestSent", "StopReason", "most"]

RequestSent: TypeAlias = Literal["no", "maybe", "yes"]
"""Whether the server got the request. `no`: no byte was sent; `maybe`: sent, no response; `yes`: it responded."""

Applied: TypeAlias = Literal["no", "maybe", "yes"]
"""Whether the server applied the request. `no`: it did not; `maybe`: only the server knows; `yes`: a 2xx says so."""

AnsweredBy: TypeAlias = Literal["", "gateway", "platform", "unknown"]
"""Who sent an error response, by its evidence; empty where no error response arrived."""

StopReason: TypeAlias = Literal[
    "", "not_retryable", "max_attempts", "circuit_open", "retry_after_max", "deadline", "budget"
]
"""Why no further attempt was made; empty for a call that succeeded or was cancelled."""

_Level: TypeAlias = Literal["no", "maybe", "yes"]

RANK: dict[_Level, int] = {"no": 0, "maybe": 1, "yes": 2}  # equivalent: `-1`, `3`: ranks are compared, not counted


def most(levels: Iterable[_Level]) -> _Level:
    """Return the highest of *levels*, of what was sent or of what was applied; `no` for none."""
    return max(levels, key=RANK.__getitem__, default="no")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """
    One attempt on the wire.

    Attributes:
        number: 1 for the first attempt.
        started_s: Start, in seconds after the call's start.
        ended_s: End, in seconds after the call's start.
        outcome: `ok`, or the name of the error class.
        status: HTTP status; None without a response. It says nothing about the body, which may have been lost.
        request_sent: Whether the server got this attempt.
        delay_s: Backoff slept before this attempt.
        is_hedge: True for an attempt that was started while another one was in flight.
        applied: Whether the server applied this attempt.
        answered_by: Who sent its error response.
        platform_correlation_id: Id of the response where it differs from the one that was sent; at most 128 printable
            characters.
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
    answered_by: AnsweredBy = ""
    platform_correlation_id: str = ""

    @property
    def is_ambiguous(self) -> bool:
        """True when only the server knows whether it applied this attempt."""
        return self.applied == "maybe"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallInfo:
    """
    What a call is, fixed before it starts.

    Attributes:
        service: Service the client speaks to.
        operation: Operation name, for example `get_user`.
        method: HTTP method, upper case.
        route: Path template; `other` for a path that was filled in by hand.
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
    What happened in one call; an attribute of its response or its error.

    Attributes:
        call: What the call was.
        attempts: Attempts started on the wire; 0 when the call was rejected before.
        elapsed_s: Duration of the whole call in seconds.
        timeline: One record per attempt.
        stop_reason: Why no further attempt was made.
        stop_detail: The limit behind it, for people: `retry.retry_after_max_s is 20 s`; empty where there is none.
        request_sent: The highest that any attempt reached.
        circuit_state: State of the circuit breaker when it was last checked; empty when it never was.
        already_deleted: True for a DELETE with a 404 or 410 response after an earlier attempt that may have deleted it.
        keyed: True when all attempts had one idempotency key that the service honours.
        answered_by: Who sent the error response that the call ended with.
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
    answered_by: AnsweredBy = ""
    stop_detail: str = ""

    @property
    def platform_correlation_id(self) -> str:
        """
        Id of the response where it differs from the one that was sent; empty where none does.

        Of several attempts that of the one that succeeded, else of the last that got a response with such an id.
        """
        if len(self.timeline) == 1:  # equivalent: what follows gives the same, with more calls
            return self.timeline[0].platform_correlation_id
        given = [record for record in self.timeline if record.platform_correlation_id]
        chosen = [record for record in given if record.outcome == "ok"] or given
        return chosen[-1].platform_correlation_id if chosen else ""
