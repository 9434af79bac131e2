"""
Is a value what a document says it must be?

Two habits of .NET's generators are not taken literally: `additionalProperties: false`, since ASP.NET Core ignores
fields that it does not know, and `required` of what the server alone sends.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from runtime.openapi import INTEGER_RANGES, Api, Parameter, Schema

__all__ = ["MOST_LEVELS", "Checker", "bounds", "is_multiple"]

Problem = tuple[str, str]
"""Place of a value, and what is wrong with it."""

MOST_LEVELS = 64
"""Levels of a body, the bound of System.Text.Json."""

_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "a text"),
    "integer": ((int,), "an integer"),
    "number": ((int, float, Decimal), "a number"),
    "boolean": ((bool,), "true or false"),
    "array": ((list,), "a list"),
    "object": ((dict,), "an object"),
}
_INTEGER = re.compile(r"[+-]?\d{1,40}")
_NUMBER = re.compile(r"[+-]?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,3})?")
_SPAN = re.compile(r"-?(\d+\.)?\d{2}:\d{2}(:\d{2}(\.\d{1,7})?)?")
_ISO_DURATION = re.compile(r"-?P(?=.)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?")


def _is_date_time(text: str) -> bool:
    datetime.fromisoformat(text)
    return text[10:11] in {"T", "t", " "}


def _is_date(text: str) -> bool:
    date.fromisoformat(text)
    return text[4:5] == "-"


def _is_span(text: str) -> bool:
    return bool(_SPAN.fullmatch(text) or _ISO_DURATION.fullmatch(text))


# A text of another format makes them raise ValueError, or return False.
_FORMATS: Mapping[str, Callable[[str], object]] = {
    "date-time": _is_date_time,
    "date": _is_date,
    "time": time.fromisoformat,
    **dict.fromkeys(("uuid", "guid"), UUID),
    "byte": lambda text: base64.b64decode(text, validate=True),
    **dict.fromkeys(("duration", "time-span", "date-span", "timespan"), _is_span),
}


def _is_of_format(form: str, text: str) -> bool:
    """Is *text* of the format *form*? A format that is not known has no rule."""
    try:
        return form not in _FORMATS or _FORMATS[form](text) is not False
    except ValueError:
        return False


class Checker:
    """
    Checks values by the types of a document.

    Args:
        api: The document.
        folds: Whether names of properties are read without case, as ASP.NET Core does.
    """

    def __init__(self, api: Api, *, folds: bool = True) -> None:
        self._api = api
        self._fold: Callable[[str], str] = str.lower if folds else str
        # Whether a value of the document being checked is none of a variant; unions in unions ask again and again.
        self._wrong: dict[tuple[int, int, int], bool] = {}

    def problems(self, schema: Schema, value: Any, place: str, *, level: int = 0) -> Iterator[Problem]:
        """
        Yield what is wrong with *value*, a parsed JSON document with numbers as int, float or Decimal.

        Args:
            schema: Its type.
            value: The value.
            place: Its place.
            level: How deep it is in a body.
        """
        if level == 0:
            self._wrong.clear()
        target = self._api.resolved(schema)
        if level > MOST_LEVELS:
            yield place, f"is nested more than {MOST_LEVELS} levels deep"
        elif value is None:
            if not (schema.nullable or target.nullable or target.kind == "any"):
                yield place, "must not be null"
        elif target.kind == "union":
            yield from self._union(target, value, place, level)
        elif target.kind in _TYPES and not _is_of(target, value):
            yield place, f"must be {_TYPES[target.kind][1]}"
        elif target.enum and not any(_is_same(one, value) for one in target.enum):
            yield place, f"must be one of {', '.join(map(str, target.enum))}"
        else:
            yield from ((place, text) for text in _limits(target, value))
            yield from self._inner(target, value, place, level + 1)

    def _inner(self, schema: Schema, value: Any, place: str, level: int) -> Iterator[Problem]:
        if schema.kind == "array" and schema.items is not None:
            for index, one in enumerate(value):
                yield from self.problems(schema.items, one, f"{place}[{index}]", level=level)
        if schema.kind == "object":
            variant = self._variant(schema, value)
            if isinstance(variant, str):
                yield place, variant
            else:
                yield from self._object(variant or schema, value, place, level)

    def _object(self, schema: Schema, value: Mapping[str, Any], place: str, level: int) -> Iterator[Problem]:
        known = self._api.all_properties(schema)
        names = {self._fold(name): name for name in known}
        given = {self._fold(name) for name in value}
        for name, one in known.items():
            if one.required and self._fold(name) not in given and not self._is_read_only(one.schema):
                yield f"{place}.{name}", "is required"
        for name, one in value.items():
            wire = names.get(self._fold(name))
            inner = known[wire].schema if wire is not None else schema.additional
            if inner is not None:
                yield from self.problems(inner, one, f"{place}.{name}", level=level)

    def _is_read_only(self, schema: Schema) -> bool:
        return schema.read_only or self._api.resolved(schema).read_only

    def _variant(self, schema: Schema, value: Mapping[str, Any]) -> Schema | str | None:
        """Return the component that *value* says it is, what is wrong with that, or None where it is *schema*."""
        found = schema.discriminator
        if found is None or not found.mapping:
            return None
        tag = next((one for name, one in value.items() if self._fold(name) == self._fold(found.name)), None)
        name = found.mapping.get(tag) if isinstance(tag, str) else None
        if name is not None:
            variant = self._api.resolved(self._api.schemas.get(name, schema))
            return None if variant is schema else variant
        itself = self._api.schemas.get(tag) if isinstance(tag, str) else None
        if schema.kind == "object" and (tag is None or itself is schema):
            return None
        return f"{found.name} must be one of {', '.join(found.mapping)}"

    def _union(self, schema: Schema, value: Any, place: str, level: int) -> Iterator[Problem]:
        variant = self._variant(schema, value) if isinstance(value, Mapping) else None
        if isinstance(variant, str):
            yield place, variant
        elif variant is not None:
            yield from self.problems(variant, value, place, level=level + 1)
        elif all(self._is_wrong(one, value, level + 1) for one in schema.variants):
            yield place, "is none of the types that it may be"

    def _is_wrong(self, variant: Schema, value: Any, level: int) -> bool:
        key = id(variant), id(value), level
        if key not in self._wrong:
            self._wrong[key] = any(True for _ in self.problems(variant, value, "", level=level))
        return self._wrong[key]

    def parameter_problems(self, one: Parameter, texts: Sequence[str]) -> Iterator[Problem]:
        """Yield what is wrong with the texts that a parameter has in a request; none for a parameter without any."""
        target = self._api.resolved(one.schema)
        items = self._api.resolved(target.items or Schema())
        is_text = "string" in {target.kind, items.kind}
        given = [text for text in texts if text or is_text]
        if not given:
            if one.required:
                yield one.name, "is required"
        elif {target.kind, items.kind} & {"object", "union"}:
            return  # these have no notation that services agree on
        elif target.kind == "array":
            if not one.explode:
                given = [part for text in given for part in text.split(one.separator)]
            yield from self.problems(target, [_read(items, text) for text in given], one.name)
        else:
            yield from self.problems(one.schema, _read(target, given[-1]), one.name)


def _is_same(member: Any, value: Any) -> bool:
    """Is *value* the member of an enum? A number is compared by its text; true is no number."""
    if isinstance(member, float):
        member = Decimal(str(member))
    return bool(member == value) and isinstance(member, bool) is isinstance(value, bool)


def _is_of(schema: Schema, value: Any) -> bool:
    if isinstance(value, str) and schema.accepts_text:
        return bool((_INTEGER if schema.kind == "integer" else _NUMBER).fullmatch(value))
    if schema.kind == "integer" and isinstance(value, Decimal):
        return value == value.to_integral_value()  # JSON Schema: 1.0 is an integer
    return isinstance(value, _TYPES[schema.kind][0]) and (schema.kind == "boolean" or not isinstance(value, bool))


def _read(schema: Schema, text: str) -> Any:
    """Return the value of a parameter's *text*; the text itself where it is none."""
    if schema.kind == "integer" and _INTEGER.fullmatch(text):
        return int(text)
    if schema.kind == "number" and _NUMBER.fullmatch(text):
        return Decimal(text)
    if schema.kind == "boolean" and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    return text


def _limits(schema: Schema, value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        return
    if isinstance(value, str) and schema.kind == "string":
        if not _is_of_format(schema.format, value):
            yield f"must be of the format {schema.format}"
        yield from _sizes(schema.limits, len(value), "Length", "characters")
        pattern = schema.limits.get("pattern")
        if isinstance(pattern, str) and not _matches(pattern, value):
            yield f"must match {pattern}"
    elif isinstance(value, list):
        yield from _sizes(schema.limits, len(value), "Items", "items")
        if schema.limits.get("uniqueItems") is True and any(one in value[:index] for index, one in enumerate(value)):
            yield "must not have the same item twice"
    elif isinstance(value, Mapping):
        yield from _sizes(schema.limits, len(value), "Properties", "properties")
    elif isinstance(value, int | float | Decimal):
        yield from _numbers(schema, Decimal(str(value)))


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except (re.error, RecursionError):  # of another dialect
        return True


def _sizes(limits: Mapping[str, Any], size: int, suffix: str, what: str) -> Iterator[str]:
    least, most = limits.get(f"min{suffix}"), limits.get(f"max{suffix}")
    if isinstance(least, int) and size < least:
        yield f"must have at least {least} {what}"
    if isinstance(most, int) and size > most:
        yield f"must have at most {most} {what}"


def _numbers(schema: Schema, value: Decimal) -> Iterator[str]:
    low, high, *excluded = bounds(schema)
    if low is not None and (value < low or (value == low and excluded[0])):
        yield f"must be {'above' if excluded[0] else 'at least'} {low}"
    if high is not None and (value > high or (value == high and excluded[1])):
        yield f"must be {'below' if excluded[1] else 'at most'} {high}"
    step = schema.limits.get("multipleOf")
    if isinstance(step, int | float) and step > 0 and not is_multiple(value, Decimal(str(step))):
        yield f"must be a multiple of {step}"


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Whether *value* is a multiple of *step*; true where the remainder is beyond the precision."""
    try:
        return not value % step
    except ArithmeticError:
        return True


def bounds(schema: Schema) -> tuple[Decimal | None, Decimal | None, bool, bool]:
    """Return the least and the greatest number, and whether each is excluded: a flag in 3.0, a bound in 3.1."""
    found: list[Decimal | None] = [None, None]
    if schema.kind == "integer" and schema.format in INTEGER_RANGES:
        found = [Decimal(one) for one in INTEGER_RANGES[schema.format]]
    excluded = [False, False]
    for index, name in enumerate(("minimum", "maximum")):
        plain, strict = schema.limits.get(name), schema.limits.get(f"exclusive{name.capitalize()}")
        for given, is_excluded in ((plain, strict is True), (strict, True)):
            if not isinstance(given, int | float) or isinstance(given, bool):
                continue
            bound, known = Decimal(str(given)), found[index]
            if known is None or (bound >= known if index == 0 else bound <= known):
                found[index], excluded[index] = bound, is_excluded
    return found[0], found[1], excluded[0], excluded[1]
