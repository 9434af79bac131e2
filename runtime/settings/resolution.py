"""
Which value of a setting is in force: three sources are merged on each level, then the most specific level wins.

Sources, strongest first: the constructor, the environment, a TOML file, a host's own defaults. They are merged value by
value. Levels, most specific first: an operation of a service, the service, all services.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from middleware.errors import ConfigError
from middleware.settings import SecretUrl, hash_of
from middleware.stack import SettingsChange, StackSettings

from .contradictions import contradictions
from .sources import (
    EffectiveSetting,
    Given,
    Level,
    Problem,
    Row,
    Services,
    SourceValues,
    as_written,
    from_env,
    from_file,
    from_mapping,
    read_file,
    settings,
)

__all__ = ["EffectiveSetting", "ResolvedSettings", "ValueChange", "at_origins"]

_MAX_EFFECTIVE = 1024  # operations kept ready; their names come from the program, yet nothing may grow without a bound


def at_origins(problems: Iterable[str], rows: Iterable[EffectiveSetting]) -> list[str]:
    """
    Return *problems* with settings, each with the origin of its value instead of the name of its field.

    They are settings of what is made once: the transport's, and those of the shared quota.
    """
    classes = {"transport": "TransportSettings", "quota": "QuotaSettings"}
    named = ((row.name.partition("."), row.origin) for row in rows)
    origins = {f"{classes.get(section, section)}.{field}": origin for (section, _, field), origin in named}
    found = [problem.partition(": ") for problem in problems]
    return [f"{origins.get(name, name)}{colon}{reason}" for name, colon, reason in found]


class ValueChange(NamedTuple):
    """
    One value that differs between two snapshots.

    Attributes:
        scope: For what it was given: `all services`, a service, or an operation as `service.operation`.
        name: `section.field`, with the scope in front where it is not all services.
        before: The old value, with where it came from if it was not given for this scope: `3 (default)`.
        after: The new one.
        needs_restart: It is of what is made once.
    """

    scope: str
    name: str
    before: str
    after: str
    needs_restart: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.before} -> {self.after}"


class ResolvedSettings:
    """
    One snapshot of all settings.

    Args:
        constructor: Nested mappings as in a file; the strongest source.
        environ: For example `os.environ`.
        file: A TOML file; weaker than both.
        defaults: As *constructor*, and the weakest source: defaults of the host instead of ours.
        services: Names that a service's or an operation's own settings may use; None allows any.
        content: Content of the file, where it has been read already.
        problems: Receives every problem instead of the error; what cannot be used is then as if it was not given.

    Attributes:
        shadowed: One line per value of the file that a stronger source overrides.

    Raises:
        ConfigError: Lists every unknown name and every bad value, each with its place.
    """

    def __init__(
        self,
        constructor: Mapping[str, Any] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        file: Path | None = None,
        defaults: Mapping[str, Any] | None = None,
        services: Services | None = None,
        content: bytes | None = None,
        problems: list[str] | None = None,
    ) -> None:
        found: list[str] = [] if problems is None else problems
        of_file: SourceValues = {}
        if file is not None:
            of_file = from_file(file, read_file(file) if content is None else content, services, found)
        sources = [
            from_mapping(defaults or {}, services, found, lambda path: f"the host's default: {path}"),
            of_file,
            from_env(environ or {}, services, found),
            from_mapping(constructor or {}, services, found, lambda path: f"constructor: {path}"),
        ]
        self._given: SourceValues = {}
        for source in sources:  # R60: value by value, the stronger source later
            self._given.update(source)
        self.shadowed = tuple(
            f"{given.origin} = {as_written(given.value)} is overridden by {self._given[key].origin}"
            for key, given in of_file.items()
            if self._given[key].value != given.value
        )
        self._services = services or {}
        self._hashes: dict[str, str] = {}
        self._cache: dict[Level, StackSettings] = {}
        for level in sorted({level for level, _ in self._given}, key=len):
            self._build(level, found)
        if found and problems is None:
            raise ConfigError(found)

    def of(self, service: str, operation: str = "") -> StackSettings:
        """Settings in force for an operation, or for the whole service."""
        key = (service, operation)
        ready = self._cache.get(key)
        if ready is None:
            ready = self._build(key, []).with_hash(self.settings_hash(service))
            if len(self._cache) < _MAX_EFFECTIVE:
                self._cache[key] = ready
        return ready

    def settings_hash(self, service: str) -> str:
        """Return the hash of all that is in force for a service and its operations; made once (`hash_of`)."""
        known = self._hashes.get(service)
        if known is None:
            values = self._build((service,), []).values()
            own = (
                (level[1], row.path, given.value)
                for (level, row), given in self._given.items()
                if len(level) > 1 and level[0] == service
            )
            differing = sorted((operation, name, value) for operation, name, value in own if value != values[name])
            known = hash_of(
                [*values.items(), *((f"{operation}: {name}", value) for operation, name, value in differing)]
            )
            if len(self._hashes) < _MAX_EFFECTIVE:
                self._hashes[service] = known
        return known

    def hashes(self) -> dict[str, str]:
        """Return the hash of each service that is known."""
        return {service: self.settings_hash(service) for service in self._services}

    def policy(self) -> dict[str, Any]:
        """Return all settings in force: those for all services, and those given for a service or an operation."""
        narrower = {".".join([*level, row.path]): given.value for (level, row), given in self._given.items() if level}
        values = self._build((), []).values() | dict(sorted(narrower.items(), key=lambda item: item[0]))
        return {name: _shown(value) for name, value in values.items()}

    def is_set(self, service: str, operation: str, name: str) -> bool:
        """Return whether the setting *name*, `section.field`, is given for this operation itself."""
        return any(level == (service, operation) and row.path == name for level, row in self._given)

    def poll(self, _now: float) -> SettingsChange | None:
        """Return None: a snapshot never changes."""
        return None

    def effective(self, service: str, operation: str = "") -> list[EffectiveSetting]:
        """Every setting in force for an operation, with the origin of its value."""
        return self._effective((service, operation))

    def _effective(self, level: Level) -> list[EffectiveSetting]:
        levels = _levels(level)
        rows = []
        for row in settings():
            given = next((self._given[level, row] for level in levels if (level, row) in self._given), None)
            value, origin = given or Given(row.setting.default, "default")
            rows.append(EffectiveSetting(row.path, _shown(value), origin))
        return rows

    def contradictions(self) -> tuple[str, ...]:
        """One line for each contradiction among the settings of any level, each once, with the place of each value."""
        levels = sorted({(), *(level for level, _ in self._given)}, key=len)
        return tuple(dict.fromkeys(str(one) for level in levels for one in contradictions(self._effective(level))))

    def changes_to(self, other: "ResolvedSettings") -> tuple[ValueChange, ...]:
        """Return each value that differs in *other*."""
        mine, others = self._given, other._given  # noqa: SLF001 - of the same class
        changes = []
        for key in sorted({*mine, *others}, key=lambda key: (key[0], key[1].path)):
            before, after = (_given_or_inherited(given, key) for given in (mine, others))
            if before.value != after.value:
                level, row = key
                changes.append(
                    ValueChange(
                        scope=".".join(level) or "all services",
                        name=".".join([*level, row.path]),
                        before=as_written(before.value) + before.inherited_from,
                        after=as_written(after.value) + after.inherited_from,
                        needs_restart=row.section == "transport"
                        or row.path == "quota.url"
                        or (row.path == "quota.per_second" and not before.value and _names_a_server(others, level)),
                    )
                )
        return tuple(changes)

    def departures(self) -> tuple[str, ...]:
        """One line per value that was given and is not the default: name, default, value and origin."""
        lines = []
        for (level, row), given in sorted(self._given.items(), key=lambda item: (item[0][0], item[0][1].path)):
            if given.value != row.setting.default:
                values = f"{as_written(row.setting.default)} (default) -> {as_written(given.value)}"
                lines.append(f"{'.'.join([*level, row.path])}: {values}, from {given.origin}")
        return tuple(lines)

    def _build(self, level: Level, found: list[str]) -> StackSettings:
        """Merge the levels up to *level*; a value out of bounds is reported by its place, once."""
        config = StackSettings()
        for part in reversed(_levels(level)):  # R60: the most specific level last
            for key, given in [(key, given) for key, given in self._given.items() if key[0] == part]:
                row = key[1]
                section = getattr(config, row.section)
                try:
                    config = replace(config, **{row.section: replace(section, **{row.setting.name: given.value})})
                except ConfigError as error:
                    (problem,) = error.problems  # of the one field that is new
                    found.append(Problem("ST105", given.origin, problem.partition(": ")[2]))
                    del self._given[key]
        return config


def _shown(value: Any) -> Any:
    """Return *value* as listings have it: JSON-ready, and without credentials."""
    return str(value) if isinstance(value, SecretUrl) else value


def _levels(level: Level) -> list[Level]:
    """*level* and those above it, most specific first; a service's own may be listed twice."""
    level = tuple(name for name in level if name)
    return [level, level[:1], ()]


class _Inherited(NamedTuple):
    """A value, and which level it was inherited from, as a text in brackets; empty where it was given."""

    value: Any
    inherited_from: str


def _names_a_server(given: SourceValues, level: Level) -> bool:
    """Return whether a quota of *level*, or of one below or above it, has a server: it is made only with a rate."""
    return any(
        row.path == "quota.url" and bool(one.value) and all(a == b for a, b in zip(other, level, strict=False))
        for (other, row), one in given.items()
    )


def _given_or_inherited(given: SourceValues, key: tuple[Level, Row]) -> _Inherited:
    """Return the value that was given for a level, else the one it has from a level above."""
    level, row = key
    if key in given:
        return _Inherited(given[key].value, "")
    for above in _levels(level)[1:]:
        if (above, row) in given:
            return _Inherited(given[above, row].value, f" ({'.'.join(above) or 'all services'})")
    return _Inherited(row.setting.default, " (default)")
