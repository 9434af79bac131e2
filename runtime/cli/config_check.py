"""
`python3 -m runtime config check`: all that is wrong with the settings, at once.

Reads the environment and the settings file as a program does, and compares the settings in force of each service and
operation with each other, and with what the options say about callers, traffic and service.
"""

import argparse
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from middleware import ConfigError
from middleware.redaction import printable
from runtime._internal.findings import Finding, Severity, Tool
from runtime._version import __version__
from runtime.connectors.base import check_base_url
from runtime.connectors.endpoint import is_idempotent
from runtime.connectors.loader import ConnectorConfig, misspelled, open_transport
from runtime.connectors.registry import Connector, connectors
from runtime.settings import FILE_VARIABLE, REQUIRE_VARIABLE, ResolvedSettings
from runtime.settings.contradictions import Contradiction, Facts, contradictions
from runtime.settings.mode import CORE_URL, GATEWAY_URL, mode_of
from runtime.settings.rules import RULES
from runtime.settings.sources import EffectiveSetting, Problem, read_file

from .config_settings import environ_of
from .config_show import in_force
from .findings_options import add_findings_options, explain_rules, write_findings

__all__ = ["check", "main", "make_parser"]

_T = TypeVar("_T", int, float)

_EPILOG = """\
examples:
  python3 -m runtime config check settings.toml
  python3 -m runtime config check --rps 0.5 --processes 4 --concurrency 50 --strict
  python3 -m runtime config check settings.toml --sarif --output settings.sarif
  python3 -m runtime config check --explain ST304

exit codes: 0 no error, 1 an error (with --strict also a warning), 2 wrong usage
"""
_TOML_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")
_AT_LINE = re.compile(r":(\d+): (.*)", re.DOTALL)
_SHOWN_SCOPES = 3


def main(argv: Sequence[str]) -> int:
    """Print what is wrong; 0, 1 when there is an error, 2 for wrong usage."""
    parser = make_parser()
    options = parser.parse_args(argv)
    tool = Tool("connector-config-check", __version__, RULES)
    if options.explain:
        explain_rules(parser, options.explain, tool)
        return 0
    if options.file is not None and not options.file.exists():
        parser.error(f"no such file: {options.file}")
    facts = Facts(
        budget_s=options.budget,
        calls_per_s=options.rps,
        concurrency=options.concurrency,
        processes=options.processes,
    )
    found = check(environ_of(options.file), facts)
    if options.strict:
        found = [replace(one, severity=Severity.ERROR) if one.severity is Severity.WARNING else one for one in found]
    return write_findings(parser, options, found, tool)


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the arguments."""
    parser = argparse.ArgumentParser(
        prog="python3 -m runtime config check",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help=f"TOML file; default ${FILE_VARIABLE}")
    parser.add_argument(
        "--budget",
        type=_positive(float),
        default=Facts().budget_s,
        metavar="S",
        help="seconds that the caller of a call has (default: %(default)g, after which the core cancels a plugin)",
    )
    parser.add_argument(
        "--rps", type=_positive(float), metavar="N", help="calls per second of one process to a service"
    )
    parser.add_argument(
        "--processes", type=_positive(int), default=1, metavar="P", help="number of processes (default: %(default)s)"
    )
    parser.add_argument(
        "--concurrency",
        type=_positive(int),
        metavar="N",
        help="attempts that a service takes at a time, from all processes",
    )
    parser.add_argument("--strict", action="store_true", help="count warnings as errors")
    add_findings_options(parser)
    return parser


def _positive(kind: Callable[[str], _T]) -> Callable[[str], _T]:
    def number(text: str) -> _T:
        try:
            value = kind(text)
        except ValueError:
            value = kind("0")
        if not 0 < value < math.inf:
            wanted = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {wanted} above 0, got {text!r}")
        return value

    return number


def check(environ: Mapping[str, str], facts: Facts) -> list[Finding]:
    """
    Return what is wrong with the settings of *environ* and of the file that it names, by place.

    What cannot be used is left out, so that the other settings are compared all the same.

    Args:
        environ: For example `os.environ`.
        facts: What the settings are compared with; those of each operation are filled in.
    """
    try:
        known = connectors()
    except ConfigError as error:  # of a connector that another package adds
        return sorted(_finding(_parts(problem, "ST111"), "") for problem in error.problems)
    file = environ.get(FILE_VARIABLE, "").strip()
    problems: list[str] = []
    found = [*_mode(environ, problems)]
    policies = _settings(environ, file, known, problems)
    found += [_finding(_parts(problem, "ST105"), file) for problem in problems]
    misspellings = [_finding(_parts(problem, "ST103"), file) for problem in misspelled(environ)]
    found += [replace(one, severity=Severity.WARNING) for one in misspellings]
    found += [_finding(problem, file) for problem in _transports(policies, known)]
    found += [_contradiction(one, scopes, file) for one, scopes in _compared(policies, known, facts).items()]
    return sorted(dict.fromkeys(found))


def _mode(environ: Mapping[str, str], problems: list[str]) -> Iterator[Finding]:
    mode = mode_of(environ, problems)
    if mode.required and not mode.managed and not problems:
        yield _finding(Problem("ST108", REQUIRE_VARIABLE, f"managed mode is required, but {mode.reason}"), "")
    elif mode.incomplete:
        yield replace(_finding(Problem("ST108", GATEWAY_URL, mode.reason), ""), severity=Severity.WARNING)
    for name in (GATEWAY_URL, CORE_URL):
        if mode.managed and environ.get(name, "").strip():
            try:
                check_base_url(environ[name], name=name)
            except ConfigError as error:
                yield from (_finding(_parts(problem, "ST109"), "") for problem in error.problems)


def _settings(
    environ: Mapping[str, str], file: str, known: Sequence[Connector[object]], problems: list[str]
) -> ResolvedSettings:
    services = {one.name: one.operations for one in known}
    path = Path(file) if file else None
    content = None
    if path is not None:
        try:
            content = read_file(path)
        except ConfigError as error:
            problems += [_parts(problem, "ST101") for problem in error.problems]
            path = None
    return ResolvedSettings(environ=environ, file=path, content=content, services=services, problems=problems)


def _transports(policies: ResolvedSettings, known: Sequence[Connector[object]]) -> Iterator[Problem]:
    """What opening the files that the settings name finds; services with the same settings once."""
    config = ConnectorConfig(policies=policies)
    services = {policies.of(one.name).transport: one.name for one in known}
    for service in services.values():
        try:
            open_transport(config, service)
        except ConfigError as error:
            yield from (_parts(problem, "ST110") for problem in error.problems)


def _compared(
    policies: ResolvedSettings, known: Sequence[Connector[object]], facts: Facts
) -> dict[Contradiction, list[str]]:
    """Each contradiction, with the scopes in which it is in force; a scope within another one is not listed."""
    found: dict[Contradiction, list[str]] = {}
    for contradiction in contradictions(policies.effective(""), facts):
        found[contradiction] = [""]
    for connector in known:
        for operation in ("", *connector.operations):
            scope = f"{connector.name}.{operation}".rstrip(".")
            rows = in_force(policies, connector, operation)
            for contradiction in contradictions(rows, _facts_of(connector, operation, rows, facts)):
                scopes = found.setdefault(contradiction, [])
                if not {"", connector.name} & {*scopes}:
                    scopes.append(scope)
    return found


def _facts_of(connector: Connector[object], operation: str, rows: Sequence[EffectiveSetting], facts: Facts) -> Facts:
    endpoint = connector.endpoint(operation)
    if endpoint is None:  # a whole service, or requests that are declared nowhere
        return facts
    if is_idempotent(endpoint.method, endpoint.idempotent):
        return replace(facts, repeats=True)
    has_key = next(row.value for row in rows if row.name == "idempotency.honors_key")
    return replace(facts, repeats=has_key, documents_key=endpoint.documents_key)


def _contradiction(one: Contradiction, scopes: Sequence[str], file: str) -> Finding:
    given = next((row for row in one.rows if row.origin != "default"), one.rows[0])
    path, line, column, _ = _located(given.origin, file)
    if given.origin == "default":
        path = f"{given.name} (default)"
    values = ", ".join(f"{row.name} = {row.shown}" + _elsewhere(row, given, file) for row in one.rows)
    more = f" and {len(scopes) - _SHOWN_SCOPES} more" if len(scopes) > _SHOWN_SCOPES else ""
    shown = ", ".join(scopes[:_SHOWN_SCOPES]) + more
    where = f" [{shown}]" if shown else ""
    return Finding(path, line, column, one.rule, f"{values}: {one.effect}{where}", RULES[one.rule].severity)


def _elsewhere(row: EffectiveSetting, given: EffectiveSetting, file: str) -> str:
    """The place of a value, where it is another one than the finding's own."""
    if row.origin == given.origin:
        return ""
    path, line, _, _ = _located(row.origin, file)
    return f" ({path}:{line})" if line else f" ({path})"


def _parts(problem: str, rule: str) -> Problem:
    """The parts of a problem; of one that came through an error, with *rule*."""
    if isinstance(problem, Problem):
        return problem
    place, _, reason = problem.partition(": ")
    at_line = re.match(r"(.*?:\d+: [\w.]+): (.*)", problem, re.DOTALL)
    return Problem(rule, at_line[1], at_line[2]) if at_line else Problem(rule, place, reason)


def _finding(problem: Problem, file: str) -> Finding:
    path, line, column, key = _located(problem.place, file)
    reason = printable(problem.reason)
    if problem.rule == "ST102" and (at := _TOML_PLACE.search(reason)):
        line, column = int(at[1]), int(at[2])
    message = f"{key}: {reason}" if key else reason
    return Finding(path, line, column, problem.rule, message, RULES[problem.rule].severity, meant=problem.meant)


def _located(place: str, file: str) -> tuple[str, int, int, str]:
    """Path, line, column and key of a place; line 0 for one without lines, such as a variable."""
    if not file or not place.startswith(file):
        return printable(place), 0, 0, ""
    rest = place.removeprefix(file)
    at = _AT_LINE.fullmatch(rest)
    if at:
        return file, int(at[1]), 1, printable(at[2])
    return file, 1, 1, printable(rest.removeprefix(": "))
