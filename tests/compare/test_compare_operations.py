"""
What a changed document means for methods, by rule.

Also the tests of `runtime.compare.rules` and `runtime.compare.schemas`.
"""

import copy
from pathlib import Path

import pytest
from compare_support import (
    NUMBER,
    OLD,
    TEXT,
    at,
    changed,
    item,
    items,
)

from runtime.compare import Verdict, compare
from runtime.openapi import Document, load, read

DOCUMENTS = Path(__file__).parent.parent / "openapi"


def new_item(root):
    return at(root, "components", "schemas", "NewItem")


def rules_of(change):
    """The rules of what is found, by method."""
    new = changed(change)
    found = compare(read(Document("old", OLD)), read(Document("new", new)))
    for method in found:
        for one in method.changes:
            Document("", OLD if one.in_old else new).at(one.place)  # the place is there
    return {one.name: [row.rule for row in one.changes] for one in found if one.changes}


READ = ("list_items", "create_item")


@pytest.mark.parametrize(
    ("change", "methods", "rule"),
    [
        (lambda root: root["paths"].pop("/api/items/{id}"), ["delete_item"], "OD101"),
        (lambda root: items(root)["parameters"][0].update(required=True), ["list_items"], "OD102"),
        (lambda root: new_item(root).update(required=["count"]), ["create_item"], "OD102"),
        (lambda root: items(root)["parameters"][0].update(schema={"type": "boolean"}), ["list_items"], "OD103"),
        (lambda root: items(root)["parameters"][0].update(schema={**NUMBER, "minimum": 0}), ["list_items"], "OD103"),
        (lambda root: items(root)["parameters"][1].update(explode=False), ["list_items"], "OD103"),
        (lambda root: new_item(root)["properties"]["count"].update(format="int32"), ["create_item"], "OD103"),
        (lambda root: new_item(root)["properties"].pop("count"), ["create_item"], "OD104"),
        (lambda root: items(root)["parameters"].pop(2), ["list_items"], "OD104"),
        (lambda root: items(root).update(security=[{"jwt": []}]), ["list_items"], "OD105"),
        (lambda root: item(root, "id").update(type="string", format=""), READ, "OD106"),
        (lambda root: item(root, "id").update(type="string", format="byte"), READ, "OD106"),
        (lambda root: item(root, "id").update(nullable=True), READ, "OD106"),
        (lambda root: item(root, "codes")["items"].update(nullable=True), READ, "OD106"),
        (lambda root: at(root, "components", "schemas", "Item").pop("required"), READ, "OD106"),
        (lambda root: at(root, "components", "schemas", "Item", "properties").pop("name"), READ, "OD107"),
        (lambda root: items(root).update(responses={"204": {}}), ["list_items"], "OD108"),
        (lambda root: items(root)["parameters"].append({"name": "page", "in": "query", "schema": NUMBER}), ["list_items"], "OD201"),
        (lambda root: new_item(root)["properties"].update(note=TEXT), ["create_item"], "OD201"),
        (lambda root: at(root, "components", "schemas", "Item", "properties").update(note=TEXT), READ, "OD202"),
        (lambda root: item(root, "state")["enum"].append("Gone"), READ, "OD203"),
        (lambda root: item(root, "made").update(format="date"), READ, "OD203"),
        (lambda root: items(root)["parameters"][0]["schema"].update(default=10), ["list_items"], "OD203"),
        (lambda root: items(root).update(deprecated=True), ["list_items"], "OD204"),
        (lambda root: root["paths"].pop("/api/items/{id}/file"), ["GetFile"], "OD205"),
        (lambda root: root["paths"].update({"/api/more": {"get": {"operationId": "GetMore", "responses": {}}}}), ["get_more"], "OD301"),
    ],
)  # fmt: skip
def test_each_kind_of_change_has_its_rule(change, methods, rule):
    """Reasons have places that are there, and other methods have none."""
    found = rules_of(change)
    assert set(found) == set(methods)
    assert all(rule in rules for rules in found.values()), found


@pytest.mark.parametrize(
    "change",
    [
        lambda root: item(root, "name").update(nullable=True),
        lambda root: item(root, "parent").update(description="above"),
        lambda root: at(root, "components", "schemas", "Item").update(additionalProperties=False),
        lambda root: new_item(root)["properties"]["name"].update(nullable=True),
        lambda root: items(root)["responses"].update({"404": {}}),
        lambda root: items(root)["parameters"].reverse(),
        lambda root: items(root)["parameters"].append({"name": "User-Agent", "in": "header", "required": True}),
        lambda root: item(root, "id").clear() or item(root, "id").update(type=["integer", "string"], format="int64"),
        lambda root: root["paths"].update({"/API/Items": root["paths"].pop("/api/items")}),
    ],
)
def test_notation_is_no_change(change):
    """What connectors read and send alike is not reported."""
    assert rules_of(change) == {}


@pytest.mark.parametrize("order", [1, -1])
def test_two_generators_of_one_service_are_no_change(order):
    """The eShop catalog by ASP.NET Core 9 and 10."""
    old, new = [read(load(DOCUMENTS / f"eshop-catalog-aspnet{one}.json")) for one in (9, 10)][::order]
    assert [one.changes for one in compare(old, new)] == [()] * 13


def test_properties_that_differ_in_case_alone_are_two():
    """One that has its exact name in the new document is compared with that one."""

    def add(root):
        new_item(root)["properties"]["Name"] = NUMBER

    new = read(Document("new", changed(add)))
    assert [one.changes for one in compare(new, new)] == [()] * 4
    assert rules_of(add) == {"create_item": ["OD201"]}


def test_a_moved_operation_names_its_new_place():
    """It is one change, and no new operation."""

    def move(root):
        root["paths"]["/api/v2/items"] = root["paths"].pop("/api/items")

    new = changed(move)
    found = [one for one in compare(read(Document("", OLD)), read(Document("", new))) if one.changes]
    assert [one.changes[0].reason for one in found] == [
        "the operation is GET /api/v2/items now",
        "the operation is POST /api/v2/items now",
    ]
    assert found[0].verdict is Verdict.BREAKING


def test_credentials_are_compared_by_what_is_sent():
    """The name of a scheme means nothing, one alternative is enough, and a further scope is not."""

    def old(root):
        items(root)["security"] = [{"jwt": ["read"]}]

    before = changed(old)

    def found(security, **schemes):
        new = copy.deepcopy(before)
        items(new)["security"] = security
        new["components"]["securitySchemes"].update(schemes)
        return [
            one.reason for row in compare(read(Document("", before)), read(Document("", new))) for one in row.changes
        ]

    assert found([{"other": ["read"]}], other={"type": "oauth2"}) == []
    assert found([{"key": []}, {"jwt": []}]) == []
    assert found([]) == []
    assert found([{"jwt": ["read", "write"]}]) == ["the operation needs a bearer token with read, write"]
    assert found([{"key": []}]) == ["the operation needs header K"]
