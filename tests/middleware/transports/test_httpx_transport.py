"""Attempts over a transport of httpx's that somebody passed in."""

import asyncio

import anyio
import httpx
import pytest
from layer_support import FakeClock, a_request

from middleware.errors import ClientClosedError, ResponseLostError, ResponseTooLargeError
from middleware.transports.httpx_transport import HttpxTransport
from middleware.transports.registry import TransportSettings

CONFIG = TransportSettings(max_response_bytes=1024, connect_timeout_s=3.0)


class Body(httpx.AsyncByteStream):
    """A body that is closed slowly, as by a pool; `pieces` may contain an error, or None for silence."""

    def __init__(self, *pieces):
        self.pieces, self.closed = pieces, 0

    async def __aiter__(self):
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            if piece is None:
                await asyncio.Event().wait()
            yield piece

    async def aclose(self):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.closed += 1


class Inner(httpx.AsyncBaseTransport):
    def __init__(self, body, headers=None):
        self.body, self.headers, self.requests, self.closed = body, headers or {}, [], False

    async def handle_async_request(self, request):
        self.requests.append(request)
        return httpx.Response(200, headers=self.headers, stream=self.body)

    async def aclose(self):
        self.closed = True


def sending(inner, request=None):
    return HttpxTransport(CONFIG, FakeClock(), inner).send(request or a_request(), "http://platform.test/r?q=%2F")


async def test_the_request_is_ours_and_the_response_given_back():
    """Byte for byte what the stack made; nothing that httpx would add."""
    inner, request = Inner(Body(b"[", b"1]")), a_request(method="POST", headers={"x-a": "b"})
    request.content, request.attempt.timeout_s = b"{}", 7.0
    response = await sending(inner, request)
    (seen,) = inner.requests
    assert response.status == 200
    assert response.body == b"[1]"
    assert request.attempt.request_sent == "yes"
    assert seen.method == "POST"
    assert str(seen.url) == "http://platform.test/r?q=%2F"
    assert seen.content == b"{}"
    assert seen.headers.raw == [(b"Host", b"platform.test"), (b"x-a", b"b"), (b"Content-Length", b"2")]
    assert seen.extensions["timeout"] == {"connect": 3.0, "read": 7.0, "write": 7.0, "pool": 7.0}
    assert inner.body.closed == 1


@pytest.mark.parametrize(
    ("body", "headers", "kind"),
    [
        (Body(b"x" * 1025), {}, ResponseTooLargeError),
        (Body(b""), {"x": "y" * 70_000}, ResponseTooLargeError),
        (Body(b"[", httpx.ReadError("reset")), {}, ResponseLostError),
    ],
    ids=["body", "head", "lost"],
)
async def test_a_response_that_fails_is_given_back_too(body, headers, kind):
    """A pool would be exhausted; and the server has responded."""
    with pytest.raises(kind) as caught:
        await sending(Inner(body, headers))
    assert body.closed == 1
    assert caught.value.request_sent == "yes"


async def test_a_cancelled_attempt_gives_its_response_back():
    """Completely: a connection whose release is interrupted is lost to its pool."""
    body = Body(b"[", None)
    with anyio.move_on_after(0.01) as scope:
        await sending(Inner(body))
    assert (scope.cancelled_caught, body.closed) == (True, 1)


async def test_a_closed_transport_sends_nothing_and_leaves_the_inner_one_alone():
    """Its owner closes it."""
    inner = Inner(Body(b"{}"))
    transport = HttpxTransport(CONFIG, FakeClock(), inner)
    await transport.aclose()
    await transport.aclose()
    with pytest.raises(ClientClosedError) as caught:
        await transport.send(a_request(), "http://platform.test/r")
    assert (caught.value.reason, inner.requests, inner.closed) == ("the client is closed", [], False)
