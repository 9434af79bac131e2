"""The command line: help, typos, old interpreters, and terminals."""

import ast
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]


def test_usage_and_typos(capsys):
    """Help is a success; a typo is reported with what was meant."""
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)
    assert main(["tset"]) == 2
    assert "did you mean test?" in capsys.readouterr().err
    assert main(["--version"]) == 0


@pytest.mark.sockets
def test_old_interpreters_can_read_the_guard():
    """What runs before the guard must parse everywhere."""
    for name in ("__init__.py", "_version.py"):
        ast.parse((ROOT / "runtime" / name).read_text(), feature_version=(3, 4))
    guard = (ROOT / "runtime" / "__main__.py").read_text().split("from runtime.cli")[0]
    ast.parse(guard, feature_version=(3, 4))
    for name in ("python2.7", "python3.6", "python3.10"):
        found = shutil.which(name)
        if found:
            result = subprocess.run([found, "-m", "runtime"], cwd=ROOT, capture_output=True, text=True, check=False)
            if "3.11 or newer" not in result.stderr:
                assert "not found" in result.stderr or "version" in result.stderr  # a version manager's empty shim


def test_a_terminal_without_ticks_is_no_reason_to_fail(monkeypatch):
    """Where stdout is not UTF-8, what it lacks is replaced."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert main(["--version"]) == 0
    sys.stdout.write("\u2714")
    sys.stdout.flush()
    assert sys.stdout.buffer.getvalue().endswith(b"?")
