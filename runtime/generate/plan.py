"""
Decides what a connector has: its operations, and the models that these need.

Types are those that .NET means (`int`, `Decimal`, `datetime`, `UUID`, `timedelta`). What a document says of `required`,
null and unknown fields is a habit of its generator more than a promise, so that results are read with tolerance.
"""

import builtins
import keyword
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runtime.openapi import (
    Api,
    Note,
    Operation,
    Parameter,
    Property,
    Schema,
    attribute_name,
    class_name,
    operation_names,
    snake,
)
from runtime.openapi.names import PLACEHOLDER, singular, unique

__all__ = [
    "TRANSPORT_HEADERS",
    "VALUE_TYPES",
    "Argument",
    "Enumeration",
    "Field",
    "LeftOut",
    "Method",
    "Model",
    "Options",
    "Plan",
    "Type",
    "make_plan",
    "plain_type",
    "variants_of",
]

_TYPES = frozenset({"Any", "Decimal", "UUID", "bool", "bytes", "date", "datetime", "dict", "field", "float", "int"})
_TYPES |= {"list", "str", "time", "timedelta"}
# Names that the generated module has for itself.
_TAKEN = {"Connector", "Endpoint", "OpenIntEnum", "OpenStrEnum", "PlatformHttpClient", "Protocol", "Spellings"}
_TAKEN |= {"UnknownKeys", "Variants", *_TYPES}
VALUE_TYPES = frozenset({"Decimal", "UUID", "bool", "date", "datetime", "float", "int", "time", "timedelta"})
"""Types that are value types in .NET, which are null only where the document says so; enums are some too."""

_FORMATS = {"date-time": "datetime", "date": "date", "time": "time", "duration": "timedelta", "time-span": "timedelta"}
_FORMATS |= {"date-span": "timedelta", "timespan": "timedelta", "uuid": "UUID", "guid": "UUID", "byte": "bytes"}
_SPAN = r"\d{2}:\d{2}:\d{2}"  # in the pattern that ASP.NET Core writes for a TimeSpan
# Headers that the client or the stack below it sends.
_OURS = {"accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host"}
_OURS |= {"traceparent", "tracestate", "user-agent", "x-correlation-id", "x-mozaiks-app-key"}
# Those that describe the transport: nothing that a caller of a method thinks of, unless the service requires them.
_TRANSPORT = {"accept-charset", "accept-language", "content-disposition", "origin", "prefer", "referer", "x-request-id"}
# Those that a connector may not send.
_NEVER_SENT = {"content-encoding", "cookie", "te", "transfer-encoding"}
TRANSPORT_HEADERS = frozenset({*_OURS, *_TRANSPORT, *_NEVER_SENT, "idempotency-key"})
"""Headers that the client or the stack below it sends, or that describe the transport: no arguments, where optional."""

_KEYED = frozenset({"POST", "PATCH"})  # what an idempotency key is for
_CALLED = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "QUERY"})
_LONGEST_ENUM_NAME = 60


@dataclass(frozen=True, slots=True)
class Options:
    """
    What of a document is wanted.

    Attributes:
        name: Name of the connector, words in lower case joined by underscores.
        tags: Operations with one of these tags; empty for all.
        paths: Operations whose path begins with one of these; empty for all.
        floats: Properties and parameters, or `Model.property`, that are `float`; every other number without
            `format: float` is a Decimal.
    """

    name: str
    tags: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    floats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What the connector does not have, or has in another way than the document says: place, what, and why."""

    place: str
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Type:
    """
    An annotation.

    Attributes:
        text: As written, without None.
        nullable: Whether the document allows null.
        is_value: Whether it is a value type in .NET, which is never null unless the document says so.
        names: Names in it, which the module imports or defines.
    """

    text: str
    nullable: bool = False
    is_value: bool = False
    names: frozenset[str] = frozenset()

    @property
    def optional(self) -> str:
        """The annotation with None."""
        return self.text if self.text == "Any" else f"{self.text} | None"


@dataclass(slots=True)
class Field:
    """A field of a model: its name, its name on the wire, its type, and its default as written; empty for none."""

    name: str
    wire: str
    type: Type
    default: str
    description: str = ""
    is_tag: bool = False

    @property
    def annotation(self) -> str:
        """As written."""
        return (
            self.type.optional
            if self.default == "None" or (self.type.nullable and not self.default)
            else self.type.text
        )


@dataclass(slots=True)
class Model:
    """
    A dataclass.

    Attributes:
        name: Of the class.
        fields: Its own.
        bases: Models that it derives from.
        tag: Key that says which variant a document is; empty where none does; None for a model without variants.
        variants: Subclasses by the values of the tag.
        place: Where the document has it.
    """

    name: str
    fields: list[Field]
    description: str
    bases: list[str] = field(default_factory=list)
    tag: str | None = None
    variants: dict[str, str] = field(default_factory=dict)
    place: str = ""
    sent: bool = False
    received: bool = False


@dataclass(frozen=True, slots=True)
class Enumeration:
    """An enum: names and values of its members."""

    name: str
    members: Mapping[str, str | int]
    description: str
    is_text: bool


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter of a method; `default` as written, empty for none."""

    name: str
    wire: str
    location: str
    type: Type
    default: str
    description: str
    separator: str = ""

    @property
    def annotation(self) -> str:
        """As written."""
        return self.type.optional if self.default == "None" else self.type.text


@dataclass(frozen=True, slots=True)
class Method:
    """
    A method of the connector.

    Attributes:
        name: Its name.
        operation: What it calls.
        path: Path template with the names of arguments.
        arguments: Path and query.
        body: Type of `request`; None for none.
        body_optional: Whether it may be left out.
        result: Type of the result; None for whether it worked.
        documents_key: Whether the document has Idempotency-Key for it.
    """

    name: str
    operation: Operation
    path: str
    arguments: tuple[Argument, ...]
    body: Type | None
    body_optional: bool
    result: Type | None
    documents_key: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What a connector has; `left_out` and `notes` are for people."""

    options: Options
    api: Api
    methods: tuple[Method, ...]
    models: tuple[Model, ...]
    enums: tuple[Enumeration, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[Note, ...]


class _NotExpressedError(Exception):
    """An operation that the client cannot call, and why."""


def make_plan(api: Api, options: Options) -> Plan:
    """Decide what the connector has."""
    return _Planner(api, options).plan()


class _Planner:
    def __init__(self, api: Api, options: Options) -> None:
        self._api = api
        self._options = options
        self._models: dict[str, Model] = {}  # by component, or by name where the schema is inline
        self._enums: dict[str, Enumeration] = {}
        self._classes: dict[str, str] = {}  # component -> class
        self._left_out: dict[LeftOut, None] = {}
        self._floats = {snake(one.rpartition(".")[2]) if "." not in one else one.lower() for one in options.floats}
        self._sending = False
        title = "".join(part.capitalize() for part in options.name.split("_"))
        self._taken = {*_TAKEN, f"{title}Connector", f"Managed{title}Connector", f"Mock{title}Connector"}
        self._taken.add(options.name.upper())
        self._variant_of = self._find_variants()

    def plan(self) -> Plan:
        chosen = [one for one in self._api.operations if self._is_chosen(one)]
        reserved = {*dir(builtins), *_TYPES}
        names = operation_names(self._api.operations, reserved)
        methods = []
        for operation in chosen:
            try:
                methods.append(self._method(operation, names[operation.key]))
            except _NotExpressedError as error:
                self._leave_out(operation.place, f"operation {operation.key}", str(error))
        models = self._ordered()
        for model in models:
            self._set_defaults(model)
        return Plan(
            options=self._options,
            api=self._api,
            methods=tuple(methods),
            models=tuple(models),
            enums=tuple(self._enums.values()),
            left_out=tuple(self._left_out),
            notes=self._api.notes,
        )

    def _is_chosen(self, operation: Operation) -> bool:
        tags = {one.lower() for one in self._options.tags}
        if tags and not tags & {one.lower() for one in operation.tags}:
            return False
        return not self._options.paths or any(_is_below(operation.path, one) for one in self._options.paths)

    def _leave_out(self, place: str, what: str, why: str) -> None:
        self._left_out[LeftOut(place, what, why)] = None

    # --- operations -------------------------------------------------------------------------------------------------

    def _method(self, operation: Operation, name: str) -> Method:
        if operation.method not in _CALLED:
            raise _NotExpressedError(f"the client does not send {operation.method}")
        if not operation.path.isprintable():
            raise _NotExpressedError("its path has a character that is not printed")
        content = operation.body.json if operation.body else None
        if operation.body and content is None:
            raise _NotExpressedError(
                f"its body is {', '.join(operation.body.contents) or 'of no type'}; the client sends JSON"
            )
        success = operation.success
        if success and success.contents and success.json is None:
            raise _NotExpressedError(f"its response is {', '.join(success.contents)}; the client reads JSON")
        if success and success.json and success.json.is_binary:
            raise _NotExpressedError("its response is a file; the client reads JSON")
        sent = [one for one in operation.parameters if self._is_sent(operation, one)]
        title = class_name("".join(part.capitalize() for part in name.split("_")))
        self._sending = True
        body = None if content is None else self._type(content, f"{title}Request")
        arguments, path = self._arguments(operation, sent, title)
        self._sending = False
        result = self._result(operation, title)
        keys = {one.name.lower() for one in operation.parameters if one.location == "header"}
        return Method(
            name=name,
            operation=operation,
            path=path,
            arguments=tuple(arguments),
            body=body,
            body_optional=bool(
                operation.body and not operation.body.required and operation.method in {"GET", "DELETE"}
            ),
            result=result,
            documents_key="idempotency-key" in keys and operation.method in _KEYED,
        )

    def _result(self, operation: Operation, title: str) -> Type | None:
        success = operation.success
        schema = success.json if success else None
        if success is None or schema is None:
            return None
        others = [
            one.status for one in operation.responses.values() if one.status.startswith("2") and one is not success
        ]
        if others:
            why = f"the result is that of {success.status}; one without content is read as an empty document"
            self._leave_out(operation.place, f"{operation.key}: responses {', '.join(others)}", why)
        resolved = self._api.resolved(schema)
        if resolved.kind in {"any", "union"} and not self._variants(resolved):
            why = "the document does not say what it is; the result is whether the operation worked"
            self._leave_out(success.place, f"{operation.key}: response {success.status}", why)
            return None
        found = self._type(schema, f"{title}Result")
        if found.text == "dict[str, Any]":
            return self._free_form(f"{title}Result", resolved)
        if "Any" in found.names:
            return self._free_form(f"{title}Result", resolved) if found.text.startswith("dict") else None
        return found

    def _free_form(self, name: str, schema: Schema) -> Type:
        chosen = unique(class_name(name), self._taken)
        self._taken.add(chosen)
        rest = Field("extra", "", Type("UnknownKeys", names=frozenset({"UnknownKeys"})), "field(default_factory=dict)")
        self._models[chosen] = Model(chosen, [rest], schema.description, place=schema.place, received=True)
        return Type(chosen, names=frozenset({chosen}))

    def _arguments(self, operation: Operation, sent: Sequence[Parameter], title: str) -> tuple[list[Argument], str]:
        taken = {"self", "request", "user_jwt", "correlation_id"}
        found: list[Argument] = []
        path = operation.path
        order = PLACEHOLDER.findall(operation.path)
        for one in sorted(sent, key=lambda row: order.index(row.name) if row.location == "path" else len(order)):
            name = self._argument_name(operation, one, taken)
            taken.add(name)
            kind = self._parameter_type(one, title, operation)
            default = "" if one.required else "None"
            if one.required and one.location == "query" and one.name.lower().replace("_", "-") == "api-version":
                version = one.example if isinstance(one.example, str) else one.schema.default
                default = repr(version).replace("'", '"') if isinstance(version, str) else ""
            if one.location == "path":
                path = path.replace(f"{{{one.name}}}", f"{{{name}}}")
            separator = "" if one.explode or not kind.text.startswith("list[") else one.separator
            found.append(Argument(name, one.name, one.location, kind, default, one.description, separator))
        return found, path

    def _is_sent(self, operation: Operation, one: Parameter) -> bool:
        """
        Return whether a parameter is an argument; those that are none are listed.

        Raises:
            _NotExpressedError: The operation requires one that the client cannot send.
        """
        if one.location in {"path", "query"}:
            return True
        lower, never = one.name.lower(), ""
        if one.location == "cookie":
            never = "the client sends no cookies"
        elif lower in _NEVER_SENT or (lower == "idempotency-key" and operation.method not in _KEYED):
            never = "the client does not send it"
        if never and one.required:
            raise _NotExpressedError(f"it requires the {one.location} {one.name}; {never}")
        why = never
        if lower == "idempotency-key" and not never:
            why = "the client makes it, one for each call"
        elif lower in _OURS:
            why = "the client and its settings send it"
        elif lower in _TRANSPORT and not one.required:
            why = "it describes the transport, and the service does not require it"
        if why:
            self._leave_out(one.place, f"{operation.key}: {one.location} {one.name}", why)
        return not why

    def _argument_name(self, operation: Operation, one: Parameter, taken: set[str]) -> str:
        name = attribute_name(one.name)
        if name == "id" and one.location == "path":
            before = operation.path.split(f"{{{one.name}}}")[0].rstrip("/").split("/")
            fixed = [snake(part) for part in before if "{" not in part and snake(part)]
            name = f"{singular(fixed[-1])}_id" if fixed else "id"
        if name in dir(builtins) or name in {"request", "self"} or keyword.issoftkeyword(name):
            name = f"{name}_"
        return unique(name, taken) if name not in taken else unique(f"{one.location}_{name}", taken)

    def _parameter_type(self, one: Parameter, title: str, operation: Operation) -> Type:
        context = f"{title}{class_name(snake(one.name).title().replace('_', ''))}"
        found = self._type(one.schema, context, name=one.name)
        plain = found.text in VALUE_TYPES | {"str"} or found.text in self._enum_names()
        if plain:
            return replace(found, text="Decimal") if one.location == "path" and found.text == "float" else found
        inner = found.text.removeprefix("list[").removesuffix("]") if found.text.startswith("list[") else ""
        if one.location != "path" and (inner in VALUE_TYPES | {"str"} or inner in self._enum_names()):
            return found
        if found.text not in {"Any", "bytes"}:
            why = "an object in a parameter has no notation that services agree on; the argument is sent as a text"
            self._leave_out(one.place, f"{operation.key}: parameter {one.name}", why)
        return Type("str", found.nullable)

    def _enum_names(self) -> set[str]:
        return {one.name for one in self._enums.values()}

    # --- types ------------------------------------------------------------------------------------------------------

    def _type(self, schema: Schema, context: str, name: str = "") -> Type:
        """
        Return the annotation of *schema*.

        Args:
            schema: The type.
            context: Name of the class where the schema is inline.
            name: Of the property or parameter.
        """
        target, nullable = schema, schema.nullable
        key = ""
        if schema.kind == "ref":
            target = self._api.resolved(schema)
            key = next((one for one, known in self._api.schemas.items() if known is target), schema.ref)
            nullable = nullable or target.nullable
        if target.enum and target.kind in {"string", "integer"}:
            return replace(self._enum(target, key, context), nullable=nullable)
        if self._variants(target):
            return replace(self._model(target, key, context), nullable=nullable)
        if target.kind == "object":
            if target.properties or target.bases or key in self._variant_of:
                return replace(self._model(target, key, context), nullable=nullable)
            values = Type("Any", names=frozenset({"Any"}))
            if target.additional is not None:
                values = self._type(target.additional, f"{context}Value", name)
            text = values.optional if values.nullable else values.text
            return Type(f"dict[str, {text}]", nullable, names=values.names)
        if target.kind == "array":
            item = self._type(target.items or Schema(), f"{context}Item", name)
            text = item.optional if item.nullable else item.text
            return Type(f"list[{text}]", nullable, names=item.names)
        if target.kind == "union":
            why = "one of several types, and nothing says which; any value"
            self._leave_out(target.place, f"type {context}", why)
        text = self._plain(target, name, context)
        return Type(text, nullable, is_value=text in VALUE_TYPES, names=frozenset({text}))

    def _plain(self, schema: Schema, name: str, context: str) -> str:
        is_float = snake(name) in self._floats or f"{context}.{name}".lower() in self._floats
        return "float" if schema.kind == "number" and is_float else plain_type(schema)

    def _enum(self, schema: Schema, key: str, context: str) -> Type:
        if schema.kind == "integer" and not schema.enum_names:
            if not key:
                return Type("int", is_value=True, names=frozenset({"int"}))
            self._leave_out(schema.place, f"enum {key}", "its numbers have no names; int")
            return Type("int", is_value=True, names=frozenset({"int"}))
        known = self._enums.get(key) if key else None
        if known is None:
            wanted = key or schema.enum_title or context
            same = self._enums.get(f"inline {wanted}")
            members = self._members(schema)
            if same is not None and same.members == members:
                known = same
            else:
                chosen = unique(class_name(wanted), self._taken)
                self._taken.add(chosen)
                known = Enumeration(chosen, members, schema.description, schema.kind == "string")
                self._enums[key or (f"inline {wanted}" if same is None else f"inline {chosen}")] = known
        return Type(known.name, is_value=True, names=frozenset({known.name}))

    def _members(self, schema: Schema) -> dict[str, Any]:
        found: dict[str, Any] = {}
        given = schema.enum_names or tuple(str(one) for one in schema.enum)
        for name, value in zip(given, schema.enum, strict=True):
            wanted = snake(name).upper()[:_LONGEST_ENUM_NAME].rstrip("_") or ("EMPTY" if name == "" else "VALUE")
            if wanted[0].isdigit():
                wanted = f"N{wanted}"
            if value not in found.values():
                found[unique(wanted, found)] = value
        return found

    # --- models -----------------------------------------------------------------------------------------------------

    def _find_variants(self) -> dict[str, list[str]]:
        """Return for each component the components that it is a variant of."""
        found: dict[str, list[str]] = {}
        for name, schema in self._api.schemas.items():
            for variant in self._variants(schema).values():
                if variant != name:
                    bases = found.setdefault(variant, [])
                    if name not in bases and variant not in self._ancestors(name, found):
                        bases.append(name)
        return found

    def _ancestors(self, name: str, known: Mapping[str, Sequence[str]]) -> set[str]:
        found, waiting = set[str](), list(known.get(name, ()))
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += known.get(one, ())
        return found

    def _variants(self, schema: Schema) -> dict[str, str]:
        return variants_of(self._api, schema)

    def _model(self, schema: Schema, key: str, context: str) -> Type:
        known = self._classes.get(key) if key else None
        if known is None:
            known = unique(class_name(key or context), self._taken)
            self._taken.add(known)
            if key:
                self._classes[key] = known
            model = Model(known, [], schema.description, place=schema.place)
            self._models[key or known] = model
            self._fill(model, schema, key)
        self._mark(key or known)
        return Type(known, names=frozenset({known}))

    def _mark(self, key: str) -> None:
        """Note whether a model is sent or received, and so the models in it."""
        model = self._models[key]
        if (model.sent if self._sending else model.received) is True:
            return
        if self._sending:
            model.sent = True
        else:
            model.received = True
        inner = (
            {name for one in model.fields for name in one.type.names} | set(model.variants.values()) | set(model.bases)
        )
        for other, known in self._models.items():
            if known.name in inner:
                self._mark(other)

    def _fill(self, model: Model, schema: Schema, key: str) -> None:
        tags: dict[str, tuple[str, str]] = {}  # lower case -> name on the wire, value
        inherited: set[str] = set()
        for base in self._variant_of.get(key, ()):
            self._model(self._api.schemas[base], base, base)
            model.bases.append(self._classes[base])
            inherited |= {name.lower() for name in self._api.all_properties(self._api.schemas[base])}
            found = self._api.schemas[base].discriminator
            if found:
                value = next((tag for tag, one in found.mapping.items() if one == key), key)
                tags[found.name.lower()] = found.name, value
        names: set[str] = set()
        for wire, one in self._api.all_properties(schema).items():
            name = self._field_name(wire, names)
            names.add(name)
            if wire.lower() in tags:
                _, value = tags.pop(wire.lower())
                model.fields.append(_tag(name, wire, value))
            elif schema.discriminator and self._variants(schema) and wire.lower() == schema.discriminator.name.lower():
                model.fields.append(_tag(name, wire, ""))  # its variants have a value
            elif wire.lower() not in inherited:
                model.fields.append(self._field(model, key, name, wire, one))
        for wire, value in tags.values():  # a discriminator that is no property
            names.add(name := self._field_name(wire, names))
            model.fields.append(_tag(name, wire, value))
        if variants := self._variants(schema):
            self._fill_variants(model, schema, variants, names)

    def _field(self, model: Model, key: str, name: str, wire: str, one: Property) -> Field:
        kind = self._type(one.schema, f"{model.name}{class_name(wire)}", wire)
        if f"{key}.{wire}".lower() in self._floats and kind.text == "Decimal":
            kind = Type("float", kind.nullable, is_value=True, names=frozenset({"float"}))
        return Field(name, wire, kind, "" if one.required else "None", one.schema.description)

    def _fill_variants(self, model: Model, schema: Schema, variants: Mapping[str, str], names: set[str]) -> None:
        model.tag = schema.discriminator.name if schema.discriminator else ""
        if not model.bases:
            rest = Type("UnknownKeys", names=frozenset({"UnknownKeys"}))
            model.fields.append(Field(unique("extra", names), "", rest, "field(default_factory=dict, repr=False)"))
        for value, name in variants.items():
            if self._api.schemas[name] is not schema:
                self._model(self._api.resolved(self._api.schemas[name]), name, name)
                model.variants[value] = self._classes[name]

    def _field_name(self, wire: str, names: set[str]) -> str:
        name = attribute_name(wire)
        return unique(f"{name}_" if name in _TYPES else name, names)

    def _set_defaults(self, model: Model) -> None:
        """Results are read with tolerance: of a response alone value types are required, others may be null."""
        for one in model.fields:
            if one.is_tag or one.default.startswith("field("):
                continue
            if model.received and not one.type.is_value:
                one.default = "None"
                if not model.sent and one.type.text.startswith(("list[", "dict[")):
                    one.default = f"field(default_factory={one.type.text.partition('[')[0]})"
            elif one.type.nullable:
                one.default = "None"

    def _ordered(self) -> list[Model]:
        """Return the models with each base in front of what derives from it, else in the order of their use."""
        by_name = {one.name: one for one in self._models.values()}
        found: dict[str, Model] = {}

        def add(model: Model) -> None:
            for base in model.bases:
                if base not in found:
                    add(by_name[base])
            found.setdefault(model.name, model)

        for one in self._models.values():
            add(one)
        return list(found.values())


def plain_type(schema: Schema) -> str:
    """Return the type of a value that is no list or object, as written: `int`, `datetime`, `Any` and so on."""
    if schema.kind == "string":
        is_span = _SPAN in str(schema.limits.get("pattern", ""))
        return "timedelta" if is_span else _FORMATS.get(schema.format, "str")
    if schema.kind == "number":
        return "float" if schema.format == "float" else "Decimal"
    return {"integer": "int", "boolean": "bool"}.get(schema.kind, "Any")


def variants_of(api: Api, schema: Schema) -> dict[str, str]:
    """Return the components that a value of *schema* may be, by the tag's value; by their names without a tag."""
    if schema.kind == "ref":
        return {}
    if schema.discriminator:
        mapping = {tag: name for tag, name in schema.discriminator.mapping.items() if _is_object(api, name)}
        if mapping:
            return mapping
    if schema.kind == "union" and all(one.kind == "ref" and _is_object(api, one.ref) for one in schema.variants):
        return {one.ref: one.ref for one in schema.variants}
    return {}


def _is_object(api: Api, name: str) -> bool:
    found = api.schemas.get(name)
    return found is not None and api.resolved(found).kind in {"object", "union"}


def _tag(name: str, wire: str, value: str) -> Field:
    return Field(name, wire, Type("str", names=frozenset({"str"})), f'"{value}"', is_tag=True)


def _is_below(path: str, wanted: str) -> bool:
    prefix = "/" + wanted.strip("/").lower()
    return f"{path.lower()}/".startswith(f"{prefix}/") or path.lower() == prefix


def wire_names(model: Model, models: Mapping[str, Model]) -> Iterator[Field]:
    """Yield the fields of a model, those of its bases first."""
    for base in model.bases:
        yield from wire_names(models[base], models)
    yield from model.fields
