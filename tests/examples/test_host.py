"""The example of a host: plugins for one user, with one trace from the request to the attempts on the wire."""

import asyncio
import importlib

import httpx
import pytest

from examples.host.app import make_app
from examples.host.plugin_manager import PluginManager
from runtime.testing import ScriptedUpstream, bundle, run_virtual, virtual_time

PLUGINS = ["apps", "greeting", "marketplace", "notes", "paywall", "subscription"]


async def post(app, path, document, headers=()):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://core") as client:
        return await client.post(path, json=document, headers=dict(headers))


@pytest.mark.parametrize("name", PLUGINS)
async def test_each_plugin_works_self_hosted(name, no_settings):
    """Against the mocks, as its developer runs it; one per service."""
    manager = PluginManager()
    assert manager.names == PLUGINS
    response = await post(make_app(manager), f"/api/execute/{name}", {"text": "one"})
    assert response.status_code == 200, response.text
    assert "error" not in response.json()


@pytest.mark.parametrize("name", PLUGINS)
async def test_a_setting_that_is_wrong_is_a_result_of_each_plugin(name, no_settings):
    """Plugins never raise."""
    no_settings.setenv("MOZAIKS_MANAGED", "perhaps")
    plugin = importlib.import_module(f"examples.host.plugins.{name}")
    assert (await plugin.execute({}))["error_code"] == "CONFIGURATION_ERROR"


@virtual_time
async def test_a_plugin_acts_as_the_bearer_of_the_request_alone():
    """What the body says of a token is not used; the id is the request's."""
    upstream = ScriptedUpstream([], then={"user_id": "u", "username": "ada"})
    connectors = bundle(identity=upstream, process_wide=True)
    given = {"authorization": "Bearer token-ada", "x-correlation-id": "req-1"}
    app = make_app()
    response = await post(app, "/api/execute/greeting", {"user_jwt": "another"}, given)
    assert response.json() == {"hello": "ada"}
    assert response.headers["x-correlation-id"] == "req-1"
    await post(app, "/api/execute/greeting", {"user_jwt": "another"})
    seen = [one.headers.get("authorization") for one in upstream.requests]
    assert seen == ["Bearer token-ada", None]
    assert upstream.requests[0].headers["x-correlation-id"] == "req-1"
    await connectors.aclose()


@virtual_time
async def test_failures_of_plugins_are_responses():
    """Of the platform, of a plugin that is not there."""
    connectors = bundle(identity=[401], process_wide=True)
    app = make_app()
    response = await post(app, "/api/execute/greeting", {})
    assert (response.status_code, response.json()["error_code"]) == (401, "UNAUTHENTICATED")
    assert (await post(app, "/api/execute/none", {})).status_code == 404
    await connectors.aclose()


def test_a_plugin_that_takes_too_long_or_raises_is_an_object_with_error():
    """The core's conventions: a plain function runs as it is, `run` is as good as `execute`."""
    manager = PluginManager(budget_s=3)

    async def slow(_data):
        await asyncio.sleep(60)

    async def broken(_data):
        raise ZeroDivisionError

    manager._found |= {"slow": slow, "broken": broken, "plain": lambda data: data}

    async def main():
        return [await manager.execute(name, {"a": 1}) for name in ("slow", "broken", "plain")]

    slow_, broken_, plain = run_virtual(main())
    assert slow_["error_code"] == "TIMEOUT"
    assert broken_["error_code"] == "PLUGIN_FAILED"
    assert plain == {"a": 1}


@virtual_time
async def test_one_trace_leads_from_the_request_to_the_attempts(recorder):
    """SERVER, call, attempts: a retry is in it too."""
    upstream = ScriptedUpstream([503], then={"user_id": "u", "username": "ada"})
    connectors = bundle(identity=upstream, telemetry=recorder.telemetry, process_wide=True)
    app = make_app(tracer_provider=recorder.telemetry.tracer_provider)
    await post(app, "/api/execute/greeting", {}, {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    await connectors.aclose()
    (server,), (call,), attempts = recorder.spans("SERVER"), recorder.spans("INTERNAL"), recorder.spans("CLIENT")
    assert {span.context.trace_id for span in (server, call, *attempts)} == {int("a" * 32, 16)}
    assert call.parent.span_id == server.context.span_id
    assert [span.parent.span_id for span in attempts] == [call.context.span_id] * 2
