"""
Settings from the environment: generic, knows no field by name.

A setting of the stack is named `MOZAIKS_CONNECTORS_<SECTION>_<FIELD>`, for all services, or
`MOZAIKS_CONNECTORS_<SERVICE>__<SECTION>_<FIELD>`, for one; the service's wins. Names, types, bounds and the
table in the README all come from the Knobs that the fields carry.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from middleware.errors import ConfigError
from middleware.knobs import Setting, settings_of
from middleware.stack import StackConfig

__all__ = ["PREFIX", "Policies", "Row", "policies_from_env", "settings", "settings_table"]

PREFIX = "MOZAIKS_CONNECTORS_"

_TRUE = frozenset({"1", "true", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "no", "n", "off"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """
    Settings of every service's stack.

    Attributes:
        default: For services without settings of their own.
        services: Whole settings per service name.
    """

    default: StackConfig = field(default_factory=StackConfig)
    services: Mapping[str, StackConfig] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, service: str) -> StackConfig:
        """Settings in force for *service*."""
        return self.services.get(service, self.default)


class Row(NamedTuple):
    """One setting: where it stands and what it means."""

    section: str
    setting: Setting

    @property
    def name(self) -> str:
        """Name without prefix, as in the environment."""
        return f"{self.section}_{self.setting.name}".upper()


def settings() -> Iterator[Row]:
    """List every setting of the stack, section by section."""
    for section in fields(StackConfig):
        for setting in settings_of(section.default_factory):  # type: ignore[arg-type] # each section is a Settings class
            yield Row(section.name, setting)


def policies_from_env(environ: Mapping[str, str], services: Collection[str]) -> Policies:
    """
    Read the settings of all services from *environ*.

    Args:
        environ: For example `os.environ`.
        services: Names that a service's own settings may use.

    Raises:
        ConfigError: Lists every unknown name and every bad value, each with its variable.
    """
    rows = {row.name: row for row in settings()}
    found: list[str] = []
    chosen: dict[str, dict[Row, tuple[str, Any]]] = {"": {}}
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        text = environ[variable].strip()
        service, separator, name = variable.removeprefix(PREFIX).rpartition("__")
        if (separator and service.lower() not in services) or name not in rows:
            known = [PREFIX + row for row in rows] + [f"{PREFIX}{s.upper()}__{row}" for s in services for row in rows]
            close = difflib.get_close_matches(variable, known, n=1)
            found.append(f"{variable}: no such setting" + (f"; did you mean {close[0]}?" if close else ""))
        elif text:
            try:
                value = _parse(text, rows[name].setting.type)
            except ValueError as error:
                found.append(f"{variable}: {error}, got {text!r}")
            else:
                chosen.setdefault(service.lower(), {})[rows[name]] = (variable, value)
    default = _apply(StackConfig(), chosen.pop(""), found)
    own = {service: _apply(default, values, found) for service, values in chosen.items()}
    if found:
        raise ConfigError(found)
    return Policies(default=default, services=MappingProxyType(own))


def _parse(text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in _TRUE | _FALSE:
            raise ValueError("must be true or false")
        return text.lower() in _TRUE
    if kind is str:
        return text
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"must be {'a whole number' if kind is int else 'a number'}") from None


def _apply(base: StackConfig, values: Mapping[Row, tuple[str, Any]], found: list[str]) -> StackConfig:
    """Put *values* onto *base*; a value out of bounds is told by its variable's name."""
    for row, (variable, value) in values.items():
        section = getattr(base, row.section)
        try:
            base = replace(base, **{row.section: replace(section, **{row.setting.name: value})})
        except ConfigError as error:
            found.append(f"{variable}: {error.problems[0].partition(': ')[2]}")
    return base


def settings_table() -> str:
    """Markdown table of every setting, as the README shows it."""
    lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for row in settings():
        knob = row.setting.knob
        default = f"{row.setting.default:g}" if row.setting.type is float else str(row.setting.default)
        if row.setting.type is bool:
            default = default.lower()
        unit = f" {knob.unit}" if knob.unit else ""
        lines.append(f"| `{PREFIX}{row.name}` | {default}{unit} | {knob.doc} |")
    return "\n".join(lines)
