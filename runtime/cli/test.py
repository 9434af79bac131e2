"""`python3 -m runtime test`: the suite on every core; `--unit`: without the tests that need sockets or processes."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from runtime._internal.installation import project_directory

__all__ = ["main", "make_parser"]


def main(argv: Sequence[str]) -> int:
    """
    Run pytest with *argv* in the project's directory; returns its exit code.

    Runs of the whole suite, and of its unit tests, use every core; `-n 0` switches that off. Where *argv* names files,
    the start of a process per core would take longer than the tests.
    `--unit` is an option of the suite itself, see tests/support/unit_mode.py. The conformance plugin is loaded by name,
    for the tests of a generated connector: in a checkout it is not installed.
    """
    project = project_directory()
    if project is None or not (project / "tests").is_dir():
        sys.stderr.write("test: no tests here; they come with the source, not with the installed package\n")
        return 1
    argv = [_path_from_here(argument, project) for argument in argv]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(project), os.environ.get("PYTHONPATH", "")])}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # each of many processes would compile all modules anew
    names_files = any((project / argument.partition("::")[0]).exists() for argument in argv)
    cores = [] if names_files else ["-n", "auto", "--dist", "worksteal"]
    if not os.access(project, os.W_OK):  # else each run would end with an error about a cache that it cannot write
        cores += ["-p", "no:cacheprovider"]
        environment["HYPOTHESIS_STORAGE_DIRECTORY"] = str(
            Path(tempfile.gettempdir()) / f"mozaiks-hypothesis-{os.getuid()}"
        )
    command = [sys.executable, "-m", "pytest", *cores, "-p", "runtime.conformance.plugin", *argv]
    return subprocess.run(command, cwd=project, env=environment, check=False).returncode  # noqa: S603 - ourselves


def make_parser() -> argparse.ArgumentParser:
    """Return the suite's own options and its files, for completion alone: pytest reads the arguments."""
    parser = argparse.ArgumentParser(prog="python3 -m runtime test")
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files and folders of tests")
    parser.add_argument("--unit", action="store_true", help="only tests that open no socket and start no process")
    parser.add_argument("--rule", metavar="ID", help="only the tests of a rule, such as R15")
    return parser


def _path_from_here(argument: str, project: Path) -> str:
    """Return *argument* as an absolute path where it is a file of the caller's directory, and none of the project."""
    path, separator, test = argument.partition("::")
    if (project / path).exists() or not Path(path).exists():
        return argument
    return f"{Path(path).resolve()}{separator}{test}"
