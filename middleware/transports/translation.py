"""
From our types to those of an HTTP library and back: headers, complete responses, and the library's exceptions.

The same for every transport, so that no library decides what an error of ours means.
"""

from collections.abc import Callable, Mapping

import httpcore
import httpx

from middleware.answered_by import answered_by, gateway_name
from middleware.errors import CallError, PoolTimeoutError, RequestNotSentError, ResponseLostError, status_error
from middleware.problem import parse_problem
from middleware.redaction import query_values, redact
from middleware.retry_after import parse_retry_after
from middleware.types import PlatformRequest, PlatformResponse

from .exhaustion import as_exhausted, no_descriptor, out_of_resources
from .response_reader import SUCCESS

__all__ = ["BODY_METHODS", "to_response", "translate_error", "wire_headers"]

BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
"""Methods that send `Content-Length: 0` where they have no body (RFC 9110 section 8.6)."""

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
        StatusError: Any status but 2xx, redirects included.
    """
    if status in SUCCESS:
        correlation_id = headers.get("x-correlation-id") or request.call.info.correlation_id
        return PlatformResponse(status=status, headers=headers, body=body, correlation_id=correlation_id)
    after = parse_retry_after(headers.get("retry-after"), headers.get("date"), wall())
    hidden = request.user_jwt, request.headers.get("x-mozaiks-app-key"), *query_values(request.params)
    problem = parse_problem(body, headers.get("content-type", ""), *hidden)  # equivalent: `'~'`: neither is HTML
    overloaded = headers.get("x-envoy-overloaded", "").strip().lower() == "true"
    raise status_error(
        status,
        problem,
        retry_after_s=after,
        is_overloaded=overloaded,
        answered_by=answered_by(status, headers, body, request.call.info.correlation_id),
        gateway=redact(gateway_name(headers), *hidden),
    )


def translate_error(
    request: PlatformRequest, error: BaseException, *, phase_known: bool, text: str | None = None
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
    """
    attempt, name = request.attempt, type(error).__name__
    exhausted = as_exhausted(error)
    if not phase_known and attempt.request_sent == "no" and not isinstance(error, _NOT_SENT):
        attempt.request_sent = "maybe"  # R12
    if attempt.request_sent == "no":
        exhausted = exhausted or no_descriptor()
        if exhausted is not None:
            return out_of_resources(exhausted)
        # The text of the operating system or of TLS. Later ones may quote what the peer sent.
        shown = redact(str(error) if text is None else text, request.user_jwt, request.headers.get("x-mozaiks-app-key"))
        reason = f"{name}: {shown}" if shown else name
        if isinstance(error, httpx.PoolTimeout):
            return PoolTimeoutError(reason)
        # R20: TimeoutError is an OSError.
        refused = isinstance(error, _NO_CONNECTION) and not isinstance(error, TimeoutError)
        return RequestNotSentError(reason, connection_refused=refused)
    lost = ResponseLostError(f"{name} after the request was sent", request_sent=attempt.request_sent)
    lost.is_local = exhausted is not None
    return lost
