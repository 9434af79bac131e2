"""`python3 -m runtime test`: the whole suite; with `--unit` the tests that open no socket and start no process."""

import os
import subprocess
import sys
from collections.abc import Sequence

from .bootstrap import project_directory

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """
    Run pytest with *argv* in the project's directory; returns its exit code.

    `--unit` is an option of the suite itself, see tests/support/unit_mode.py.
    """
    project = project_directory()
    if project is None or not (project / "tests").is_dir():
        sys.stderr.write("test: no tests here; they come with the source, not with the installed package\n")
        return 1
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(project), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "pytest", *argv]
    return subprocess.run(command, cwd=project, env=environment, check=False).returncode  # noqa: S603 - ourselves
