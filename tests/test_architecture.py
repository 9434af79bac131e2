"""The shape of the tree: who may import whom, what is public, what importing does."""

import ast
import functools
import hashlib
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STDLIB = sys.stdlib_module_names
OURS = ("middleware", "runtime")

# Folder -> the other folders that its modules may import. A folder that is not listed fails.
VOCABULARY = {"middleware", "middleware/_internal"}
MAY_IMPORT = {
    "middleware/_internal": set(),
    "middleware": {"middleware/_internal"},
    "middleware/policies": VOCABULARY,
    "middleware/request": VOCABULARY,
    "middleware/telemetry": VOCABULARY,
    "middleware/transports": VOCABULARY,
    "runtime/settings": {*VOCABULARY, "runtime/_internal"},
    "runtime/contract": {"runtime/_internal"},
    "runtime/openapi": set(),
    "runtime/generate": {"runtime/_internal", "runtime/openapi"},
    "runtime/compare": {"runtime/_internal", "runtime/contract", "runtime/generate", "runtime/openapi"},
    "runtime/gateway": {"runtime/openapi"},
    "runtime/_internal": set(),
    "runtime/traces": {"middleware", "middleware/telemetry", "runtime/_internal"},
    "runtime/telemetry": {
        *VOCABULARY,
        "middleware/telemetry",
        "runtime",
        "runtime/_internal",
        "runtime/traces",
    },
    "runtime/connectors": {
        *VOCABULARY,
        "runtime/_internal",
        "middleware/request",
        "middleware/transports",
        "runtime",
        "runtime/settings",
    },
    "runtime/forecast": {*VOCABULARY, "runtime/connectors", "runtime/settings", "runtime/_internal"},
    "runtime/adapters": {
        *VOCABULARY,
        "middleware/request",
        "runtime/_internal",
        "runtime/connectors",
        "runtime/settings",
    },
    "runtime": {
        *VOCABULARY,
        "middleware/request",
        "middleware/transports",
        "runtime/_internal",
        "runtime/connectors",
        "runtime/forecast",
        "runtime/settings",
        "runtime/telemetry",
        "runtime/traces",
    },
    "runtime/conformance": {"middleware", "middleware/request", "runtime", "runtime/connectors", "runtime/gateway"}
    | {"runtime/settings"},
    "runtime/cli": {"middleware", "middleware/telemetry", "runtime", "runtime/connectors", "runtime/gateway"}
    | {
        "runtime/compare",
        "runtime/contract",
        "runtime/_internal",
        "runtime/forecast",
        "runtime/generate",
        "runtime/openapi",
        "runtime/settings",
        "runtime/telemetry",
        "runtime/traces",
    },
}
# The modules that put a package together may import all of it.
COMPOSITION = {"middleware/__init__.py", "middleware/stack.py", "runtime/__main__.py"}
# Third-party library -> the folders, or the modules, that name it.
THIRD_PARTY = {
    "aiohttp": {"middleware/transports/aiohttp_transport.py"},
    "anyio": {
        "middleware/clock.py",
        "middleware/policies",
        "middleware/transports",
        "runtime/asgi.py",
        "runtime/connectors/loader.py",
        "runtime/forecast/virtual_time.py",
        "runtime/testing.py",
    },
    "google": {"runtime/telemetry"},
    "h11": {"middleware/transports/h11_transport.py", "runtime/gateway"},
    "httpcore": {"middleware/transports"},
    "httptools": {"middleware/transports/httptools_transport.py"},
    "httpx": {
        "middleware/transports",
        "runtime/cli/host_demo.py",
        "runtime/conformance/recording.py",
        "runtime/testing.py",
    },
    "hypothesis": {"runtime/conformance"},
    "msgspec": {"middleware/request/decode.py", "runtime/traces"},
    "opentelemetry": {"middleware/stack.py", "middleware/telemetry", "runtime/telemetry", "runtime/traces"}
    | {"runtime/cli/demo.py", "runtime/cli/story.py"},
    "merge3": {"runtime/generate/project.py"},
    "pydantic": {"runtime/connectors/decoding.py"},
    "pytest": {"runtime/conformance/plugin.py", "runtime/conformance/suite.py"},
    "ratelimit_io": {"middleware/policies/redis_limiter.py"},
    "redis": {"middleware/policies/redis_limiter.py"},
    "requests": {"runtime/telemetry/otlp.py"},
    "rich": {"runtime/cli", "runtime/traces/terminal.py"},
    "shtab": {"runtime/cli/completion.py"},
    "starlette": {"runtime/adapters/starlette.py"},
    "structlog": {"middleware/telemetry/host_structlog.py", "middleware/telemetry/logs.py"},
    "tenacity": {"middleware/policies/retry.py"},
    "uvicorn": {"runtime/cli/host_demo.py"},
    "yarl": {"middleware/transports/aiohttp_transport.py"},
}
CONNECTOR_BASE = {"arguments", "base", "binding", "decoding", "endpoint", "health", "loader", "operations", "page"}
CONNECTOR_BASE |= {"registry"}


def modules(package):
    """Every module below a package, as a path from the root of the project."""
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py"))


def folder(path):
    return path.rpartition("/")[0]


def dotted(path):
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


EVERYTHING = {dotted(path): path for package in OURS for path in modules(package)}


def statements(node):
    """Every statement of *node*, also those in others."""
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        for one in getattr(node, block, ()):
            yield one
            yield from statements(one)


@functools.cache
def read(path):
    """Imports and names of classes of *path*; its tree, large as it is, is not kept."""
    found = list(statements(ast.parse((ROOT / path).read_text())))
    return (
        [node for node in found if isinstance(node, ast.Import | ast.ImportFrom)],
        [node.name for node in found if isinstance(node, ast.ClassDef)],
    )


@functools.cache
def imports(path):
    """Dotted names that *path* imports anywhere, inside functions too; of a package's name its module, where it is one."""
    found = set()
    package = path.split("/")[:-1]
    for node in read(path)[0]:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            submodules = {f"{name}.{alias.name}" for alias in node.names} & set(EVERYTHING)
            found |= submodules or {name}
    return frozenset(found)


def imports_of_ours(path):
    """Modules of this project that *path* imports, as paths."""
    return {EVERYTHING[name] for name in imports(path) if name in EVERYTHING}


@pytest.mark.parametrize("path", list(EVERYTHING.values()))
def test_a_folder_imports_only_the_folders_below_it(path):
    """Imports go one way between the rooms; only what composes a package imports all of it."""
    if path not in COMPOSITION:
        others = {folder(target) for target in imports_of_ours(path)} - {folder(path)}
        assert others <= MAY_IMPORT[folder(path)]


def test_no_import_closes_a_circle():
    """Inside a room imports go one way too, those in the bodies of functions included."""
    graph = {path: imports_of_ours(path) - {path} for path in EVERYTHING.values()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def defines_a_layer(path):
    return any(name.endswith("Middleware") for name in read(path)[1])


LAYERS = [path for path in modules("middleware") if defines_a_layer(path) and path != "middleware/types.py"]


@pytest.mark.parametrize("path", LAYERS)
def test_a_layer_never_imports_another_layer(path):
    """Only the stack knows the layers; what two of them share is a module without a layer."""
    assert not imports_of_ours(path) & set(LAYERS)


@pytest.mark.parametrize("path", list(EVERYTHING.values()))
def test_third_party_libraries_stay_in_their_rooms(path):
    """HTTP libraries are named by the transports alone, OpenTelemetry by telemetry."""
    third_party = {name.split(".")[0] for name in imports(path)} - STDLIB - set(OURS)
    assert all(path in THIRD_PARTY[name] or folder(path) in THIRD_PARTY[name] for name in third_party), third_party


def test_the_middleware_never_imports_the_runtime():
    """Imports go down only."""
    assert not [path for path in modules("middleware") if any(n.startswith("runtime") for n in imports(path))]


@pytest.mark.parametrize(
    "path", [path for path in modules("runtime/connectors") if Path(path).stem not in {*CONNECTOR_BASE, "__init__"}]
)
def test_a_connector_imports_the_standard_library_and_base_only(path):
    """A connector speaks through the client: no HTTP library, no environment, no middleware."""
    names = imports(path)
    assert {name for name in names if name.startswith("runtime")} <= {"runtime.connectors.base"}
    assert {name.split(".")[0] for name in names} - {"runtime"} <= STDLIB - {"os"}


def test_the_gateway_imports_nothing_of_ours():
    """One bug must not hide its twin; the reader of documents alone, which no call runs through."""
    for path in modules("runtime/gateway"):
        theirs = ("runtime/gateway/", "runtime/openapi/")
        assert all(target.startswith(theirs) for target in imports_of_ours(path)), path


def test_only_the_command_line_imports_the_command_line():
    """Nothing below knows the commands."""
    for path in EVERYTHING.values():
        if not path.startswith("runtime/cli/") and path != "runtime/__main__.py":
            assert not [name for name in imports(path) if name.startswith("runtime.cli")], path


@pytest.mark.parametrize(
    "name",
    [
        "middleware",
        "runtime",
        "runtime.adapters.core",
        "runtime.conformance",
        "runtime.conformance.recording",
        "runtime.connectors.base",
        "runtime.connectors.loader",
        "runtime.connectors.identity",
        "runtime.connectors.service",
        "runtime.gateway",
        "runtime.telemetry",
        "runtime.traces.trace_file",
    ],
)
def test_public_names_are_sorted_and_exist(name):
    """`__all__` is the public surface: sorted, complete and true."""
    module = __import__(name, fromlist=["_"])
    assert list(module.__all__) == sorted(module.__all__)
    assert all(hasattr(module, entry) for entry in module.__all__)


def test_every_error_is_public():
    """What a caller catches can be imported from the package."""
    import middleware
    from middleware import errors

    classes = {name for name, value in vars(errors).items() if isinstance(value, type) and name.endswith("Error")}
    assert classes <= set(middleware.__all__)


PROBE = """
import sys, os, threading, socket
class Watched(dict):
    pass
reads = []
real = type(os.environ).__getitem__
def watch(self, name):
    if name.startswith("MOZAIKS"): reads.append(name)
    return real(self, name)
type(os.environ).__getitem__ = watch
socket.socket = None
import runtime.connectors.loader, runtime.connectors.base, middleware
assert not reads, reads
assert threading.active_count() == 1
assert not [name for name in sys.modules if name.startswith("opentelemetry.sdk")]
import logging
assert not logging.getLogger().handlers
"""


@pytest.mark.sockets
def test_importing_reads_no_setting_opens_nothing_and_sets_up_no_telemetry():
    """A host can import the library in any order, at any time."""
    probe = PROBE.replace("socket.socket = None\n", "")
    result = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_contract_document_is_the_contract_byte_for_byte():
    """The contract is given; it is not edited here."""
    content = (ROOT / "docs" / "connector-contract.md").read_bytes()
    assert hashlib.sha256(content).hexdigest() == "ee84960ec719a3b90a3cbf806c3ada9266b0c90a9c74e9475d3884050ee51a7f"


def test_the_contracts_own_test_file_is_taken_verbatim():
    """tests/connectors/test_service.py is the block that the contract prints."""
    block = (ROOT / "tests" / "connectors" / "test_service.py").read_text()
    assert f"```python\n{block}```" in (ROOT / "docs" / "connector-contract.md").read_text()
