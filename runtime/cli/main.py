"""The table of commands, and the way into the environment that a command needs."""

import difflib
import importlib
import io
import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

from runtime._internal.installation import install_command
from runtime._version import __version__

from . import bootstrap

__all__ = ["COMMANDS", "main"]


class Command(NamedTuple):
    """
    One command.

    Attributes:
        module: Where it is.
        extras: What it needs; None where it needs no dependency at all.
        help: What it does.
        extras_of: What it needs in addition with an option.
    """

    module: str
    extras: tuple[str, ...] | None
    help: str
    extras_of: Mapping[str, tuple[str, ...]] = MappingProxyType({})


COMMANDS = {
    "check": Command("runtime.cli.check", None, "check connectors against the connector contract"),
    "completion": Command("runtime.cli.completion", ("cli",), "print a script that completes commands in a shell"),
    "config": Command("runtime.cli.config", (), "print the settings in force, and where each comes from"),
    "demo": Command(
        "runtime.cli.demo",
        ("otel", "cli", "gateway", "fast"),
        "run the whole story against a local gateway; --host: in a host with two workers; "
        "--replicas N: N processes with one quota",
        extras_of={"--host": ("host",), "--replicas": ("quota", "valkey")},
    ),
    "diff": Command("runtime.cli.diff", ("generate",), "say what a changed OpenAPI document means for connectors"),
    "doctor": Command(
        "runtime.cli.doctor", None, "find out why it does not work here: environment, gateway, collector"
    ),
    "gateway": Command(
        "runtime.gateway.__main__",
        ("gateway",),
        "run the reference gateway on a local port; --from: the service of an OpenAPI document",
        extras_of={"--from": ("generate",)},
    ),
    "new": Command("runtime.cli.new", ("generate",), "write a connector, from an OpenAPI document or from a few flags"),
    "stack": Command(
        "runtime.cli.local_stack", ("cli",), "run Jaeger, Prometheus and the Collector without containers"
    ),
    "test": Command("runtime.cli.test", ("test",), "run the test suite; arguments go to pytest"),
    "trace": Command("runtime.cli.trace", ("cli",), "list and show the traces of a trace file"),
}


def usage() -> str:
    """Return the help text."""
    lines = [f"  {name:<10}{command.help}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: python3 -m runtime COMMAND [ARGUMENTS]", "", "commands:", *lines])


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a command; sets up its environment first where needed.

    Returns:
        Exit code: 0 fine, 1 the command failed, 2 wrong usage.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a tick or a bar where the locale has none is no reason to fail
            stream.reconfigure(errors="replace" if stream is sys.stdout else "backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    if name in {"-h", "--help", "help"}:
        sys.stdout.write(usage() + "\n")
        return 0
    if name == "--version":
        sys.stdout.write(f"mozaiks-connector-runtime {__version__}\n")
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        sys.stderr.write(f"no such command: {name}" + (f"; did you mean {close[0]}?" if close else "") + "\n")
        sys.stderr.write(usage() + "\n")
        return 2
    command = COMMANDS[name]
    options = (argument.partition("=")[0] for argument in arguments)
    further = (command.extras_of[option] for option in options if option in command.extras_of)
    extras = None if command.extras is None else (*command.extras, *chain.from_iterable(further))
    try:
        if extras is not None:
            bootstrap.enter_environment(extras, arguments)
    except bootstrap.BootstrapError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    try:
        # Commands import their extras late, so that their first line comes at once.
        code: int = importlib.import_module(command.module).main(arguments[1:])
    except ModuleNotFoundError as error:
        sys.stderr.write(f"{name} needs {error.name}: {install_command(*(extras or ()))}\n")
        return 1
    return code
