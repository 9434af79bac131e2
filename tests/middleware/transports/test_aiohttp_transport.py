"""The opt-in transport: which connection an attempt gets, and how its errors read."""

import asyncio
from contextvars import ContextVar, copy_context

import pytest
from layer_support import FakeClock, a_request, connections_of_two
from raw_server import RawServer, ok

from middleware.errors import ClientClosedError, RequestNotSentError, ResponseLostError
from middleware.transports.aiohttp_transport import _pieces
from middleware.transports.registry import TransportSettings, make_transport

pytestmark = pytest.mark.sockets


@pytest.fixture
def clock(monkeypatch):
    """Time for aiohttp's pool, too."""
    made = FakeClock()
    monkeypatch.setattr("aiohttp.connector.monotonic", lambda: made.time)
    return made


def a_transport(clock, **settings):
    return make_transport(TransportSettings(library="aiohttp", **settings), clock)


async def send(transport, url, *, method="GET"):
    return (await transport.send(a_request(method=method, idempotent=method == "GET"), url)).body


@pytest.mark.parametrize(
    ("method", "expiry_s", "idle_s", "connection"),
    [
        ("GET", 5.0, 4.9, 1),
        ("GET", 5.0, 5.1, 2),
        ("POST", 5.0, 0.9, 1),
        ("POST", 5.0, 1.1, 2),
        ("POST", 0.5, 0.4, 1),
        ("POST", 0.5, 0.6, 2),
    ],
)
async def test_a_connection_is_used_again_within_its_bound(clock, method, expiry_s, idle_s, connection):
    """For what must not be repeated that is a second, or less where less is set."""
    transport = a_transport(clock, keepalive_expiry_s=expiry_s)
    assert await connections_of_two(send, transport, clock, method=method, idle_s=idle_s) == [1, connection]


async def test_attempts_do_not_wait_for_one_another(clock):
    """How many are open at once is the bulkhead's matter."""
    all_there = asyncio.Barrier(3)

    async def serve(peer, _seen):
        await all_there.wait()
        await peer.write(ok())
        return True

    async with RawServer(serve=serve) as server:
        transport = a_transport(clock)
        async with asyncio.timeout(5):
            await asyncio.gather(*(send(transport, server.url + "/x") for _ in range(3)))
        await transport.aclose()
        with pytest.raises(ClientClosedError) as caught:
            await send(transport, server.url + "/x")
    assert caught.value.reason == "the client is closed"
    assert len(server.requests) == 3


async def test_an_error_shows_the_systems_words_and_no_url(clock, monkeypatch):
    """R52: other texts of aiohttp contain the URL, and so the query."""
    transport = a_transport(clock)
    with pytest.raises(RequestNotSentError) as caught:
        await send(transport, "http://127.0.0.1:1/x?secret=value")
    assert caught.value.reason.startswith("ClientConnectorError: Cannot connect to host 127.0.0.1:1")
    assert "secret" not in caught.value.reason

    async def drop(_peer, _seen):
        return False

    async with RawServer(serve=drop) as server:
        with pytest.raises(ResponseLostError) as lost:
            await send(transport, server.url + "/x")
    assert lost.value.reason == "ServerDisconnectedError after the request was sent"
    await transport.aclose()
    async with RawServer(lambda _seen: ok(b"", status=b"407 secret")) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        transport = a_transport(clock, trust_env=True)
        with pytest.raises(RequestNotSentError) as caught:
            await send(transport, "https://platform.test/x")
        await transport.aclose()
    assert caught.value.reason == "ClientHttpProxyError: 407 response to CONNECT"


async def test_a_body_is_read_without_the_context_of_its_call():
    """To read may resume a connection that was paused, which would keep the context for as long as it is open."""
    seen, pieces = [], iter([b"a", b"b", b""])

    class Content:
        async def readany(self):
            seen.append(len(copy_context()))
            return next(pieces)

    ContextVar("user").set("alice")
    assert [piece async for piece in _pieces(Content())] == [b"a", b"b"]
    assert seen == [0, 0, 0]
