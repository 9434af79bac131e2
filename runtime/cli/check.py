"""`python3 -m runtime check`: connectors against the connector contract, without running them."""

import argparse
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runtime._version import __version__

__all__ = ["main"]

_DEFAULT = Path("runtime/connectors")


def main(argv: Sequence[str]) -> int:
    """Print what breaks the contract; 0, 1 when there is an error, 2 for wrong usage."""
    from runtime._internal.findings import FORMATS, Severity, Tool, explanation
    from runtime.contract import CONTRACTS, RULES, check_paths, fix_paths

    parser = argparse.ArgumentParser(prog="python3 -m runtime check", description=__doc__)
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help=f"files and folders; default {_DEFAULT} or ."
    )
    parser.add_argument("--strict", action="store_true", help="count warnings as errors")
    parser.add_argument(
        "--contract", type=int, choices=CONTRACTS, default=1, help="version of the contract (default: %(default)s)"
    )
    parser.add_argument("--fix", action="store_true", help="rewrite what has the shape of the contract's template")
    parser.add_argument(
        "--format", choices=sorted(FORMATS), default="text", help="output format (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    parser.add_argument(
        "--sarif", action="store_const", const="sarif", dest="format", help="the same as --format sarif"
    )
    parser.add_argument(
        "--github", action="store_const", const="github", dest="format", help="the same as --format github"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write to a file instead of standard output")
    parser.add_argument("--explain", metavar="RULE", help="print what a rule asks for, and exit; `all` for every rule")
    options = parser.parse_args(argv)
    if options.explain:
        name = options.explain.upper()
        if name != "ALL" and name not in RULES:
            parser.error(f"argument --explain: no such rule: {options.explain}; there are {', '.join(RULES)}")
        chosen = RULES.values() if name == "ALL" else [RULES[name]]
        sys.stdout.write("\n".join(explanation(rule) for rule in chosen))
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
    text = FORMATS[options.format](found, Tool("connector-contract-check", __version__, RULES))
    if options.output:
        try:
            options.output.write_text(text, encoding="utf-8")
        except OSError as error:
            parser.error(f"argument --output: cannot be written: {error.strerror}")
    else:
        sys.stdout.write(text)
    return 1 if any(one.severity is Severity.ERROR for one in found) else 0


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
