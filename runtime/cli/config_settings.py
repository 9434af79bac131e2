"""What the subcommands of `config` share: the connectors by name, the settings of a file, and what is wrong."""

import os
import sys
from pathlib import Path
from typing import Any

from middleware import ConfigError
from runtime.connectors.loader import ConnectorConfig
from runtime.connectors.registry import Connector, connectors
from runtime.settings import FILE_VARIABLE, LiveSettings, ResolvedSettings

__all__ = ["MAX_ATTEMPTS", "config_of", "declared_attempts", "environ_of", "services", "write_problems"]

MAX_ATTEMPTS = "retry.max_attempts"
"""The setting that an endpoint may declare."""

_WRONG_SETTINGS = 3


def services() -> dict[str, Connector[Any]]:
    """
    Return the connectors by name.

    Raises:
        ConfigError: One that another package adds is unusable.
    """
    return {one.name: one for one in connectors()}


def environ_of(file: Path | None) -> dict[str, str]:
    """Return the environment, with *file* instead of the one that it names."""
    return {**os.environ, **({} if file is None else {FILE_VARIABLE: str(file)})}


def config_of(file: Path | None) -> ConnectorConfig:
    """
    Read the environment, and *file* instead of the one that it names.

    Raises:
        ConfigError: A setting is wrong.
    """
    return ConnectorConfig.from_env(environ_of(file))


def declared_attempts(
    policies: ResolvedSettings | LiveSettings, connector: Connector[Any], operation: str
) -> int | None:
    """Return the attempts that an endpoint declares (R11); None where it declares none, or its own setting wins."""
    if policies.is_set(connector.name, operation, MAX_ATTEMPTS):
        return None
    return connector.declared_attempts(operation)


def write_problems(error: ConfigError) -> int:
    """Write what is wrong with the settings to stderr; returns the exit code."""
    sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
    return _WRONG_SETTINGS
