"""
Reads the arguments that plugins pass to connectors.

A managed connector sends nothing for a wrong argument: the functions here return the error in it, `name: what`, for
`EndpointArguments.problem`, and the call then fails with `InvalidArgumentError`. A mock raises for no argument: the
functions `any_…` make a usable value of whatever it gets.
"""

import copy
import dataclasses
import types
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from middleware.errors import ConfigError

from .page import Page

__all__ = [
    "MockState",
    "any_copy",
    "any_field",
    "any_key",
    "any_page",
    "any_texts",
    "body_of",
    "mapping_of",
    "mock_state",
    "texts_of",
    "without_none",
    "wrong_type",
]

_V = TypeVar("_V")

_Read = Callable[[str, Any], tuple[Any, str]]


# --- for managed connectors -----------------------------------------------------------------------------------------


def wrong_type(kind: Any, /, **values: Any) -> str:
    """
    Return the error in the first of *values* that is not of type *kind*; empty when all are.

    Args:
        kind: A class or a union of classes, for example `str | None`. A bool is no int.
        values: The caller's arguments by name.
    """
    for name, value in values.items():
        if not isinstance(value, kind) or (isinstance(value, bool) and bool not in (get_args(kind) or (kind,))):
            named = " or ".join(getattr(one, "__name__", str(one)) for one in get_args(kind) or (kind,))
            return f"{name}: must be {named.replace('NoneType', 'None')}, got {type(value).__name__}"
    return ""


def texts_of(name: str, values: Any) -> tuple[list[str], str]:
    """
    Read the caller's argument *name*, which must be an iterable of strings, for a managed method.

    A single `str` is rejected: it would be sent as the list of its letters.

    Returns:
        The strings, and the error in the argument, for `EndpointArguments.problem`; one of the two is empty.
    """
    if isinstance(values, str | bytes | bytearray | memoryview | Mapping) or not isinstance(values, Iterable):
        return [], f"{name}: must be a list of str, got {type(values).__name__}"
    try:
        found = list(values)
    except Exception as error:  # noqa: BLE001 - the caller's own iterator; its text may contain anything
        return [], f"{name}: cannot be read ({type(error).__name__})"
    for index, value in enumerate(found):
        if not isinstance(value, str):
            return [], f"{name}[{index}]: must be str, got {type(value).__name__}"
    return found, ""


def mapping_of(name: str, value: Any) -> tuple[dict[str, Any], str]:
    """Read the caller's argument *name*, which must be a mapping; returns as `texts_of`."""
    if not isinstance(value, Mapping):
        return {}, f"{name}: must be a mapping, got {type(value).__name__}"
    try:
        return dict(value), ""
    except Exception as error:  # noqa: BLE001 - as in texts_of
        return {}, f"{name}: cannot be read ({type(error).__name__})"


def body_of(request: Any, kind: type[Any]) -> tuple[dict[str, Any], str]:
    """
    Read the caller's argument `request`, which must be a *kind*, a dataclass, as a JSON body.

    Fields that are None are left out; each other one is checked against the type that *kind* declares.

    Returns:
        The body by the names of the fields, and the error in the argument, for `EndpointArguments.problem`.
    """
    if problem := wrong_type(kind, request=request):
        return {}, problem
    body = {}
    for name, optional, read in _readers(kind):  # type: ignore[arg-type] # mypy takes no type[Any] for hashable
        value = getattr(request, name)
        if value is not None or not optional:
            body[name], problem = read(f"request.{name}", value)
            if problem:
                return {}, problem
    return body, ""


@cache  # equivalent: readers that are derived anew read the same
def _readers(kind: Any) -> tuple[tuple[str, bool, _Read], ...]:
    """Name, whether it may be None, and reader of each field of the dataclass *kind*."""
    hints, found = get_type_hints(kind), []
    for field in dataclasses.fields(kind):
        options = get_args(hints[field.name]) if get_origin(hints[field.name]) in (Union, types.UnionType) else ()
        (hint,) = [option for option in options if option is not types.NoneType] or [hints[field.name]]
        found.append((field.name, types.NoneType in options, _reader(hint)))
    return tuple(found)


def _reader(hint: Any) -> _Read:
    known: dict[Any, _Read] = {list: texts_of, dict: mapping_of}
    return known.get(get_origin(hint)) or (lambda name, value: (value, wrong_type(hint, **{name: value})))


def without_none(**fields: Any) -> dict[str, Any]:
    """Return *fields* without those that are None: the JSON body of a request whose fields are optional."""
    return {name: value for name, value in fields.items() if value is not None}


# --- for mocks, which never raise -----------------------------------------------------------------------------------

MockState: TypeAlias = Literal["active", "no_plan", "denied", "expired"]
"""What a mock pretends about the caller's plan, for tests of plugins; its methods raise in no state."""


def mock_state(state: MockState, *known: MockState) -> MockState:
    """
    Return *state*, a mock's argument of that name.

    Raises:
        ConfigError: It is none of *known*; a misspelled state must not count as active.
    """
    if state not in known:
        raise ConfigError(f"state: must be one of {', '.join(known)}, got {state!r}")
    return state


def any_copy(value: _V) -> _V:
    """Return a deep copy; a value that cannot be copied is returned itself."""
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - deepcopy runs the value's own code
        return value


def any_key(value: Any) -> str:
    """Return a plain string for any value."""
    return str.__str__(value) if isinstance(value, str) else object.__repr__(value)


def any_texts(values: Any) -> list[str]:
    """Return a list of plain strings for any value."""
    try:
        return [any_key(value) for value in values] if isinstance(values, list | tuple | set | frozenset) else []
    except Exception:  # noqa: BLE001 - the value's own iterator
        return []


def any_field(request: Any, name: str, kind: type[Any], default: Any = None) -> Any:
    """Return a copy of the field *name* of any *request*; *default* unless it is a *kind*; a list is one of strings."""
    try:
        value = getattr(request, name, default)
        if not isinstance(value, kind) or isinstance(value, bool):
            return default
    except Exception:  # noqa: BLE001 - the request's own attributes
        return default
    if kind is str:
        return any_key(value)
    return any_texts(value) if kind is list else any_copy(value)


def any_page(items: Iterable[_V], skip: Any, limit: Any) -> Page[_V]:
    """Return the page of *items* that *skip* and *limit* select; one that is no whole number counts as not given."""
    found = [any_copy(item) for item in items]
    start = max(skip, 0) if type(skip) is int else 0
    size = max(limit, 0) if type(limit) is int else None
    chosen = found[start:] if size is None else found[start : start + size]
    return Page(chosen, total=len(found), skip=start, limit=size)
