"""Old import paths work for one release, and say where the module is now."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from layer_support import FakeClock, a_request

import middleware
from middleware._internal.moved import MOVED, RENAMED
from middleware.policies.retry import RetrySettings
from middleware.settings import settings_of
from middleware.transports.httpcore_transport import HttpcoreTransport
from middleware.transports.transport_settings import TransportSettings

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

# `__all__` of each module of commit aedca19, the last one with the old paths: read once, by `git show` and `ast`.
OLD_EXPORTS = json.loads(Path(__file__).with_name("names_at_aedca19.json").read_text())
MERGED = "a layer whose work another one does too now, so that no class takes the same arguments"
COMMAND = "part of a command, which nothing imports but the command"
# Old names without an alias, with the reason.
GONE = {
    "middleware.outcome.AttemptRecordMiddleware": MERGED,
    "middleware.outcome.CallRecordMiddleware": MERGED,
    "middleware.tracing.AttemptTracingMiddleware": MERGED,
    "middleware.tracing.CallTracingMiddleware": MERGED,
    "runtime._names": "private",
    "runtime.cli.stack": COMMAND,
    "runtime.cli.trace_model": COMMAND,
    "runtime.cli.trace_page": COMMAND,
    "runtime.cli.trace_view": COMMAND,
    "runtime.gateway.routes.Answer": "part of the reference gateway, which is started and not imported",
}
READ_ALL = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
missing = []
for path, names in json.loads(sys.argv[1]).items():
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError:
        missing.append(path)
    else:
        missing += [f"{path}.{name}" for name in names if not hasattr(module, name)]
print(json.dumps(missing))
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


@pytest.mark.sockets
def test_each_old_export_is_there_by_its_old_path():
    """A host written for the old modules finds every name of theirs; those that are gone are listed with the reason."""
    command = [sys.executable, "-c", READ_ALL, json.dumps(OLD_EXPORTS)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert sorted(json.loads(result.stdout)) == sorted(GONE)


@pytest.mark.parametrize("old", MOVED)
def test_a_moved_module_is_an_attribute_of_the_package(old):
    """`import middleware` alone gave `middleware.retry`, since the stack imported it."""
    name = old.removeprefix("middleware.")
    with pytest.warns(DeprecationWarning, match=f"{old} has moved to {MOVED[old]}; ") as caught:
        assert getattr(middleware, name) is importlib.import_module(MOVED[old])
    assert caught[0].filename == __file__


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
    assert not hasattr(middleware, "NeverWasError")
    with pytest.raises(ImportError):
        from middleware.errors import NeverWasError  # noqa: F401


def test_type_checkers_know_the_old_names_of_the_package():
    """They read no `__getattr__`: the assignments for them name what the aliases give."""
    tree = ast.parse(Path(middleware.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    assert dict(ast.unparse(line).split(" = ") for line in block.body) == RENAMED["middleware"]


def _setting():
    return next(iter(settings_of(RetrySettings)))


@pytest.mark.parametrize(
    ("make", "old", "new"),
    [
        (lambda: a_request(attempts_sent=2).call, "attempts", "attempts_sent"),
        (lambda: a_request(settings=[RetrySettings()]).call, "policy", "snapshot"),
        (lambda: a_request(attempts_scheduled=3).call, "tries", "attempts_scheduled"),
        (_setting, "knob", "spec"),
        (lambda: HttpcoreTransport(TransportSettings(), FakeClock()), "close_soon", "request_close"),
    ],
)
def test_an_old_member_gives_what_the_new_one_gives_with_a_warning(make, old, new):
    """Layers and listeners of a host read it; none can set it."""
    owner = make()
    with pytest.warns(DeprecationWarning, match=rf"{type(owner).__name__}\.{old} is now called {new}; ") as caught:
        assert getattr(owner, old) == getattr(owner, new)
    assert caught[0].filename == __file__
    with pytest.raises(AttributeError):
        setattr(owner, old, None)
