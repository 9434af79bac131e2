"""The test kit keeps what it promises, and the documented example is a test that runs."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import anyio
import httpx
import pytest
from connector_support import required_arguments

from middleware import (
    ClientClosedError,
    ConfigError,
    NotFoundError,
    RequestNotSentError,
    ResponseLostError,
    ServerError,
    StackSettings,
    Telemetry,
    call_options,
)
from middleware.policies.retry import RetrySettings
from runtime.connectors.loader import get_connectors, load_connectors, services_and_operations
from runtime.testing import (
    LoopClock,
    Reply,
    ScriptedUpstream,
    UnexpectedRequestError,
    bundle,
    run_virtual,
    virtual_time,
)

ROOT = Path(__file__).resolve().parent.parent


def documented():
    """Each test that docs/testing.md shows, by its name, as an author pastes it."""
    found = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "testing.md").read_text(), flags=re.DOTALL):
        names = {"__name__": "pasted"}
        exec(block, names)  # noqa: S102 - our own documentation
        found |= {name: value for name, value in names.items() if name.startswith("test_")}
    return found


DOCUMENTED = documented()


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_documented_example_runs(name, no_settings):
    """What an author of a connector, a plugin or an application pastes."""
    DOCUMENTED[name]()


def test_every_section_with_an_example_is_run():
    """Plugin, connector and application."""
    assert list(DOCUMENTED) == [
        "test_the_plugin_greets_the_user_although_the_first_attempt_fails",
        "test_the_plugin_says_when_nothing_responds",
        "test_a_read_survives_trouble",
        "test_a_call_ends_with_the_time_of_the_request",
    ]


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
    assert upstream.refused == 2
    assert upstream.in_flight == 0
    assert upstream.most_in_flight == 1


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


@pytest.mark.parametrize(
    "wait", [asyncio.sleep, anyio.sleep, lambda seconds: asyncio.wait_for(asyncio.sleep(60), seconds)]
)
@virtual_time
async def test_a_function_that_waits_has_the_request(wait):
    """R12: as with `Reply(after_s=20)`, a write that the platform has read is not repeated."""
    seen = []

    async def slow(request):
        seen.append((request.at_s, upstream.in_flight))
        await wait(20)
        return {}

    upstream = ScriptedUpstream(slow)
    with pytest.raises(ResponseLostError) as caught:
        await upstream.client().post("/r", json_body={})
    assert caught.value.request_sent == "maybe"
    assert caught.value.attempts == 1
    assert seen == [(0, 0)]
    assert upstream.times == [0]
    assert upstream.in_flight == 0
    assert upstream.most_in_flight == 1
    assert upstream.refused == 0


@virtual_time
async def test_an_exception_after_a_wait_is_a_lost_response():
    """The platform has read the request by then; without a wait nothing was sent, as for the same step in a list."""

    async def platform(request):
        if request.path == "/late":
            await asyncio.sleep(1)
        if request.path == "/raised":
            await asyncio.sleep(1)
            raise httpx.ReadError("reset")
        return httpx.ConnectError

    upstream = ScriptedUpstream(platform)
    client = upstream.client(retry={"max_attempts": 1})
    for path, kind in (("/late", ResponseLostError), ("/raised", ResponseLostError), ("/now", RequestNotSentError)):
        with pytest.raises(kind):
            await client.post(path, json_body={})
    assert [request.path for request in upstream.requests] == ["/late", "/raised"]
    assert upstream.refused == 1
    assert upstream.in_flight == 0
    assert upstream.most_in_flight == 1


@virtual_time
async def test_a_function_that_waits_may_handle_its_cancel():
    """It sees the timeout of the attempt where it waits, and its `finally` runs."""
    ended = []

    async def slow(request):
        try:
            await asyncio.sleep(20)
        finally:
            ended.append(LoopClock().now())
        return {}

    with pytest.raises(ResponseLostError):
        await ScriptedUpstream(slow).client(retry={"max_attempts": 1}).get("/r")
    assert ended == [10]


@virtual_time
async def test_parallel_requests_of_a_function_count_as_in_flight():
    """Each from when it waits until it responds."""

    async def slow(request):
        await asyncio.sleep(1)
        return 200

    upstream = ScriptedUpstream(slow)
    client = upstream.client()
    await asyncio.gather(*(client.get("/r") for _ in range(3)))
    assert upstream.most_in_flight == 3
    assert upstream.in_flight == 0
    assert upstream.times == [0, 0, 0]


@pytest.mark.parametrize("script", ["hang", {"id": 1}, 503, None, b"x"], ids=repr)
def test_a_script_that_is_none_is_rejected_where_it_is_made(script):
    """A text would play its letters, a document its keys."""
    with pytest.raises(TypeError, match=f"script: must be a list of steps or a function, got {type(script).__name__}"):
        ScriptedUpstream(script)


@pytest.mark.parametrize("step", ["hangs", None, 1.5, (200,), int, b"lost"], ids=repr)
def test_a_step_that_is_none_is_rejected_where_it_is_written(step):
    """With its place; played, it would be a failure of the client."""
    with pytest.raises(TypeError, match=re.escape(f"script[1]: {step!r} is no step of a script")):
        ScriptedUpstream([200, step])
    if step is not None:
        with pytest.raises(TypeError, match=r"then: .* is no step of a script"):
            ScriptedUpstream([], then=step)


def test_gauges_can_be_read_from_any_thread(recorder):
    """A metric reader collects in a thread of its own, while the loop runs, and after it has ended."""

    def gauges():
        with ThreadPoolExecutor(1) as threads:
            read = [threads.submit(recorder.points, name).result() for name in GAUGES]
        return [[point.value for point in points] for points in read]

    async def scenario():
        client = ScriptedUpstream([200, 200]).client(telemetry=recorder.telemetry)
        await asyncio.sleep(100)
        await client.get("/r")
        await asyncio.sleep(1)
        return client, gauges()

    client, during = run_virtual(scenario())
    assert during == gauges() == [[0], [pytest.approx(10.2)]]
    assert client.calls_in_flight == 0


GAUGES = ("mozaiks.connector.calls.in_flight", "mozaiks.retry_budget.balance")
USER = {"user_id": "user_1", "username": "ada", "email": "ada@example.com", "roles": ["user"]}


@virtual_time
async def test_a_bundle_is_scripted_service_by_service():
    """Lists and upstreams; the same connectors and stack as in production, in virtual time."""
    payment = ScriptedUpstream([ServiceUnavailable, {"isActive": True, "planId": "pro"}])
    connectors = bundle(identity=[503, "hang", USER], payment=payment, settings={"retry": {"max_attempts": 3}})
    assert (await connectors.identity.get_current_user(user_jwt="t")).username == "ada"
    assert LoopClock().now() == pytest.approx(10.3)
    assert (await connectors.payment.subscription_status(scope="platform")).active is True
    assert [request.path for request in payment.requests] == ["/api/mozaiks/pay/subscription-status"] * 2
    assert connectors.mode == "managed"
    assert connectors.calls_in_flight == 0


ServiceUnavailable = Reply(status=503, headers={"retry-after": "2"})


@pytest.mark.parametrize("service", services_and_operations())
@virtual_time
async def test_each_service_of_a_bundle_has_a_script_of_its_own(service):
    """The others fail the test, whatever the plugin catches."""
    scripted = bundle(**{service: [404]})
    for name, operations in services_and_operations().items():
        method = getattr(getattr(scripted, name), operations[0])
        with pytest.raises(NotFoundError if name == service else UnexpectedRequestError):
            await method(**required_arguments(method))


@virtual_time
async def test_a_process_wide_bundle_is_what_a_plugin_loads(no_settings):
    """Until it is closed; one at a time."""
    async with bundle(process_wide=True) as connectors:
        assert load_connectors() is get_connectors() is connectors
        with pytest.raises(ConfigError, match="process_wide"):
            bundle(process_wide=True)
    assert load_connectors() is not connectors


@pytest.mark.parametrize("how", ["aclose", "request_close"])
@virtual_time
async def test_a_closed_bundle_rejects_calls_as_in_production(how):
    """Each of its services; the script is not asked."""
    upstream = ScriptedUpstream([], then=200)
    connectors = bundle(**dict.fromkeys(services_and_operations(), upstream))
    closing = getattr(connectors, how)()
    if how == "aclose":
        await closing
    for service, operations in services_and_operations().items():
        method = getattr(getattr(connectors, service), operations[0])
        with pytest.raises(ClientClosedError):
            await method(**required_arguments(method))
    upstream.assert_count(0)


def test_wrong_arguments_of_a_bundle_name_themselves():
    """Service, script and setting."""
    with pytest.raises(TypeError, match=r"unexpected service 'identiy'; services are .*identity"):
        bundle(identiy=[])
    with pytest.raises(TypeError, match="script: must be a list"):
        bundle(identity=USER)
    with pytest.raises(ConfigError, match="max_attemts"):
        bundle(settings={"retry": {"max_attemts": 1}})


@virtual_time
async def test_settings_and_telemetry_of_a_bundle_reach_its_clients():
    """By service and operation, as in the settings file."""
    events, identity = [], ScriptedUpstream([], then=503)
    settings = {"services": {"identity": {"operations": {"get_user": {"retry": {"max_attempts": 1}}}}}}
    connectors = bundle(identity=identity, settings=settings, telemetry=Telemetry(listener=events.append))
    for method in (connectors.identity.get_user, connectors.identity.get_user_roles):
        with pytest.raises(ServerError):
            await method("u")
    identity.assert_count(1 + 3)
    assert {event.call.operation for event in events} == {"get_user", "get_user_roles"}
