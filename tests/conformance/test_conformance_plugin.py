"""The plugin as pytest finds it: by its entry point, in three lines, and at no cost for other tests."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from runtime.conformance import Conformance, plugin

pytestmark = pytest.mark.sockets

ROOT = Path(__file__).parent.parent.parent
THREE_LINES = """
from acme_orders import ORDERS
from runtime.conformance import Conformance
orders = Conformance(ORDERS)
"""


@pytest.fixture
def site(tmp_path):
    """What an installer makes of this project: its metadata with the entry points; and a folder for tests."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    metadata = tmp_path / "site" / "mozaiks_connector_runtime-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mozaiks-connector-runtime\nVersion: 0.1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (metadata / "entry_points.txt").write_text(f"[pytest11]\n{lines}")
    (tmp_path / "tests").mkdir()
    return tmp_path


def run(site, text, *options):
    """Run pytest on a test file of another package; returns the lines of its output."""
    (site / "tests" / "test_orders.py").write_text(text)
    paths = (site / "site", ROOT, ROOT / "examples" / "acme_orders")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "tests"],
        cwd=site,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.splitlines(), result.stderr


def test_three_lines_test_a_connector_of_another_package(site):
    """Each generated test, for each of its three operations; no conftest names the plugin."""
    output, errors = run(site, THREE_LINES)
    assert output[-1].startswith("18 passed"), (output, errors)


def test_a_failure_names_test_and_operation(site):
    """With pytest's own explanation of the assertion, and the id by which it is run again."""
    broken = THREE_LINES.replace(
        "orders = Conformance(ORDERS)",
        "import acme_orders, dataclasses\n"
        "acme_orders._GET_ORDER = dataclasses.replace(acme_orders._GET_ORDER, decode=lambda one: ORDERS)\n"
        "orders = Conformance(ORDERS)",
    )
    output, _ = run(site, broken, "-k", "documents_may_change")  # the others passed in the test above
    assert "FAILED tests/test_orders.py::orders::test_documents_may_change[get_order]" in "\n".join(output)


def test_the_plugin_imports_nothing_where_nothing_uses_it(site):
    """Four small modules of ours: no connector, no client, no tests."""
    seen = "import pathlib, sys\ndef test_other(): pathlib.Path('modules').write_text('\\n'.join(sys.modules))\n"
    run(site, seen)
    imported = set((site / "modules").read_text().splitlines())
    ours = {name for name in imported if name.partition(".")[0] in {"runtime", "middleware"}}
    assert ours == {"runtime", "runtime._version", "runtime.conformance", "runtime.conformance.plugin"}


@pytest.mark.parametrize("other", [None, 7, Conformance, type("Sub", (), {}), object()])
def test_other_globals_are_left_to_pytest(other):
    """By their type alone: a lazy object of a test file is not touched."""
    assert plugin.pytest_pycollect_makeitem(None, "other", other) is None
