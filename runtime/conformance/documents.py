"""What a platform would respond with: documents made from the declared type of a result, and changes of them."""

import base64
import dataclasses
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from middleware.request.encode import time_span

from .values import unnamed

__all__ = [
    "UNKNOWN",
    "changes",
    "encoded",
    "extended",
    "filled",
    "keeping",
    "known",
    "marked",
    "may_be_none",
    "wrappers",
]

UNKNOWN = {"xUnknown": {"later": [1]}}
"""A key that no connector knows."""

_DEEPEST = 4
_TIME = "2027-01-15T08:00:00Z"
_PLAIN: dict[Any, Any] = {str: "text", int: 1, float: 1.5, bool: True, datetime: _TIME, bytes: "dGV4dA=="}
_PLAIN |= {date: "2027-01-15", time: "08:30:00", timedelta: "01:00:00", Decimal: 1.5}
_PLAIN |= {UUID: "00000000-0000-0000-0000-000000000001"}


def _optional(kind: Any) -> tuple[Any, bool]:
    """Return a type without None, and whether it had it."""
    kind = unnamed(kind)
    if get_origin(kind) in {Union, types.UnionType}:
        options = [one for one in get_args(kind) if one is not types.NoneType]
        return unnamed(options[0]), len(options) < len(get_args(kind))
    return kind, False


def _model(kind: Any) -> Any:
    return kind if dataclasses.is_dataclass(kind) and isinstance(kind, type) else None


def filled(kind: Any, depth: int = 0) -> Any:  # noqa: PLR0911 - a table
    """Return a document for the declared type *kind* in which each field is given, under its own name."""
    kind, _ = _optional(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if depth > _DEEPEST:
        return None
    if model := _model(kind):
        hints = get_type_hints(model)
        return {one.name: filled(hints[one.name], depth + 1) for one in dataclasses.fields(model)}
    if origin is Literal:
        return arguments[0]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind)).value
    if _is_list(kind):
        return [filled((arguments or (str,))[0], depth + 1)]
    if _is_mapping(kind):
        return {"key": filled((arguments or (str, str))[-1], depth + 1)}
    return _PLAIN.get(kind, "text")


def _is_list(kind: Any) -> bool:
    found = get_origin(kind) or kind
    return isinstance(found, type) and issubclass(found, list | tuple | set | frozenset)


def _is_mapping(kind: Any) -> bool:
    found = get_origin(kind) or kind
    return isinstance(found, type) and issubclass(found, Mapping)


def wrappers(kind: Any) -> list[Callable[[Any], Any]]:
    """Return the ways in which services write a result of type *kind* as a document, the usual ones first."""
    if _is_list(kind):
        return [
            lambda value: {"items": value},
            lambda value: value,
            lambda value: {"items": value, "total": len(value)},
            lambda value: {"data": value},
        ]
    if kind is bool:
        return [lambda value: {"success": value}, lambda value: {"allowed": value}, lambda value: value]
    if _is_mapping(kind):
        return [lambda value: {"results": value}, lambda value: value]
    return [lambda value: value, lambda value: {"data": value}]


def encoded(value: Any, *, without: Collection[str] = ()) -> Any:  # noqa: PLR0911 - a table
    """Return a result of a connector as the platform would have sent it, *without* some of its fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [one.name for one in dataclasses.fields(value) if one.name not in without]
        return {name: encoded(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {key: encoded(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [encoded(one) for one in value]
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return time_span(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return float(value)
    return value.value if isinstance(value, Enum) else value


def keeping(result: Any) -> set[str]:
    """Return the fields of *result*, read from an `extended` document, in which its model keeps unknown keys."""
    found = encoded(result)
    kept = found.items() if isinstance(found, Mapping) else ()
    return {name for name, value in kept if isinstance(value, Mapping) and UNKNOWN.keys() <= value.keys()}


def known(result: Any) -> Any:
    """Return *result* as a document, without the unknown keys that its model may keep."""
    return _known(encoded(result))


def _known(document: Any) -> Any:
    if isinstance(document, Mapping):
        return {key: _known(value) for key, value in document.items() if key not in UNKNOWN}
    return [_known(value) for value in document] if isinstance(document, list) else document


def extended(document: Any, kind: Any) -> Any:
    """Return *document* with an unknown key in each object that is a model, and in its envelope."""
    kind, _ = _optional(kind)
    arguments = get_args(kind)
    if (model := _model(kind)) and isinstance(document, Mapping):
        hints = get_type_hints(model)
        inner = {key: extended(one, hints[key]) if key in hints else one for key, one in document.items()}
        return {**inner, **UNKNOWN}
    if _is_list(kind) and isinstance(document, list):
        return [extended(one, (arguments or (Any,))[0]) for one in document]
    if _is_list(kind) and isinstance(document, Mapping):
        return {key: extended(one, kind) for key, one in document.items()} | UNKNOWN
    return document


def changes(document: Any, place: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield *document* with each key and value missing, and null: place, what was done, and the changed document."""
    for key, value in _pairs(document):
        where = f"{place}.{key}".lstrip(".")
        yield where, "null", _replaced(document, key, None)
        if isinstance(document, Mapping):
            yield where, "missing", {other: one for other, one in document.items() if other != key}
        for inner, done, changed in changes(value, where):
            yield inner, done, _replaced(document, key, changed)


def _pairs(document: Any) -> Iterable[tuple[Any, Any]]:
    """Return the keys of an object, or the indexes of a list, with their values; none of any other value."""
    if isinstance(document, Mapping):
        return document.items()
    return enumerate(document) if isinstance(document, list) else ()


def _replaced(document: Any, key: Any, value: Any) -> Any:
    copied = document.copy()
    copied[key] = value
    return copied


def marked(document: Any, mark: str) -> Iterator[Any]:
    """Yield *document* with each of its texts replaced by *mark*, one at a time."""
    if isinstance(document, str):
        yield mark
    for key, value in _pairs(document):
        for changed in marked(value, mark):
            yield _replaced(document, key, changed)


def may_be_none(kind: Any, place: str) -> bool:
    """Whether the field of the model *kind* at *place* is declared as optional: it may be None, missing or null."""
    head, _, rest = place.partition(".")
    model = _model(_optional(kind)[0])
    if model is None or head not in (hints := get_type_hints(model)):
        return False
    return may_be_none(hints[head], rest) if rest else _optional(hints[head])[1]
