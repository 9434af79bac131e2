"""The socket under httpcore: how it connects, waits, bounds and ends."""

import asyncio
import contextlib
import socket
import ssl

import httpcore
import pytest
from raw_server import RawServer

from middleware.errors import ResponseTooLargeError
from middleware.transports.httpcore_backend import Socket
from middleware.types import Attempt
from runtime.testing import virtual_time

KB_128 = 128 * 1024


class Transport(asyncio.Transport):
    """What asyncio gives a protocol, written down."""

    def __init__(self):
        super().__init__()
        self.told, self.sent, self.aborted = [], b"", False
        self.ours, self.theirs = socket.socketpair()

    def get_extra_info(self, name, default=None):
        return self.ours if name == "socket" else f"the {name}"

    def is_closing(self):
        return self.aborted

    def abort(self):
        self.aborted = True

    def write(self, data):
        self.sent += data

    def pause_reading(self):
        self.told.append("pause")

    def resume_reading(self):
        self.told.append("resume")


@pytest.fixture
def transport():
    made = Transport()
    yield made
    made.ours.close()
    made.theirs.close()


@pytest.fixture
def connected(transport):
    """A socket whose transport the test plays."""
    made = Socket(tls_layers=0)
    made.connection_made(transport)
    return made


async def soon(coroutine):
    """Start a task and let it come to where it waits."""
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    return task


# Reading


async def test_the_last_byte_is_read_alone(connected):
    """What a parser did not ask for stays, and makes the connection stale."""
    connected.data_received(b"abcd")
    assert await connected.read(2) == b"ab"
    assert await connected.read(100) == b"c"
    assert connected.is_stale
    assert await connected.read(100) == b"d"
    assert not connected.is_stale


async def test_a_read_waits_for_bytes_or_the_end(connected):
    """An end that the peer made in order is no error."""
    reading = await soon(connected.read(100))
    assert not reading.done()
    connected.data_received(b"a")
    assert await reading == b"a"
    reading = await soon(connected.read(100))
    connected.eof_received()
    assert await reading == b""
    assert connected.is_stale


async def test_a_read_tells_how_the_connection_broke(connected):
    """The operating system's own words."""
    reading = await soon(connected.read(100))
    connected.connection_lost(ConnectionResetError("reset by peer"))
    with pytest.raises(httpcore.ReadError, match=r"^reset by peer$"):
        await reading


async def test_what_came_before_the_end_is_read_first(connected):
    """The peer may speak and go."""
    connected.data_received(b"a")
    connected.connection_lost(OSError("gone"))
    assert await connected.read(100) == b"a"
    with pytest.raises(httpcore.ReadError):
        await connected.read(100)


async def test_the_peer_is_held_back_above_128_kilobytes(connected, transport):
    """Once, and until less than that is left."""
    connected.data_received(b"x" * KB_128)
    assert transport.told == []
    connected.data_received(b"x")
    assert transport.told == ["pause"]
    connected.data_received(b"x")
    await connected.read(1)
    await connected.read(1)
    assert transport.told == ["pause"]
    await connected.read(1)
    await connected.read(1)
    assert transport.told == ["pause", "resume"]
    connected.data_received(b"xxx")
    assert transport.told == ["pause", "resume", "pause"]


@pytest.mark.parametrize("piece", [1, 4, 100])
async def test_a_head_may_be_as_long_as_its_bound(connected, piece):
    """Not one byte more is handed out, in however many pieces it comes; a body is not bounded here."""
    connected.begin(Attempt(), "GET", 10)
    read = b""
    with pytest.raises(ResponseTooLargeError) as caught:
        while True:
            connected.data_received(b"y" * piece)
            read += await connected.read(100)
    assert len(read) == 10
    assert caught.value.request_sent == "yes"
    assert caught.value.reason == "response head larger than 10 bytes"
    connected.head_ended()
    connected.data_received(b"y" * 10)
    assert len(await connected.read(100)) >= 9


# Writing


async def test_a_write_waits_while_the_peer_does_not_read(connected, transport):
    """Else a large body would be in memory twice."""
    connected.pause_writing()
    writing = await soon(connected.write(b"abc"))
    assert transport.sent == b"abc"
    assert not writing.done()
    connected.resume_writing()
    await writing
    connected.pause_writing()
    writing = await soon(connected.write(b"d"))
    connected.connection_lost(None)
    await writing
    assert transport.sent == b"abcd"


async def test_the_first_byte_after_all_handshakes_is_the_requests(transport):
    """Without a byte it was not sent; after a response it stays sent."""
    for layers, buffer, before, after in [
        (0, b"a", "no", "maybe"),
        (0, b"", "no", "no"),
        (1, b"a", "no", "no"),
        (0, b"a", "yes", "yes"),
    ]:
        made, attempt = Socket(tls_layers=layers), Attempt(request_sent=before)
        made.connection_made(transport)
        made.begin(attempt, "GET", 100)
        await made.write(buffer)
        assert attempt.request_sent == after


async def test_a_closed_connection_takes_nothing(connected, transport):
    """And says so, before a byte is lost."""
    attempt = Attempt()
    connected.begin(attempt, "GET", 100)
    await connected.aclose()
    assert transport.aborted
    with pytest.raises(httpcore.WriteError, match=r"^connection closed$"):
        await connected.write(b"a")
    with pytest.raises(httpcore.WriteError, match=r"^connection closed$"):
        await Socket(tls_layers=0).write(b"a")
    assert (attempt.request_sent, await connected.read(1)) == ("no", b"")


# What httpcore asks


async def test_what_is_known_of_the_connection(connected, transport):
    """By httpcore's names, and asyncio's own; nothing before there is one."""
    found = {
        name: connected.get_extra_info(name)
        for name in ("socket", "ssl_object", "client_addr", "server_addr", "cipher", "is_readable")
    }
    assert found == {
        "socket": transport.ours,
        "ssl_object": "the ssl_object",
        "client_addr": "the sockname",
        "server_addr": "the peername",
        "cipher": "the cipher",
        "is_readable": False,
    }
    transport.theirs.send(b"x")
    assert connected.get_extra_info("is_readable")
    assert Socket(tls_layers=0).get_extra_info("socket") is None


# Connecting


class Network:
    """Addresses of a name, and what connecting to each of them does: "hang", an error, or the real port given."""

    def __init__(self, monkeypatch, **addresses):
        self.tried, self.sockets, self._addresses = [], [], addresses
        loop = asyncio.get_running_loop()
        self._connect, self._loop = loop.sock_connect, loop
        monkeypatch.setattr(loop, "sock_connect", self.sock_connect)

    async def resolve(self, host, port):
        assert host == "platform.test"
        return [(socket.AF_INET, (name, port)) for name in self._addresses]

    async def connect(self, **options):
        return await Socket(0, self).connect_tcp("platform.test", 80, **options)

    async def sock_connect(self, sock, address):
        self.tried.append((address[0], self._loop.time()))
        self.sockets.append(sock)
        assert not sock.getblocking()
        what = self._addresses[address[0]]
        if isinstance(what, OSError):
            raise what
        if what == "hang":
            await asyncio.Event().wait()
        await self._connect(sock, ("127.0.0.1", what))

    @property
    def still_open(self):
        return [sock for sock in self.sockets if sock.fileno() != -1]


@pytest.mark.sockets
@virtual_time
async def test_the_next_address_is_tried_after_a_quarter_of_a_second(monkeypatch):
    """RFC 8305 section 5: in parallel with the late one; the first to connect wins, the others are closed."""
    async with RawServer() as server:
        network = Network(monkeypatch, late="hang", later="hang", good=server.port, spare="hang")
        connected = await network.connect()
        assert network.tried == [("late", 0.0), ("later", 0.25), ("good", 0.5)]
        assert [sock.getpeername()[1] for sock in network.still_open] == [server.port]
        connected.abort()


@pytest.mark.sockets
@virtual_time
async def test_an_address_that_refuses_is_not_waited_for(monkeypatch):
    """The next one is tried at once."""
    async with RawServer() as server:
        network = Network(monkeypatch, dead=ConnectionRefusedError("refused"), good=server.port)
        connected = await network.connect()
        assert network.tried == [("dead", 0.0), ("good", 0.0)]
        connected.abort()


@pytest.mark.sockets
@virtual_time
async def test_when_every_address_refuses_all_of_it_is_told(monkeypatch):
    """One address or several; no socket is left."""
    network = Network(monkeypatch, one=OSError("refused by one"), two=OSError("refused by two"))
    with pytest.raises(httpcore.ConnectError, match=r"^refused by one; refused by two$"):
        await network.connect()
    alone = Network(monkeypatch, one=OSError("refused by one"))
    with pytest.raises(httpcore.ConnectError, match=r"^refused by one$"):
        await alone.connect()
    assert network.still_open == alone.still_open == []


@pytest.mark.sockets
@pytest.mark.parametrize("addresses", [["one"], ["one", "two"]], ids=len)
@virtual_time
async def test_connecting_ends_with_its_time(monkeypatch, addresses):
    """Counted from where it began; no socket is left."""
    network = Network(monkeypatch, **dict.fromkeys(addresses, "hang"))
    loop = asyncio.get_running_loop()
    await asyncio.sleep(7)
    with pytest.raises(httpcore.ConnectTimeout, match=r"^no connection in time$"):
        await network.connect(timeout=2.0)
    assert loop.time() == 9.0
    assert network.still_open == []


@pytest.mark.sockets
@virtual_time
async def test_without_a_time_connecting_waits(monkeypatch):
    """None without a timeout; a cancelled one leaks no socket."""
    network = Network(monkeypatch, one="hang", two="hang")
    connecting = await soon(network.connect())
    await asyncio.sleep(1_000_000)
    assert not connecting.done()
    connecting.cancel()
    await asyncio.wait([connecting])
    assert len(network.sockets) == 2
    assert network.still_open == []


@pytest.mark.sockets
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_address_needs_no_resolver(monkeypatch, host):
    """And so no thread."""
    tried = []

    async def sock_connect(sock, address):
        tried.append((sock.family, address))
        raise OSError("enough")

    def getaddrinfo(*_args, **_options):
        raise AssertionError("no resolver")

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", sock_connect)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(httpcore.ConnectError):
        await Socket(tls_layers=0).connect_tcp(host, 81)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    assert tried == [(family, (host, 81))]


@pytest.mark.sockets
async def test_a_refusal_says_what_the_operating_system_said():
    """By number and in words; a port that no socket takes is an error too."""
    for port, text in [(1, "Errno 111"), (99999, "port must be")]:
        with pytest.raises(httpcore.ConnectError, match=text):
            await Socket(tls_layers=0).connect_tcp("127.0.0.1", port)


@pytest.mark.sockets
async def test_what_was_aborted_while_it_connected_is_gone():
    """The abort came before there was anything to close."""
    async with RawServer() as server:
        made = Socket(tls_layers=0)
        made.abort()
        with contextlib.suppress(httpcore.ConnectError):
            await made.connect_tcp("127.0.0.1", server.port)
        assert made.is_stale
        with pytest.raises(httpcore.WriteError):
            await made.write(b"x")
        async with asyncio.timeout(5):
            while not server.peers:
                await asyncio.sleep(0)
            await server.peers[0].closed.wait()


# TLS


async def test_a_proxy_that_speaks_first_gets_no_handshake(connected, transport):
    """Nor does what never connected."""
    connected.data_received(b"hello")
    for made in (connected, Socket(tls_layers=1)):
        with pytest.raises(httpcore.ConnectError, match=r"^not ready for TLS$"):
            await made.start_tls(ssl.create_default_context())
    assert transport.sent == b""


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("end", "error", "text"),
    [
        (None, httpcore.ConnectTimeout, r"^no TLS handshake in time$"),
        ("close", httpcore.ConnectError, r"^connection lost in the TLS handshake$"),
        ("talk", httpcore.ConnectError, "SSL"),
    ],
)
async def test_a_handshake_that_fails_says_why(end, error, text):
    """Silence has the time for connecting; the end of the connection and nonsense have none."""

    async def accept(peer):
        if end == "talk":
            await peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        if end != "close":
            await peer.gone()

    async with RawServer(accept=accept) as server:
        made = Socket(tls_layers=1)
        await made.connect_tcp("127.0.0.1", server.port, timeout=0.05 if end is None else 5)
        try:
            with pytest.raises(error, match=text):
                await made.start_tls(ssl.create_default_context(), server_hostname="localhost")
        finally:
            made.abort()


async def test_each_handshake_is_one_layer(monkeypatch, transport):
    """Two for a proxy that is spoken to over TLS; a loop that gives no transport lost the connection."""
    attempt, context, given = Attempt(), object(), []

    async def start_tls(below, protocol, context, *, server_hostname):
        given.append((below, protocol, context, server_hostname))
        return below if len(given) < 3 else None

    monkeypatch.setattr(asyncio.get_running_loop(), "start_tls", start_tls)
    made = Socket(tls_layers=2)
    made.connection_made(transport)
    made.begin(attempt, "GET", 100)
    for sent in ("no", "maybe"):
        assert await made.start_tls(context, server_hostname="platform.test") is made
        await made.write(b"x")
        assert attempt.request_sent == sent
    with pytest.raises(httpcore.ConnectError, match=r"^connection lost in the TLS handshake$"):
        await made.start_tls(context)
    assert given == [(transport, made, context, "platform.test")] * 2 + [(transport, made, context, None)]
