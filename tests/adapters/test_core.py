"""The drop-in for the production core, against the stand-in: installation, mode, bundle, routes, event loops."""

import asyncio
import dataclasses
import gc
import inspect
import itertools
import logging
import re
import sys
import types
from pathlib import Path

import httpx
import pytest
from core_support import ACTIVE, ID, JWT, STATUS, URL, close, core_lines, loaded, managed
from fastapi import FastAPI
from raw_server import RawServer, ok

from middleware import ConfigError, HostLayers, Telemetry
from runtime.adapters import core as adapter
from runtime.asgi import connectors_lifespan
from runtime.connectors import loader

pytestmark = pytest.mark.torture


GUIDE = (Path(__file__).parents[2] / "docs" / "core.md").read_text("utf-8")


# --- installation


def test_the_core_is_imported_by_install_alone(core):
    """The project does not depend on the core."""
    assert "mozaiks_app" not in sys.modules
    adapter.install()
    assert "mozaiks_app.runtime.connector_loader" in sys.modules


def test_without_the_core_nothing_is_installed(no_settings):
    """One error lists what was looked up; the loader stays as it was."""
    with pytest.raises(ConfigError) as caught:
        adapter.install()
    assert "mozaiks_app.runtime.connector_loader.load_connectors: not found (ModuleNotFoundError at its import)" in str(
        caught.value
    )
    assert len(caught.value.problems) == 5
    assert loader._config_of is None
    with pytest.raises(ConfigError, match=r"install\(\) first"):
        adapter.load_connectors()


def test_every_name_that_the_core_uses_is_ours(core):
    """The loader's three, the package's three, and each that a module bound at its import."""
    from mozaiks_app import connectors as package
    from mozaiks_app.routes import mozaiks as routes
    from mozaiks_app.runtime import connector_loader

    report = adapter.install()
    assert report.missing == ()
    assert report.kept == ()
    assert routes.load_connectors is connector_loader.load_connectors is adapter.load_connectors
    assert connector_loader.is_managed_mode is adapter.is_managed_mode
    assert package.get_connectors is adapter.get_connectors
    assert package.reset_connectors is adapter.reset_connectors
    assert package.ConnectorBundle is connector_loader.ConnectorBundle is type(package.get_connectors())
    assert "mozaiks_app.routes.mozaiks.load_connectors" in report.replaced
    assert adapter.install() is report


def test_a_plugin_that_bound_the_old_name_gets_ours(core):
    """Under whatever name, in whatever module."""
    from mozaiks_app.connectors import get_connectors

    plugin = types.ModuleType("plugin_of_the_core")
    plugin.connectors = get_connectors
    core.setitem(sys.modules, plugin.__name__, plugin)
    assert "plugin_of_the_core.connectors" in adapter.install().replaced
    assert plugin.connectors is adapter.get_connectors


def test_a_name_that_cannot_be_replaced_is_in_one_line(core, caplog):
    """With its module."""
    from mozaiks_app.connectors import get_connectors

    class Closed(types.ModuleType):
        def __setattr__(self, name, value):
            raise AttributeError(name)

    plugin = Closed("closed_plugin")
    vars(plugin)["get"] = get_connectors
    core.setitem(sys.modules, "closed_plugin", plugin)
    assert adapter.install().kept == ("closed_plugin.get",)
    lines = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert lines == ["core.kept still the core's own: closed_plugin.get"]


def test_a_name_that_is_not_there_is_in_one_line(core, caplog):
    """Another version of the core is adapted as far as it goes."""
    from mozaiks_app.connectors import managed as client
    from mozaiks_app.runtime import connector_loader

    del connector_loader.is_managed_mode
    del client.GatewayRequestError
    core.setitem(sys.modules, "mozaiks_app.connectors.mock", None)
    missing = adapter.install().missing
    assert missing == (
        "mozaiks_app.runtime.connector_loader.is_managed_mode",
        "mozaiks_app.connectors.managed.GatewayRequestError",
        "mozaiks_app.connectors.mock.MockPaymentConnector",
    )
    lines = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert lines == [f"core.missing not in this core: {', '.join(missing)}"]
    assert not hasattr(connector_loader, "is_managed_mode")
    assert asyncio.run(loaded().payment.subscription_status(**STATUS)).active


def test_uninstall_restores_the_core(core):
    """Every name, the lazy ones too, the level of httpcore's logger, and our loader."""
    import mozaiks_app.connectors
    from mozaiks_app.connectors import mock
    from mozaiks_app.routes import mozaiks as routes
    from mozaiks_app.runtime import connector_loader

    modules = (mozaiks_app.connectors, connector_loader, routes)
    before = [dict(vars(module)) for module in modules]
    noisy = logging.getLogger("httpcore")
    level = noisy.level
    noisy.setLevel(logging.NOTSET)
    adapter.install()
    assert noisy.level == logging.WARNING
    adapter.uninstall()
    adapter.uninstall()
    assert [dict(vars(module)) for module in modules] == before
    assert noisy.level == logging.NOTSET
    assert type(loaded().payment) is mock.MockPaymentConnector
    assert loader._config_of is None
    noisy.setLevel(level)


def test_uninstall_restores_what_was_imported_after_it(core):
    """The line is at the start of the process, so the routes bind our names; without it they would raise."""
    adapter.install()
    from mozaiks_app.connectors import get_connectors
    from mozaiks_app.routes import mozaiks as routes
    from mozaiks_app.runtime import connector_loader

    plugin = types.ModuleType("plugin_of_the_core")
    plugin.connectors, plugin.Bundle = get_connectors, connector_loader.ConnectorBundle
    core.setitem(sys.modules, plugin.__name__, plugin)
    assert routes.load_connectors is adapter.load_connectors
    adapter.uninstall()
    assert routes.load_connectors is connector_loader.load_connectors
    assert type(routes.load_connectors()) is connector_loader.ConnectorBundle is plugin.Bundle
    assert type(plugin.connectors()) is connector_loader.ConnectorBundle
    adapter.install()
    assert routes.load_connectors is adapter.load_connectors


# --- the mode


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"MOZAIKS_MANAGED": "ture"}, "MOZAIKS_MANAGED: must be 1, true"),
        ({"MOZAIKS_HOSTING_MODE": "cloud"}, "MOZAIKS_HOSTING_MODE: must be hosted"),
        ({"MOZAIKS_MANAGED": "true"}, "MOZAIKS_GATEWAY_BASE_URL"),
        ({"MOZAIKS_HOSTING_MODE": "hosted"}, "MOZAIKS_GATEWAY_BASE_URL"),
        ({"MOZAIKS_MANAGED": "true", "MOZAIKS_GATEWAY_BASE_URL": "nowhere"}, "MOZAIKS_GATEWAY_BASE_URL: must be an"),
        ({"MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS": "many"}, "MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS"),
    ],
)
def test_install_raises_for_a_mode_that_cannot_be(core, settings, problem):
    """Mocks allow everything, so a host does not start with them by mistake; nothing was replaced."""
    from mozaiks_app.runtime import connector_loader

    own = connector_loader.load_connectors
    for name, value in settings.items():
        core.setenv(name, value)
    with pytest.raises(ConfigError, match=problem):
        adapter.install()
    assert connector_loader.load_connectors is own


WORDS = [
    {"MOZAIKS_HOSTING_MODE": hosting, "MOZAIKS_MANAGED": switch, "MOZAIKS_GATEWAY_BASE_URL": url}
    for hosting, switch, url in itertools.product(
        ["", "hosted", " HOSTED ", "self_host", "cloud"], ["", "true", "On", "false", "ture"], ["", URL]
    )
]


@pytest.mark.parametrize("settings", WORDS, ids=lambda one: "-".join(map(repr, one.values())))
def test_the_mode_is_the_cores_once_installed(shared_core, caplog, settings):
    """The same as the core's own rule for every combination; a word that it does not know is logged."""
    from mozaiks_app.runtime import connector_loader

    core_rule = connector_loader.is_managed_mode
    adapter.install()
    for name, value in settings.items():
        shared_core.setenv(name, value)
    for _ in range(2):
        assert connector_loader.load_connectors().mode == ("managed" if core_rule() else "self_hosted")
        assert connector_loader.is_managed_mode() is core_rule()
    warned = [one.getMessage().partition(" ")[0] for one in caplog.records if one.levelno == logging.WARNING]
    unknown = "cloud" in settings.values() or "ture" in settings.values()
    wanted = not core_rule() and bool({"hosted", " HOSTED ", "true", "On"} & set(settings.values()))
    assert sorted(warned) == ["mode.self_hosted"] * wanted + ["mode.unreadable"] * unknown


# --- the bundle


def test_the_bundle_has_the_cores_shape(core):
    """Frozen, `mode` and `payment` first and by position; an instance of the core's own, as its connectors are."""
    from mozaiks_app.connectors import base, mock
    from mozaiks_app.connectors import managed as client
    from mozaiks_app.runtime import connector_loader

    old = connector_loader.ConnectorBundle
    adapter.install()
    bundle = loaded()
    assert isinstance(bundle, old)
    names = [one.name for one in dataclasses.fields(bundle)]
    assert names == ["mode", "payment", "hosting", "discovery", "identity", "billing", "service", "_inner"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        bundle.mode = "managed"
    own = connector_loader.ConnectorBundle("self_hosted", mock.MockPaymentConnector())
    assert own.mode == "self_hosted"
    assert own.identity is None
    assert isinstance(bundle.payment, mock.MockPaymentConnector | base.PaymentConnector)
    managed(core)
    assert isinstance(loaded().payment, client.ManagedPaymentConnector)
    assert isinstance(loaded().payment, base.PaymentConnector)
    assert loaded().identity is loader.load_connectors().identity


@pytest.mark.parametrize("mode", ["managed", "self_hosted"])
def test_the_signatures_are_the_cores(core, mode):
    """Names, kinds and what is required; the app's id may be left out, as a route may."""
    from mozaiks_app.connectors.base import PaymentConnector

    if mode == "managed":
        managed(core)
    adapter.install()
    for name in PaymentConnector.__abstractmethods__:
        ours, theirs = (
            inspect.signature(getattr(kind, name)).parameters for kind in (type(loaded().payment), PaymentConnector)
        )
        assert [(one.name, one.kind) for one in ours.values()] == [(one.name, one.kind) for one in theirs.values()]
        required = {one.name for one in ours.values() if one.default is one.empty}
        assert required <= {one.name for one in theirs.values() if one.default is one.empty}


def test_the_environment_is_read_at_each_call(core):
    """The same bundle for the same settings; `get_connectors` keeps the first one until the reset."""
    from mozaiks_app import connectors as package

    managed(core)
    core.delenv("MOZAIKS_MANAGED")
    adapter.install()
    first = package.get_connectors()
    managed(core)
    second = loaded()
    assert first.mode == "self_hosted"
    assert second.mode == "managed"
    assert loaded() is second
    core.delenv("MOZAIKS_MANAGED")
    assert loaded() is first
    managed(core)
    assert loaded() is second
    assert package.get_connectors() is first
    package.reset_connectors()
    assert package.get_connectors().mode == "managed"


def test_plugins_of_both_interfaces_share_one_bundle(core):
    """One circuit breaker per service in the process."""
    managed(core)
    adapter.install()
    client = loader.client_of(loader.load_connectors(), "payment")
    assert loaded().payment._http is client
    with pytest.raises(ConfigError, match="nothing: this bundle has no client of it"):
        loader.client_of(loader.load_connectors(), "nothing")


def test_a_process_wide_bundle_of_the_host_is_the_cores_too(core):
    """A host that loads one with its own layers."""
    adapter.install()
    config = loader.ConnectorConfig(managed_mode=True, gateway_base_url=URL)
    own = loader.load_connectors(config, process_wide=True)
    assert loaded().mode == "managed"
    assert loaded().identity is own.identity


@pytest.mark.sockets
async def test_the_lifespan_of_a_core_has_its_policy_and_its_lines(core, routes, caplog):
    """Its process-wide bundle is made as those of the adapter, and closed when the server stops."""
    caplog.set_level(logging.INFO)
    app = FastAPI()
    async with RawServer(lambda _: ACTIVE) as server, routes() as client:
        managed(core, server.url)
        adapter.install()
        async with connectors_lifespan(process_wide=True)(app) as state:
            inner = state["connectors"]
            assert loaded().identity is inner.identity
            assert loader.client_of(inner, "payment").policy().attempt.timeout_s == 10.0
            found = await client.get("/api/mozaiks/pay/subscription-status?scope=platform")
        assert inner.health().state == "closed"
    assert found.json()["active"] is True
    assert [line["event"] for _, _, line in core_lines(caplog)] == ["gateway.request", "gateway.response"]


@pytest.mark.sockets
async def test_the_hosts_listener_and_layers_are_in_the_bundle(core, caplog):
    """In addition to the core's lines."""
    caplog.set_level(logging.INFO)
    events, seen = [], []

    async def layer(request, call_next):
        seen.append(request.call.info.service)
        return await call_next(request)

    async with RawServer(lambda _: ACTIVE) as server:
        managed(core, server.url)
        adapter.install(telemetry=Telemetry(listener=events.append), middleware=HostLayers(call=[layer]))
        assert (await loaded().payment.subscription_status(**STATUS)).active
        await close()
    assert seen == ["payment"]
    assert {type(one).__name__ for one in events} >= {"CallStarted", "AttemptStarted", "CallFinished"}
    assert [line["event"] for _, _, line in core_lines(caplog)] == ["gateway.request", "gateway.response"]


@pytest.mark.sockets
async def test_a_host_that_wants_silence_gets_the_cores_lines_alone(core, caplog):
    """No log lines of ours; spans and metrics are off by the same switch."""
    async with RawServer(lambda _: ACTIVE) as server:
        managed(core, server.url)
        adapter.install(telemetry=Telemetry(silent=True))
        caplog.set_level(logging.DEBUG)
        assert (await loaded().payment.subscription_status(**STATUS)).active
        await close()
    names = [one.name for one in caplog.records]
    assert [name for name in names if name.startswith("mozaiks.connectors")] == []
    assert len(core_lines(caplog)) == 2


# --- through the core's routes


@pytest.fixture
def routes(core):
    from mozaiks_app.routes import mozaiks

    app = FastAPI()
    app.include_router(mozaiks.router)

    def client():
        transport = httpx.ASGITransport(app)
        headers = {"authorization": f"Bearer {JWT}", "x-correlation-id": ID}
        return httpx.AsyncClient(transport=transport, base_url="http://core", headers=headers)

    return client


@pytest.mark.sockets
async def test_the_cores_routes_serve_managed_calls(core, routes):
    """Validated by the core's own models; one bundle for all requests, so one connection."""
    bodies = {
        "/api/mozaiks/pay/checkout": b'{"sessionId": "s", "checkoutUrl": "u"}',
        "/api/mozaiks/pay/cancel": b'{"success": true}',
    }
    body = b'{"isActive": true, "planId": "pro"}'
    async with (
        RawServer(lambda seen: ok(bodies.get(seen.target, body), b"content-type: application/json")) as server,
        routes() as client,
    ):
        managed(core, server.url)
        adapter.install()
        prefix = "/api/mozaiks/pay"
        found = await client.get(f"{prefix}/subscription-status?scope=app&appId=a-1")
        assert found.status_code == 200
        assert found.json() | {"planId": "pro"} == found.json()
        assert {key: found.json()[key] for key in ("scope", "appId", "active", "status", "plan")} == {
            "scope": "app", "appId": "a-1", "active": True, "status": "active", "plan": "pro",
        }  # fmt: skip
        made = await client.post(f"{prefix}/checkout", json={"scope": "platform", "plan": "pro"})
        assert made.json() == {"sessionId": "s", "checkoutUrl": "u"}
        ended = await client.post(f"{prefix}/cancel", json={"scope": "platform"})
        assert ended.json() == {"success": True, "ok": True}
        await close()
    assert len(server.peers) == 1
    assert {one.headers["x-correlation-id"] for one in server.requests} == {ID}


async def test_the_cores_routes_serve_self_hosted_calls(core, routes):
    """The mocks' objects pass the core's models."""
    adapter.install()
    async with routes() as client:
        made = await client.post("/api/mozaiks/pay/checkout", json={"scope": "platform"})
    assert made.json()["checkoutUrl"] == "self_hosted_mode"


@pytest.mark.sockets
@pytest.mark.parametrize("imported", ["before", "after"])
async def test_the_line_of_the_guide_is_the_whole_swap(core, request, imported):
    """It alone, before or after the routes are imported; then a route, and the plugin of the guide, are served by ours."""
    swap, plugin = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    assert len(swap.splitlines()) == 1
    client = request.getfixturevalue("routes") if imported == "before" else None
    # Neither status nor flag: the core's own client reads it as active.
    async with RawServer(lambda _: ok(b"{}", b"content-type: application/json")) as server:
        managed(core, server.url)
        exec(swap, {})  # noqa: S102 - our own document
        async with (client or request.getfixturevalue("routes"))() as http:
            found = await http.get("/api/mozaiks/pay/subscription-status?scope=platform")
        assert (found.json()["active"], found.json()["status"]) == (False, "unavailable")
        names = {}
        exec(plugin, names)  # noqa: S102 - our own document
        assert await names["subscription"](JWT) == "unavailable"
        assert names["core"].payment is loaded().payment
        await close()
    assert [one.headers["authorization"] for one in server.requests] == [f"Bearer {JWT}"] * 2
    assert len(server.peers) == 1


# --- calls


@pytest.mark.sockets
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_bundle_serves_several_event_loops(core, tmp_path):
    """The incumbent keeps no connections, and so works in any."""
    from runtime.gateway import DEFAULT_API_KEY, GatewayProcess

    with GatewayProcess() as platform:
        managed(core, platform.url, GATEWAY_API_KEY=DEFAULT_API_KEY)
        adapter.install()
        payment = loaded().payment
        for _ in range(3):
            found = asyncio.run(payment.subscription_status(**{**STATUS, "user_jwt": "token-ada"}))
            assert found.active
        adapter.reset_connectors()
        gc.collect()  # connections of loops that have ended are closed at their collection alone


async def test_health_of_the_cores_calls_is_that_of_the_loaders_bundle(core):
    """The core's bundle has the core's shape; `health`, `bind` and `drain` are in the one that it is made of."""
    async with RawServer(lambda _: b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as server:
        managed(core, server.url)
        adapter.install()
        await loaded().payment.subscription_status(**STATUS)
        last = loader.get_connectors().health().services["payment"].last_error
        await close()
    assert last.operation == "subscription_status"
    assert last.status == 403
