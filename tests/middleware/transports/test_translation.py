"""What is sent as bytes, what a received response becomes, and what a library's exception says about the attempt."""

import httpcore
import httpx
import pytest
from layer_support import a_request

from middleware.errors import PoolTimeoutError, RateLimitedError, RequestNotSentError, ResponseLostError, StatusError
from middleware.transports.translation import to_response, translate_error, wire_headers


def test_headers_are_sent_byte_for_byte():
    """A value may contain any byte, as HTTP has always allowed."""
    assert wire_headers(a_request(headers={"x-name": "Z\xfcrich"})) == [(b"x-name", b"Z\xfcrich")]


@pytest.mark.parametrize(
    ("error", "phase_known", "kind", "sent", "reason"),
    [
        (httpx.ReadError("reset"), False, ResponseLostError, "maybe", "ReadError after the request was sent"),
        (httpx.WriteTimeout(""), False, ResponseLostError, "maybe", "WriteTimeout after the request was sent"),
        (httpx.ConnectError("refused"), False, RequestNotSentError, "no", "ConnectError: refused"),
        (httpx.ReadError("reset"), True, RequestNotSentError, "no", "ReadError: reset"),
        (httpx.PoolTimeout(""), True, PoolTimeoutError, "no", "PoolTimeout"),
    ],
    ids=str,
)
def test_without_a_trace_only_a_class_that_cannot_have_sent_has_not(error, phase_known, kind, sent, reason):
    """R12: where the phase is known it decides, whatever the exception is called."""
    request = a_request()
    told = translate_error(request, error, phase_known=phase_known)
    assert type(told) is kind
    assert told.request_sent == sent
    assert request.attempt.request_sent == sent
    assert told.reason == reason


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (httpx.ConnectError("refused"), True),
        (httpcore.ConnectError("refused"), True),
        (ConnectionRefusedError("refused"), True),
        (OSError("no route"), True),
        (httpx.ConnectTimeout(""), False),
        (httpcore.ConnectTimeout(""), False),
        (TimeoutError(), False),
        (httpx.PoolTimeout(""), False),
        (httpx.UnsupportedProtocol("ftp"), False),
        (UnicodeError("host"), False),
    ],
    ids=repr,
)
def test_a_refused_connection_is_one_that_did_not_fail_for_lack_of_time(error, refused):
    """R20: whatever the library; what can never be sent is not refused either."""
    assert translate_error(a_request(), error, phase_known=True).connection_refused is refused


def test_the_reason_holds_no_credentials_and_can_be_another():
    """R52: a library's text may contain what was sent."""
    request = a_request(headers={"x-mozaiks-app-key": "k3y"})
    request.user_jwt = "t0ken"
    assert translate_error(request, httpx.ConnectError("t0ken k3y"), phase_known=True).reason == "ConnectError: *** ***"
    assert (
        translate_error(request, httpx.ConnectError("mine"), phase_known=True, text="ours").reason
        == "ConnectError: ours"
    )
    assert translate_error(request, httpx.ConnectError("mine"), phase_known=True, text="").reason == "ConnectError"


# Responses


def responded(status, headers, body=b"", **request):
    return to_response(a_request(**request), status, headers, body, lambda: 1_800_000_000.0)


def test_a_response_has_the_servers_correlation_id_or_else_ours():
    """An old service echoes none."""
    assert responded(200, {"x-correlation-id": "theirs"}).correlation_id == "theirs"
    assert responded(200, {}).correlation_id == "c-1"
    assert responded(200, {"x-correlation-id": ""}).correlation_id == "c-1"


def test_an_error_response_is_read_by_its_headers():
    """R15: a date is relative to the response's own; an HTML page has no message."""
    headers = {
        "retry-after": "Fri, 15 Jan 2027 09:00:10 GMT",
        "date": "Fri, 15 Jan 2027 09:00:00 GMT",
        "content-type": "text/html",
    }
    with pytest.raises(RateLimitedError) as caught:
        responded(429, headers, b"<h1>slow down</h1>")
    assert caught.value.retry_after_s == 10.0
    assert caught.value.problem.message == ""
    with pytest.raises(RateLimitedError) as caught:
        responded(429, {"retry-after": "Fri, 15 Jan 2027 08:00:07 GMT"}, b"slow down")
    assert caught.value.retry_after_s == 7.0
    assert caught.value.problem.message == "slow down"


@pytest.mark.parametrize(
    ("status", "value", "said"),
    [
        (503, "true", True),
        (503, " True ", True),
        (503, "false", False),
        (503, "", False),
        (502, "true", False),
    ],
)
def test_only_an_envoy_that_says_so_has_dropped_a_request(status, value, said):
    """R11: any other 503 may come after the upstream has read the request."""
    with pytest.raises(StatusError) as caught:
        responded(status, {"x-envoy-overloaded": value, "retry-after": "1"})
    assert caught.value.not_processed == said
    assert caught.value.attempt_applied == ("no" if said else "maybe")


def test_a_response_that_repeats_what_was_sent_shows_none_of_it():
    """R52: the token, the key, and values of the query."""
    request = a_request(headers={"x-mozaiks-app-key": "k3y"})
    request.user_jwt, request.params = "t0ken", {"q": "value-of-q"}
    with pytest.raises(RateLimitedError) as caught:
        to_response(request, 429, {}, b"no t0ken, k3y or value-of-q", lambda: 0.0)
    assert caught.value.problem.message == "no ***, *** or ***"
