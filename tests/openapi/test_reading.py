"""
Documents of .NET services, read into one model.

Also the tests of `runtime.openapi.model`.
"""

import json
from pathlib import Path

import pytest

from runtime.openapi import Document, load, operation_names, read

FOLDER = Path(__file__).parent


def api(**root):
    """The model of a document of one or two parts."""
    return read(Document("test", {"openapi": "3.1.1", "paths": {}, **root}))


def component(schema, version="3.0.1", **others):
    """The model of one component."""
    return api(openapi=version, components={"schemas": {"One": schema, **others}}).schemas["One"]


@pytest.mark.parametrize(
    ("name", "operations", "schemas"),
    [
        ("coffeecard-nswag13", 26, 41),
        ("datatypes-aspnet9", 8, 14),
        ("dotnet-monitor-swashbuckle6", 22, 28),
        ("eshop-catalog-aspnet10", 13, 5),
        ("eshop-catalog-aspnet9", 13, 5),
        ("fastendpoints-nswag14", 134, 145),
        ("uipath-orchestrator-export2", 6, 36),
    ],
)
def test_each_real_document_is_read_whole(name, operations, schemas):
    """Every operation and component, whatever version and generator; each place is in the document."""
    document = load(FOLDER / f"{name}.json")
    found = read(document)
    assert len(found.operations) == operations
    assert len(found.schemas) == schemas
    for one in (*found.operations, *found.schemas.values(), *found.notes):
        assert document.at(one.place) is not None
    names = operation_names(found.operations)
    assert len(set(names.values())) == operations
    assert all(name.isidentifier() and "__" not in name and not name.startswith("_") for name in names.values())


def test_the_same_api_in_two_notations_differs_in_nothing_but_null():
    """The union of a number and its text is the number; ASP.NET Core 9's owner hid every null."""
    old, new = (read(load(FOLDER / f"eshop-catalog-aspnet{version}.json")) for version in (9, 10))
    assert old.operations == new.operations

    def shape(found):
        return {
            name: [(one.name, one.schema.kind, one.schema.format, one.schema.ref) for one in schema.properties]
            for name, schema in found.schemas.items()
        }

    assert shape(old) == shape(new)
    assert [one.name for one in new.schemas["CatalogItem"].properties if one.schema.nullable]


@pytest.mark.parametrize(
    ("schema", "kind", "nullable"),
    [
        ({"type": ["integer", "string"], "pattern": "^-?(?:0|[1-9]\\d*)$", "format": "int64"}, "integer", False),
        ({"type": ["null", "number", "string"], "format": "double"}, "number", True),
        ({"format": "int32", "pattern": "^-?(?:0|[1-9]\\d*)$"}, "integer", False),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, "integer", False),
        ({"type": "string", "nullable": True}, "string", True),
        ({"type": "string", "x-nullable": True}, "string", True),
        ({"enum": ["A", "B", None]}, "string", True),
        ({"enum": ["A", "B"]}, "string", False),
        ({"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Two"}]}, "ref", True),
        ({"nullable": True, "oneOf": [{"$ref": "#/components/schemas/Two"}]}, "ref", True),
        ({"allOf": [{"$ref": "#/components/schemas/Two"}], "description": "d"}, "ref", False),
        ({"type": ["string", "object"]}, "any", False),
        ({"properties": {"a": {}}}, "object", False),
        ({}, "any", False),
        (True, "any", False),
        (7, "any", False),
        ({"$ref": "#/components/schemas/None"}, "any", False),
        ({"$ref": "other.json#/a"}, "any", False),
    ],
)
def test_notations_of_one_type_are_one_type(schema, kind, nullable):
    """Nullable values, unions with a number's text, wrapped references, formats without a type."""
    found = component(schema, Two={"type": "object"})
    assert found.kind == kind
    assert found.nullable == nullable
    assert "pattern" not in found.limits


@pytest.mark.parametrize("schema", [{"type": {"a": 1}}, {"type": [{}]}, {"format": {}}, {"enum": True}])
def test_what_is_no_schema_is_any_value(schema):
    """A document that is formally wrong is read as far as it goes."""
    assert component(schema).kind == "any"


def test_a_parameter_in_no_place_is_left_out():
    """It is noted."""
    operation = {"parameters": [{"name": "a", "in": {}}], "responses": {}}
    found = api(paths={"/a": {"get": operation}})
    assert found.operations[0].parameters == ()
    assert [one.place for one in found.notes] == ["/paths/~1a/get/parameters/0"]


def test_required_is_read_without_case():
    """Some documents name `Id` where the property is `id`."""
    found = component({"required": ["Id"], "properties": {"id": {"type": "integer"}}})
    assert found.property("ID").required


def test_parts_of_all_of_are_one_object():
    """Inline parts are merged, components stay bases; what is required may be said at either place."""
    found = component(
        {
            "allOf": [{"$ref": "#/components/schemas/Base"}, {"properties": {"b": {"type": "string"}}}],
            "required": ["b"],
        },
        Base={"properties": {"a": {"type": "string"}}},
    )
    assert found.bases == ("Base",)
    assert [(one.name, one.required) for one in found.properties] == [("b", True)]


def test_a_discriminator_without_a_mapping_means_the_names_of_what_derives():
    """NSwag 13 writes none."""
    found = component(
        {"discriminator": {"propertyName": "kind"}, "properties": {"kind": {"type": "string"}}},
        Left={"allOf": [{"$ref": "#/components/schemas/One"}, {"properties": {"a": {}}}]},
        Right={"allOf": [{"$ref": "#/components/schemas/Left"}, {"properties": {"b": {}}}]},
    )
    assert found.discriminator.mapping == {"Left": "Left", "Right": "Right"}


def test_a_reference_that_never_ends_is_any_value():
    """And allOf of itself has the properties once."""
    found = api(
        components={
            "schemas": {
                "A": {"$ref": "#/components/schemas/B"},
                "B": {"$ref": "#/components/schemas/A"},
                "C": {"allOf": [{"$ref": "#/components/schemas/C"}, {"properties": {"x": {"type": "string"}}}]},
            }
        }
    )
    assert found.resolved(found.schemas["A"]).kind == "any"
    assert list(found.all_properties(found.schemas["C"])) == ["x"]


def test_what_has_nothing_but_itself_in_it_is_any_value():
    """Swashbuckle's JToken is a list of JToken; a list of it and an object with a list of itself are what they say."""
    ref = {name: {"$ref": f"#/components/schemas/{name}"} for name in ("JToken", "A", "B", "Tree")}
    schemas = {
        "JToken": {"type": "array", "nullable": True, "items": ref["JToken"]},
        "A": {"type": "array", "items": {"type": "object", "additionalProperties": ref["B"]}},
        "B": ref["A"],
        "JArray": {"type": "array", "items": ref["JToken"]},
        "Tree": {"type": "object", "properties": {"trees": {"type": "array", "items": ref["Tree"]}}},
    }
    found = api(openapi="3.0.1", components={"schemas": schemas})
    kinds = {name: found.resolved(one).kind for name, one in found.schemas.items()}
    assert kinds == {"JToken": "any", "A": "any", "B": "any", "JArray": "array", "Tree": "object"}
    assert [one.place for one in found.notes] == ["/components/schemas/JToken", "/components/schemas/A"]


def test_a_reference_into_another_place_becomes_a_component():
    """ASP.NET Core 9 refers to the first place where a type occurs."""
    schema = {
        "properties": {"children": {"type": "array", "items": {"$ref": "#/components/schemas/One/properties/first"}}}
    }
    schema["properties"]["first"] = {"type": "object", "properties": {"n": {"type": "integer"}}}
    found = api(components={"schemas": {"One": schema}}, paths={"/a": {"get": {}}})
    assert found.schemas["first"].property("n").schema.kind == "integer"


def operation(path="/items/{itemId}", version="3.0.1", **raw):
    (found,) = api(openapi=version, paths={path: {"get": raw}}).operations
    return found


def test_a_path_parameter_is_spelled_as_in_the_braces():
    """Routing ignores case, and so do some documents; one that is not declared is a text."""
    found = operation("/a/{OneId}/{two}", parameters=[{"name": "oneID", "in": "path", "schema": {"type": "integer"}}])
    assert [(one.name, one.schema.kind) for one in found.parameters] == [("OneId", "integer"), ("two", "string")]


def test_a_parameter_of_the_operation_replaces_that_of_the_path():
    """The same name in query and path are two."""
    shared = [{"name": "a", "in": "query", "schema": {"type": "string"}}, {"name": "a", "in": "header", "schema": {}}]
    own = [{"name": "a", "in": "query", "schema": {"type": "integer"}}]
    (found,) = api(paths={"/x": {"parameters": shared, "get": {"parameters": own}}}).operations
    assert [(one.location, one.schema.kind) for one in found.parameters] == [("query", "integer"), ("header", "any")]


def test_a_response_without_a_body_has_no_content():
    """204 with a schema exists."""
    found = operation(responses={"204": {"content": {"application/json": {"schema": {"type": "string"}}}}})
    assert found.responses["204"].contents == {}


def test_bodies_of_swagger_2_are_bodies():
    """`formData` and `body` are parameters there."""
    root = {"swagger": "2.0", "basePath": "/api/", "paths": {"/a": {"post": {}, "put": {}}}}
    root["paths"]["/a"]["post"]["parameters"] = [{"name": "f", "in": "formData", "type": "file", "required": True}]
    root["paths"]["/a"]["put"]["parameters"] = [{"name": "b", "in": "body", "schema": {"type": "object"}}]
    post, put = read(Document("test", root)).operations
    assert post.path == "/api/a"
    assert list(post.body.contents) == ["multipart/form-data"]
    assert post.body.contents["multipart/form-data"].property("f").schema.is_binary
    assert put.body.json.kind == "object"


def test_methods_of_openapi_3_2_are_operations():
    """`query`, and those of `additionalOperations`; a stream is a list of its items."""
    stream = {"200": {"content": {"application/x-ndjson": {"itemSchema": {"type": "integer"}}}}}
    item = {"query": {"responses": stream}, "additionalOperations": {"PURGE": {}}}
    query, purge = api(openapi="3.2.0", paths={"/a": item}).operations
    assert query.method == "QUERY"
    assert purge.method == "PURGE"
    assert query.responses["200"].contents["application/x-ndjson"].items.kind == "integer"


def test_documents_keep_their_bytes():
    """They are read by `json` as they are; their licences are next to them."""
    listed = (FOLDER / "SOURCES.md").read_text(encoding="utf-8")
    for path in FOLDER.glob("*.json"):
        assert path.name in listed
        json.loads(path.read_bytes())
