"""What the tests of changed documents need: a document, changes of it, a connector, and the command."""

import json
from pathlib import Path

from runtime.cli import diff


def json_of(schema):
    return {"content": {"application/json": {"schema": schema}}}


def ref(name):
    return {"$ref": f"#/components/schemas/{name}"}


TEXT, NUMBER = {"type": "string"}, {"type": "integer", "format": "int64"}


ITEM = {
    "type": "object",
    "required": ["id", "made"],
    "properties": {
        "id": NUMBER,
        "made": {"type": "string", "format": "date-time"},
        "name": TEXT,
        "state": {"type": "string", "enum": ["Open", "Done"]},
        "codes": {"type": "array", "items": NUMBER},
        "parent": ref("Item"),
    },
}


OLD = {
    "openapi": "3.0.4",
    "info": {"title": "Items.API", "version": "1"},
    "paths": {
        "/api/items": {
            "get": {
                "operationId": "ListItems",
                "parameters": [
                    {"name": "size", "in": "query", "schema": NUMBER},
                    {"name": "ids", "in": "query", "schema": {"type": "array", "items": NUMBER}},
                    {"name": "X-Tenant", "in": "header", "schema": TEXT},
                ],
                "responses": {"200": json_of({"type": "array", "items": ref("Item")})},
            },
            "post": {
                "operationId": "CreateItem",
                "requestBody": {**json_of(ref("NewItem")), "required": True},
                "responses": {"201": json_of(ref("Item"))},
            },
        },
        "/api/items/{id}": {
            "delete": {
                "operationId": "DeleteItem",
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": NUMBER}],
                "responses": {"204": {"description": "No Content"}},
            }
        },
        "/api/items/{id}/file": {
            "get": {"operationId": "GetFile", "responses": {"200": {"content": {"application/octet-stream": {}}}}}
        },
    },
    "components": {
        "schemas": {
            "Item": ITEM,
            "NewItem": {"type": "object", "properties": {"name": TEXT, "count": NUMBER}},
        },
        "securitySchemes": {"jwt": {"type": "http", "scheme": "bearer"}, "key": {"type": "apiKey", "in": "header", "name": "K"}},
    },
}  # fmt: skip


def at(root, *path):
    for part in path:
        root = root[part]
    return root


def items(root):
    return at(root, "paths", "/api/items", "get")


def item(root, name):
    return at(root, "components", "schemas", "Item", "properties")[name]


def changed(change):
    """The document after *change*."""
    new = json.loads(json.dumps(OLD))  # so that no two places are one object
    change(new)
    return new


CONNECTOR = """
from dataclasses import dataclass

from runtime.connectors.base import Endpoint, body_of, completed, decoder


@dataclass
class Item:
    id: int
    label: str | None = None
    parent: "Item | None" = None


@dataclass
class NewItem:
    name: str | None = None


_NAMES = {Item: {"label": ("state",)}}
_LIST = Endpoint("GET", "/api/items", "list_items", decoder(list[Item], _NAMES))
_CREATE = Endpoint("POST", "/api/items", "create_item", lambda document: document)
_DELETE = Endpoint("DELETE", "/api/items/{item_id}", "delete_item", completed)
_OLDER = Endpoint("GET", "/api/older", "older", completed)


class ManagedItemsConnector:
    async def list_items(self, *, size=None, page=None):
        return await self._http.call(_LIST, params={"size": size, "page": page})

    async def create_item(self, request):
        body, problem = body_of(request, NewItem, {})
        return await self._http.call(_CREATE, problem=problem, json_body=body)
"""


def diffed(change, *arguments):
    """Write the documents and the connector into the current folder, and run the command."""
    Path("old.json").write_text(json.dumps(OLD))
    Path("new.json").write_text(json.dumps(changed(change)))
    Path("items.py").write_text(CONNECTOR)
    return diff.main(["old.json", "new.json", *arguments])


def change_all(root):
    """One change of each kind, of what the connector uses and does not use."""
    del root["paths"]["/api/items/{id}"]
    items(root)["parameters"] += [
        {"name": "page", "in": "query", "required": True, "schema": NUMBER},
        {"name": "zone", "in": "query", "schema": TEXT},
    ]
    schemas = root["components"]["schemas"]
    del schemas["Item"]["properties"]["name"]
    del schemas["Item"]["properties"]["state"]
    schemas["NewItem"]["properties"]["note"] = TEXT
