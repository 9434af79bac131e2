"""What a library's exception says about a request, by how far it got."""

import httpx
import pytest
from layer_support import a_request

from middleware.errors import PoolTimeoutError, RequestNotSentError, ResponseLostError
from middleware.exchange import failure


@pytest.mark.parametrize(
    ("error", "traced", "kind", "sent", "reason"),
    [
        (httpx.ReadError("reset"), False, ResponseLostError, "maybe", "ReadError after the request was sent"),
        (httpx.WriteTimeout(""), False, ResponseLostError, "maybe", "WriteTimeout after the request was sent"),
        (httpx.ConnectError("refused"), False, RequestNotSentError, "no", "ConnectError: refused"),
        (httpx.ReadError("reset"), True, RequestNotSentError, "no", "ReadError: reset"),
        (httpx.PoolTimeout(""), True, PoolTimeoutError, "no", "PoolTimeout"),
    ],
    ids=str,
)
def test_without_a_trace_only_a_class_that_cannot_have_sent_has_not(error, traced, kind, sent, reason):
    """R12: where the phase is known it decides, whatever the exception is called."""
    request = a_request()
    told = failure(request, error, traced=traced)
    assert (type(told), told.request_sent, request.attempt.request_sent, told.reason) == (kind, sent, sent, reason)


def test_the_reason_holds_no_credentials_and_can_be_another():
    """R52: a library's text may hold what was sent."""
    request = a_request(headers={"x-mozaiks-app-key": "k3y"})
    request.user_jwt = "t0ken"
    assert failure(request, httpx.ConnectError("t0ken k3y"), traced=True).reason == "ConnectError: *** ***"
    assert failure(request, httpx.ConnectError("mine"), traced=True, text="ours").reason == "ConnectError: ours"
    assert failure(request, httpx.ConnectError("mine"), traced=True, text="").reason == "ConnectError"
