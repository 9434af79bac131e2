"""The loader: which bundle for which settings, how cheap, across loops and threads."""

import asyncio
import dataclasses
import gc
import os
import threading

import pytest

from middleware import ClientClosedError, ConfigError
from runtime.connectors.loader import (
    ConnectorBundle,
    ConnectorConfig,
    get_connectors,
    is_managed_mode,
    load_connectors,
    reset_connectors,
)
from runtime.gateway import DEFAULT_API_KEY, Gateway, GatewayProcess

URL = "http://gateway.test/base"


@pytest.mark.parametrize(
    ("mode", "managed", "url", "expected"),
    [
        (None, None, None, False),
        (None, None, URL, False),
        (None, "true", None, False),
        (None, "true", URL, True),
        ("hosted", None, URL, True),
        ("hosted", "false", URL, True),
        ("hosted", "true", None, False),
        ("hosted", "true", "  ", False),
        ("self_host", "true", URL, True),
        ("self_host", None, URL, False),
        (" HOSTED ", None, URL, True),
        (None, " Yes ", URL, True),
        (None, "on", URL, True),
        (None, "y", URL, True),
        (None, "1", URL, True),
        (None, "2", URL, False),
    ],
)
def test_managed_mode_needs_a_switch_and_a_url(no_settings, mode, managed, url, expected):
    """Either switch is enough; without the URL it is self-hosted."""
    given = {"MOZAIKS_HOSTING_MODE": mode, "MOZAIKS_MANAGED": managed, "MOZAIKS_GATEWAY_BASE_URL": url}
    for name, value in given.items():
        if value is not None:
            no_settings.setenv(name, value)
    assert is_managed_mode() is expected
    assert load_connectors().mode == ("managed" if expected else "self_hosted")


def test_the_bundle_is_frozen_and_keyword_only():
    """The contract's fields in its order, then payment and mode."""
    bundle = load_connectors(ConnectorConfig())
    names = [field.name for field in dataclasses.fields(bundle) if not field.name.startswith("_")]
    expected = ["hosting", "discovery", "identity", "billing", "service", "payment", "mode"]
    assert [name for name in names if name in expected] == expected
    with pytest.raises(dataclasses.FrozenInstanceError):
        bundle.mode = "managed"
    with pytest.raises(TypeError):
        ConnectorBundle(None, None, None, None, None, None, "managed")


def test_the_same_settings_give_the_same_bundle(no_settings):
    """The core loads once per request."""
    no_settings.setenv("MOZAIKS_MANAGED", "true")
    no_settings.setenv("MOZAIKS_GATEWAY_BASE_URL", URL)
    first = load_connectors()
    assert load_connectors() is first
    no_settings.setenv("MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS", "2")
    second = load_connectors()
    assert second is not first
    assert second.identity._http.policy().retry.max_attempts == 2


def test_get_connectors_keeps_the_first_bundle_until_reset(no_settings):
    """A change of the environment is taken up only after a reset."""
    first = get_connectors()
    no_settings.setenv("MOZAIKS_MANAGED", "true")
    no_settings.setenv("MOZAIKS_GATEWAY_BASE_URL", URL)
    assert get_connectors() is first
    reset_connectors()
    assert get_connectors().mode == "managed"


def test_another_systems_key_is_never_read(no_settings):
    """MOZAIKS_API_KEY belongs to telemetry push."""
    env = {"MOZAIKS_API_KEY": "moz_live_other", "MOZAIKS_GATEWAY_API_KEY": "  "}
    assert ConnectorConfig.from_env(env).api_key is None


def test_the_key_is_not_shown():
    """Not in the config's repr, nor in a client's."""
    config = ConnectorConfig(managed_mode=True, gateway_base_url=URL, api_key="moz_live_secret")
    assert "moz_live_secret" not in repr(config) + repr(load_connectors(config).identity._http)


@pytest.mark.parametrize(
    "url",
    ["gateway", "ftp://gateway", "http://", "http://user:hunter2@gateway", "http://gateway?x=1", "http://h:99999"],
)
def test_a_bad_url_names_its_setting(url):
    """And does not show what may be a password."""
    env = {"MOZAIKS_MANAGED": "1", "MOZAIKS_GATEWAY_BASE_URL": url}
    with pytest.raises(ConfigError, match="MOZAIKS_GATEWAY_BASE_URL") as caught:
        ConnectorConfig.from_env(env)
    assert "hunter2" not in str(caught.value)


async def test_identity_goes_to_the_core_url(gateway):
    """The core's APIs may live elsewhere than the gateway."""
    async with Gateway() as core:
        config = ConnectorConfig(
            managed_mode=True, gateway_base_url=gateway.url, core_base_url=core.url, api_key=DEFAULT_API_KEY
        )
        async with load_connectors(config) as bundle:
            await bundle.identity.get_user("user_1")
            await bundle.service.list_items()
    assert [request.path for request in core.requests] == ["/api/users/user_1"]
    assert [request.path for request in gateway.requests] == ["/api/service/items"]


async def test_a_closed_bundle_refuses_calls(gateway):
    """With a typed error; closing twice is fine."""
    bundle = load_connectors(ConnectorConfig(managed_mode=True, gateway_base_url=gateway.url, api_key=DEFAULT_API_KEY))
    await bundle.identity.get_user("user_1")
    await bundle.aclose()
    await bundle.aclose()
    with pytest.raises(ClientClosedError):
        await bundle.identity.get_user("user_1")


def _open_descriptors():
    return len(os.listdir("/proc/self/fd"))


async def test_two_hundred_loads_share_their_connections(no_settings, gateway):
    """A load per request leaks nothing: connections within the limit, descriptors flat."""
    no_settings.setenv("MOZAIKS_MANAGED", "true")
    no_settings.setenv("MOZAIKS_GATEWAY_BASE_URL", gateway.url)
    no_settings.setenv("MOZAIKS_GATEWAY_API_KEY", DEFAULT_API_KEY)
    no_settings.setenv("MOZAIKS_CONNECTORS_BULKHEAD_PERMITS", "8")
    await asyncio.gather(*(load_connectors().service.list_items() for _ in range(20)))
    before = _open_descriptors()
    await asyncio.gather(*(load_connectors().service.list_items() for _ in range(200)))
    assert len(gateway.requests) == 220
    assert gateway.connections_peak <= 8
    assert _open_descriptors() <= before
    await load_connectors().aclose()


def managed(gateway):
    return load_connectors(ConnectorConfig(managed_mode=True, gateway_base_url=gateway.url, api_key=DEFAULT_API_KEY))


def in_three_loops(gateway):
    bundle = managed(gateway)

    async def call():
        return (await bundle.identity.get_user("user_1")).username

    return [asyncio.run(call()) for _ in range(3)]


def in_four_threads(gateway):
    bundle, found = managed(gateway), []

    async def calls():
        for _ in range(25):
            user = await bundle.identity.get_user("user_1")
            found.append(user.username)

    threads = [threading.Thread(target=lambda: asyncio.run(calls())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


# A loop that is gone cannot close its connections politely: the collector does, here, where it is expected.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("scenario", "calls"), [(in_three_loops, 3), (in_four_threads, 100)])
def test_one_bundle_works_across_loops_and_threads(scenario, calls):
    """The core re-creates its loop and uses threads: each loop has connections of its own, the policies are shared."""
    with GatewayProcess() as gateway:
        assert scenario(gateway) == ["ada"] * calls
        assert gateway.stats()["requests"] == calls
        gc.collect()
