"""Makes the model of a document: versions and generators differ in notation, and the model does not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import urlsplit

from .documents import Document, DocumentError
from .model import Api, Body, Discriminator, Note, Operation, Parameter, Property, Response, Schema
from .names import PLACEHOLDER

__all__ = ["read"]

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
_LIMITS: tuple[str, ...] = (
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
)
_LIMITS += ("maxLength", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties")
_TYPES = frozenset({"string", "integer", "number", "boolean", "array", "object"})
# Microsoft.AspNetCore.OpenApi writes a format without a type when it is asked for OpenAPI 3.0.
_BY_FORMAT = {
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"), "integer"),
    **dict.fromkeys(("float", "double", "decimal"), "number"),
    **dict.fromkeys(("date-time", "date", "time", "uuid", "guid", "uri", "binary", "byte", "email"), "string"),
}
_SEPARATORS = {"csv": ",", "ssv": " ", "tsv": "\t", "pipes": "|", "spaceDelimited": " ", "pipeDelimited": "|"}
_WITHOUT_BODY = frozenset({"204", "205", "304"})
_DEEPEST = 200


def read(document: Document) -> Api:
    """
    Read a document of OpenAPI 2.0, 3.0, 3.1 or 3.2.

    A formal error is a `Note`, and what is wrong is read as it is most likely meant.

    Raises:
        DocumentError: The version is another one, or the document has no paths where they must be.
    """
    return _Reader(document).api()


class _Reader:
    """One reading of one document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._root = document.root
        self._version = str(self._root.get("swagger", self._root.get("openapi", "")))
        self._is_2 = "swagger" in self._root
        known = "2.0" if self._is_2 else "3.0, 3.1 and 3.2"
        if not self._version.startswith(("2.",) if self._is_2 else ("3.0", "3.1", "3.2")):
            raise DocumentError("/swagger" if self._is_2 else "/openapi", f"version {self._version} is not {known}")
        self._notes: dict[Note, None] = {}
        self._schemas: dict[str, Schema] = {}
        self._pending: list[tuple[str, str]] = []  # components that are referred to where they are not kept
        self._names: dict[str, str] = {}

    # --- the whole --------------------------------------------------------------------------------------------------

    def api(self) -> Api:
        where = "/definitions" if self._is_2 else "/components/schemas"
        components = self._mapping(self._at(where), where)
        self._names = {f"{where}/{_escaped(name)}": name for name in components}
        for name, raw in components.items():
            self._schemas[name] = self._schema(raw, f"{where}/{_escaped(name)}")
        info = self._mapping(self._root.get("info"), "/info")
        base = self._base_path()
        operations = tuple(self._operations(base))
        while self._pending:
            pointer, name = self._pending.pop()
            self._schemas[name] = self._schema(self._document.at(pointer), pointer)
        self._complete_discriminators()
        self._open_endless()
        schemes = self._at("/securityDefinitions" if self._is_2 else "/components/securitySchemes")
        return Api(
            version=self._version,
            generator=self._generator(),
            title=_text(info.get("title")),
            api_version=_text(info.get("version")),
            base_path=base,
            operations=operations,
            schemas=self._schemas,
            security_schemes={name: one for name, one in self._mapping(schemes).items() if isinstance(one, Mapping)},
            notes=tuple(self._notes),
        )

    def _note(self, place: str, text: str) -> None:
        self._notes[Note(place, text)] = None

    def _at(self, pointer: str) -> Any:
        try:
            return self._document.at(pointer)
        except KeyError:
            return None

    def _mapping(self, value: Any, place: str = "") -> Mapping[str, Any]:
        if isinstance(value, Mapping):
            return value
        if value is not None and place:
            self._note(place, f"must be an object, is {type(value).__name__}")
        return {}

    def _list(self, value: Any, place: str) -> Sequence[Any]:
        if isinstance(value, list):
            return value
        if value is not None:
            self._note(place, f"must be a list, is {type(value).__name__}")
        return ()

    def _generator(self) -> str:
        named = self._root.get("x-generator")
        if isinstance(named, str):
            return named.split(" (")[0]
        if any(key.startswith("x-ms-") for key in self._root):
            return "export"
        if self._version >= "3.1":
            return "Microsoft.AspNetCore.OpenApi"
        closed = any(one.closed for one in self._schemas.values())
        return "Swashbuckle" if closed else "Microsoft.AspNetCore.OpenApi"

    def _base_path(self) -> str:
        if self._is_2:
            return _text(self._root.get("basePath")).rstrip("/")
        servers = self._list(self._root.get("servers"), "/servers")
        url = _text(self._mapping(servers[0]).get("url")) if servers else ""
        for name, variable in self._mapping(self._mapping(servers[0]).get("variables") if servers else None).items():
            url = url.replace(f"{{{name}}}", str(self._mapping(variable).get("default", "")))
        try:
            path = urlsplit(url).path.rstrip("/")
        except ValueError:
            path = ""
        return path if path.startswith("/") else f"/{path}" if path else ""

    # --- operations -------------------------------------------------------------------------------------------------

    def _operations(self, base: str) -> Iterator[Operation]:
        paths = self._root.get("paths")
        if paths is not None and not isinstance(paths, Mapping):
            raise DocumentError("/paths", f"must be an object, is {type(paths).__name__}")
        seen: set[str] = set()
        for path, item in (paths or {}).items():
            place = f"/paths/{_escaped(path)}"
            if path.startswith("x-"):
                continue
            followed, place = self._followed(item, place)
            raw = self._mapping(followed, place)
            additional = self._mapping(raw.get("additionalOperations"))
            found = [(method, raw[method], f"{place}/{method}") for method in _METHODS if method in raw]
            found = sorted(found, key=lambda row: list(raw).index(row[0]))
            found += [(name, one, f"{place}/additionalOperations/{name}") for name, one in additional.items()]
            shared = self._list(raw.get("parameters"), f"{place}/parameters")
            rows = [(one, f"{place}/parameters/{index}") for index, one in enumerate(shared)]
            for method, one, at in found:
                if not isinstance(one, Mapping):
                    self._note(at, f"must be an object, is {type(one).__name__}")
                    continue
                if isinstance(one.get("operationId"), str) and one["operationId"] in seen:
                    self._note(f"{at}/operationId", f"is the id of two operations: {one['operationId']}")
                seen.add(_text(one.get("operationId")))
                yield self._operation(method.upper(), base + path, one, at, shared=rows)

    def _operation(
        self, method: str, path: str, raw: Mapping[str, Any], place: str, *, shared: Sequence[tuple[Any, str]]
    ) -> Operation:
        full = path if path.startswith("/") else f"/{path}"
        if "?" in full:
            self._note(place, "a path has no query; it is left out")
            full = full.partition("?")[0]
        own = self._list(raw.get("parameters"), f"{place}/parameters")
        rows = [*shared, *((one, f"{place}/parameters/{index}") for index, one in enumerate(own))]
        followed = [(self._mapping(one, where), where) for one, where in (self._followed(*row) for row in rows)]
        parameters: dict[tuple[str, str], Parameter] = {}
        for one, where in followed:
            if one.get("in") in ("body", "formData"):
                continue
            found = self._parameter(one, where, full)
            if found is not None:
                parameters[found.location, found.name] = found
        for name in PLACEHOLDER.findall(full):
            if ("path", name) not in parameters:
                self._note(place, f"the path has {{{name}}}, and no parameter is declared for it")
                parameters["path", name] = Parameter(name, "path", True, Schema("string", place=place), place=place)
        consumes = raw.get("consumes", self._root.get("consumes")) or ["application/json"]
        body = (
            self._body_2(followed, consumes)
            if self._is_2
            else self._body(raw.get("requestBody"), f"{place}/requestBody")
        )
        produces = raw.get("produces", self._root.get("produces")) or ["application/json"]
        security = raw.get("security", self._root.get("security"))
        return Operation(
            method=method,
            path=full,
            id=_text(raw.get("operationId")),
            tags=tuple(str(tag) for tag in self._list(raw.get("tags"), f"{place}/tags")),
            summary=_text(raw.get("summary")),
            description=_text(raw.get("description")),
            deprecated=raw.get("deprecated") is True,
            parameters=tuple(parameters.values()),
            body=body,
            responses=self._responses(raw.get("responses"), f"{place}/responses", produces),
            security=tuple(
                {name: tuple(map(str, scopes if isinstance(scopes, list) else ())) for name, scopes in one.items()}
                for one in self._list(security, f"{place}/security")
                if isinstance(one, Mapping)
            ),
            place=place,
        )

    def _parameter(self, raw: Mapping[str, Any], place: str, path: str) -> Parameter | None:
        name, location = _text(raw.get("name")), raw.get("in")
        if not name or location not in ("path", "query", "header", "cookie"):
            self._note(place, f"is no parameter: name {name!r}, in {location!r}")
            return None
        where: Literal["path", "query", "header", "cookie"] = location
        if where == "path":
            braces = PLACEHOLDER.findall(path)
            spelled = next((one for one in braces if one.lower() == name.lower()), None)
            if spelled is None:
                self._note(place, f"the path has no {{{name}}}; the parameter is left out")
                return None
            if spelled != name:
                self._note(place, f"the path has {{{spelled}}}, the parameter is named {name}")
            name = spelled
        content = self._mapping(raw.get("content"))
        if content:
            media = next(iter(content))
            schema = self._schema(
                self._mapping(content[media]).get("schema", {}), f"{place}/content/{_escaped(media)}/schema"
            )
            self._note(place, f"the parameter is sent as {media}")
        else:
            schema = self._schema(
                raw if self._is_2 else raw.get("schema", {}), place if self._is_2 else f"{place}/schema"
            )
        style = raw.get("collectionFormat", "csv") if self._is_2 else raw.get("style", "form")
        exploded = style == "multi" if self._is_2 else raw.get("explode", style == "form") is not False
        if where != "query":
            exploded = False
        return Parameter(
            name=name,
            location=where,
            required=where == "path" or raw.get("required") is True,
            schema=schema,
            explode=exploded,
            separator=_SEPARATORS.get(style, ","),
            description=_text(raw.get("description")),
            example=_example(raw) if _example(raw) is not None else schema.example,
            deprecated=raw.get("deprecated") is True,
            place=place,
        )

    def _body(self, raw: Any, place: str) -> Body | None:
        raw, place = self._followed(raw, place)
        found = self._mapping(raw, place)
        if not found:
            return None
        contents, examples = self._contents(found.get("content"), f"{place}/content")
        return Body(contents, found.get("required") is True, _text(found.get("description")), examples, place)

    def _body_2(self, rows: Sequence[tuple[Mapping[str, Any], str]], consumes: Sequence[str]) -> Body | None:
        fields: list[Property] = []
        for raw, place in rows:
            if raw.get("in") == "body":
                schema = self._schema(raw.get("schema", {}), f"{place}/schema")
                return Body(
                    {str(media): schema for media in consumes},
                    raw.get("required") is True,
                    _text(raw.get("description")),
                    place=place,
                )
            if raw.get("in") == "formData":
                fields.append(Property(_text(raw.get("name")), self._schema(raw, place), raw.get("required") is True))
        if not fields:
            return None
        form = [media for media in consumes if "form" in media]
        if not form:
            has_file = any(one.schema.is_binary for one in fields)
            form = ["multipart/form-data" if has_file else "application/x-www-form-urlencoded"]
        schema = Schema("object", properties=tuple(fields))
        return Body(dict.fromkeys(form, schema), any(one.required for one in fields))

    def _contents(self, raw: Any, place: str) -> tuple[dict[str, Schema], dict[str, Any]]:
        contents: dict[str, Schema] = {}
        examples: dict[str, Any] = {}
        for media, one in self._mapping(raw, place).items():
            followed, at = self._followed(one, f"{place}/{_escaped(media)}")
            found = self._mapping(followed, at)
            if "itemSchema" in found and "schema" not in found:  # OpenAPI 3.2: one item of a stream
                contents[media] = Schema("array", items=self._schema(found["itemSchema"], f"{at}/itemSchema"), place=at)
            else:
                contents[media] = self._schema(found.get("schema", {}), f"{at}/schema")
            if (example := _example(found)) is not None:
                examples[media] = example
        return contents, examples

    def _responses(self, raw: Any, place: str, produces: Sequence[str]) -> dict[str, Response]:
        responses: dict[str, Response] = {}
        for status, one in self._mapping(raw, place).items():
            if str(status).startswith("x-"):
                continue
            followed, at = self._followed(one, f"{place}/{_escaped(str(status))}")
            found = self._mapping(followed, at)
            if self._is_2:
                contents: dict[str, Schema] = {}
                if "schema" in found:
                    contents = dict.fromkeys(map(str, produces), self._schema(found["schema"], f"{at}/schema"))
                examples = dict(self._mapping(found.get("examples")))
            else:
                contents, examples = self._contents(found.get("content"), f"{at}/content")
            if status in _WITHOUT_BODY and contents:
                self._note(at, f"{status} has no body; the content is left out")
                contents = {}
            headers = {}
            for name, header in self._mapping(found.get("headers"), f"{at}/headers").items():
                inner, where = self._followed(header, f"{at}/headers/{_escaped(name)}")
                kept = self._mapping(inner, where)
                headers[name.lower()] = self._schema(kept if self._is_2 else kept.get("schema", {}), where)
            responses[str(status)] = Response(
                str(status), contents, headers, _text(found.get("description")), examples, at
            )
        return responses

    def _followed(self, raw: Any, place: str) -> tuple[Any, str]:
        """Return what *raw* refers to and its place, where it is a reference to a parameter, a response and so on."""
        seen: set[str] = set()
        while isinstance(raw, Mapping) and isinstance(raw.get("$ref"), str):
            pointer = raw["$ref"]
            if pointer in seen or not pointer.startswith("#"):
                self._note(place, f"refers to {pointer}, which is not read")
                return None, place
            seen.add(pointer)
            try:
                raw, place = self._document.at(pointer), pointer.removeprefix("#")
            except KeyError:
                self._note(place, f"refers to {pointer}, which is not there")
                return None, place
        return raw, place

    # --- schemas ----------------------------------------------------------------------------------------------------

    def _schema(self, raw: Any, place: str, depth: int = 0) -> Schema:  # noqa: C901, PLR0911 - one return for each form
        if raw is True or raw is None or raw == {}:
            return Schema(place=place)
        if not isinstance(raw, Mapping):
            if raw is not False:
                self._note(place, f"must be a schema, is {type(raw).__name__}")
            return Schema(place=place)
        if depth > _DEEPEST:
            raise DocumentError(place, "is nested too deeply")
        if isinstance(raw.get("$ref"), str):
            return self._reference(raw, place)
        for key in ("oneOf", "anyOf"):
            if key in raw:
                return self._union(raw, key, place, depth)
        if "allOf" in raw:
            return self._all_of(raw, place, depth)
        kind, nullable = self._kind(raw, place)
        if kind == "file":
            kind, raw = "string", {**raw, "format": "binary"}
        common = self._common(raw, place, nullable=nullable, kind=kind)
        if kind == "array":
            return Schema("array", items=self._schema(raw.get("items"), f"{place}/items", depth + 1), **common)
        if kind == "object":
            return Schema("object", **self._object(raw, place, depth), **common)
        return Schema(kind, **common)

    def _kind(self, raw: Mapping[str, Any], place: str) -> tuple[Any, bool]:  # noqa: PLR0911 - as above
        """Return the type, and whether null is one of its types."""
        given = raw.get("type")
        types = [one for one in (given if isinstance(given, list) else [given]) if one is not None]
        types = [one if isinstance(one, str) else repr(one) for one in types]
        nullable = "null" in types
        types = [one for one in types if one != "null"]
        listed = self._list(raw.get("enum"), f"{place}/enum")
        values = [one for one in listed if one is not None]
        if nullable is False and len(values) < len(listed):
            nullable = True
        if len(types) > 1 and "string" in types and {"integer", "number"} & set(types):
            # ASP.NET Core accepts a number's text, and sends the number.
            types = [one for one in types if one != "string"]
        if set(types) == {"integer", "number"}:
            types = ["number"]
        if len(types) == 1 and types[0] in _TYPES | {"file"}:
            return types[0], nullable
        if len(types) > 1:
            self._note(place, f"is one of the types {', '.join(map(str, types))}; read as any value")
            return "any", nullable
        if types:
            self._note(place, f"there is no type {types[0]}; read as any value")
            return "any", nullable
        if values:
            return _kind_of(values), nullable
        if _text(raw.get("format")) in _BY_FORMAT:
            return _BY_FORMAT[_text(raw["format"])], nullable
        if "properties" in raw or isinstance(raw.get("additionalProperties"), Mapping):
            return "object", nullable
        return "array" if "items" in raw else "any", nullable

    def _common(self, raw: Mapping[str, Any], place: str, *, nullable: bool, kind: str = "") -> dict[str, Any]:
        enum = tuple(one for one in self._list(raw.get("enum"), f"{place}/enum") if one is not None)
        if "const" in raw:
            enum = (raw["const"],)
        names = raw.get("x-enumNames", raw.get("x-enum-varnames", raw.get("x-enumVarNames")))
        named = tuple(map(str, names)) if isinstance(names, list) and len(names) == len(enum) else ()
        title = self._mapping(raw.get("x-ms-enum")).get("name", "")
        limits = {key: raw[key] for key in _LIMITS if key in raw}
        accepts_text = kind in {"integer", "number"} and "string" in (raw.get("type") or ["string"])
        if kind in {"integer", "number"}:
            limits.pop("pattern", None)  # of the number's text, which ASP.NET Core accepts too
        return {
            "format": _text(raw.get("format")).lower(),
            "nullable": nullable or raw.get("nullable") is True or raw.get("x-nullable") is True,
            "enum": enum,
            "enum_names": named,
            "enum_title": title if isinstance(title, str) else "",
            "default": raw.get("default"),
            "has_default": "default" in raw,
            "example": _example(raw),
            "limits": limits,
            "accepts_text": accepts_text,
            "description": _text(raw.get("description")) or _text(raw.get("title")),
            "deprecated": raw.get("deprecated") is True,
            "read_only": raw.get("readOnly") is True,
            "write_only": raw.get("writeOnly") is True,
            "place": place,
        }

    def _object(self, raw: Mapping[str, Any], place: str, depth: int) -> dict[str, Any]:
        required = (
            [str(one) for one in self._list(raw.get("required"), f"{place}/required")]
            if not isinstance(raw.get("required"), bool)
            else []
        )
        wanted = {one.lower() for one in required}
        properties = []
        for name, one in self._mapping(raw.get("properties"), f"{place}/properties").items():
            schema = self._schema(one, f"{place}/properties/{_escaped(name)}", depth + 1)
            properties.append(Property(name, schema, name.lower() in wanted))
        known = {one.name.lower() for one in properties}
        for name in required:
            if properties and name.lower() not in known and "allOf" not in raw:
                self._note(f"{place}/required", f"names {name}, which is no property")
        additional = raw.get("additionalProperties")
        return {
            "properties": tuple(properties),
            "additional": None
            if additional in (None, False)
            else self._schema(additional, f"{place}/additionalProperties", depth + 1),
            "closed": additional is False,
            "discriminator": self._discriminator(raw.get("discriminator")),
        }

    def _discriminator(self, raw: Any) -> Discriminator | None:
        if isinstance(raw, str):  # 2.0
            return Discriminator(raw, {})
        found = self._mapping(raw)
        if not isinstance(found.get("propertyName"), str):
            return None
        mapping = {str(key): _last(str(one)) for key, one in self._mapping(found.get("mapping")).items()}
        return Discriminator(found["propertyName"], mapping)

    def _reference(self, raw: Mapping[str, Any], place: str) -> Schema:
        pointer = raw["$ref"]
        if not pointer.startswith("#"):
            self._note(place, f"refers to {pointer}, which is not read; any value")
            return Schema(place=place)
        name = self._names.get(pointer.removeprefix("#"))
        if name is None:
            try:
                self._document.at(pointer)
            except KeyError:
                self._note(place, f"refers to {pointer}, which is not there; any value")
                return Schema(place=place)
            name, wanted, number = _last(pointer), _last(pointer), 2
            while name in self._schemas or name in self._names.values():
                name, number = f"{wanted}{number}", number + 1
            self._names[pointer.removeprefix("#")] = name
            self._pending.append((pointer.removeprefix("#"), name))
        siblings = {key: value for key, value in raw.items() if key != "$ref"}
        return Schema("ref", ref=name, **self._common(siblings, place, nullable=False))

    def _union(self, raw: Mapping[str, Any], key: str, place: str, depth: int) -> Schema:
        options = self._list(raw[key], f"{place}/{key}")
        variants, nullable = [], False
        for index, one in enumerate(options):
            if isinstance(one, Mapping) and (one.get("type") == "null" or one.get("enum") == [None]):
                nullable = True
            else:
                variants.append(self._schema(one, f"{place}/{key}/{index}", depth + 1))
        common = self._common(raw, place, nullable=nullable)
        if not variants:
            return Schema("any", **common)
        if len(variants) == 1:  # a reference that is wrapped to carry a description or null
            return self._overlaid(variants[0], common)
        kinds = {one.kind for one in variants}
        if kinds in ({"integer", "string"}, {"number", "string"}):
            number = next(one for one in variants if one.kind != "string")
            return self._overlaid(number, {**common, "accepts_text": True})
        own = (
            self._object(raw, place, depth)
            if "properties" in raw
            else {"discriminator": self._discriminator(raw.get("discriminator"))}
        )
        return Schema("union", variants=tuple(variants), **own, **common)

    def _all_of(self, raw: Mapping[str, Any], place: str, depth: int) -> Schema:
        parts = [
            self._schema(one, f"{place}/allOf/{index}", depth + 1)
            for index, one in enumerate(self._list(raw["allOf"], f"{place}/allOf"))
        ]
        common = self._common(raw, place, nullable=False)
        own = self._object({**raw, "allOf": []}, place, depth)
        if len(parts) == 1 and not own["properties"] and own["additional"] is None:
            return self._overlaid(parts[0], common)
        properties: dict[str, Property] = {}
        bases: list[str] = []
        additional, discriminator = own["additional"], own["discriminator"]
        for part in parts:
            bases += [part.ref] if part.kind == "ref" else part.bases
            properties.update((one.name, one) for one in part.properties)
            additional, discriminator = additional or part.additional, discriminator or part.discriminator
        properties.update((one.name, one) for one in own["properties"])
        if not properties and not bases and parts:  # constraints of one plain type
            return self._overlaid(next((one for one in parts if one.kind != "any"), parts[0]), common)
        wanted = {str(one).lower() for one in self._list(raw.get("required"), f"{place}/required")}
        return Schema(
            "object",
            properties=tuple(
                Property(one.name, one.schema, one.required or one.name.lower() in wanted)
                for one in properties.values()
            ),
            bases=tuple(bases),
            additional=additional,
            closed=own["closed"],
            discriminator=discriminator,
            **common,
        )

    def _overlaid(self, inner: Schema, common: Mapping[str, Any]) -> Schema:
        """Return *inner* with what is said around it, such as a description and null."""
        return replace(inner, **{name: value for name, value in common.items() if value and name != "place"})

    def _open_endless(self) -> None:
        """A component that has nothing but itself in it is any value: Swashbuckle's JToken is a list of JToken."""
        for name in [one for one, schema in self._schemas.items() if self._is_endless(one, schema)]:
            schema = self._schemas[name]
            self._note(schema.place, "has nothing but itself in it; any value")
            self._schemas[name] = replace(schema, kind="any", items=None, additional=None)

    def _is_endless(self, name: str, schema: Schema) -> bool:
        seen: set[str] = set()
        inner: Schema | None = None if schema.kind == "ref" else schema
        while inner is not None and name not in seen:
            if inner.kind == "ref":
                known = None if inner.ref in seen else self._schemas.get(inner.ref)
                seen.add(inner.ref)
                inner = known
            elif inner.kind == "array":
                inner = inner.items
            else:
                inner = None if inner.properties or inner.bases else inner.additional
        return name in seen

    def _complete_discriminators(self) -> None:
        """Where a discriminator has no mapping, its values are the names of the components that derive from it."""
        for name, schema in self._schemas.items():
            found = schema.discriminator
            if found is None or found.mapping:
                continue
            if schema.variants:
                mapping = {one.ref: one.ref for one in schema.variants if one.ref}
            else:
                mapping = {other: other for other in self._schemas if other != name and self._derives(other, name)}
            self._schemas[name] = replace(schema, discriminator=Discriminator(found.name, mapping))
            properties = {one.name.lower() for one in schema.properties}
            if properties and found.name.lower() not in properties:
                self._note(schema.place, f"the discriminator {found.name} is no property")

    def _derives(self, name: str, base: str, seen: frozenset[str] = frozenset()) -> bool:
        bases = self._schemas[name].bases if name in self._schemas else ()
        return base in bases or any(self._derives(one, base, seen | {name}) for one in bases if one not in seen)


def _kind_of(values: Sequence[Any]) -> str:
    if all(isinstance(one, bool) for one in values):
        return "boolean"
    if all(isinstance(one, int) and not isinstance(one, bool) for one in values):
        return "integer"
    return "string" if all(isinstance(one, str) for one in values) else "any"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _last(pointer: str) -> str:
    return pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")


def _example(raw: Mapping[str, Any]) -> Any:
    for key in ("example", "x-example"):
        if key in raw:
            return raw[key]
    several = raw.get("examples")
    if isinstance(several, list) and several:
        return several[0]
    if isinstance(several, Mapping):
        first = next(iter(several.values()), None)
        return first.get("value") if isinstance(first, Mapping) else None
    return None
