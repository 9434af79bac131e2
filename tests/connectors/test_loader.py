"""The loader: which bundle for which settings, how cheap, across loops and threads."""

import asyncio
import contextlib
import dataclasses
import gc
import os
import threading
import weakref

import pytest
from forked import run_forked

from middleware import CallError, ClientClosedError, ConfigError, HostLayers, LocalRejectionError, Telemetry
from runtime.connectors import loader
from runtime.connectors.base import PlatformHttpClient
from runtime.connectors.loader import (
    ConnectorBundle,
    ConnectorConfig,
    get_connectors,
    load_connectors,
    reset_connectors,
    services_and_operations,
)
from runtime.gateway import DEFAULT_API_KEY, Fault, Gateway, GatewayProcess

URL = "http://gateway.test/base"


def lines(caplog):
    """Return the log records of the mode."""
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "mozaiks.mode"]


def test_every_problem_is_listed_at_once():
    """Words, settings, the URL, and names that may explain them."""
    environ = {
        "MOZAIKS_HOSTING_MODE": "hosted",
        "MOZAIKS_MANAGED": "ture",
        "MOZAIKS_GATEWAY_BASE_URL": "gateway",
        "MOZAIKS_CORE_BASE_URL": "core",
        "MOZAIKS_CONNECTORS_RETRY_MAX_ATEMPTS": "2",
        "MOZAIKS_GATEWAY_APIKEY": "k",
    }
    with pytest.raises(ConfigError) as caught:
        ConnectorConfig.from_env(environ)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "MOZAIKS_MANAGED",
        "MOZAIKS_CONNECTORS_RETRY_MAX_ATEMPTS",
        "MOZAIKS_GATEWAY_BASE_URL",
        "MOZAIKS_CORE_BASE_URL",
        "MOZAIKS_GATEWAY_APIKEY",
    ]


ON = "MOZAIKS_MANAGED is on"
NEITHER = "neither MOZAIKS_HOSTING_MODE nor MOZAIKS_MANAGED switches managed mode on"
NO_URL = "but MOZAIKS_GATEWAY_BASE_URL is not set"
SET = "and MOZAIKS_GATEWAY_BASE_URL is set"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MOZAIKS_GATEWAY_BASEURL", "MOZAIKS_GATEWAY_BASE_URL"),
        ("MOZAIKS_GATEWAY_BASE_URLS", "MOZAIKS_GATEWAY_BASE_URL"),
        ("MOZAIKS_GATEWAY_BASE-URL", "MOZAIKS_GATEWAY_BASE_URL"),
        ("MOZAIKS_MANGAED", "MOZAIKS_MANAGED"),
        ("MOZAIK_MANAGED", "MOZAIKS_MANAGED"),
        ("MOZAIKS_HOSTINGMODE", "MOZAIKS_HOSTING_MODE"),
        ("MOZAIKS_GATEWAY_APIKEY", "MOZAIKS_GATEWAY_API_KEY"),
        ("MOZAIKS_CORE_BASE_URI", "MOZAIKS_CORE_BASE_URL"),
        ("MOZAIKS_CONNECTOR_REQUIRE_MANAGED", "MOZAIKS_CONNECTORS_REQUIRE_MANAGED"),
        ("MOZAIKS_CONECTORS_FILE", "MOZAIKS_CONNECTORS_FILE"),
        ("MOZAIKS_CONNECTOR_RETRY_MAX_ATTEMPTS", "MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS"),
        (
            "MOZAIKS_CONENCTORS_HOSTING__DEPLOY__RETRY_MAX_ATTEMPTS",
            "MOZAIKS_CONNECTORS_HOSTING__DEPLOY__RETRY_MAX_ATTEMPTS",
        ),
    ],
)
@pytest.mark.parametrize("managed", [False, True])
def test_a_name_one_edit_away_is_reported(no_settings, caplog, name, meant, managed):
    """In both modes, once per bundle, and in the reason for self-hosted mode. Its value is in neither."""
    problem = f"{name}: no such setting; did you mean {meant}?"
    if managed:
        no_settings.setenv("MOZAIKS_MANAGED", "1")
        no_settings.setenv("MOZAIKS_GATEWAY_BASE_URL", URL)
    no_settings.setenv(name, "hunter2")
    bundle = load_connectors()
    assert load_connectors() is bundle
    assert lines(caplog) == [("WARNING", f"settings.unknown {problem}")]
    assert bundle.mode_reason == (f"{ON}, {SET}" if managed else f"{NEITHER}; {problem}")
    assert "hunter2" not in caplog.text


def test_what_is_not_at_its_default_is_logged_once_per_bundle(no_settings, tmp_path, caplog):
    """Each value with its default, its origin and its scope, and what of the file a variable shadows; in one line."""
    caplog.set_level("INFO")
    file = tmp_path / "settings.toml"
    file.write_text(
        "[retry]\nmax_attempts = 4\nbase_delay_s = 0.1\n[services.hosting.operations.deploy.retry]\nmax_attempts = 1\n"
    )
    no_settings.setenv("MOZAIKS_MANAGED", "true")
    no_settings.setenv("MOZAIKS_GATEWAY_BASE_URL", URL)
    load_connectors()
    assert lines(caplog) == [("INFO", "settings.loaded every value is the default")]
    caplog.clear()
    no_settings.setenv("MOZAIKS_CONNECTORS_FILE", str(file))
    no_settings.setenv("MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS", "5")
    for _ in range(2):
        load_connectors()
    (line,) = lines(caplog)
    said = (
        "settings.loaded retry.max_attempts: 3 (default) -> 5, from MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS; "
        f"hosting.deploy.retry.max_attempts: 3 (default) -> 1, from {file}:5: services.hosting.operations.deploy.retry."
        f"max_attempts; {file}:2: retry.max_attempts = 4 is overridden by MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS"
    )
    assert line == ("INFO", said)


def test_mocks_have_no_settings_to_log(no_settings, caplog):
    """Nothing is in force that a value could change."""
    caplog.set_level("INFO")
    no_settings.setenv("MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS", "5")
    assert load_connectors().mode == "self_hosted"
    assert lines(caplog) == []


def test_the_typo_behind_a_missing_url_is_in_the_reason(no_settings, caplog):
    """The warning about self-hosted mode says what to do about it."""
    no_settings.setenv("MOZAIKS_MANAGED", "true")
    no_settings.setenv("MOZAIKS_GATEWAY_BASEURL", URL)
    reason = load_connectors().mode_reason
    assert reason.endswith(
        "is not set; MOZAIKS_GATEWAY_BASEURL: no such setting; did you mean MOZAIKS_GATEWAY_BASE_URL?"
    )
    assert ("WARNING", f"mode.self_hosted {reason}") in lines(caplog)


def test_a_reported_name_cannot_forge_a_line(no_settings, caplog):
    """A line break in it is shown as an escape."""
    no_settings.setenv("MOZAIKS_MANAGED\n", "1")
    load_connectors()
    assert lines(caplog) == [
        ("WARNING", "settings.unknown MOZAIKS_MANAGED\\n: no such setting; did you mean MOZAIKS_MANAGED?")
    ]


# Names that the core, its telemetry push, its billing and the second generation's clients read.
OTHERS = [
    "MOZAIKS_APP_ID",
    "MOZAIKS_API_KEY",
    "MOZAIKS_SDK_VERSION",
    "MOZAIKS_PLATFORM_URL",
    "MOZAIKS_PLATFORM_CLIENT_ID",
    "MOZAIKS_PLATFORM_CLIENT_SECRET",
    "MOZAIKS_PLATFORM_TOKEN_SCOPE",
    "MOZAIKS_PLATFORM_API_KEY",
    "MOZAIKS_BILLING_PROVIDER",
    "MOZAIKS_USAGE_BATCH_SIZE",
    "MOZAIKS_USAGE_FLUSH_INTERVAL",
    "MOZAIKS_ALLOWED_SERVICE_KEYS",
    "MOZAIKS_PLUGIN_TIMEOUT_SECONDS",
    "MOZAIKS_PLUGINS_PATH",
    "MOZAIKS_CONFIGS_PATH",
    "MOZAIKS_LOAD_DOTENV",
    "MOZAIKS_CLOUD_API_BASE",
    "MOZAIKS_CLOUD_API_KEY",
    "MOZAIKS_CLOUD_APP_ID",
    "MOZAIKS_CLOUD_USAGE_API_KEY",
    "MOZAIKSPAY_API_BASE",
    "MOZAIKSPAY_API_KEY",
    "MOZAIKSPAY_CLIENT_ID",
    "MOZAIKSPAY_CLIENT_SECRET",
    "MOZAIKS_BACKEND_URL",
    "MOZAIKS_VENV",
    "PLATFORM_GATEWAY_URL",
    "INSIGHTS_API_BASE_URL",
    "INSIGHTS_BASE_URL",
    "MONETIZATION",
    "ENV",
    "PORT",
    "LOGS_AS_JSON",
    "PATH",
]


def test_other_programs_names_are_no_typos(no_settings, caplog):
    """The core has other variables with the same prefix."""
    for name in OTHERS:
        no_settings.setenv(name, "1")
    assert load_connectors().mode_reason == NEITHER
    assert caplog.records == []


@pytest.mark.parametrize("by", ["variable", "argument"])
def test_managed_mode_can_be_required(no_settings, caplog, by):
    """Mocks are then an error at load, with the reason; managed mode loads as usual."""
    required = {"require_managed": True} if by == "argument" else {}
    place = "require_managed" if by == "argument" else "MOZAIKS_CONNECTORS_REQUIRE_MANAGED"
    if by == "variable":
        no_settings.setenv(place, " Yes ")
    no_settings.setenv("MOZAIKS_MANAGED", "true")
    for load in (load_connectors, ConnectorConfig.from_env):
        with pytest.raises(ConfigError) as caught:
            load(**required)
        assert caught.value.problems == (f"{place}: managed mode is required, but {ON}, {NO_URL}",)
    no_settings.setenv("MOZAIKS_GATEWAY_BASEURL", URL)
    with pytest.raises(ConfigError, match=r"did you mean MOZAIKS_GATEWAY_BASE_URL\?"):
        load_connectors(**required)
    assert caplog.records == []
    no_settings.delenv("MOZAIKS_GATEWAY_BASEURL")
    no_settings.setenv("MOZAIKS_GATEWAY_BASE_URL", URL)
    assert load_connectors(**required).mode == "managed"
    assert ConnectorConfig.from_env(**required).managed_mode


def test_mocks_that_are_loaded_already_do_not_pass_for_managed(no_settings):
    """Some other caller may have loaded them for the same settings."""
    assert load_connectors().mode == "self_hosted"
    with pytest.raises(ConfigError, match=f"^require_managed: managed mode is required, but {NEITHER}$"):
        load_connectors(require_managed=True)
    with pytest.raises(ConfigError, match=r"^require_managed: "):
        load_connectors(ConnectorConfig(), require_managed=True)
    config = ConnectorConfig(managed_mode=True, gateway_base_url=URL)
    assert load_connectors(config, require_managed=True).mode == "managed"


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_nothing_is_required_unless_asked_for(no_settings, value):
    """Self-hosted mode needs no setting at all."""
    no_settings.setenv("MOZAIKS_CONNECTORS_REQUIRE_MANAGED", value)
    assert load_connectors().mode == "self_hosted"


def test_the_environments_config_takes_telemetry(recorder):
    """A host with telemetry of its own keeps the environment's mode."""
    environ = {"MOZAIKS_MANAGED": "true", "MOZAIKS_GATEWAY_BASE_URL": URL}
    config = ConnectorConfig.from_env(environ, telemetry=recorder.telemetry)
    assert (config.managed_mode, config.telemetry) == (True, recorder.telemetry)
    assert ConnectorConfig.from_env(environ).telemetry == Telemetry()


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"MOZAIKS_MANAGED": "true"}, f"mode.self_hosted {ON}, {NO_URL}\n"),
        (
            {"MOZAIKS_MANGED": "true"},
            "settings.unknown MOZAIKS_MANGED: no such setting; did you mean MOZAIKS_MANAGED?\n",
        ),
        ({}, ""),
    ],
)
def test_a_program_without_logging_prints_the_warning(no_settings, setting, expected):
    """Mocks are never used without a warning, whatever the host has configured."""
    program = "from runtime.connectors.loader import load_connectors; load_connectors()"
    result = run_forked(program, env={**os.environ, **setting})
    assert (result.returncode, result.stdout, result.stderr) == (0, "", expected)


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


def alive(kind):
    """How many objects of *kind* there are."""
    gc.collect()
    return sum(isinstance(found, kind) for found in gc.get_objects())


def change(environment, number):
    """Set something that makes another bundle."""
    environment.setenv("MOZAIKS_GATEWAY_API_KEY", f"key-{number}")


@pytest.mark.parametrize("library", ["httptools", "httpcore", "aiohttp"])
async def test_bundles_of_settings_that_are_gone_are_let_go(no_settings, gateway, library):
    """After 50 changes, each followed by a call, there is one bundle with its clients."""
    no_settings.setenv("MOZAIKS_MANAGED", "true")
    no_settings.setenv("MOZAIKS_GATEWAY_BASE_URL", gateway.url)
    no_settings.setenv("MOZAIKS_CONNECTORS_TRANSPORT_LIBRARY", library)
    before = alive(ConnectorBundle), alive(PlatformHttpClient)
    for number in range(50):
        change(no_settings, number)
        with contextlib.suppress(CallError):
            await load_connectors().identity.get_user("user_1")
    assert len(gateway.requests) == 50
    services = len(services_and_operations())
    assert alive(ConnectorBundle) == before[0] + 1
    assert alive(PlatformHttpClient) == before[1] + services
    await load_connectors().aclose()


async def test_a_call_begun_before_a_change_ends_well(no_settings, gateway):
    """Its caller has the connector alone; idle connections are closed at once, and its own afterwards."""
    no_settings.setenv("MOZAIKS_MANAGED", "true")
    no_settings.setenv("MOZAIKS_GATEWAY_BASE_URL", gateway.url)
    no_settings.setenv("MOZAIKS_GATEWAY_API_KEY", DEFAULT_API_KEY)
    bundle = load_connectors()
    people, gone = bundle.identity, weakref.ref(bundle)
    await asyncio.gather(*(people.get_user("user_1") for _ in range(3)))
    assert gateway.connections_open == 3
    gateway.script(Fault(kind="latency", seconds=0.3))
    busy = asyncio.create_task(people.get_user("user_1"))
    while len(gateway.requests) < 4:
        await asyncio.sleep(0.01)
    no_settings.setenv("MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS", "2")
    assert load_connectors() is not bundle
    while gateway.connections_open > 1:
        await asyncio.sleep(0.01)
    assert not busy.done()
    del bundle
    gc.collect()
    assert gone() is None
    assert (await busy).username == "ada"
    assert (await people.get_user("user_1")).username == "ada"  # a caller that has it goes on
    await load_connectors().aclose()


def test_settings_that_come_back_give_the_bundle_that_is_still_in_use(no_settings):
    """R3: one breaker per service and settings; without a caller it is made anew."""
    change(no_settings, 1)
    kept = get_connectors()
    for number in (2, 1, 3, 1):
        change(no_settings, number)
        assert (load_connectors() is kept) is (number == 1)
    assert get_connectors() is kept
    change(no_settings, 4)
    load_connectors()
    reset_connectors()
    change(no_settings, 1)
    assert load_connectors() is not kept


def test_a_reset_closes_the_bundles_of_earlier_settings(no_settings):
    """As long as a caller has one."""
    no_settings.setenv("MOZAIKS_MANAGED", "true")
    no_settings.setenv("MOZAIKS_GATEWAY_BASE_URL", URL)
    change(no_settings, 1)
    earlier = load_connectors()
    change(no_settings, 2)
    load_connectors()
    reset_connectors()

    async def call():
        with pytest.raises(ClientClosedError):
            await earlier.identity.get_user("u")

    asyncio.run(call())


def test_settings_that_cannot_be_used_keep_the_bundle_of_the_last(no_settings):
    """The error is raised at each load, and the bundle is there again once they are mended."""
    first = load_connectors()
    no_settings.setenv("MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS", "none")
    for _ in range(2):
        with pytest.raises(ConfigError, match="RETRY_MAX_ATTEMPTS"):
            load_connectors()
    no_settings.delenv("MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS")
    assert load_connectors() is first


def test_names_are_compared_once_per_set_of_names(no_settings, monkeypatch):
    """A host that changes its settings does not pay for it again; each bundle reports what it found."""
    compared = []
    real = loader.look_alikes
    monkeypatch.setattr(loader, "look_alikes", lambda names, known: compared.append(names) or real(names, known))
    loader._look_alikes.cache_clear()
    no_settings.setenv("MOZAIKS_MANGAED", "1")
    reasons = set()
    for number in range(5):
        change(no_settings, number)
        reasons.add(load_connectors().mode_reason)
    assert len(compared) == 1
    assert [reason.partition("; ")[2] for reason in reasons] == [
        "MOZAIKS_MANGAED: no such setting; did you mean MOZAIKS_MANAGED?"
    ]
    no_settings.setenv("ANOTHER", "1")
    change(no_settings, 6)
    load_connectors()
    assert len(compared) == 2


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


async def test_a_closed_bundle_rejects_calls(gateway):
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
@pytest.mark.sockets
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("scenario", "calls"), [(in_three_loops, 3), (in_four_threads, 100)])
def test_one_bundle_works_across_loops_and_threads(scenario, calls):
    """The core re-creates its loop and uses threads: each loop has connections of its own, the policies are shared."""
    with GatewayProcess() as gateway:
        assert scenario(gateway) == ["ada"] * calls
        assert gateway.stats()["requests"] == calls
        gc.collect()


async def reject(request, call_next):
    """A layer of a host that lets nothing through."""
    raise LocalRejectionError(f"no {request.call.info.service} today")


async def test_a_configs_own_layers_are_around_every_service(gateway):
    """A host gives them once; the environment's config takes them too."""
    own = HostLayers(call=[reject])
    environ = {
        "MOZAIKS_MANAGED": "true",
        "MOZAIKS_GATEWAY_BASE_URL": gateway.url,
        "MOZAIKS_GATEWAY_API_KEY": DEFAULT_API_KEY,
    }
    config = ConnectorConfig.from_env(environ, middleware=own)
    assert config.middleware is own
    assert ConnectorConfig.from_env(environ).middleware == HostLayers()
    async with load_connectors(config) as bundle:
        for connector in (bundle.hosting, bundle.discovery, bundle.identity, bundle.billing, bundle.service):
            assert "reject" in connector._http.describe()
        assert "reject" in bundle.payment._http.describe()
        with pytest.raises(LocalRejectionError, match="no identity today"):
            await bundle.identity.get_user("user_1")
        with pytest.raises(LocalRejectionError, match="no service today"):
            await bundle.service.list_items()
    assert gateway.requests == []


@pytest.mark.parametrize("managed_mode", [False, True])
def test_layers_that_are_none_are_an_error_of_the_config(managed_mode):
    """In either mode, before any call."""
    with pytest.raises(ConfigError, match=r"^middleware: must be HostLayers, got list$"):
        ConnectorConfig(managed_mode=managed_mode, gateway_base_url=URL, middleware=[reject])
    with pytest.raises(ConfigError, match=r"^middleware: must be HostLayers, got list$"):
        ConnectorConfig.from_env({}, middleware=[reject])


MANAGED_CONFIG = ConnectorConfig(managed_mode=True, gateway_base_url=URL)


@pytest.mark.parametrize("config", [MANAGED_CONFIG, ConnectorConfig()], ids=["managed", "self_hosted"])
@pytest.mark.parametrize("end", ["aclose", "request_close", "with"])
def test_a_process_wide_bundle_is_every_callers_until_it_is_closed(no_settings, config, end):
    """R3: one breaker per service in the process; then the environment's bundle again, as before."""
    from_environment = get_connectors()
    bundle = load_connectors(config, process_wide=True)
    assert bundle.mode == ("managed" if config.managed_mode else "self_hosted")
    assert load_connectors() is get_connectors() is bundle
    if end == "aclose":
        asyncio.run(bundle.aclose())
    elif end == "request_close":
        bundle.request_close()
    else:

        async def use():
            async with bundle:
                assert load_connectors() is bundle

        asyncio.run(use())
    assert load_connectors() is get_connectors() is from_environment
    bundle.request_close()
    second = load_connectors(config, process_wide=True)
    assert second is not bundle
    bundle.request_close()  # once more, of a bundle that is process-wide no longer
    assert get_connectors() is second


def test_the_old_name_of_request_close_works_and_warns(no_settings):
    """For this release a host that calls `close_soon` closes its bundle, and reads the new name."""
    bundle = load_connectors(ConnectorConfig(), process_wide=True)
    with pytest.warns(DeprecationWarning, match="close_soon is now called request_close"):
        bundle.close_soon()
    assert get_connectors() is not bundle


def test_get_connectors_does_not_keep_a_process_wide_bundle(no_settings):
    """Asked for the first time while there is one, it still loads the environment's afterwards."""
    bundle = load_connectors(ConnectorConfig(), process_wide=True)
    assert get_connectors() is bundle
    bundle.request_close()
    assert get_connectors() is load_connectors() is not bundle


def test_there_is_one_process_wide_bundle_at_a_time(no_settings):
    """The second one is an error, and the first one stays."""
    bundle = load_connectors(ConnectorConfig(), process_wide=True)
    with pytest.raises(ConfigError, match=r"^process_wide: another bundle is process-wide; close it first$"):
        load_connectors(MANAGED_CONFIG, process_wide=True)
    assert load_connectors() is bundle
    own = load_connectors(MANAGED_CONFIG)
    assert own is not bundle
    own.request_close()
    assert load_connectors() is bundle


def test_a_config_that_fails_leaves_no_process_wide_bundle(no_settings):
    """Neither an unusable one nor one that is not managed as required; and there has to be a config."""
    unusable = dataclasses.replace(MANAGED_CONFIG, api_key="not a key")
    with pytest.raises(ConfigError, match=r"^api_key: "):
        load_connectors(unusable, process_wide=True)
    with pytest.raises(ConfigError, match=r"^require_managed: "):
        load_connectors(ConnectorConfig(), require_managed=True, process_wide=True)
    with pytest.raises(ConfigError, match=r"^process_wide: needs a config$"):
        load_connectors(process_wide=True)
    assert load_connectors() is load_connectors()
    load_connectors(ConnectorConfig(), process_wide=True)


def test_a_process_wide_mock_does_not_pass_for_managed(no_settings):
    """Whatever the environment says."""
    no_settings.setenv("MOZAIKS_MANAGED", "true")
    no_settings.setenv("MOZAIKS_GATEWAY_BASE_URL", URL)
    load_connectors(ConnectorConfig(), process_wide=True)
    with pytest.raises(ConfigError, match=r"^require_managed: .* ConnectorConfig\(managed_mode=False\)$"):
        load_connectors(require_managed=True)


async def test_a_reset_closes_the_process_wide_bundle(no_settings, gateway):
    """As those of the environment."""
    config = ConnectorConfig(managed_mode=True, gateway_base_url=gateway.url, api_key=DEFAULT_API_KEY)
    bundle = load_connectors(config, process_wide=True)
    reset_connectors()
    with pytest.raises(ClientClosedError):
        await bundle.identity.get_user("user_1")
    assert load_connectors().mode == get_connectors().mode == "self_hosted"
    load_connectors(config, process_wide=True)


def test_of_many_threads_one_gets_the_process_wide_bundle(no_settings):
    """Each other one gets the error."""
    found, start = [], threading.Barrier(8)

    def load():
        start.wait()
        try:
            found.append(load_connectors(MANAGED_CONFIG, process_wide=True))
        except ConfigError as error:
            found.append(error)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (bundle,) = [one for one in found if isinstance(one, ConnectorBundle)]
    assert len(found) == 8
    assert load_connectors() is bundle


@pytest.mark.sockets
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child only looks, and ends
def test_a_forked_process_inherits_the_process_wide_bundle(no_settings):
    """As it inherits that of `get_connectors`; closing its own does not close the parent's."""
    bundle = load_connectors(ConnectorConfig(), process_wide=True)
    child = os.fork()
    if child == 0:
        inherited = load_connectors() is bundle
        bundle.request_close()
        os._exit(0 if inherited and load_connectors() is not bundle else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert load_connectors() is bundle
