"""
Converts parsed JSON documents to typed objects, in every dialect of the platform.

The services spell the same document in snake_case, camelCase or PascalCase, under several names, with and without an
envelope, and report success in several ways. What is common to services is read here; what a single service does
differently, its connector declares as `Spellings` or reads in a function next to its endpoints.

A plan of keys is derived once from the fields of a dataclass. Unknown keys are ignored, unless the model has a field
for them; dictionaries that a model declares as free-form keep their keys. pydantic validates the result, without an
alias on the dataclass itself: that would change how a host serialises it.
"""

import base64
import binascii
import dataclasses
import math
import re
import types
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from functools import cache
from typing import (
    Annotated,
    Any,
    NamedTuple,
    NoReturn,
    Self,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import TypeAdapter, ValidationError

from middleware.errors import DecodeError, OperationFailedError
from middleware.problem import problem_of
from middleware.redaction import redact
from middleware.types import NoContent

__all__ = [
    "OpenIntEnum",
    "OpenStrEnum",
    "Spellings",
    "UnknownKeys",
    "Variants",
    "completed",
    "decode_page",
    "decoder",
    "refuse_failure",
    "spelled",
    "subscription_is_active",
    "succeeded",
    "unwrap",
]

T = TypeVar("T")

_ISO = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})"
    r"(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*(Z|z|[+-]\d{2}:?\d{2})?)?"
)
# .NET's TimeSpan; and what of ISO 8601 has a fixed length.
_SPAN = re.compile(r"(-)?(?:(\d{1,8})\.)?(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?")
_ISO_SPAN = re.compile(r"(-)?P(?:(\d{1,8})D)?(?:T(?:(\d{1,8})H)?(?:(\d{1,8})M)?(?:(\d{1,8})(?:\.(\d{1,9}))?S)?)?")
_SHOWN_PROBLEMS = 5
_TOTALS = ("total", "totalCount", "totalDeployments", "count", "Total", "TotalCount")

# How the platform's three layers report whether a change worked: by flags, and by the words of a status. A numeric
# status is an HTTP status. An operation of the second generation that was cancelled did not do its work, while
# `cancelled` in the response to a cancellation reports that the cancellation worked.
_FLAGS = ("success", "ok", "cancelled", "canceled")
_OUTRIGHT = ("success", "ok")  # report failure in any document; `cancelled: false` may be an ordinary field
_FAILED = frozenset({"failed", "failure", "error", "rejected", "refused", "denied", "declined", "unavailable"})
_NOT_DONE = frozenset({"cancelled", "canceled", "rolling_back", "rolled_back"})
_HTTP_ERROR = 400

_ACTIVE = frozenset({"active", "trialing", "past_due"})  # past_due is the grace period
_CANCELED = frozenset({"canceled", "cancelled"})


Spellings: TypeAlias = Mapping[type[Any], Mapping[str, tuple[str, ...]]]
"""Other names that the platform's services give to a field, per dataclass: `{App: {"id": ("app_id",)}}`."""


UnknownKeys: TypeAlias = Annotated[dict[str, Any], "unknown keys"]
"""Type of a model's field for the keys of the document that no other field reads; best not shown by `repr`."""


Variants: TypeAlias = Mapping[type[Any], tuple[str, Mapping[str, type[Any]]]]
"""
Which subclass of a dataclass a document means: the key that says it, and the subclasses by its values.

`{Shape: ("$type", {"square": Square})}`. A value that is not known is read as the class itself. Where no key says it,
the name is empty, and the subclass with most of the document's keys is read.
"""


class OpenStrEnum(StrEnum):
    """An enum of texts that services extend: a text that is no member is kept, as a member without a name."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if isinstance(value, bool) or not isinstance(value, str | int):
            return None
        made = str.__new__(cls, value)
        made._name_ = made._value_ = str(value)
        return made


class OpenIntEnum(IntEnum):
    """
    An enum of numbers that services extend: a number that is no member is kept, as a member without a name.

    Names of members are read too, several of them as the sum: .NET writes flags as `"Read, Write"`.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if isinstance(value, str):
            known = {name.replace("_", "").lower(): one.value for name, one in cls.__members__.items()}
            names = [part.strip().replace("_", "").lower() for part in value.split(",")]
            if all(name in known for name in names):
                return cls(sum({known[name] for name in names}))
            return cls(int(value)) if re.fullmatch(r"-?[0-9]{1,19}", value.strip()) else None
        if isinstance(value, bool) or not isinstance(value, int):
            return None
        made = int.__new__(cls, value)
        made._name_, made._value_ = str(value), value
        return made


class _How(NamedTuple):
    """What one connector reads differently."""

    also: Spellings
    variants: Variants


def decoder(kind: type[T], also: Spellings | None = None, variants: Variants | None = None) -> Callable[[Any], T]:
    """
    Make the function that converts a document to *kind*, a dataclass or a typing form over dataclasses.

    Args:
        kind: Type of the result.
        also: Further names of fields, each read in snake, camel and Pascal case; the field's own name has precedence.
            Times are also read under each name with `_at`, `_utc` and `_at_utc` added, as .NET names them.
        variants: Subclasses that are read instead of their base.

    Durations are read as .NET's TimeSpan and as ISO 8601, bytes from base64.

    The function raises `DecodeError`; its reason names the path of each wrong field and never quotes a value. A body
    that reports failure is an `OperationFailedError`: by its flag and an error, or by its flag where it is no *kind*.
    """
    adapter: TypeAdapter[T] = TypeAdapter(kind)
    how = _How(also or {}, variants or {})

    def decode(document: Any) -> T:
        try:
            return adapter.validate_python(_shape(refuse_failure(document), kind, "", how))
        except ValidationError as error:
            # equivalent: `True`: place and message alone are read
            found = [f"{_path(item['loc'])}: {item['msg']}" for item in error.errors(include_input=False)]
        refuse_failure(document, needs_error=False)
        shown = "; ".join(found[:_SHOWN_PROBLEMS])
        more = f"; and {len(found) - _SHOWN_PROBLEMS} more" if len(found) > _SHOWN_PROBLEMS else ""
        raise DecodeError(f"not a {_name(kind)}: {shown}{more}")

    return decode


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))


def _path(parts: tuple[int | str, ...]) -> str:
    return _place("".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts))


def _place(path: str) -> str:
    """Return *path* as errors show it, keys of the document included; the document itself is `$`."""
    return redact(path.removeprefix(".")) or "$"


def _shape(value: Any, kind: Any, path: str, how: _How) -> Any:  # noqa: PLR0911 - one return per kind of type
    """Rename the keys of *value* to the fields of *kind* and parse its times; pydantic validates the rest."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        option, *others = (option for option in get_args(kind) if option is not type(None))
        if {option, *others} == {int, float} and value is not None:
            # pydantic keeps a whole number as int; its error for a union names each of the two types
            return _plain(value, float, path) if isinstance(value, int | float | str) else _no_number(path)
        return value if value is None or others else _shape(value, option, path, how)
    if origin is list and isinstance(value, list):
        (item,) = get_args(kind)
        return [_shape(entry, item, f"{path}[{index}]", how) for index, entry in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        _, item = get_args(kind)
        return {key: _shape(entry, item, f"{path}.{key}", how) for key, entry in value.items()}
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        chosen = _variant(value, kind, how) if kind in how.variants else kind
        shaped = _fields(value, chosen, path, how)
        return shaped if chosen is kind else _validated(shaped, chosen, path)
    if kind is datetime:
        return _time(value, path)
    if kind in (bool, int, float, Decimal) or (isinstance(kind, type) and issubclass(kind, OpenIntEnum)):
        return _plain(value, kind, path)
    read = _READ.get(kind) if isinstance(kind, type) else None
    return read(value, path) if read and isinstance(value, str) else value


def _variant(document: Mapping[str, Any], kind: Any, how: _How) -> Any:
    """Return the class that *document* means: *kind*, or a subclass of it."""
    name, known = how.variants[kind]
    if name:
        tag = next((document[key] for key in (name, *_spellings(name)) if isinstance(document.get(key), str)), None)
        chosen = known.get(tag, kind) if tag is not None else kind
        return _variant(document, chosen, how) if chosen is not kind and chosen in how.variants else chosen

    def matches(option: Any) -> tuple[int, int]:
        plan, _ = _plan(option, tuple(how.also.get(option, {}).items()))
        found = sum(bool(set(row[1]) & document.keys()) for row in plan)
        return 2 * found - len(plan), found

    chosen = max(known.values(), key=matches, default=kind)
    return chosen if matches(chosen)[1] else kind


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _validated(shaped: Any, kind: Any, path: str) -> Any:
    try:
        return _adapter(kind).validate_python(shaped)
    except ValidationError as error:
        item = error.errors(include_input=False)[0]
    raise DecodeError(f"{_place(path)}{'.' if path else ''}{_path(item['loc'])}: {item['msg']}")


def _fields(document: Mapping[str, Any], kind: Any, path: str, how: _How) -> dict[str, Any]:
    shaped: dict[str, Any] = {}
    plan, rest = _plan(kind, tuple(how.also.get(kind, {}).items()))
    for name, spellings, hint, has_default in plan:
        given = [document[spelling] for spelling in spellings if spelling in document]
        place = f"{path}.{name}"
        found = (_shape(entry, hint, place, how) for entry in given if entry is not None)
        value = next((entry for entry in found if entry is not None), None)
        if given and (value is not None or not has_default):
            shaped[name] = value  # the platform writes null for an unknown value, as the model's default means
    if rest:
        known = {spelling for _, spellings, _, _ in plan for spelling in spellings}
        shaped[rest] = {key: value for key, value in document.items() if key not in known}
    return shaped


@cache  # equivalent: a plan that is derived anew is the same plan
def _plan(
    kind: Any, also: tuple[tuple[str, tuple[str, ...]], ...]
) -> tuple[tuple[tuple[str, tuple[str, ...], Any, bool], ...], str]:
    """
    Name, accepted spellings, type and has-a-default of each field of the dataclass *kind*.

    And the name of the field for unknown keys; empty without one.
    """
    hints, annotated, others = get_type_hints(kind), get_type_hints(kind, include_extras=True), dict(also)
    plan, rest = [], ""
    for field in dataclasses.fields(kind):
        if annotated[field.name] == UnknownKeys:
            rest = field.name
            continue
        names: tuple[str, ...] = (field.name, *others.get(field.name, ()))
        if hints[field.name] in (datetime, datetime | None):
            # Where `created` and `created_at` are two fields, neither is read as the other.
            added = (name + end for name in names for end in ("", "_at", "_utc", "_at_utc"))
            names = tuple(name for name in added if name == field.name or name not in hints)
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        spellings = tuple(dict.fromkeys(spelling for name in names for spelling in _spellings(name)))
        plan.append((field.name, spellings, hints[field.name], has_default))
    return tuple(plan), rest


@cache
def _spellings(name: str) -> tuple[str, ...]:
    """Return *name* in snake, camel and Pascal case, without duplicates."""
    in_camel = camel(name)
    return tuple(dict.fromkeys((name, in_camel, in_camel[:1].upper() + in_camel[1:])))


def camel(name: str) -> str:
    """Return *name*, in snake case, in camel case."""
    head, *tail = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in tail)


def _time(value: Any, path: str) -> datetime | None:
    """
    Parse an ISO 8601 time with 0 to 9 fractional digits; one without a zone is UTC.

    An empty text and .NET's zero date, year 1, mean "none".
    """
    if isinstance(value, str) and not value.strip():
        return None
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


def _span(value: str, path: str) -> timedelta:
    match = _SPAN.fullmatch(value.strip()) or (
        _ISO_SPAN.fullmatch(value.strip()) if value.strip()[-1:] not in {"P", "T"} else None
    )
    if match is None:
        raise DecodeError(f"{_place(path)}: must be a duration")
    sign, days, hours, minutes, seconds, fraction = match.groups()
    found = timedelta(
        days=int(days or 0),
        hours=int(hours or 0),
        minutes=int(minutes or 0),
        seconds=int(seconds or 0),
        microseconds=int((fraction or "0")[:6].ljust(6, "0")),
    )
    return -found if sign else found


def _date(value: str, path: str) -> str:
    """Return the date of a DateTime that is documented as a date; pydantic reads it."""
    del path
    day, separator, _ = value.strip().partition("T")
    return day if separator else value


def _bytes(value: str, path: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise DecodeError(f"{_place(path)}: must be base64")


_READ: Mapping[type, Callable[[str, str], Any]] = {timedelta: _span, date: _date, bytes: _bytes}


def _plain(value: Any, kind: type, path: str) -> Any:
    """Check that a flag is true or false, and that a number is not a flag, and finite where it comes as a text."""
    if kind is bool and not isinstance(value, bool):
        raise DecodeError(f"{_place(path)}: must be true or false")
    if kind is not bool and isinstance(value, bool):
        _no_number(path)
    if kind is float and isinstance(value, str) and not _is_finite(value):
        raise DecodeError(f"{_place(path)}: must be a finite number")
    return value


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return True  # pydantic says what it is instead


def _no_number(path: str) -> NoReturn:
    raise DecodeError(f"{_place(path)}: must be a number")


def refuse_failure(document: Any, *, needs_error: bool = True) -> Any:
    """
    Return *document*, unless it is the body of a 2xx response that reports failure: `{"success": false, "error": …}`.

    `ok` means the same as `success`, and an `error_code` alone the same as an `error`.

    Args:
        document: The body, parsed.
        needs_error: False where the document has no result either: then the flag alone reports failure, and nothing
            was applied. A document with a result may have a flag of that name for another purpose.

    Raises:
        OperationFailedError: The document reports failure; carries its problem.
    """
    failed = isinstance(document, Mapping) and (not needs_error or _has_error(document))
    if failed and any(flag is False for flag in spelled(document, *_OUTRIGHT)):
        raise OperationFailedError(problem_of(dict(document)))
    return document


def _has_error(document: Mapping[str, Any]) -> bool:
    return any(spelled(document, "error", "error_code"))


def spelled(document: Mapping[str, Any], *names: str) -> list[Any]:
    """Return the values that *document* has under *names*, each in snake, camel and Pascal case, in this order."""
    return [document[spelling] for name in names for spelling in _spellings(name) if spelling in document]


def unwrap(document: Any, name: str) -> Any:
    """
    Return the object *name* inside the second generation's envelope `{"success": true, "<name>": {...}}`.

    A document without the envelope is returned itself.

    Raises:
        OperationFailedError: The envelope reports failure.
    """
    wrapped = refuse_failure(document).get(name) if isinstance(document, Mapping) else None
    return wrapped if isinstance(wrapped, Mapping) else document


def decode_page(document: Any, item: Callable[[Any], T], *keys: str) -> tuple[list[T], int | None]:
    """
    Decode a list of items and its total from a bare array, or from an object that has the array under one of *keys*.

    Raises:
        DecodeError: There is no array, or an item is wrong; names the item's path.
    """
    entries, total = refuse_failure(document), None
    place = "$"
    if isinstance(document, Mapping):
        place = next((name for key in keys for name in _spellings(key) if name in document), keys[0])
        entries = document.get(place)
        found = next((document[key] for key in _TOTALS if key in document), None)
        total = found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None
    if not isinstance(entries, list):
        refuse_failure(document, needs_error=False)
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
    Decode whether a change worked from its 2xx response; True if the response does not report it.

    Each of these alone reports failure: a bare `false`; a false flag `success`, `ok`, `cancelled` or `canceled`; a
    `status` such as `failed`, or an HTTP status from 400 on; an `error` without any flag; and each of them inside
    `operation`, the envelope of the second generation.

    An empty document is no response to a change, unless its status says that there is none (204): gateways make a
    complete response of one that was lost on its way.

    Raises:
        OperationFailedError: The change did not work, and the response has an `error`; carries its problem.
        DecodeError: A flag is neither true nor false, or the document is empty.
    """
    if isinstance(document, bool):
        return document
    if not isinstance(document, Mapping):
        return True
    if not document and not isinstance(document, NoContent):
        raise DecodeError("$: must report whether the change worked, and is empty", lacks_result=True)
    worked = _worked(document, _FAILED)
    operations = [inner for inner in spelled(document, "operation") if isinstance(inner, Mapping)]
    return all(_worked(inner, _FAILED | _NOT_DONE) for inner in operations) and worked


def completed(document: Any) -> bool:
    """
    Decode whether an operation worked whose 2xx response is documented without content; as `succeeded`.

    Here an empty body is a success, whatever the status: .NET sends none with 201 and 202.

    Raises:
        OperationFailedError: As of `succeeded`.
        DecodeError: A flag is neither true nor false.
    """
    return True if isinstance(document, Mapping) and not document else succeeded(document)


def _worked(document: Mapping[str, Any], failed: frozenset[str]) -> bool:
    refuse_failure(document)
    flags = [_plain(flag, bool, f".{name}") for name in _FLAGS for flag in spelled(document, name)]
    error = _has_error(document)
    worked = (
        all(flags)
        and not any(_is_failure(status, failed) for status in spelled(document, "status"))
        and (bool(flags) or not error)
    )
    if not worked and error:
        raise OperationFailedError(problem_of(dict(document)))
    return worked


def _is_failure(status: Any, failed: frozenset[str]) -> bool:
    if isinstance(status, str):
        return status.strip().lower() in failed
    return status is False or (isinstance(status, int | float) and status >= _HTTP_ERROR)


def subscription_is_active(
    status: str | None, *, period_end: datetime | None, ends_later: bool | None, now: datetime
) -> bool:
    """
    Decide whether a subscription gives access, by its *status*, read without case.

    Active are active, trialing and past_due (grace period), and canceled until the end of the period, by the public
    billing specification. A canceled one is closed where *ends_later*, its flag `cancel_at_period_end`, is a literal
    false: it was canceled at once. Any other status is not active.
    """
    word = (status or "").strip().lower()
    if word in _CANCELED:
        return ends_later is not False and period_end is not None and period_end > now
    return word in _ACTIVE
