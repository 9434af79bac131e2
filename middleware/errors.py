"""
The whole error tree. The class says what happened to the request.

It is that of the last attempt; where that one was not sent, that of the last one that may have been applied, else of
the last one that the service or the network failed, so that `RequestNotSentError` is true of the whole call
(`decisive_error`).

    PlatformError                          one `except` catches everything this library raises
    ├── ConfigError                        a setting is wrong; lists every problem, not the first
    └── CallError                          one call failed; carries the outcome record
        ├── InvalidArgumentError           the caller's value cannot be sent; nothing was
        ├── RequestNotSentError            nothing was sent that may be applied: safe to repeat for any method
        │   ├── PoolTimeoutError           the transport's own pool had no free connection
        │   └── LocalRejectionError        a guard of ours rejected it; never retried by the stack
        │       ├── CircuitOpenError       the service has been failing
        │       ├── BulkheadFullError      too many attempts or calls in flight already
        │       ├── RateLimitExceededError the client's own rate limit
        │       ├── OutOfResourcesError    this process has no descriptor, memory or thread left
        │       └── ClientClosedError      the client was closed
        ├── ResponseLostError              sent, no complete response: safe to repeat only if idempotent
        ├── DeadlineExceededError          the time for the whole call is up
        ├── DecodeError                    a 2xx, but not the promised shape: a write was applied
        ├── OperationFailedError           a 2xx whose body reports failure
        ├── ResponseTooLargeError          a response that exceeds the size limit; the rest was not read
        ├── StatusError                    any status but 2xx
        │   ├── RedirectError              3xx: redirects are never followed
        │   ├── InvalidRequestError        400, 422
        │   ├── AuthenticationError        401
        │   ├── PermissionDeniedError      403
        │   ├── NotFoundError              404, 410
        │   ├── ConflictError              409
        │   ├── RateLimitedError           429
        │   └── ServerError                5xx
        └── InternalError                  a defect of this library or of a hook; `origin` says where

Whether a write was applied (`applied`, `outcome_unknown`, `is_retry_safe`) follows from the end of each attempt:

    nothing sent                                                    no
    4xx but 408; 503 with `x-envoy-overloaded: true`                no: the server says so
    a 2xx whose body reports failure                                no: the platform says so
    a 2xx that cannot be decoded                                    yes: the status says so
    a 2xx without the report of success that its body has to have   maybe
    everything else: response lost, incomplete, too large or late,  maybe
    1xx, 3xx, 408, any other 5xx, a defect of ours

No text of these classes carries a token, a key, a query value or a body. Each class has a stable `code`, and
`to_plugin_error()` returns what a plugin returns instead of raising: its text is for end users, `str(error)` for
engineers. `http_status` is what a host would respond with.
"""

import math
import re
import traceback
from collections.abc import Sequence
from typing import Any, ClassVar

from .problem import Problem, redact_problem
from .records import AnsweredBy, Applied, AttemptRecord, Outcome, RequestSent, StopReason, most
from .redaction import Redactor, printable, redact, redact_target
from .status import GATEWAY_RETURNS, StatusRule, status_rule

__all__ = [
    "AuthenticationError",
    "BulkheadFullError",
    "CallError",
    "CircuitOpenError",
    "ClientClosedError",
    "ConfigError",
    "ConflictError",
    "DeadlineExceededError",
    "DecodeError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidRequestError",
    "LocalRejectionError",
    "NotFoundError",
    "OperationFailedError",
    "OutOfResourcesError",
    "PermissionDeniedError",
    "PlatformError",
    "PoolTimeoutError",
    "RateLimitExceededError",
    "RateLimitedError",
    "RedirectError",
    "RequestNotSentError",
    "ResponseLostError",
    "ResponseTooLargeError",
    "ServerError",
    "StatusError",
    "advice_table",
    "clear_traceback_locals",
    "codes_table",
    "decisive_error",
    "error_type",
    "status_error",
]


class PlatformError(Exception):
    """
    Base of every error this library raises.

    Attributes:
        code: Stable name of the class of failure, for programs.
    """

    code: ClassVar[str] = "PLATFORM_ERROR"
    _sentence: ClassVar[str] = "Something went wrong."
    _advice: ClassVar[str] = "Catch it to catch every error; what to do depends on the class."
    _http_status: ClassVar[int] = 500
    _is_transient: ClassVar[bool] = False

    @property
    def http_status(self) -> int:
        """HTTP status that a host would respond with when this error ends the request that it serves."""
        return self._http_status

    @property
    def is_transient(self) -> bool:
        """
        True when the same call may succeed later without any change.

        It says nothing about whether repeating is safe: see `CallError.is_retry_safe`.
        """
        return self._is_transient

    def to_plugin_error(self) -> dict[str, Any]:
        """
        Return what a plugin returns instead of raising, JSON-ready and free of secrets.

        `{"error": text, "error_code": code, "details": {...}}`, the core's format for a plugin's failure. The text is
        for end users, without any technical detail; `str(error)` is for engineers. The details depend on the class.
        """
        return {"error": self._for_users(), "error_code": self.code, "details": self._details()}

    def _for_users(self) -> str:
        return self._sentence

    def _details(self) -> dict[str, Any]:
        return {}


class ConfigError(PlatformError, ValueError):
    """
    One or more settings are wrong.

    Args:
        problems: Every problem found, each naming its setting.
    """

    code = "CONFIGURATION_ERROR"
    _sentence = "The application is not set up correctly. Please inform its operator."
    _advice = "Correct the settings that `problems` and `str(error)` name; until then the same call fails."

    def __init__(self, problems: Sequence[str] | str) -> None:
        # A variable of the environment may contain bytes that are no UTF-8, which Python reads as surrogates.
        self.problems = tuple(map(printable, (problems,) if isinstance(problems, str) else problems))
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "; ".join(self.problems)

    def _details(self) -> dict[str, Any]:
        return {"problems": list(self.problems)}


class CallError(PlatformError):
    """
    One call failed.

    Args:
        reason: What happened, for people; free of secrets.
        request_sent: Whether the server received the attempt that the error describes.
        retry_after_s: Seconds after which the server, or a guard of ours, allows another attempt.

    Attributes:
        outcome: Record of the whole call; None only until the call has ended.
        is_local: True when the cause is in this process, so that it says nothing about the service.
    """

    code = "CALL_FAILED"
    _sentence = "The service could not complete the request."
    _advice = "Catch it to catch every failed call; what to do depends on the class."
    _http_status = 502

    def __init__(
        self, reason: str = "", *, request_sent: RequestSent = "no", retry_after_s: float | None = None
    ) -> None:
        reason = printable(reason)
        # One positional argument: pickle and copy pass `args` to `__init__`.
        super().__init__(reason)
        self.reason = reason
        self.request_sent: RequestSent = request_sent
        self.retry_after_s = retry_after_s
        self.outcome: Outcome | None = None
        self.is_local = False
        self._status: int | None = None
        self._platform_correlation_id = ""

    def note_response(self, status: int | None, platform_correlation_id: str = "") -> None:
        """Set status and correlation id of the response that caused this failure, unless they are set already."""
        if self._status is None:
            self._status = status
        self._platform_correlation_id = self._platform_correlation_id or platform_correlation_id

    def redact(self, redactor: Redactor) -> None:
        """Make the text of this error safe to show: what raised it may have quoted the response."""
        self.reason = redactor.redact(self.reason, _LONGEST_REASON)
        self.args = (self.reason,)

    @property
    def service(self) -> str:
        """Service the call was for."""
        return self.outcome.call.service if self.outcome else ""

    @property
    def operation(self) -> str:
        """Operation that failed, for example `get_user`."""
        return self.outcome.call.operation if self.outcome else ""

    @property
    def method(self) -> str:
        """HTTP method."""
        return self.outcome.call.method if self.outcome else ""

    @property
    def route(self) -> str:
        """Path template; `other` for a path that was filled in by hand."""
        return self.outcome.call.route if self.outcome else ""

    @property
    def correlation_id(self) -> str:
        """Id of this call in the platform's logs."""
        return self.outcome.call.correlation_id if self.outcome else ""

    @property
    def platform_correlation_id(self) -> str:
        """
        Id of the response in the platform's logs, where it differs from `correlation_id`; empty where none does.

        At most 128 printable characters.
        """
        return self._platform_correlation_id or (self.outcome.platform_correlation_id if self.outcome else "")

    @property
    def attempts(self) -> int:
        """Attempts sent; 0 when the call was rejected before the first."""
        return self.outcome.attempts if self.outcome else 0

    @property
    def elapsed_s(self) -> float:
        """Duration of the call in seconds."""
        return self.outcome.elapsed_s if self.outcome else 0.0

    @property
    def timeline(self) -> tuple[AttemptRecord, ...]:
        """One record per attempt: start, end, outcome, and the wait before it."""
        return self.outcome.timeline if self.outcome else ()

    @property
    def stop_reason(self) -> StopReason:
        """Why no further attempt was made."""
        return self.outcome.stop_reason if self.outcome else ""

    @property
    def stop_detail(self) -> str:
        """The limit behind `stop_reason`, for people; empty where there is none."""
        return self.outcome.stop_detail if self.outcome else ""

    @property
    def circuit_state(self) -> str:
        """State of the circuit breaker at the last check; empty when there was none."""
        return self.outcome.circuit_state if self.outcome else ""

    @property
    def status(self) -> int | None:
        """
        HTTP status of the last response, even if its body could not be read; None when no response arrived.

        It is a 2xx where the response of a success could not be used, for example for `DecodeError`.
        """
        return self._status

    @property
    def problem(self) -> Problem | None:
        """Details from the error response; None when the failure was not a response."""
        return None

    @property
    def answered_by(self) -> AnsweredBy:
        """Who sent the error response, `platform`, `gateway` or `unknown`; empty when the failure was not one."""
        return ""

    @property
    def attempt_applied(self) -> Applied:
        """Whether the server applied the attempt that the error describes, judged by this error alone."""
        return "no" if self.request_sent == "no" else "maybe"

    @property
    def is_ambiguous(self) -> bool:
        """True when it is unknown whether the attempt that the error describes was applied."""
        return self.attempt_applied == "maybe"

    @property
    def applied(self) -> Applied:
        """
        Whether the request was applied by any attempt of the call.

        Earlier attempts count too: one whose response was lost may have been applied, even if the last one was not.
        """
        earlier = self.outcome.timeline if self.outcome else ()
        return most((self.attempt_applied, *(record.applied for record in earlier)))

    @property
    def outcome_unknown(self) -> bool:
        """
        True when only the platform knows whether a write was applied.

        False for one that is known to be applied, such as a 2xx that cannot be decoded (see `is_retry_safe`), and until
        the call has ended.
        """
        return self.outcome is not None and not self._is_idempotent and self.applied == "maybe"

    @property
    def is_retry_safe(self) -> bool:
        """
        True when sending the same request again cannot apply a write twice; it says nothing about success.

        False for a write that was applied or may have been. Until the call has ended, any request counts as a write.
        """
        return self._is_idempotent or self.applied == "no"

    @property
    def is_transient(self) -> bool:
        """
        True when the same call may succeed later without any change; where the platform says so, as it says.

        Repeat where `is_retry_safe` is true too, after `retry_after_s`.
        """
        said = self.problem.retryable if self.problem is not None else None
        return self._may_pass if said is None else said

    @property
    def _may_pass(self) -> bool:
        return self._is_transient

    @property
    def _is_idempotent(self) -> bool:
        return self.outcome is not None and self.outcome.call.idempotent

    def _details(self) -> dict[str, Any]:
        wait_s, problem = self.retry_after_s, self.problem
        return {
            "service": self.service,
            "operation": self.operation,
            "status": self.status,
            "attempts": self.attempts,
            "correlation_id": self.correlation_id,
            "request_sent": self.outcome.request_sent if self.outcome else self.request_sent,
            "outcome_unknown": self.outcome_unknown,
            "is_retry_safe": self.is_retry_safe,
            "retry_after_s": wait_s if wait_s is not None and math.isfinite(wait_s) else None,
            "stop_reason": self.stop_reason,
            "problem": problem
            and {
                "code": problem.code,
                "message": problem.message,
                "field_errors": {name: list(texts) for name, texts in problem.field_errors.items()},
            },
        }

    def _for_users(self) -> str:
        if not self.is_retry_safe:
            return f"{self._sentence} {_APPLIED_FOR_USERS[self.applied]}"
        return (
            f"{self._sentence} Please try again {_in_time(self.retry_after_s)}."
            if self.is_transient
            else self._sentence
        )

    def __str__(self) -> str:
        if self.outcome is None:
            return self.reason
        call, tries = self.outcome.call, self.outcome.attempts
        where = f"{call.service}.{call.operation} ({call.method} {call.route})"
        known = "" if self.is_retry_safe else _APPLIED[self.applied]
        counted = f"{tries} attempt{'' if tries == 1 else 's'}"
        limit = f" (gave up: {self.stop_detail})" if self.stop_detail else ""
        ids = f"correlation id {call.correlation_id}"
        if self.platform_correlation_id:
            ids += f", the platform's {self.platform_correlation_id}"
        return f"{where}: {self.reason}{limit} [{counted}{known}; {ids}]"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"


_LONGEST_REASON = 2_000
_APPLIED: dict[Applied, str] = {"maybe": "; the write may have been applied", "yes": "; the write was applied"}
_APPLIED_FOR_USERS: dict[Applied, str] = {
    "maybe": "Your change may have been made: please check before you try again.",
    "yes": "Your change was made: please do not repeat it.",
}
_LONGEST_IN_SECONDS = 120


def _in_time(seconds: float | None) -> str:
    """Return how long a person should wait; rounded up, so that nothing is repeated too early."""
    if seconds is None or not 0 < seconds < math.inf:
        return "in a moment"
    count, unit = (seconds, "second") if seconds <= _LONGEST_IN_SECONDS else (seconds / 60, "minute")
    return f"in {math.ceil(count)} {unit}{'' if math.ceil(count) == 1 else 's'}"


class InvalidArgumentError(CallError, ValueError):
    """A value from the caller cannot be sent; nothing was."""

    code = "VALIDATION_ERROR"
    _sentence = "The request contains a value that is not valid."
    _advice = "Correct the argument that `str(error)` names; nothing was sent."
    _http_status = 400


class RequestNotSentError(CallError):
    """
    Nothing was sent that may have been applied: the name did not resolve, the connection was refused, TLS failed.

    It is true of all attempts of the call: after one that may have been applied, the call ends with that one's error.

    Args:
        reason: What happened, for people; free of secrets.
        connection_refused: The connection was refused, or could not be made for another reason than lack of time.
        options: As for `CallError`.
    """

    code = "REQUEST_NOT_SENT"
    _sentence = "The service could not be reached."
    _advice = "Repeat later. If it lasts, look at base URL, DNS, TLS and network; `str(error)` has the reason."
    _http_status = 503
    _is_transient = True

    def __init__(self, reason: str = "", *, connection_refused: bool = False, **options: Any) -> None:
        super().__init__(reason, **options)
        self.connection_refused = connection_refused


class LocalRejectionError(RequestNotSentError):
    """A guard of ours rejected the call or an attempt; nothing was sent."""

    code = "REFUSED"
    _sentence = "The service is not available right now."
    _advice = "Repeat later, after `retry_after_s` where it is known; do not repeat at once."


class CircuitOpenError(LocalRejectionError):
    """The circuit breaker rejects attempts because the service has been failing; `retry_after_s` says for how long."""

    code = "CIRCUIT_OPEN"
    _advice = "Repeat after `retry_after_s`, or do without the service; its failures are in the log lines before."


class BulkheadFullError(LocalRejectionError):
    """Too many calls or attempts are in flight already, and the queue is full."""

    code = "BULKHEAD_FULL"
    _sentence = "The service is busy right now."
    _advice = (
        "Make fewer calls in parallel, or raise `bulkhead.*` or `calls.max_in_flight` where the service can take more."
    )


class RateLimitExceededError(LocalRejectionError):
    """The client's own rate limit, or the quota of the key, would make this attempt wait past its deadline."""

    code = "CLIENT_RATE_LIMITED"
    _sentence = "The service is busy right now."
    _advice = "Spread the calls, or raise `rate_limit.*` or `quota.*` where the service allows more."


class OutOfResourcesError(LocalRejectionError):
    """This process has no descriptor, memory or thread left to send the request; says nothing about the service."""

    code = "OUT_OF_RESOURCES"
    _advice = "Raise the limits of this process (`ulimit -n`), or find what keeps its descriptors, memory or threads."


class ClientClosedError(LocalRejectionError):
    """The client was closed before this call."""

    code = "CLIENT_CLOSED"
    _sentence = "The application is shutting down."
    _advice = "Load the connectors again; do not keep a bundle beyond its `aclose`."
    _is_transient = False


class PoolTimeoutError(RequestNotSentError):
    """A transport that was passed in had no free connection in time; says nothing about the service."""

    code = "POOL_TIMEOUT"
    _sentence = "The service is busy right now."
    _advice = "Raise the limit of the transport that was passed in, or make fewer calls in parallel."


class ResponseLostError(CallError):
    """The request was sent, or may have been, and no complete response arrived."""

    code = "RESPONSE_LOST"
    _sentence = "The service did not respond."
    _advice = "Repeat only where `is_retry_safe`; otherwise read first what was written."
    _is_transient = True


class DeadlineExceededError(CallError):
    """The time for the whole call, all attempts together, is up."""

    code = "DEADLINE_EXCEEDED"
    _sentence = "The service took too long to respond."
    _advice = (
        "As after a lost response. If it is frequent, compare `deadline.total_s` with the latency of the operation."
    )
    _http_status = 504
    _is_transient = True

    @property
    def attempt_applied(self) -> Applied:
        """No once the call has ended: its timeline records what was applied, and a wait that timed out adds nothing."""
        return "no" if self.outcome is not None else super().attempt_applied


class DecodeError(CallError):
    """
    A 2xx response that is not what the operation promises; the reason names the field's path.

    Args:
        reason: What is wrong with the response, for people; free of secrets.
        lacks_result: The body was to report whether the operation worked, and does not.
        is_incomplete: The body is the beginning of a JSON document, whose rest was lost on its way; a request that may
            be repeated is sent again.
        options: As for `CallError`.
    """

    code = "INVALID_RESPONSE"
    _sentence = "The service sent a response that could not be read."
    _advice = (
        "Do not repeat a write: it was applied. Report the operation and `str(error)` to the maintainers of the "
        "connector."
    )

    def __init__(
        self, reason: str = "", *, lacks_result: bool = False, is_incomplete: bool = False, **options: Any
    ) -> None:
        super().__init__(reason, **options)
        self._lacks_result = lacks_result
        self.is_incomplete = is_incomplete

    def redact(self, redactor: Redactor) -> None:
        """Make the text safe to show; it names fields and quotes no values."""
        self.reason = redactor.redact(self.reason, _LONGEST_REASON, is_name=True)
        self.args = (self.reason,)

    @property
    def attempt_applied(self) -> Applied:
        """
        Yes: by RFC 9110 section 15.3 a 2xx says that the request was received, understood and accepted.

        Maybe, where the body was to report whether it worked, and does not.
        """
        return "maybe" if self._lacks_result else "yes"


class OperationFailedError(CallError):
    """
    A 2xx response whose body reports failure: `success` or `ok` false, a failing `status`.

    Args:
        problem: The details that the body gives.
    """

    code = "REJECTED"
    _sentence = "The service did not carry out the request."
    _advice = "Act on `problem.code` and `problem.message`, which are the platform's own."
    _http_status = 422

    def __init__(self, problem: Problem | str = "", **options: Any) -> None:
        # A text comes from pickle and copy, which restore the problem with the state.
        self._problem = problem if isinstance(problem, Problem) else Problem()
        super().__init__(problem if isinstance(problem, str) else self._reported(), **options)

    def _reported(self) -> str:
        texts = "2xx response reports failure", self._problem.code, self._problem.message
        return ": ".join(text for text in texts if text)

    def redact(self, redactor: Redactor) -> None:
        """Make the details and the text that is made of them safe to show."""
        is_made_of_them = self.reason == self._reported()
        self._problem = redact_problem(self._problem, redactor)
        if is_made_of_them:
            self.reason = self._reported()
            self.args = (self.reason,)
        else:
            super().redact(redactor)

    @property
    def problem(self) -> Problem:
        """Details of the failure, from the body."""
        return self._problem

    @property
    def attempt_applied(self) -> Applied:
        """No: the platform itself says so."""
        return "no"

    @property
    def applied(self) -> Applied:
        """
        Whether the request was applied by any attempt of the call.

        To a service that honours the call's key, all attempts are one request, so the response is that of all of them.
        """
        known = super().applied
        return "no" if known == "maybe" and self.outcome is not None and self.outcome.keyed else known


class ResponseTooLargeError(CallError):
    """The response is larger than the limit; the rest was not read."""

    code = "RESPONSE_TOO_LARGE"
    _sentence = "The service sent a response that is too large."
    _advice = "Ask for less, for example a smaller page, or raise `transport.max_response_bytes`."


class InternalError(CallError):
    """
    Something failed that should not be able to: a defect of this library or of a hook.

    The third-party exception is not chained, since it may refer to the request and so to the credentials.

    Args:
        reason: What happened, for people; free of secrets.
        origin: Where: `module:line in function`, innermost last.
    """

    code = "INTERNAL_ERROR"
    _sentence = "Something went wrong."
    _advice = (
        "Report `origin` and the correlation id to the maintainers; a defect of a layer of the host is named there too."
    )
    _http_status = 500

    def __init__(self, reason: str = "", *, origin: Sequence[str] = (), **options: Any) -> None:
        super().__init__(reason, **options)
        self.origin = tuple(origin)

    def _details(self) -> dict[str, Any]:
        return {**super()._details(), "origin": list(self.origin)}


class StatusError(CallError):
    """
    The platform responded with a status other than 2xx.

    Args:
        reason: What happened, for people.
        status: The HTTP status.
        problem: What the body said.
        retry_after_s: The server's Retry-After in seconds.
        is_overloaded: The response carries `x-envoy-overloaded: true`.
        answered_by: Who sent the response.
    """

    code = "UNEXPECTED_STATUS"
    _advice = (
        "Act on `status` and `problem`; a status that the operation does not document is a defect of connector or "
        "platform."
    )
    _status: int

    def __init__(
        self,
        reason: str = "",
        *,
        status: int = 0,
        problem: Problem | None = None,
        retry_after_s: float | None = None,
        is_overloaded: bool = False,
        answered_by: AnsweredBy = "unknown",
    ) -> None:
        super().__init__(reason, request_sent="yes", retry_after_s=retry_after_s)
        self._answered_by: AnsweredBy = answered_by
        self._status = status
        self._is_overloaded = is_overloaded
        self._problem = problem or Problem()

    @property
    def status(self) -> int:
        """HTTP status of the response."""
        return self._status

    @property
    def problem(self) -> Problem:
        """Details from the error response."""
        return self._problem

    @property
    def answered_by(self) -> AnsweredBy:
        """Who sent the response."""
        return self._answered_by

    @property
    def rule(self) -> StatusRule:
        """What the status, together with the headers that change its meaning, means for the call."""
        return status_rule(
            self._status, has_retry_after=self.retry_after_s is not None, is_overloaded=self._is_overloaded
        )

    @property
    def http_status(self) -> int:
        """The platform's status where it concerns the request of the host's own caller; else 502, or 504 for 408."""
        return self._status if self._status in _PASSED_ON else _TIMED_OUT.get(self._status, self._http_status)

    @property
    def _may_pass(self) -> bool:
        return self.rule.repeat in {"repeatable", "any"}

    @property
    def not_processed(self) -> bool:
        """True when the response says that the request was not processed, so that any method may be repeated."""
        return self.rule.not_processed

    @property
    def is_throttled(self) -> bool:
        """True when the response asks for fewer requests, so that the wait before the next attempt is longer."""
        return self.rule.throttled

    @property
    def attempt_applied(self) -> Applied:
        """Whether the server applied the attempt, by what its status says."""
        return "maybe" if self.rule.ambiguous else "no"


class RedirectError(StatusError):
    """3xx: redirects are never followed, since they would carry credentials elsewhere."""

    code = "UNEXPECTED_REDIRECT"
    _advice = "Correct the base URL: scheme, host or path differ from where the platform is now."


class InvalidRequestError(StatusError):
    """400 or 422: the platform did not accept the request's content; see `problem.field_errors`."""

    code = "VALIDATION_ERROR"
    _sentence = "The request contains a value that is not valid."
    _advice = "Correct the values; `problem.field_errors` names the fields."


class AuthenticationError(StatusError):
    """401: the credentials are missing, expired or wrong."""

    code = "UNAUTHENTICATED"
    _sentence = "You are not signed in, or your session has expired. Please sign in again."
    _advice = "Get a new user token and call again. If it lasts for all users, the application's key is wrong."


class PermissionDeniedError(StatusError):
    """403: the credentials are fine and do not allow this."""

    code = "PERMISSION_DENIED"
    _sentence = "You are not allowed to do this."
    _advice = "Do not repeat; ask for the permission, or do not offer the action."


class NotFoundError(StatusError):
    """
    404 or 410.

    Attributes:
        gateway_returns: It is the 404 of a gateway that was away a moment ago, and may lack its routes yet.
    """

    code = "NOT_FOUND"
    _sentence = "This does not exist, or not any more."
    _advice = "Check the id; do not repeat."
    gateway_returns = False

    @property
    def rule(self) -> StatusRule:
        """What the status means for the call; less where the gateway returns."""
        return GATEWAY_RETURNS if self.gateway_returns else super().rule  # R21

    @property
    def outcome_unknown(self) -> bool:
        """
        True also for a DELETE that may have been applied, and whose last response is not known to be the platform's.

        A gateway's own 404 does not say that the resource is gone.
        """
        is_delete = self.outcome is not None and self.outcome.call.method == "DELETE"
        is_doubtful = is_delete and self.applied == "maybe" and self.answered_by != "platform"  # R13
        return is_doubtful or super().outcome_unknown


class ConflictError(StatusError):
    """409: the state of the resource does not allow this now."""

    code = "CONFLICT"
    _sentence = "This is not possible in the present state. Please reload and check."
    _advice = "Read the resource again and decide anew."


class RateLimitedError(StatusError):
    """429: too many requests; `retry_after_s` says when the next one may follow."""

    code = "RATE_LIMITED"
    _sentence = "Too many requests were made in a short time."
    _advice = "Repeat after `retry_after_s`, and make fewer calls."


class ServerError(StatusError):
    """5xx."""

    code = "SERVER_ERROR"
    _sentence = "The service has a problem."
    _advice = "Repeat where `is_transient` and `is_retry_safe`. If it lasts, report the correlation id to the platform."


_SHOWN_FIELDS = 5
# What the platform says of the user, of what the user asked for, or of when. A 405 or 415 would blame the user for a
# request that the connector made.
_PASSED_ON = frozenset({400, 401, 402, 403, 404, 409, 410, 412, 413, 422, 423, 429, 451, 503, 504})
_TIMED_OUT = {408: 504}

_STATUS_ERRORS: dict[str, type[StatusError]] = {
    StatusError.__name__: StatusError,
    **{kind.__name__: kind for kind in StatusError.__subclasses__()},
}


_REFUSED_BY_GATEWAYS = frozenset({400, 413, 431})  # for its size or its form, before it reached the platform


def status_error(
    status: int,
    problem: Problem,
    *,
    retry_after_s: float | None = None,
    is_overloaded: bool = False,
    answered_by: AnsweredBy = "unknown",
    gateway: str = "",
) -> StatusError:
    """
    Make the error for a response with *status*, of the class that `status.py` names.

    Args:
        status: HTTP status.
        problem: What the body said.
        retry_after_s: The server's Retry-After in seconds.
        is_overloaded: The response carries `x-envoy-overloaded: true`.
        answered_by: Who sent the response.
        gateway: Name of the gateway's software, where one sent it.
    """
    kind = _STATUS_ERRORS[status_rule(status).error]
    reason = f"{status} response"
    if answered_by == "gateway":
        reason += f" of the gateway {gateway}" if gateway else " of a gateway"
        # Without this, 400 reads as if the platform had found a fault in the caller's values.
        reason += ", which refused the request" if status in _REFUSED_BY_GATEWAYS else ""
    said = ": ".join(text for text in (reason, problem.code, problem.message) if text)
    names = [name for name in problem.field_errors if name]
    if names:
        more = f" and {len(names) - _SHOWN_FIELDS} more" if len(names) > _SHOWN_FIELDS else ""
        said += f" (fields: {', '.join(names[:_SHOWN_FIELDS])}{more})"
    return kind(
        said if retry_after_s is None else f"{said}; Retry-After {retry_after_s:g} s",
        status=status,
        problem=problem,
        retry_after_s=retry_after_s,
        is_overloaded=is_overloaded,
        answered_by=answered_by,
    )


def is_refused_connection(error: BaseException | None) -> bool:
    """Return whether *error* says that no connection was made, for another reason than lack of time."""
    return isinstance(error, RequestNotSentError) and error.connection_refused


def is_lost_response(error: BaseException) -> bool:
    """Return whether *error* says that no complete response arrived; what may be repeated is then sent again (R11)."""
    return isinstance(error, ResponseLostError) or (isinstance(error, DecodeError) and error.is_incomplete)


def _every_class() -> list[type[PlatformError]]:
    """Return the whole tree, level by level; classes of other modules left out."""
    classes: list[type[PlatformError]] = [PlatformError]
    for kind in classes:  # grows during the iteration
        classes += [child for child in kind.__subclasses__() if child.__module__ == __name__]
    return classes


def codes_table() -> str:
    """Markdown table of every error's code, as docs/reference/errors.md shows it."""
    lines = ["| error | code | meaning |", "| --- | --- | --- |"]
    for kind in _every_class():
        meaning = next(line.strip() for line in str(kind.__doc__).splitlines() if line.strip())
        lines.append(f"| `{kind.__name__}` | `{kind.code}` | {meaning} |")
    return "\n".join(lines)


def advice_table() -> str:
    """Markdown table of what to do after each error, as docs/reference/errors.md shows it."""
    lines = [
        "| code | error | `http_status` | `is_transient` | what to do | end users read |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    # equivalent: `99`, `101`, `599`, `601`: what these statuses say is said by others too
    by_status: list[PlatformError] = [status_error(status, Problem()) for status in range(100, 600)]
    for kind in _every_class():
        # A class without a status of its own is listed by what its errors say.
        mine = [error for error in by_status if type(error) is kind] or [kind("")]  # equivalent: `'~'`: a reason
        statuses = ", ".join(str(status) for status in sorted({error.http_status for error in mine}))
        passing = [error for error in mine if error.is_transient]
        transient = "no" if not passing else "yes" if passing == mine else f"for {_statuses(passing)}"
        texts = kind._advice, kind._sentence  # noqa: SLF001 - a class of this module
        lines.append(f"| {' | '.join((f'`{kind.code}`', f'`{kind.__name__}`', statuses, transient, *texts))} |")
    return "\n".join(lines)


def _statuses(errors: Sequence[PlatformError]) -> str:
    return ", ".join(str(error.status) for error in errors if isinstance(error, StatusError))


def internal_error(error: Exception, request_sent: RequestSent, *, where: str = "") -> InternalError:
    """Make the `InternalError` for a third-party *error*: its class, *where*, the lines it passed; never its text."""
    frames = traceback.walk_tb(error.__traceback__)
    # Modules and no paths of files, which show how the host is installed.
    origin = [f"{frame.f_globals.get('__name__', '?')}:{line} in {frame.f_code.co_qualname}" for frame, line in frames]
    reason = f"unexpected {type(error).__name__}" + (f" in {where}" if where else "")
    if origin:
        reason += f" ({origin[-1]})"
    return InternalError(reason + _said_by_respx(error), origin=origin, request_sent=request_sent)


def _said_by_respx(error: Exception) -> str:
    """Return which request a test forgot to mock. Its URL is shown without the query's values, as targets are."""
    if type(error).__module__.partition(".")[0] != "respx":
        return ""
    return ": " + redact(re.sub(r"\?[^'\s]*", lambda query: redact_target(query[0]), str(error)))


def decisive_error(failures: Sequence[CallError], last: CallError) -> CallError:
    """
    Return the error of a call, so that its class is true of all attempts.

    `RequestNotSentError` allows to repeat any request, but an earlier attempt of the call may have been applied. Where
    the last attempt was not sent, the result is the last error of an attempt that may have been applied, else the last
    one that the service or the network caused.

    Args:
        failures: Errors of the call's attempts, oldest first.
        last: The one that ended the call.
    """
    if not isinstance(last, RequestNotSentError):
        return last
    upstream = [error for error in failures if not isinstance(error, LocalRejectionError)]
    unsettled = [error for error in upstream if error.attempt_applied != "no"]
    return (unsettled or upstream or [last])[-1]


def clear_traceback_locals(error: BaseException) -> None:
    """
    Clear the local variables of the ended frames in the traceback of *error*.

    They refer to the request, and so to the credentials, for as long as the error lives. File, line and function of
    each frame stay. Errors of ours that it is chained to are cleared too, but not an exception that the caller was
    handling.
    """
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__context__ if isinstance(link.__context__, CallError) else None


def error_type(error: Any) -> str:
    """Low-cardinality name of *error* for spans, metrics and logs: the status as text, else the class name."""
    status = getattr(error, "status", None)
    return str(status) if isinstance(error, StatusError) and status else type(error).__name__
