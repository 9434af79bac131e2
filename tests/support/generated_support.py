"""What the tests of generated connectors need: a document with one of everything, and the package that was written."""

import importlib.util
import sys

ODD = {
    "openapi": "3.0.1",
    "info": {"title": "Odd API"},
    "paths": {
        "/api/v1/things/{ThingId}": {
            "get": {
                "operationId": "Things_Get",
                "parameters": [
                    {"name": "thingId", "in": "path", "schema": {"type": "string", "format": "guid"}},
                    {"name": "class", "in": "query", "schema": {"type": "array", "items": {"type": "integer"}}},
                    {"name": "since", "in": "query", "schema": {"type": "string", "format": "date-time"}},
                    {"name": "codes", "in": "query", "explode": False, "schema": {"type": "array", "items": {"type": "string"}}},
                    {"name": "X-Tenant", "in": "header", "required": True, "schema": {"type": "string"}},
                    {"name": "Accept", "in": "header", "schema": {"type": "string"}},
                ],
                "responses": {"200": {"content": {"text/plain": {}, "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}}},
            },
            "put": {
                "requestBody": {"content": {"application/*+json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                "responses": {"201": {"description": "made"}},
            },
        },
        "/shapes": {"get": {"responses": {"200": {"content": {"application/json": {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/Shape"}}}}}}}},
        "/file": {"get": {"responses": {"200": {"content": {"application/octet-stream": {}}}}}},
        "/upload": {"post": {"requestBody": {"content": {"multipart/form-data": {}}}, "responses": {}}},
    },
    "components": {
        "schemas": {
            "Thing": {
                "type": "object",
                "additionalProperties": False,
                "required": ["Count"],
                "properties": {
                    "count": {"type": "integer", "format": "int64"},
                    "price": {"type": "number", "format": "double"},
                    "Ratio": {"type": "number", "format": "float"},
                    "state": {"$ref": "#/components/schemas/State"},
                    "level": {"$ref": "#/components/schemas/Level"},
                    "date": {"type": "string", "format": "date"},
                    "made": {"type": "string", "format": "date-time"},
                    "lasts": {"type": "string", "format": "date-span"},
                    "parent": {"$ref": "#/components/schemas/Thing"},
                    "@odata.etag": {"type": "string"},
                    "blob": {"type": "string", "format": "byte"},
                    "tags": {"type": "object", "additionalProperties": {"type": "integer"}},
                },
            },
            "State": {"type": "string", "enum": ["Open", "None", "2nd"]},
            "Level": {"type": "integer", "enum": [1, 2, 99], "x-enumNames": ["Low", "High", "All"]},
            "Shape": {"type": "object", "discriminator": {"propertyName": "kind"}, "properties": {"kind": {"type": "string"}, "name": {"type": "string"}}},
            "Circle": {"allOf": [{"$ref": "#/components/schemas/Shape"}, {"type": "object", "additionalProperties": False, "properties": {"radius": {"type": "number"}}}]},
        }
    },
}  # fmt: skip


def imported(folder, name):
    """The package that was written into *folder*."""
    spec = importlib.util.spec_from_file_location(f"{name}_connector", folder / f"{name}_connector/__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
