"""`python3 -m runtime config`: what the settings are, what is wrong with them, and what they will do."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["SUBCOMMANDS", "main", "make_parser"]


class Subcommand(NamedTuple):
    """Where a subcommand lives, what it does, and an example of its arguments."""

    module: str
    help: str
    example: str


# `registry` reserves these names, since a service is named in the same place.
SUBCOMMANDS = {
    "check": Subcommand(
        "runtime.cli.config_check",
        "find what is wrong with the settings, for the traffic that is expected",
        "check settings.toml --rps 5 --processes 4",
    ),
    "explain": Subcommand(
        "runtime.cli.config_explain",
        "print when the attempts of one call start and end while its service is ill",
        "explain hosting deploy --fault hang --rps 5",
    ),
    "schema": Subcommand(
        "runtime.cli.config_schema",
        "print the JSON Schema of the settings file",
        "schema --output settings.schema.json",
    ),
    "show": Subcommand(
        "runtime.cli.config_show", "print the settings in force, and where each comes from", "show hosting deploy"
    ),
    "simulate": Subcommand(
        "runtime.cli.config_simulate",
        "run the stack in virtual time against a service that is ill, and compare two policies",
        "simulate hosting --fault brownout:1.5 --rps 10 --processes 4 --vs new.toml",
    ),
}


def usage() -> str:
    """Return the help text."""
    lines = [f"  {name:<10}{one.help}" for name, one in SUBCOMMANDS.items()]
    lines += [f"  {'SERVICE':<10}print the settings of a service, or of one operation of it, in short"]
    examples = [f"  python3 -m runtime config {one.example}" for one in SUBCOMMANDS.values()]
    return "\n".join(
        [
            "usage: python3 -m runtime config SUBCOMMAND [ARGUMENTS]",
            "       python3 -m runtime config SERVICE [OPERATION] [--json]",
            "",
            "subcommands; each has --help:",
            *lines,
            "",
            "examples:",
            *examples,
            "  python3 -m runtime config hosting deploy",
        ]
    )


def main(argv: Sequence[str]) -> int:
    """Run a subcommand, or print the settings of a service; 2 for wrong usage, else its exit code."""
    name = argv[0] if argv else ""
    if name in {"-h", "--help"}:
        sys.stdout.write(usage() + "\n")
        return 0
    if not name:
        sys.stderr.write(usage() + "\n")
        raise SystemExit(2)
    if name in SUBCOMMANDS:
        code: int = importlib.import_module(SUBCOMMANDS[name].module).main(argv[1:])
        return code
    from .config_show import settings_of_service

    return settings_of_service(argv, list(SUBCOMMANDS))


def make_parser() -> argparse.ArgumentParser:
    """
    Return the parsers of all subcommands and services as one, for completion alone: `main` imports what it runs.

    Raises:
        ConfigError: A connector that another package adds is unusable.
    """
    from . import config_check, config_explain, config_schema, config_show, config_simulate
    from .config_settings import services

    known = services()
    parsers = {
        "check": config_check.make_parser(),
        "explain": config_explain.make_parser(known),
        "schema": config_schema.make_parser(),
        "show": config_show.make_parser(known),
        "simulate": config_simulate.make_parser(known),
    }
    whole = argparse.ArgumentParser(prog="python3 -m runtime config")
    names = whole.add_subparsers()
    for name, parser in parsers.items():
        names.add_parser(name, help=SUBCOMMANDS[name].help, parents=[parser], add_help=False)
    for name, connector in known.items():
        service = names.add_parser(name, help="print the settings of this service")
        service.add_argument("operation", nargs="?", choices=list(connector.operations), help="name of its method")
        service.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    return whole
