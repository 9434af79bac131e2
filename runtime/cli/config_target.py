"""What `config explain` and `config simulate` are about: a service or an operation of it, and its settings."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from middleware import ConfigError
from middleware.stack import StackSettings
from runtime.connectors.loader import ConnectorConfig
from runtime.connectors.registry import Connector, connectors
from runtime.forecast.simulate import Operation
from runtime.settings import FILE_VARIABLE

__all__ = ["WRONG_SETTINGS", "add_target", "number", "operation_of", "services", "settings_of", "write_problems"]

WRONG_SETTINGS = 3


def services() -> dict[str, Connector[Any]]:
    """
    Return the connectors by name.

    Raises:
        ConfigError: One that another package adds is unusable.
    """
    return {one.name: one for one in connectors()}


def add_target(parser: argparse.ArgumentParser, known: Sequence[str]) -> None:
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
    if name not in connector.operations:
        parser.error(f"argument OPERATION: {connector.name} has {', '.join(connector.operations)}")
    endpoint = connector.endpoint(name)
    if endpoint is None:
        parser.error(f"argument OPERATION: {connector.name}.{name} declares no endpoint")
    return Operation(service=connector.name, name=name, method=endpoint.method, idempotent=endpoint.idempotent)


def settings_of(
    parser: argparse.ArgumentParser, file: Path | None, connector: Connector[Any], operation: Operation
) -> tuple[StackSettings, Operation]:
    """
    Return the settings in force by *file* and the environment, and *operation* with the attempts that apply to it.

    Raises:
        ConfigError: A setting is wrong.
    """
    environ = dict(os.environ)
    if file is not None:
        if not file.exists():
            parser.error(f"no such file: {file}")
        environ[FILE_VARIABLE] = str(file)
    policies = ConnectorConfig.from_env(environ).policies
    declared = connector.declared_attempts(operation.name)
    if declared is not None and policies.is_set(connector.name, operation.name, "retry.max_attempts"):
        declared = None  # R11
    called = Operation(
        service=operation.service,
        name=operation.name,
        method=operation.method,
        idempotent=operation.idempotent,
        max_attempts=declared,
    )
    return policies.of(connector.name, operation.name), called


def write_problems(error: ConfigError) -> int:
    """Write what is wrong with the settings to stderr; returns the exit code."""
    sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
    return WRONG_SETTINGS
