"""`python3 -m runtime test`."""

import os
import subprocess
import tempfile
from types import SimpleNamespace

from runtime.cli.test import main as run_tests


def test_a_checkout_that_cannot_be_written_is_tested_without_caches(monkeypatch):
    """Else a cache that cannot be written would be an error of each run."""
    seen = []
    monkeypatch.setattr(os, "access", lambda _path, mode: mode != os.W_OK)
    monkeypatch.setattr(
        subprocess, "run", lambda command, **options: seen.append((command, options)) or SimpleNamespace(returncode=0)
    )
    assert run_tests(["tests/cli"]) == 0
    ((command, options),) = seen
    assert command[3:5] == ["-p", "no:cacheprovider"]
    assert options["env"]["HYPOTHESIS_STORAGE_DIRECTORY"].startswith(tempfile.gettempdir())
