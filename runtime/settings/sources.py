"""
Sources of settings: the environment, a TOML file, and the constructor's mappings. Generic, knows no field by name.

Each source is read into a value by setting and level. A setting belongs to all services, to one service, or to one
operation of a service; `resolution` merges the sources. Names, types, bounds and the reference of settings all come
from the SettingSpecs that the fields carry.

In the environment: `MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS`, `MOZAIKS_CONNECTORS_HOSTING__RETRY_MAX_ATTEMPTS`,
`MOZAIKS_CONNECTORS_HOSTING__DEPLOY__RETRY_MAX_ATTEMPTS`. In a file, and as nested mappings in the constructor:

    [retry]
    max_attempts = 4
    [services.hosting.retry]
    max_attempts = 5
    [services.hosting.operations.deploy.retry]
    max_attempts = 1
"""

import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

from middleware.errors import ConfigError
from middleware.settings import SecretUrl, Setting, got, settings_of
from middleware.stack import StackSettings

from .typos import closest

__all__ = [
    "FILE_VARIABLE",
    "PREFIX",
    "REQUIRE_VARIABLE",
    "EffectiveSetting",
    "Given",
    "Level",
    "Problem",
    "Row",
    "Services",
    "SourceValues",
    "as_written",
    "from_env",
    "from_file",
    "from_mapping",
    "known_variables",
    "no_such",
    "read_file",
    "settings",
    "settings_table",
    "switch",
]

PREFIX = "MOZAIKS_CONNECTORS_"
FILE_VARIABLE = f"{PREFIX}FILE"
REQUIRE_VARIABLE = f"{PREFIX}REQUIRE_MANAGED"
_OF_THE_LOADER = (FILE_VARIABLE, REQUIRE_VARIABLE)  # with the prefix, and no setting of a stack

_TRUE = frozenset({"1", "true", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "no", "n", "off"})
_HEADER = re.compile(r"\s*+\[++([^][]*+)\]")  # of a table in a file
_MAX_FILE_BYTES = 64 * 1024  # a file is read on the event loop, and dotted keys take tomllib quadratic time

Level: TypeAlias = tuple[str, ...]
"""() for all services, (service,), or (service, operation)."""

Services: TypeAlias = Mapping[str, Collection[str]]
"""Operations by service: the names that settings may use."""


class Row(NamedTuple):
    """One setting: its section, and what its field declares."""

    section: str
    setting: Setting

    @property
    def name(self) -> str:
        """Name without prefix, as in the environment."""
        return f"{self.section}_{self.setting.name}".upper()

    @property
    def path(self) -> str:
        """Name as in a file: `section.field`."""
        return f"{self.section}.{self.setting.name}"


class Given(NamedTuple):
    """A value and where it was written."""

    value: Any
    origin: str


class EffectiveSetting(NamedTuple):
    """
    One setting as it is in force.

    Attributes:
        name: `section.field`.
        value: The value.
        origin: Where it was written: a variable, a file with line and key, `constructor` with the key, or `default`.
    """

    name: str
    value: Any
    origin: str

    @property
    def shown(self) -> str:
        """The value as it is written in settings."""
        return as_written(self.value)


class Problem(str):
    """
    One line about what cannot be used, `place: reason`; its parts are for `config check`.

    Attributes:
        rule: Id of the rule (`runtime.settings.rules`).
        place: Where it was written: a variable, or a file with line and key.
        reason: What is wrong there.
        meant: The known name that an unknown one most likely meant; empty where there is none.
    """

    __slots__ = ("meant", "place", "reason", "rule")
    meant: str
    place: str
    reason: str
    rule: str

    def __new__(cls, rule: str, place: str, reason: str, meant: str = "") -> Self:
        """Make the line of its parts."""
        problem = super().__new__(cls, f"{place}: {reason}")
        problem.rule, problem.place, problem.reason, problem.meant = rule, place, reason, meant
        return problem


SourceValues: TypeAlias = dict[tuple[Level, Row], Given]


def settings() -> Iterator[Row]:
    """List every setting of the stack, section by section."""
    for section in fields(StackSettings):
        if section.init:
            for setting in settings_of(section.default_factory):  # type: ignore[arg-type] # each section is a Settings class
                yield Row(section.name, setting)


def as_written(value: Any) -> str:
    """Return *value* as it is written in settings."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def no_such(place: str, meant: str | None) -> Problem:
    """Return the problem with an unknown name at *place*, with the known one that was most likely *meant*."""
    return Problem("ST103", place, "no such setting" + (f"; did you mean {meant}?" if meant else ""), meant or "")


# --- the environment ------------------------------------------------------------------------------------------------


def from_env(environ: Mapping[str, str], services: Services | None, found: list[str]) -> SourceValues:
    """Read the variables of *environ*; problems go into *found*, each with its variable."""
    rows = {row.name: row for row in settings()}
    result: SourceValues = {}
    for variable in sorted(name for name in environ if name.startswith(PREFIX) and name not in _OF_THE_LOADER):
        text = environ[variable].strip()
        *names, name = variable.removeprefix(PREFIX).split("__")
        level = tuple(part.lower() for part in names)
        if name not in rows or not _is_known(level, services):
            found.append(no_such(variable, closest(variable, known_variables(services))))
        elif text:
            try:
                value = _parse(text, rows[name].setting.type)
            except ValueError as error:
                found.append(Problem("ST105", variable, f"{error}, {got(text)}"))
            else:
                _add(result, level, rows[name], Given(value, variable), found)
    return result


def _is_known(level: Level, services: Services | None) -> bool:
    if len(level) > 2 or not all(level):  # noqa: PLR2004 - service and operation
        return False
    if services is None or not level:
        return True
    return level[0] in services and (len(level) == 1 or level[1] in services[level[0]])


def known_variables(services: Services | None) -> Iterator[str]:
    """List every variable that settings can be given by, where these *services* and operations are known."""
    yield from _OF_THE_LOADER
    for row in settings():
        yield PREFIX + row.name
        for service, operations in (services or {}).items():
            yield f"{PREFIX}{service.upper()}__{row.name}"
            yield from (f"{PREFIX}{service.upper()}__{operation.upper()}__{row.name}" for operation in operations)


def _add(result: SourceValues, level: Level, row: Row, given: Given, found: list[str]) -> None:
    """Add one value to *result*, or its problem to *found*."""
    if row.setting.spec.shared and len(level) == 2:  # noqa: PLR2004 - an operation's own
        found.append(Problem("ST106", given.origin, "all operations of a service share this; set it for the service"))
    elif row.setting.type is SecretUrl and isinstance(given.value, str):
        result[level, row] = Given(SecretUrl(given.value), given.origin)
    else:
        result[level, row] = given


def switch(text: str) -> bool:
    """
    Read the word of a switch, in any case: 1, true, yes, y, on; 0, false, no, n, off.

    Raises:
        ValueError: It is another word.
    """
    if text.lower() not in _TRUE | _FALSE:
        raise ValueError("must be true or false")
    return text.lower() in _TRUE


def _parse(text: str, kind: type) -> Any:
    if kind is bool:
        return switch(text)
    if kind in {str, SecretUrl}:
        return text
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"must be {'a whole number' if kind is int else 'a number'}") from None


# --- a file, and the constructor's mappings, which have the same shape ----------------------------------------------


def read_file(file: Path) -> bytes:
    """
    Read the content of *file*.

    Raises:
        ConfigError: It cannot be read, or is too large.
    """
    try:
        with file.open("rb") as opened:
            # equivalent: `2`: one byte more is read, and is as much too large
            content = opened.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        problem = f"{file}: cannot be read ({error.strerror or type(error).__name__})"
    else:
        if len(content) <= _MAX_FILE_BYTES:
            return content
        problem = f"{file}: larger than {_MAX_FILE_BYTES} bytes"
    raise ConfigError(problem)


def from_file(file: Path, content: bytes, services: Services | None, found: list[str]) -> SourceValues:
    """Read *content*, that of *file*; problems go into *found*, each with file, line and key."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        found.append(Problem("ST101", str(file), f"not UTF-8 at byte {error.start}"))
        return {}
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and what an absurd number or nesting raises
        found.append(Problem("ST102", str(file), f"not TOML: {error}"))  # tomllib names line and column
        return {}
    lines = _lines_of(text)

    def origin(path: str) -> str:
        line = lines.get(path) or next((at for known, at in lines.items() if known.startswith(f"{path}.")), None)
        return f"{file}:{line}: {path}" if line else f"{file}: {path}"

    return from_mapping(document, services, found, origin)


def _lines_of(text: str) -> dict[str, int]:
    """Line of each `key = value` under a plain `[table]` header, by its dotted path; other spellings have none."""
    lines, table = {}, ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            name = header[1].strip()
            lines[name], table = number, f"{name}."
        elif "=" in line:
            lines[table + line.partition("=")[0].strip()] = number
    return lines


def from_mapping(
    document: Any, services: Services | None, found: list[str], origin: Callable[[str], str]
) -> SourceValues:
    """Read nested mappings; problems go into *found*, each with the *origin* of its path."""
    return _Document(services, found, origin).read(document)


class _Document:
    """Reads nested mappings; problems go into *found*, each with its place."""

    def __init__(self, services: Services | None, found: list[str], origin: Callable[[str], str]) -> None:
        self._services = services
        self._found = found
        self._origin = origin
        self._rows = {row.path: row for row in settings()}
        self._result: SourceValues = {}

    def read(self, document: Any) -> SourceValues:
        top = dict(self._table(document, "settings"))
        services = self._table(top.pop("services", {}), "services")
        self._sections(top, (), "")
        for service, tables in services.items():
            self._service(service, tables)
        return self._result

    def _service(self, service: str, tables: Any) -> None:
        place = f"services.{service}"
        if not _is_known((service,), self._services):
            self._unknown(place, [f"services.{known}" for known in self._services or ()])
            return
        own = dict(self._table(tables, place))
        operations = self._table(own.pop("operations", {}), f"{place}.operations")
        self._sections(own, (service,), f"{place}.")
        for operation, values in operations.items():
            path = f"{place}.operations.{operation}"
            if _is_known((service, operation), self._services):
                self._sections(self._table(values, path), (service, operation), f"{path}.")
            else:
                known = (self._services or {}).get(service, ())
                self._unknown(path, [f"{place}.operations.{name}" for name in known])

    def _sections(self, tables: Mapping[str, Any], level: Level, prefix: str) -> None:
        for section, values in tables.items():
            for name, value in self._table(values, f"{prefix}{section}").items():
                path = f"{section}.{name}"
                row = self._rows.get(path)
                if row is None:
                    self._unknown(prefix + path, [prefix + known for known in self._rows])
                else:
                    _add(self._result, level, row, Given(value, self._origin(prefix + path)), self._found)

    def _table(self, value: Any, path: str) -> Mapping[str, Any]:
        if isinstance(value, Mapping):
            return value
        self._found.append(Problem("ST104", self._origin(path), "must be a table"))
        return {}

    def _unknown(self, path: str, known: Collection[str]) -> None:
        self._found.append(no_such(self._origin(path), closest(path, known)))


def settings_table() -> str:
    """Markdown table of every setting, as docs/reference/settings.md shows it."""
    lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for row in settings():
        spec, default = row.setting.spec, row.setting.default
        text = f"{default:g}" if row.setting.type is float else as_written(default)
        unit = f" {spec.unit}" if spec.unit else ""
        lines.append(f"| `{PREFIX}{row.name}` | {text or '(empty)'}{unit} | {spec.doc} |")
    return "\n".join(lines)
