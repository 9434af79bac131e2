"""Connections of ours and their two parsers: which library is taken, what is written, and how many end at once."""

import asyncio
import logging
import subprocess
import sys
from pathlib import Path

import httpcore
import httptools
import pytest
from layer_support import a_request
from raw_server import RawServer

from middleware import ConfigError, RequestNotSentError, ResponseLostError
from middleware.clock import SystemClock
from middleware.transports.framing import FramingWatch, RemoteProtocolError
from middleware.transports.h11_transport import H11Parser
from middleware.transports.http1_transport import _is_httpcores_own
from middleware.transports.httptools_transport import HttptoolsParser
from middleware.transports.idle_connections import IdleConnections
from middleware.transports.registry import TransportSettings, make_transport
from runtime.connectors.base import PlatformHttpClient
from runtime.settings import ResolvedSettings

ROOT = Path(__file__).resolve().parents[3]


def a_transport(library="httptools", **settings):
    return make_transport(TransportSettings(library=library, **settings), SystemClock())


async def send(transport, server, *, method="GET", target="/x", headers=(), content=None):
    request = a_request(method=method, idempotent=True, headers=dict(headers))
    request.content = content
    try:
        return (await transport.send(request, server.url + target)).body
    finally:
        send.attempt = request.attempt


# Which library


@pytest.fixture
def without_httptools(monkeypatch):
    monkeypatch.setitem(sys.modules, "httptools", None)
    monkeypatch.delitem(sys.modules, "middleware.transports.httptools_transport", raising=False)


def test_httptools_is_taken_where_it_is_installed(caplog):
    """One line says so, and `describe()` of each client."""
    caplog.set_level(logging.DEBUG, "mozaiks.transport")
    client = PlatformHttpClient("http://platform.test")
    assert client.describe()[-1] == "transport: httptools"
    assert [(line.levelname, line.getMessage()) for line in caplog.records] == [("DEBUG", "transport.chosen httptools")]


def test_h11_is_taken_where_httptools_is_missing(without_httptools):
    """It is a dependency; the default needs no extra."""
    assert PlatformHttpClient("http://platform.test").describe()[-1] == "transport: h11"


def test_a_named_library_that_is_missing_is_named(without_httptools):
    """With what to install; the default would be another."""
    with pytest.raises(ConfigError) as caught:
        a_transport()
    reason = "TransportSettings.library: httptools is not installed; install mozaiks-connector-runtime[fast]"
    assert str(caught.value) == reason


@pytest.mark.parametrize("library", ["auto", "h11", "httpcore", "aiohttp"])
def test_each_library_says_its_name(library, environment):
    """And which one connects through the environment's proxies."""
    name = "httptools" if library == "auto" else library
    assert a_transport(library).describe() == name
    environment.setenv("https_proxy", "http://proxy.test:3128")
    by_proxy = name if library in {"httpcore", "aiohttp"} else f"{name}, through a proxy httpcore"
    assert a_transport(library, trust_env=True).describe() == by_proxy


# Test doubles


MOCKED = """
import asyncio, socket, sys
import respx

def no_socket(*_args, **_options):
    raise AssertionError("a real call")

with respx.mock:
    respx.get("http://platform.test/x").respond(json={"mocked": True})
    sys.path[:0] = [%r]
    from runtime.connectors.base import PlatformHttpClient
    socket.getaddrinfo = no_socket

    async def main():
        async with PlatformHttpClient("http://platform.test") as client:
            assert client.describe()[-1] == "transport: httptools"
            assert await client.get("/x") == {"mocked": True}

    asyncio.run(main())
print("mocked")
"""


@pytest.mark.sockets
def test_respx_that_was_entered_before_any_import_of_ours_intercepts_the_default():
    """Whenever we look first, what is not httpcore's own function is recognised."""
    command = [sys.executable, "-c", MOCKED % str(ROOT)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.stdout == "mocked\n"
    assert found.stderr == ""


@pytest.mark.sockets
async def test_a_call_after_respx_uses_our_own_connection_again(respx_mock):
    """The double is looked for at each call; the connections of before are still there."""
    transport = a_transport()
    async with RawServer() as server:
        respx_mock.stop()
        await send(transport, server)
        respx_mock.start()
        respx_mock.get(server.url + "/x").respond(content=b"mocked")
        assert await send(transport, server) == b"mocked"
        respx_mock.stop()
        await send(transport, server)
        await transport.aclose()
        respx_mock.start()
    assert [seen.connection for seen in server.requests] == [1, 1]


def test_only_httpcores_own_function_is_taken_for_it():
    """A double may have its name and module."""

    async def double(_self, _request):
        raise AssertionError

    own = httpcore.AsyncHTTPConnection.handle_async_request
    double.__module__, double.__qualname__, double.__name__ = own.__module__, own.__qualname__, own.__name__
    assert _is_httpcores_own(own)
    assert not _is_httpcores_own(double)
    assert not _is_httpcores_own(object())
    assert _is_httpcores_own(own)


# What is written


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/x y", {}),
        ("GET", "/x\r\nx: y", {}),
        ("GET", "/\xfc", {}),
        ("GE T", "/x", {}),
        ("GET", "/x", {"x y": "1"}),
        ("GET", "/x", {"": "1"}),
        ("GET", "/x", {"x": "a\r\nb: c"}),
        ("GET", "/x", {"x": "a\nb"}),
        ("GET", "/x", {"x": "a\0b"}),
        ("GET", "/x", {"x": "\u20ac"}),
        ("GET", "/x", {"Host": "other.test"}),
        ("GET", "/x", {"content-length": "1"}),
        ("GET", "/x", {"transfer-encoding": "chunked"}),
    ],
)
async def test_what_would_be_another_request_is_not_written(method, target, headers):
    """As a layer of the host may have made it: nothing is sent, and a header's value is not shown."""
    async with RawServer() as server:
        transport = a_transport()
        for _ in range(2):
            with pytest.raises(RequestNotSentError) as caught:
                await send(transport, server, method=method, target=target, headers=headers)
            assert send.attempt.request_sent == "no"
            assert not [value for value in headers.values() if len(value) > 3 and value in str(caught.value)]
        await transport.aclose()
    assert server.requests == []


@pytest.mark.sockets
async def test_values_of_headers_are_sent_as_they_are():
    """Latin-1, tabs and blanks among them."""
    async with RawServer() as server:
        transport = a_transport()
        await send(transport, server, headers={"x": "\xfc\xa0 \t~"}, method="DELETE", content=b"{}")
        await transport.aclose()
    (seen,) = server.requests
    assert seen.method == "DELETE"
    assert seen.headers["x"] == "\xfc\xa0 \t~"
    assert seen.body == b"{}"


# The parsers


LENIENT = {  # llhttp takes it with this flag alone; `lenient_transfer_encoding` is for requests
    "lenient_headers": b"HTTP/1.1 200 OK\r\nx: a\x01b\r\n\r\n",
    "lenient_chunked_length": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
    "lenient_version": b"HTTP/1.7 200 OK\r\n\r\n",
    "lenient_keep_alive": b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "lenient_data_after_close": b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\nx",
    "lenient_optional_lf_after_cr": b"HTTP/1.1 200 OK\rcontent-length: 0\r\n\r\n",
    "lenient_optional_cr_before_lf": b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    "lenient_optional_crlf_after_chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx0\r\n\r\n",
    "lenient_spaces_after_chunk_size": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1 \r\nx\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("flag", LENIENT)
def test_every_leniency_of_llhttp_is_off(flag):
    """Those that httptools can switch on: without it each input is an error, also for the parser that we make."""
    lenient = httptools.HttpResponseParser(object())
    lenient.set_dangerous_leniencies(**{flag: True})
    lenient.feed_data(LENIENT[flag])
    with pytest.raises(RemoteProtocolError):
        HttptoolsParser().head(LENIENT[flag])


@pytest.mark.parametrize("parser", [HttptoolsParser, H11Parser])
def test_parsers_give_what_is_in_a_head(parser):
    """Names as they were sent, values without the blanks around them, empty ones too."""
    made = parser()
    assert made.head(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n") == [(b"Link", b"x")]
    head = b"HTTP/1.1 200 OK\r\nX-A: \t1 \t\r\nx-b:\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert made.head(head) == [(b"X-A", b"1"), (b"x-b", b""), (b"Transfer-Encoding", b"chunked")]
    assert made.chunks(b"3\r\nab") + made.chunks(b"c\r\n0\r\nx: y\r\n\r\n") == b"abc"


@pytest.mark.sockets
@pytest.mark.parametrize("library", ["httptools", "h11"])
async def test_a_body_of_chunks_in_any_pieces_is_read(library):
    """And the connection is used again."""
    body = bytes(range(256)) * 20
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(body[at : at + 100]), body[at : at + 100]) for at in range(0, 5120, 100))
    response = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"

    async def serve(peer, _seen):
        for at in range(0, len(response), 333):
            await peer.write(response[at : at + 333])
            await asyncio.sleep(0)
        return True

    async with RawServer(serve=serve) as server:
        transport = a_transport(library)
        for _ in range(3):
            assert await send(transport, server) == body
        await transport.aclose()
    assert [seen.connection for seen in server.requests] == [1, 1, 1]


@pytest.mark.sockets
async def test_a_trailer_is_bounded_as_a_head_is():
    """It is read, and not used."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    async with RawServer(lambda _seen: head + b"x: y\r\n" * 1000 + b"\r\n") as server:
        transport = a_transport(max_header_bytes=4096)
        with pytest.raises(ResponseLostError):
            await send(transport, server)
        await transport.aclose()


def test_a_body_of_very_many_chunks_is_not_watched_to_its_end():
    """For a library that frames by itself: to look at them would take longer than a new connection."""
    watch = FramingWatch()
    watch.begin("GET", 1024)
    watch.received(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n")
    assert not watch.is_clean
    watch.begin("GET", 1024)
    watch.received(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1_000 + b"0\r\n\r\n")
    assert watch.is_clean


# Many that end at once


class Kept:
    """A connection that counts when it was aborted."""

    def __init__(self, aborted):
        self.abort = lambda: aborted.append(self)


async def test_connections_given_up_in_one_moment_are_aborted_a_few_at_a_time():
    """16 in each iteration of the event loop: their callers come first."""
    aborted, kept = [], IdleConnections(5.0, lambda: 0.0)
    for _ in range(40):
        kept.discard(Kept(aborted))
    counts = [len(aborted)]
    for _ in range(5):
        await asyncio.sleep(0)
        counts.append(len(aborted))
    assert counts == [16, 32, 40, 40, 40, 40]
    kept.discard(Kept(aborted))
    assert len(aborted) == 41
    for _ in range(20):
        kept.discard(Kept(aborted))
    kept.close()
    assert len(aborted) == 61


@pytest.mark.sockets
@pytest.mark.parametrize("library", ["httptools", "httpcore"])
async def test_calls_that_end_at_one_deadline_have_their_errors_before_the_sockets_are_closed(library):
    """Whatever the library: the connections end afterwards."""
    async with RawServer(serve=lambda peer, _seen: peer.gone()) as server:
        policies = ResolvedSettings(
            {"deadline": {"total_s": 0.5}, "attempt": {"timeout_s": 0.5}}
            | {"retry": {"max_attempts": 1}}
            | {"transport": {"library": library}}
        )
        async with PlatformHttpClient(server.url, policies=policies) as client:
            calls = [asyncio.ensure_future(client.get("/x", path_params={})) for _ in range(60)]
            while len(server.requests) < 60:
                await asyncio.sleep(0.001)
            done = await asyncio.gather(*calls, return_exceptions=True)
            still_open = server.open
            assert {type(error).__name__ for error in done} <= {"DeadlineExceededError", "ResponseLostError"}
            assert still_open > 0
            async with asyncio.timeout(5):
                while server.open:
                    await asyncio.sleep(0.001)
