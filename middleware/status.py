"""
What each HTTP status means for a call: one row per status, read by the errors, the retries and the circuit breaker.

To make a status retryable, or to give it another meaning, change or add its row. A status without a row has the meaning
of its hundred. Where a header of the response changes the meaning, the combination has a row of its own.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["GATEWAY_RETURNS", "Repeat", "StatusRule", "StatusVerdict", "status_rule", "status_rules"]

Repeat: TypeAlias = Literal["never", "keyed", "repeatable", "any"]
"""Which requests may be sent again: none, those with an honoured idempotency key, repeatable ones, all."""

StatusVerdict: TypeAlias = Literal["success", "failure", "neutral", "limited"]
"""
What the circuit breaker counts: a healthy service, a failing one, or nothing.

`limited`: nothing while there are successes too, since a limiter lets some requests through; else a failing service.
"""

_Header: TypeAlias = Literal["", "retry-after", "x-envoy-overloaded"]

_OUT_OF_RANGE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRule:
    """
    Meaning of one status.

    Attributes:
        error: Name of the error class in `errors.py`.
        repeat: Which requests may be sent again after it.
        throttled: The response asks for fewer requests, so the backoff is the longer one.
        ambiguous: It is unknown whether the server applied the request.
        arrived_whole: The server may have received the complete request.
        verdict: What the circuit breaker counts.
    """

    error: str = "StatusError"
    repeat: Repeat = "never"
    throttled: bool = False
    ambiguous: bool = False
    arrived_whole: bool = True
    verdict: StatusVerdict = "success"

    @property
    def not_processed(self) -> bool:
        """The response says that the request was not processed at all, so that any request may be sent again."""
        return self.repeat == "any"


_BY_HUNDRED = {
    3: StatusRule(error="RedirectError", ambiguous=True),
    4: StatusRule(),  # R31: the response of a healthy service; the request was rejected, so it was not applied
    5: StatusRule(error="ServerError", ambiguous=True, verdict="failure"),  # R31
    # RFC 9110 section 15: a status above 599 is invalid, and is treated like a 5xx.
    _OUT_OF_RANGE: StatusRule(ambiguous=True, verdict="failure"),
}
_OTHER = StatusRule(ambiguous=True)
_GATEWAY_ERROR = StatusRule(error="ServerError", repeat="repeatable", ambiguous=True, verdict="failure")  # R11, R31

_RULES: dict[tuple[int, _Header], StatusRule] = {
    (400, ""): StatusRule(error="InvalidRequestError"),
    (401, ""): StatusRule(error="AuthenticationError"),
    (403, ""): StatusRule(error="PermissionDeniedError"),
    (404, ""): StatusRule(error="NotFoundError"),
    # R11: RFC 9110 section 15.5.9, the request did not arrive in time. R13: so it is not assumed to have been applied.
    (408, ""): StatusRule(repeat="repeatable", ambiguous=True, arrived_whole=False, verdict="neutral"),
    (409, ""): StatusRule(error="ConflictError", repeat="keyed"),  # R11: "in progress" of the Idempotency-Key draft
    (410, ""): StatusRule(error="NotFoundError"),
    (422, ""): StatusRule(error="InvalidRequestError"),
    # R11: RFC 6585 section 4, not processed. R31: the retry budget and Retry-After deal with it, not the breaker.
    (429, ""): StatusRule(error="RateLimitedError", repeat="any", throttled=True, verdict="neutral"),
    (500, ""): _GATEWAY_ERROR,
    (501, ""): StatusRule(error="ServerError", ambiguous=True),  # R31: a method that the service does not know
    (502, ""): _GATEWAY_ERROR,
    (503, ""): _GATEWAY_ERROR,
    # R11: Envoy dropped the request before its upstream; wins over Retry-After. R31: a limiter.
    (503, "x-envoy-overloaded"): StatusRule(error="ServerError", repeat="any", throttled=True, verdict="limited"),
    # R11: gateways send it after the upstream has read the request, too, so it does not say "not processed".
    # R31: a limiter sends it, and so does Varnish for a dead upstream.
    (503, "retry-after"): StatusRule(
        error="ServerError", repeat="repeatable", throttled=True, ambiguous=True, verdict="limited"
    ),
    (504, ""): _GATEWAY_ERROR,
    (505, ""): StatusRule(error="ServerError", ambiguous=True),  # R31: a version of HTTP that the service does not know
}


GATEWAY_RETURNS = StatusRule(error="NotFoundError", repeat="repeatable", verdict="neutral")
"""R21: 404 of a gateway that was away a moment ago; it says nothing about the resource, nor about the service."""


def status_rule(status: int, *, has_retry_after: bool = False, is_overloaded: bool = False) -> StatusRule:
    """
    Return the meaning of *status*: its row with the header, else its own row, else that of its hundred.

    Args:
        status: HTTP status.
        has_retry_after: The response has a usable Retry-After.
        is_overloaded: The response has `x-envoy-overloaded: true`.
    """
    rule = _RULES.get((status, "x-envoy-overloaded")) if is_overloaded else None
    if rule is None and has_retry_after:
        rule = _RULES.get((status, "retry-after"))
    return rule or _RULES.get((status, "")) or _BY_HUNDRED.get(min(status // 100, _OUT_OF_RANGE), _OTHER)


def status_rules() -> list[StatusRule]:
    """Return every row, those of the hundreds included."""
    return [*_RULES.values(), *_BY_HUNDRED.values(), _OTHER, GATEWAY_RETURNS]
