"""The options that `check`, `config check` and `diff` share: how findings are written, and what a rule asks for."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime._internal.findings import FORMATS, Finding, Severity, Tool, explanation

__all__ = ["add_findings_options", "explain_rules", "write_findings", "write_text"]


def add_findings_options(parser: argparse.ArgumentParser) -> None:
    """Add `--format` and its short forms, `--output` and `--explain`."""
    parser.add_argument(
        "--format", choices=sorted(FORMATS), default="text", help="output format (default: %(default)s)"
    )
    for name in ("json", "sarif", "github"):
        parser.add_argument(
            f"--{name}", action="store_const", const=name, dest="format", help=f"the same as --format {name}"
        )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write to a file instead of standard output")
    parser.add_argument("--explain", metavar="RULE", help="print what a rule asks for, and exit; `all` for every rule")


def explain_rules(parser: argparse.ArgumentParser, name: str, tool: Tool) -> None:
    """Print what the rule *name* asks for, or every rule for `all`; an unknown one is wrong usage."""
    wanted, rules = name.upper(), tool.rules
    if wanted != "ALL" and wanted not in rules:
        parser.error(f"argument --explain: no such rule: {name}; there are {', '.join(rules)}")
    chosen = rules.values() if wanted == "ALL" else [rules[wanted]]
    sys.stdout.write("\n".join(explanation(rule) for rule in chosen))


def write_findings(
    parser: argparse.ArgumentParser, options: argparse.Namespace, findings: Sequence[Finding], tool: Tool
) -> int:
    """Write *findings* as the options say; returns the exit code, 1 when one of them is an error."""
    write_text(parser, options, FORMATS[options.format](findings, tool))
    return 1 if any(one.severity is Severity.ERROR for one in findings) else 0


def write_text(parser: argparse.ArgumentParser, options: argparse.Namespace, text: str) -> None:
    """Write *text* where `--output` says."""
    if options.output:
        try:
            options.output.write_text(text, encoding="utf-8")
        except OSError as error:
            parser.error(f"argument --output: cannot be written: {error.strerror}")
    else:
        sys.stdout.write(text)
