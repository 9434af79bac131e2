"""Old import paths work for one release, and say where the module is now."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from middleware._internal.moved import MOVED, RENAMED

ROOT = Path(__file__).resolve().parents[3]
RUNTIME = {
    "runtime.config": "runtime.settings",
    "runtime.exporting": "runtime.telemetry.exporting",
    "runtime.trace_file": "runtime.traces.trace_file",
}
PROBE = """
import importlib, json, sys, warnings
found = {}
for old, new in json.loads(sys.argv[1]).items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = importlib.import_module(old)
    expected = importlib.import_module(new)
    texts = [str(one.message) for one in caught if one.category is DeprecationWarning]
    found[old] = [module is expected, expected.__name__, expected.__spec__.name, *texts]
print(json.dumps(found))
"""


WALK = """
import importlib, pkgutil, middleware, runtime
for package in (middleware, runtime):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__") and module.name not in OLD:
            importlib.import_module(module.name)
"""


@pytest.mark.sockets
def test_an_old_path_gives_the_module_itself_with_a_warning():
    """One module, not a copy: `isinstance` and `except` keep working across both paths."""
    moves = {**MOVED, **RUNTIME}
    command = [sys.executable, "-c", PROBE, json.dumps(moves)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == {
        old: [True, new, new, f"{old} has moved to {new}; the old path goes with the next release"]
        for old, new in moves.items()
    }


def test_a_module_that_does_not_exist_is_still_not_found():
    """Only the listed names are known."""
    with pytest.raises(ModuleNotFoundError):
        __import__("middleware.no_such_module")


@pytest.mark.sockets
def test_nothing_of_ours_uses_an_old_path():
    """The suite makes warnings errors, so importing everything afresh shows any use."""
    command = [sys.executable, "-W", "error::DeprecationWarning:middleware", "-W", "error::DeprecationWarning:runtime"]
    code = f"OLD = {sorted(RUNTIME)!r}\n{WALK}"
    result = subprocess.run([*command, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("module", "old", "new"), [(m, old, new) for m, names in RENAMED.items() for old, new in names.items()]
)
def test_an_old_name_gives_the_same_thing_with_a_warning(module, old, new):
    """An `except` or `isinstance` that uses the old name matches what the new one matches."""
    found = importlib.import_module(module)
    home, _, new_name = new.rpartition(".")
    with pytest.warns(DeprecationWarning, match=f"{module}.{old} is now called {new}") as caught:
        assert getattr(found, old) is vars(importlib.import_module(home or module))[new_name]
    assert caught[0].filename == __file__


def test_a_name_that_never_was_is_an_attribute_error():
    """Only renamed names are known, and tools that probe for attributes get the usual error."""
    import middleware

    assert not hasattr(middleware, "NeverWasError")
    with pytest.raises(ImportError):
        from middleware.errors import NeverWasError  # noqa: F401
