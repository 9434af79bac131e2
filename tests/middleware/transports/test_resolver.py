"""Look-ups of names: shared, kept for a while, and in threads of their own."""

import asyncio
import socket
import threading
from types import SimpleNamespace

import pytest
from layer_support import FakeClock

from middleware.transports import resolver as resolver_module
from middleware.transports.resolver import Resolver


class Names:
    """What the C library says: addresses by name, an error, or an event to wait for before the addresses."""

    def __init__(self, monkeypatch, **addresses):
        self.asked, self.addresses = [], addresses
        monkeypatch.setattr(socket, "getaddrinfo", self.getaddrinfo)

    def getaddrinfo(self, host, port, *, type):  # noqa: A002 - the library's name
        self.asked.append(host)
        assert port is None
        assert type == socket.SOCK_STREAM
        found = self.addresses[host]
        if isinstance(found, threading.Event):
            assert found.wait(5)
            found = "10.0.0.9"
        if isinstance(found, Exception):
            raise found
        if ":" in found:
            return [(socket.AF_INET6, type, 6, "", (found, 0, 0, 3))]
        return [(socket.AF_INET, type, 6, "", (found, 0))]


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def resolver(clock):
    return Resolver(5.0, clock.now)


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
async def test_an_address_is_not_looked_up(resolver, monkeypatch, host, family):
    """And so needs no thread."""
    names = Names(monkeypatch)
    assert await resolver.resolve(host, 80) == [(family, (host, 80))]
    assert names.asked == []


async def test_the_port_is_the_callers(resolver, monkeypatch):
    """Of both families; services on other ports of a host share its look-up."""
    names = Names(monkeypatch, four="10.0.0.1", six="fe80::1")
    for port in (80, 443):
        assert await resolver.resolve("four", port) == [(socket.AF_INET, ("10.0.0.1", port))]
        assert await resolver.resolve("six", port) == [(socket.AF_INET6, ("fe80::1", port, 0, 3))]
    assert names.asked == ["four", "six"]


@pytest.mark.parametrize(
    ("keep_s", "later", "looked_up"), [(5.0, 4.9, 1), (5.0, 5.1, 2), (0.0, 0.0, 2), (60.0, 59.0, 1)]
)
async def test_an_answer_is_kept_for_the_configured_time(monkeypatch, clock, keep_s, later, looked_up):
    """And no longer: the name may lead elsewhere then."""
    names, resolver = Names(monkeypatch, name="10.0.0.1"), Resolver(keep_s, clock.now)
    await resolver.resolve("name", 80)
    names.addresses["name"] = "10.0.0.2"
    clock.time += later
    found = await resolver.resolve("name", 80)
    assert len(names.asked) == looked_up
    assert found[0][1][0] == f"10.0.0.{looked_up}"


async def test_a_failure_is_not_kept(resolver, monkeypatch):
    """The next connection asks anew."""
    names = Names(monkeypatch, name=socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))
    with pytest.raises(socket.gaierror, match="Temporary failure"):
        await resolver.resolve("name", 80)
    names.addresses["name"] = "10.0.0.1"
    assert (await resolver.resolve("name", 80))[0][1][0] == "10.0.0.1"


async def test_an_answer_that_comes_after_all_have_given_up_serves_the_next(monkeypatch, clock):
    """A name server that takes longer than a connection may take is no outage."""
    slow, resolver = threading.Event(), Resolver(5.0, clock.now)
    names = Names(monkeypatch, slow=slow)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await resolver.resolve("slow", 80)
    slow.set()
    while resolver._look_ups._waiting:
        await asyncio.sleep(0.001)
    assert (await resolver.resolve("slow", 80))[0][1][0] == "10.0.0.9"
    assert names.asked == ["slow"]


async def test_the_time_of_the_look_up_does_not_shorten_how_long_its_answer_is_kept(monkeypatch, clock):
    """It is kept from when it came."""
    names, resolver, ticks = Names(monkeypatch, name="10.0.0.1"), Resolver(5.0, clock.now), iter([100.0, 107.0])
    monkeypatch.setattr(resolver_module, "_MACHINE", SimpleNamespace(now=lambda: next(ticks)))
    await resolver.resolve("name", 80)
    for clock.time, looked_up in [(11.9, 1), (12.0, 2)]:
        ticks = iter([100.0, 100.0])
        await resolver.resolve("name", 80)
        assert len(names.asked) == looked_up


async def test_a_name_that_cannot_be_one_is_an_error(resolver):
    """Not one of ours."""
    with pytest.raises(UnicodeError):
        await resolver.resolve("x" * 64 + ".test", 80)
