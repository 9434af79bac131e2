"""`python3 -m runtime config show`: the settings in force, and where each value comes from."""

import argparse
import json
import sys
from collections.abc import Sequence

__all__ = ["main", "settings_of_service"]

_WRONG_SETTINGS = 3
_ATTEMPTS = "retry.max_attempts"


def main(argv: Sequence[str]) -> int:
    """Print the effective policy of a service or an operation; 0, or 3 when the settings are wrong."""
    return settings_of_service(argv)


def settings_of_service(argv: Sequence[str]) -> int:
    """Print the effective policy of a service or an operation; 0, or 3 when the settings are wrong."""
    from middleware import ConfigError
    from runtime.connectors.loader import ConnectorConfig, open_transport
    from runtime.connectors.registry import connectors
    from runtime.settings.contradictions import contradictions

    try:
        services = {one.name: one for one in connectors()}
    except ConfigError as error:  # of a connector that another package adds
        return _report(error.problems)
    parser = argparse.ArgumentParser(prog="python3 -m runtime config", description=__doc__)
    parser.add_argument("service", choices=sorted(services), help="name of the connector")
    parser.add_argument("operation", nargs="?", default="", help="name of its method")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    options = parser.parse_args(argv)
    connector = services[options.service]
    if options.operation and options.operation not in connector.operations:
        parser.error(f"argument operation: {options.service} has {', '.join(connector.operations)}")
    try:
        config = ConnectorConfig.from_env()
        open_transport(config, options.service)
    except ConfigError as error:
        return _report(error.problems)
    policies = config.policies
    rows = policies.effective(options.service, options.operation)
    most = connector.declared_attempts(options.operation)
    if most is not None and not policies.is_set(options.service, options.operation, _ATTEMPTS):
        rows = [
            row._replace(value=most, origin=f"declared by {options.service}.{options.operation}")
            if row.name == _ATTEMPTS and row.value > most
            else row
            for row in rows
        ]
    for contradiction in contradictions(rows):
        sys.stderr.write(f"{contradiction}\n")
    if options.json:
        json.dump([row._asdict() for row in rows], sys.stdout, indent=2)
        sys.stdout.write("\n")
        return 0
    width = max(len(row.name) for row in rows)
    for row in rows:
        sys.stdout.write(f"{row.name:{width}}  {row.shown:<12}  {row.origin}\n")
    return 0


def _report(problems: Sequence[str]) -> int:
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return _WRONG_SETTINGS
