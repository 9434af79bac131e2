"""`python3 -m runtime check`: connectors against the connector contract, without running them."""

import argparse
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runtime._version import __version__

__all__ = ["main", "make_parser"]

_DEFAULT = Path("runtime/connectors")


def main(argv: Sequence[str]) -> int:
    """Print what breaks the contract; 0, 1 when there is an error, 2 for wrong usage."""
    from runtime._internal.findings import Tool
    from runtime.contract import RULES, check_paths, fix_paths

    from .findings_options import explain_rules, write_findings

    parser = make_parser()
    options = parser.parse_args(argv)
    tool = Tool("connector-contract-check", __version__, RULES)
    if options.explain:
        explain_rules(parser, options.explain, tool)
        return 0
    paths = options.paths or [_DEFAULT if _DEFAULT.is_dir() else Path()]
    if missing := [str(path) for path in paths if not path.exists()]:
        parser.error(f"no such file or folder: {', '.join(missing)}")
    try:
        fixed = fix_paths(paths) if options.fix else []
    except OSError as error:
        parser.error(f"argument --fix: {error.filename}: cannot be written: {error.strerror}")
    for path in fixed:
        sys.stderr.write(f"fixed {path}\n")
    with _without_collections():
        found = check_paths(paths, strict=options.strict, contract=options.contract)
    return write_findings(parser, options, found, tool)


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the arguments."""
    from runtime.contract import CONTRACTS

    from .findings_options import add_findings_options

    parser = argparse.ArgumentParser(prog="python3 -m runtime check", description=__doc__)
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help=f"files and folders; default {_DEFAULT} or ."
    )
    parser.add_argument("--strict", action="store_true", help="count warnings as errors")
    parser.add_argument(
        "--contract", type=int, choices=CONTRACTS, default=1, help="version of the contract (default: %(default)s)"
    )
    parser.add_argument("--fix", action="store_true", help="rewrite what has the shape of the contract's template")
    add_findings_options(parser)
    return parser


@contextmanager
def _without_collections() -> Iterator[None]:
    """Syntax trees are many objects, all in use: to look for unused ones among them is a tenth of a check."""
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_enabled:
            gc.enable()
