"""What the tests of a gateway of a document need: a shop with one of everything, and requests to it."""

from runtime.gateway import Gateway, Request
from runtime.openapi import Document, read

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


def respond(gateway, method, target, headers=None, body=b""):
    path, _, query = target.partition("?")
    return gateway.respond(Request(method=method, path=path, query=query, headers=headers or {}, body=body))


def service_of(schema):
    """The service of a document with one operation, which takes a value of the type *schema*."""
    body = {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/It"}}}}
    paths = {"/it": {"post": {"requestBody": body, "responses": {"204": {"description": "done"}}}}}
    raw = {"openapi": "3.1.0", "paths": paths, "components": {"schemas": {"It": schema}}}
    return Gateway(api=read(Document("it", raw)))
