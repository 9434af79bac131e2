"""The test kit keeps what it promises, and the documented example is a test that runs."""

import asyncio
import hashlib
import re
import threading
from contextlib import suppress
from pathlib import Path

import anyio
import httpx
import pytest

from middleware import RequestNotSentError, ResponseLostError, StackSettings, call_options
from middleware.policies.retry import RetrySettings
from runtime.testing import LoopClock, Reply, ScriptedUpstream, UnexpectedRequestError, run_virtual, virtual_time

ROOT = Path(__file__).resolve().parent.parent


def test_the_documented_example_runs():
    """What a connector author pastes."""
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "testing.md").read_text(), flags=re.DOTALL)
    names = {}
    exec(block, names)  # noqa: S102 - our own documentation
    names["test_a_read_survives_trouble"]()


def test_waiting_takes_no_time_and_every_moment_is_exact():
    """A day of timers, in order; anyio and asyncio alike."""

    async def scenario():
        seen = []

        async def at(seconds):
            await (asyncio.sleep(seconds) if seconds % 2 else anyio.sleep(seconds))
            seen.append((seconds, LoopClock().now()))

        await asyncio.gather(*(at(seconds) for seconds in (86400, 3, 2, 1)))
        return seen

    assert run_virtual(scenario()) == [(1, 1), (2, 2), (3, 3), (86400, 86400)]


def test_a_deadlock_is_an_error_and_no_hang(monkeypatch):
    """Nothing is scheduled, so nothing will ever come."""
    monkeypatch.setattr("runtime.testing._REAL_WAIT_S", 0.01)
    with pytest.raises(RuntimeError, match="deadlock at 2 s"):
        run_virtual(asyncio.wait_for(stuck(), None))


async def stuck():
    await asyncio.sleep(2)
    await asyncio.Event().wait()


def test_a_thread_may_call_back():
    """Virtual time waits for real work, also while a timer is pending."""

    async def scenario():
        async with asyncio.timeout(10):
            return await asyncio.to_thread(work), LoopClock().now()

    def work():
        started.set()
        for _ in range(1000):
            hashlib.sha256(b"x" * 10_000).digest()
        return threading.get_ident()

    started = threading.Event()

    ident, now = run_virtual(scenario())
    assert ident != threading.get_ident()
    assert now == 0


def test_the_wall_clock_is_known():
    """HTTP dates can be written into a script."""

    async def scenario():
        await asyncio.sleep(60)
        return LoopClock().wall()

    assert run_virtual(scenario()) == 1_800_000_060


@virtual_time
async def test_each_step_does_what_it_says():
    """In order; what was rejected was not read."""
    upstream = ScriptedUpstream([{"a": 1}, [1], Reply(json="x", after_s=2), "lost", httpx.ConnectError("no"), OSError])
    client = upstream.client()
    with call_options(max_attempts=1):
        assert [await client.get("/r") for _ in range(3)] == [{"a": 1}, [1], "x"]
        for kind in (ResponseLostError, RequestNotSentError, RequestNotSentError):
            with pytest.raises(kind):
                await client.get("/r")
    upstream.assert_count(4)
    assert (upstream.refused, upstream.in_flight, upstream.most_in_flight) == (2, 0, 1)


@virtual_time
async def test_it_records_what_was_read():
    """Path, query, headers and body, with the time."""
    upstream = ScriptedUpstream([], then=200)
    await asyncio.sleep(1)
    await upstream.client().post("/r", params={"q": 1}, json_body={"a": 1}, correlation_id="c")
    (seen,) = upstream.requests
    assert (seen.at_s, seen.method, seen.path, seen.query, seen.json) == (1, "POST", "/r", "q=1", {"a": 1})
    assert seen.headers["x-correlation-id"] == "c"


@virtual_time
async def test_a_request_beyond_the_script_fails_the_test():
    """Whatever the connector or the plugin catches."""

    async def plugin(client):
        with suppress(Exception):
            await client.get("/r")

    with pytest.raises(UnexpectedRequestError, match="GET /r is beyond the script"):
        await plugin(ScriptedUpstream([]).client())


@virtual_time
async def test_assertions_tell_what_was_seen():
    """In the failure's text."""
    upstream = ScriptedUpstream([503, 200])
    await upstream.client().get("/r")
    upstream.assert_times(0, 0.1)
    with pytest.raises(AssertionError, match=re.escape("[0, 0.1], expected [0, 0.2]")):
        upstream.assert_times(0, 0.2)
    with pytest.raises(AssertionError, match=re.escape("[0, 0.1], expected [0]")):
        upstream.assert_times(0)
    with pytest.raises(AssertionError, match="2 requests were read, expected 3"):
        upstream.assert_count(3)
    with pytest.raises(AssertionError, match="no step"):
        await upstream._play(object(), httpx.Request("GET", "http://x"))


@virtual_time
async def test_a_function_answers_every_request():
    """Async where it wants to wait; whole policies may be given too."""

    async def answer(seen):
        await asyncio.sleep(1)
        return 503 if seen.path == "/bad" else {"path": seen.path}

    upstream = ScriptedUpstream(answer)
    client = upstream.client(policies=StackSettings(retry=RetrySettings(max_attempts=1)))
    assert await client.get("/good") == {"path": "/good"}
    assert LoopClock().now() == 1
