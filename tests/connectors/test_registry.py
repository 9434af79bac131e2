"""Connectors of other packages: declared, registered or found by entry point, and then as good as our own."""

import dataclasses
import os
import subprocess
import sys
import threading
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from middleware import ConfigError, DecodeError, NotFoundError
from runtime.cli import config as config_command
from runtime.connectors import registry
from runtime.connectors.base import Endpoint, PlatformHttpClient
from runtime.connectors.loader import (
    ConnectorBundle,
    ConnectorConfig,
    get_connectors,
    load_connectors,
    services_and_operations,
)
from runtime.connectors.registry import Connector, connectors, register
from runtime.gateway import Gateway

ROOT = Path(__file__).parent.parent.parent

_ONCE = Endpoint("POST", "/api/parcels/parcels", "send_parcel", lambda document: document["id"], max_attempts=1)


class ManagedParcels:
    """A connector as another team writes it: one endpoint, and one method by the contract's template."""

    def __init__(self, http):
        self._http = http

    async def send_parcel(self, *, user_jwt=None, correlation_id=""):
        return await self._http.call(_ONCE, json_body={"name": "p"}, user_jwt=user_jwt, correlation_id=correlation_id)

    async def list_parcels(self, *, user_jwt=None, correlation_id=""):
        found = await self._http.get("/api/parcels/parcels", user_jwt=user_jwt, correlation_id=correlation_id)
        return [entry["weight"] for entry in found["items"]]

    def label(self):
        """A method that is no operation."""
        return "label"

    async def _private(self):
        """Neither is this."""


class MockParcels:
    """Its mock."""

    async def send_parcel(self, *, user_jwt=None, correlation_id=""):
        return "mock"

    async def list_parcels(self, *, user_jwt=None, correlation_id=""):
        return []


PARCELS = Connector("parcels", ManagedParcels, MockParcels)


@pytest.fixture(autouse=True)
def _clean(no_settings):
    """No connector of another test."""


def outside():
    """Names of the connectors that are not ours."""
    return [one.name for one in connectors()[6:]]


def installed(monkeypatch, *points):
    """Make these entry points the installed ones, given as name and value."""
    found = [EntryPoint(name, value, "mozaiks.connectors") for name, value in points]
    monkeypatch.setattr(registry, "entry_points", lambda group: found if group == "mozaiks.connectors" else [])


def test_a_registered_connector_is_a_field_of_the_bundle():
    """By its name, and with its type by its declaration; ours are as before."""
    before = load_connectors()
    register(PARCELS)
    register(PARCELS)
    bundle = load_connectors()
    assert isinstance(bundle, ConnectorBundle)
    assert type(bundle.parcels) is MockParcels
    assert bundle.of(PARCELS) is bundle.parcels
    assert "parcels" in {field.name for field in dataclasses.fields(bundle)}
    assert "parcels=" in repr(bundle)
    assert bundle.mode == "self_hosted"
    assert load_connectors() is bundle
    assert not hasattr(before, "parcels")
    with pytest.raises(ConfigError, match=r"^parcels: not in this bundle; register it before the bundle is loaded$"):
        before.of(PARCELS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        bundle.parcels = None


async def test_its_calls_have_settings_spans_and_typed_errors(no_settings, gateway, recorder):
    """By its name and those of its methods, for an endpoint and for the template."""
    register(PARCELS)
    no_settings.setenv("MOZAIKS_CONNECTORS_PARCELS__LIST_PARCELS__RETRY_MAX_ATTEMPTS", "2")
    environ = {**os.environ, "MOZAIKS_MANAGED": "1", "MOZAIKS_GATEWAY_BASE_URL": gateway.url}
    environ["MOZAIKS_GATEWAY_API_KEY"] = gateway.api_key
    config = ConnectorConfig.from_env(environ, telemetry=recorder.telemetry)
    async with load_connectors(config) as bundle:
        assert await bundle.parcels.send_parcel()
        with pytest.raises(DecodeError) as caught:
            await bundle.parcels.list_parcels()
        assert caught.value.service == "parcels"
        assert caught.value.operation == "list_parcels"
        assert bundle.parcels._http.policy("list_parcels").retry.max_attempts == 2
        assert bundle.parcels._http.policy("send_parcel").retry.max_attempts == 3
        assert bundle.parcels.label() == "label"
        assert bundle.calls_in_flight == 0
    assert [span.name for span in recorder.spans("INTERNAL")] == ["parcels.send_parcel", "parcels.list_parcels"]
    assert {point.attributes["service"] for point in recorder.points("mozaiks.client.calls")} <= {"parcels"}


@pytest.mark.sockets
@pytest.mark.parametrize(("base_url", "expected"), [("gateway", "/gateway"), ("core", "/core")])
async def test_it_calls_the_base_url_that_it_declares(base_url, expected):
    """As identity and billing call the core's."""
    register(dataclasses.replace(PARCELS, base_url=base_url))
    async with Gateway() as gateway:
        config = ConnectorConfig(
            managed_mode=True,
            gateway_base_url=f"{gateway.url}/gateway",
            core_base_url=f"{gateway.url}/core",
            api_key=gateway.api_key,
        )
        async with load_connectors(config) as bundle:
            assert bundle.parcels._http.base_url == f"{gateway.url}{expected}"
            with pytest.raises(NotFoundError):
                await bundle.parcels.list_parcels()


def test_its_settings_are_known(no_settings, capsys):
    """A wrong name is an error with the right one; `config` prints what is in force, the declared attempts too."""
    register(PARCELS)
    assert services_and_operations()["parcels"] == ("send_parcel", "list_parcels")
    assert PARCELS.declared_attempts("send_parcel") == 1
    assert PARCELS.declared_attempts("list_parcels") is None
    with pytest.raises(
        ConfigError, match=r"PARCELS__SEND_PARCELS__RETRY_MAX_ATTEMPTS: no such setting; did you mean \S+SEND_PARCEL__"
    ):
        ConnectorConfig.from_env({"MOZAIKS_CONNECTORS_PARCELS__SEND_PARCELS__RETRY_MAX_ATTEMPTS": "1"})
    assert printed(capsys, "parcels", "send_parcel") == ["1", "declared by parcels.send_parcel"]
    assert printed(capsys, "parcels", "list_parcels") == ["3", "default"]
    assert printed(capsys, "payment", "checkout") == ["1", "declared by payment.checkout"]
    no_settings.setenv("MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS", "4")
    assert printed(capsys, "payment", "checkout") == ["1", "declared by payment.checkout"]
    name = "MOZAIKS_CONNECTORS_PAYMENT__CHECKOUT__RETRY_MAX_ATTEMPTS"
    no_settings.setenv(name, "5")
    assert printed(capsys, "payment", "checkout") == ["5", name]


def printed(capsys, *arguments):
    """The attempts that `config` prints, and their origin."""
    assert config_command.main(arguments) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("retry.max_attempts ")]
    return line.split(maxsplit=2)[1:]


def test_a_typo_is_looked_for_among_its_variables_too(no_settings):
    """As soon as it is registered."""
    no_settings.setenv("MOZAIKS_CONNECTOR_PARCELS__RETRY_MAX_ATTEMPTS", "1")
    assert "PARCELS" not in load_connectors().mode_reason
    register(PARCELS)
    assert "did you mean MOZAIKS_CONNECTORS_PARCELS__RETRY_MAX_ATTEMPTS?" in load_connectors().mode_reason


def test_an_entry_point_adds_a_connector_without_an_import(monkeypatch):
    """Read once; in the order of names, whatever the order of installation."""
    other = Connector("letters", ManagedParcels, MockParcels)
    monkeypatch.setattr(sys.modules[__name__], "LETTERS", other, raising=False)
    installed(monkeypatch, ("parcels", f"{__name__}:PARCELS"), ("x", f"{__name__}:LETTERS"))
    assert outside() == ["letters", "parcels"]
    assert connectors() is connectors()
    assert type(get_connectors().letters) is type(get_connectors().parcels) is MockParcels
    register(PARCELS)  # the same one by both ways
    assert outside() == ["letters", "parcels"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("no_such_module_of_ours:X", r"no_such_module_of_ours:X cannot be loaded \(ModuleNotFoundError\)$"),
        (f"{__name__}:MISSING", r"MISSING cannot be loaded \(AttributeError\)$"),
        (f"{__name__}:ManagedParcels", "must be a Connector, got type$"),
    ],
)
def test_an_entry_point_that_cannot_be_used_is_named(monkeypatch, capsys, value, problem):
    """At each load, and by `config`; the host does not run with a connector less than it thinks."""
    installed(monkeypatch, ("parcels", value))
    for _ in range(2):
        with pytest.raises(ConfigError, match=rf"^entry point parcels of mozaiks\.connectors: .*{problem}"):
            load_connectors()
    assert config_command.main(["identity"]) == 3
    assert capsys.readouterr().err.startswith("entry point parcels of mozaiks.connectors: ")


def test_two_connectors_of_one_name_are_an_error(monkeypatch):
    """Of an entry point and of `register`, in either place."""
    other = Connector("parcels", ManagedParcels, ManagedParcels)
    register(PARCELS)
    with pytest.raises(ConfigError, match=r"^register: the name parcels is in use$"):
        register(other)
    monkeypatch.setattr(sys.modules[__name__], "OTHER", other, raising=False)
    installed(monkeypatch, ("again", f"{__name__}:OTHER"))
    with pytest.raises(ConfigError, match=r"^entry point again of mozaiks.connectors: the name parcels is in use$"):
        load_connectors()


TAKEN = [name for name in dir(load_connectors(ConnectorConfig())) if not name.startswith("_")]


@pytest.mark.parametrize("name", TAKEN)
def test_no_connector_hides_an_attribute_of_the_bundle(name):
    """Ours, and the bundle's own."""
    with pytest.raises(ConfigError, match=f"^register: the name {name} is in use$"):
        register(dataclasses.replace(PARCELS, name=name))


RESERVED = ["check", "explain", "schema", "show", "simulate"]


@pytest.mark.parametrize("name", sorted({*config_command.SUBCOMMANDS, *RESERVED}))
def test_no_connector_is_called_like_a_subcommand(name):
    """`config` takes the name of a service where it takes a subcommand; the names of those to come are kept free too."""
    with pytest.raises(
        ConfigError, match=f"^register: the name {name} is a subcommand of `python3 -m runtime config`$"
    ):
        register(dataclasses.replace(PARCELS, name=name))


@pytest.mark.parametrize("name", ["", "Parcels", "a__b", "_a", "a_", "1a", "a-b", "a.b", "class", "ä", None, 7])
def test_a_name_has_to_fit_fields_and_variables(name):
    """`__` separates the parts of a variable's name."""
    with pytest.raises(
        ConfigError, match=r"^Connector\.name: must be words in lower case joined by single underscores"
    ):
        Connector(name, ManagedParcels, MockParcels)


class NoOperations:
    """A class without a public coroutine method."""

    def list_parcels(self):
        """No coroutine."""


class BadOperation:
    """A class with an operation whose name no variable can have."""

    async def a__b(self):
        """An operation."""


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"managed": Endpoint.__init__}, "managed: must be a class"),
        ({"managed": NoOperations}, "managed: must have public coroutine methods"),
        ({"managed": BadOperation}, "managed.a__b: must have single underscores"),
        ({"mock": None}, "mock: must be callable"),
        ({"base_url": "https://a.example"}, "base_url: must be gateway or core"),
    ],
)
def test_a_declaration_that_cannot_be_used_says_why(arguments, problem):
    """When it is made, all problems together."""
    with pytest.raises(ConfigError) as caught:
        Connector(**{"name": "", "managed": ManagedParcels, "mock": MockParcels, **arguments})
    assert caught.value.problems[1:] == (f"Connector.{problem}",)


@pytest.mark.parametrize("thing", [None, ManagedParcels, "parcels", [PARCELS]])
def test_only_a_declaration_is_registered(thing):
    """Not the class itself."""
    with pytest.raises(ConfigError, match=r"^register: must be a Connector, got "):
        register(thing)


class AllSlots:
    """A connector whose methods cannot be replaced."""

    __slots__ = ("_http",)

    def __init__(self, http):
        self._http = http

    async def send_parcel(self):
        """An operation."""


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A connector as a frozen dataclass."""

    http: PlatformHttpClient

    async def send_parcel(self):
        return "sent"


class Broken:
    """A connector that cannot be made."""

    def __init__(self, http=None):
        raise RuntimeError("secret")

    async def send_parcel(self):
        """An operation."""


MANAGED = ConnectorConfig(managed_mode=True, gateway_base_url="http://gateway.test")


@pytest.mark.parametrize(
    ("arguments", "config", "problem"),
    [
        ({"managed": AllSlots, "mock": AllSlots}, MANAGED, "managed: must allow attributes, so no __slots__"),
        ({"managed": Broken}, MANAGED, r"managed: cannot be made \(RuntimeError\)"),
        ({"mock": Broken}, ConnectorConfig(), r"mock: cannot be made \(RuntimeError\)"),
        ({"mock": dict}, ConnectorConfig(), "mock: has no send_parcel, list_parcels"),
    ],
)
def test_a_connector_that_cannot_be_made_is_an_error_of_the_load(arguments, config, problem):
    """With its name, and without the text of what it raised."""
    register(dataclasses.replace(PARCELS, **arguments))
    with pytest.raises(ConfigError, match=f"^parcels: {problem}$"):
        load_connectors(config)


async def test_a_frozen_connector_is_one():
    """Its methods are wrapped all the same."""
    register(Connector("parcels", Frozen, MockParcels))
    assert await load_connectors(MANAGED).parcels.send_parcel() == "sent"


def test_many_threads_register_and_load(monkeypatch):
    """Each connector is there in the end, whichever was first."""
    installed(monkeypatch, ("parcels", f"{__name__}:PARCELS"))
    names = [f"a{index}" for index in range(8)]

    def add(name):
        register(dataclasses.replace(PARCELS, name=name))
        assert hasattr(load_connectors(), name)

    threads = [threading.Thread(target=add, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outside() == [*names, "parcels"]


@pytest.mark.parametrize("config", [MANAGED, ConnectorConfig()], ids=["managed", "self_hosted"])
def test_a_connector_registered_during_a_load_is_in_the_next_one(config):
    """The bundle has the fields of the connectors that it was made from."""

    def late(cls):
        def make(*arguments):
            register(dataclasses.replace(PARCELS, name="late"))
            return cls(*arguments)

        return type(cls.__name__, (cls,), {"__new__": lambda kind, *arguments: make(*arguments)})

    register(Connector("parcels", late(ManagedParcels), late(MockParcels)))
    assert not hasattr(load_connectors(config), "late")
    assert hasattr(load_connectors(config), "late")


@pytest.mark.sockets
def test_importing_reads_no_entry_point():
    """A host that only imports pays nothing, and runs no other package's code."""
    code = (
        "import importlib.metadata as m; real = m.entry_points; groups = [];"
        "m.entry_points = lambda **by: [groups.append(by), real(**by)][1];"
        "import runtime.connectors.loader as l; assert {'group': 'mozaiks.connectors'} not in groups;"
        "l.load_connectors(); l.load_connectors(); assert groups.count({'group': 'mozaiks.connectors'}) == 1"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
