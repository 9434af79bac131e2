"""`python3 -m runtime config`: the settings in force, and where each value comes from."""

import argparse
import json
import sys
from collections.abc import Sequence

__all__ = ["main"]

_WRONG_SETTINGS = 3


def main(argv: Sequence[str]) -> int:
    """Print the effective policy of a service or an operation; 0, or 3 when the settings are wrong."""
    from middleware import ConfigError
    from runtime.connectors.loader import ConnectorConfig, open_transport, services_and_operations

    services = services_and_operations()
    parser = argparse.ArgumentParser(prog="python3 -m runtime config", description=__doc__)
    parser.add_argument("service", choices=sorted(services), help="name of the connector")
    parser.add_argument("operation", nargs="?", default="", help="name of its method")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    options = parser.parse_args(argv)
    known = services[options.service]
    if options.operation and options.operation not in known:
        parser.error(f"argument operation: {options.service} has {', '.join(known)}")
    try:
        config = ConnectorConfig.from_env()
        rows = config.policies.effective(options.service, options.operation)
        open_transport(config, options.service)
    except ConfigError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return _WRONG_SETTINGS
    if options.json:
        json.dump([row._asdict() for row in rows], sys.stdout, indent=2)
        sys.stdout.write("\n")
        return 0
    width = max(len(row.name) for row in rows)
    for row in rows:
        sys.stdout.write(f"{row.name:{width}}  {row.shown:<12}  {row.origin}\n")
    return 0
