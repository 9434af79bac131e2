"""
The whole error tree. The class says what happened to the request.

It is that of the last attempt; where that one was not sent, that of the last one that may have been applied, so that
`RequestNotSentError` is true of the whole call (`decisive_error`).

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
    everything else: response lost, incomplete, too large or late,  maybe
    1xx, 3xx, 408, any other 5xx, a defect of ours

No text of these classes carries a token, a key, a query value or a body. Each class has a stable `code`, and
`to_plugin_error()` returns what a plugin returns instead of raising.
"""

import math
import traceback
from collections.abc import Sequence
from typing import Any, ClassVar

from .problem import Problem, redact_problem
from .records import Applied, AttemptRecord, Outcome, RequestSent, StopReason, most
from .redaction import Redactor, printable
from .status import StatusRule, status_rule

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

    def to_plugin_error(self) -> dict[str, Any]:
        """
        Return what a plugin returns instead of raising, JSON-ready and free of secrets.

        `{"error": text, "error_code": code, "details": {...}}`, the core's format for a plugin's failure; the details
        depend on the class.
        """
        return {"error": str(self), "error_code": self.code, "details": self._details()}

    def _details(self) -> dict[str, Any]:
        return {}


class ConfigError(PlatformError, ValueError):
    """
    One or more settings are wrong.

    Args:
        problems: Every problem found, each naming its setting.
    """

    code = "CONFIGURATION_ERROR"

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
    """

    code = "CALL_FAILED"

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


class InvalidArgumentError(CallError, ValueError):
    """A value from the caller cannot be sent; nothing was."""

    code = "VALIDATION_ERROR"


class RequestNotSentError(CallError):
    """
    Nothing was sent that may have been applied: the name did not resolve, the connection was refused, TLS failed.

    It is true of all attempts of the call: after one that may have been applied, the call ends with that one's error.
    """

    code = "REQUEST_NOT_SENT"


class LocalRejectionError(RequestNotSentError):
    """A guard of ours rejected the call or an attempt; nothing was sent."""

    code = "REFUSED"


class CircuitOpenError(LocalRejectionError):
    """The circuit breaker rejects attempts because the service has been failing; `retry_after_s` says for how long."""

    code = "CIRCUIT_OPEN"


class BulkheadFullError(LocalRejectionError):
    """Too many calls or attempts are in flight already, and the queue is full."""

    code = "BULKHEAD_FULL"


class RateLimitExceededError(LocalRejectionError):
    """The client's own rate limit would make this attempt wait past its deadline."""

    code = "CLIENT_RATE_LIMITED"


class ClientClosedError(LocalRejectionError):
    """The client was closed before this call."""

    code = "CLIENT_CLOSED"


class PoolTimeoutError(RequestNotSentError):
    """A transport that was passed in had no free connection in time; says nothing about the service."""

    code = "POOL_TIMEOUT"


class ResponseLostError(CallError):
    """The request was sent, or may have been, and no complete response arrived."""

    code = "RESPONSE_LOST"


class DeadlineExceededError(CallError):
    """The time for the whole call, all attempts together, is up."""

    code = "DEADLINE_EXCEEDED"

    @property
    def attempt_applied(self) -> Applied:
        """No once the call has ended: its timeline records what was applied, and a wait that timed out adds nothing."""
        return "no" if self.outcome is not None else super().attempt_applied


class DecodeError(CallError):
    """
    A 2xx response that is not what the operation promises; the reason names the field's path.

    Args:
        reason: What is wrong, for people; never the body.
        is_incomplete: The body is the beginning of a JSON document, whose rest was lost on its way; a request that may
            be repeated is sent again.
    """

    code = "INVALID_RESPONSE"

    def __init__(self, reason: str = "", *, is_incomplete: bool = False, **options: Any) -> None:
        super().__init__(reason, **options)
        self.is_incomplete = is_incomplete

    def redact(self, redactor: Redactor) -> None:
        """Make the text safe to show; it names fields and quotes no values."""
        self.reason = redactor.redact(self.reason, _LONGEST_REASON, is_name=True)
        self.args = (self.reason,)

    @property
    def attempt_applied(self) -> Applied:
        """Yes: by RFC 9110 section 15.3 a 2xx says that the request was received, understood and accepted."""
        return "yes"


class OperationFailedError(CallError):
    """
    A 2xx response whose body reports failure: `success` or `ok` false, a failing `status`.

    Args:
        problem: The details that the body gives.
    """

    code = "REJECTED"

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


class InternalError(CallError):
    """
    Something failed that should not be able to: a defect of this library or of a hook.

    The third-party exception is not chained, since it may refer to the request and so to the credentials.

    Args:
        reason: What happened, for people; free of secrets.
        origin: Where: `module:line in function`, innermost last.
    """

    code = "INTERNAL_ERROR"

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
    """

    code = "UNEXPECTED_STATUS"
    _status: int

    def __init__(
        self,
        reason: str = "",
        *,
        status: int = 0,
        problem: Problem | None = None,
        retry_after_s: float | None = None,
        is_overloaded: bool = False,
    ) -> None:
        super().__init__(reason, request_sent="yes", retry_after_s=retry_after_s)
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
    def rule(self) -> StatusRule:
        """What the status, together with the headers that change its meaning, means for the call."""
        return status_rule(
            self._status, has_retry_after=self.retry_after_s is not None, is_overloaded=self._is_overloaded
        )

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


class InvalidRequestError(StatusError):
    """400 or 422: the platform did not accept the request's content; see `problem.field_errors`."""

    code = "VALIDATION_ERROR"


class AuthenticationError(StatusError):
    """401: the credentials are missing, expired or wrong."""

    code = "UNAUTHENTICATED"


class PermissionDeniedError(StatusError):
    """403: the credentials are fine and do not allow this."""

    code = "PERMISSION_DENIED"


class NotFoundError(StatusError):
    """404 or 410."""

    code = "NOT_FOUND"


class ConflictError(StatusError):
    """409: the state of the resource does not allow this now."""

    code = "CONFLICT"


class RateLimitedError(StatusError):
    """429: too many requests; `retry_after_s` says when the next one may follow."""

    code = "RATE_LIMITED"


class ServerError(StatusError):
    """5xx."""

    code = "SERVER_ERROR"


_SHOWN_FIELDS = 5
_STATUS_ERRORS: dict[str, type[StatusError]] = {
    StatusError.__name__: StatusError,
    **{kind.__name__: kind for kind in StatusError.__subclasses__()},
}


def status_error(
    status: int, problem: Problem, *, retry_after_s: float | None = None, is_overloaded: bool = False
) -> StatusError:
    """Make the error for a response with *status*, of the class that `status.py` names."""
    kind = _STATUS_ERRORS[status_rule(status).error]
    said = ": ".join(text for text in (f"{status} response", problem.code, problem.message) if text)
    names = [name for name in problem.field_errors if name]
    if names:
        more = f" and {len(names) - _SHOWN_FIELDS} more" if len(names) > _SHOWN_FIELDS else ""
        said += f" (fields: {', '.join(names[:_SHOWN_FIELDS])}{more})"
    reason = said if retry_after_s is None else f"{said}; Retry-After {retry_after_s:g} s"
    return kind(reason, status=status, problem=problem, retry_after_s=retry_after_s, is_overloaded=is_overloaded)


def codes_table() -> str:
    """Markdown table of every error's code, as docs/resilience.md shows it."""
    lines = ["| error | code | meaning |", "| --- | --- | --- |"]
    classes: list[type[PlatformError]] = [PlatformError]
    for kind in classes:  # grows during the iteration: the whole tree, level by level
        classes += [child for child in kind.__subclasses__() if child.__module__ == __name__]
        meaning = next(line.strip() for line in str(kind.__doc__).splitlines() if line.strip())
        lines.append(f"| `{kind.__name__}` | `{kind.code}` | {meaning} |")
    return "\n".join(lines)


def internal_error(error: Exception, request_sent: RequestSent, *, where: str = "") -> InternalError:
    """Make the `InternalError` for a third-party *error*: its class, *where*, the lines it passed; never its text."""
    frames = traceback.walk_tb(error.__traceback__)
    # Modules and no paths of files, which show how the host is installed.
    origin = [f"{frame.f_globals.get('__name__', '?')}:{line} in {frame.f_code.co_qualname}" for frame, line in frames]
    reason = f"unexpected {type(error).__name__}" + (f" in {where}" if where else "")
    if origin:
        reason += f" ({origin[-1]})"
    return InternalError(reason, origin=origin, request_sent=request_sent)


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
