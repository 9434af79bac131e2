"""
Compares types: whether a connector of the old one reads the responses of the new one, and sends what it accepts.

What counts is what connectors do (`runtime/connectors/decoding.py`, `arguments.py`): an unknown field is ignored, an
unknown value of an enum is kept, null is None where the field has a default, and a body has no field that is None.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

from runtime.generate.code import read_as
from runtime.generate.plan import VALUE_TYPES, plain_type, variants_of
from runtime.openapi import INTEGER_RANGES, Api, Property, Schema, attribute_name, snake

from .rules import Change

__all__ = ["Requests", "Responses", "named", "readable_names", "shape_of"]

_Shape: TypeAlias = Literal["any", "value", "list", "dictionary", "object", "variants"]

# What the decoder of each type reads, by the type that is sent.
_TEXTS = {"str", "datetime", "date", "time", "timedelta", "UUID", "bytes"}
_NUMBERS = {"int", "Decimal", "float"}
_READ: Mapping[str, set[str]] = {
    "int": {"int"},
    "Decimal": _NUMBERS,
    "float": _NUMBERS,
    "str": _TEXTS,
    "text enum": {*_TEXTS, "int"},
    "number enum": {"int"},
    "bool": {"bool"},
    "datetime": {"datetime", "date"},
    "date": {"datetime", "date"},
    "time": {"time"},
    "timedelta": {"timedelta", "time"},
    "UUID": {"UUID"},
    "bytes": {"bytes"},
}
# What a service accepts of each type that is sent.
_SENT: Mapping[str, set[str]] = {
    "int": _NUMBERS,
    "Decimal": {"Decimal", "float"},
    "float": {"Decimal", "float"},
    "str": {"str"},
    "bool": {"bool"},
    "datetime": {"datetime", "str"},
    "date": {"date", "str"},
    "time": {"time", "timedelta", "str"},
    "timedelta": {"timedelta", "str"},
    "UUID": {"UUID", "str"},
    "bytes": {"bytes", "str"},
}
_FRACTIONS = {"float", "double", "decimal"}
_NUMBERS_AS_TEXT = {*INTEGER_RANGES, *_FRACTIONS} - {"byte"}  # which is base64 in a text
_ANY_TEXT = {"", "string", "password", "multiline"}
_AT_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_AT_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_AS_IT_IS = ("pattern", "multipleOf", "uniqueItems")
_NAMES_OF_SHAPES = {"list": "a list", "dictionary": "a dictionary", "object": "an object", "any": "any value"}
_MOST_SHOWN = 5


def shape_of(api: Api, schema: Schema) -> _Shape:
    """Return what a connector makes of a resolved schema: `value` has a type of its own, `any` is not looked at."""
    if schema.enum and schema.kind in {"string", "integer"}:
        return "value"
    if variants_of(api, schema):
        return "variants"
    if schema.kind == "object":
        return "object" if schema.properties or schema.bases else "dictionary"
    if schema.kind == "array":
        return "list"
    return "any" if schema.kind in {"any", "union"} else "value"


def named(api: Api, schema: Schema) -> str:
    """Return what a resolved schema is, for people."""
    shape = shape_of(api, schema)
    if shape == "variants":
        return "one of several objects"
    if shape != "value":
        return _NAMES_OF_SHAPES[shape]
    kind = "text" if schema.kind == "string" else schema.kind
    return f"{kind} enum" if schema.enum else f"{kind} ({schema.format})" if schema.format else kind


def readable_names(*names: str, is_time: bool) -> set[str]:
    """
    Return the names on the wire under which a field is read.

    Args:
        names: Its own name, and those that are declared for it.
        is_time: Whether it is a time, which is also read with the endings that .NET adds.
    """
    ends = ("", "_at", "_utc", "_at_utc") if is_time else ("",)
    return set().union(*(read_as(f"{name}{end}", sent=False) for name in names for end in ends))


class _Comparison:
    """One comparison of two types; what it finds is in `found`."""

    def __init__(self, old: Api, new: Api, subject: str) -> None:
        self.old = old
        self.new = new
        self.found: dict[Change, None] = {}
        self._subject = subject
        self._seen: set[tuple[str, str]] = set()

    def _add(
        self,
        rule: str,
        at: tuple[str, ...],
        what: str,
        place: str,
        *,
        in_old: bool = False,
        is_added: bool = False,
    ) -> None:
        path = "".join(part if part in {"[]", "{}"} else f".{part}" for part in at).removeprefix(".")
        named_ = f"{self._subject} `{path}`" if path else self._subject
        read = at if isinstance(self, Responses) else ()
        self.found[Change(rule, f"{named_} {what}", f"#{place}", in_old=in_old, read=read, is_added=is_added)] = None

    def _is_seen(self, old: Schema, new: Schema) -> bool:
        """Whether these two components were compared, or are being compared: types refer to themselves."""
        key = old.ref, new.ref
        if not (old.ref and new.ref):
            return False
        known = key in self._seen
        self._seen.add(key)
        return known


class Responses(_Comparison):
    """Compares what is read: each value that the new type allows must be one that the old connector reads."""

    def __init__(self, old: Api, new: Api, subject: str = "response") -> None:
        super().__init__(old, new, subject)
        self._tags = _tags(old)

    def compare(self, old: Schema, new: Schema, at: tuple[str, ...] = (), *, null_fits: bool = False) -> None:
        """Compare two types; *null_fits* where the connector reads null as the field's default."""
        before, after = self.old.resolved(old), self.new.resolved(new)
        shape, other = shape_of(self.old, before), shape_of(self.new, after)
        if shape == "any":
            return
        was_null, is_null = old.nullable or before.nullable, new.nullable or after.nullable
        if is_null and not was_null and not null_fits:
            self._add("OD106", at, "may be null", new.place or after.place)
        if self._is_seen(old, new):
            return
        place = new.place or after.place
        if shape == "list" and other == "list":
            self.compare(before.items or Schema(), after.items or Schema(), (*at, "[]"))
        elif shape == "dictionary" and other in {"dictionary", "object", "variants"}:
            self._dictionary(before, after, at)
        elif shape == "object" and other in {"dictionary", "object", "variants"}:
            for one in self._objects(after):
                self._fields(before, one, at)
        elif shape == "variants" and other in {"object", "variants"}:
            self._variants(before, after, at, place)
        elif shape == "value" and other == "value":
            self._value(before, after, at, place)
        else:
            self._add("OD106", at, f"is {named(self.new, after)}, was {named(self.old, before)}", place)

    def _objects(self, schema: Schema) -> Iterator[Schema]:
        """Yield the objects that *schema* may be."""
        variants = variants_of(self.new, schema)
        if not variants or schema.kind == "object":
            yield schema
        for name in variants.values():
            one = self.new.resolved(self.new.schemas[name])
            if one is not schema:
                yield one

    def _dictionary(self, old: Schema, new: Schema, at: tuple[str, ...]) -> None:
        if old.additional is None:
            return
        if shape_of(self.new, new) == "dictionary":
            self.compare(old.additional, new.additional or Schema(place=new.place), (*at, "{}"))
        else:
            for name, one in self.new.all_properties(new).items():
                self.compare(old.additional, one.schema, (*at, name))

    def _fields(self, old: Schema, new: Schema, at: tuple[str, ...]) -> None:
        known = _without(self.new.all_properties(new), "write_only")
        wanted = _without(self.old.all_properties(old), "write_only")
        tags = self._tags.get(id(old), set())
        read: set[str] = set()
        for name, one in wanted.items():
            if name.lower() in tags:
                read |= {other for other in known if other.lower() == name.lower()}
                continue
            target = self.old.resolved(one.schema)
            is_time = shape_of(self.old, target) == "value" and plain_type(target) == "datetime"
            names = readable_names(attribute_name(name), name, is_time=is_time) - (wanted.keys() - {name})
            found = known.get(name) or next((known[other] for other in known if other in names), None)
            needed = self._is_needed(one, target)
            if found is None:
                rule, what = ("OD106", "is gone, and required") if needed else ("OD107", "is gone")
                self._add(rule, (*at, name), what, one.schema.place, in_old=True)
                continue
            read.add(found.name)
            if found.name != name:
                self._add("OD203", (*at, name), f"is spelled {found.name}", found.schema.place)
            if needed and not found.required:
                self._add("OD106", (*at, name), "may be absent", found.schema.place)
            self.compare(one.schema, found.schema, (*at, name), null_fits=not needed)
        tag = {new.discriminator.name.lower()} if new.discriminator else set()
        for name, one in known.items():
            if name not in read and name.lower() not in tag | tags:
                self._add("OD202", (*at, name), "is new", one.schema.place, is_added=True)

    def _is_needed(self, one: Property, target: Schema) -> bool:
        """Whether the field has no default: a value type that is required (`_set_defaults` of the generator)."""
        is_value = shape_of(self.old, target) == "value" and (bool(target.enum) or plain_type(target) in VALUE_TYPES)
        return one.required and is_value and not (one.schema.nullable or target.nullable)

    def _variants(self, old: Schema, new: Schema, at: tuple[str, ...], place: str) -> None:
        tag, new_tag = (one.discriminator.name if one.discriminator else "" for one in (old, new))
        before, after = variants_of(self.old, old), variants_of(self.new, new)
        if tag.lower() != new_tag.lower():
            what = f"names its variant in `{new_tag}`, was `{tag}`" if new_tag else f"has no `{tag}`, which names it"
            self._add("OD107", at, what, place)
            return
        if old.properties or old.bases:
            self._fields(old, new, at)
        tags = {name: value for value, name in before.items()}
        for value, name in after.items():
            one = before.get(value)
            if one is not None:
                self.compare(Schema("ref", ref=one), Schema("ref", ref=name, place=place), at)
            elif tag and name in tags:
                self._add("OD107", at, f"names its variant {name} {value!r}, was {tags[name]!r}", place)
            else:
                self._add("OD202", at, f"may be a {name}, which is read as its base", place)

    def _value(self, old: Schema, new: Schema, at: tuple[str, ...], place: str) -> None:
        kind, other = _reader(old), plain_type(new)
        if new.kind == "string" and new.format in _NUMBERS_AS_TEXT and kind in _NUMBERS:
            other = "int" if new.format in INTEGER_RANGES else "Decimal"  # the number's text
        fits = other in _READ[kind] or (kind == "number enum" and _are_names(old, new))
        if not fits:
            self._add("OD106", at, f"is {named(self.new, new)}, was {named(self.old, old)}", place)
            return
        added = [one for one in new.enum if one not in old.enum] if old.enum and kind != "int" else []
        if added:
            self._add("OD203", at, f"may be {_shown(added)} too, which is kept", place)
        elif plain_type(new) != plain_type(old):
            self._add("OD203", at, f"is {named(self.new, new)}, was {named(self.old, old)}", place)


class Requests(_Comparison):
    """
    Compares what is sent: each value that the old connector sends must be one that the new type accepts.

    Args:
        old: The old document.
        new: The new document.
        subject: What is sent, for people.
        is_text: Whether the value is part of a URL or a header, where each value is a text.
    """

    def __init__(self, old: Api, new: Api, subject: str, *, is_text: bool = False) -> None:
        super().__init__(old, new, subject)
        self._is_text = is_text

    def compare(  # noqa: C901 - a table of two shapes
        self, old: Schema, new: Schema, at: tuple[str, ...] = (), *, null_sent: bool = False
    ) -> None:
        """Compare two types; *null_sent* where the connector sends null: as an item, and as a dictionary's value."""
        before, after = self.old.resolved(old), self.new.resolved(new)
        shape, other = shape_of(self.old, before), shape_of(self.new, after)
        place = new.place or after.place
        was_null, is_null = old.nullable or before.nullable, new.nullable or after.nullable
        if null_sent and was_null and not is_null and other != "any":
            self._add("OD103", at, "must not be null", place)
        if (other == "any" and after.kind == "any") or self._is_seen(old, new):
            return
        self._limits(before, after, at, place)
        if shape == "any" or other == "any":
            if before != after and not (shape == "any" and self._is_text):
                self._add("OD103", at, f"is {named(self.new, after)}, was {named(self.old, before)}", place)
        elif shape == "list" and other == "list":
            self.compare(before.items or Schema(), after.items or Schema(), (*at, "[]"), null_sent=True)
        elif self._is_text and shape == "value" and other == "list":
            self.compare(before, after.items or Schema(), (*at, "[]"))
        elif shape == "dictionary" and other == "dictionary":
            value, accepted = before.additional or Schema(), after.additional or Schema()
            self.compare(value, accepted, (*at, "{}"), null_sent=True)
        elif shape == "object" and other in {"object", "dictionary"}:
            self._fields(before, after, at)
        elif shape == "object" and other == "variants":
            self._tagged(before, after, at, place)
        elif shape == "variants" and other in {"object", "variants"}:
            self._variants(before, after, at, place)
        elif shape == "value" and other == "value":
            self._value(before, after, at, place)
        else:
            self._add("OD103", at, f"is {named(self.new, after)}, was {named(self.old, before)}", place)

    def _fields(self, old: Schema, new: Schema, at: tuple[str, ...]) -> None:
        sent = _without(self.old.all_properties(old), "read_only")
        accepted = _without(self.new.all_properties(new), "read_only")
        # ASP.NET reads names without case, where no other one has the same case.
        folded = {name.lower(): name for name in accepted if name not in sent}
        for name, one in sent.items():
            found = accepted.pop(name if name in accepted else folded.get(name.lower(), ""), None)
            if found is not None:
                if found.required and not one.required:
                    self._add("OD102", (*at, name), "is required, and may be left out", found.schema.place)
                self.compare(one.schema, found.schema, (*at, name))
            elif new.additional is not None:
                self.compare(one.schema, new.additional, (*at, name))
            else:
                self._add("OD104", (*at, name), "is gone, and ignored", one.schema.place, in_old=True)
        for one in accepted.values():
            if one.required:
                self._add("OD102", (*at, one.name), "is new and required", one.schema.place, is_added=True)
            else:
                self._add("OD201", (*at, one.name), "is new", one.schema.place, is_added=True)

    def _tagged(self, old: Schema, new: Schema, at: tuple[str, ...], place: str) -> None:
        tag = new.discriminator.name if new.discriminator else ""
        if tag and tag.lower() not in {name.lower() for name in self.old.all_properties(old)}:
            self._add("OD102", at, f"must name its variant in `{tag}`", place)
        elif new.properties or new.bases:
            self._fields(old, new, at)

    def _variants(self, old: Schema, new: Schema, at: tuple[str, ...], place: str) -> None:
        before, after = variants_of(self.old, old), variants_of(self.new, new)
        tag, new_tag = (one.discriminator.name if one.discriminator else "" for one in (old, new))
        if new_tag and tag.lower() != new_tag.lower():
            self._add("OD102", at, f"must name its variant in `{new_tag}`, was `{tag}`", place)
            return
        if old.properties or old.bases:
            self._fields(old, new, at)
        for value, name in before.items():
            if value in after:
                self.compare(Schema("ref", ref=name), Schema("ref", ref=after[value], place=place), at)
            elif after:
                self._add("OD103", at, f"must not be a {name} any more", place)

    def _value(self, old: Schema, new: Schema, at: tuple[str, ...], place: str) -> None:
        kind, other = plain_type(old), plain_type(new)
        was, now = named(self.old, old), named(self.new, new)
        if other not in _SENT[kind] and not (self._is_text and other == "str"):
            self._add("OD103", at, f"is {now}, was {was}", place)
        elif new.enum and not old.enum:
            self._add("OD103", at, f"is one of {_shown(new.enum)}, was any {was}", place)
        elif new.enum and (gone := [one for one in old.enum if one not in new.enum]):
            self._add("OD103", at, f"must not be {_shown(gone)} any more", place)
        elif _is_narrower(old, new):
            self._add("OD103", at, f"is {now}, was {was}", place)
        elif added := [one for one in new.enum if one not in old.enum]:
            self._add("OD203", at, f"may be {_shown(added)} too", place)
        elif kind != other:
            self._add("OD203", at, f"is {now}, was {was}", place)

    def _limits(self, old: Schema, new: Schema, at: tuple[str, ...], place: str) -> None:
        for key in (*_AT_MOST, *_AT_LEAST, *_AS_IT_IS):
            before, after = _limit(old, key), new.limits.get(key)
            if after is None or after is False or before == after:
                continue
            if key == "pattern" and plain_type(old) == plain_type(new) == "timedelta":
                continue  # one notation of several, and it is the one that is sent
            if isinstance(before, int | float) and isinstance(after, int | float) and key not in _AS_IT_IS:
                if not (after < before if key in _AT_MOST else after > before):
                    continue
            elif key in {"minLength", "minItems", "minProperties"} and after == 0:
                continue
            was = "" if before is None or before is False else f", was {before}"
            self._add("OD103", at, f"has {key} {after}{was}", place)


def _limit(schema: Schema, key: str) -> Any:
    """Return a limit of *schema*; that of its integer format where it says nothing."""
    smallest, largest = INTEGER_RANGES.get(schema.format, (None, None)) if schema.kind == "integer" else (None, None)
    return schema.limits.get(key, {"minimum": smallest, "maximum": largest}.get(key))


def _is_narrower(old: Schema, new: Schema) -> bool:
    """Whether a text has a format that it did not have, or a whole number a smaller one."""
    if plain_type(old) == plain_type(new) == "str" and not new.enum:
        return new.format not in {*_ANY_TEXT, old.format}
    if old.format not in INTEGER_RANGES or new.format not in INTEGER_RANGES:
        return False
    (smallest, largest), (least, most) = INTEGER_RANGES[old.format], INTEGER_RANGES[new.format]
    return least > smallest or most < largest


def _reader(schema: Schema) -> str:
    """Return the type that reads a value: an enum of numbers without names is an int."""
    if schema.enum and schema.kind == "string":
        return "text enum"
    return "number enum" if schema.enum and schema.kind == "integer" and schema.enum_names else plain_type(schema)


def _are_names(old: Schema, new: Schema) -> bool:
    """Whether each text of *new* is the name of a member of the number enum *old*, which is read too."""
    names = {snake(one).replace("_", "") for one in old.enum_names}
    texts = [snake(one).replace("_", "") for one in new.enum if isinstance(one, str)]
    return new.kind == "string" and bool(texts) and names.issuperset(texts)


def _without(properties: Mapping[str, Property], flag: str) -> dict[str, Property]:
    return {name: one for name, one in properties.items() if not getattr(one.schema, flag)}


def _tags(api: Api) -> dict[int, set[str]]:
    """Return the names of the properties that say which variant an object is, in lower case, by the object's schema."""
    found: dict[int, set[str]] = {}
    for schema in api.schemas.values():
        if schema.discriminator:
            for one in (schema, *(api.resolved(api.schemas[name]) for name in variants_of(api, schema).values())):
                found.setdefault(id(one), set()).add(schema.discriminator.name.lower())
    return found


def _shown(values: Any) -> str:
    texts = [str(one) for one in values]
    more = f" and {len(texts) - _MOST_SHOWN} more" if len(texts) > _MOST_SHOWN else ""
    return ", ".join(texts[:_MOST_SHOWN]) + more
