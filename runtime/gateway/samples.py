"""Values of a document's types: its examples, its defaults, else values that its types allow; always the same ones."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from runtime.openapi import Api, Body, Property, Response, Schema

from .checking import Checker, bounds, is_multiple

__all__ = ["Samples"]

_DEEPEST = 4  # components within components; further ones are left out where they may be
_ENDLESS: Any = object()
_TEXTS: Mapping[str, str] = {
    "date-time": "2027-01-15T08:00:00Z",
    "date": "2027-01-15",
    "time": "08:30:00",
    "duration": "PT1H",
    **dict.fromkeys(("time-span", "date-span", "timespan"), "01:00:00"),
    **dict.fromkeys(("uuid", "guid"), "00000000-0000-0000-0000-000000000001"),
    "byte": "dGV4dA==",
    **dict.fromkeys(("uri", "url"), "https://example.com/"),
    "email": "ada@example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "hostname": "example.com",
}
# For a pattern, the first one that it matches.
_TRIED = (
    "text",
    *_TEXTS.values(),
    "1",
    "a",
    "A",
    "1.5",
    "1.0.0",
    "#a0b1c2",
    "en",
    "en-US",
    "EUR",
    "+4930123456",
    "ab1",
    "",
)


class Samples:
    """
    Makes values of the types of a document.

    Args:
        api: The document.
        sent: For requests: without what the server alone sends; else without what the client alone sends.
    """

    def __init__(self, api: Api, *, sent: bool = False) -> None:
        self._api = api
        self._sent = sent
        self._checker = Checker(api, folds=False)
        # Component -> its discriminators and their values, which a variant has without naming them.
        self._tags: dict[str, dict[str, str]] = {}
        for name, schema in api.schemas.items():
            if schema.discriminator:
                for tag, variant in schema.discriminator.mapping.items():
                    if variant != name:
                        self._tags.setdefault(variant, {})[schema.discriminator.name] = tag

    def of_content(self, content: Body | Response, media: str) -> Any:
        """Return what *content* is as *media*: its own example, else a value of its type."""
        schema, example = content.contents[media], content.examples.get(media)
        return example if example is not None and self._fits(schema, example) else self.of(schema)

    def of(self, schema: Schema) -> Any:
        """Return a value of the type *schema* as a JSON document; what would contain itself without end is left out."""
        found = self._of(schema, ())
        return None if found is _ENDLESS else found

    def _fits(self, schema: Schema, value: Any) -> bool:
        """Examples are written by people: one of another type is of no use to a client."""
        return not any(self._checker.problems(schema, value, ""))

    def _of(self, schema: Schema, within: tuple[str, ...], *, needed: bool = False) -> Any:
        for given in (schema.example, schema.default):
            if given is not None and self._fits(schema, given):
                return given
        if schema.kind == "ref":
            target = self._api.resolved(schema)
            is_deep = len(within) >= _DEEPEST and target.kind in {"object", "union"} and not needed
            if schema.ref in within or is_deep:
                return None if schema.nullable or target.nullable else _ENDLESS
            inner = self._api.schemas.get(schema.ref, Schema())
            return self._tagged(schema.ref, self._of(inner, (*within, schema.ref), needed=needed))
        if schema.enum:
            return schema.enum[0]
        return getattr(self, f"_{schema.kind}", self._any)(schema, within)

    def _tagged(self, name: str, value: Any) -> Any:
        return {**value, **self._tags[name]} if isinstance(value, dict) and name in self._tags else value

    def _any(self, _schema: Schema, _within: tuple[str, ...]) -> Any:
        return {}

    def _boolean(self, _schema: Schema, _within: tuple[str, ...]) -> Any:
        return True

    def _integer(self, schema: Schema, _within: tuple[str, ...]) -> Any:
        return int(_number(schema, Decimal(1)))

    def _number(self, schema: Schema, _within: tuple[str, ...]) -> Any:
        return float(_number(schema, Decimal("1.5")))

    def _string(self, schema: Schema, _within: tuple[str, ...]) -> Any:
        text, pattern = _TEXTS.get(schema.format, "text"), schema.limits.get("pattern")
        if schema.format not in _TEXTS:
            least, most = schema.limits.get("minLength"), schema.limits.get("maxLength")
            text = text.ljust(least, "x") if isinstance(least, int) else text
            text = text[:most] if isinstance(most, int) else text
        if isinstance(pattern, str):
            options = (text, *_TRIED)
            text = next((one for one in options if self._fits(schema, one)), text)
        return text

    def _array(self, schema: Schema, within: tuple[str, ...]) -> Any:
        found = self._of(schema.items or Schema(), within)
        least = schema.limits.get("minItems")
        count = 0 if schema.limits.get("maxItems") == 0 else max(least, 1) if isinstance(least, int) else 1
        return [] if found is _ENDLESS else [found] * count

    def _object(self, schema: Schema, within: tuple[str, ...]) -> Any:
        variants = self._variants(schema, within)
        if variants is not None:
            return variants
        found: dict[str, Any] = {}
        for name, one in self._api.all_properties(schema).items():
            if self._is_left_out(one):
                continue
            value = self._of(one.schema, within, needed=one.required)
            if value is not _ENDLESS:
                found[name] = value
        if schema.additional is not None and not found:
            value = self._of(schema.additional, within)
            found = {} if value is _ENDLESS else {"key": value}
        return found

    def _is_left_out(self, one: Property) -> bool:
        target = self._api.resolved(one.schema)
        if self._sent:
            return one.schema.read_only or target.read_only
        return one.schema.write_only or target.write_only

    def _variants(self, schema: Schema, within: tuple[str, ...]) -> Any:
        """Return the first variant of *schema* that has a finite value; None where it has no variants."""
        if schema.discriminator is None:
            return None
        for tag, name in schema.discriminator.mapping.items():
            variant = self._api.schemas.get(name)
            if variant is None or variant is schema or name in within:
                continue
            value = self._of(Schema("ref", ref=name), within)
            if isinstance(value, dict):
                return {**value, schema.discriminator.name: tag}
        return None

    def _union(self, schema: Schema, within: tuple[str, ...]) -> Any:
        found = self._variants(schema, within)
        if found is None:
            values = (self._of(one, within) for one in schema.variants)
            found = next((one for one in values if one is not _ENDLESS), _ENDLESS)
        return found


def _number(schema: Schema, wanted: Decimal) -> Decimal:
    """Return the number nearest to *wanted* that the limits allow."""
    low, high, no_low, no_high = bounds(schema)
    step = schema.limits.get("multipleOf")
    unit = Decimal(str(step)) if isinstance(step, int | float) and step > 0 else Decimal(1)
    if low is not None and (wanted < low or (wanted == low and no_low)):
        wanted = low + unit if no_low else low
    if high is not None and (wanted > high or (wanted == high and no_high)):
        wanted = high - unit if no_high else high
    if step is not None and not is_multiple(wanted, unit):
        wanted = (wanted // unit + (1 if high is None or wanted + unit <= high else 0)) * unit
    return wanted
