"""
Changes that are planted in real documents: what `diff` says of each, and what really fails.

    python3 benchmarks/document_changes.py             # every change, a line each, then recall and precision
    python3 benchmarks/document_changes.py --quick     # the same without the lines, as CI runs it
    python3 benchmarks/document_changes.py --only NAME
    python3 benchmarks/document_changes.py --random 500     # changes that chance makes instead

The connector is generated from the old document. It calls a service that implements the new one
(`document_server.py`), with every kind of value that the old document allows, and reads every kind of response that
the new one allows. A method breaks where a call fails that works on a service of the old document, or where a value is
lost in silence: a field that is None and was not, or an argument that the service does not read.
"""

import argparse
import contextlib
import copy
import dataclasses
import json
import sys
import types
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import get_type_hints

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.document_server import MODES, PICKS, DocumentServer
from middleware.errors import CallError, InvalidArgumentError
from runtime.compare import Verdict, compare
from runtime.connectors.decoding import decoder
from runtime.connectors.loader import managed_connector
from runtime.generate import Options, connector_files, make_plan
from runtime.openapi import Document, load, read
from runtime.testing import ScriptedUpstream, run_virtual

LEAST = 0.95
DOCUMENTS = {
    "catalog": "eshop-catalog-aspnet10",
    "catalog9": "eshop-catalog-aspnet9",
    "coffee": "coffeecard-nswag13",
    "types": "datatypes-aspnet9",
    "fast": "fastendpoints-nswag14",
    "monitor": "dotnet-monitor-swashbuckle6",
    "uipath": "uipath-orchestrator-export2",
}
# Of 134 operations these are enough, and the generated module is small.
PATHS = {"fast": ("/api/inventory", "/api/sales", "/api/customer/list", "/api/customer/update-with-header")}


def _json(schema):
    return {"content": {"application/json": {"schema": schema}}}


def _ref(name):
    return {"$ref": f"#/components/schemas/{name}"}


def _at(location, name, schema):
    return {"name": name, "in": location, "schema": schema, **({"required": True} if location == "path" else {})}


def _object(**properties):
    return {"type": "object", "properties": properties}


TEXT, LONG = {"type": "string"}, {"type": "integer", "format": "int64"}
INT, DOUBLE = {"type": "integer", "format": "int32"}, {"type": "number", "format": "double"}
TIME, DATE, UUID = ({"type": "string", "format": name} for name in ("date-time", "date", "uuid"))
ORDERS = {
    "openapi": "3.0.4",
    "info": {"title": "Orders.API", "version": "1.0"},
    "paths": {
        "/api/orders": {
            "get": {
                "operationId": "ListOrders",
                "parameters": [
                    _at("query", "status", _ref("Status")),
                    _at("query", "ids", {"type": "array", "items": INT}),
                    _at("query", "since", TIME),
                    _at("header", "X-Tenant", TEXT),
                ],
                "responses": {"200": _json({"type": "array", "items": _ref("Order")})},
            },
            "post": {
                "operationId": "CreateOrder",
                "requestBody": {**_json(_ref("NewOrder")), "required": True},
                "responses": {"201": _json(_ref("Order"))},
            },
        },
        "/api/orders/{orderId}": {
            "get": {
                "operationId": "GetOrder",
                "parameters": [_at("path", "orderId", LONG)],
                "responses": {"200": _json(_ref("Order"))},
            },
            "delete": {
                "operationId": "CancelOrder",
                "parameters": [_at("path", "orderId", LONG)],
                "requestBody": _json(_ref("Reason")),
                "responses": {"204": {"description": "No Content"}},
            },
        },
        "/api/payments/{id}": {
            "get": {
                "operationId": "GetPayment",
                "parameters": [_at("path", "id", UUID)],
                "responses": {"200": _json(_ref("Payment"))},
            },
        },
    },
    "components": {
        "schemas": {
            "Status": {"type": "string", "enum": ["Open", "Paid", "Shipped"]},
            "Level": {"type": "integer", "enum": [0, 1, 2], "x-enumNames": ["Low", "Middle", "High"]},
            "Reason": _object(text=TEXT),
            "Line": {**_object(sku=TEXT, quantity=INT, price=DOUBLE), "required": ["sku", "quantity"]},
            "NewOrder": {
                **_object(
                    customerId=LONG,
                    note={"type": "string", "nullable": True},
                    coupon={"type": "string", "maxLength": 20},
                    status=_ref("Status"),
                    level=_ref("Level"),
                    deliverOn=DATE,
                    tags={"type": "array", "items": TEXT},
                    lines={"type": "array", "items": _ref("Line")},
                ),
                "required": ["customerId", "lines"],
            },
            "Order": {
                **_object(
                    id=INT,
                    number=TEXT,
                    placedAt=TIME,
                    deliverOn=DATE,
                    total=DOUBLE,
                    status=_ref("Status"),
                    level=_ref("Level"),
                    key=UUID,
                    lasts={"type": "string", "format": "date-span"},
                    isGift={"type": "boolean"},
                    codes={"type": "array", "items": INT},
                    names={"type": "object", "additionalProperties": TEXT},
                    lines={"type": "array", "items": _ref("Line")},
                    buyer=_ref("Buyer"),
                ),
                "required": ["id", "placedAt", "lines", "total", "status", "level"],
            },
            "Buyer": _object(name=TEXT, email=TEXT),
            "Payment": {
                "type": "object",
                "oneOf": [_ref("Card"), _ref("Invoice")],
                "discriminator": {
                    "propertyName": "kind",
                    "mapping": {"card": _ref("Card")["$ref"], "invoice": _ref("Invoice")["$ref"]},
                },
            },
            "Card": _object(kind=TEXT, digits=TEXT),
            "Invoice": _object(kind=TEXT, due=DATE),
        }
    },
}

CHANGES = {}


def change(document):
    """Register a change of *document*: a function that changes the parsed document, or returns another one."""

    def register(function):
        CHANGES[function.__name__] = (document, function)
        return function

    return register


def prop(root, model, name):
    """The schema of a property."""
    where = root["definitions"] if "swagger" in root else root["components"]["schemas"]
    return where[model]["properties"][name]


def props(root, model):
    """The properties of a model."""
    return root["components"]["schemas"][model]["properties"]


def get_parameter(operation, name):
    """A parameter of an operation."""
    return next(one for one in operation["parameters"] if one.get("name") == name)


# --- the changes: names begin with what changes -----------------------------------------------------------------------


@change("catalog")
def operation_removed(root):
    del root["paths"]["/api/catalog/items/{id}"]["delete"]


@change("catalog")
def path_moved(root):
    root["paths"]["/api/catalog/search/{name}"] = root["paths"].pop("/api/catalog/items/by/{name}")


@change("catalog")
def method_changed(root):
    item = root["paths"]["/api/catalog/items"]
    item["patch"] = item.pop("put")


@change("catalog")
def operation_added(root):
    operation = {"operationId": "GetStock", "responses": {"200": _json(_ref("CatalogItem"))}}
    root["paths"]["/api/catalog/stock"] = {"get": operation}


@change("catalog")
def placeholder_renamed(root):
    found = root["paths"]["/api/catalog/items/{itemNumber}"] = root["paths"].pop("/api/catalog/items/{id}")
    for one in ("get", "delete"):
        get_parameter(found[one], "id")["name"] = "itemNumber"


@change("catalog")
def path_in_another_case(root):
    root["paths"]["/api/catalog/CatalogTypes"] = root["paths"].pop("/api/catalog/catalogtypes")


@change("catalog")
def query_required_and_new(root):
    operation = root["paths"]["/api/catalog/items"]["get"]
    operation["parameters"].append({"name": "region", "in": "query", "required": True, "schema": {"type": "string"}})


@change("catalog")
def query_optional_and_new(root):
    operation = root["paths"]["/api/catalog/items"]["get"]
    operation["parameters"].append({"name": "region", "in": "query", "schema": {"type": "string"}})


@change("catalog")
def query_required_now(root):
    get_parameter(root["paths"]["/api/catalog/items"]["get"], "PageSize")["required"] = True


@change("catalog")
def query_removed(root):
    operation = root["paths"]["/api/catalog/items"]["get"]
    operation["parameters"].remove(get_parameter(operation, "PageIndex"))


@change("catalog")
def query_in_another_case(root):
    get_parameter(root["paths"]["/api/catalog/items"]["get"], "PageSize")["name"] = "pageSize"


@change("catalog")
def query_limited(root):
    get_parameter(root["paths"]["/api/catalog/items"]["get"], "PageSize")["schema"]["maximum"] = 100


@change("catalog")
def query_another_default(root):
    get_parameter(root["paths"]["/api/catalog/items"]["get"], "PageSize")["schema"]["default"] = 20


@change("catalog")
def query_is_a_header(root):
    for item in root["paths"].values():
        for operation in item.values():
            get_parameter(operation, "api-version")["in"] = "header"


@change("catalog")
def path_value_is_a_uuid(root):
    for operation in root["paths"]["/api/catalog/items/{id}"].values():
        get_parameter(operation, "id")["schema"] = {"type": "string", "format": "uuid"}


@change("catalog")
def path_value_is_any_text(root):
    for operation in root["paths"]["/api/catalog/items/{id}"].values():
        get_parameter(operation, "id")["schema"] = {"type": "string"}


@change("catalog")
def price_is_a_text_too(root):
    """ASP.NET's notation for a number that it also accepts as a text."""
    props(root, "CatalogItem")["price"] = {"type": "number", "format": "double"}


@change("catalog")
def price_is_whole(root):
    props(root, "CatalogItem")["price"] = {"type": "integer", "format": "int64"}


@change("catalog")
def body_field_required_and_new(root):
    props(root, "CatalogItem")["sku"] = {"type": "string"}
    root["components"]["schemas"]["CatalogItem"]["required"].append("sku")


@change("catalog")
def field_removed_from_both_sides(root):
    del props(root, "CatalogItem")["description"]


@change("catalog")
def page_field_removed(root):
    schema = root["components"]["schemas"]["PaginatedItemsOfCatalogItem"]
    del schema["properties"]["count"]
    schema["required"].remove("count")


@change("catalog")
def page_field_null(root):
    props(root, "PaginatedItemsOfCatalogItem")["data"]["type"] = ["null", "array"]


@change("catalog")
def page_number_null(root):
    props(root, "PaginatedItemsOfCatalogItem")["pageSize"]["type"] = ["null", "integer", "string"]


@change("catalog")
def list_is_a_page(root):
    found = root["paths"]["/api/catalog/catalogtypes"]["get"]["responses"]["200"]["content"]["application/json"]
    found["schema"] = {"type": "object", "properties": {"data": found["schema"]}}


@change("catalog")
def notation_of_aspnet9(_root):
    return source("catalog9")


@change("catalog9")
def notation_of_aspnet10(_root):
    return source("catalog")


@change("catalog9")
def texts_and_ids(root):
    for item in root["paths"].values():
        for operation in item.values():
            operation["summary"], operation["tags"] = "Another summary", ["Other"]
            operation["responses"]["409"] = {"description": "Conflict"}


@change("catalog9")
def base_path_new(root):
    root["servers"] = [{"url": "https://catalog.example/v2"}]


@change("coffee")
def credentials_needed_now(root):
    root["paths"]["/api/v2/appconfig"]["get"]["security"] = [{"jwt": []}]


@change("coffee")
def credentials_no_longer_needed(root):
    root["paths"]["/api/v2/products/all"]["get"]["security"] = []


@change("coffee")
def credentials_by_another_header(root):
    root["components"]["securitySchemes"]["apikey"]["name"] = "X-Another-Key"


@change("coffee")
def scheme_renamed(root):
    text = json.dumps(root).replace('"jwt"', '"Bearer Token"')
    return json.loads(text)


@change("coffee")
def enum_value_added_in_responses(root):
    root["components"]["schemas"]["PurchaseStatus"]["enum"].append("Expired")
    root["components"]["schemas"]["PurchaseStatus"]["x-enumNames"].append("Expired")


@change("coffee")
def enum_value_removed_from_a_query(root):
    root["components"]["schemas"]["LeaderboardPreset"]["enum"].remove("Semester")
    root["components"]["schemas"]["LeaderboardPreset"]["x-enumNames"].remove("Semester")


@change("coffee")
def enum_value_removed_from_responses(root):
    root["components"]["schemas"]["UserState"]["enum"].remove("Deleted")
    root["components"]["schemas"]["UserState"]["x-enumNames"].remove("Deleted")


@change("coffee")
def response_200_is_204(root):
    found = root["paths"]["/api/v2/account"]["put"]["responses"]
    del found["200"]
    found["204"] = {"description": "No Content"}


@change("coffee")
def response_200_is_201(root):
    found = root["paths"]["/api/v2/purchases"]["post"]["responses"]
    found["201"] = found.pop("200")


@change("coffee")
def response_204_is_200_with_a_document(root):
    found = root["paths"]["/api/v2/account/{id}/user-group"]["patch"]["responses"]
    del found["204"]
    found["200"] = {"description": "ok", **_json(_ref("UserResponse"))}


@change("coffee")
def body_is_a_form(root):
    content = root["paths"]["/api/v2/account/email-exists"]["post"]["requestBody"]["content"]
    content["multipart/form-data"] = content.pop("application/json")


@change("coffee")
def references_unwrapped(root):
    """`oneOf` with one reference is NSwag's notation for a reference with a description."""
    props(root, "UserResponse")["role"] = _ref("UserRole")
    props(root, "UserResponse")["programme"] = _ref("ProgrammeResponse")


@change("coffee")
def objects_open(root):
    for schema in root["components"]["schemas"].values():
        schema.pop("additionalProperties", None)


@change("coffee")
def nested_field_removed(root):
    del props(root, "ProgrammeResponse")["fullName"]
    root["components"]["schemas"]["ProgrammeResponse"]["required"].remove("fullName")


@change("coffee")
def body_pattern_new(root):
    props(root, "RegisterAccountRequest")["name"]["pattern"] = "^[A-Z]{2}[0-9]{2}$"


@change("coffee")
def body_limit_lower(root):
    props(root, "AddProductRequest")["price"]["maximum"] = 500


@change("types")
def time_is_a_date(root):
    props(root, "DataTypes")["dateTimeOffset"]["format"] = "date"


@change("types")
def date_is_a_time_of_day(root):
    props(root, "DataTypes")["dateOnly"]["format"] = "time"


@change("types")
def uuid_is_any_text(root):
    del props(root, "DataTypes")["uuid"]["format"]


@change("types")
def float_is_a_double(root):
    props(root, "DataTypes")["float"]["format"] = "double"


@change("types")
def bool_is_a_text(root):
    props(root, "DataTypes")["bool"] = {"type": "string"}


@change("types")
def bytes_are_any_text(root):
    del props(root, "DataTypes")["byteArray"]["format"]


@change("types")
def tag_renamed(root):
    text = json.dumps(root).replace('"shapeType"', '"kind"')
    return json.loads(text)


@change("types")
def tag_has_another_value(root):
    mapping = root["components"]["schemas"]["Shape"]["discriminator"]["mapping"]
    mapping["rectangle"] = mapping.pop("square")
    root["components"]["schemas"]["ShapeSquare"]["properties"]["shapeType"]["enum"] = ["rectangle"]


@change("types")
def variant_added(root):
    root["components"]["schemas"]["ShapeStar"] = {
        "properties": {"shapeType": {"enum": ["star"], "type": "string"}, "points": {"type": "integer"}}
    }
    root["components"]["schemas"]["Shape"]["anyOf"].append(_ref("ShapeStar"))
    root["components"]["schemas"]["Shape"]["discriminator"]["mapping"]["star"] = "#/components/schemas/ShapeStar"


@change("types")
def enum_has_no_list(root):
    props(root, "Enums")["enumAsString"] = {"type": "string"}


@change("types")
def number_required_is_null(root):
    props(root, "MoreMetadata")["requiredModifier"]["nullable"] = True


@change("types")
def number_no_longer_required(root):
    del root["components"]["schemas"]["MoreMetadata"]["required"]


@change("types")
def text_null(root):
    props(root, "MoreMetadata")["nonNullableRef"]["nullable"] = True


@change("types")
def range_wider(root):
    props(root, "Metadata")["intWithRange"]["maximum"] = 1000
    props(root, "Metadata")["stringWithMaxLength"]["maxLength"] = 100


@change("fast")
def header_required_now(root):
    operation = root["paths"]["/api/sales/orders/retrieve/{orderID}"]["get"]
    get_parameter(operation, "tenant-id")["required"] = True


@change("fast")
def header_that_the_client_sends(root):
    operation = root["paths"]["/api/inventory/get-product/{ProductID}"]["get"]
    operation["parameters"].append(
        {"name": "X-Correlation-Id", "in": "header", "required": True, "schema": {"type": "string"}}
    )


@change("fast")
def header_removed(root):
    operation = root["paths"]["/api/sales/orders/retrieve/{orderID}"]["get"]
    operation["parameters"].remove(get_parameter(operation, "tenant-id"))


@change("fast")
def scope_needed(root):
    root["paths"]["/api/customer/list/recent"]["get"]["security"] = [{"JWTBearerAuth": ["admin", "staff", "audit"]}]


@change("fast")
def deprecated_now(root):
    root["paths"]["/api/sales/orders/create"]["post"]["deprecated"] = True


@change("monitor")
def response_is_text(root):
    found = root["paths"]["/info"]["get"]["responses"]["200"]["content"]
    found["text/plain"] = found.pop("application/json")


@change("monitor")
def response_may_be_202(root):
    found = root["paths"]["/processes"]["get"]["responses"]
    found["202"] = {"description": "Accepted"}


@change("monitor")
def component_renamed(root):
    return json.loads(json.dumps(root).replace("ProcessInfo", "ProcessDetails"))


@change("monitor")
def dictionary_values_are_numbers(root):
    found = root["paths"]["/env"]["get"]["responses"]["200"]["content"]["application/json"]
    found["schema"] = {"type": "object", "additionalProperties": {"type": "integer", "format": "int32"}}


@change("monitor")
def response_type_removed(root):
    root["paths"]["/process"]["get"]["responses"]["200"] = {"description": "Success"}


@change("uipath")
def base_path_changed(root):
    root["basePath"] = "/cloud_"


@change("uipath")
def list_joined_otherwise(root):
    get_parameter(root["paths"]["/odata/QueueDefinitions"]["get"], "mandatoryPermissions")["collectionFormat"] = "multi"


@change("uipath")
def folder_name_removed(root):
    del root["definitions"]["FolderDto"]["properties"]["FullyQualifiedName"]


@change("uipath")
def folder_name_in_camel_case(root):
    found = root["definitions"]["FolderDto"]["properties"]
    found["displayName"] = found.pop("DisplayName")


@change("uipath")
def folder_id_shorter(root):
    prop(root, "FolderDto", "Id")["format"] = "int32"


@change("uipath")
def host_changed(root):
    root["host"], root["schemes"] = "cloud.example", ["https"]


@change("uipath")
def shared_parameter_limited(root):
    root["parameters"]["top"]["maximum"] = 1000


@change("orders")
def list_repeats_no_more(root):
    get_parameter(root["paths"]["/api/orders"]["get"], "ids")["explode"] = False


@change("orders")
def query_time_is_a_date(root):
    get_parameter(root["paths"]["/api/orders"]["get"], "since")["schema"]["format"] = "date"


@change("orders")
def query_value_is_a_list(root):
    found = get_parameter(root["paths"]["/api/orders"]["get"], "status")
    found["schema"] = {"type": "array", "items": found["schema"]}


@change("orders")
def body_number_shorter(root):
    props(root, "NewOrder")["customerId"]["format"] = "int32"


@change("orders")
def body_field_required_now(root):
    root["components"]["schemas"]["NewOrder"]["required"].append("coupon")


@change("orders")
def body_field_optional_now(root):
    root["components"]["schemas"]["NewOrder"]["required"].remove("customerId")


@change("orders")
def body_field_optional_and_new(root):
    props(root, "NewOrder")["channel"] = {"type": "string"}


@change("orders")
def body_field_not_null(root):
    """A body has no null: what is None is left out."""
    del props(root, "NewOrder")["note"]["nullable"]


@change("orders")
def body_field_read_only(root):
    props(root, "NewOrder")["coupon"]["readOnly"] = True


@change("orders")
def body_list_limited(root):
    props(root, "NewOrder")["tags"]["maxItems"] = 1


@change("orders")
def body_enum_of_numbers_loses_a_value(root):
    schema = root["components"]["schemas"]["Level"]
    schema["enum"], schema["x-enumNames"] = [0, 1], ["Low", "Middle"]


@change("orders")
def optional_body_removed(root):
    del root["paths"]["/api/orders/{orderId}"]["delete"]["requestBody"]


@change("orders")
def optional_body_required(root):
    root["paths"]["/api/orders/{orderId}"]["delete"]["requestBody"]["required"] = True


@change("orders")
def nested_field_renamed(root):
    found = props(root, "Buyer")
    found["fullName"] = found.pop("name")


@change("orders")
def nested_object_is_a_text(root):
    props(root, "Order")["buyer"] = {"type": "string"}


@change("orders")
def list_items_null(root):
    props(root, "Order")["codes"]["items"]["nullable"] = True


@change("orders")
def list_itself_null(root):
    props(root, "Order")["codes"]["nullable"] = True


@change("orders")
def dictionary_values_null(root):
    props(root, "Order")["names"]["additionalProperties"]["nullable"] = True


@change("orders")
def duration_in_another_notation(root):
    props(root, "Order")["lasts"]["format"] = "time-span"


@change("orders")
def time_named_as_dotnet_does(root):
    """`placedAt` is read as `placedAtUtc` too."""
    found = props(root, "Order")
    found["placedAtUtc"] = found.pop("placedAt")
    found = root["components"]["schemas"]["Order"]["required"]
    found[found.index("placedAt")] = "placedAtUtc"


@change("orders")
def level_by_name(root):
    root["components"]["schemas"]["Level"] = {"type": "string", "enum": ["Low", "Middle", "High"]}


@change("orders")
def identity_longer(root):
    props(root, "Order")["id"]["format"] = "int64"


@change("orders")
def identity_is_a_numbers_text(root):
    """Decoders read a number's text."""
    props(root, "Order")["id"] = {"type": "string", "format": "int64"}


@change("orders")
def total_is_a_float(root):
    props(root, "Order")["total"] = {"type": "number", "format": "float"}


@change("orders")
def one_payment_alone(root):
    found = root["paths"]["/api/payments/{id}"]["get"]["responses"]["200"]
    found["content"]["application/json"]["schema"] = _ref("Card")


# --- changes by chance ------------------------------------------------------------------------------------------------

TYPES = [TEXT, INT, LONG, DOUBLE, TIME, DATE, UUID, {"type": "boolean"}, {"type": "array", "items": TEXT}]
TYPES += [{"type": "string", "enum": ["One", "Two"]}, {"type": "string", "format": "byte"}, _object(a=TEXT)]


def _named(root, chance):
    """An object with properties: its schema, and one of their names."""
    where = root["definitions"] if "swagger" in root else root["components"]["schemas"]
    found = [one for one in where.values() if one.get("properties")]
    schema = chance.choice(found)
    return schema, chance.choice(list(schema["properties"]))


def _required(schema):
    return schema.setdefault("required", [])


def drop_field(root, chance):
    schema, name = _named(root, chance)
    del schema["properties"][name]
    schema["required"] = [one for one in _required(schema) if one != name]


def add_field(root, chance):
    schema, _ = _named(root, chance)
    schema["properties"]["planted"] = chance.choice(TYPES)
    if chance.random() < 0.5:
        _required(schema).append("planted")


def retype_field(root, chance):
    schema, name = _named(root, chance)
    schema["properties"][name] = chance.choice(TYPES)


def require_field(root, chance):
    schema, name = _named(root, chance)
    wanted = _required(schema)
    wanted.remove(name) if name in wanted else wanted.append(name)


def null_field(root, chance):
    schema, name = _named(root, chance)
    found = schema["properties"][name]
    if isinstance(found.get("type"), list):
        found["type"] = [one for one in found["type"] if one != "null"] + ["null"] * ("null" not in found["type"])
    elif "type" in found:
        mark = "x-nullable" if "swagger" in root else "nullable"
        found[mark] = not found.get(mark, False)


def change_enum(root, chance):
    where = root["definitions"] if "swagger" in root else root["components"]["schemas"]
    inner = [prop for one in where.values() for prop in one.get("properties", {}).values()]
    found = [one for one in [*where.values(), *inner] if len(one.get("enum", ())) > 1]
    if found:
        schema = chance.choice(found)
        schema.pop("x-enumNames", None)
        if chance.random() < 0.5:
            del schema["enum"][chance.randrange(len(schema["enum"]))]
        else:
            schema["enum"].append("Planted" if isinstance(schema["enum"][0], str) else 99)


def _operations(root, chance):
    paths = [one for one in root["paths"] if not PATHS.get("fast") or "inventory" not in one]
    path = chance.choice(paths)
    return path, chance.choice([one for one in root["paths"][path] if one in {"get", "put", "post", "patch", "delete"}])


def change_parameter(root, chance):
    path, method = _operations(root, chance)
    operation = root["paths"][path][method]
    found = [one for one in operation.get("parameters", []) if one.get("in") in {"query", "header"}]
    kind = chance.choice(["add", "add required", "drop", "require", "retype", "move"])
    typed = (lambda schema: schema) if "swagger" in root else (lambda schema: {"schema": schema})
    if kind.startswith("add"):
        planted = {"name": "planted", "in": "query", "required": kind == "add required", **typed(INT)}
        operation.setdefault("parameters", []).append(planted)
    elif found:
        one = chance.choice(found)
        if kind == "drop":
            operation["parameters"].remove(one)
        elif kind == "require":
            one["required"] = not one.get("required", False)
        elif kind == "move":
            one["in"] = "header" if one["in"] == "query" else "query"
        else:
            one.update(typed(chance.choice(TYPES[:8])))


def change_operation(root, chance):
    path, method = _operations(root, chance)
    item = root["paths"][path]
    kind = chance.choice(["drop", "method", "status", "empty"])
    if kind == "drop":
        del item[method]
    elif kind == "method" and "options" not in item:
        item["patch" if "patch" not in item else "options"] = item.pop(method)
    else:
        responses = item[method]["responses"]
        for status in [one for one in responses if one.startswith("2")][:1]:
            found = responses.pop(status)
            responses["204" if kind == "empty" else "203"] = {"description": ""} if kind == "empty" else found


BY_CHANCE = (drop_field, add_field, retype_field, require_field, null_field, change_enum, change_parameter)
BY_CHANCE += (change_operation,)


def plant(count):
    """Register changes that chance makes, as many of each document, and the same ones in each run."""
    CHANGES.clear()
    for number in range(count):
        document = [*DOCUMENTS, "orders"][number % (len(DOCUMENTS) + 1)]
        chance = Random(number)
        function = chance.choice(BY_CHANCE)
        CHANGES[f"{function.__name__}_{number}"] = (document, partial(_by_chance, function, number))


def _by_chance(function, number, root):
    function(root, Random(-number - 1))


# --- running ----------------------------------------------------------------------------------------------------------


@cache
def source(name):
    """The parsed document *name*."""
    if name == "orders":
        return json.loads(json.dumps(ORDERS))  # so that no two places are one object
    return load(ROOT / f"tests/openapi/{DOCUMENTS[name]}.json").root


def pair(name):
    """The old and the new document of the change *name*."""
    document, function = CHANGES[name]
    old = source(document)
    new = copy.deepcopy(old)
    return old, function(new) or new


class Connector:
    """The connector that is generated from one document, its calls, and how they do on a service of it."""

    def __init__(self, document):
        self.root = source(document)
        self.api = read(Document(document, self.root))
        self.plan = make_plan(self.api, Options("old", paths=PATHS.get(document, ())))
        self.module = types.ModuleType(f"old_connector_{document}")
        sys.modules[self.module.__name__] = self.module
        text = connector_files(self.plan)["old_connector/__init__.py"]
        exec(compile(text, "old_connector", "exec"), vars(self.module))  # noqa: S102 - what we have generated
        self.server = DocumentServer(self.root)
        self.methods = {one.name: one for one in self.plan.methods}
        self.before, self.decoders = {}, {}

    def _decoded(self, kind, value):
        if str(kind) not in self.decoders:
            module = vars(self.module)
            self.decoders[str(kind)] = decoder(kind, module.get("_NAMES"), module.get("_VARIANTS"))
        return self.decoders[str(kind)](copy.deepcopy(value))

    def _calls(self, method):
        """Arguments of calls: the least that is required, and everything in each kind of value."""
        operation = self.server.find(method.operation.method, method.operation.path)
        hints = get_type_hints(getattr(self.module.ManagedOldConnector, method.name), vars(self.module))
        schemas = {(one["in"], one["name"].lower()): self.server.schema_of(one) for one in operation.parameters}
        seen = set()
        for mode in MODES:
            for pick in range(PICKS):
                given = {}
                for one in method.arguments:
                    if one.default and (mode == "bare" or one.default != "None"):
                        continue
                    schema = schemas[one.location, one.wire.lower()]
                    value = self.server.sample(schema, mode, pick, "sendable", 1)
                    value = value or "text" if one.location != "query" and isinstance(value, str) else value
                    given[one.name] = self._decoded(hints[one.name], value)
                if method.body is not None and not (method.body_optional and mode == "bare"):
                    schema = next(iter(operation.body.values()))
                    value = self.server.sample(schema, mode, pick, "sendable", 0)
                    given["request"] = self._decoded(hints["request"], value)
                if repr(given) not in seen:
                    seen.add(repr(given))
                    yield given

    async def observe(self, name, server):
        """
        Make the calls of one method on *server*.

        Returns:
            Whether each call is accepted; what of each is not read, and how its parameters are read; and the result of
            each response: the value, or the error.
        """
        method = self.methods[name]
        operation = self.server.find(method.operation.method, method.operation.path)
        accepted, effects, results, seen = [], [], {}, []
        replies, chosen = {}, None

        def respond(request):
            status, found, *rest = server.check(request, given)
            seen.append((status, *rest))
            if status != 200:
                return status
            replies.update(server.replies(found))
            return replies[chosen or next(iter(replies))]

        upstream = ScriptedUpstream(respond)
        client = upstream.client(service="old", retry={"max_attempts": 1}, circuit_breaker={"mode": "disabled"})
        call = getattr(managed_connector(self.module.OLD, client), name)
        working = None
        for index, arguments in enumerate(self._calls(method)):
            ways = self.server.credentials(operation)
            for way in ways if index == 0 else ways[:1]:
                given = way
                token = "token" if "authorization" in way else None
                seen.clear()
                with contextlib.suppress(CallError, InvalidArgumentError):
                    await call(**arguments, user_jwt=token)
                status, *found = seen[-1] if seen else (0, set(), set())
                accepted.append(status == 200)
                effects.append(found if status == 200 else [set(), set()])
                if status == 200:
                    working = arguments, token
        for chosen in list(replies):
            arguments, token = working
            try:
                results[chosen] = await call(**arguments, user_jwt=token)
            except CallError as error:
                results[chosen] = error
        return accepted, effects, results

    def broken(self, name, server):
        """Why a method breaks on *server*; empty where it does not."""
        operation = self.methods[name].operation
        old, new = (one.find(operation.method, operation.path) for one in (self.server, server))
        if not isinstance(new, int) and self.server.meaning(old) == server.meaning(new):
            return ""  # nothing of it has changed
        if name not in self.before:
            self.before[name] = run_virtual(self.observe(name, self.server))
        before, now = self.before[name], run_virtual(self.observe(name, server))
        return _rejected(before, now) or _unread(before, now) or _unreadable(before, now) or _lost(before, now)


def _rejected(before, now):
    return "rejected" if any(was and not is_ for was, is_ in zip(before[0], now[0], strict=True)) else ""


def _unread(before, now):
    for was, one, is_accepted in zip(before[1], now[1], now[0], strict=True):
        if lost := one[0] - was[0]:
            return f"not read: {', '.join(sorted(lost))}"
        if is_accepted and (changed := one[1] - was[1]):
            return f"read as another value: {sorted(changed)}"
    return ""


def _unreadable(before, now):
    known = {name for name, one in before[2].items() if isinstance(one, CallError)}
    wrong = {name: one for name, one in now[2].items() if isinstance(one, CallError) and name not in known}
    return "".join(f"response {name}: {one}" for name, one in list(wrong.items())[:1])


def _lost(before, now):
    for index in range(PICKS):
        was, one = _whole(before[2], index), _whole(now[2], index)
        if was is not None and one is not None and (gone := _filled(was) - _filled(one)):
            return f"lost: {', '.join(sorted(gone)[:3])}"
    return ""


def _whole(results, index):
    """The result of the response with everything in it, or with nothing where there is no document."""
    return next((one for name, one in results.items() if name.endswith((f"whole {index}", "empty"))), None)


def _filled(value, path=""):
    """Paths of what is there."""
    if dataclasses.is_dataclass(value):
        parts = {one.name: getattr(value, one.name) for one in dataclasses.fields(value) if one.name != "extra"}
        return set().union(*(_filled(one, f"{path}.{name}") for name, one in parts.items()))
    if isinstance(value, Mapping):
        return set().union({path} if value else set(), *(_filled(one, f"{path}.{name}") for name, one in value.items()))
    if isinstance(value, list):
        return set().union({path} if value else set(), *(_filled(one, f"{path}[]") for one in value))
    return set() if value is None else {path}


@cache
def connector(document):
    """The connector of *document*; made once."""
    return Connector(document)


def judge(name):
    """What `diff` says of the change *name*, and what fails: methods and reasons, each."""
    _, new = pair(name)
    ours = connector(CHANGES[name][0])
    server = DocumentServer(new)
    wrong = {one: why for one in ours.methods if (why := ours.broken(one, server))}
    found = compare(ours.api, read(Document(name, new)))
    said = {
        one.name: "; ".join(row.reason for row in one.changes)
        for one in found
        if one.verdict is Verdict.BREAKING and one.name in ours.methods
    }
    return said, wrong


def rates(pairs):
    """Recall and precision of pairs: said, and so."""
    both = sum(said and so for said, so in pairs)
    said, so = sum(one for one, _ in pairs), sum(one for _, one in pairs)
    return both / (so or 1), both / (said or 1)


def main():
    """Print what is said of each change, and what fails; 1 where recall or precision is too low."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the figures alone")
    parser.add_argument("--only", metavar="NAME", help="one change")
    parser.add_argument("--random", type=int, default=0, metavar="COUNT", help="changes that chance makes instead")
    options = parser.parse_args()
    if options.random:
        plant(options.random)
    by_change, by_method = [], []
    for name in [options.only] if options.only else CHANGES:
        said, wrong = judge(name)
        by_change.append((bool(said), bool(wrong)))
        methods = connector(CHANGES[name][0]).methods
        by_method += [(one in said, one in wrong) for one in methods]
        if not options.quick or said.keys() != wrong.keys():
            print(f"{name}: {'breaks' if wrong else 'works'}, said to be {'breaking' if said else 'compatible'}")
        for one in sorted(said.keys() ^ wrong.keys()) if not options.only else methods:
            print(f"    {one}: said {said.get(one, 'nothing')!r}; {wrong.get(one, 'works')}")
    found = [*rates(by_change), *rates(by_method)]
    broken = sum(so for _, so in by_change)
    print(
        f"{len(by_change)} changes, {broken} of them break a method: recall {found[0]:.3f}, precision {found[1]:.3f}; "
        f"{len(by_method)} methods: recall {found[2]:.3f}, precision {found[3]:.3f}"
    )
    return 0 if min(found) >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
