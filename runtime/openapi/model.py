"""
One model of an API, for OpenAPI 2.0, 3.0, 3.1 and 3.2.

What differs in notation alone is equal here: nullable values, unions of a number with its text, references that are
wrapped to carry a description, `definitions` and `components`. Places are JSON pointers (RFC 6901) into the document,
and no part of equality.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = [
    "INTEGER_RANGES",
    "Api",
    "Body",
    "Discriminator",
    "Kind",
    "Note",
    "Operation",
    "Parameter",
    "Property",
    "Response",
    "Schema",
    "is_json",
]

Kind: TypeAlias = Literal["any", "ref", "string", "integer", "number", "boolean", "array", "object", "union"]

INTEGER_RANGES: Mapping[str, tuple[int, int]] = {
    **{f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    "byte": (0, 255),
}
"""The least and the greatest integer of each format that has them."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something about the document that a reader should know: a formal error, or what the model does not have."""

    place: str
    text: str


@dataclass(frozen=True, slots=True)
class Discriminator:
    """
    How a value says which variant it is.

    Attributes:
        name: The property.
        mapping: Its values, and the component that each means; made up from the components' names where the document
            has none.
    """

    name: str
    mapping: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Property:
    """
    A property of an object.

    Attributes:
        name: As on the wire.
        schema: Its type.
        required: Whether `required` names it, read without case.
    """

    name: str
    schema: "Schema"
    required: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    """
    The type of a value.

    Attributes:
        kind: `ref` refers to the component *ref*; `union` is one of *variants*; `any` says nothing.
        format: As in the document, in lower case; for a number with a text as alternative that of the number.
        nullable: Whether the document allows null here. A document may hide it.
        ref: Name of a component, a key of `Api.schemas`.
        properties: Of an object, in the document's order; those of inline parts of `allOf` included.
        bases: Components in `allOf`, whose properties this object has too.
        additional: Type of further properties; None where the document says nothing or forbids them.
        closed: Whether `additionalProperties` is false; most generators write it without meaning it.
        items: Type of a list's items.
        variants: Types of a union.
        discriminator: How a value says which variant it is.
        enum: Allowed values, without null.
        enum_names: Their names, by `x-enumNames` and its siblings; empty where there are none.
        enum_title: Name of an inline enum, by `x-ms-enum`.
        default: As in the document.
        has_default: Whether it has one; null may be one.
        example: The first example; None for none.
        limits: `pattern`, `minimum`, `maxLength` and so on, as in the document.
        accepts_text: Whether the server reads the number from its text too; it sends the number.
        description: As in the document.
        deprecated: Whether callers should stop using it.
        read_only: Sent by the server alone.
        write_only: Sent by the client alone.
        place: Where it is.
    """

    kind: Kind = "any"
    format: str = ""
    nullable: bool = False
    ref: str = ""
    properties: tuple[Property, ...] = ()
    bases: tuple[str, ...] = ()
    additional: "Schema | None" = None
    closed: bool = field(default=False, compare=False)
    items: "Schema | None" = None
    variants: tuple["Schema", ...] = ()
    discriminator: Discriminator | None = None
    enum: tuple[Any, ...] = ()
    enum_names: tuple[str, ...] = ()
    enum_title: str = ""
    default: Any = None
    has_default: bool = False
    example: Any = field(default=None, compare=False)
    limits: Mapping[str, Any] = field(default_factory=dict)
    accepts_text: bool = field(default=False, compare=False)
    description: str = field(default="", compare=False)
    deprecated: bool = False
    read_only: bool = False
    write_only: bool = False
    place: str = field(default="", compare=False)

    @property
    def is_binary(self) -> bool:
        """Whether the value is bytes as they are, not base64 in JSON."""
        return self.kind == "string" and self.format == "binary"

    def property(self, name: str) -> Property | None:
        """Return the property *name*, read without case; None where there is none."""
        return next((one for one in self.properties if one.name.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Parameter:
    """
    A parameter in path, query, header or cookie.

    Attributes:
        name: As on the wire; in a path spelled as in the braces, whatever the parameter itself says.
        location: Where it is sent.
        required: Always in a path.
        schema: Its type.
        explode: Whether a list repeats the name.
        separator: Between the items of a list, where the name is not repeated.
        description: As in the document.
        example: The first example; None for none.
        deprecated: Whether callers should stop using it.
        place: Where it is.
    """

    name: str
    location: Literal["path", "query", "header", "cookie"]
    required: bool
    schema: Schema
    explode: bool = True
    separator: str = ","
    description: str = field(default="", compare=False)
    example: Any = field(default=None, compare=False)
    deprecated: bool = False
    place: str = field(default="", compare=False)


def _json_of(contents: Mapping[str, Schema]) -> Schema | None:
    return next((schema for media, schema in contents.items() if is_json(media)), None)


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a request: its type by media type, in the document's order."""

    contents: Mapping[str, Schema]
    required: bool = False
    description: str = field(default="", compare=False)
    examples: Mapping[str, Any] = field(default_factory=dict, compare=False)
    place: str = field(default="", compare=False)

    @property
    def json(self) -> Schema | None:
        """Its type as JSON; None where it is not sent as JSON."""
        return _json_of(self.contents)


@dataclass(frozen=True, slots=True)
class Response:
    """
    One response.

    Attributes:
        status: Such as `200`, `4XX` or `default`.
        contents: Its type by media type, in the document's order; none for 204.
        headers: Types of its headers, by name in lower case.
        description: As in the document.
        examples: By media type.
        place: Where it is.
    """

    status: str
    contents: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, Schema] = field(default_factory=dict)
    description: str = field(default="", compare=False)
    examples: Mapping[str, Any] = field(default_factory=dict, compare=False)
    place: str = field(default="", compare=False)

    @property
    def json(self) -> Schema | None:
        """Its type as JSON; None where it is not JSON."""
        return _json_of(self.contents)


@dataclass(frozen=True, slots=True)
class Operation:
    """
    One operation.

    Attributes:
        method: In upper case.
        path: Template with the base path in front, as in the document.
        id: `operationId`; empty where there is none.
        tags: As in the document.
        parameters: Those of the path item included.
        body: None for none.
        responses: By status.
        security: Requirements, one of which is enough: scopes by scheme; empty for none.
    """

    method: str
    path: str
    id: str = field(default="", compare=False)
    tags: tuple[str, ...] = field(default=(), compare=False)
    summary: str = field(default="", compare=False)
    description: str = field(default="", compare=False)
    deprecated: bool = False
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    responses: Mapping[str, Response] = field(default_factory=dict)
    security: tuple[Mapping[str, tuple[str, ...]], ...] = ()
    place: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"

    @property
    def success(self) -> Response | None:
        """The response to expect: the 2xx with JSON, else the first 2xx, else `default`; None where there is none."""
        found = [one for status, one in self.responses.items() if status.startswith("2")]
        if not found and "default" in self.responses:
            found = [self.responses["default"]]
        return next((one for one in found if one.json is not None), found[0] if found else None)


@dataclass(frozen=True, slots=True)
class Api:
    """
    A whole document.

    Attributes:
        version: Of OpenAPI, as in the document.
        generator: What most likely wrote it, for people.
        title: Of the API.
        api_version: Of the API.
        base_path: Path of the first server, or `basePath`, without a slash at its end; each operation's path has it.
        operations: In the document's order.
        schemas: Components by name, and what is referred to elsewhere under a name that is made up.
        security_schemes: As in the document.
        notes: What is formally wrong, or not in the model.
    """

    version: str
    generator: str
    title: str
    api_version: str
    base_path: str
    operations: tuple[Operation, ...]
    schemas: Mapping[str, Schema]
    security_schemes: Mapping[str, Mapping[str, Any]]
    notes: tuple[Note, ...] = field(default=(), compare=False)

    def resolved(self, schema: Schema) -> Schema:
        """Return what *schema* refers to, through references to references; one that never ends is `any`."""
        seen: set[str] = set()
        while schema.kind == "ref":
            if schema.ref in seen or schema.ref not in self.schemas:
                return Schema()
            seen.add(schema.ref)
            schema = self.schemas[schema.ref]
        return schema

    def all_properties(self, schema: Schema) -> dict[str, Property]:
        """Return the properties of an object by name, those of its bases first; a later one replaces an earlier one."""
        found: dict[str, Property] = {}
        self._collect(self.resolved(schema), found, set())
        return found

    def _collect(self, schema: Schema, found: dict[str, Property], seen: set[str]) -> None:
        for name in schema.bases:
            if name not in seen and name in self.schemas:
                seen.add(name)
                self._collect(self.resolved(self.schemas[name]), found, seen)
        found.update((one.name, one) for one in schema.properties)

    def references(self, schema: Schema) -> Iterator[str]:
        """Yield the components that *schema* itself names, each once for each place."""
        if schema.ref:
            yield schema.ref
        yield from schema.bases
        if schema.discriminator:
            yield from schema.discriminator.mapping.values()
        inner = [one.schema for one in schema.properties] + list(schema.variants)
        for one in (*inner, schema.items, schema.additional):
            if one is not None:
                yield from self.references(one)


def is_json(media: str) -> bool:
    """Whether a media type is one JSON document: `application/json`, `text/json`, `*/*` or `…+json`."""
    kind = media.split(";", maxsplit=1)[0].strip().lower()
    return kind in {"application/json", "text/json", "*/*", "application/*"} or kind.endswith("+json")
