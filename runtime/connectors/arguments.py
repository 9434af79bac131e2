"""
Reads the arguments that plugins pass to connectors.

A managed connector sends nothing for a wrong argument: the functions here return the error in it, `name: what`, for
`EndpointArguments.problem`, and the call then fails with `InvalidArgumentError`. A mock raises for no argument: the
functions `any_…` make a usable value of whatever it gets.
"""

import copy
import dataclasses
import re
import types
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from middleware.errors import ConfigError
from middleware.redaction import redact

from .decoding import Spellings, UnknownKeys, camel
from .page import Page

__all__ = [
    "MockState",
    "any_copy",
    "any_field",
    "any_key",
    "any_page",
    "any_texts",
    "body_of",
    "headers_of",
    "joined",
    "mapping_of",
    "mock_state",
    "texts_of",
    "without_none",
    "wrong_type",
]

_V = TypeVar("_V")

_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,100}")  # RFC 9110 section 5.1
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*")
# Headers of the client, of the layers below it, and of the connection.
_NOT_OWN = {"accept", "accept-encoding", "authorization", "baggage", "connection", "content-encoding", "content-length"}
_NOT_OWN |= {"content-type", "cookie", "expect", "host", "idempotency-key", "keep-alive", "proxy-authorization", "te"}
_NOT_OWN |= {"traceparent", "tracestate", "trailer", "transfer-encoding", "upgrade", "user-agent", "x-correlation-id"}
_NOT_OWN |= {"x-mozaiks-app-key"}

_Read = Callable[[str, Any], tuple[Any, str]]


# --- for managed connectors -----------------------------------------------------------------------------------------


def wrong_type(kind: Any, /, **values: Any) -> str:
    """
    Return the error in the first of *values* that is not of type *kind*; empty when all are.

    Args:
        kind: A class or a union of classes, for example `str | None`, or a list of one. A bool is no int.
        values: The caller's arguments by name.
    """
    if any(get_origin(option) is list for option in (kind, *get_args(kind))):
        return next((found for name, value in values.items() if (found := _written(value, kind, name, {})[1])), "")
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
    found, problem = _items_of(name, values, "a list of str")
    for index, value in enumerate(found):
        if not isinstance(value, str):
            return [], f"{name}[{index}]: must be str, got {type(value).__name__}"
    return found, problem


def _items_of(name: str, values: Any, wanted: str) -> tuple[list[Any], str]:
    if isinstance(values, str | bytes | bytearray | memoryview | Mapping) or not isinstance(values, Iterable):
        return [], f"{name}: must be {wanted}, got {type(values).__name__}"
    try:
        return list(values), ""
    except Exception as error:  # noqa: BLE001 - the caller's own iterator; its text may contain anything
        return [], f"{name}: cannot be read ({type(error).__name__})"


def headers_of(headers: Any) -> tuple[dict[str, str], str]:
    """Read the headers of a connector's own, names in lower case; returns as `texts_of`, and does not show a value."""
    found: dict[str, str] = {}
    given, problem = mapping_of("headers", headers)
    for name, value in given.items():
        if value is None:
            continue
        key = name.lower() if isinstance(name, str) else ""
        text = ("true" if value else "false") if isinstance(value, bool) else value
        text = str(text) if isinstance(text, int | float | Decimal | UUID) else text
        if not _HEADER.fullmatch(key) or key in _NOT_OWN:
            problem = problem or f"headers: {redact(key) or type(name).__name__} is no header of a connector's own"
        elif not isinstance(text, str) or not _HEADER_VALUE.fullmatch(text):
            problem = problem or f"headers.{key}: must be a text of visible ASCII characters and single blanks"
        else:
            found[key] = str.__str__(text)
    return found, problem


def mapping_of(name: str, value: Any) -> tuple[dict[str, Any], str]:
    """Read the caller's argument *name*, which must be a mapping; returns as `texts_of`."""
    if not isinstance(value, Mapping):
        return {}, f"{name}: must be a mapping, got {type(value).__name__}"
    try:
        return dict(value), ""
    except Exception as error:  # noqa: BLE001 - as in _items_of
        return {}, f"{name}: cannot be read ({type(error).__name__})"


def body_of(request: Any, kind: Any, names: Spellings | None = None) -> tuple[Any, str]:
    """
    Read the caller's argument `request`, which must be a *kind*, as a JSON body.

    Fields that are None are left out; each other one is checked against the type that *kind* declares.

    Args:
        request: The argument.
        kind: A dataclass; with *names* any typing form over dataclasses.
        names: Sends each field of *kind*, and of the dataclasses in it, under the first name that it has here, else in
            camel case as .NET does. None sends a flat dataclass by the names of its fields.

    Returns:
        The body, and the error in the argument, for `EndpointArguments.problem`.
    """
    if names is not None:
        try:
            return _written(request, kind, "request", names)
        except RecursionError:
            return {}, "request: is nested too deeply"
    if problem := wrong_type(kind, request=request):
        return {}, problem
    body = {}
    for name, optional, read in _readers(kind):
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


def _written(value: Any, hint: Any, place: str, names: Spellings) -> tuple[Any, str]:  # noqa: PLR0911 - as a table
    """Return *value* as JSON, and what of it is not of the type *hint*."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and types.NoneType in inner:
            return None, ""
        (hint, *_) = [option for option in inner if option is not types.NoneType]
        return _written(value, hint, place, names)
    if hint is Any:
        return value, ""
    if origin is list:
        return _list_written(value, inner[0], place, names)
    if origin is dict:
        found, problem = mapping_of(place, value)
        for key in found:
            if not problem:
                found[key], problem = _written(found[key], inner[1], f"{place}[{key!r}]", names)
        return found, problem
    if dataclasses.is_dataclass(hint):
        return _fields_written(value, hint, place, names)
    return value, _wrong_value(value, hint, place)


def _wrong_value(value: Any, hint: Any, place: str) -> str:
    accepted = {float: float | int, Decimal: Decimal | int}.get(hint, hint)
    if isinstance(hint, type) and issubclass(hint, Enum):  # and a value of its own type that it does not know
        accepted = str if issubclass(hint, str) else int
    if hint is date and isinstance(value, datetime):
        return f"{place}: must be date, got datetime"
    problem = wrong_type(accepted, **{place: value})
    if not problem and isinstance(value, datetime) and value.tzinfo is None:
        return f"{place}: must have a time zone"
    return problem


def _list_written(value: Any, hint: Any, place: str, names: Spellings) -> tuple[Any, str]:
    found, problem = _items_of(place, value, "a list")
    for index, item in enumerate(found):
        found[index], wrong = _written(item, hint, f"{place}[{index}]", names)
        if wrong:
            return [], wrong
    return found, problem


def _fields_written(value: Any, hint: Any, place: str, names: Spellings) -> tuple[Any, str]:
    if problem := wrong_type(hint, **{place: value}):
        return {}, problem
    kind: Any = type(value)
    body: dict[str, Any] = {}
    for name, one, is_rest in _written_fields(kind):
        found, problem = _written(getattr(value, name), one, f"{place}.{name}", names)
        if problem:
            return {}, problem
        if is_rest:
            body.update(found)
        elif found is not None:
            known = names.get(kind, {}).get(name)
            body[known[0] if known else camel(name)] = found
    return body, ""


@cache
def _written_fields(kind: Any) -> tuple[tuple[str, Any, bool], ...]:
    """Name, type, and whether it has the unknown keys, of each field of the dataclass *kind*."""
    hints, annotated = get_type_hints(kind), get_type_hints(kind, include_extras=True)
    names = [field.name for field in dataclasses.fields(kind)]
    return tuple((name, hints[name], annotated[name] == UnknownKeys) for name in names)


def joined(values: Any, separator: str) -> Any:
    """Return the items of the list *values* as one text, for a query that does not repeat its key; None for None."""
    if not isinstance(values, list | tuple):
        return values  # `wrong_type` says what is wrong with it
    return separator.join(str(value) for value in values if isinstance(value, str | int | float | UUID))


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
