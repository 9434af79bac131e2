"""The contract's template as a document: five operations on the items of a service, for `new` without a document."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.openapi import Document, class_name, snake

__all__ = ["FIELD_TYPES", "template"]

FIELD_TYPES: Mapping[str, Mapping[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer", "format": "int64"},
    "decimal": {"type": "number", "format": "decimal"},
    "float": {"type": "number", "format": "float"},
    "bool": {"type": "boolean"},
    "datetime": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "uuid": {"type": "string", "format": "uuid"},
    "list": {"type": "array", "items": {"type": "string"}},
    "dict": {"type": "object", "additionalProperties": {}},
}
"""Types of fields by the names that `--field` takes."""

_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9_]*):([a-z]+)")


def template(name: str, item: str, fields: Sequence[str], path: str) -> Document:
    """
    Return the document of a service with items.

    Args:
        name: Of the service.
        item: Of the model, such as `Invoice`.
        fields: `NAME:TYPE`, with a type of `FIELD_TYPES`; an `id` is added.
        path: Of the list.

    Raises:
        ValueError: A field is not `NAME:TYPE`, or the path does not begin with a slash.
    """
    if not path.startswith("/"):
        raise ValueError(f"the path must begin with a slash, got {path!r}")
    properties: dict[str, Any] = {"id": {"type": "string"}}
    for one in fields:
        match = _FIELD.fullmatch(one)
        if match is None or match[2] not in FIELD_TYPES:
            raise ValueError(f"a field must be NAME:TYPE with a type of {', '.join(FIELD_TYPES)}, got {one!r}")
        properties[match[1]] = FIELD_TYPES[match[2]]
    model = class_name(item)
    one = snake(item)
    sent = {key: value for key, value in properties.items() if key != "id"}
    schemas = {
        model: {"type": "object", "properties": properties},
        f"{model}Create": {"type": "object", "properties": sent},
        f"{model}Update": {"type": "object", "properties": sent},
    }

    def content(schema: Any) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}}

    def operation(verb: str, summary: str, result: Any = None, request: str = "") -> dict[str, Any]:
        response = {"204": {"description": "Done."}} if result is None else {"200": content(result)}
        body = {"requestBody": {"required": True, **content(_reference(request))}} if request else {}
        return {"operationId": f"{verb}_{one}", "summary": summary, "responses": response, **body}

    listed = operation("list", f"List the {one}s of the current user.", {"type": "array", "items": _reference(model)})
    listed["operationId"] = f"list_{one}s"
    identified = {"name": f"{one}_id", "in": "path", "required": True, "schema": {"type": "string"}}
    return Document(
        "template",
        {
            "openapi": "3.1.1",
            "info": {"title": f"{class_name(name)}.API"},
            "paths": {
                path: {
                    "get": listed,
                    "post": operation("create", f"Create a {one}.", _reference(model), f"{model}Create"),
                },
                f"{path}/{{{one}_id}}": {
                    "parameters": [identified],
                    "get": operation("get", f"Get one {one} by id.", _reference(model)),
                    "put": operation("update", f"Update a {one}.", _reference(model), f"{model}Update"),
                    "delete": operation("delete", f"Delete a {one}. Returns True if successful."),
                },
            },
            "components": {"schemas": schemas},
        },
    )


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
