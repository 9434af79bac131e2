"""Values that are made by a document."""

from pathlib import Path
from urllib.parse import quote

import jsonschema
import pytest
from documented_support import JSON, respond, service_of

from runtime.gateway.samples import Samples
from runtime.openapi import Document, Schema, load, read

DOCUMENTS = Path(__file__).parent.parent / "openapi"


def literal(raw):
    """A document as JSON Schema, without the habit of generators that makes it contradict itself."""
    if isinstance(raw, dict):
        found = {key: literal(one) for key, one in raw.items() if (key, one) != ("additionalProperties", False)}
        return {"anyOf": [found, {"type": "null"}]} if found.pop("nullable", False) is True else found
    return [literal(one) for one in raw] if isinstance(raw, list) else raw


@pytest.mark.parametrize("path", sorted(DOCUMENTS.glob("*.json")), ids=lambda path: path.stem)
def test_made_values_are_valid_by_another_library(path):
    """Of each JSON response and request of the real documents, by JSON Schema on the document as it is."""
    document = load(path)
    api, root = read(document), literal(document.root)
    draft = jsonschema.Draft202012Validator if api.version >= "3.1" else jsonschema.Draft4Validator
    count = 0
    for operation in api.operations:
        for content, sent in ((operation.success, False), (operation.body, True)):
            schema = content.json if content is not None else None
            if schema is None or not schema.place:
                continue
            value = Samples(api, sent=sent).of(schema)
            wanted = {**root, "$ref": f"#{quote(schema.place)}"}
            errors = [one.message for one in draft(wanted).iter_errors(value)]
            assert not errors, (operation.key, errors)
            count += 1
    assert count


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"enum": [0.1, 2], "type": "number"}, ["0.1", "2"], ["0.2", "true", "null"]),
        ({"type": "number", "multipleOf": 0.01}, ["1e999999", "1.01"], ["0.001"]),
        ({"type": "object", "additionalProperties": {"type": "boolean"}}, ["{}"], ['{"\\ud800": 1}']),
        ({"type": "integer", "format": "uint8"}, ["255", "7.0"], ["256", "-1", "7.5"]),
        ({"type": "number", "minimum": 1, "exclusiveMinimum": True, "maximum": 2}, ["2", "1.5"], ["1", "2.1"]),
        ({"anyOf": [{"$ref": "#/components/schemas/It"}, {"type": "boolean"}]}, ["true"], ["1"]),
        ({"oneOf": [{"type": "null"}, {"type": "array", "uniqueItems": True, "items": {}}]}, ["null", "[1, 2]"], ["[1, 1]"]),
        ({"type": "object", "maxProperties": 1, "additionalProperties": {"type": "boolean"}}, ['{"a": true}'], ['{"a": 1}']),
        ({"type": "string", "pattern": "(?<name>"}, ['"x"'], ["5"]),
        (True, ["null", "[]"], []),
    ],
    ids=["enum", "multiple", "surrogate", "format", "flag", "itself", "null", "map", "pattern", "any"],
)  # fmt: skip
def test_types_and_limits(schema, right, wrong):
    """Numbers by their text, bounds of 3.0 and 3.1, a union that contains itself, a pattern of another dialect."""
    gateway = service_of(schema)
    responses = [respond(gateway, "POST", "/it", JSON, one.encode()) for one in (*right, *wrong)]
    assert [one.status for one in responses] == [204] * len(right) + [400] * len(wrong)
    assert all(one.body() for one in responses[len(right) :])


def test_a_step_beyond_the_precision_is_no_error():
    """The number is made without it, as it is checked without it."""
    schema = Schema("number", limits={"multipleOf": 1e-30})
    assert Samples(read(Document("n", {"openapi": "3.1.0", "paths": {}}))).of(schema) == 1.5


def test_what_contains_itself_has_an_end():
    """A union goes on to the next variant, a list is empty, null is null; the rest is left out."""
    node = {"type": "object", "required": ["next"], "properties": {
        "next": {"$ref": "#/components/schemas/Node"},
        "maybe": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Node"}]},
        "either": {"oneOf": [{"$ref": "#/components/schemas/Node"}, {"type": "boolean"}]},
        "all": {"type": "array", "items": {"$ref": "#/components/schemas/Node"}},
        "map": {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Node"}},
    }}  # fmt: skip
    api = read(Document("n", {"openapi": "3.1.0", "paths": {}, "components": {"schemas": {"Node": node}}}))
    found = Samples(api).of(Schema("ref", ref="Node"))
    assert found == {"maybe": None, "either": True, "all": [], "map": {}}
