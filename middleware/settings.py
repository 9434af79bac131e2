"""
The metadata of a setting, and the check of its values.

A policy's settings are a frozen dataclass next to the policy; each field is
`Annotated[type, SettingSpec(...)] = default`. Environment names, validation and the reference of settings are derived
from it, so a setting is declared once.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, Protocol, TypeVar, get_args, get_origin, get_type_hints

from .errors import ConfigError

__all__ = [
    "SecretUrl",
    "Setting",
    "SettingSpec",
    "Settings",
    "SettingsLookup",
    "got",
    "hash_of",
    "lookup_in",
    "problems",
    "settings_of",
]

_S = TypeVar("_S", bound="Settings")

_MASK = "***"
_SHOWN = 16
_SHOWN_BELOW = 10**_SHOWN
_NO_NAME = re.compile(r"[\x00-\x1f\x7f]|-----BEGIN ")


class SecretUrl:
    """
    A URL that may contain credentials: as a text, in JSON and in every listing of settings it is shown without them.

    Args:
        url: The URL; empty for none.
    """

    __slots__ = ("_url",)

    def __init__(self, url: str = "") -> None:
        self._url = url

    def reveal(self) -> str:
        """Return the URL with its credentials: for what connects to it, and for nothing that is shown."""
        return self._url

    def __str__(self) -> str:
        if not self._url:
            return ""
        scheme, mark, rest = self._url.partition("://")
        if not mark or not scheme.replace("+", "").isalnum():
            return _MASK  # no URL, so it may be a password in the wrong place
        # From the last @ on: a password may contain one, and so may what is meant to be a host.
        before, at, rest = rest.rpartition("@")
        place, query, _ = rest.partition("?")
        return f"{scheme}://{f'{_MASK}@' if before or at else ''}{place}{f'?{_MASK}' if query else ''}"

    def __repr__(self) -> str:
        return repr(str(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretUrl) and self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __bool__(self) -> bool:
        return bool(self._url)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingSpec:
    """
    Meaning and accepted values of a setting.

    Args:
        doc: One sentence for the settings table.
        unit: Unit of the value, for example `s` or `bytes`; empty for counts and switches.
        ge: Smallest accepted value.
        le: Largest accepted value.
        choices: The only texts accepted; empty for any.
        shared: True where the value applies to something that all operations of a service share, so that one operation
            cannot have its own.
        source: Where the default comes from.
        raise_when: One sentence that says when to raise the value; when to switch it on, or to set it, where it is no
            number.
        lower_when: One sentence that says when to lower the value, or to switch it off.
    """

    doc: str
    unit: str = ""
    ge: float | None = None
    le: float | None = None
    choices: tuple[str, ...] = ()
    shared: bool = False
    source: str = ""
    raise_when: str = ""
    lower_when: str = ""


class Setting(NamedTuple):
    """One field of a settings dataclass with its SettingSpec."""

    name: str
    type: type
    default: Any
    spec: SettingSpec

    @property
    def knob(self) -> SettingSpec:
        """Deprecated: the old name of `spec`."""
        text = "Setting.knob is now called spec; the old name goes with the next release"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return self.spec


@cache  # equivalent: settings that are derived anew are the same
def settings_of(config: "type[Settings]") -> tuple[Setting, ...]:
    """Return the settings that the dataclass *config* declares, in the order of their declaration."""
    hints = get_type_hints(config, include_extras=True)
    own = fields(config)  # type: ignore[arg-type] # every Settings subclass is a dataclass
    annotated = [(field, get_args(hints[field.name])) for field in own if get_origin(hints[field.name]) is Annotated]
    return tuple(
        Setting(field.name, kind, field.default, extra)
        for field, (kind, *extras) in annotated
        for extra in extras
        if isinstance(extra, SettingSpec)
    )


def hash_of(values: Iterable[tuple[str, Any]]) -> str:
    """
    Return eight hexadecimal digits for the *values* of settings, each with its name, in their order.

    Equal values have the same hash in every process, whether a number was written with or without a fraction. Of a
    `SecretUrl` counts what is shown of it, so that nothing about a password follows from the hash.
    """
    document = [(name, float(value) if isinstance(value, int) else value) for name, value in values]
    return hashlib.sha256(json.dumps(document, default=str).encode()).hexdigest()[:8]


def problems(config: "Settings") -> list[str]:
    """Return one line for each value of *config* of the wrong type or out of bounds; empty when all are valid."""
    found = []
    for setting in settings_of(type(config)):  # type: ignore[arg-type] # mypy takes no type for hashable
        value = getattr(config, setting.name)
        complaint = _complaint(setting, value)
        if complaint:
            found.append(f"{setting.name}: {complaint}, {got(value)}")
    return found


def got(value: Any) -> str:
    """
    Return `got …` for a wrong *value*: what it is if it is short, else how long, or of which type, it is.

    A longer one is no mistyped word or number, and may be a key in the wrong place.
    """
    if isinstance(value, str):
        return f"got {value!r}" if len(value) <= _SHOWN else f"got {len(value)} characters"
    if value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < _SHOWN_BELOW):
        return f"got {value!r}"
    return f"got {type(value).__name__}"


def _complaint(setting: Setting, value: Any) -> str:
    number: Any = value  # not narrowed by isinstance below
    # bool is an int to Python, yet max_attempts=True is a mistake.
    accepted = (int, float) if setting.type is float else (setting.type,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and setting.type is not bool):
        return f"must be {'str' if setting.type is SecretUrl else setting.type.__name__}"
    spec = setting.spec
    if spec.choices and value not in spec.choices:
        return f"must be one of {', '.join(spec.choices)}"
    if setting.type is str and _NO_NAME.search(str(value)):  # a path is asked for, and is printed
        return "must be one line, and not the content of a PEM file"
    if spec.ge is not None and not number >= spec.ge:  # `not >=` also rejects NaN
        return f"must be >= {spec.ge:g}"
    if spec.le is not None and not number <= spec.le:
        return f"must be <= {spec.le:g}"
    return ""


class Settings:
    """Base of every settings dataclass: construction checks all SettingSpecs and reports every problem at once."""

    __slots__ = ()

    def __post_init__(self) -> None:
        found = problems(self)
        if found:
            raise ConfigError([f"{type(self).__name__}.{problem}" for problem in found])


class SettingsLookup(Protocol):
    """Returns the settings of one policy by their class; its defaults where nothing is set."""

    def __call__(self, kind: type[_S], /) -> _S:
        """Return the settings of class *kind*."""
        ...


class _WithDefaults(dict[type[Settings], Settings]):
    def __missing__(self, kind: type[Settings]) -> Settings:
        return kind()


def lookup_in(snapshot: Mapping[type[Settings], Settings]) -> SettingsLookup:
    """Return the lookup in *snapshot*: a built-in method, since a call looks a dozen times."""
    return MappingProxyType(_WithDefaults(snapshot)).__getitem__  # type: ignore[return-value] # the key is the value's class
