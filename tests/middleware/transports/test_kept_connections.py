"""Transports that keep connections of their own: which one an attempt gets, and what its request contains."""

import asyncio
import base64

import pytest
from layer_support import FakeClock, a_request, connections_of_two
from raw_server import RawServer, ok

from middleware.errors import ClientClosedError
from middleware.transports.registry import TransportSettings, make_transport

pytestmark = pytest.mark.sockets


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=["httptools", "httpcore"])
def a_transport(request):
    """Makes a transport that keeps its own connections; aiohttp's are the library's."""
    return lambda clock, **settings: make_transport(TransportSettings(library=request.param, **settings), clock)


async def send(transport, url, *, method="GET", content=None):
    """Send one attempt; return its response and how far it got, or its error."""
    request = a_request(method=method, idempotent=method == "GET")
    request.content = content
    try:
        return (await transport.send(request, url)).body
    finally:
        assert request.attempt.request_sent in {"no", "maybe", "yes"}


# Which connection


@pytest.mark.parametrize(
    ("method", "expiry_s", "idle_s", "connection"),
    [
        ("GET", 5.0, 5.0, 1),
        ("GET", 5.0, 5.01, 2),
        ("POST", 5.0, 0.9, 1),
        ("POST", 5.0, 0.91, 2),
        ("POST", 0.5, 0.5, 1),
        ("POST", 0.5, 0.51, 2),
    ],
)
async def test_a_connection_may_be_as_old_as_its_bound(a_transport, clock, method, expiry_s, idle_s, connection):
    """R7: for what must not be repeated that is less than a second, or less where less is set."""
    transport = a_transport(clock, keepalive_expiry_s=expiry_s)
    assert await connections_of_two(send, transport, clock, method=method, idle_s=idle_s) == [1, connection]


class Timers:
    """The event loop's timers of one delay, which run when the test says so."""

    def __init__(self, monkeypatch, delay_s):
        self.set, self._delay_s = [], delay_s
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", self._call_later)

    def _call_later(self, delay_s, callback, *, context):
        assert delay_s == self._delay_s
        assert list(context) == []
        self.set.append(callback)
        return self

    def cancel(self):
        self.set.clear()

    def run(self):
        (callback,) = self.set
        self.set.clear()
        callback()


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


def in_pairs():
    """A server's side that responds to no request of `/together` before another one has arrived."""
    both = asyncio.Barrier(2)

    async def serve(peer, seen):
        if seen.target == "/together":
            await both.wait()
        await peer.write(ok())
        return True

    return serve


async def two_idle(transport, server):
    """Let two attempts run together, so that two connections are idle."""
    await asyncio.gather(*(send(transport, server.url + "/together") for _ in range(2)))


async def test_the_connection_used_last_is_taken_first(a_transport, clock):
    """So that a quiet client ends up with few; that an older one has expired does not matter."""
    async with RawServer(serve=in_pairs()) as server:
        transport = a_transport(clock)
        await two_idle(transport, server)
        for clock.time in (0.0, 4.0, 6.0):
            await send(transport, server.url + "/x")
        await transport.aclose()
    assert len({seen.connection for seen in server.requests[2:]}) == 1


async def test_idle_connections_expire_one_by_one_without_a_further_call(a_transport, clock, monkeypatch):
    """Each when its own time is up; with the last of them the timer ends, and the next one starts it again."""
    async with RawServer(serve=in_pairs()) as server:
        timers, transport = Timers(monkeypatch, 5.0), a_transport(clock)
        await two_idle(transport, server)
        clock.time = 2.0
        await send(transport, server.url + "/x")
        last = server.requests[-1].connection
        clock.time = 4.99
        timers.run()
        assert server.open == 2
        clock.time = 5.0
        timers.run()
        await until(lambda: server.open == 1)
        assert [peer.number for peer in server.peers if not peer.closed.is_set()] == [last]
        clock.time = 7.0
        timers.run()
        await until(lambda: not server.open)
        assert timers.set == []
        await send(transport, server.url + "/x")
        assert len(timers.set) == 1
        await transport.aclose()
        assert timers.set == []


async def test_origins_share_no_connections(a_transport, clock):
    """A path, on the other hand, is no origin."""
    async with RawServer() as one, RawServer() as other:
        transport = a_transport(clock)
        for url in (one.url + "/a", other.url + "/a", one.url + "/b?c", f"http://127.0.0.1:{one.port}/a"):
            await send(transport, url)
        await transport.aclose()
    assert [seen.connection for seen in one.requests] == [1, 1, 2]
    assert [seen.connection for seen in other.requests] == [1]


async def test_an_answer_that_ends_its_connection_leaves_none(a_transport, clock):
    """The peer said so; nothing is kept of it."""
    async with RawServer(lambda _seen: ok(b"1", b"connection: close")) as server:
        transport = a_transport(clock)
        assert await send(transport, server.url + "/x") == b"1"
        async with asyncio.timeout(5):
            await server.peers[0].closed.wait()
        assert await send(transport, server.url + "/x") == b"1"
    assert [seen.connection for seen in server.requests] == [1, 2]


async def test_a_closed_transport_has_closed_its_sockets_and_sends_nothing(a_transport, clock):
    """By the time that `aclose` returns the peer sees the end."""
    async with RawServer() as server:
        transport = a_transport(clock)
        await send(transport, server.url + "/x")
        await transport.aclose()
        with pytest.raises(ClientClosedError) as caught:
            await send(transport, server.url + "/x")
        assert caught.value.reason == "the client is closed"
        async with asyncio.timeout(5):
            await server.peers[0].closed.wait()
    assert len(server.requests) == 1


# What the request contains


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://platform.test", "platform.test"),
        ("http://platform.test:80", "platform.test"),
        ("http://platform.test:81", "platform.test:81"),
        ("http://a", "a"),
        ("http://[::1]", "[::1]"),
        ("http://[::1]:81", "[::1]:81"),
    ],
)
async def test_the_host_header_names_the_port_where_it_is_not_the_schemes_own(
    a_transport, clock, environment, origin, host
):
    """RFC 9110 section 7.2; a proxy gets the same."""
    async with RawServer() as proxy:
        environment.setenv("http_proxy", proxy.url)
        transport = a_transport(clock, trust_env=True)
        await send(transport, origin + "/a?b=%2F")
        await transport.aclose()
    (seen,) = proxy.requests
    assert seen.headers["host"] == host
    assert seen.target.endswith("/a?b=%2F")


@pytest.mark.parametrize(
    ("method", "content", "length"),
    [
        ("GET", None, None),
        ("DELETE", None, None),
        ("DELETE", b"{}", "2"),
        ("POST", None, "0"),
        ("POST", b"", "0"),
        ("PUT", b"{}", "2"),
    ],
)
async def test_a_body_and_its_absence_are_told(a_transport, clock, method, content, length):
    """RFC 9110 section 8.6: where a body would be expected."""
    async with RawServer() as server:
        transport = a_transport(clock)
        await send(transport, server.url + "/x", method=method, content=content)
        await transport.aclose()
    (seen,) = server.requests
    assert (seen.body, seen.headers.get("content-length")) == (content or b"", length)


@pytest.mark.parametrize(
    ("credentials", "shown"), [("us%40er:p%3Aw", "us@er:p:w"), ("user", "user:"), (":word", ":word"), ("", None)]
)
async def test_a_proxy_is_shown_the_credentials_of_its_url(a_transport, clock, environment, credentials, shown):
    """Decoded; either of the two is enough."""
    async with RawServer() as proxy:
        environment.setenv("http_proxy", proxy.url.replace("://", f"://{credentials}@" if credentials else "://"))
        transport = a_transport(clock, trust_env=True)
        await send(transport, "http://platform.test/x")
        await transport.aclose()
    told = proxy.requests[0].headers.get("proxy-authorization")
    assert told == (None if shown is None else "Basic " + base64.b64encode(shown.encode()).decode())
