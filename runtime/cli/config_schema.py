"""
`python3 -m runtime config schema`: the JSON Schema of the settings file.

Editors complete and check the file with it, for example Even Better TOML and taplo by a comment on its first line,
`#:schema ./settings.schema.json`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main", "make_parser"]

_EPILOG = """\
examples:
  python3 -m runtime config schema
  python3 -m runtime config schema --output settings.schema.json
"""


def main(argv: Sequence[str]) -> int:
    """Print the schema; 0, 2 for wrong usage, or 3 when the connectors cannot be loaded."""
    from middleware import ConfigError
    from runtime.connectors.loader import services_and_operations
    from runtime.settings.schema import schema

    from .config_settings import write_problems

    parser = make_parser()
    options = parser.parse_args(argv)
    try:
        document = schema(services_and_operations())
    except ConfigError as error:  # of a connector that another package adds
        return write_problems(error)
    text = json.dumps(document, indent=2) + "\n"
    if not options.output:
        sys.stdout.write(text)
        return 0
    try:
        options.output.write_text(text, encoding="utf-8")
    except OSError as error:
        parser.error(f"argument --output: cannot be written: {error.strerror}")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the arguments."""
    parser = argparse.ArgumentParser(
        prog="python3 -m runtime config schema",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write to a file instead of standard output")
    return parser
