"""What surrounds a transport: names, certificates, forks, and the means of this process. One suite for all transports."""

import asyncio
import errno
import gc
import json
import logging
import os
import resource
import signal
import socket
import ssl
import sys
import threading
import time
import weakref
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

import httpx
import pytest
import trustme
import uvloop
from layer_support import FakeClock
from raw_server import RawServer, ok
from thread_server import ThreadServer

from middleware import CircuitOpenError, OutOfResourcesError, RequestNotSentError, ResponseLostError
from middleware.clock import SystemClock
from middleware.transports import transport_settings
from runtime.connectors.base import PlatformHttpClient
from runtime.connectors.loader import load_connectors
from runtime.settings import ResolvedSettings

pytestmark = pytest.mark.sockets

# A new one joins by its line there. h11 is another parser of the same class: test_framing_contract.py runs it.
LIBRARIES = [one for one in transport_settings.LIBRARIES if one != "h11"]
PASSED_IN = "httpx"
ONE_ATTEMPT = {"retry": {"max_attempts": 1}}


@pytest.fixture(params=LIBRARIES)
def library(request):
    return request.param


@pytest.fixture(params=[*LIBRARIES, PASSED_IN])
def any_library(request):
    """Also httpx's own transport, as a caller passes it in."""
    return request.param


def make_client(library, url, *, clock=None, inner=None, wire=None, **sections):
    own = {} if inner else {"library": library}
    policies = ResolvedSettings({**ONE_ATTEMPT, "transport": {**own, **(wire or {})}, **sections})
    return PlatformHttpClient(url, policies=policies, transport=inner, clock=clock or SystemClock())


@asynccontextmanager
async def a_client(library, url, **options):
    """A client over the transport under test."""
    inner = httpx.AsyncHTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) if library == PASSED_IN else None
    async with make_client(library, url, inner=inner, **options) as client:
        yield client
    if inner is not None:
        await inner.aclose()


# Names


class Names:
    """What names lead to; those that hang do so until the test ends. Counts the look-ups."""

    def __init__(self, monkeypatch):
        self.addresses, self.hanging, self.asked, self.release = {}, set(), [], threading.Event()
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._getaddrinfo)

    def _getaddrinfo(self, host, port, *args, **options):
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append(name)
        if name in self.hanging:
            assert self.release.wait(10)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self._real(self.addresses.get(name, host), port, *args, **options)


@pytest.fixture
def names(monkeypatch):
    made = Names(monkeypatch)
    yield made
    made.release.set()


def at(server, host):
    return f"http://{host}:{server.port}"


@pytest.mark.parametrize("kind", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_name_that_hangs_stops_neither_other_names_nor_the_hosts_threads(library, names, kind):
    """R4: however many calls wait for it: one look-up, shared by all of them."""
    names.hanging, names.addresses = {"dead.test"}, {"live.test": "127.0.0.1"}

    async def scenario():
        async with RawServer() as server, a_client(library, at(server, "dead.test")) as dead:
            waiting = [asyncio.create_task(dead.get("/x", path_params={})) for _ in range(40)]
            while "dead.test" not in names.asked:
                await asyncio.sleep(0.001)
            async with a_client(library, at(server, "live.test")) as live:
                assert await live.get("/x", path_params={}) == {}
            assert await asyncio.to_thread(lambda: "ran") == "ran"
            assert await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)
            assert not [call for call in waiting if call.done()]
            assert names.asked.count("dead.test") == 1
            names.release.set()
            failed = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(error) for error in failed} <= {RequestNotSentError, CircuitOpenError}

    with asyncio.Runner(loop_factory=kind) as runner:
        runner.run(asyncio.wait_for(scenario(), 8))


async def test_a_call_ends_in_time_though_its_name_hangs(library, names):
    """By the time for connecting, and it was not sent; so does the next one, which waits for the same look-up."""
    names.hanging = {"dead.test"}
    async with a_client(library, "http://dead.test:80", wire={"connect_timeout_s": 0.05}) as client:
        for _ in range(2):
            with pytest.raises(RequestNotSentError) as caught:
                await client.post("/x", json_body={})
            assert caught.value.request_sent == "no"
    assert names.asked == ["dead.test"]


async def test_addresses_are_kept_and_failures_are_not(library, names):
    """R4: for `dns_cache_s`, whatever the number of connections."""
    clock = FakeClock(SystemClock())
    names.addresses = {"name.test": "no-such-name.invalid"}

    async def serve(peer, _seen):
        await peer.write(ok(b"{}", b"connection: close"))
        return False

    async with (
        RawServer(serve=serve) as server,
        a_client(library, at(server, "name.test"), clock=clock, wire={"dns_cache_s": 60.0}) as client,
    ):
        with pytest.raises(RequestNotSentError):
            await client.get("/x", path_params={})
        names.addresses = {"name.test": "127.0.0.1"}
        names.asked.clear()
        for later, looked_up in [(0, 1), (0, 1), (50, 1), (11, 2), (0, 2)]:
            clock.time += later
            await client.get("/x", path_params={})
            assert names.asked.count("name.test") == looked_up
        assert len(server.peers) == 5


# The life of a connection


async def test_a_client_in_steady_use_follows_a_name_that_moved(library, names):
    """R5: within the longest life of a connection: the old server still responds on those that are open."""
    clock = FakeClock(SystemClock())
    names.addresses = {"name.test": "127.0.0.1"}
    async with RawServer() as old:
        new = RawServer()
        new._server = await asyncio.start_server(new._connected, "127.0.0.2", old.port)
        async with new._server, a_client(library, at(old, "name.test"), clock=clock) as client:
            await client.get("/x", path_params={})
            names.addresses = {"name.test": "127.0.0.2"}
            for _ in range(59):
                clock.time += 4.0
                await client.get("/x", path_params={})
            assert len(old.peers) == 1
            assert len(new.peers) == 0
            for _ in range(16):
                clock.time += 4.0
                await client.get("/x", path_params={})
            assert len(old.peers) == 1
            assert len(new.peers) == 1
            assert len(old.requests) + len(new.requests) == 76
        await new.__aexit__()


@pytest.mark.parametrize(("lifetime_s", "connections"), [(0.0, 1), (2.0, 10)])
async def test_the_longest_life_is_a_setting(library, lifetime_s, connections):
    """R5: 0 keeps a connection for as long as it is used."""
    clock = FakeClock(SystemClock())
    wire = {"connection_lifetime_s": lifetime_s}
    async with RawServer() as server, a_client(library, server.url, clock=clock, wire=wire) as client:
        for _ in range(10):
            clock.time += 3.0
            await client.get("/x", path_params={})
        assert len(server.peers) == connections


async def test_connections_that_were_opened_together_do_not_end_together(library):
    """Else all of them would be opened anew in the same moment."""
    clock, together = FakeClock(SystemClock()), asyncio.Barrier(8)

    async def serve(peer, _seen):
        await together.wait()
        await peer.write(ok())
        return True

    wire = {"keepalive_expiry_s": 600.0}
    async with RawServer(serve=serve) as server, a_client(library, server.url, clock=clock, wire=wire) as client:

        async def opened_after(later):
            before, clock.time = len(server.peers), clock.time + later
            await asyncio.gather(*(client.get("/x", path_params={}) for _ in range(8)))
            return len(server.peers) - before

        opened = [await opened_after(0.0), await opened_after(239.0)]
        opened += [await opened_after(4.0) for _ in range(16)]
    assert opened[:2] == [8, 0]
    assert sum(opened[2:]) == 8
    assert max(opened[2:]) < 8


# Certificates


class Authority:
    """Files of an authority and of a client's certificate, which can be renewed, and a server that asks for one."""

    def __init__(self, folder):
        self.folder, self._authority, self.shown = folder, trustme.CA(), []
        self.renew_authority(self._authority)
        self.server = self.new_server(self._authority)

    def new_server(self, authority, *, strict=True):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        if strict:
            authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def renew_authority(self, authority):
        self.replace("ca.pem", authority.cert_pem.bytes())

    def renew_client(self, name):
        mine = self._authority.issue_cert(name)
        self.replace("client.key", mine.private_key_pem.bytes())
        self.replace("client.crt", mine.cert_chain_pems[0].bytes())

    def replace(self, file, content):
        (self.folder / "new").write_bytes(content)
        (self.folder / "new").replace(self.folder / file)

    async def serve(self, peer, _seen):
        der = peer.writer.get_extra_info("peercert")
        self.shown.append(der["subjectAltName"][0][1] if der else None)
        await peer.write(ok(b"{}", b"connection: close"))
        return False

    @property
    def wire(self):
        names = {"ca_file": "ca.pem", "client_certificate_file": "client.crt", "client_key_file": "client.key"}
        return {setting: str(self.folder / file) for setting, file in names.items()}


@pytest.fixture
def files(tmp_path):
    made = Authority(tmp_path)
    made.renew_client("first.test")
    return made


async def test_a_renewed_certificate_is_shown_on_new_connections(library, files):
    """R5: without a restart; while files do not fit each other, the last good ones stay in use."""
    clock = FakeClock(SystemClock())
    async with (
        RawServer(serve=files.serve, tls=files.server) as server,
        a_client(library, server.url, clock=clock, wire=files.wire) as client,
    ):

        async def call(later=1.5):
            clock.time += later
            await client.get("/x", path_params={})

        await call()
        certificate = (files.folder / "client.crt").read_bytes()
        files.renew_client("second.test")
        await call()
        await call(0.1)
        files.replace("client.crt", certificate)  # of another key
        await call()
        files.replace("client.crt", b"-----BEGIN CERT")
        await call()
        (files.folder / "client.crt").unlink()
        await call()
        files.renew_client("third.test")
        await call()
    assert files.shown == ["first.test", *["second.test"] * 5, "third.test"]


async def test_why_a_renewed_file_is_not_used_is_logged_once(library, files, caplog):
    """R5: with the setting and the path."""
    caplog.set_level(logging.INFO, logger="mozaiks.connectors.tls")
    clock = FakeClock(SystemClock())
    async with (
        RawServer(serve=files.serve, tls=files.server) as server,
        a_client(library, server.url, clock=clock, wire=files.wire) as client,
    ):
        for step in (None, b"nonsense", None, None):
            if step is not None:
                files.replace("ca.pem", step)
            clock.time += 1.5
            await client.get("/x", path_params={})
        files.renew_client("second.test")
        files.renew_authority(files._authority)
        clock.time += 1.5
        await client.get("/x", path_params={})
    rejected, reloaded = caplog.records
    assert rejected.levelname == "WARNING"
    assert rejected.event == "tls.rejected"
    assert reloaded.levelname == "INFO"
    assert reloaded.event == "tls.reloaded"
    assert rejected.reason.startswith(f"TransportSettings.ca_file: cannot be used: {files.folder / 'ca.pem'}: ")


async def test_a_renewed_authority_is_trusted_and_the_old_one_no_longer(library, files):
    """New connections trust what is in the file now."""
    clock, other = FakeClock(SystemClock()), trustme.CA()
    wire = {"ca_file": files.wire["ca_file"]}
    old, new = (files.new_server(authority, strict=False) for authority in (files._authority, other))
    async with RawServer(serve=files.serve, tls=old) as first, RawServer(serve=files.serve, tls=new) as second:
        for server, works in [(first, True), (second, False)]:
            async with a_client(library, server.url, clock=clock, wire=wire) as client:
                await call_works(client, works)
        async with (
            a_client(library, first.url, clock=clock, wire=wire) as to_first,
            a_client(library, second.url, clock=clock, wire=wire) as to_second,
        ):
            await call_works(to_first, works=True)
            files.renew_authority(other)
            clock.time += 1.5
            await call_works(to_first, works=False)
            await call_works(to_second, works=True)


async def call_works(client, works):
    if works:
        assert await client.get("/x", path_params={}) == {}
    else:
        with pytest.raises(RequestNotSentError, match=r"(?i)certificate"):
            await client.get("/x", path_params={})


# Forks


class Threaded:
    """A server in threads, so that it serves while this process forks; responds to /slow after a second."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.seen = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                peer, address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer, address[1]), daemon=True).start()

    def _serve(self, peer, port):
        with peer, peer.makefile("rb") as requests:
            while line := requests.readline():
                target = line.split(b" ")[1].decode()
                while requests.readline().strip():
                    pass
                self.seen.append((target, port))
                time.sleep(1.0 if target == "/slow" else 0)
                status = b"503 Unavailable" if target == "/down" else b"200 OK"
                try:
                    peer.sendall(ok(json.dumps({"for": target, "port": port}).encode(), status=status))
                except OSError:
                    return

    def close(self):
        self._listener.close()


@pytest.fixture
def threaded():
    made = Threaded()
    yield made
    made.close()


def in_child(report):
    """What the coroutine function *report* returns in a child made by fork, on an event loop of the child."""
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        signal.alarm(10)  # ends a child that waits for a lock
        try:
            found = asyncio.new_event_loop().run_until_complete(asyncio.wait_for(report(), 5))
        except BaseException as error:
            found = f"{type(error).__name__}: {error}"
        os.write(write, json.dumps(found).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as opened:
        found = opened.read()
    os.waitpid(pid, 0)
    return json.loads(found)


@contextmanager
def calls_in_flight(client, targets):
    """Calls that wait for their responses on an event loop in another thread; they must all succeed."""
    loop, ready, results = asyncio.new_event_loop(), threading.Event(), []

    async def run():
        await asyncio.gather(*(client.get("/warm", path_params={}) for _ in range(3)))
        tasks = [asyncio.create_task(client.get(target, path_params={})) for target in targets]
        await asyncio.sleep(0.2)
        ready.set()
        results.extend(await asyncio.gather(*tasks, return_exceptions=True))
        await client.aclose()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert ready.wait(5)
    yield
    thread.join()
    loop.close()
    assert [result["for"] for result in results] == list(targets)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("sections", [{}, {"calls": {"max_in_flight": 5}, "bulkhead": {"permits": 5, "queue": 0}}])
def test_a_child_made_by_fork_begins_anew_though_calls_were_in_flight(library, threaded, sections):
    """R3: nothing of the parent's is used or counted there, and the parent's calls end as they would have."""
    client = make_client(library, threaded.url, **sections)

    async def report():
        before = client._stack.state()
        results = await asyncio.gather(*(client.get("/child", path_params={}) for _ in range(5)))
        after = client._stack.state()
        return [
            [before.calls_in_flight, before.attempts_in_flight, after.calls_in_flight, after.attempts_in_flight],
            [result["port"] for result in results],
        ]

    with calls_in_flight(client, ["/slow"] * 5):
        parents = {port for _, port in threaded.seen}
        counts, ports = in_child(report)
    assert counts == [0, 0, 0, 0]
    assert len(set(ports)) == 5
    assert not parents & set(ports)


LOCKS = type(threading.Lock()), type(threading.RLock())


def locks_of_ours():
    """Those in the attributes of our objects and modules."""
    objects = [one for one in gc.get_objects() if str(type(one).__module__).split(".")[0] in {"middleware", "runtime"}]
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] in {"middleware", "runtime"}]
    owners = [vars(one) for one in (*objects, *modules) if hasattr(one, "__dict__")]
    return {id(value): value for owner in owners for value in owner.values() if isinstance(value, LOCKS)}.values()


@contextmanager
def acquired_by_another_thread(locks):
    done, ready, taken = threading.Event(), threading.Event(), []

    def run():
        taken.extend(lock for lock in locks if lock.acquire(blocking=False))
        ready.set()
        done.wait(10)
        for lock in taken:
            lock.release()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(5)
    yield taken
    done.set()
    thread.join()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_shares_no_lock_with_a_thread_that_it_does_not_have(library, threaded, tmp_path, no_settings):
    """R3: whatever a thread of the parent was doing: here it has acquired each lock that we have."""
    file = tmp_path / "settings.toml"
    file.write_text(f"[transport]\nlibrary = '{library}'\n")
    no_settings.setenv("MOZAIKS_MANAGED", "true")
    no_settings.setenv("MOZAIKS_GATEWAY_BASE_URL", threaded.url)
    no_settings.setenv("MOZAIKS_CONNECTORS_FILE", str(file))
    bundle = load_connectors()

    async def report():
        (tmp_path / "new").write_text(f"[transport]\nlibrary = '{library}'\n[retry]\nmax_attempts = 2\n")
        (tmp_path / "new").replace(file)
        no_settings.setenv("MOZAIKS_CONNECTORS_RETRY_BASE_DELAY_S", "1")
        other = load_connectors()
        results = [await one.service._http.get("/child", path_params={}) for one in (bundle, other)]
        reloaded = bundle.service._http.policy().retry.max_attempts
        return [[result["for"] for result in results], reloaded, other is bundle]

    with acquired_by_another_thread(locks_of_ours()) as taken:
        assert len(taken) > 20
        assert in_child(report) == [["/child", "/child"], 2, False]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_look_up_that_ran_at_the_fork_is_begun_anew_in_the_child(library, threaded, names):
    """The thread that would have ended it is the parent's."""
    names.hanging = {"name.test"}
    port = threaded.url.rpartition(":")[2]
    client = make_client(library, f"http://name.test:{port}")

    async def report():
        names.hanging, names.addresses = set(), {"name.test": "127.0.0.1"}
        return (await client.get("/child", path_params={}))["for"]

    async def parent():
        call = asyncio.create_task(client.get("/parent", path_params={}))
        while not names.asked:
            await asyncio.sleep(0.001)
        found = await asyncio.to_thread(in_child, report)
        names.release.set()
        with pytest.raises(RequestNotSentError):
            await call
        await client.aclose()
        return found

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        assert runner.run(parent()) == "/child"


def test_children_of_one_parent_do_not_wait_in_step(library, threaded):
    """R15: the jitter of the retries, R33: of the open time, and the spans' and calls' ids differ in each child."""
    slept = []

    class Recording(SystemClock):
        async def sleep(self, delay_s):
            slept.append(delay_s)

    client = PlatformHttpClient(
        threaded.url, policies=ResolvedSettings({"transport": {"library": library}}), clock=Recording()
    )

    async def report():
        try:
            await client.get("/down", path_params={})
        except Exception as error:
            return [slept, error.correlation_id]

    children = [in_child(report) for _ in range(8)]
    assert len({tuple(waits) for waits, _ in children}) == 8
    assert len({correlation_id for _, correlation_id in children}) == 8


# This process


@contextmanager
def no_descriptors_left():
    """Lower the limit, and use up what is left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 3, hard))
    try:
        while True:
            try:
                taken.append(os.dup(0))
            except OSError:
                break
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_process_without_descriptors_does_not_blame_the_service(any_library, host):
    """R6: the call is rejected by us, nothing was sent, and the circuit stays closed."""
    async with RawServer() as server, a_client(any_library, at(server, host), wire={"dns_cache_s": 0.0}) as client:
        with no_descriptors_left():
            for _ in range(12):
                with pytest.raises(OutOfResourcesError, match="Too many open files") as caught:
                    await client.post("/x", json_body={})
                assert caught.value.request_sent == "no"
                assert caught.value.attempts == 1
        assert client._stack.state().breakers == {"platform": "closed"}
        assert server.requests == []
        assert await client.get("/x", path_params={}) == {}


async def test_the_public_authorities_need_a_descriptor_too(library):
    """They are loaded when the first connection needs them."""
    async with RawServer() as server, a_client(library, server.url.replace("http:", "https:")) as client:
        with no_descriptors_left():
            for _ in range(2):
                with pytest.raises(OutOfResourcesError, match="Too many open files"):
                    await client.get("/x", path_params={})
        with pytest.raises(RequestNotSentError) as caught:
            await client.get("/x", path_params={})
        assert not isinstance(caught.value, OutOfResourcesError)


async def test_a_process_without_threads_does_not_blame_the_service(library, monkeypatch):
    """R6: a look-up needs one."""

    def start(_thread):
        raise RuntimeError("can't start new thread")

    async with RawServer() as server, a_client(library, at(server, "localhost")) as client:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            for _ in range(12):
                with pytest.raises(OutOfResourcesError, match="can't start new thread"):
                    await client.get("/x", path_params={})
        assert client._stack.state().breakers == {"platform": "closed"}
        assert await client.get("/x", path_params={}) == {}


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOBUFS, "No buffer space available")], ids=repr)
async def test_a_process_without_memory_does_not_blame_the_service(any_library, monkeypatch, error):
    """R6, R31: before the request was sent it is a rejection of ours; later it may have been applied, and says so."""

    def fail(*_args, **_options):
        raise error

    async with RawServer() as server, a_client(any_library, server.url) as client:
        with monkeypatch.context() as patched:
            patched.setattr(socket, "socket", fail)
            for _ in range(12):
                with pytest.raises(OutOfResourcesError):
                    await client.post("/x", json_body={})
        with monkeypatch.context() as patched:
            patched.setattr("middleware.transports.response_reader.read_body", fail)
            for _ in range(12):
                with pytest.raises(ResponseLostError) as caught:
                    await client.post("/x", json_body={})
                assert (caught.value.request_sent, caught.value.is_retry_safe) == ("yes", False)
        assert client._stack.state().breakers == {"platform": "closed"}
        assert await client.get("/x", path_params={}) == {}


# Event loops that are closed, and contexts


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_is_closed_with_calls_pending_gives_their_slots_back(library, threaded):
    """R3: a job that stops its loop in the middle of calls takes nothing from the next one."""
    client = make_client(library, threaded.url, calls={"max_in_flight": 3}, bulkhead={"permits": 3, "queue": 0})
    abandoned = []

    async def begin():
        tasks = [asyncio.create_task(client.get("/slow", path_params={})) for _ in range(3)]
        for task in tasks:
            task._log_destroy_pending = False
        abandoned.extend(tasks)
        await asyncio.sleep(0.05)
        return client._stack.state()

    for _ in range(3):
        loop = asyncio.new_event_loop()
        state = loop.run_until_complete(begin())
        assert state.calls_in_flight == 3
        assert state.attempts_in_flight == 3
        loop.close()
        state = client._stack.state()
        assert state.calls_in_flight == 0
        assert state.attempts_in_flight == 0
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(client.get("/after", path_params={}))["for"] == "/after"
    loop.run_until_complete(client.aclose())
    loop.close()
    abandoned.clear()
    gc.collect()  # the garbage contains sockets


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("library", ["httptools", "h11", "aiohttp"])  # httpcore's own clean-up asks for a running loop
@pytest.mark.parametrize("closing", [False, True], ids=["open", "closing"])
def test_a_call_is_collected_in_silence_after_its_loop_was_closed(library, monkeypatch, caplog, closing):
    """R3: neither a loop nor the context of the call is there then; asyncio's own line on the task stays."""
    said = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: said.append(found.exc_value))

    async def begin():
        tasks = [asyncio.create_task(client.get("/slow", path_params={})) for _ in range(20)]
        for task in tasks:
            task._log_destroy_pending = False
        while len(server.requests) < 20:
            await asyncio.sleep(0.01)
        if closing:
            client._transport.request_close()
            await asyncio.sleep(0.02)  # the loop lives to see it

    with ThreadServer(b"", 1) as server:
        client, loop = make_client(library, server.url), asyncio.new_event_loop()
        loop.run_until_complete(begin())
        loop.close()
        del loop
        gc.collect()
    assert said == []
    assert caplog.records == []


user = ContextVar("user")


class Session:
    """What a request keeps in its context."""


@pytest.mark.parametrize("kind", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("size", [2, 1_000_000], ids=["small", "large"])
def test_nothing_keeps_the_context_of_a_call_that_has_ended(library, files, kind, size):
    """Neither the connection that it opened, resumed or released, nor its timers, nor the connection's last attempt."""
    files.renew_client("first.test")

    async def serve(peer, seen):
        await peer.write(ok(b"[" + b" " * size + b"]", status=b"500 Broken" if seen.target == "/broken" else b"200 OK"))
        return True

    async def scenario(tls, wire):
        other = asyncio.get_running_loop().call_later(3600, print)  # as a host has them
        watched = {"deadline": {"total_s": 9.0}}  # shorter than the attempt timeout: R38
        async with (
            RawServer(serve=serve, tls=tls) as server,
            a_client(library, server.url, wire=wire, **watched) as client,
        ):

            async def request(target):
                session = Session()
                user.set(session)
                try:
                    await client.get(target, path_params={}, decode=lambda document: (document, session))
                except Exception:
                    assert target == "/broken"
                return weakref.ref(session)

            for targets in (["/one"] * 5, ["/broken"] * 3):
                sessions = [await asyncio.create_task(request(target)) for target in targets]
                sessions += await asyncio.gather(*(asyncio.create_task(request(target)) for target in targets))
                await asyncio.sleep(0.01)
                gc.collect()
                assert sum(session() is not None for session in sessions) == 0
        other.cancel()

    for tls, wire in [(None, {}), (files.server, files.wire)]:
        with asyncio.Runner(loop_factory=kind) as runner:
            runner.run(scenario(tls, wire))
