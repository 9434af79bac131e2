"""
The twelve faults of benchmarks/faults.py, and what is right for each: written before the first run.

A verdict is reached from what the server saw and how the calls ended; what a client logs or says is not asked. Each
client has the same three seconds for a call and one for an attempt, three attempts, and a breaker that is open for a
second, where it has such settings. Times have a second of room, so that a busy machine changes no verdict.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

DEADLINE_S = 3.0
ATTEMPT_S = 1.0
ATTEMPTS = 3
OPEN_S = 1.0
ROOM_S = 1.0
"""How much later than its deadline a call may end."""

RETRY_AFTER_S = 1.0
LATE_RETRY_AFTER_S = 30.0
AT_HALF_OPEN = 50
AFTER_THE_STORM = 24
DOCUMENT = {"id": "item-1", "name": "A name of usual length", "status": "active"}

Verdict = Literal["right", "wrong", "none"]


@dataclass(frozen=True)
class Request:
    """One request that the server read to its end: when, what it responded, and the trace context that it carried."""

    at_s: float
    status: int = 0
    traceparent: str = ""


@dataclass(frozen=True)
class Ended:
    """How one call ended; *error* is a class's name, or `still running` where it was given up for lost."""

    after_s: float
    document: Any = None
    error: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the caller got the whole document."""
        return not self.error and self.document == DOCUMENT

    @property
    def failed_in_time(self) -> bool:
        """Whether the caller got an error by the call's deadline."""
        return bool(self.error) and self.after_s <= DEADLINE_S + ROOM_S


@dataclass(frozen=True)
class Span:
    """A recorded span; ids in hexadecimal digits, *status* the response's, 0 where it has none."""

    trace_id: str
    span_id: str
    status: int = 0


@dataclass
class Seen:
    """What is known after a scenario. *opened*: whether a breaker had rejected a call before it was sent."""

    calls: list[Ended] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    opened: bool = False
    most_at_once: int = 0
    let_through: int = 0
    recovered: bool = False
    trace_id: str = ""
    spans: list[Span] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """One fault: its key and name, what happens, what is right, and the check of that."""

    key: str
    name: str
    happens: str
    right: str
    is_right: Callable[[Seen], bool]
    needs_breaker: bool = False

    def verdict(self, seen: Seen) -> Verdict:
        """Return `right` or `wrong`, or `none` where it takes a breaker and none ever rejected a call."""
        if self.needs_breaker and not seen.opened:
            return "none"
        return "right" if self.is_right(seen) else "wrong"


def _half_a_body(seen: Seen) -> bool:
    return seen.calls[0].succeeded and len(seen.requests) == 2


def _lost_response(seen: Seen) -> bool:
    return seen.calls[0].failed_in_time and len(seen.requests) == 1


def _refused_then_open(seen: Seen) -> bool:
    return seen.calls[0].succeeded and len(seen.requests) == 1


def _retry_after_beyond(seen: Seen) -> bool:
    return bool(seen.calls[0].error) and seen.calls[0].after_s < DEADLINE_S - ROOM_S and len(seen.requests) == 1


def _retry_after_within(seen: Seen) -> bool:
    if not seen.calls[0].succeeded or len(seen.requests) != 2:
        return False
    return seen.requests[1].at_s - seen.requests[0].at_s >= RETRY_AFTER_S


def _ends_in_time(seen: Seen) -> bool:
    return seen.calls[0].failed_in_time and 1 <= len(seen.requests) <= ATTEMPTS


def _one_probe(seen: Seen) -> bool:
    return seen.most_at_once == 1 and seen.recovered


def _late_success(seen: Seen) -> bool:
    return seen.calls[0].succeeded and seen.let_through == 0


def _healthy_after_the_storm(seen: Seen) -> bool:
    return len(seen.calls) == AFTER_THE_STORM and all(
        call.succeeded and call.after_s <= DEADLINE_S + ROOM_S for call in seen.calls
    )


def _a_span_per_request(seen: Seen) -> bool:
    if not seen.calls[0].succeeded or [one.status for one in seen.requests] != [503, 503, 200]:
        return False
    recorded = {(span.trace_id, span.span_id, span.status) for span in seen.spans}
    carried = [tuple(one.traceparent.split("-")[1:3]) for one in seen.requests if one.traceparent.count("-") == 3]
    return (
        len(set(carried)) == 3
        and {trace for trace, _ in carried} == {seen.trace_id}
        and all((*ids, one.status) in recorded for ids, one in zip(carried, seen.requests, strict=True))
    )


FAULTS = (
    Fault(
        "half_body",
        "half a body (GET)",
        "The connection closes after half of the response's body; the next request is served.",
        "The caller gets the whole document; the server saw two requests.",
        _half_a_body,
    ),
    Fault(
        "lost_response",
        "lost response (POST)",
        "The server applies a POST and closes the connection without a response, each time.",
        "The caller gets an error by the deadline; the server applied it once.",
        _lost_response,
    ),
    Fault(
        "refused_then_open",
        "refused, then open",
        "Nothing listens on the port for the first second of the call.",
        "The caller gets the document; the server saw one request.",
        _refused_then_open,
    ),
    Fault(
        "retry_after_beyond",
        "503, Retry-After beyond the deadline",
        "Each response is 503 with Retry-After: 30; the call has three seconds.",
        "The caller gets an error a second before the deadline or sooner; the server saw one request.",
        _retry_after_beyond,
    ),
    Fault(
        "retry_after_within",
        "503, Retry-After within the deadline",
        "The first response is 503 with Retry-After: 1; the next request is served.",
        "The caller gets the document; the server saw two requests, a second apart or more.",
        _retry_after_within,
    ),
    Fault(
        "throttled",
        "429",
        "The first response is 429 with Retry-After: 1; the next request is served.",
        "The caller gets the document; the server saw two requests, a second apart or more.",
        _retry_after_within,
    ),
    Fault(
        "hang",
        "hang",
        "The server reads each request and never responds.",
        "The caller gets an error within a second of the deadline; the server saw at most three requests.",
        _ends_in_time,
    ),
    Fault(
        "slow_drip",
        "slow drip",
        "Each response has its head at once, then a byte of its body every 0.2 s for ever.",
        "The caller gets an error within a second of the deadline; the server saw at most three requests.",
        _ends_in_time,
    ),
    Fault(
        "half_open",
        "50 calls at half-open",
        "The breaker has opened and its time is over; 50 calls start at once, and the server takes its time.",
        "The server has one request at a time until it has responded; afterwards a call is served.",
        _one_probe,
        needs_breaker=True,
    ),
    Fault(
        "late_success",
        "late success at half-open",
        "A call from before the breaker opened succeeds while the probe is in flight; five more calls start.",
        "The old call gets its document; the server sees none of the five before the probe has ended.",
        _late_success,
        needs_breaker=True,
    ),
    Fault(
        "storm",
        "a storm of cancels, then 24 calls",
        "The caller cancels 1 000 calls, each some milliseconds after its start; then 24 calls start at once.",
        "Each of the 24 callers gets the document by the deadline.",
        _healthy_after_the_storm,
    ),
    Fault(
        "spans",
        "spans of 503, 503, 200",
        "Two responses are 503, the third is served; the caller has a span open.",
        "Each request carried the id of a recorded span of its own, with its status, in the caller's trace "
        "(OpenTelemetry's conventions for HTTP: one client span for each request that is sent).",
        _a_span_per_request,
    ),
)
