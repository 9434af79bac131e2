"""
Settings of the stacks, from three sources and on four levels: generic, knows no field by name.

A setting belongs to all services, to one service, or to one operation of a service. Sources, strongest first: the
constructor, the environment, a TOML file. They are merged value by value on each level; then the most specific level
wins. Names, types, bounds and the table in the README all come from the SettingSpecs that the fields carry.

In the environment: `MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS`, `MOZAIKS_CONNECTORS_HOSTING__RETRY_MAX_ATTEMPTS`,
`MOZAIKS_CONNECTORS_HOSTING__DEPLOY__RETRY_MAX_ATTEMPTS`. In a file, and as nested mappings in the constructor:

    [retry]
    max_attempts = 4
    [services.hosting.retry]
    max_attempts = 5
    [services.hosting.operations.deploy.retry]
    max_attempts = 1
"""

import os
import re
import threading
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from middleware.errors import ConfigError
from middleware.settings import Setting, settings_of
from middleware.stack import SettingsChange, StackSettings

from .typos import closest

__all__ = [
    "FILE_VARIABLE",
    "PREFIX",
    "REQUIRE_VARIABLE",
    "EffectiveSetting",
    "LiveSettings",
    "ResolvedSettings",
    "Row",
    "known_variables",
    "no_such",
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
_POLL_S = 1.0
_MAX_FILE_BYTES = 1024 * 1024
_MAX_EFFECTIVE = 1024  # operations kept ready; their names come from the program, yet nothing may grow for ever

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


class _Given(NamedTuple):
    """A value and where it was written."""

    value: Any
    origin: str


_Layer: TypeAlias = dict[tuple[Level, Row], _Given]


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
        return _shown(self.value)


def settings() -> Iterator[Row]:
    """List every setting of the stack, section by section."""
    for section in fields(StackSettings):
        if section.init:
            for setting in settings_of(section.default_factory):  # type: ignore[arg-type] # each section is a Settings class
                yield Row(section.name, setting)


class ResolvedSettings:
    """
    One snapshot of all settings.

    Args:
        constructor: Nested mappings as in a file; the strongest source.
        environ: For example `os.environ`.
        file: A TOML file; the weakest source.
        services: Names that a service's or an operation's own settings may use; None allows any.

    Raises:
        ConfigError: Lists every unknown name and every bad value, each with its place.
    """

    def __init__(
        self,
        constructor: Mapping[str, Any] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        file: Path | None = None,
        services: Services | None = None,
    ) -> None:
        found: list[str] = []
        layers = [
            *([] if file is None else [_from_file(file, _read_file(file), services, found)]),
            _from_env(environ or {}, services, found),
            _from_mapping(constructor or {}, services, found, lambda path: f"constructor: {path}"),
        ]
        self._given: _Layer = {}
        for layer in layers:  # R60: value by value, the stronger source later
            self._given.update(layer)
        self._cache: dict[Level, StackSettings] = {}
        for level in sorted({level for level, _ in self._given}, key=len):
            self._build(level, found)
        if found:
            raise ConfigError(found)

    def of(self, service: str, operation: str = "") -> StackSettings:
        """Settings in force for an operation, or for the whole service."""
        key = (service, operation)
        ready = self._cache.get(key)
        if ready is None:
            ready = self._build(key, [])
            if len(self._cache) < _MAX_EFFECTIVE:
                self._cache[key] = ready
        return ready

    def poll(self, _now: float) -> SettingsChange | None:
        """Return None: a snapshot never changes."""
        return None

    def effective(self, service: str, operation: str = "") -> list[EffectiveSetting]:
        """Every setting in force for an operation, with the origin of its value."""
        levels = _levels((service, operation))
        rows = []
        for row in settings():
            given = next((self._given[level, row] for level in levels if (level, row) in self._given), None)
            rows.append(EffectiveSetting(row.path, *(given or _Given(row.setting.default, "default"))))
        return rows

    def changes_to(self, other: "ResolvedSettings") -> tuple[str, ...]:
        """One line per value that differs in *other*: name, old and new value."""
        mine, others = self._given, other._given  # noqa: SLF001 - of the same class
        lines = []
        for level, row in sorted({*mine, *others}, key=lambda key: (key[0], key[1].path)):
            before, after = mine.get((level, row)), others.get((level, row))
            if (before and before.value) != (after and after.value):
                name = ".".join([*level, row.path])
                lines.append(f"{name}: {_shown_or_unset(before)} -> {_shown_or_unset(after)}")
        return tuple(lines)

    def _build(self, level: Level, found: list[str]) -> StackSettings:
        """Merge the levels up to *level*; a value out of bounds is reported by its place, once."""
        config = StackSettings()
        for part in reversed(_levels(level)):  # R60: the most specific level last
            for (_, row), given in ((key, given) for key, given in self._given.items() if key[0] == part):
                section = getattr(config, row.section)
                try:
                    config = replace(config, **{row.section: replace(section, **{row.setting.name: given.value})})
                except ConfigError as error:
                    (problem,) = error.problems  # of the one field that is new
                    problem = f"{given.origin}: {problem.partition(': ')[2]}"
                    if problem not in found:
                        found.append(problem)
        return config


def _levels(level: Level) -> list[Level]:
    """*level* and those above it, most specific first; a service's own may be listed twice."""
    level = tuple(name for name in level if name)
    return [level, level[:1], ()]


def _shown_or_unset(given: _Given | None) -> str:
    return "not set" if given is None else _shown(given.value)


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def no_such(place: str, meant: str | None) -> str:
    """Return the problem with an unknown name at *place*, with the known one that was most likely *meant*."""
    return f"{place}: no such setting" + (f"; did you mean {meant}?" if meant else "")


# --- the environment ------------------------------------------------------------------------------------------------


def _from_env(environ: Mapping[str, str], services: Services | None, found: list[str]) -> _Layer:
    rows = {row.name: row for row in settings()}
    layer: _Layer = {}
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
                found.append(f"{variable}: {error}, got {text!r}")
            else:
                _add(layer, level, rows[name], _Given(value, variable), found)
    return layer


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


def _add(layer: _Layer, level: Level, row: Row, given: _Given, found: list[str]) -> None:
    """Put one value into *layer*, or its problem into *found*."""
    if row.setting.spec.shared and len(level) == 2:  # noqa: PLR2004 - an operation's own
        found.append(f"{given.origin}: all operations of a service share this; set it for the service")
    else:
        layer[level, row] = given


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
    if kind is str:
        return text
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"must be {'a whole number' if kind is int else 'a number'}") from None


# --- a file, and the constructor's mappings, which have the same shape ----------------------------------------------


def _read_file(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        problem = f"{file}: cannot be read ({error.strerror or type(error).__name__})"
    else:
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigError(f"{file}: larger than {_MAX_FILE_BYTES} bytes")
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            problem = f"{file}: not UTF-8 at byte {error.start}"
    raise ConfigError(problem)


def _from_file(file: Path, text: str, services: Services | None, found: list[str]) -> _Layer:
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and what an absurd number or nesting raises
        found.append(f"{file}: not TOML: {error}")  # tomllib names line and column
        return {}
    lines = _lines_of(text)

    def origin(path: str) -> str:
        line = lines.get(path) or next((at for known, at in lines.items() if known.startswith(f"{path}.")), None)
        return f"{file}:{line}: {path}" if line else f"{file}: {path}"

    return _from_mapping(document, services, found, origin)


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


def _from_mapping(document: Any, services: Services | None, found: list[str], origin: Callable[[str], str]) -> _Layer:
    return _Document(services, found, origin).read(document)


class _Document:
    """Nested mappings into a layer; what is wrong goes into *found*, each with its place."""

    def __init__(self, services: Services | None, found: list[str], origin: Callable[[str], str]) -> None:
        self._services = services
        self._found = found
        self._origin = origin
        self._rows = {row.path: row for row in settings()}
        self._layer: _Layer = {}

    def read(self, document: Any) -> _Layer:
        top = dict(self._table(document, "settings"))
        services = self._table(top.pop("services", {}), "services")
        self._sections(top, (), "")
        for service, tables in services.items():
            self._service(service, tables)
        return self._layer

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
                    _add(self._layer, level, row, _Given(value, self._origin(prefix + path)), self._found)

    def _table(self, value: Any, path: str) -> Mapping[str, Any]:
        if isinstance(value, Mapping):
            return value
        self._found.append(f"{self._origin(path)}: must be a table")
        return {}

    def _unknown(self, path: str, known: Collection[str]) -> None:
        self._found.append(no_such(self._origin(path), closest(path, known)))


# --- reload -----------------------------------------------------------------------------------------------------------


class LiveSettings:
    """
    Settings that follow a file: a change is in force from the next call on; with a broken file the last good ones stay.

    The file is looked at on calls, at most once a second, so that no thread is needed that could die unseen. Its
    path is followed anew each time, which also sees an editor's atomic replacement and a mounted volume's swapped link.

    Args:
        constructor: As for `ResolvedSettings`.
        environ: As for `ResolvedSettings`.
        file: The TOML file.
        services: As for `ResolvedSettings`.

    Raises:
        ConfigError: The first reading failed; there are no last good settings to fall back to.
    """

    def __init__(
        self,
        constructor: Mapping[str, Any] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        file: Path,
        services: Services | None = None,
    ) -> None:
        self._constructor = constructor
        self._environ = dict(environ or {})
        self._file = file
        self._services = services
        self._lock = threading.Lock()
        self._next_look = float("-inf")
        self._seen = self._look()
        self.current = self._load()

    def of(self, service: str, operation: str = "") -> StackSettings:
        """Settings in force now for an operation, or for the whole service."""
        return self.current.of(service, operation)

    def effective(self, service: str, operation: str = "") -> list[EffectiveSetting]:
        """Every setting in force now for an operation, with the origin of its value."""
        return self.current.effective(service, operation)

    def poll(self, now: float) -> SettingsChange | None:
        """Look at the file, at most once a second; return the effect of a change, to one caller, once."""
        if now < self._next_look or not self._lock.acquire(blocking=False):
            return None
        try:
            self._next_look = now + _POLL_S
            seen = self._look()
            if seen == self._seen:
                return None
            self._seen = seen
            try:
                fresh = self._load()
            except ConfigError as error:
                return SettingsChange(problems=error.problems)  # R61: the last good settings stay, watching goes on
            changes = self.current.changes_to(fresh)
            fixed = [change for change in changes if ".transport." in f".{change}"]
            if fixed:  # connections are made once; half a reload would be none
                return SettingsChange(
                    problems=tuple(f"{self._file}: {change}: needs a restart, nothing was changed" for change in fixed)
                )
            self.current = fresh  # R61: one assignment; calls in flight keep the snapshot they began with
            return SettingsChange(changes=changes) if changes else None
        finally:
            self._lock.release()

    def _look(self) -> tuple[int, ...] | None:
        try:
            status = os.stat(self._file)  # noqa: PTH116 - one system call
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _load(self) -> ResolvedSettings:
        return ResolvedSettings(self._constructor, environ=self._environ, file=self._file, services=self._services)


def settings_table() -> str:
    """Markdown table of every setting, as the README shows it."""
    lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for row in settings():
        spec, default = row.setting.spec, row.setting.default
        text = f"{default:g}" if row.setting.type is float else _shown(default)
        unit = f" {spec.unit}" if spec.unit else ""
        lines.append(f"| `{PREFIX}{row.name}` | {text or '(empty)'}{unit} | {spec.doc} |")
    return "\n".join(lines)
