"""The contract of every transport of ours, on real sockets: phases, bounds, cancellation, connections. One suite for all."""

import asyncio
import contextlib
import datetime as dt
import gc
import gzip
import json
import os
import select
import socket
import ssl
import sys
import time
import tracemalloc
import uuid
import warnings
import zlib
from contextlib import asynccontextmanager

import httpx
import pytest
import trustme
import uvloop
from layer_support import FakeClock, a_request
from raw_server import RawServer, ok
from thread_server import ThreadServer
from tls_server import TlsServer

from middleware import (
    AuthenticationError,
    CallError,
    CircuitOpenError,
    ClientClosedError,
    ConfigError,
    DeadlineExceededError,
    DecodeError,
    InvalidRequestError,
    NotFoundError,
    OperationFailedError,
    RateLimitedError,
    RedirectError,
    RequestNotSentError,
    ResponseLostError,
    ResponseTooLargeError,
    ServerError,
    StackSettings,
    StatusError,
    call_options,
)
from middleware.clock import SystemClock
from middleware.policies.deadline import AttemptTimeoutSettings
from middleware.policies.retry import RetrySettings
from middleware.transports import transport_settings
from middleware.transports.httpcore_backend import Socket
from middleware.transports.registry import TransportSettings, as_transport, make_transport
from middleware.types import Attempt
from runtime.connectors.base import PlatformHttpClient, refuse_failure
from runtime.settings import ResolvedSettings
from runtime.testing import LoopClock

pytestmark = pytest.mark.sockets

# A new one joins by its line there. h11 is another parser of the same class: test_framing_contract.py runs it.
LIBRARIES = [one for one in transport_settings.LIBRARIES if one != "h11"]
PASSED_IN = "httpx"
SMUGGLED = ok(b'"stolen"')


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A private CA, its server context, and files of it and of a client certificate."""
    ca = trustme.CA()
    folder = tmp_path_factory.mktemp("tls")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(server)
    ca.cert_pem.write_to_path(folder / "ca.pem")
    mine = ca.issue_cert("client@example.org")
    mine.private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    mine.private_key_pem.write_to_path(folder / "client.key")
    mine.cert_chain_pems[0].write_to_path(folder / "client.crt")

    class Authority:
        context = server
        strict = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        files = folder

        other = folder / "other.pem"
        old = folder / "old.pem"

        @staticmethod
        def issue(context):
            ca.issue_cert("localhost").configure_cert(context)

        @staticmethod
        def strict_with(version):
            """A context of one version of TLS that asks for a client's certificate."""
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            Authority.issue(context)
            ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
            context.minimum_version = context.maximum_version = version
            return context

    trustme.CA().issue_cert("a@example.org").private_key_and_cert_chain_pem.write_to_path(Authority.other)
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    old = ca.issue_cert("a@example.org", not_after=past, not_before=past - dt.timedelta(days=1))
    old.private_key_and_cert_chain_pem.write_to_path(Authority.old)
    ca.issue_cert("localhost").configure_cert(Authority.strict)
    ca.configure_trust(Authority.strict)
    Authority.strict.verify_mode = ssl.CERT_REQUIRED
    return Authority


@pytest.fixture(params=LIBRARIES)
def library(request):
    return request.param


@pytest.fixture(params=[*LIBRARIES, PASSED_IN])
def any_library(request):
    """Also httpx's own transport, as a caller passes it in."""
    return request.param


@pytest.fixture(params=["plain", "tls"])
def tls(request, authority):
    """Server context and the settings a client of it needs."""
    if request.param == "plain":
        return None, {}
    return authority.context, {"ca_file": str(authority.files / "ca.pem")}


class Wire:
    """A transport under test; each attempt carries a number that the server logs."""

    def __init__(self, library, **settings):
        self.inner = passed_in(settings if "ca_file" in settings else None) if library == PASSED_IN else None
        config = TransportSettings(**settings) if self.inner else TransportSettings(library=library, **settings)
        self.transport = as_transport(self.inner, config, SystemClock())
        self.attempts = []

    async def send(self, server, *, method="GET", content=None, idempotent=None, target="/x"):
        attempt = Attempt()
        self.attempts.append(attempt)
        request = a_request(
            method=method,
            idempotent=method == "GET" if idempotent is None else idempotent,
            headers={"accept-encoding": "gzip", "x-attempt": str(len(self.attempts))},
        )
        request = type(request)(
            call=request.call,
            attempt=attempt,
            method=method,
            path="/x",
            target=target,
            content=content,
            headers=request.headers,
        )
        return await self.transport.send(request, getattr(server, "url", server) + target)

    def hold_against(self, server):
        """Whatever the server read was sent by exactly one attempt, which does not deny it."""
        read = [seen.attempt for seen in server.requests]
        assert len(read) == len(set(read))
        for number in read:
            assert self.attempts[int(number) - 1].request_sent in {"maybe", "yes"}

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.transport.aclose()
        if self.inner is not None:
            await self.inner.aclose()


def passed_in(settings=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings:
        context.load_verify_locations(settings["ca_file"])
    return httpx.AsyncHTTPTransport(verify=context)


@asynccontextmanager
async def a_client(library, url, *, telemetry=None, clock=None, wire=None, tls=None, **sections):
    """A client over the transport under test; one that is passed in has the settings of *tls* itself."""
    inner = passed_in(*(tls or ())[1:]) if library == PASSED_IN else None
    own = {} if inner else {"library": library}
    policies = ResolvedSettings({"transport": {**own, **(wire or {})}, "budget": {"enabled": False}, **sections})
    async with PlatformHttpClient(url, policies=policies, transport=inner, telemetry=telemetry, clock=clock) as client:
        yield client
    if inner is not None:
        await inner.aclose()


async def settled(condition):
    """Wait until *condition* is true; the test's own timeout is the bound."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


# Requests and responses


async def test_a_request_arrives_as_it_was_meant(library, tls):
    """Method, target, headers and body, byte for byte."""
    async with RawServer(lambda _seen: ok(b'{"a":1}'), tls=tls[0]) as server, Wire(library, **tls[1]) as wire:
        response = await wire.send(server, method="POST", content=b'{"b":2}', target="/a%20b/%C3%BC?q=%2F&q=2")
        (seen,) = server.requests
    assert response.status == 200
    assert response.body == b'{"a":1}'
    assert seen.method == "POST"
    assert seen.target == "/a%20b/%C3%BC?q=%2F&q=2"
    assert seen.body == b'{"b":2}'
    assert seen.headers == {
        "host": f"localhost:{server.port}",
        "accept-encoding": "gzip",
        "x-attempt": "1",
        "content-length": "7",
    } | ({"accept": "*/*", "user-agent": seen.headers["user-agent"]} if library == "aiohttp" else {})


async def test_a_body_does_not_wait_for_an_acknowledgement_of_its_head():
    """Nagle's algorithm is off: with it each write would take 40 ms more."""
    async with RawServer() as server:
        connected = await Socket(tls_layers=0).connect_tcp("127.0.0.1", server.port)
        try:
            assert connected.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        finally:
            connected.abort()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_a_missing_body_is_told(library, method):
    """A server that waits for a length gets one."""
    async with RawServer() as server, Wire(library) as wire:
        await wire.send(server, method=method)
    assert server.requests[0].headers["content-length"] == "0"


async def test_a_connection_is_used_again(library, tls):
    """Three calls, one connection; the last one used is taken first."""
    async with RawServer(tls=tls[0]) as server, Wire(library, **tls[1]) as wire:
        for _ in range(3):
            await wire.send(server)
    assert [seen.connection for seen in server.requests] == [1, 1, 1]


async def test_redirects_are_not_followed_and_cookies_not_kept(library):
    """They would carry credentials elsewhere, or one user's to another."""
    answers = iter([ok(b"", b"location: /y", b"set-cookie: sid=1", status=b"302 Found"), ok()])
    async with RawServer(lambda _seen: next(answers)) as server, Wire(library) as wire:
        with pytest.raises(RedirectError):
            await wire.send(server)
        await wire.send(server)
    assert len(server.requests) == 2
    assert not [seen for seen in server.requests if "cookie" in seen.headers]


@pytest.mark.parametrize(
    "answer",
    [
        ok(gzip.compress(b"[1]"), b"content-encoding: gzip"),
        ok(zlib.compress(b"[1]"), b"content-encoding: deflate"),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n[\r\n2;ext=1\r\n1]\r\n0\r\ntrailer: x\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + ok(b"[1]"),
        b"HTTP/1.1 200 OK\r\n\r\n[1]",
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n[1]",
    ],
)
async def test_every_form_of_a_body_is_read(library, answer):
    """Compressed, chunked with trailers, after an interim response, until the end of the connection."""

    async def serve(peer, _seen):
        await peer.write(answer)
        return b"ontent" in answer or b"chunked" in answer

    async with RawServer(serve=serve) as server, Wire(library) as wire:
        assert (await wire.send(server)).body == b"[1]"


@pytest.mark.parametrize(
    ("method", "status"),
    [("GET", b"204 No Content"), ("GET", b"304 Not Modified"), ("HEAD", b"200 OK\r\ncontent-length: 5")],
    ids=["204", "304", "HEAD"],
)
async def test_an_answer_without_a_body_keeps_the_connection(library, method, status):
    """None is waited for, whatever length a response to HEAD has."""
    answers = iter([b"HTTP/1.1 " + status + b"\r\n\r\n", ok()])
    async with RawServer(lambda _seen: next(answers)) as server, Wire(library) as wire:
        try:
            assert (await wire.send(server, method=method, idempotent=True)).body == b""
        except RedirectError:
            assert status.startswith(b"304")
        await wire.send(server)
    assert [seen.connection for seen in server.requests] == [1, 1]


BODILESS = [("HEAD", b"200 OK"), ("HEAD", b"500 X"), ("GET", b"204 No Content"), ("GET", b"304 Not Modified")]


@pytest.mark.parametrize(("method", "status"), BODILESS)
@pytest.mark.parametrize("pieces", [1, 2], ids=["at_once", "later"])
@pytest.mark.parametrize("body", [b'{"error": 1}', SMUGGLED, b"\r\n"], ids=["json", "response", "line"])
async def test_a_body_where_none_may_be_is_not_read(library, method, status, pieces, body):
    """R7, R17: the response is the result; its connection is not used again."""
    answer = ok(body, status=status)

    async def serve(peer, seen):
        if seen.attempt != "1":
            await peer.write(ok(b"2"))
            return True
        await peer.write(*([answer] if pieces == 1 else [answer[: -len(body)], body]))
        return True

    async with RawServer(serve=serve) as server, Wire(library) as wire:
        if status[:1] == b"2":
            assert (await wire.send(server, method=method, idempotent=True)).body == b""
        else:
            with pytest.raises(StatusError, match=status[:3].decode()):
                await wire.send(server, method=method, idempotent=True)
        assert (await wire.send(server)).body == b"2"
        wire.hold_against(server)
    assert len(server.requests) == 2


# Phases


async def reset_on_accept(peer):
    peer.reset()


async def close_on_accept(_peer):
    return False


FAULTS = {
    "reset_on_accept": {"accept": reset_on_accept},
    "close_on_accept": {"accept": close_on_accept},
    "close": {"serve": lambda peer, _: peer.write()},
    "garbage": {"serve": lambda peer, _: peer.write(b"\x15\x03\x01\x00\x02\x02\x28 not HTTP\r\n\r\n")},
    "half_head": {"serve": lambda peer, _: peer.write(b"HTTP/1.1 200 OK\r\nconte")},
    "short_body": {"serve": lambda peer, _: peer.write(ok(b"x" * 100)[:-50])},
    "short_chunk": {
        "serve": lambda peer, _: peer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nx")
    },
    "bad_chunk": {"serve": lambda peer, _: peer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")},
    "bad_length": {"serve": lambda peer, _: peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n")},
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_request_that_may_have_arrived_is_never_denied(library, tls, fault):
    """Whatever happens to the response; and each attempt is one request on the wire, even when its connection dropped."""
    async with RawServer(**FAULTS[fault], tls=tls[0]) as server, Wire(library, **tls[1]) as wire:
        for _ in range(3):
            with pytest.raises((ResponseLostError, RequestNotSentError)) as caught:
                await wire.send(server)
            assert caught.value.request_sent == wire.attempts[-1].request_sent
        await settled(lambda: not server.open)
        wire.hold_against(server)
        assert len(server.requests) == (0 if "accept" in fault else 3)
        if fault in {"short_body", "short_chunk"}:
            assert {attempt.request_sent for attempt in wire.attempts} == {"yes"}
        elif "accept" not in fault:
            assert {attempt.request_sent for attempt in wire.attempts} <= {"maybe", "yes"}


async def test_a_dropped_keep_alive_connection_is_one_request_and_one_attempt(library):
    """The server reads the second request and closes: the library must not send it again by itself."""

    async def serve(peer, seen):
        if seen.attempt == "2":
            return False
        await peer.write(ok())
        return True

    async with RawServer(serve=serve) as server, Wire(library) as wire:
        await wire.send(server)
        with pytest.raises(ResponseLostError):
            await wire.send(server)
        await wire.send(server)
        wire.hold_against(server)
    assert [seen.attempt for seen in server.requests] == ["1", "2", "3"]
    assert wire.attempts[1].request_sent == "maybe"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://no-such-host.invalid", "http://[::1]:1", "https://127.0.0.1:1"]
)
async def test_what_never_connected_was_not_sent(any_library, url):
    """R20: connection refused, or a name that does not resolve; the text shows no object of the library."""
    async with Wire(any_library) as wire:
        with pytest.raises(RequestNotSentError) as caught:
            await wire.send(url, method="POST", content=b"{}")
    assert (wire.attempts[0].request_sent, caught.value.connection_refused) == ("no", True)
    assert "object at" not in str(caught.value)


@pytest.mark.parametrize("gap_s", [0.3, 1.0])
async def test_a_gateway_that_restarts_fails_no_call(any_library, gap_s):
    """R20: 60 calls/s, after as many as 9 s of them; kept connections end with the old server."""
    writers = []

    async def respond(reader, writer):
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(ok())

    async def stop(server):
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)
        writers.clear()

    async def one(number):
        await asyncio.sleep(number / 60)
        return (await client.request("GET", "/x", path_params={})).outcome.attempts

    old = await asyncio.start_server(respond, "127.0.0.1", 0)
    port = old.sockets[0].getsockname()[1]
    async with a_client(any_library, f"http://127.0.0.1:{port}", budget={"enabled": True}) as client:
        for _ in range(9):  # the breaker's window and the budget, as they are in steady traffic
            await asyncio.gather(*(client.get("/x", path_params={}) for _ in range(60)))
        calls = [asyncio.ensure_future(one(number)) for number in range(round(60 * (1.5 + gap_s)))]
        await asyncio.sleep(1)
        await stop(old)
        await asyncio.sleep(gap_s)
        new = await asyncio.start_server(respond, "127.0.0.1", port)
        attempts = await asyncio.gather(*calls)
    await stop(new)
    assert sum(attempts) > len(attempts)


@pytest.mark.parametrize(("lines", "seconds"), [([b"7", b"7"], 7.0), ([b"3", b'"4.5"'], 4.5)], ids=repr)
async def test_retry_after_of_two_lines_is_the_longest(any_library, lines, seconds):
    """R15: as of a gateway and the service behind it, whatever the library makes of repeated headers."""
    answer = ok(b"{}", *(b"retry-after: " + line for line in lines), status=b"429 Too Many Requests")
    async with RawServer(lambda _seen: answer) as server, a_client(any_library, server.url) as client:
        with call_options(max_attempts=1), pytest.raises(RateLimitedError) as caught:
            await client.get("/x", path_params={})
    assert caught.value.retry_after_s == seconds


async def test_a_closed_port_gets_few_connection_attempts(any_library):
    """R33: ten open the circuit, whose open time is below a second; on the way back the first success is soon."""
    async with a_client(any_library, "http://127.0.0.1:1", retry={"max_attempts": 1}) as client:
        for _ in range(10):
            with pytest.raises(RequestNotSentError):
                await client.get("/x", path_params={})
        with pytest.raises(CircuitOpenError) as caught:
            await client.get("/x", path_params={})
    assert 0.5 < caught.value.retry_after_s <= 0.95


async def test_an_untrusted_certificate_is_not_sent_to(library, authority):
    """The private authority is not among the public ones."""
    async with RawServer(tls=authority.context) as server, Wire(library) as wire:
        with pytest.raises(RequestNotSentError, match=r"(?i)certificate") as caught:
            await wire.send(server, method="POST", content=b"{}")
        assert server.requests == []
    assert "object at" not in str(caught.value)


@pytest.mark.parametrize(
    ("certificate", "alert"),
    [(None, "certificate required"), ("other", "unknown ca"), ("old", "certificate expired")],
    ids=["none", "of an unknown CA", "expired"],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [2, 3_000_000])
async def test_a_certificate_that_the_server_rejects_is_named_and_nothing_was_sent(
    library, authority, certificate, alert, version, size
):
    """R12: with TLS 1.3 the alert comes after the request was written, and still the server never reads it."""
    if certificate is None and version is ssl.TLSVersion.TLSv1_2:
        alert = "handshake failure"  # RFC 5246 section 7.4.6
    settings = {"ca_file": str(authority.files / "ca.pem")}
    if certificate is not None:
        settings["client_certificate_file"] = str(getattr(authority, certificate))
    with TlsServer(authority.strict_with(version)) as server:
        async with Wire(library, **settings) as wire:
            with pytest.raises(RequestNotSentError, match=f"TLS alert: {alert}$") as caught:
                await wire.send(server, method="POST", content=b"x" * size)
    assert server.requests == []
    assert wire.attempts[0].request_sent == "no"
    assert caught.value.attempt_applied == "no"


async def test_an_alert_on_a_connection_that_was_used_says_nothing_about_its_request(library, authority):
    """R12: the handshake was over long ago."""
    served = []

    async def serve(peer, _seen):
        served.append(peer)
        if len(served) == 1:
            await peer.write(ok())
            return True
        below = peer.writer.transport._ssl_protocol._transport
        below.write(b"\x15\x03\x03\x00\x02\x02\x2d")  # a record that no one has encrypted
        await asyncio.sleep(0.05)
        return False

    settings = {"ca_file": str(authority.files / "ca.pem")}
    async with RawServer(serve=serve, tls=authority.context) as server, Wire(library, **settings) as wire:
        await wire.send(server, method="POST", content=b"{}")
        with pytest.raises(ResponseLostError):
            await wire.send(server, method="POST", content=b"{}")
    assert [seen.connection for seen in server.requests] == [1, 1]


async def test_a_silent_handshake_ends_with_the_connect_timeout(library):
    """R20: the time for connecting covers TLS, and nothing was sent yet; it is no refused connection."""

    async def accept(peer):
        await peer.gone()

    async with RawServer(accept=accept) as server, Wire(library, connect_timeout_s=0.3) as wire:
        with pytest.raises(RequestNotSentError) as caught:
            await wire.send(server.url.replace("http:", "https:"), method="POST", target="/x?secret=1")
        assert "secret" not in str(caught.value)
        assert not caught.value.connection_refused
        await settled(server.peers[0].closed.is_set)


# Responses that come before the end of the request


class Impatient(RawServer):
    """Responds to the head of each request, and does not read its body."""

    def __init__(self, answer, manner, tls=None):
        super().__init__(accept=self._respond, tls=tls)
        self._early, self._manner, self.done = answer, manner, asyncio.Event()

    async def _respond(self, peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        self.requests.append(peer.number)
        await peer.write(self._early)
        if self._manner == "reset":
            peer.reset()
        elif self._manner == "close":
            peer.writer.close()
        else:
            if self._manner == "half":
                peer.writer.write_eof()
            await self.done.wait()
        return False


TOO_LARGE = ok(b'{"error": {"code": "TooLarge", "message": "m"}}', status=b"413 Content Too Large")


@pytest.mark.parametrize("megabytes", [0.6, 1.5, 3, 8, 20])
@pytest.mark.parametrize("manner", ["open", "half", "close", "reset"])
async def test_a_response_before_the_end_of_the_upload_is_the_result(library, manner, megabytes):
    """R17: whatever the server does then; the write is known not to be applied, and the connection is not used again."""
    content = b"x" * int(megabytes * 1e6)
    async with Impatient(TOO_LARGE, manner) as server, Wire(library) as wire:
        for _ in range(2):
            async with asyncio.timeout(5):
                with pytest.raises(StatusError) as caught:
                    await wire.send(server, method="POST", content=content)
            assert caught.value.status == 413
            assert caught.value.problem.code == "TooLarge"
        server.done.set()
        await settled(lambda: not server.open)
    assert server.requests == [1, 2]


@pytest.mark.parametrize("megabytes", [0.6, 8])
async def test_a_response_before_the_end_of_the_upload_is_the_result_over_tls(library, authority, megabytes):
    """R17: also where the server keeps the connection open."""
    settings = {"ca_file": str(authority.files / "ca.pem")}
    async with Impatient(TOO_LARGE, "open", authority.context) as server, Wire(library, **settings) as wire:
        async with asyncio.timeout(5):
            with pytest.raises(StatusError, match="413"):
                await wire.send(server, method="POST", content=b"x" * int(megabytes * 1e6))
        server.done.set()
        await settled(lambda: not server.open)


@pytest.mark.parametrize("interim", [b"HTTP/1.1 103 X\r\n\r\n", b"HTTP/1.1 103 X\r\nlink: x\r\n\r\nHTTP/1.1 1"])
async def test_an_interim_response_does_not_end_the_upload(library, interim):
    """RFC 9110 section 15.2: the final one follows the whole request."""
    content = b"x" * 8_000_000

    async def accept(peer):
        head = await peer.reader.readuntil(b"\r\n\r\n")
        await peer.write(interim)
        await asyncio.sleep(0.05)
        read.append(await peer.reader.readexactly(len(content)))
        rest = b"03 X\r\n\r\n" if interim.endswith(b"1") else b""
        await peer.write(rest + ok(b"[1]"))
        return head

    read = []
    async with RawServer(accept=accept) as server, Wire(library) as wire:
        assert (await wire.send(server, method="PUT", content=content)).body == b"[1]"
    assert read == [content]


# Stale connections and bytes that belong to no request


async def test_bytes_before_the_first_request_are_no_response(library, monkeypatch):
    """R7: nothing was sent: a connection that begins so is not used."""
    loop, spoken = asyncio.get_running_loop(), asyncio.Event()
    connect = loop.sock_connect

    async def connected(sock, address):
        await connect(sock, address)
        await spoken.wait()

    async def accept(peer):
        await peer.write(SMUGGLED)
        spoken.set()
        return True

    monkeypatch.setattr(loop, "sock_connect", connected)
    async with RawServer(accept=accept) as server, Wire(library) as wire:
        with pytest.raises(RequestNotSentError, match="the peer sent bytes before the request"):
            await wire.send(server, method="POST", content=b"{}")
        await settled(lambda: not server.open)
    assert server.requests == []
    assert wire.attempts[0].request_sent == "no"


@pytest.mark.parametrize(
    ("value", "idle_s", "connection"),
    [
        (b"timeout=2", 1.8, 1),
        (b"timeout=2", 1.81, 2),
        (b"max=100, Timeout = 3", 2.7, 1),
        (b"max=100, Timeout = 3", 2.71, 2),
        (b'timeout="1"', 0.91, 2),
        (b"timeout=0", 0.001, 2),
        (b"timeout=99999", 5.0, 1),
        (b"timeout=soon, xtimeout=1, max=2", 5.0, 1),
    ],
)
async def test_a_server_that_says_how_long_it_waits_is_obeyed(library, value, idle_s, connection):
    """R7: Keep-Alive: the connection is used for nine tenths of that time, and never longer than the setting allows."""
    async with RawServer(lambda _seen: ok(b"{}", b"Keep-Alive: " + value)) as server, Wire(library) as wire:
        wire.transport = make_transport(
            TransportSettings(library=library, keepalive_expiry_s=5.0), clock := FakeClock()
        )
        await wire.send(server)
        clock.time += idle_s
        await wire.send(server)
    assert [seen.connection for seen in server.requests] == [1, connection]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("end", ["fin", "rst"])
async def test_a_stale_connection_costs_nothing(library, tls, method, end):
    """The server has closed the idle connection: the next request goes out on a fresh one, and once."""
    ended = asyncio.Event()

    async def serve(peer, seen):
        await peer.write(ok())
        if seen.attempt == "1":
            peer.reset() if end == "rst" else peer.writer.transport.abort()
            ended.set()
            return False
        return True

    async with RawServer(serve=serve, tls=tls[0]) as server, Wire(library, **tls[1]) as wire:
        await wire.send(server, method=method)
        await ended.wait()
        await wire.send(server, method=method)
        wire.hold_against(server)
    assert [(seen.attempt, seen.connection) for seen in server.requests] == [("1", 1), ("2", 2)]


async def test_a_connection_found_dead_when_written_to_costs_nothing(monkeypatch):
    """It died after it was looked at: no byte left, so the attempt goes on over a fresh one, a write too."""

    async def serve(peer, _seen):
        await peer.write(ok())
        return False

    async with RawServer(serve=serve) as server, Wire("httpcore") as wire:
        await wire.send(server)
        await settled(lambda: not server.open)
        monkeypatch.setattr("middleware.transports.httpcore_backend.Socket.is_stale", False)
        await wire.send(server, method="POST", content=b"{}")
        wire.hold_against(server)
    assert [seen.connection for seen in server.requests] == [1, 2]


async def test_what_must_not_be_repeated_takes_no_connection_that_idled_long():
    """A server may be closing it just now; a read would be sent again, a write could not be."""
    async with RawServer() as server, Wire("httpcore") as wire:
        wire.transport = make_transport(TransportSettings(), clock := FakeClock())
        for method, later in [("GET", 0), ("POST", 0.9), ("POST", 1.1), ("GET", 4.9), ("GET", 5.1)]:
            clock.time += later
            await wire.send(server, method=method)
    assert [seen.connection for seen in server.requests] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("left_over", [SMUGGLED, b"\n", b"HTTP/1.1 200 OK\r\nx-y: ", b"no response\r\n\r\n"])
@pytest.mark.parametrize(
    "answer", [ok(b"1"), b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n", ok(b"")]
)
async def test_bytes_after_an_answer_never_reach_the_next_call(library, answer, left_over):
    """Sent in one piece with the response."""

    def answers(seen):
        return answer + left_over if seen.attempt == "1" else ok(b"2")

    async with RawServer(answers) as server, Wire(library) as wire:
        await wire.send(server)
        assert (await wire.send(server)).body == b"2"
        wire.hold_against(server)


@pytest.mark.parametrize("what", ["fin", "bytes"])
async def test_what_the_event_loop_has_not_seen_yet_is_seen(library, what):
    """The peer closed or spoke in this very moment: a write goes out on a fresh connection, once; the other is closed."""
    async with RawServer(lambda _seen: ok(b"1")) as server, Wire(library) as wire:
        await wire.send(server, method="POST")
        with socket.socket(fileno=os.dup(server.peers[0].writer.get_extra_info("socket").fileno())) as behind:
            behind.shutdown(socket.SHUT_WR) if what == "fin" else behind.send(SMUGGLED)
        assert (await wire.send(server, method="POST")).body == b"1"
        wire.hold_against(server)
        await settled(server.peers[0].closed.is_set)
    assert [(seen.attempt, seen.connection) for seen in server.requests] == [("1", 1), ("2", 2)]


async def test_bytes_that_come_late_never_reach_the_next_call(library):
    """Sent while the connection is idle, and read by the event loop long before the next call."""
    async with RawServer(lambda _seen: ok(b"1")) as server, Wire(library) as wire:
        await wire.send(server)
        await server.peers[0].write(SMUGGLED)
        for _ in range(20):
            await asyncio.sleep(0)
        assert (await wire.send(server)).body == b"1"


# Responses of another call


@pytest.fixture(params=[*LIBRARIES, "httpx"])
def sender(request):
    """Makes a client of a server: over each transport of ours, and over one of httpx's that was passed in."""

    @contextlib.asynccontextmanager
    async def make(server, **settings):
        library = "httpcore" if request.param == "httpx" else request.param
        policies = ResolvedSettings({"transport": {"library": library}, "retry": {"base_delay_s": 0.001}, **settings})
        async with contextlib.AsyncExitStack() as opened:
            inner = await opened.enter_async_context(httpx.AsyncHTTPTransport()) if request.param == "httpx" else None
            yield await opened.enter_async_context(PlatformHttpClient(server.url, policies=policies, transport=inner))

    return make


def echo(seen, *headers, status=b"200 OK"):
    """The response of a service to *seen*: who asked for what, with the correlation id of the request."""
    body = json.dumps({"target": seen.target}).encode()
    return ok(body, b"x-correlation-id: " + seen.headers["x-correlation-id"].encode(), *headers, status=status)


def shifting(*headers, status=b"200 OK"):
    """On the first connection every request but the first gets what the one before it should have got."""

    async def serve(peer, seen):
        owed = serve.owed.setdefault(peer.number, [])
        owed.append(seen)
        await peer.write(echo(owed[-2], *headers, status=status) if peer.number == 1 and len(owed) > 1 else echo(seen))
        return True

    serve.owed = {}
    return serve


@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found", b"429 Too Many Requests", b"302 Found"])
async def test_a_shifted_connection_gives_no_caller_the_document_of_another(sender, status):
    """R53: whatever the status, the request is sent anew over another connection, and the shifted one is closed."""
    async with RawServer(serve=shifting(status=status)) as server, sender(server) as client:
        for user in range(6):
            assert await client.get("/users/{id}", path_params={"id": user}) == {"target": f"/users/{user}"}
        await settled(server.peers[0].closed.is_set)
    assert [seen.connection for seen in server.requests] == [1, 1, *[2] * 5]
    assert [seen.attempt[:9] for seen in server.requests] == ["attempt=1"] * 2 + ["attempt=2"] + ["attempt=1"] * 4


async def test_many_callers_behind_shifted_connections_get_what_is_theirs(sender):
    """R53: twenty at a time, each of the server's first connections shifted for good."""

    async def serve(peer, seen):
        owed = asked.setdefault(peer.number, [])
        owed.append(seen)
        await peer.write(echo(owed[-2] if len(owed) > 1 and peer.number <= 30 else seen))
        return True

    async def call(user):
        try:
            return user, await client.get("/users/{id}", path_params={"id": user})
        except ResponseLostError:
            return user, None

    asked = {}
    off = {"budget": {"enabled": False}, "circuit_breaker": {"mode": "disabled"}}
    async with RawServer(serve=serve) as server, sender(server, **off) as client:
        await client.get("/first")
        found = [pair for _ in range(5) for pair in await asyncio.gather(*map(call, range(20)))]
    assert [document for user, document in found if document not in (None, {"target": f"/users/{user}"})] == []
    assert sum(document is not None for _, document in found) > 80


async def test_the_outcome_of_a_write_whose_response_went_elsewhere_is_unknown(sender):
    """R53: R11: it was sent, and no response says whether it was applied; the body of the wrong one is not waited for."""
    other = uuid.uuid4()
    late = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nx-correlation-id: " + str(other).encode() + b"\r\n\r\n"

    async def serve(peer, seen):
        await peer.write(echo(seen) if seen.method == "GET" else late)
        return True

    async with RawServer(serve=serve) as server, sender(server) as client:
        await client.get("/a")
        with pytest.raises(ResponseLostError, match="another call's correlation id") as caught:
            await client.post("/b", path_params={}, json_body={})
        await settled(server.peers[server.requests[-1].connection - 1].closed.is_set)
    assert [seen.method for seen in server.requests] == ["GET", "POST"]
    error = caught.value
    assert (error.status, error.request_sent, error.outcome_unknown, error.stop_reason) == (
        None,
        "maybe",
        True,
        "not_retryable",
    )
    assert str(other) not in str(error)


async def test_a_response_without_a_verdict_is_used(sender):
    """R53: by a cache, by the switch, or before the service has ever echoed; the connection is kept."""
    async with RawServer(serve=shifting(b"age: 1")) as server, sender(server) as client:
        assert [await client.get(f"/{user}") for user in "abc"] == [{"target": f"/{user}"} for user in "aab"]
    assert {seen.connection for seen in server.requests} == {1}
    off = {"correlation": {"verify_echo": False}}
    async with RawServer(serve=shifting()) as server, sender(server, **off) as client:
        assert [await client.get(f"/{user}") for user in "abc"] == [{"target": f"/{user}"} for user in "aab"]
    assert {seen.connection for seen in server.requests} == {1}
    answers = (ok(b"{}", b"x-correlation-id: " + str(uuid.uuid4()).encode()) for _ in range(3))
    async with RawServer(lambda _seen: next(answers)) as server, sender(server) as client:
        assert [await client.get("/x") for _ in range(3)] == [{}] * 3
    assert {seen.connection for seen in server.requests} == {1}


# Bounds


def endless(head, piece):
    async def serve(peer, _seen):
        await peer.write(head)
        while piece:
            await peer.write(piece)
        await peer.gone()

    return serve


MB = b"x" * 2**20
GZIP_BOMB = gzip.compress(b"\0" * (64 * 2**20), compresslevel=1)


@pytest.mark.parametrize(
    "serve",
    [
        endless(b"HTTP/1.1 200 OK\r\ncontent-length: 209715200\r\n\r\n", MB),
        endless(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"100000\r\n" + MB + b"\r\n"),
        endless(b"HTTP/1.1 200 OK\r\n\r\n", MB),
        endless(ok(GZIP_BOMB, b"content-encoding: gzip"), b""),
    ],
    ids=["length", "chunked", "until_the_end", "bomb"],
)
async def test_a_body_is_bounded_in_bytes_and_in_memory(library, serve):
    """200 MB of body, 64 MB out of a small one: a typed error, and at most 20 MB on the way to it."""
    async with RawServer(serve=serve) as server, Wire(library) as wire:
        tracemalloc.start()
        try:
            with pytest.raises(ResponseTooLargeError):
                await wire.send(server)
            assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
        finally:
            tracemalloc.stop()
        await settled(lambda: not server.open)


async def test_a_flood_on_an_idle_connection_is_not_taken_in(library):
    """Without a reader there: the peer has to wait, or is disconnected."""
    idle = asyncio.Event()

    async def serve(peer, _seen):
        await peer.write(ok())
        await idle.wait()
        while True:
            await peer.write(MB)

    async with RawServer(serve=serve) as server, Wire(library) as wire:
        tracemalloc.start()
        try:
            await wire.send(server)
            idle.set()
            for _ in range(500):
                await asyncio.sleep(0)
            assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
        finally:
            tracemalloc.stop()


WRITES = {  # the server's responses -> requests of a caller that repeats exactly when it is safe
    b'HTTP/1.1 201 Created\r\ncontent-length: 9\r\n\r\n{"id": "o': 1,
    b"HTTP/1.1 201 Created\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\nx": 1,
    b"HTTP/1.1 201 Created\r\ncontent-length: 5000\r\n\r\n" + b" " * 5000: 1,
    b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n": 1,
    b"HTTP/1.1 507 Insufficient Storage\r\ncontent-length: 0\r\n\r\n": 1,
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n": 1,
    b"HTTP/1.1 503 Service Unavailable\r\nX-Envoy-Overloaded: true\r\ncontent-length: 0\r\n\r\n": 2,
    b"HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n": 2,
}


@pytest.mark.parametrize(("answer", "sent"), WRITES.items(), ids=lambda value: str(value)[12:24])
async def test_a_caller_that_repeats_what_is_safe_writes_nothing_twice(library, answer, sent):
    """R52: what a write met, as the server read it."""
    policies = StackSettings(
        transport=TransportSettings(library=library, max_response_bytes=4096), retry=RetrySettings(max_attempts=1)
    )
    async with RawServer(lambda _seen: answer) as server, PlatformHttpClient(server.url, policies=policies) as client:
        for _ in range(2):
            with pytest.raises(CallError) as caught:
                await client.post("/x", json_body={})
            if not caught.value.is_retry_safe:
                break
        assert len(server.requests) == sent


LIMIT = 4096


@pytest.mark.parametrize(
    "serve",
    [
        endless(b"HTTP/1.1 200 OK\r\nx: ", b"y" * 1000),
        endless(b"HTTP/1.1 200 ", b"y" * 1000),
        endless(ok(b"", *(b"x-%d: " % n + b"y" * 100 for n in range(60))), b""),
    ],
    ids=["line", "status", "many"],
)
async def test_a_head_is_bounded(library, serve):
    """One endless line, or many headers."""
    async with RawServer(serve=serve) as server, Wire(library, max_header_bytes=LIMIT) as wire:
        with pytest.raises(ResponseTooLargeError, match="head"):
            await wire.send(server)
        await settled(lambda: not server.open)


INTERIM = endless(b"", b"HTTP/1.1 103 Early Hints\r\nlink: " + b"y" * 1000 + b"\r\n\r\n")


async def test_endless_interim_answers_are_bounded(library):
    """They count as head."""
    async with RawServer(serve=INTERIM) as server, Wire(library, max_header_bytes=LIMIT) as wire:
        with pytest.raises(ResponseTooLargeError, match="head"):
            await wire.send(server)
        await settled(lambda: not server.open)


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_interim_answers_are_skipped_in_whatever_pieces_they_come(library, size):
    """The bound begins anew with each request."""
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: " + b"y" * 500 + b"\r\n\r\n"
    answer = interim * 3 + ok(b"[1]")

    async def serve(peer, _seen):
        for at in range(0, len(answer), size):
            await peer.write(answer[at : at + size])
            await asyncio.sleep(0)
        return True

    async with RawServer(serve=serve) as server, Wire(library, max_header_bytes=2048) as wire:
        for _ in range(3):
            assert (await wire.send(server)).body == b"[1]"
    assert [seen.connection for seen in server.requests] == [1, 1, 1]


class Slow:
    """A clock of a machine on which everything takes 5 ms."""

    time = 0.0

    def now(self):
        self.time += 0.005
        return self.time


async def test_others_run_while_a_body_of_many_small_pieces_is_read(any_library, monkeypatch):
    """Whatever parses it takes a time for each piece, and would block the event loop for all that has arrived."""
    monkeypatch.setattr("middleware.transports.aiohttp_transport._MACHINE", Slow())
    monkeypatch.setattr("middleware.transports.aiohttp_transport._STEP", 1024)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    body = b"[" + b"1" * 30_000 + b"]"
    response = head + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    iterations = 0

    async def count():
        nonlocal iterations
        while True:
            await asyncio.sleep(0)
            iterations += 1

    async def serve(peer, _seen):
        await peer.write(response)
        return True

    async with RawServer(serve=serve) as server, Wire(any_library) as wire:
        counting = asyncio.create_task(count())
        assert (await wire.send(server)).body == body
        counting.cancel()
        assert iterations > len(response) / 2_000


async def test_a_large_answer_within_the_limits_is_whole(library, tls):
    """Eight megabytes, exactly, and a head just below its limit."""
    body = bytes(range(256)) * (32 * 1024)
    head = b"x: " + b"y" * 60_000
    async with RawServer(lambda _seen: ok(body, head), tls=tls[0]) as server, Wire(library, **tls[1]) as wire:
        response = await wire.send(server)
        assert response.body == body
        assert len(response.headers["x"]) == 60_000
        await wire.send(server)
    assert [seen.connection for seen in server.requests] == [1, 1]


async def test_a_broken_encoding_is_a_decode_error(library):
    """What came is no document, and would be none the next time."""
    async with RawServer(lambda _seen: ok(b"not gzip", b"content-encoding: gzip")) as server, Wire(library) as wire:
        with pytest.raises(DecodeError):
            await wire.send(server)
        await settled(lambda: not server.open)


PAGE = json.dumps([{"id": str(n)} for n in range(50)]).encode()
WITHOUT_LENGTH = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
INCOMPLETE = {
    "half": WITHOUT_LENGTH + b"\r\n" + PAGE[:300],
    "nothing": WITHOUT_LENGTH + b"\r\n",
    "gzip": WITHOUT_LENGTH + b"content-encoding: gzip\r\n\r\n" + gzip.compress(PAGE)[:-20],
    "gzip with its length": ok(gzip.compress(PAGE)[:-20], b"content-encoding: gzip"),
    "chunks that end well": WITHOUT_LENGTH
    + b"transfer-encoding: chunked\r\n\r\n12c\r\n"
    + PAGE[:300]
    + b"\r\n0\r\n\r\n",
    "a length that is right": ok(PAGE[:300]),
    "in a character": ok('{"name": "Jürgen"}'.encode()[:12]),
    "a part": ok(PAGE[:300], b"content-range: bytes 0-299/700", status=b"206 Partial Content"),
}


@pytest.mark.parametrize("answer", INCOMPLETE)
async def test_a_document_that_is_cut_is_read_again(any_library, answer):
    """R11: a read is repeated however its body was lost; a write is not, and it may have been applied."""
    answers = [INCOMPLETE[answer], ok(PAGE)]

    async def serve(peer, _seen):
        await peer.write(answers.pop(0))

    async with RawServer(serve=serve) as server, a_client(any_library, server.url) as client:
        assert await client.get("/x") == json.loads(PAGE)
        answers[:] = [INCOMPLETE[answer]]
        with pytest.raises((ResponseLostError, DecodeError)) as caught:
            await client.post("/x", json_body={})
    assert [seen.method for seen in server.requests] == ["GET", "GET", "POST"]
    assert (caught.value.request_sent, caught.value.is_retry_safe) == ("yes", False)


@pytest.mark.parametrize("close_notify", [True, False], ids=["close_notify", "no close_notify"])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_end_of_a_tls_connection_ends_a_body_only_with_close_notify(
    any_library, authority, monkeypatch, version, close_notify, loop
):
    """R11: anyone on the way can end the connection below TLS (RFC 9112 section 9.8)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue(context)
    context.minimum_version = context.maximum_version = version
    trust = str(authority.files / "ca.pem")
    trusting = ssl.create_default_context(cafile=trust)
    trusting.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # of a host's own: early releases of Python 3.11 set it

    async def two():
        inner = httpx.AsyncHTTPTransport(verify=trusting)
        with TlsServer(context, [WITHOUT_LENGTH + b"\r\n" + PAGE], close_notify=close_notify) as server:
            library = None if any_library == PASSED_IN else any_library
            transport = inner if library is None else None
            settings = {"transport": {"ca_file": trust, **({"library": library} if library else {})}}
            policies = ResolvedSettings({**settings, "retry": {"max_attempts": 2, "base_delay_s": 0.001}})
            async with PlatformHttpClient(server.url, policies=policies, transport=transport) as client:
                if close_notify:
                    assert await client.get("/x") == json.loads(PAGE)
                else:
                    with pytest.raises(ResponseLostError, match="close_notify"):
                        await client.get("/x")
        await inner.aclose()
        return len(server.requests)

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(two()) == (1 if close_notify else 2)


async def test_an_empty_success_is_one_where_its_head_says_so(any_library):
    """No document was promised, or none can come: `{}`."""
    for head in (
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-type: application/json\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: application/json\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\ncontent-type: application/json\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
    ):
        serve = RawServer(serve=lambda peer, _seen, head=head: peer.write(head))
        async with serve as server, a_client(any_library, server.url) as client:
            assert await client.get("/x") == {}


@pytest.mark.parametrize(
    ("document", "kind", "requests"),
    [
        ({"status": 404, "title": "No such user"}, NotFoundError, 1),
        ({"status": 503, "title": "Down"}, ServerError, 2),
        ({"title": "Denied", "code": "X1"}, OperationFailedError, 1),
        ({"status": 200, "title": "Odd"}, OperationFailedError, 1),
        ({"status": "404"}, OperationFailedError, 1),
        ({}, OperationFailedError, 1),
    ],
)
@pytest.mark.parametrize("media_type", [b"application/problem+json", b"Application/Problem+JSON; charset=utf-8"])
async def test_a_success_with_a_problem_document_is_the_failure_that_it_says(
    any_library, media_type, document, kind, requests
):
    """R17: its media type is that of failures alone (RFC 9457), and its status the origin's."""
    answer = ok(json.dumps(document).encode(), b"content-type: " + media_type)
    retry = {"max_attempts": 2, "base_delay_s": 0.001}
    async with RawServer(lambda _seen: answer) as server, a_client(any_library, server.url, retry=retry) as client:
        with pytest.raises(kind) as caught:
            await client.get("/x")
    assert type(caught.value) is kind
    assert len(server.requests) == requests
    assert caught.value.problem.message == document.get("title", "")


async def test_a_dripping_body_ends_with_the_deadline(library):
    """R38: the call ends with its deadline, the body that is watched with the attempt, however slowly it comes."""

    async def serve(peer, _seen):
        await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while True:
            await peer.write(b"x")
            await asyncio.sleep(0.01)

    policies = StackSettings(
        transport=TransportSettings(library=library), attempt=AttemptTimeoutSettings(timeout_s=0.5)
    )
    async with RawServer(serve=serve) as server, PlatformHttpClient(server.url, policies=policies) as client:
        with call_options(deadline_s=0.2), pytest.raises(DeadlineExceededError):
            await client.get("/x")
        await settled(lambda: not server.open)


async def test_decoding_is_inside_the_attempt(library):
    """A response that cannot be decoded is its attempt's outcome."""
    policies = StackSettings(transport=TransportSettings(library=library))
    async with (
        RawServer(lambda _seen: ok(b"[}")) as server,
        PlatformHttpClient(server.url, policies=policies) as client,
    ):
        with pytest.raises(DecodeError) as caught:
            await client.get("/x")
    assert [record.outcome for record in caught.value.outcome.timeline] == ["DecodeError"]


# Errors whose body cannot be read


def an_error(status, body, *headers):
    return ok(body, *headers, status=status + b" X")


PROBLEM = b'{"error": {"code": "C", "message": "m"}}'
BAD_BODIES = {
    "too_large": lambda status: an_error(status, b"e " * 10_000),
    "too_large_inflated": lambda status: an_error(status, gzip.compress(b"e " * 10_000), b"content-encoding: gzip"),
    "too_large_raw": lambda status: an_error(status, gzip.compress(b"") * 2000, b"content-encoding: gzip"),
    "not_asked_for": lambda status: an_error(status, b"\x8b\x02\x80x", b"content-encoding: br"),
    "broken": lambda status: an_error(status, b"not gzip", b"content-encoding: gzip"),
    "cut_short": lambda status: an_error(status, gzip.compress(PROBLEM)[:-4], b"content-encoding: gzip"),
    "followed": lambda status: an_error(status, gzip.compress(PROBLEM) + b"\0\0", b"content-encoding: gzip"),
    "lost": lambda status: an_error(status, b"x" * 100)[:-50],
    "bad_chunk": lambda status: b"HTTP/1.1 " + status + b" X\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\nzz\r\n",
}
SMALL = {"max_response_bytes": 16_384}


@pytest.mark.parametrize("bad", [*BAD_BODIES, "stalled", "dripping"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [(b"400", InvalidRequestError), (b"401", AuthenticationError), (b"302", RedirectError), (b"500", ServerError)],
)
async def test_the_status_decides_whatever_becomes_of_the_body(any_library, monkeypatch, bad, status, kind):
    """R17: the error's class is the status's; the connection is dropped, and the next request goes out on another."""
    monkeypatch.setattr("middleware.transports.response_reader.ERROR_BODY_WAIT_S", 0.05)

    async def serve(peer, seen):
        if seen.attempt != "1":
            await peer.write(ok())
            return True
        if bad in BAD_BODIES:
            head, _, body = BAD_BODIES[bad](status).partition(b"\r\n\r\n")
            await peer.write(head + b"\r\n\r\n")
            await settled(lambda: wire.attempts[0].status)  # aiohttp drops a head that comes with a broken chunk
            await peer.write(body)
            return False
        await peer.write(an_error(status, b"x" * 10_000)[:-9_000])
        while bad == "dripping":
            await peer.write(b"x")
            await asyncio.sleep(0.01)
        await peer.gone()
        return False

    async with RawServer(serve=serve) as server, Wire(any_library, **SMALL) as wire:
        with pytest.raises(kind) as caught:
            await wire.send(server, method="POST", content=b"{}")
        assert caught.value.status == int(status)
        assert caught.value.request_sent == "yes"
        assert wire.attempts[0].status == int(status)
        assert wire.attempts[0].request_sent == "yes"
        await settled(lambda: not server.open)
        assert (await wire.send(server)).status == 200
        wire.hold_against(server)
    assert [seen.connection for seen in server.requests] == [1, 2]


async def test_what_came_of_an_errors_body_is_used(any_library, monkeypatch):
    """R17: it is text then, since half a document is none; the headers say what they say."""
    monkeypatch.setattr("middleware.transports.response_reader.ERROR_BODY_WAIT_S", 0.05)

    async def serve(peer, _seen):
        await peer.write(an_error(b"429", b"Too many, come " + b"x" * 100, b"retry-after: 7")[:-100])
        await peer.gone()

    async with RawServer(serve=serve) as server, Wire(any_library) as wire:
        with pytest.raises(RateLimitedError) as caught:
            await wire.send(server)
    assert caught.value.problem.message == "Too many, come"
    assert caught.value.retry_after_s == 7.0


@pytest.mark.parametrize(
    ("status", "method", "requests", "kind"),
    [
        (b"500", "get", 3, ServerError),
        (b"500", "post", 1, ServerError),
        (b"404", "get", 1, NotFoundError),
        (b"400", "post", 1, InvalidRequestError),
    ],
)
@pytest.mark.parametrize("bad", ["too_large", "not_asked_for", "broken", "lost"])
async def test_retries_go_by_the_status_whatever_becomes_of_the_body(any_library, bad, status, method, requests, kind):
    """R17: as for the same status with a body that can be read, and so does what may be repeated."""
    retry = {"base_delay_s": 0.001, "max_delay_s": 0.001}

    async def serve(peer, _seen):
        await peer.write(BAD_BODIES[bad](status))
        return False

    async with RawServer(serve=serve) as server, a_client(any_library, server.url, wire=SMALL, retry=retry) as client:
        with pytest.raises(kind) as caught:
            await getattr(client, method)("/x")
    assert len(server.requests) == requests
    assert caught.value.outcome_unknown is (method == "post" and status == b"500")
    assert {record.status for record in caught.value.timeline} == {int(status)}


@pytest.mark.parametrize(("status", "requests"), [(b"500", 5), (b"400", 8)])
async def test_the_breaker_goes_by_the_status_whatever_becomes_of_the_body(any_library, status, requests):
    """R17, R31: a server error is a failure, a 4xx is none."""
    sections = {"retry": {"max_attempts": 1}, "circuit_breaker": {"min_calls": 5}}

    async def serve(peer, _seen):
        await peer.write(BAD_BODIES["broken"](status))
        return False

    async with RawServer(serve=serve) as server, a_client(any_library, server.url, **sections) as client:
        for _ in range(8):
            with pytest.raises((StatusError, CircuitOpenError)):
                await client.get("/x")
    assert len(server.requests) == requests


async def test_a_whole_error_body_is_read_whole_and_keeps_the_connection(monkeypatch, any_library):
    """R17: code, message and fields beyond 64 kB; shown is a bounded part of it."""
    monkeypatch.setattr("middleware.transports.response_reader.ERROR_BODY_WAIT_S", 60.0)  # however busy the machine
    fields = {f"field{number}": ["x" * 100] for number in range(2000)}
    body = json.dumps({"errors": fields, "error": {"code": "TooMany", "message": "m" * 5000}}).encode()
    packed = an_error(b"422", gzip.compress(body), b"content-encoding: gzip")
    answers = iter([an_error(b"422", body), packed, ok()])
    async with RawServer(lambda _seen: next(answers)) as server, Wire(any_library) as wire:
        for _ in range(2):
            with pytest.raises(InvalidRequestError) as caught:
                await wire.send(server)
            problem = caught.value.problem
            assert problem.code == "TooMany"
            assert len(problem.message) == 300
            assert len(problem.field_errors) == 50
        await wire.send(server)
    assert [seen.connection for seen in server.requests] == [1, 1, 1]


async def half_of_a_success(peer, _seen):
    await peer.write(ok(b"x" * 100)[:-50])
    return False


async def stalled_success(peer, _seen):
    await peer.write(ok(b"x" * 100)[:-50])
    await peer.gone()


def always(answer):
    async def serve(peer, _seen):
        await peer.write(answer)
        return True

    return serve


@pytest.mark.parametrize(
    ("serve", "options", "kind"),
    [
        (always(ok(b"<html>")), {}, DecodeError),
        (always(ok(b'{"success": false, "error": "no"}')), {}, OperationFailedError),
        (always(ok(b"e " * 10_000)), {}, ResponseTooLargeError),
        (always(ok(b"x", b"content-encoding: br")), {}, DecodeError),
        (half_of_a_success, {}, ResponseLostError),
        (stalled_success, {}, ResponseLostError),
        (stalled_success, {"deadline_s": 0.2}, DeadlineExceededError),
    ],
    ids=["no_json", "refused", "too_large", "encoding", "half", "stalled", "deadline"],
)
async def test_a_status_that_came_is_on_error_record_span_and_metric(any_library, recorder, serve, options, kind):
    """R52: also of a success that could not be used; what went wrong is the error's type."""
    settings = {"attempt": {"timeout_s": 0.4}, "retry": {"max_attempts": 1}, "wire": SMALL}
    async with (
        RawServer(serve=serve) as server,
        a_client(any_library, server.url, telemetry=recorder.telemetry, **settings) as client,
    ):
        with call_options(**options), pytest.raises(kind) as caught:
            await client.get("/x", decode=refuse_failure)
    assert caught.value.status == 200
    assert caught.value.to_plugin_error()["details"]["status"] == 200
    assert [(record.status, record.outcome) for record in caught.value.timeline] == [(200, kind.__name__)]
    (span,) = recorder.spans("CLIENT")
    (point,) = recorder.points("http.client.request.duration")
    for told in (span.attributes, point.attributes):
        assert told["http.response.status_code"] == 200
        assert told["error.type"] == kind.__name__


# A blocked event loop


def jump(monkeypatch, seconds):
    """Let the event loop find that *seconds* have passed, as after code of the host that blocked it."""
    loop = asyncio.get_running_loop()
    time = loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + seconds)


async def blocked_past_every_limit(server, client, monkeypatch, *, method="get", calls=12):
    """Outcomes of *calls* whose responses arrived while the loop was blocked for longer than any time limit."""
    tasks = [asyncio.create_task(getattr(client, method)("/x", path_params={})) for _ in range(calls)]
    await settled(lambda: len(server.requests) == calls)
    server.go.set()
    assert server.responded.wait(5)  # blocks the event loop
    jump(monkeypatch, 60)
    return await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("limits", [{}, {"deadline": {"total_s": 5.0}}], ids=["attempt", "watched"])
@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("size", [2, 60_000])
async def test_what_arrived_while_the_loop_was_blocked_is_the_result(
    any_library, tls, monkeypatch, limits, method, size
):
    """R45: of twelve calls none is lost, and the circuit stays closed: it was our own doing."""
    body = b'"' + b"x" * (size - 2) + b'"'
    with ThreadServer(ok(body), 12, tls[0]) as server:
        async with a_client(any_library, server.url, clock=LoopClock(), wire=tls[1], tls=tls, **limits) as client:
            found = await blocked_past_every_limit(server, client, monkeypatch, method=method)
            assert found == ["x" * (size - 2)] * 12
            assert await client.get("/warm") == {}
        await settled(lambda: not server.open)
    assert len(server.requests) == 12


@pytest.mark.parametrize("response", [an_error(b"400", PROBLEM), an_error(b"400", PROBLEM)[:-5]], ids=["all", "part"])
async def test_a_status_that_arrived_while_the_loop_was_blocked_decides(any_library, monkeypatch, response):
    """R17, R45: also where its body is not complete: the wait for it ends before attempt and call do."""
    with ThreadServer(response, 4) as server:
        async with a_client(any_library, server.url, clock=LoopClock()) as client:
            found = await blocked_past_every_limit(server, client, monkeypatch, calls=4)
        await settled(lambda: not server.open)
    assert [type(error) for error in found] == [InvalidRequestError] * 4


async def test_what_has_not_arrived_when_a_late_timer_fires_is_lost(any_library, monkeypatch):
    """R45: half a response is none, and nothing waits for the rest."""
    with ThreadServer(ok(b"x" * 100)[:-50], 4) as server:
        async with a_client(any_library, server.url, clock=LoopClock()) as client:
            found = await blocked_past_every_limit(server, client, monkeypatch, calls=4)
        await settled(lambda: not server.open)
    assert [(type(error), error.status) for error in found] == [(DeadlineExceededError, 200)] * 4


def test_a_timer_of_uvloop_does_not_discard_what_arrived(any_library):
    """R45: there timers run before sockets are read."""

    async def scenario():
        with ThreadServer(ok(b"[1]"), 4) as server:
            limits = {"attempt": {"timeout_s": 0.5}, "retry": {"max_attempts": 1}}
            async with a_client(any_library, server.url, **limits) as client:
                tasks = [asyncio.create_task(client.get("/x")) for _ in range(4)]
                await settled(lambda: len(server.requests) == 4)
                server.go.set()
                assert server.responded.wait(5)
                time.sleep(0.5)
                found = await asyncio.gather(*tasks, return_exceptions=True)
            await settled(lambda: not server.open)
            return found

    assert uvloop.run(scenario()) == [[1]] * 4


# Compressed bodies


def in_pieces(body, size):
    async def serve(peer, _seen):
        await peer.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), size):
            await peer.write(body[at : at + size])
            await asyncio.sleep(0)
        return True

    return serve


@pytest.mark.parametrize("size", [7, 10_000])
async def test_all_members_of_a_gzip_body_are_read(any_library, size):
    """RFC 1952 section 2.2: a document may be packed in several, empty ones among them."""
    body = gzip.compress(b"[1,") + gzip.compress(b"") + gzip.compress(b"2") + gzip.compress(b"]")
    async with RawServer(serve=in_pieces(body, size)) as server, Wire(any_library) as wire:
        assert (await wire.send(server)).body == b"[1,2]"
        await wire.send(server)
    assert [seen.connection for seen in server.requests] == [1, 1]


@pytest.mark.parametrize(
    ("packed", "encoding"),
    [(gzip.compress(b"{}"), b"gzip"), (zlib.compress(b"{}"), b"deflate"), (zlib.compress(b"{}"), b"gzip")],
    ids=["gzip", "deflate", "zlib_as_gzip"],
)
@pytest.mark.parametrize("tail", [b"\0", b"{}", gzip.compress(b"{}")[1:]], ids=["zero", "text", "half_a_head"])
async def test_what_follows_a_compressed_body_is_refused_at_once(any_library, packed, encoding, tail):
    """However much of it there is: neither memory nor the time of the attempt is spent on it."""
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: " + encoding + b"\r\n\r\n"
    serve = endless(head + packed + tail, b"\0" * 2**16)
    async with RawServer(serve=serve) as server, Wire(any_library) as wire:
        with pytest.raises(DecodeError, match=r"^content-encoding: compressed data is followed by other bytes$"):
            await wire.send(server)
        await settled(lambda: not server.open)


async def test_what_a_body_is_as_sent_counts_too(any_library):
    """Members that inflate to nothing are without an end otherwise."""
    serve = endless(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n", gzip.compress(b"") * 100)
    async with RawServer(serve=serve) as server, Wire(any_library, **SMALL) as wire:
        with pytest.raises(ResponseTooLargeError):
            await wire.send(server)
        await settled(lambda: not server.open)


# Cancellation


async def never(peer, *_):
    await peer.gone()


async def half_a_body(peer, _seen):
    await peer.write(ok(b"x" * 1000)[:-500])
    await peer.gone()


async def reads_nothing(_peer):
    await asyncio.Event().wait()


@pytest.mark.parametrize("how", ["cancel", "timeout", "cancel_twice"])
@pytest.mark.parametrize("stage", ["handshake", "head", "body", "send"])
async def test_a_cancelled_attempt_is_aborted_and_forgotten(library, authority, how, stage):
    """At every stage, by every means: the connection is gone at once, nothing is left running, the next call is fine."""
    stages = {
        "handshake": {"accept": never},
        "head": {"serve": never},
        "body": {"serve": half_a_body},
        "send": {"accept": reads_nothing},
    }
    before = asyncio.all_tasks()
    async with RawServer(**stages[stage]) as server, RawServer() as healthy, Wire(library) as wire:
        url = server.url.replace("http:", "https:") if stage == "handshake" else server.url
        content = b"x" * 2**23 if stage == "send" else None

        async def call():
            await wire.send(url, method="POST", content=content, idempotent=True)

        task = asyncio.create_task(call())
        await settled(lambda: server.peers and (stage in {"handshake", "send"} or server.requests))
        await asyncio.sleep(0.01)
        if how == "cancel":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        elif how == "timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await task
        else:
            task.cancel()
            task.cancel()
            await asyncio.wait([task])
        if stage != "send":
            await settled(lambda: not server.open)
        await wire.send(healthy)
        wire.hold_against(server)
        assert (
            wire.attempts[0].request_sent == {"handshake": "no", "head": "maybe", "send": "maybe", "body": "yes"}[stage]
        )
    await settled(lambda: asyncio.all_tasks() <= before)


def deaf_peer(listener, context, reply):
    """Accept, read one request, respond to it, and never read again: not even the end of TLS."""
    sock, _ = listener.accept()
    peer = context.wrap_socket(sock, server_side=True)
    peer.recv(65536)
    peer.sendall(reply)
    return peer


GIVEN_UP = {
    "head": b"",
    "body": ok(b"x" * 100)[:-50],
    "garbage": b"\x15\x03 not HTTP\r\n\r\n",
    "stale": ok(b"{}"),
}


# But for garbage at aiohttp: it closes twice, and after that a TLS transport of Python 3.11 takes no abort any more.
@pytest.mark.parametrize(
    ("library", "stage"),
    [(one, stage) for one in LIBRARIES for stage in GIVEN_UP if (one, stage) != ("aiohttp", "garbage")],
)
async def test_a_connection_that_is_given_up_waits_for_no_peer(library, authority, stage):
    """A TLS shutdown is a message and its reply; without it the connection ends at once."""
    reply = GIVEN_UP[stage]
    settings = {"ca_file": str(authority.files / "ca.pem")}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with Wire(library, **settings) as wire:
            url = f"https://localhost:{listener.getsockname()[1]}"
            call = asyncio.create_task(wire.send(url))
            with await asyncio.to_thread(deaf_peer, listener, authority.context, reply) as peer:
                gone = select.poll()
                gone.register(peer.fileno(), select.POLLRDHUP)
                if stage == "stale":
                    await call
                    assert not gone.poll(0)
                    peer.sendall(b"more")
                    call = asyncio.create_task(wire.send(url))
                elif stage == "garbage":
                    await asyncio.wait([call])
                else:
                    await settled(lambda: wire.attempts[0].request_sent == ("maybe" if stage == "head" else "yes"))
                    call.cancel()
                await settled(lambda: gone.poll(0))
                call.cancel()
                await asyncio.wait([call])


async def test_an_attempt_timeout_keeps_the_phase(library):
    """Nothing arrived in time: lost, not unsent."""
    policies = StackSettings(
        transport=TransportSettings(library=library), attempt=AttemptTimeoutSettings(timeout_s=0.3)
    )
    async with RawServer(serve=never) as server, PlatformHttpClient(server.url, policies=policies) as client:
        with call_options(max_attempts=1), pytest.raises(ResponseLostError) as caught:
            await client.post("/x", json_body={})
    assert caught.value.outcome.request_sent == "maybe"


# Connections and their end


async def test_idle_connections_expire_by_themselves(library, tls):
    """No further call is needed for that."""
    async with RawServer(tls=tls[0]) as server, Wire(library, keepalive_expiry_s=0.05, **tls[1]) as wire:
        await asyncio.gather(*(wire.send(server) for _ in range(4)))
        await settled(lambda: server.peers and not server.open)
        await wire.send(server)


async def test_closing_ends_idle_connections_now_and_busy_ones_after_their_answer(library, tls):
    """A call in flight is not lost; a later one is rejected."""
    go = asyncio.Event()

    async def serve(peer, seen):
        if seen.attempt == "2":
            await go.wait()
        await peer.write(ok(b"done"))
        return True

    async with RawServer(serve=serve, tls=tls[0]) as server:
        wire = Wire(library, **tls[1])
        await wire.send(server)
        busy = asyncio.create_task(wire.send(server))
        await settled(lambda: len(server.requests) == 2)
        await wire.transport.aclose()
        await wire.transport.aclose()
        with pytest.raises(ClientClosedError):
            await wire.send(server)
        go.set()
        assert (await busy).body == b"done"
        await settled(lambda: not server.open)


async def test_dropping_connections_loses_no_call(library, tls):
    """Idle ones end now and busy ones after their response; the transport stays open, and makes new ones."""
    go = asyncio.Event()

    async def serve(peer, seen):
        if seen.attempt == "2":
            await go.wait()
        await peer.write(ok(b"done"))
        return True

    async with RawServer(serve=serve, tls=tls[0]) as server, Wire(library, **tls[1]) as wire:
        await wire.send(server)
        busy = asyncio.create_task(wire.send(server))
        await settled(lambda: len(server.requests) == 2)
        await wire.send(server)  # a second connection, idle when they are dropped
        await settled(lambda: server.open == 2)
        wire.transport.drop_connections()
        await settled(lambda: server.open == 1)
        await wire.send(server)
        await wire.send(server)
        assert len(server.peers) == 3
        go.set()
        assert (await busy).body == b"done"
        await settled(lambda: server.open == 1)


async def test_a_transport_that_nothing_refers_to_closes_its_connections(library, recwarn):
    """As of a bundle whose last caller is gone; no warning, and no line of a library."""
    async with RawServer() as server:
        wire = Wire(library)
        await wire.send(server)
        wire.transport.drop_connections()
        await wire.send(server)  # by a caller that still had it
        del wire
        gc.collect()
        if library == "aiohttp":  # the default transport keeps a timer per loop, which closes them
            await settled(lambda: not server.open)
    gc.collect()
    await asyncio.sleep(0)
    assert [str(warning.message) for warning in recwarn] == []


async def test_closing_soon_needs_no_waiting(library):
    """As code that is not a coroutine does it."""
    async with RawServer() as server:
        wire = Wire(library)
        await wire.send(server)
        wire.transport.request_close()
        with pytest.raises(ClientClosedError):
            await wire.send(server)
        await settled(lambda: not server.open)


async def test_each_event_loop_has_its_own_connections(library):
    """One transport serves two loops in two threads; a connection never changes its loop, and both are closed."""
    async with RawServer() as server:
        wire = Wire(library)

        async def elsewhere():
            await wire.send(server)
            await wire.send(server)
            await closed.wait()
            async with asyncio.timeout(5):
                while len(asyncio.all_tasks()) > 1:  # what closes this loop's connections
                    await asyncio.sleep(0)

        await wire.send(server)
        closed = Threadsafe()
        other = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
        await settled(lambda: len(server.requests) == 3)
        await wire.send(server)
        await wire.transport.aclose()
        closed.set()
        await settled(lambda: not server.open)
        await other
    assert [seen.connection for seen in server.requests] == [1, 2, 2, 1]


@pytest.mark.parametrize("end", ["run", "closed", "cancelled", "dropped"])
def test_nothing_is_logged_of_an_event_loop_that_ended(library, tls, caplog, end):
    """R3, R7: a worker may run each job in an event loop of its own, and close no client in any of them."""

    async def job(wire, server):
        await asyncio.gather(*(wire.send(server, target="/warm") for _ in range(3)))
        if end == "cancelled":
            hanging = asyncio.create_task(wire.send(server))
            await settled(lambda: wire.attempts[-1].request_sent == "maybe")
            hanging.cancel()
            await asyncio.wait([hanging])

    wire = Wire(library, **tls[1])
    with ThreadServer(b"", 1, tls[0]) as server, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for _ in range(3):
            if end in {"run", "cancelled"}:
                asyncio.run(job(wire, server))
            else:
                loop = asyncio.new_event_loop()
                loop.run_until_complete(job(wire, server))
                if end == "dropped":
                    wire.itself, wire = wire, Wire(library, **tls[1])  # with a cycle, so that the collector finds it
                    gc.collect()
                loop.close()
        del wire
        gc.collect()
    assert caplog.records == []
    # asyncio's own: nothing can close a transport of an event loop that is closed.
    assert {str(warning.message).split(" <")[0] for warning in warned} <= {"unclosed transport", "unclosed"}


def test_an_event_loop_closes_the_sockets_of_those_that_have_ended(library, tls):
    """R3: nothing else does, since a closed loop closes none; the collector need not run for it."""

    async def job(wire, server):
        await asyncio.gather(*(wire.send(server, target="/warm") for _ in range(3)))

    wire = Wire(library, **tls[1])
    gc.disable()
    try:
        with ThreadServer(b"", 1, tls[0]) as server, warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            for _ in range(5):
                asyncio.run(job(wire, server))
                for _ in range(200):
                    if server.open <= 3:
                        break
                    time.sleep(0.01)
                assert server.open <= 3
            wire.transport.request_close()
            for _ in range(200):
                if not server.open:
                    break
                time.sleep(0.01)
            assert server.open == 0
            del wire
            gc.collect()
    finally:
        gc.enable()


class Threadsafe:
    """An event that another thread's loop can wait for."""

    def __init__(self):
        self._set = False

    def set(self):
        self._set = True

    async def wait(self):
        while not self._set:
            await asyncio.sleep(0.001)


def test_uvloop_is_as_good_a_loop(library, tls):
    """The loop of many FastAPI hosts: reuse, a stale connection, a cancelled attempt, the end."""

    async def serve(peer, seen):
        if seen.attempt == "4":
            await peer.gone()
        await peer.write(ok(b"1"))
        return seen.attempt != "2"

    async def scenario():
        async with RawServer(serve=serve, tls=tls[0]) as server, Wire(library, **tls[1]) as wire:
            await wire.send(server, method="POST", content=b"x" * 2**20, idempotent=True)
            await wire.send(server)
            await settled(lambda: not server.open)
            await wire.send(server, method="POST", idempotent=True)
            task = asyncio.create_task(wire.send(server))
            await settled(lambda: len(server.requests) == 4)
            task.cancel()
            await asyncio.wait([task])
            await settled(server.peers[-1].closed.is_set)
            await wire.send(server)
            wire.hold_against(server)
            await wire.transport.aclose()
            await settled(lambda: not server.open)
            return [seen.connection for seen in server.requests]

    assert uvloop.run(scenario()) == [1, 1, 2, 2, 3]


# Settings


async def test_a_client_certificate_is_shown(library, authority):
    """In one file or in two; without one, the server rejects the connection."""
    ca = {"ca_file": str(authority.files / "ca.pem")}
    one = {"client_certificate_file": str(authority.files / "client.pem")}
    two = {
        "client_certificate_file": str(authority.files / "client.crt"),
        "client_key_file": str(authority.files / "client.key"),
    }
    async with RawServer(tls=authority.strict) as server:
        for files in (one, two):
            async with Wire(library, **ca, **files) as wire:
                await wire.send(server)
        async with Wire(library, **ca) as wire:
            with pytest.raises((RequestNotSentError, ResponseLostError)):
                await wire.send(server)
    assert len(server.requests) == 2


@pytest.mark.parametrize("setting", ["ca_file", "client_certificate_file", "client_key_file"])
def test_a_file_that_cannot_be_used_is_named(library, setting, tmp_path):
    """At construction, and not at the first call."""
    for path in (tmp_path / "missing.pem", tmp_path / "nonsense.pem"):
        if path.name.startswith("nonsense"):
            path.write_text("nonsense")
        with pytest.raises(ConfigError, match=setting):
            make_transport(TransportSettings(library=library, **{setting: str(path)}), SystemClock())


def upper(url):
    scheme, rest = url.split("://")
    return f"{scheme.upper()}://{rest.upper()}"


async def test_a_scheme_in_capitals_is_trusted_no_more(library, authority):
    """The private authority and the client certificate are used, and never the library's own TLS settings."""
    ours = {
        "ca_file": str(authority.files / "ca.pem"),
        "client_certificate_file": str(authority.files / "client.pem"),
    }
    async with RawServer(tls=authority.strict) as server:
        url = upper(server.url)
        async with Wire(library, **ours) as wire:
            assert (await wire.send(url)).status == 200
        async with Wire(library) as wire:
            with pytest.raises(RequestNotSentError, match=r"(?i)certificate"):
                await wire.send(url)
        async with a_client(library, url, wire=ours) as client:
            assert await client.get("/x") == {}
            assert client.base_url == server.url
    assert len(server.requests) == 2


async def test_a_plain_scheme_in_capitals_is_no_tls(any_library):
    """And the host is the same in any case: one connection serves both."""
    async with RawServer() as server:
        async with a_client(any_library, upper(server.url)) as client:
            assert await client.get("/x") == {}
        assert server.requests[0].headers["host"] == f"localhost:{server.port}"


async def test_a_proxy_over_tls_in_capitals_is_trusted_no_more(library, environment, authority):
    """As a server is."""
    async with RawServer(tls=authority.context) as proxy:
        environment.setenv("http_proxy", upper(proxy.url))
        async with Wire(library, trust_env=True, ca_file=str(authority.files / "ca.pem")) as wire:
            assert (await wire.send("http://a")).status == 200
        async with Wire(library, trust_env=True) as wire:
            with pytest.raises(RequestNotSentError, match=r"(?i)certificate"):
                await wire.send("http://a")
    assert len(proxy.requests) == 1


class Proxy(RawServer):
    """Forwards what it is asked to; its own requests are the ones it was sent."""

    def __init__(self):
        super().__init__(serve=self._forward)

    async def _forward(self, peer, seen):
        if seen.method != "CONNECT":
            await peer.write(ok(b'"by proxy"'))
            return True
        host, _, port = seen.target.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        pumps = []

        async def pump(source, sink):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()

        try:
            await peer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            pumps += [asyncio.create_task(pump(peer.reader, writer)), asyncio.create_task(pump(reader, peer.writer))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            writer.transport.abort()
            for task in pumps:
                task.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        return False


async def test_proxies_of_the_environment_are_off_unless_asked_for(library, environment):
    """Then they are used, with their credentials, and NO_PROXY is heeded."""
    async with RawServer() as server, Proxy() as proxy:
        environment.setenv("http_proxy", proxy.url.replace("://", "://user:pass@"))
        async with Wire(library) as wire:
            await wire.send(server)
        assert len(server.requests) == 1
        assert len(proxy.requests) == 0
        async with Wire(library, trust_env=True) as wire:
            assert (await wire.send(server)).body == b'"by proxy"'
        assert proxy.requests[0].target == server.url + "/x"
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"
        environment.setenv("no_proxy", "localhost")
        async with Wire(library, trust_env=True) as wire:
            await wire.send(server)
    assert len(server.requests) == 2
    assert len(proxy.requests) == 1


async def test_https_goes_through_a_tunnel(library, environment, authority):
    """The proxy sees the host and nothing else."""
    async with RawServer(tls=authority.context) as server, Proxy() as proxy:
        environment.setenv("https_proxy", proxy.url)
        async with Wire(library, trust_env=True, ca_file=str(authority.files / "ca.pem")) as wire:
            await wire.send(server)
            await wire.send(server)
        assert [seen.method for seen in proxy.requests] == ["CONNECT"]
    assert len(server.requests) == 2


async def test_what_a_proxy_refused_was_not_sent(library, environment, authority):
    """The tunnel's own request is not the caller's."""
    refusal = ok(b"", status=b"407 Proxy Authentication Required")
    async with RawServer(lambda _seen: refusal) as proxy:
        environment.setenv("https_proxy", proxy.url)
        async with Wire(library, trust_env=True) as wire:
            with pytest.raises(RequestNotSentError, match="407"):
                await wire.send("https://localhost:1", method="POST", content=b"{}")
    assert wire.attempts[0].request_sent == "no"


async def drop(_peer, _seen):
    return False


@pytest.mark.parametrize("serve", [None, drop], ids=["answers", "drops"])
async def test_what_a_proxy_over_tls_may_have_passed_on_is_never_denied(library, environment, authority, serve):
    """It is trusted by the same settings as a server; what it read may have arrived."""
    settings = {"trust_env": True, "ca_file": str(authority.files / "ca.pem")}
    async with RawServer(serve=serve, tls=authority.context) as proxy:
        environment.setenv("http_proxy", proxy.url)
        async with Wire(library, **settings) as wire:
            if serve is None:
                await wire.send("http://a", target="/b?c=%2F")
            else:
                with pytest.raises(ResponseLostError):
                    await wire.send("http://a", target="/b?c=%2F")
            wire.hold_against(proxy)
    (seen,) = proxy.requests
    assert wire.attempts[0].request_sent == ("maybe" if serve else "yes")
    assert seen.target.endswith("/b?c=%2F")
    assert seen.headers["host"] == "a"


async def test_a_tunnel_that_a_proxy_over_tls_does_not_open_was_not_used(library, environment, authority):
    """Its own request is not the caller's, whatever handshakes there are."""
    settings = {"trust_env": True, "ca_file": str(authority.files / "ca.pem")}
    async with RawServer(serve=drop, tls=authority.context) as proxy:
        environment.setenv("https_proxy", proxy.url)
        async with Wire(library, **settings) as wire:
            with pytest.raises(RequestNotSentError):
                await wire.send("https://platform.test")
    assert [(seen.method, seen.target) for seen in proxy.requests] == [("CONNECT", "platform.test:443")]
    assert wire.attempts[0].request_sent == "no"


@pytest.mark.parametrize("proxy", ["socks5://user:secret@localhost:1", "http://localhost:port"])
def test_a_proxy_that_cannot_be_used_is_told_without_showing_it(library, environment, proxy):
    """It may contain a password."""
    environment.setenv("all_proxy", proxy)
    with pytest.raises(ConfigError, match="trust_env") as caught:
        make_transport(TransportSettings(library=library, trust_env=True), SystemClock())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://platform.test", "https://platform.test"])
@pytest.mark.parametrize("proxy", ["http://user:secret@127.0.0.1:1", "https://127.0.0.1:1", "http://proxy.invalid:1"])
async def test_a_dead_proxy_is_named_as_the_proxy(library, environment, proxy, url):
    """Without its credentials; else the reader looks for the fault at the service."""
    environment.setenv("all_proxy", proxy)
    async with Wire(library, trust_env=True) as wire:
        with pytest.raises(RequestNotSentError, match=r"proxy (127\.0\.0\.1|proxy\.invalid):1: ") as caught:
            await wire.send(url)
    assert "secret" not in str(caught.value)


async def test_behind_a_proxy_that_works_only_the_service_is_to_blame(library, environment, authority):
    """The handshake with the service fails, inside the proxy's tunnel."""
    async with RawServer(tls=authority.context) as server, Proxy() as proxy:
        environment.setenv("https_proxy", proxy.url)
        async with Wire(library, trust_env=True) as wire:
            with pytest.raises(RequestNotSentError, match=r"(?i)certificate") as caught:
                await wire.send(server.url.replace("localhost", "127.0.0.1"))
    assert "proxy " not in caught.value.reason


async def test_a_dead_proxy_of_a_transport_that_was_passed_in_is_named_too():
    """By the trace of its connecting."""
    async with httpx.AsyncHTTPTransport(proxy="http://user:secret@127.0.0.1:1") as inner:
        client = PlatformHttpClient("http://platform.test", transport=inner)
        with call_options(max_attempts=1), pytest.raises(RequestNotSentError, match=r"proxy 127\.0\.0\.1:1: "):
            await client.get("/x")


def test_a_missing_extra_is_named(monkeypatch):
    """With what to install."""
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "middleware.transports.aiohttp_transport", raising=False)
    with pytest.raises(ConfigError) as caught:
        make_transport(TransportSettings(library="aiohttp"), SystemClock())
    reason = "TransportSettings.library: aiohttp is not installed; install mozaiks-connector-runtime[aiohttp]"
    assert str(caught.value) == reason


@pytest.mark.parametrize("responds", [True, False], ids=["late", "never"])
async def test_an_attempt_is_watched_on_every_transport(library, responds):
    """R38: the call ends at its deadline, the connection at the late response or with the attempt's own timeout."""
    gone = asyncio.Event()

    async def serve(peer, _seen):
        if responds:
            await asyncio.sleep(0.3)
            await peer.write(ok())
            return True
        await peer.gone()
        gone.set()
        return False

    async with RawServer(serve=serve) as server:
        sections = {
            "attempt": {"timeout_s": 0.6},
            "deadline": {"total_s": 0.1},
            "circuit_breaker": {"min_calls": 1},
            "transport": {"library": library},
        }
        async with PlatformHttpClient(server.url, service="svc", policies=ResolvedSettings(sections)) as client:
            with pytest.raises(DeadlineExceededError) as caught:
                await client.get("/x", path_params={})
            assert caught.value.request_sent == "maybe"
            assert not gone.is_set()
            await asyncio.sleep(1.0)
            assert gone.is_set() is not responds
            assert client._stack.state().breakers == {"svc": "closed" if responds else "open"}


async def test_closing_the_client_closes_what_is_watched(library):
    """R38: at once, not with the attempt's timeout."""
    gone = asyncio.Event()

    async def serve(peer, _seen):
        await peer.gone()
        gone.set()
        return False

    async with RawServer(serve=serve) as server:
        policies = ResolvedSettings({"deadline": {"total_s": 0.1}, "transport": {"library": library}})
        async with PlatformHttpClient(server.url, service="svc", policies=policies) as client:
            with pytest.raises(DeadlineExceededError):
                await client.get("/x", path_params={})
        async with asyncio.timeout(5):
            await gone.wait()
