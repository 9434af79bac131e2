"""Slots and penalties in a real Redis or Valkey: counted rightly, bounded in time, and of one event loop each."""

import asyncio
import multiprocessing
import os
import subprocess
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import trustme
from redis.asyncio.connection import SSLConnection

from middleware.errors import ConfigError
from middleware.policies.gcra import RatePerSecond
from middleware.policies.redis_limiter import RedisLimiter, _open
from middleware.policies.shared_limiter import NoSlotError, ServerIllError
from middleware.settings import SecretUrl
from runtime.cli.behind import free_port
from runtime.cli.replicas import QuotaServer, ServerUnavailableError

pytestmark = pytest.mark.sockets

RATE = RatePerSecond(20, 2)
FAST = RatePerSecond(10_000, 1000)
SLOW = RatePerSecond(0.1, 100)  # its key does not expire meanwhile


@pytest.fixture(scope="module")
def running():
    with QuotaServer() as made:
        yield made


@pytest.fixture
def server(running):
    """The module's server, empty and well."""
    running.start()
    asyncio.run(_command(running, "FLUSHALL"))
    yield running
    running.resume()


async def _command(server, *words):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(" ".join(words).encode() + b"\r\n")
    line = await reader.readline()
    if line.startswith((b"*", b"$")) and line != b"*0\r\n":
        line += await reader.read(65_536)
    writer.close()
    await writer.wait_closed()
    return line.decode()


async def patiently(limiter, act):
    """Do *act*; on a machine that is busy a command may take longer than its limit, so more than once."""
    for _ in range(20):
        try:
            return await act()
        except ServerIllError:
            await asyncio.sleep(0.05)
    raise AssertionError("the server is well, and the limiter does not find out")


async def ill(limiter, act):
    with pytest.raises(ServerIllError) as caught:
        await act()
    return str(caught.value)


async def test_slots_are_counted_in_the_server(server):
    """R70: two limiters, as two processes have, get one sequence; one that does not fit is not reserved."""
    one, other = (RedisLimiter(SecretUrl(server.url)) for _ in range(2))
    for limiter in (one, other):
        await patiently(limiter, lambda limiter=limiter: limiter.check("k"))
    slow = RatePerSecond(0.5, 2)
    for limiter in (one, other):
        await limiter.acquire("k", slow, 0)
    for limiter in (one, other):
        with pytest.raises(NoSlotError) as caught:
            await limiter.acquire("k", slow, 0.5)
        assert 1 < caught.value.retry_after_s <= 2
    await one.acquire("another key", slow, 0)
    await one.aclose()
    await other.aclose()


async def test_a_slot_is_waited_for_and_no_longer_than_its_time_when_cancelled(server):
    """R74: what a cancelled wait has reserved is over when its slot is."""
    limiter = RedisLimiter(SecretUrl(server.url))
    await patiently(limiter, lambda: limiter.check("k"))
    for _ in range(2):
        await limiter.acquire("k", RATE, 1)
    waiting = [asyncio.ensure_future(limiter.acquire("k", RATE, 1)) for _ in range(4)]
    await asyncio.sleep(0.03)
    for one in waiting:
        one.cancel()
    await asyncio.wait(waiting)
    assert limiter.waiting() == 0
    await asyncio.sleep(0.35)  # four slots of 0.05 s, and the burst of two
    await limiter.acquire("k", RATE, 0)
    await limiter.acquire("k", RATE, 0)
    await limiter.aclose()


async def test_the_later_end_of_two_penalties_stays(server):
    """R72: of whichever process it is."""
    limiter = RedisLimiter(SecretUrl(server.url))
    await patiently(limiter, lambda: limiter.check("k"))
    assert await limiter.penalty_s("k") == 0
    for seconds, least, most in ((3, 2, 3), (1, 2, 3), (9, 8, 9)):
        await patiently(limiter, lambda seconds=seconds: limiter.penalize("k", seconds))
        assert least < await patiently(limiter, lambda: limiter.penalty_s("k")) <= most
    assert await limiter.penalty_s("another key") == 0
    await limiter.aclose()


async def test_a_server_that_is_older_than_redis_7_is_looked_at_first(server, monkeypatch):
    """R72: it has no `PEXPIRE … GT`."""
    from redis.exceptions import ResponseError

    limiter = RedisLimiter(SecretUrl(server.url))
    await patiently(limiter, lambda: limiter.check("k"))
    client = limiter._loops.get().client
    pexpire = client.pexpire

    async def older(name, milliseconds, **options):
        if options:
            raise ResponseError("wrong number of arguments for 'pexpire' command")
        return await pexpire(name, milliseconds)

    monkeypatch.setattr(client, "pexpire", older)
    for seconds, least in ((3, 2), (1, 2), (9, 8)):
        await patiently(limiter, lambda seconds=seconds: limiter.penalize("k", seconds))
        assert await patiently(limiter, lambda: limiter.penalty_s("k")) > least
    await limiter.aclose()


async def test_a_stopped_server_is_ill_in_time_for_all_that_ask(server):
    """R73: those behind the first ones do not wait for a limit of their own; afterwards it is well."""
    limiter = RedisLimiter(SecretUrl(server.url))
    await patiently(limiter, lambda: limiter.check("k"))
    server.pause()
    started = time.monotonic()
    results = await asyncio.gather(*(limiter.acquire("k", FAST, 5) for _ in range(50)), return_exceptions=True)
    taken = time.monotonic() - started
    server.resume()
    assert {str(one) for one in results} == {"timeout"}
    assert taken < 50 * 0.1 / 4  # as long as it would be if each waited
    await patiently(limiter, lambda: limiter.check("k"))
    await limiter.aclose()


async def test_a_server_that_is_gone_comes_back_without_its_scripts(server):
    """R73: the limiter's script is loaded again."""
    limiter = RedisLimiter(SecretUrl(server.url))
    await patiently(limiter, lambda: limiter.acquire("k", FAST, 1))
    server.kill()
    assert await ill(limiter, lambda: limiter.acquire("k", FAST, 1)) in {"unreachable", "timeout"}
    server.start()
    await patiently(limiter, lambda: limiter.acquire("k", FAST, 1))
    for command in ("FLUSHALL", "SCRIPT FLUSH"):
        await _command(server, *command.split())
        await patiently(limiter, lambda: limiter.acquire("k", FAST, 1))
    await limiter.aclose()


@pytest.mark.parametrize(
    ("sick", "well", "reason"),
    [
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "read_only"),
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "out_of_memory"),
        ("CLIENT PAUSE 60000 WRITE", "CLIENT UNPAUSE", "timeout"),
        ("ACL SETUSER default -@scripting", "ACL SETUSER default +@all", "not_allowed"),
    ],
    ids=["read only", "out of memory", "paused", "not allowed"],
)
async def test_a_server_that_responds_and_cannot_be_used_is_ill(server, sick, well, reason):
    """R73: for the check too, which writes, so that it is not taken for well."""
    limiter = RedisLimiter(SecretUrl(server.url))
    await patiently(limiter, lambda: limiter.acquire("k", FAST, 1))
    await _command(server, *sick.split())
    try:
        assert await ill(limiter, lambda: limiter.acquire("k", FAST, 1)) in {reason, "timeout"}
        assert await ill(limiter, lambda: limiter.check("k")) in {reason, "timeout"}
    finally:
        await _command(server, *well.split())
    await patiently(limiter, lambda: limiter.check("k"))
    await limiter.aclose()


def test_three_event_loops_in_a_row_and_their_connections(server):
    """R74: each has its own, and closes them when it ends, without a warning; the slots are the same."""
    limiter, slow = RedisLimiter(SecretUrl(server.url)), RatePerSecond(0.2, 3)

    async def one():
        await patiently(limiter, lambda: limiter.check("k"))
        await limiter.acquire("k", slow, 0)
        return await _command(server, "CLIENT", "LIST")

    for _ in range(3):
        assert asyncio.run(one()).count("id=") <= 4
    with pytest.raises(NoSlotError):
        asyncio.run(one())


def _in_child(limiter, pipe):
    async def acquire():
        await patiently(limiter, lambda: limiter.check("k"))
        await limiter.acquire("k", RatePerSecond(0.2, 2), 0)

    try:
        asyncio.run(acquire())
        pipe.send("acquired")
    finally:
        os._exit(0)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_its_own_connections(server):
    """R74: both go on, and share the slots."""
    limiter, slow = RedisLimiter(SecretUrl(server.url)), RatePerSecond(0.2, 2)

    async def fork():
        await patiently(limiter, lambda: limiter.check("k"))
        await limiter.acquire("k", slow, 0)
        mine, its = multiprocessing.Pipe()
        pid = os.fork()
        if pid == 0:
            asyncio.events._set_running_loop(None)
            _in_child(limiter, its)
        its.close()
        assert await asyncio.to_thread(mine.recv) == "acquired"
        os.waitpid(pid, 0)
        with pytest.raises(NoSlotError):
            await limiter.acquire("k", slow, 0)
        await limiter.aclose()

    asyncio.run(fork())


async def test_it_is_closed_from_another_thread(server):
    """R74: each event loop closes its own connections."""
    limiter = RedisLimiter(SecretUrl(server.url))
    await patiently(limiter, lambda: limiter.check("k"))
    await asyncio.to_thread(limiter.request_close)
    async with asyncio.timeout(10):
        while (await _command(server, "CLIENT", "LIST")).count("id=") > 1:
            await asyncio.sleep(0.01)


async def test_the_server_sees_digests_that_expire(server):
    """R75, R70: no name of a service in a slot's key, and no key for ever."""
    limiter = RedisLimiter(SecretUrl(server.url))
    await patiently(limiter, lambda: limiter.acquire("identity:0123", RATE, 1))
    await patiently(limiter, lambda: limiter.penalize("identity:0123", 2))
    keys = (await _command(server, "KEYS", "*")).split("\r\n")[2::2]
    for key in filter(None, keys):
        assert key.startswith("mozaiks:quota:")
        assert int((await _command(server, "PTTL", key))[1:]) <= 2000
    await limiter.aclose()


async def test_a_password_is_used_and_not_shown():
    """R75: not by an error either."""
    with QuotaServer("--requirepass", "s3cret-of-redis") as server:
        url = server.url.replace("redis://", "redis://:s3cret-of-redis@")
        limiter = RedisLimiter(SecretUrl(url))
        await patiently(limiter, lambda: limiter.acquire("k", FAST, 1))
        await limiter.aclose()
        limiter = RedisLimiter(SecretUrl(server.url))
        assert await ill(limiter, lambda: limiter.check("k")) in {"not_allowed", "timeout"}
        await limiter.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:s3cret-of-redis@host:port/0",
        "redis://host/0?socket_timeout=s3cret-of-redis",
        "redis+sentinel://user:s3cret-of-redis@one,two",
        "redis+sentinel://one,/name",
        "redis+sentinel://one/name/s3cret-of-redis",
        "redis://host/0?ssl_ca_cert=s3cret-of-redis",
        "redis+sentinel://one/name?socket_timeout=s3cret-of-redis",
        "rediss+sentinel://one/name?ssl_cert_reqs=s3cret-of-redis",
    ],
)
def test_a_wrong_url_is_an_error_without_it(url):
    """R75: at the start of the program."""
    with pytest.raises(ConfigError) as caught:
        RedisLimiter(SecretUrl(url))
    assert str(caught.value).startswith("QuotaSettings.url: ")
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["rediss://host/2?", "rediss+sentinel://one,two/name/2?"])
def test_options_of_a_url_hold_for_the_servers_that_it_names(url):
    """R73: an authority's file too; but what bounds a command in time and number is ours."""
    client = _open(f"{url}ssl_ca_certs=ca.pem&client_name=core&max_connections=1&socket_timeout=30")
    given = client.connection_pool.connection_kwargs
    assert given["ssl_ca_certs"] == "ca.pem"
    assert given["client_name"] == "core"
    assert given["db"] == 2
    assert given["socket_timeout"] <= 1
    assert client.connection_pool.max_connections == 4
    assert isinstance(client.connection_pool.make_connection(), SSLConnection)


@contextmanager
def sentinel_of(primary, directory):
    """A sentinel that knows *primary* as `quota`, and its port."""
    port = free_port()
    config = directory / "sentinel.conf"
    lines = [f"port {port}", "bind 127.0.0.1", f"dir {directory}", f"sentinel monitor quota 127.0.0.1 {primary.port} 1"]
    config.write_text("\n".join(lines) + "\n")
    process = subprocess.Popen([primary.program, str(config), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


async def test_sentinels_name_the_primary_also_a_new_one(server, tmp_path):
    """R73: one of them may be away; after a failover the next connection is to the new primary."""
    with QuotaServer() as other, sentinel_of(server, tmp_path) as port:
        await _command(other, "REPLICAOF", "127.0.0.1", str(server.port))
        limiter = RedisLimiter(SecretUrl(f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{port}/quota/0"))
        await patiently(limiter, lambda: limiter.acquire("k", SLOW, 0))
        assert "mozaiks:quota" in await _command(server, "KEYS", "*")
        await _command(other, "REPLICAOF", "NO", "ONE")
        for words in (("REMOVE", "quota"), ("MONITOR", "quota", "127.0.0.1", str(other.port), "1")):
            await _command(SimpleNamespace(port=port), "SENTINEL", *words)
        await _command(other, "FLUSHALL")
        server.kill()
        await patiently(limiter, lambda: limiter.acquire("k", SLOW, 0))
        assert "mozaiks:quota" in await _command(other, "KEYS", "*")
        await limiter.aclose()


async def test_over_tls(tmp_path):
    """R73: `rediss://`, with the authority's file in the URL, as redis-py reads it."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    files = {name: str(tmp_path / f"{name}.pem") for name in ("ca", "certificate", "key")}
    authority.cert_pem.write_to_path(files["ca"])
    certificate.cert_chain_pems[0].write_to_path(files["certificate"])
    certificate.private_key_pem.write_to_path(files["key"])
    port = free_port()
    options = ["--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", files["ca"]]
    options += ["--tls-cert-file", files["certificate"], "--tls-key-file", files["key"]]
    try:
        with QuotaServer(*options):
            limiter = RedisLimiter(SecretUrl(f"rediss://localhost:{port}/0?ssl_ca_certs={files['ca']}"))
            await patiently(limiter, lambda: limiter.acquire("k", FAST, 1))
            await limiter.aclose()
    except ServerUnavailableError:
        pytest.skip("this server is built without TLS")
