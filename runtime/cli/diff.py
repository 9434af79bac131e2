"""
`python3 -m runtime diff`: what a changed OpenAPI document means for connectors, by method.

Breaking is what makes a call fail that worked, or loses a value in silence.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from runtime._version import __version__

__all__ = ["main", "make_parser"]


def main(argv: Sequence[str]) -> int:
    """Print what has changed; 0, 1 when a method breaks, 2 for wrong usage or an unusable document."""
    from runtime._internal.findings import Tool
    from runtime.compare import RULES, Verdict, calls_in, compare, for_connectors, places, report
    from runtime.contract.source import UNREADABLE, Sources
    from runtime.openapi import DocumentError, load, read

    from .findings_options import explain_rules, write_findings, write_text

    parser = make_parser()
    options = parser.parse_args(argv)
    tool = Tool("openapi-diff", __version__, RULES)
    if options.explain:
        explain_rules(parser, options.explain, tool)
        return 0
    if options.new is None:
        parser.error("the following arguments are required: OLD, NEW")
    if missing := [str(path) for path in options.paths if not path.exists()]:
        parser.error(f"no such file or folder: {', '.join(missing)}")
    try:
        old, new = (load(source) for source in (options.old, options.new))
        before, after = read(old), read(new)
    except DocumentError as error:
        parser.error(str(error))
    methods = compare(before, after)
    if options.paths:
        sources = Sources()
        try:
            calls = calls_in(sources, options.paths)
        except UNREADABLE as error:
            parser.error(f"argument CONNECTOR: cannot be read: {error}")
        if not {one.route for one in calls} & (places(before).keys() | places(after).keys()):
            parser.error("argument CONNECTOR: no endpoint there is an operation of the documents")
        methods = for_connectors(methods, calls, sources, before, after)
    found = report.Compared(old.source, new.source, methods)
    if options.format in {"text", "json"}:
        write_text(parser, options, report.text(found) if options.format == "text" else report.json_text(found))
        return 1 if any(one.verdict is Verdict.BREAKING for one in methods) else 0
    return write_findings(parser, options, report.findings(found), tool)


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the arguments."""
    from .findings_options import add_findings_options

    parser = argparse.ArgumentParser(prog="python3 -m runtime diff", description=__doc__)
    parser.add_argument("old", nargs="?", metavar="OLD", help="file or URL of the document that is in use")
    parser.add_argument("new", nargs="?", metavar="NEW", help="file or URL of the changed document")
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="CONNECTOR", help="connectors, files or folders: what it means for these"
    )
    add_findings_options(parser)
    return parser
