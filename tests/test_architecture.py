"""The shape of the tree: who may import whom, what is public, what importing does."""

import ast
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BASE_TIER = [
    "knobs",
    "clock",
    "redaction",
    "problem",
    "types",
    "errors",
    "events",
    "options",
    "semconv",
    "retry_after",
    "header_value",
    "cancellation",
    "per_loop",
]
FACTS = set(BASE_TIER)
# The terminal: shared parts first, then one module per library, then the choice between them.
TRANSPORT_TIER = ["exchange", "network", "connections", "httpx_transport", "aiohttp_transport", "transport"]
CONNECTOR_BASE = {"base", "decoding", "page", "loader"}
STDLIB = sys.stdlib_module_names
ALLOWED_FOREIGN = {
    "transport": {"httpx"},  # the type of what may be passed in
    "exchange": {"httpx"},  # its exceptions and its TLS context
    "httpx_transport": {"httpx", "anyio"},
    "connections": {"httpcore", "httpx"},
    "network": {"httpcore", "anyio"},
    "aiohttp_transport": {"aiohttp", "yarl"},
    "tracing": {"opentelemetry"},
    "metrics": {"opentelemetry"},
    "stack": {"opentelemetry"},  # types of the injected providers alone
    "request_log": {"structlog"},
    "retry": {"tenacity"},
    "deadline": {"anyio"},
    "hedging": {"anyio"},
    "clock": {"anyio"},
}


def modules(package):
    return sorted(path for path in (ROOT / package).glob("*.py") if path.name != "__init__.py")


def imports(path):
    """Top-level names and our own modules that *path* imports, as dotted names."""
    found = set()
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            name = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            found |= {name} if node.module else {f"{name}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", modules("middleware"), ids=lambda path: path.stem)
def test_a_layer_imports_facts_only_and_never_another_layer(path):
    """Layers know types, errors, events, clock and knobs; only the stack knows the layers."""
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("middleware.")}
    if path.stem in FACTS:
        order = BASE_TIER.index(path.stem)
        allowed = set(BASE_TIER[:order]) | ({"errors"} if path.stem == "knobs" else set())
    elif path.stem in TRANSPORT_TIER:
        allowed = FACTS | set(TRANSPORT_TIER[: TRANSPORT_TIER.index(path.stem)])
    elif path.stem == "stack":
        allowed = {module.stem for module in modules("middleware")}
    else:
        allowed = FACTS
    assert ours <= allowed


@pytest.mark.parametrize("path", modules("middleware"), ids=lambda path: path.stem)
def test_foreign_libraries_stay_in_their_module(path):
    """HTTP libraries are named by the transports alone, OpenTelemetry by tracing and metrics."""
    foreign = {name.split(".")[0] for name in imports(path)} - STDLIB - {"middleware"}
    assert foreign <= ALLOWED_FOREIGN.get(path.stem, set())


def test_the_middleware_never_imports_the_runtime():
    """Imports go down only."""
    assert not [path for path in modules("middleware") if any(n.startswith("runtime") for n in imports(path))]


@pytest.mark.parametrize(
    "path", [path for path in modules("runtime/connectors") if path.stem not in CONNECTOR_BASE], ids=lambda p: p.stem
)
def test_a_connector_imports_the_standard_library_and_base_only(path):
    """A connector speaks through the client: no HTTP library, no environment, no middleware."""
    names = imports(path)
    assert {name for name in names if name.startswith("runtime")} <= {"runtime.connectors.base"}
    assert {name.split(".")[0] for name in names} - {"runtime"} <= STDLIB - {"os"}


def test_the_gateway_imports_nothing_of_ours():
    """One bug must not hide its twin."""
    for path in modules("runtime/gateway"):
        ours = {name for name in imports(path) if name.startswith(("runtime", "middleware"))}
        assert all(name.startswith("runtime.gateway") for name in ours), path
        assert {name.split(".")[0] for name in imports(path)} - {"runtime"} <= STDLIB | {"h11"}


def test_only_the_command_line_imports_the_command_line():
    """Nothing below knows the commands."""
    for path in [
        *modules("middleware"),
        *modules("runtime/connectors"),
        *modules("runtime/gateway"),
        *modules("runtime"),
    ]:
        if path.stem != "__main__":
            assert not [name for name in imports(path) if name.startswith("runtime.cli")], path


@pytest.mark.parametrize(
    "name",
    [
        "middleware",
        "runtime",
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
    """Whoever catches an error can import it from the package."""
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


def test_importing_reads_no_setting_opens_nothing_and_sets_up_no_telemetry():
    """A host can import the library in any order, at any time."""
    probe = PROBE.replace("socket.socket = None\n", "")
    result = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_foreign_middleware_package_is_told_in_one_line(tmp_path):
    """A host's own `middleware` that comes first on the path is named, with its place."""
    (tmp_path / "middleware.py").write_text("")
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import runtime.connectors",
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: the connector runtime needs its own top-level package 'middleware'")
    assert str(tmp_path) in last


def test_the_contract_document_is_the_contract_byte_for_byte():
    """The contract is given; nobody edits it here."""
    content = (ROOT / "docs" / "connector-contract.md").read_bytes()
    assert hashlib.sha256(content).hexdigest() == "ee84960ec719a3b90a3cbf806c3ada9266b0c90a9c74e9475d3884050ee51a7f"


def test_the_contracts_own_test_file_is_taken_verbatim():
    """tests/connectors/test_service.py is the block that the contract prints."""
    block = (ROOT / "tests" / "connectors" / "test_service.py").read_text()
    assert f"```python\n{block}```" in (ROOT / "docs" / "connector-contract.md").read_text()
