"""What `config explain` and `config simulate` are about: a service or an operation of it, and its settings."""

import argparse
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from middleware.stack import StackSettings
from runtime.connectors.registry import Connector
from runtime.forecast.simulate import Operation
from runtime.settings import FILE_VARIABLE

from .config_settings import config_of, declared_attempts

__all__ = ["add_target", "number", "operation_of", "settings_of"]


def add_target(parser: argparse.ArgumentParser, known: Collection[str]) -> None:
    """Add the arguments that name the operation and the settings."""
    parser.add_argument("service", choices=sorted(known), metavar="SERVICE", help=f"one of {', '.join(sorted(known))}")
    parser.add_argument("operation", nargs="?", default="", metavar="OPERATION", help="name of its method; else a GET")
    parser.add_argument("--file", type=Path, metavar="FILE", help=f"TOML file; default ${FILE_VARIABLE}")
    parser.add_argument(
        "--latency",
        type=number("latency", least=0),
        default=0.1,
        metavar="S",
        help="latency of the service when it is well, in seconds; default 0.1",
    )


def number(name: str, *, least: float, whole: bool = False) -> Callable[[str], Any]:
    """Return a reader of a number above *least*, or *least* itself where it is whole or 0."""

    def read(text: str) -> Any:
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            wanted = "a whole number" if whole else "a number"
            raise argparse.ArgumentTypeError(f"{name} must be {wanted}, got {text!r}") from None
        if not (value >= least and value < float("inf")):
            raise argparse.ArgumentTypeError(f"{name} must be at least {least:g}, got {text}")
        return value

    return read


def operation_of(parser: argparse.ArgumentParser, connector: Connector[Any], name: str) -> Operation:
    """Return what is called; exits with 2 for an operation that there is not."""
    if not name:
        return Operation(service=connector.name)
    try:
        return Operation.of(connector, name)
    except ValueError as error:
        parser.error(f"argument OPERATION: {error}")


def settings_of(
    parser: argparse.ArgumentParser, file: Path | None, connector: Connector[Any], operation: Operation
) -> tuple[StackSettings, Operation]:
    """
    Return the settings in force by *file* and the environment, and *operation* with the attempts that apply to it.

    Raises:
        ConfigError: A setting is wrong.
    """
    if file is not None and not file.exists():
        parser.error(f"no such file: {file}")
    policies = config_of(file).policies
    called = replace(operation, max_attempts=declared_attempts(policies, connector, operation.name))
    return policies.of(connector.name, operation.name), called
