"""The gateway as the service of a document: which requests are wrong, and what it responds with."""

import base64
import json
from pathlib import Path
from urllib.parse import quote

import jsonschema
import pytest

from runtime.gateway import DEFAULT_API_KEY, Gateway, Request
from runtime.gateway.checking import Checker
from runtime.gateway.samples import Samples
from runtime.openapi import Document, Schema, load, read

DOCUMENTS = Path(__file__).parent.parent / "openapi"

SHOP = {
    "openapi": "3.1.1",
    "info": {"title": "Shop"},
    "servers": [{"url": "https://shop.example/v1"}],
    "paths": {
        "/orders": {
            "get": {
                "parameters": [
                    {"name": "page", "in": "query", "required": True, "schema": {"type": "integer", "minimum": 1}},
                    {"name": "state", "in": "query", "schema": {"type": "array", "items": {"$ref": "#/components/schemas/State"}}},
                    {"name": "ids", "in": "query", "explode": False, "schema": {"type": "array", "items": {"type": "integer"}}},
                    {"name": "since", "in": "query", "schema": {"type": "string", "format": "date-time"}},
                    {"name": "open", "in": "query", "schema": {"type": "boolean"}},
                    {"name": "X-Tenant", "in": "header", "required": True, "schema": {"type": "string", "format": "uuid"}},
                ],
                "responses": {"200": {"content": {"application/json": {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/Order"}}}}}},
            },
            "post": {
                "security": [{"bearer": []}],
                "requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}},
                "responses": {"201": {"description": "made"}},
            },
        },
        "/orders/{id}": {"get": {"parameters": [{"name": "ID", "in": "path", "schema": {"type": "integer", "format": "int32"}}], "responses": {"200": {"content": {
            "text/plain": {}, "application/problem+json": {"example": {"id": 42}, "schema": {"$ref": "#/components/schemas/Order"}}}}}}},
        "/orders/latest": {"get": {"responses": {"2XX": {"content": {"text/csv": {"schema": {"type": "string", "example": "a,b"}}}}}}, "head": {"responses": {"200": {"content": {"text/csv": {}}}}}},
        "/orders/{id}/part{number}": {"put": {"requestBody": {"content": {"multipart/form-data": {}}}, "responses": {}}},
    },
    "components": {
        "schemas": {
            "State": {"enum": ["open", "paid"]},
            "Order": {
                "type": "object",
                "additionalProperties": False,
                "required": ["Total", "key"],
                "properties": {
                    "key": {"type": "string", "readOnly": True},
                    "password": {"type": "string", "writeOnly": True},
                    "total": {"type": ["number", "string"], "multipleOf": 0.01, "exclusiveMinimum": 0},
                    "count": {"type": "integer", "format": "int32"},
                    "code": {"type": "string", "pattern": "^[A-Z]{3}$", "example": 5},
                    "note": {"type": ["null", "string"], "maxLength": 3},
                    "lasts": {"type": "string", "format": "duration"},
                    "blob": {"type": "string", "format": "byte"},
                    "parent": {"$ref": "#/components/schemas/Order"},
                    "lines": {"type": "array", "minItems": 2, "uniqueItems": False, "items": {"$ref": "#/components/schemas/Line"}},
                    "pay": {"$ref": "#/components/schemas/Pay"},
                },
            },
            "Line": {"allOf": [{"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}}, {"properties": {"of": {"$ref": "#/components/schemas/Order"}}}]},
            "Pay": {"type": "object", "discriminator": {"propertyName": "kind", "mapping": {"card": "#/components/schemas/Card"}}, "properties": {"kind": {"type": "string"}}},
            "Card": {"allOf": [{"$ref": "#/components/schemas/Pay"}, {"type": "object", "required": ["last4"], "properties": {"last4": {"type": "string", "minLength": 4}}}]},
        }
    },
}  # fmt: skip

JSON = {"content-type": "application/json", "authorization": "Bearer token-ada"}
TENANT = {"x-tenant": "00000000-0000-0000-0000-000000000007"}


@pytest.fixture(scope="module")
def shop():
    """The service of a document with one of everything."""
    return Gateway(api=read(Document("shop", SHOP)))


def respond(gateway, method, target, headers=None, body=b""):
    path, _, query = target.partition("?")
    return gateway.respond(Request(method=method, path=path, query=query, headers=headers or {}, body=body))


def service_of(schema):
    """The service of a document with one operation, which takes a value of the type *schema*."""
    body = {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/It"}}}}
    paths = {"/it": {"post": {"requestBody": body, "responses": {"204": {"description": "done"}}}}}
    raw = {"openapi": "3.1.0", "paths": paths, "components": {"schemas": {"It": schema}}}
    return Gateway(api=read(Document("it", raw)))


@pytest.mark.parametrize(
    ("target", "wrong"),
    [
        ("/v1/orders?PAGE=2&state=open&state=paid&ids=1,2&since=2027-01-15T08:00:00&open=True", set()),
        ("/v1/orders/?page=2", set()),
        ("/v1/orders", {"page"}),
        ("/v1/orders?page=", {"page"}),
        ("/v1/orders?page=0", {"page"}),
        ("/v1/orders?page=1.5&open=yes", {"page", "open"}),
        ("/v1/orders?page=1&state=open&state=Later", {"state[1]"}),
        ("/v1/orders?page=1&ids=1,x&since=15.01.2027", {"ids[1]", "since"}),
    ],
)
def test_parameters_are_checked(shop, target, wrong):
    """Names are read without case; each value has its type, and those that are required are there."""
    response = respond(shop, "GET", target, TENANT)
    assert response.status == (400 if wrong else 200)
    assert set(response.document["errors"] if wrong else ()) == wrong


def test_headers_are_checked(shop):
    """One that is absent, and one of another format."""
    for headers in ({}, {"x-tenant": "acme"}):
        assert set(respond(shop, "GET", "/v1/orders?page=1", headers).document["errors"]) == {"X-Tenant"}


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"total": 1.25, "unknown": 1, "note": None, "count": 1.0}, set()),
        ({"TOTAL": "1.25", "lasts": "1.02:03:04.5", "blob": "dGV4dA==", "code": "EUR"}, set()),
        ({"total": 1, "lines": [{"sku": "a"}, {"sku": "b", "of": {"total": 2}}]}, set()),
        ({"total": 1, "pay": {"kind": "card", "last4": "1234"}}, set()),
        ({}, {"$.total"}),
        ({"total": "much", "count": "1", "blob": "%"}, {"$.total", "$.count", "$.blob"}),
        ({"total": 0, "count": 2**31, "note": "long"}, {"$.total", "$.count", "$.note"}),
        ({"total": 0.015, "lasts": "an hour", "code": "eur"}, {"$.total", "$.lasts", "$.code"}),
        ({"total": None, "count": True, "parent": []}, {"$.total", "$.count", "$.parent"}),
        ({"total": 1, "lines": [{"sku": "a"}]}, {"$.lines"}),
        ({"total": 1, "lines": [{"sku": "a"}, {"of": {}}]}, {"$.lines[1].sku", "$.lines[1].of.total"}),
        ({"total": 1, "pay": {"kind": "card", "last4": "1"}}, {"$.pay.last4"}),
        ({"total": 1, "pay": {"kind": "cash"}}, {"$.pay"}),
        ([], {"$"}),
        (b"{", {"$"}),
        (b'{"total": NaN}', {"$"}),
        (b'{"total": 1e99999999999999999999}', {"$"}),
        (b"[" * 100_000, {"$"}),
        (b"", {"$"}),
    ],
)
def test_bodies_are_checked(shop, body, wrong):
    """By the document's types, without those of its habits that ASP.NET Core does not mean."""
    response = respond(shop, "POST", "/v1/orders", JSON, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert response.status == (400 if wrong else 201)
    assert set(response.document["errors"] if wrong else ()) == wrong
    assert response.changed is not bool(wrong)


def test_unions_in_unions_are_checked_once_each(monkeypatch):
    """Two variants that have the union in them: what is wrong 24 levels below is not looked for 2 ** 24 times."""
    ref = {"$ref": "#/components/schemas/It"}
    variants = [{"type": "object", "required": ["of"], "properties": {"of": ref, name: {}}} for name in "ab"]
    counts, problems = [], Checker.problems

    def counted(*arguments, **options):
        counts.append(1)
        assert len(counts) < 1000
        return problems(*arguments, **options)

    monkeypatch.setattr(Checker, "problems", counted)
    body = b'{"of":' * 24 + b"1" + b"}" * 24
    response = respond(service_of({"anyOf": variants}), "POST", "/it", JSON, body)
    assert response.status == 400
    assert list(response.document["errors"]) == ["$"]


def test_a_body_without_end_is_an_error(shop):
    """ASP.NET Core's bound on levels; no recursion error."""
    body = b'{"total": 1, "parent": ' * 200 + b"null" + b"}" * 200
    assert respond(shop, "POST", "/v1/orders", JSON, body).status == 400


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("GET", "/orders", {}, 404),
        ("GET", "/v1/orders/7/8", {}, 404),
        ("GET", "/V1/Orders/7", {}, 200),
        ("GET", "/v1/orders/seven", {}, 400),
        ("GET", "/v1/orders/9999999999", {}, 400),
        ("GET", "/v1/orders/latest", {}, 200),
        ("HEAD", "/v1/orders/latest", {}, 200),
        ("DELETE", "/v1/orders", {}, 405),
        ("PUT", "/v1/orders/7/part9", {"content-type": "multipart/form-data; boundary=x"}, 200),
        ("PUT", "/v1/orders/7/part9", {"content-type": "application/json"}, 415),
        ("PUT", "/v1/orders/7/part", {}, 404),
        ("POST", "/v1/orders", {"content-type": "application/json"}, 401),
        ("POST", "/v1/orders", {"content-type": "application/json", "x-mozaiks-app-key": "wrong"}, 401),
        ("POST", "/v1/orders", {"content-type": "text/plain", "x-mozaiks-app-key": DEFAULT_API_KEY}, 415),
    ],
)
def test_routes_methods_and_types(shop, method, target, headers, status):
    """Fixed segments before others, no difference of case; every error is a ProblemDetails."""
    response = respond(shop, method, target, headers, b"{}" if method in {"POST", "PUT"} else b"")
    assert response.status == status
    if status >= 400:
        assert response.document["status"] == status
        assert response.content_type == "application/problem+json"
    assert response.headers.get("allow") == ("GET, POST" if status == 405 else None)


def test_responses_are_examples_or_made(shop):
    """The client's media type, JSON first; what the client alone sends is left out, and so is an example of a wrong type."""
    (order,) = respond(shop, "GET", "/v1/orders?page=1", TENANT).document
    parent, lines = order.pop("parent", None), order.pop("lines")
    assert parent is None
    assert lines == [{"sku": "text"}] * 2
    assert base64.b64decode(order.pop("blob"))
    assert order == {
        "key": "text", "total": 1.5, "count": 1, "code": "EUR", "note": "tex", "lasts": "PT1H",
        "pay": {"kind": "card", "last4": "text"},
    }  # fmt: skip
    one = respond(shop, "GET", "/v1/orders/7", {"accept": "application/json"})
    assert one.content_type == "application/problem+json; charset=utf-8"
    assert "id" not in one.document  # the example is no order: its total is absent
    latest = respond(shop, "GET", "/v1/orders/latest", {"accept": "text/*"})
    assert latest.content_type == "text/csv"
    assert latest.body() == b"a,b"


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
