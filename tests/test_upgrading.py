"""The table of docs/upgrading.md: its old names work, with a warning that says the new one."""

import importlib
import re
import sys
from pathlib import Path

import pytest
from layer_support import a_request

from middleware._internal.moved import RENAMED
from middleware.errors import LocalRejectionError, OperationFailedError
from middleware.events import FanOut, RetryScheduled
from middleware.policies.retry import RetrySettings
from runtime.connectors.loader import ConnectorConfig, load_connectors

PAGE = (Path(__file__).parents[1] / "docs/upgrading.md").read_text()
ROWS = [
    tuple(re.findall(r"`([^`]+)`", cell) for cell in row)
    for row in re.findall(r"^\| (.*) \| (.*) \|$", PAGE.partition("## From 0.1")[2], re.MULTILINE)
    if "`" in row[0]
]
PAIRS = {old: new for olds, news in ROWS for old, new in zip(olds, news, strict=False)}
MODULES = {old: new for old, new in PAIRS.items() if old.startswith(("middleware.", "runtime."))}
CLASSES = {old: new for old, new in PAIRS.items() if old[0].isupper()}


@pytest.fixture
def bundle():
    made = load_connectors(ConnectorConfig())
    yield made
    made.request_close()


@pytest.mark.parametrize("old", MODULES)
def test_an_old_module_is_the_new_one(old, monkeypatch):
    """Each import of the old path warns, and gives the module at the new path, not a copy."""
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{old} has moved to {MODULES[old]}; "):
        assert importlib.import_module(old) is importlib.import_module(MODULES[old])


@pytest.mark.parametrize("old", CLASSES)
def test_an_old_class_is_the_new_one(old):
    """Wherever it was exported: `except` and `isinstance` match what the new name matches."""
    homes = [module for module, names in RENAMED.items() if old in names]
    assert homes
    for home in homes:
        module = importlib.import_module(home)
        with pytest.warns(DeprecationWarning, match=f"{old} is now called {CLASSES[old]}; "):
            assert getattr(module, old) is getattr(module, CLASSES[old])


@pytest.mark.parametrize("old", ["call.tries", "call.attempts", "call.policy"])
def test_an_old_attribute_of_a_call_gives_what_the_new_one_gives(old):
    """A layer of a host reads them."""
    call = a_request(settings=[RetrySettings()], attempts_scheduled=3, attempts_sent=2).call
    with pytest.warns(DeprecationWarning, match=f"is now called {PAIRS[old]}; "):
        assert getattr(call, old.removeprefix("call.")) == getattr(call, PAIRS[old])


def test_close_soon_and_hears(bundle):
    """A host closes its bundle by the one, a listener of its own subscribes by the other."""

    class Listener:
        hears = frozenset({RetryScheduled})

        def __call__(self, event):
            """Receive an event."""

    with pytest.warns(DeprecationWarning, match=rf"close_soon is now called {PAIRS['close_soon']}; "):
        bundle.close_soon()
    with pytest.warns(DeprecationWarning, match="hears is now called event_types; "):
        FanOut([Listener()])


def test_the_table_has_what_a_host_could_have_imported():
    """Each renamed class of `middleware` and of `runtime`'s modules; those of the settings by their pattern."""
    public = {old for module, names in RENAMED.items() for old in names if not module.startswith("middleware.")}
    assert public <= set(CLASSES)
    settings = {old: new for names in RENAMED.values() for old, new in names.items() if old.endswith("Config")}
    assert all(new.endswith(old.replace("Config", "Settings")) for old, new in settings.items())


def test_the_codes_of_renamed_errors_are_the_same():
    """Alerts that name codes need no change."""
    assert (OperationFailedError.code, LocalRejectionError.code) == ("REJECTED", "REFUSED")
