"""A quota that processes share: what is waited for, what is shared, and what applies while the server is ill."""

import asyncio
import sys

import pytest
from layer_support import LowerBound

from middleware import CallError, ConfigError, RateLimitExceededError, Telemetry
from middleware.events import AttemptRejected, QuotaAcquired, QuotaSourceChanged
from middleware.policies.gcra import RateLimiter, RatePerSecond
from middleware.policies.penalty import Penalty
from middleware.policies.quota import QuotaSettings, limiter_of
from middleware.policies.shared_limiter import NoSlotError, ServerIllError
from runtime.connectors.base import PlatformHttpClient
from runtime.settings import ResolvedSettings
from runtime.testing import LoopClock, Reply, ScriptedUpstream, UpperBound, virtual_time

QUOTA = {"per_second": 10, "burst": 2, "replicas": 2, "url": "redis://nowhere"}
NO_RETRY = {"retry": {"max_attempts": 1, "not_sent_max_attempts": 1}}


class Server:
    """A server that several clients share, in virtual time; with `ill` every command fails, after `takes_s`."""

    def __init__(self):
        self.ill, self.takes_s = "", 0.0
        self.limiters, self.penalties = {}, {}
        self.commands, self.closed = [], 0
        self.waiters = 0

    async def _command(self, name, key):
        self.commands.append((name, key))
        if self.takes_s:
            await asyncio.sleep(self.takes_s)
        if self.ill:
            raise ServerIllError(self.ill)

    async def acquire(self, key, rate, max_wait_s):
        await self._command("acquire", key)
        limiter, now = self.limiters.setdefault(key, RateLimiter()), asyncio.get_running_loop().time()
        slot = limiter.reserve(now, now + max_wait_s, rate)
        if slot is None:
            raise NoSlotError(limiter.wait_s(now, rate))
        self.waiters += 1
        try:
            await asyncio.sleep(slot.wait_s)
        finally:
            self.waiters -= 1

    def waiting(self):
        return self.waiters

    async def check(self, key):
        await self._command("check", key)

    async def penalty_s(self, key):
        await self._command("penalty_s", key)
        return max(0.0, self.penalties.get(key, 0.0) - asyncio.get_running_loop().time())

    async def penalize(self, key, seconds):
        await self._command("penalize", key)
        self.penalties[key] = max(self.penalties.get(key, 0.0), asyncio.get_running_loop().time() + seconds)

    async def aclose(self):
        self.closed += 1

    def request_close(self):
        self.closed += 1

    def count(self, name):
        return sum(one == name for one, _ in self.commands)


@pytest.fixture
def server(monkeypatch):
    made = Server()
    monkeypatch.setattr("middleware.stack.limiter_of", lambda config: made if config.url else None)
    return made


def clients(upstream, count=1, *, events=None, random=None, **settings):
    """As many clients as there are processes; all of them have the same service and key."""
    quota = {**QUOTA, **settings.pop("quota", {})}
    telemetry = Telemetry(listener=None if events is None else events.append)
    return [
        upstream.client(quota=quota, random=random or LowerBound(), telemetry=telemetry, **settings)
        for _ in range(count)
    ]


def sent(upstream):
    return [round(request.at_s, 3) for request in upstream.requests]


async def outcomes(*calls):
    return await asyncio.gather(*calls, return_exceptions=True)


@virtual_time
async def test_processes_share_one_quota(server):
    """R70: whichever process a call is of, the slots are one sequence: the burst, then one each tenth of a second."""
    upstream = ScriptedUpstream([], then=200)
    one, other = clients(upstream, 2)
    await asyncio.gather(*(client.get("/x") for client in (one, other) * 3))
    assert sent(upstream) == [0, 0, 0.1, 0.2, 0.3, 0.4]


@virtual_time
async def test_an_admission_is_one_round_trip(server):
    """R70: and one look each quarter of a second, for all calls of the event loop."""
    upstream = ScriptedUpstream([], then=200)
    (client,) = clients(upstream, quota={"per_second": 1000, "burst": 100})
    for _ in range(3):
        await asyncio.gather(*(client.get("/x") for _ in range(10)))
    assert server.count("acquire") == 30
    assert server.count("penalty_s") == 1
    assert len(server.commands) == 31
    await asyncio.sleep(0.25)
    await client.get("/x")
    assert server.count("penalty_s") == 2


@virtual_time
async def test_what_is_a_process_own_needs_no_round_trip(server):
    """R70: of a burst of 8, two processes have 2 each for themselves, and half of the rate."""
    upstream = ScriptedUpstream([], then=200)
    quota = {"per_second": 8, "burst": 8, "local_burst": 2}
    one, other = clients(upstream, 2, quota=quota)
    await asyncio.gather(*(client.get("/x") for client in (one, other) for _ in range(2)))
    assert server.count("acquire") == 0
    await asyncio.gather(*(one.get("/x") for _ in range(5)))
    assert server.count("acquire") == 5
    assert sent(upstream)[-2:] == [0, 0.25]
    config = QuotaSettings(per_second=8, burst=8, local_burst=2, replicas=2)
    assert config.own == RatePerSecond(2, 2)
    assert config.common == RatePerSecond(4, 4)


@pytest.mark.parametrize("local_burst", [0, 3, 1000])
def test_the_parts_add_up_to_the_quota(local_burst):
    """R70: however large the part of each process is asked to be."""
    config = QuotaSettings(per_second=100, burst=20, replicas=4, local_burst=local_burst)
    own = config.own or RatePerSecond(0, 0)
    assert config.common.per_second + 4 * own.per_second == pytest.approx(100)
    assert config.common.burst + 4 * own.burst == 20
    assert config.common.burst >= 1


@virtual_time
async def test_a_wait_that_does_not_fit_is_rejected_at_once(server):
    """R71: with the time until the slot; nothing is sent, and no slot is used."""
    upstream, events = ScriptedUpstream([], then=200), []
    (client,) = clients(upstream, events=events, deadline={"total_s": 0.25}, **NO_RETRY)
    results = await outcomes(*(client.get("/x") for _ in range(6)))
    rejected = [one for one in results if isinstance(one, RateLimitExceededError)]
    assert sent(upstream) == [0, 0, 0.1, 0.2]
    assert len(rejected) == 2
    assert rejected[0].reason == "shared quota: its slot is after the deadline"
    assert [round(one.retry_after_s, 3) for one in rejected] == [0.3, 0.3]
    assert [event.guard for event in events if isinstance(event, AttemptRejected)] == ["quota"] * 2


@virtual_time
async def test_a_call_says_why_it_waited(server):
    """R70: the source, and the time; also of one that did not wait."""
    upstream, events = ScriptedUpstream([], then=200), []
    (client,) = clients(upstream, events=events, quota={"burst": 1})
    await asyncio.gather(client.get("/x"), client.get("/x"))
    found = [(event.source, round(event.waited_s, 3)) for event in events if isinstance(event, QuotaAcquired)]
    assert found == [("shared", 0), ("shared", 0.1)]


@virtual_time
async def test_services_and_keys_do_not_meet(server):
    """R75: three services of two keys are six quotas, and the server sees a digest of a key."""
    upstream = ScriptedUpstream([], then=200)
    made = [
        PlatformHttpClient(
            "http://platform",
            key,
            service=service,
            policies=ResolvedSettings({"quota": {**QUOTA, "burst": 1}}),
            transport=upstream,
            clock=LoopClock(),
        )
        for service in ("identity", "billing", "hosting")
        for key in ("moz_live_first_key", "moz_live_second_key")
    ]
    await asyncio.gather(*(client.get("/x") for client in made))
    keys = {key for _, key in server.commands}
    assert sent(upstream) == [0] * 6
    assert len(keys) == 6
    assert not any("moz_live" in key for key in keys)


# --- the penalty -----------------------------------------------------------------------------------------------------


@virtual_time
async def test_a_retry_after_of_one_process_holds_for_all(server):
    """R72: the other one, which was given none, waits too; it knows at its next look."""
    upstream, events = ScriptedUpstream([Reply(status=429, headers={"retry-after": "3"})], then=200), []
    one, other = clients(upstream, 2, events=events)
    await asyncio.gather(one.get("/x"), asyncio.sleep(0.5))
    first = sent(upstream)
    await other.get("/x")
    assert first == [0, 3.0]
    assert sent(upstream)[2] == 3.0


@virtual_time
async def test_others_wait_for_the_penalty_with_a_jitter(server):
    """R72: up to a tenth of what was left when they saw it, as a retry does; a call knows that it waited for that."""
    upstream, events = ScriptedUpstream([Reply(status=429, headers={"retry-after": "4"})], then=200), []
    one, other = clients(upstream, 2, events=events, random=UpperBound())
    first = asyncio.ensure_future(one.get("/x"))
    await asyncio.sleep(1)
    await other.get("/x")
    assert sent(upstream)[1] == pytest.approx(4.3, abs=0.01)
    waits = [round(event.penalty_s, 1) for event in events if isinstance(event, QuotaAcquired)]
    assert waits[:2] == [0, 3.3]
    await first


@virtual_time
async def test_a_penalty_beyond_the_deadline_rejects_at_once(server):
    """R71, R72: the rejection has the time that is left of it."""
    upstream = ScriptedUpstream([Reply(status=503, headers={"retry-after": "15"})], then=200)
    one, other = clients(upstream, 2, deadline={"total_s": 10}, **NO_RETRY)
    await outcomes(one.get("/x"))
    await asyncio.sleep(1)
    (rejected,) = await outcomes(other.get("/x"))
    assert type(rejected) is RateLimitExceededError
    assert rejected.retry_after_s == 14
    assert len(upstream.requests) == 1
    assert asyncio.get_running_loop().time() == 1


@virtual_time
async def test_a_penalty_is_bounded(server):
    """R72: by `retry_after_max_s`, also one that others share: its author may be none of ours."""
    upstream = ScriptedUpstream([Reply(status=429, headers={"retry-after": "86400"})], then=200)
    one, other = clients(upstream, 2, retry={"retry_after_max_s": 5, "max_attempts": 1})
    await outcomes(one.get("/x"))
    ((_, key),) = {entry for entry in server.commands if entry[0] == "penalize"}
    assert server.penalties[key] == 5
    server.penalties[key] = 86_400
    await other.get("/x")
    assert sent(upstream)[1] == 5
    await other.get("/x")
    assert sent(upstream)[2] == 5


@virtual_time
async def test_a_penalty_holds_for_those_that_wait_for_a_slot(server):
    """R72: also in another process; at its end they need slots again, so that they do not start in one moment."""
    upstream = ScriptedUpstream([Reply(status=429, headers={"retry-after": "3"}, after_s=0.3)], then=200)
    one, other = clients(upstream, 2, quota={"per_second": 10, "burst": 1}, **NO_RETRY)
    waiting = [asyncio.ensure_future(client.get("/x")) for client in (one, *(other,) * 8)]
    await outcomes(*waiting)
    times = sent(upstream)
    assert not [at for at in times if 0.6 < at < 3.29]
    after = [at for at in times if at >= 3.29]
    assert len(after) >= 4
    assert after[-1] - after[0] >= 0.1 * (len(after) - 2)


def test_the_later_end_of_two_penalties_wins():
    """R72: whichever was noted first; and only a notably later one is worth a message."""
    penalty = Penalty()
    assert penalty.note(0, 3)
    assert not penalty.note(0.5, 1)
    assert penalty.left_s(1) == 2
    assert not penalty.note(1, 2.2)
    assert penalty.note(1, 9)
    assert penalty.left_s(1) == 9
    assert penalty.left_s(20) == 0


@virtual_time
async def test_a_retry_of_ones_own_waits_once(server):
    """R72, R15: the call that got the Retry-After has waited for it already."""
    upstream = ScriptedUpstream([Reply(status=429, headers={"retry-after": "2"})], then=200)
    (client,) = clients(upstream)
    await client.get("/x")
    assert sent(upstream) == [0, 2.0]


# --- an ill server ---------------------------------------------------------------------------------------------------


async def _flow(client, seconds, every=0.02):
    """One call each *every* seconds; returns errors, and the longest time to the first request of a call."""
    calls, ends = [], asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < ends:
        calls.append(asyncio.ensure_future(client.get("/x")))
        await asyncio.sleep(every)
    return [one for one in await outcomes(*calls) if isinstance(one, CallError)]


@pytest.mark.parametrize("takes_s", [0.0, 0.1], ids=["refused", "silent"])
@virtual_time
async def test_calls_go_on_by_the_share_while_the_server_is_ill(server, takes_s):
    """R73: each process at half of the quota, no call fails for it, each change is one event, and sharing resumes."""
    upstream, events = ScriptedUpstream([], then=200), []
    (client,) = clients(upstream, events=events, quota={"per_second": 20, "burst": 2})
    flow = asyncio.ensure_future(_flow(client, 12, every=0.06))
    await asyncio.sleep(4)
    server.ill, server.takes_s = "timeout", takes_s
    await asyncio.sleep(4)
    server.ill, server.takes_s = "", 0.0
    assert not await flow
    changes = [(event.source, event.reason) for event in events if isinstance(event, QuotaSourceChanged)]
    assert changes == [("local", "timeout"), ("shared", "")]
    during = [at for at in sent(upstream) if 4.5 <= at < 7.5]
    assert 29 <= len(during) <= 32  # 10 per second: half of the quota
    sources = {event.source for event in events if isinstance(event, QuotaAcquired)}
    assert sources == {"shared", "local"}


@virtual_time
async def test_a_silent_server_costs_a_call_its_limit_once(server):
    """R73: the first calls wait for its silence, then none does; the looks at it are in no call's way."""
    upstream, events = ScriptedUpstream([], then=200), []
    (client,) = clients(upstream, events=events, quota={"per_second": 1000, "burst": 100})
    server.ill, server.takes_s = "timeout", 0.1
    for _ in range(2):
        await client.get("/x")
    assert sent(upstream) == [0.1, 0.2]
    await _flow(client, 2, every=0.05)
    waits = [event.waited_s for event in events if isinstance(event, QuotaAcquired)]
    assert max(waits) <= 0.15
    assert sum(one > 0 for one in waits) == 2


@virtual_time
async def test_one_failure_alone_changes_nothing(server):
    """R73: it may be a stall of this process; the call that saw it goes by the share."""
    upstream, events = ScriptedUpstream([], then=200), []
    (client,) = clients(upstream, events=events)
    await client.get("/x")
    server.ill = "timeout"
    await client.get("/x")
    server.ill = ""
    await client.get("/x")
    sources = [event.source for event in events if isinstance(event, QuotaAcquired)]
    assert sources == ["shared", "local", "shared"]
    assert not any(isinstance(event, QuotaSourceChanged) for event in events)


@virtual_time
async def test_those_that_wait_for_the_share_go_on_when_the_server_is_well(server):
    """R73: their slots of the share are far away, those of the server are near."""
    upstream = ScriptedUpstream([], then=200)
    (client,) = clients(upstream, quota={"per_second": 10, "burst": 1, "replicas": 100}, deadline={"total_s": 60})
    server.ill = "unreachable"
    calls = [asyncio.ensure_future(client.get("/x")) for _ in range(5)]
    await asyncio.sleep(1)
    assert len(upstream.requests) == 1
    server.ill = ""
    await asyncio.gather(*calls)
    assert sent(upstream)[-1] <= 2.0


@virtual_time
async def test_new_attempts_by_the_share_come_after_those_that_wait(server):
    """R73: which have slots that the server has counted; else both together would be more than the quota."""
    upstream = ScriptedUpstream([], then=200)
    (client,) = clients(upstream, quota={"per_second": 10, "burst": 1, "replicas": 1})
    waiting = [asyncio.ensure_future(client.get("/x")) for _ in range(11)]  # the last one at 1.0
    await asyncio.sleep(0.3)
    server.ill = "unreachable"
    later = [asyncio.ensure_future(client.get("/x")) for _ in range(5)]
    await asyncio.gather(*waiting, *later)
    assert sum(at < 1 for at in sent(upstream)) <= 14


@virtual_time
async def test_without_a_server_each_process_has_its_share(server):
    """R73: nothing is asked of any server, and no library is needed."""
    upstream = ScriptedUpstream([], then=200)
    one, other = clients(upstream, 2, quota={"url": ""})
    await asyncio.gather(*(client.get("/x") for client in (one, other) for _ in range(2)))
    assert sent(upstream) == [0, 0, 0.2, 0.2]
    assert server.commands == []


@virtual_time
async def test_a_cancelled_wait_for_the_share_releases_its_slot(server):
    """R42, R74: of the last one."""
    upstream = ScriptedUpstream([], then=200)
    (client,) = clients(upstream, quota={"url": "", "replicas": 1, "burst": 1})
    await client.get("/x")
    waiting = asyncio.ensure_future(client.get("/x"))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.wait([waiting])
    await client.get("/x")
    assert sent(upstream) == [0, 0.1]


# --- settings --------------------------------------------------------------------------------------------------------


def test_off_by_default_and_without_a_rate():
    """A URL alone is no quota, and needs no library."""
    assert limiter_of(QuotaSettings()) is None
    assert limiter_of(QuotaSettings(url="redis://x")) is None


@pytest.mark.parametrize("url", ["http://cache", "hunter2-hunter2", "redis:x"])
def test_a_url_of_another_kind_is_an_error_that_does_not_show_it(url):
    """R75: it may be a password in the wrong place."""
    with pytest.raises(ConfigError) as caught:
        QuotaSettings(url=url)
    assert str(caught.value).startswith("QuotaSettings.url: must begin with")
    assert url not in str(caught.value)


def test_a_missing_library_names_the_extra(monkeypatch):
    """In one line, at the start of the program."""
    monkeypatch.setitem(sys.modules, "middleware.policies.redis_limiter", None)
    with pytest.raises(ConfigError, match=r"QuotaSettings.url: needs redis and ratelimit-io: .*\[quota\]"):
        limiter_of(QuotaSettings(per_second=1, url="redis://x"))
