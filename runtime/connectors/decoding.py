"""
A parsed JSON document into a typed object, whatever the platform's spelling.

From a dataclass's fields a key plan is derived once: each field is found under its snake_case, camelCase or PascalCase
name. Unknown keys are ignored; dictionaries that a model declares as free-form keep their keys untouched. pydantic
validates the result, without an alias on the dataclass itself: that would change how a host serialises it.
"""

import dataclasses
import re
import types
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from middleware.errors import DecodeError, OperationFailedError
from middleware.problem import problem_of

__all__ = ["Spellings", "decode_page", "decoder", "refuse_failure", "succeeded"]

T = TypeVar("T")

_ISO = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})"
    r"(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*(Z|z|[+-]\d{2}:?\d{2})?)?"
)
_SHOWN_PROBLEMS = 5
_TOTALS = ("total", "totalCount", "totalDeployments", "count", "Total", "TotalCount")

# How the platform's three layers say whether a change worked: its flags, and the words of its status. A status that
# is a number is an HTTP status. An operation of the second generation that was cancelled did not do its work, while
# `cancelled` in the response to a cancellation is the wish come true.
_FLAGS = ("success", "ok", "cancelled", "canceled")
_OUTRIGHT = ("success", "ok")  # these say it of any document; `cancelled: false` may be a plain field of one
_FAILED = frozenset({"failed", "failure", "error", "rejected", "refused", "denied", "declined", "unavailable"})
_NOT_DONE = frozenset({"cancelled", "canceled", "rolling_back", "rolled_back"})
_HTTP_ERROR = 400


Spellings: TypeAlias = Mapping[type[Any], Mapping[str, tuple[str, ...]]]
"""Other names that the platform's services give to a field, per dataclass: `{App: {"id": ("app_id",)}}`."""


def decoder(kind: type[T], also: Spellings | None = None) -> Callable[[Any], T]:
    """
    Make the function that turns a document into *kind*, a dataclass or a typing form over dataclasses.

    Args:
        kind: What to make.
        also: Further names of fields, each in snake, camel and Pascal case too; the field's own name wins.

    The function raises `DecodeError`; its reason names each wrong field's path and never quotes a value.
    """
    adapter: TypeAdapter[T] = TypeAdapter(kind)

    def decode(document: Any) -> T:
        try:
            return adapter.validate_python(_shape(refuse_failure(document), kind, "", also or {}))
        except ValidationError as error:
            found = [f"{_path(item['loc'])}: {item['msg']}" for item in error.errors(include_input=False)]
        shown = "; ".join(found[:_SHOWN_PROBLEMS])
        more = f"; and {len(found) - _SHOWN_PROBLEMS} more" if len(found) > _SHOWN_PROBLEMS else ""
        raise DecodeError(f"not a {_name(kind)}: {shown}{more}")

    return decode


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))


def _path(parts: tuple[int | str, ...]) -> str:
    return _place("".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts))


def _place(path: str) -> str:
    """*path* as an error tells it; the document itself is `$`."""
    return path.removeprefix(".") or "$"


def _shape(value: Any, kind: Any, path: str, also: Spellings) -> Any:  # noqa: PLR0911 - one return per kind of type
    """Rename the keys of *value* to the fields of *kind* and read its times; pydantic judges the rest."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        option, *others = (option for option in get_args(kind) if option is not type(None))
        return value if value is None or others else _shape(value, option, path, also)
    if origin is list and isinstance(value, list):
        (item,) = get_args(kind)
        return [_shape(entry, item, f"{path}[{index}]", also) for index, entry in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        _, item = get_args(kind)
        return {key: _shape(entry, item, f"{path}.{key}", also) for key, entry in value.items()}
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return _fields(value, kind, path, also)
    if kind is datetime:
        return _time(value, path)
    if kind in (bool, int, float):
        return _plain(value, kind, path)
    return value


def _fields(document: Mapping[str, Any], kind: Any, path: str, also: Spellings) -> dict[str, Any]:
    shaped = {}
    for name, spellings, hint, has_default in _plan(kind, tuple(also.get(kind, {}).items())):
        given = [document[spelling] for spelling in spellings if spelling in document]
        value = next((entry for entry in given if entry is not None), None)
        if not given or (value is None and has_default):
            continue  # the platform writes null for what it does not know: the model's default says so too
        shaped[name] = _shape(value, hint, f"{path}.{name}", also)
    return shaped


@cache
def _plan(
    kind: Any, also: tuple[tuple[str, tuple[str, ...]], ...]
) -> tuple[tuple[str, tuple[str, ...], Any, bool], ...]:
    """Name, accepted spellings, type and has-a-default of each field of the dataclass *kind*."""
    hints, others = get_type_hints(kind), dict(also)
    plan = []
    for field in dataclasses.fields(kind):
        names = (field.name, *others.get(field.name, ()))
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        spellings = tuple(dict.fromkeys(spelling for name in names for spelling in _spellings(name)))
        plan.append((field.name, spellings, hints[field.name], has_default))
    return tuple(plan)


@cache
def _spellings(name: str) -> tuple[str, str, str]:
    """*name* in snake, camel and Pascal case."""
    head, *tail = name.split("_")
    camel = head + "".join(word[:1].upper() + word[1:] for word in tail)
    return name, camel, camel[:1].upper() + camel[1:]


def _time(value: Any, path: str) -> datetime | None:
    """
    Read an ISO 8601 time with 0 to 9 fractional digits; one without a zone is UTC.

    .NET's zero date, year 1, stands for "none".
    """
    match = _ISO.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise DecodeError(f"{_place(path)}: must be an ISO 8601 time")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    if int(year) <= 1:
        return None
    offset = (zone or "Z").upper()
    text = f"{year}-{month}-{day}T{hour or '00'}:{minute or '00'}:{second or '00'}.{fraction or '0'}{offset}"
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise DecodeError(f"{_place(path)}: must be an ISO 8601 time")


def _plain(value: Any, kind: type, path: str) -> Any:
    """Flags are true or false and nothing else; numbers are never flags."""
    if kind is bool and not isinstance(value, bool):
        raise DecodeError(f"{_place(path)}: must be true or false")
    if kind is not bool and isinstance(value, bool):
        raise DecodeError(f"{_place(path)}: must be a number")
    return value


def refuse_failure(document: Any) -> Any:
    """
    Return *document*, unless it is a failure in a success's clothes: `{"success": false, "error": …}` in a 2xx.

    `ok` says the same as `success`.

    Raises:
        OperationFailedError: It is; carries what the body says.
    """
    failed = isinstance(document, Mapping) and document.get("error")
    if failed and any(flag is False for _, flag in _said(document, *_OUTRIGHT)):
        raise OperationFailedError(problem_of(dict(document)))
    return document


def _said(document: Mapping[str, Any], *names: str) -> list[tuple[str, Any]]:
    """Those of the fields *names* that *document* has, in each of their spellings."""
    return [(name, document[spelling]) for name in names for spelling in _spellings(name) if spelling in document]


def decode_page(document: Any, item: Callable[[Any], T], *keys: str) -> tuple[list[T], int | None]:
    """
    Read a list of items and its total from a bare array, or from an object that holds it under one of *keys*.

    Raises:
        DecodeError: No list there, or an item is wrong; names the item's place.
    """
    entries, total = refuse_failure(document), None
    place = "$"
    if isinstance(document, Mapping):
        place = next((name for key in keys for name in _spellings(key) if name in document), keys[0])
        entries = document.get(place)
        found = next((document[key] for key in _TOTALS if key in document), None)
        total = found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None
    if not isinstance(entries, list):
        raise DecodeError(f"{place}: must be a list")
    items = []
    for index, entry in enumerate(entries):
        try:
            items.append(item(entry))
        except DecodeError as error:
            reason = f"{place}[{index}]: {error.reason}"
        else:
            continue
        raise DecodeError(reason)
    return items, total


def succeeded(document: Any) -> bool:
    """
    Read from a 2xx response to a change whether the change worked; True where the response says nothing about it.

    All of these are read, and one that says no is enough: a bare `false`; the flags `success`, `ok`, `cancelled` and
    `canceled`; a `status` such as `failed`, or an HTTP status from 400 on; an `error` without any flag; and the same
    inside `operation`, which the second generation wraps around what it does.

    Raises:
        OperationFailedError: It did not work, and the response has an `error`; carries what the body says.
        DecodeError: A flag is neither true nor false.
    """
    if isinstance(document, bool):
        return document
    if not isinstance(document, Mapping):
        return True
    worked = _worked(document, _FAILED)
    operations = [inner for _, inner in _said(document, "operation") if isinstance(inner, Mapping)]
    return all(_worked(inner, _FAILED | _NOT_DONE) for inner in operations) and worked


def _worked(document: Mapping[str, Any], failed: frozenset[str]) -> bool:
    flags = [_plain(flag, bool, f".{name}") for name, flag in _said(refuse_failure(document), *_FLAGS)]
    error = document.get("error")
    worked = (
        all(flags)
        and not any(_is_failure(status, failed) for _, status in _said(document, "status"))
        and (bool(flags) or not error)
    )
    if not worked and error:
        raise OperationFailedError(problem_of(dict(document)))
    return worked


def _is_failure(status: Any, failed: frozenset[str]) -> bool:
    if isinstance(status, str):
        return status.strip().lower() in failed
    return status is False or (isinstance(status, int | float) and status >= _HTTP_ERROR)
