"""
From our types to those of an HTTP library and back: headers, complete responses, and the library's exceptions.

The same for every transport, so that no library decides what an error of ours means.
"""

import re
import ssl
from collections.abc import Callable, Mapping

import httpcore
import httpx

from middleware.answered_by import answered_by, gateway_name
from middleware.echoes import redactor_of
from middleware.errors import (
    CallError,
    OperationFailedError,
    PoolTimeoutError,
    RequestNotSentError,
    ResponseLostError,
    status_error,
)
from middleware.problem import MAX_READ, parse_problem
from middleware.redaction import redact
from middleware.retry_after import parse_retry_after
from middleware.types import LONGEST_ID, PlatformRequest, PlatformResponse

from .exhaustion import as_exhausted, no_descriptor, out_of_resources
from .response_reader import SUCCESS

__all__ = ["BODY_METHODS", "to_response", "translate_error", "wire_headers"]

BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
"""Methods that send `Content-Length: 0` where they have no body (RFC 9110 section 8.6)."""

_ALERT = re.compile(r"_ALERT_([A-Z_]+)\Z")
# RFC 8446 section 6.2: those by which a server rejects the certificate of a client, or its absence. Before TLS 1.3
# absence is a `handshake failure`.
_CERTIFICATE_ALERTS = frozenset(
    {
        "access denied",
        "bad certificate",
        "certificate expired",
        "certificate required",
        "certificate revoked",
        "certificate unknown",
        "decrypt error",
        "handshake failure",
        "unknown ca",
        "unsupported certificate",
    }
)
_PROBLEM = "application/problem+"  # +json and +xml, RFC 9457 section 6
_NO_CONNECTION = OSError, httpcore.ConnectError, httpx.ConnectError
_NOT_SENT = httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol


def wire_headers(request: PlatformRequest) -> list[tuple[bytes, bytes]]:
    """Return the headers of *request* as bytes, which libraries of the httpx family take unconverted."""
    # equivalent: `'ascii~'`, `'latin-1~'`: another name of the same codec
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in request.headers.items()]


def to_response(
    request: PlatformRequest, status: int, headers: Mapping[str, str], body: bytes, wall: Callable[[], float]
) -> PlatformResponse:
    """
    Make a response of what was received.

    Args:
        request: The request that it responds to.
        status: HTTP status.
        headers: As `check_headers` returns them.
        body: Decompressed; of an error, what could be read.
        wall: Seconds since the Unix epoch, for Retry-After as a date.

    Raises:
        StatusError: Any status but 2xx, redirects included, or the status that the problem document of a 2xx names.
        OperationFailedError: A 2xx whose problem document names no status of a failure.
    """
    media_type = headers.get("content-type", "")
    is_problem = media_type[: len(_PROBLEM)].lower() == _PROBLEM
    if status in SUCCESS and not is_problem:
        correlation_id, ours = headers.get("x-correlation-id"), request.call.info.correlation_id
        if not correlation_id:
            correlation_id = ours
        elif correlation_id != ours:
            correlation_id = redactor_of(request, budget=MAX_READ).redact(correlation_id, LONGEST_ID, is_name=True)
        return PlatformResponse(status=status, headers=headers, body=body, correlation_id=correlation_id)
    after = parse_retry_after(headers.get("retry-after"), headers.get("date"), wall())
    redactor = redactor_of(request, budget=MAX_READ)
    gateway = redactor.redact(gateway_name(headers))
    problem = parse_problem(body, media_type, redactor=redactor)
    if status in SUCCESS:
        # RFC 9457: the document is a failure's, and its `status` the origin's, whatever a gateway made of the response.
        if problem.status is None:
            raise OperationFailedError(problem, request_sent="yes")
        status = problem.status
    overloaded = headers.get("x-envoy-overloaded", "").strip().lower() == "true"
    raise status_error(
        status,
        problem,
        retry_after_s=after,
        is_overloaded=overloaded,
        answered_by=answered_by(status, headers, body, request.call.info.correlation_id),
        gateway=gateway,
    )


def translate_error(
    request: PlatformRequest,
    error: BaseException,
    *,
    phase_known: bool,
    text: str | None = None,
    proxy: str = "",
    is_new: bool = False,
    connection_error: BaseException | None = None,
) -> CallError:
    """
    Translate a library's exception by the phase that the attempt reached.

    The exception's class is not enough: a reset connection raises the same one before and after the request was sent.

    Args:
        request: The request that failed.
        error: The library's exception.
        phase_known: The transport kept `request_sent` current. Else the error's class decides, and what may have been
            sent counts as sent.
        text: What may be shown of an error before the request was sent; None for the error's own text.
        proxy: The proxy that the connection was being made to, for people.
        is_new: No request was sent on this connection before.
        connection_error: What ended the connection, where the library knows it apart from *error*.
    """
    attempt, name = request.attempt, type(error).__name__
    exhausted = as_exhausted(error)
    alert = _tls_alert(error) or _tls_alert(connection_error)
    if alert in _CERTIFICATE_ALERTS and is_new and attempt.request_sent == "maybe":
        # With TLS 1.3 the client sends its request before the server has looked at its certificate (RFC 8446 section
        # 4.4.2.4): such an alert ends the handshake, so that the request is never read.
        attempt.request_sent = "no"
    if not phase_known and attempt.request_sent == "no" and not isinstance(error, _NOT_SENT):
        attempt.request_sent = "maybe"  # R12
    if attempt.request_sent == "no":
        exhausted = exhausted or no_descriptor()
        if exhausted is not None:
            return out_of_resources(exhausted)
        # The text of the operating system or of TLS. Later ones may quote what the peer sent.
        text = f"TLS alert: {alert}" if alert else str(error) if text is None else text
        shown = redact(text, request.user_jwt, request.headers.get("x-mozaiks-app-key"))
        reason = ": ".join(part for part in (name, proxy, shown) if part)
        if isinstance(error, httpx.PoolTimeout):
            return PoolTimeoutError(reason)
        # R20: TimeoutError is an OSError. A server that rejects a certificate was reached.
        refused = not alert and isinstance(error, _NO_CONNECTION) and not isinstance(error, TimeoutError)
        return RequestNotSentError(reason, connection_refused=refused)
    lost = ResponseLostError(f"{name} after the request was sent", request_sent=attempt.request_sent)
    lost.is_local = exhausted is not None
    return lost


def _tls_alert(error: BaseException | None) -> str:
    """Return the name of the TLS alert that *error*, or what it came from, reports; empty without one."""
    cause = error
    while cause is not None:
        found = _ALERT.search(getattr(cause, "reason", None) or "") if isinstance(cause, ssl.SSLError) else None
        if found is not None:
            return found[1].replace("_", " ").lower()
        cause = cause.__cause__ or cause.__context__
    return ""
