"""What a document's connector has: operations, models and names, and what is listed instead."""

from pathlib import Path

import pytest
from generated_support import ODD

from runtime.generate import Options, make_plan
from runtime.openapi import Document, load, read

pytestmark = pytest.mark.sockets


DOCUMENTS = Path(__file__).parent.parent / "openapi"


def test_what_cannot_be_expressed_is_listed():
    """With the place and the reason; nothing is left out in silence."""
    plan = make_plan(read(Document("odd", ODD)), Options("odd"))
    assert {one.what: one.place for one in plan.left_out} == {
        "GET /api/v1/things/{ThingId}: header Accept": "/paths/~1api~1v1~1things~1{ThingId}/get/parameters/5",
        "operation GET /file": "/paths/~1file/get",
        "operation POST /upload": "/paths/~1upload/post",
    }
    assert [one.text for one in plan.notes] == [
        "the path has {ThingId}, the parameter is named thingId",
        "the path has {ThingId}, and no parameter is declared for it",
    ]


def test_what_the_service_requires_is_sent_or_the_operation_is_listed():
    """No method is made that the service would always reject; what is optional is left out and listed."""

    def operation(location, name, required):
        parameter = {"name": name, "in": location, "required": required, "schema": {"type": "string"}}
        return {"parameters": [parameter], "responses": {"204": {"description": "done"}}}

    rows = [("cookie", "sid", True), ("cookie", "sid", False), ("header", "Idempotency-Key", True)]
    rows += [("header", "Prefer", True), ("header", "Prefer", False), ("header", "Accept", True)]
    paths = {f"/{index}": {"get": operation(*row)} for index, row in enumerate(rows)}
    plan = make_plan(read(Document("d", {"openapi": "3.0.0", "paths": paths})), Options("d"))
    assert {one.operation.path: [row.wire for row in one.arguments] for one in plan.methods} == {
        "/1": [], "/3": ["Prefer"], "/4": [], "/5": [],
    }  # fmt: skip
    assert {(one.what, one.why) for one in plan.left_out} == {
        ("operation GET /0", "it requires the cookie sid; the client sends no cookies"),
        ("GET /1: cookie sid", "the client sends no cookies"),
        ("operation GET /2", "it requires the header Idempotency-Key; the client does not send it"),
        ("GET /4: header Prefer", "it describes the transport, and the service does not require it"),
        ("GET /5: header Accept", "the client and its settings send it"),
    }


@pytest.fixture(scope="module")
def plans():
    """The plan of each real document."""
    return {path.stem: make_plan(read(load(path)), Options("service")) for path in sorted(DOCUMENTS.glob("*.json"))}


def test_every_operation_of_a_real_document_is_there_or_listed(plans):
    """And every name is one of Python's, once."""
    for name, plan in plans.items():
        left_out = [one for one in plan.left_out if one.what.startswith("operation ")]
        assert len(plan.methods) + len(left_out) == len(plan.api.operations), name
        assert len({one.name for one in (*plan.models, *plan.enums)}) == len(plan.models) + len(plan.enums)
        for model in plan.models:
            assert len({one.name for one in model.fields}) == len(model.fields)
            assert all(one.name.isidentifier() for one in model.fields)


def test_both_notations_of_one_api_make_one_connector(plans):
    """The union of ASP.NET Core 10 is an int, its double a Decimal; a required string may be null in both."""
    nine, ten = plans["eshop-catalog-aspnet9"], plans["eshop-catalog-aspnet10"]
    shapes = [
        [(one.name, [(row.name, row.annotation) for row in one.fields]) for one in plan.models] for plan in (nine, ten)
    ]
    assert shapes[0] == shapes[1]
    (item,) = [one for one in ten.models if one.name == "CatalogItem"]
    annotations = {one.name: one.annotation for one in item.fields}
    assert annotations["id"] == "int | None"
    assert annotations["price"] == "Decimal | None"


@pytest.mark.parametrize(("wanted", "expected"), [(("price",), "float | None"), (("CatalogItem.price",), "float | None"), (("Other.price",), "Decimal | None")])  # fmt: skip
def test_a_number_is_a_decimal_unless_it_is_named(wanted, expected):
    """By the property, or by model and property."""
    plan = make_plan(read(load(DOCUMENTS / "eshop-catalog-aspnet9.json")), Options("catalog", floats=wanted))
    (item,) = [one for one in plan.models if one.name == "CatalogItem"]
    assert {one.name: one.annotation for one in item.fields}["price"] == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options("fast", tags=("admin",)), {"admin"}),
        (Options("fast", paths=("/api/inventory/list",)), {"inventory"}),
        (Options("fast", tags=("Admin",), paths=("/api/inventory",)), set()),
    ],
)
def test_tags_and_paths_choose(options, expected):
    """Models that only other operations need are not written."""
    plan = make_plan(read(load(DOCUMENTS / "fastendpoints-nswag14.json")), options)
    assert {one.path.split("/")[2] for one in plan.methods} == expected
    assert len(plan.models) < 20
