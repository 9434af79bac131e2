"""Names of packages that a host may have too."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.sockets
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
