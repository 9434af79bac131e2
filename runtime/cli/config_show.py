"""
`python3 -m runtime config show`: the settings in force, and where each comes from.

Without SERVICE: the settings for all services, and what differs for a service or an operation.
"""

import argparse
import json
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from middleware import ConfigError
from runtime.connectors.loader import ConnectorConfig, open_transport
from runtime.connectors.registry import Connector
from runtime.settings import FILE_VARIABLE, LiveSettings, ResolvedSettings
from runtime.settings.contradictions import contradictions
from runtime.settings.sources import EffectiveSetting
from runtime.settings.typos import closest

from .config_settings import MAX_ATTEMPTS, config_of, declared_attempts, services, write_problems

__all__ = ["in_force", "main", "make_parser", "settings_of_service"]

_FILES = ("transport.ca_file", "transport.client_certificate_file", "transport.client_key_file")

_EPILOG = """\
examples:
  python3 -m runtime config show
  python3 -m runtime config show hosting deploy --file settings.toml
  python3 -m runtime config show --file settings.toml --diff new.toml

exit codes: 0 fine, 2 wrong usage, 3 the settings cannot be used
"""


def main(argv: Sequence[str]) -> int:
    """Print mode, settings and certificates, or a comparison; 0, 2 for wrong usage, or 3 when settings are wrong."""
    try:
        known = services()
    except ConfigError as error:  # of a connector that another package adds
        return write_problems(error)
    parser = make_parser(known)
    options = _parsed(parser, known, argv)
    if missing := next((file for file in (options.file, options.diff) if file is not None and not file.exists()), None):
        parser.error(f"no such file: {missing}")
    try:
        config = config_of(options.file)
        chosen = [known[options.service]] if options.service else list(known.values())
        for connector in chosen:
            open_transport(config, connector.name)
        other = None if options.diff is None else config_of(options.diff)
    except ConfigError as error:
        return write_problems(error)
    if other is not None:
        return _show_changes(config.policies, other.policies, options)
    scopes = dict(_scopes(config.policies, chosen, options.operation, alone=bool(options.service)))
    document = _document(config, scopes, chosen, options.file)
    sys.stdout.write(json.dumps(document, indent=2) + "\n" if options.json else _text(document, scopes))
    return 0


def make_parser(known: Collection[str]) -> argparse.ArgumentParser:
    """Return what reads the arguments, for the services *known*."""
    parser = argparse.ArgumentParser(
        prog="python3 -m runtime config show",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_names(parser, known, required=False)
    parser.add_argument("--file", type=Path, metavar="FILE", help=f"TOML file; default ${FILE_VARIABLE}")
    parser.add_argument("--diff", type=Path, metavar="OTHER", help="print what another TOML file would change instead")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    return parser


def settings_of_service(argv: Sequence[str], subcommands: Sequence[str]) -> int:
    """Print the effective policy of a service or an operation; 0, 2 for wrong usage, or 3 when settings are wrong."""
    try:
        known = services()
    except ConfigError as error:  # of a connector that another package adds
        return write_problems(error)
    parser = argparse.ArgumentParser(
        prog="python3 -m runtime config", description="Print the settings in force, and where each comes from."
    )
    _add_names(parser, known, subcommands, required=True)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    options = _parsed(parser, known, argv)
    try:
        config = ConnectorConfig.from_env()
        open_transport(config, options.service)
    except ConfigError as error:
        return write_problems(error)
    rows = in_force(config.policies, known[options.service], options.operation)
    for contradiction in contradictions(rows):
        sys.stderr.write(f"{contradiction}\n")
    if options.json:
        sys.stdout.write(json.dumps([row._asdict() for row in rows], indent=2) + "\n")
    else:
        sys.stdout.write(_table(rows))
    return 0


def in_force(
    policies: ResolvedSettings | LiveSettings, connector: Connector[Any], operation: str
) -> list[EffectiveSetting]:
    """Return every setting in force for a service or an operation, with what its endpoint declares (R11)."""
    rows = policies.effective(connector.name, operation)
    most = declared_attempts(policies, connector, operation)
    if most is None:
        return rows
    return [
        row._replace(value=most, origin=f"declared by {connector.name}.{operation}")
        if row.name == MAX_ATTEMPTS and row.value > most
        else row
        for row in rows
    ]


def _add_names(
    parser: argparse.ArgumentParser, known: Collection[str], subcommands: Sequence[str] = (), *, required: bool
) -> None:
    def service(text: str) -> str:
        if text not in known:
            meant = closest(text, [*known, *subcommands])
            hint = f"did you mean {meant}?" if meant else f"there are {', '.join(sorted(known))}"
            what = "service or subcommand" if subcommands else "service"
            raise argparse.ArgumentTypeError(f"no such {what}: {text}; {hint}")
        return text

    parser.add_argument(
        "service",
        nargs=None if required else "?",
        type=service,
        choices=sorted(known),  # for completion; `service` has the better error
        metavar="SERVICE",
        help=f"name of the connector: {', '.join(sorted(known))}",
    )
    parser.add_argument("operation", nargs="?", default="", metavar="OPERATION", help="name of its method")


def _parsed(
    parser: argparse.ArgumentParser, known: dict[str, Connector[Any]], argv: Sequence[str]
) -> argparse.Namespace:
    options = parser.parse_args(argv)
    if options.operation and options.operation not in known[options.service].operations:
        operations = ", ".join(known[options.service].operations)
        parser.error(f"argument operation: {options.service} has {operations}")
    return options


def _scopes(
    policies: ResolvedSettings | LiveSettings, chosen: Sequence[Connector[Any]], operation: str, *, alone: bool
) -> Iterator[tuple[str, list[EffectiveSetting]]]:
    """The settings of what was asked for; of everything, those for all services, and what differs for each scope."""
    if alone:
        (connector,) = chosen
        yield f"{connector.name}.{operation}".rstrip("."), in_force(policies, connector, operation)
        return
    of_all = policies.effective("")
    yield "all services", of_all
    for connector in chosen:
        of_service = in_force(policies, connector, "")
        yield connector.name, _differing(of_service, of_all)
        for one in connector.operations:
            yield f"{connector.name}.{one}", _differing(in_force(policies, connector, one), of_service)


def _differing(rows: list[EffectiveSetting], others: list[EffectiveSetting]) -> list[EffectiveSetting]:
    return [row for row, other in zip(rows, others, strict=True) if row.value != other.value]


def _document(
    config: ConnectorConfig,
    scopes: dict[str, list[EffectiveSetting]],
    chosen: Sequence[Connector[Any]],
    file: Path | None,
) -> dict[str, Any]:
    # Those files that could not be opened are errors by now.
    paths = (row.value for one in chosen for row in config.policies.effective(one.name) if row.name in _FILES)
    return {
        "mode": "managed" if config.managed_mode else "self_hosted",
        "mode_reason": config.mode_reason,
        "file": str(file) if file is not None else os.environ.get(FILE_VARIABLE, "").strip() or None,
        "opened": list(dict.fromkeys(path for path in paths if path)),
        "hashes": {one.name: config.policies.settings_hash(one.name) for one in chosen},
        "settings": {name: [row._asdict() for row in rows] for name, rows in scopes.items() if rows},
    }


def _text(document: dict[str, Any], scopes: dict[str, list[EffectiveSetting]]) -> str:
    hashes = document["hashes"]
    same = set(hashes.values())
    shown = same.pop() if len(same) == 1 else ", ".join(f"{name} {one}" for name, one in hashes.items())
    head = [
        f"mode    {document['mode']}: {document['mode_reason']}",
        f"file    {document['file'] or f'none: {FILE_VARIABLE} is not set'}",
        f"opened  {', '.join(document['opened']) or 'no certificate, key or CA file is set'}",
        f"hash    {shown}",
    ]
    tables = [f"\n{name}\n{_table(rows)}" for name, rows in scopes.items() if rows]
    return "\n".join(head) + "\n" + "".join(tables)


def _table(rows: Sequence[EffectiveSetting]) -> str:
    width = max(len(row.name) for row in rows)
    return "".join(f"{row.name:{width}}  {row.shown:<12}  {row.origin}\n" for row in rows)


def _show_changes(
    policies: ResolvedSettings | LiveSettings, other: ResolvedSettings | LiveSettings, options: argparse.Namespace
) -> int:
    one, another = (given.current if isinstance(given, LiveSettings) else given for given in (policies, other))
    service, operation = options.service, options.operation
    wanted = {"all services", service, *([f"{service}.{operation}"] if operation else [])}
    changes = [
        change
        for change in one.changes_to(another)
        if not service or change.scope in wanted or (not operation and change.scope.startswith(f"{service}."))
    ]
    if options.json:
        sys.stdout.write(json.dumps([change._asdict() for change in changes], indent=2) + "\n")
        return 0
    for change in changes:
        sys.stdout.write(f"{change}{' (needs a restart)' if change.needs_restart else ''}\n")
    if not changes:
        sys.stdout.write("No setting differs.\n")
    return 0
