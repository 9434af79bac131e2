"""A plugin's connectors: bound to its user, its id and what is left of its time."""

import asyncio

import pytest

from middleware import ConfigError, DeadlineExceededError, InvalidArgumentError
from middleware.call_options import incoming_request
from runtime.plugins import plugin_connectors
from runtime.testing import LoopClock, ScriptedUpstream, bundle, virtual_time

USER = {"user_id": "u", "username": "n"}
PLAIN = {"retry": {"max_attempts": 1}, "deadline": {"total_s": 60}, "attempt": {"timeout_s": 60}}


def platform(script=(), then=USER):
    upstream = ScriptedUpstream(list(script), then=then)
    return upstream, bundle(identity=upstream, settings=PLAIN)


@virtual_time
async def test_calls_of_a_plugin_carry_its_user_and_one_id():
    """Those of the manager's argument; without a request being served the id is the argument's."""
    upstream, connectors = platform()
    with plugin_connectors({"user_jwt": "jwt", "correlation_id": "c-1"}, bundle=connectors) as own:
        await own.identity.get_current_user()
        await own.identity.get_user("u", user_jwt=None)
        await connectors.identity.get_user("u")
    seen = [(one.headers.get("authorization"), one.headers["x-correlation-id"]) for one in upstream.requests]
    assert seen == [("Bearer jwt", "c-1"), (None, "c-1"), (None, "c-1")]


@pytest.mark.parametrize(
    "given", [{}, {"correlation_id": "not usable"}, {"correlation_id": 7}, {"correlation_id": "x"}]
)
@virtual_time
async def test_the_id_of_the_request_wins_over_what_the_client_wrote(given):
    """It is the one that the response and the host's log lines have; without either all calls share a new one."""
    upstream, connectors = platform()
    with incoming_request("req"), plugin_connectors(given, bundle=connectors) as own:
        await own.identity.get_user("u")
    with plugin_connectors(given, bundle=connectors) as own:
        await own.identity.get_user("u")
        await own.identity.get_user("u")
    first, *others = [one.headers["x-correlation-id"] for one in upstream.requests]
    assert first == "req"
    assert len(set(others)) == 1
    assert [one.headers.get("authorization") for one in upstream.requests] == [None] * 3


@pytest.mark.parametrize(("after_s", "ends_at"), [(0, 29.5), (28, 29.5)])
@virtual_time
async def test_a_call_ends_with_what_is_left_of_the_budget(after_s, ends_at):
    """Half a second before the plugin is cancelled, so that it can still respond."""
    _, connectors = platform(then="hang")
    with plugin_connectors({}, bundle=connectors, clock=LoopClock()) as own:
        await asyncio.sleep(after_s)
        with pytest.raises(DeadlineExceededError):
            await own.identity.get_user("u")
    assert asyncio.get_running_loop().time() == ends_at


@virtual_time
async def test_nothing_is_left_of_it_after_the_plugin():
    """A task that it left behind makes no call as its user, and is not bound by its time."""
    upstream, connectors = platform()

    async def later(own):
        await asyncio.sleep(1)
        await connectors.identity.get_user("u")
        await own.identity.get_user("u")

    with plugin_connectors(
        {"user_jwt": "jwt", "correlation_id": "c-1"}, bundle=connectors, budget_s=0.9, clock=LoopClock()
    ) as own:
        task = asyncio.create_task(later(own))
    with pytest.raises(InvalidArgumentError, match="has ended"):
        await task
    (only,) = upstream.requests
    assert only.headers.get("authorization") is None
    assert only.headers["x-correlation-id"] != "c-1"


@virtual_time
async def test_without_a_bundle_the_one_of_the_process_is_bound():
    """As plugins find it."""
    upstream = ScriptedUpstream([], then=USER)
    connectors = bundle(identity=upstream, process_wide=True)
    with plugin_connectors({}) as own:
        await own.identity.get_user("u")
    assert len(upstream.requests) == 1
    await connectors.aclose()


@pytest.mark.parametrize(("budget_s", "reserve_s"), [(0.5, 0.5), (1, 2), (1, -1)])
def test_a_reserve_is_a_part_of_the_budget(budget_s, reserve_s):
    """The error names it."""
    with pytest.raises(ConfigError, match="reserve_s"), plugin_connectors({}, budget_s=budget_s, reserve_s=reserve_s):
        pass


@virtual_time
async def test_a_plugin_that_times_out_leaves_nothing_behind():
    """300 cancellations of calls in flight: permits and slots are free, and the next plugin works at once."""
    upstream, connectors = platform(script=["hang"] * 300)
    loop, before = asyncio.get_running_loop(), asyncio.all_tasks()

    async def execute():
        with plugin_connectors({"user_jwt": "jwt"}, bundle=connectors, clock=LoopClock()) as own:
            return (await own.identity.get_current_user()).username

    async def cancelled():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(execute(), 5)

    for _ in range(15):
        await asyncio.gather(*(cancelled() for _ in range(20)))
    state = connectors.health().services["identity"]
    assert state.calls_in_flight == 0
    assert state.attempts_in_flight == 0
    assert state.attempts_queued == 0
    assert asyncio.all_tasks() == before
    started = loop.time()
    assert await asyncio.wait_for(execute(), 5) == "n"
    assert loop.time() == started
    assert len(upstream.requests) == 301
