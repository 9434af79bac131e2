"""What a changed document means: by rule, for methods and for connectors' source, and what the command prints."""

import copy
import json
from pathlib import Path

import pytest

from runtime.cli import diff
from runtime.compare import RULES, Verdict, compare
from runtime.openapi import Document, load, read

DOCUMENTS = Path(__file__).parent.parent / "openapi"


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


def new_item(root):
    return at(root, "components", "schemas", "NewItem")


def changed(change):
    """The document after *change*."""
    new = json.loads(json.dumps(OLD))  # so that no two places are one object
    change(new)
    return new


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


# --- connectors -------------------------------------------------------------------------------------------------------

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


def line_of(text):
    return next(number for number, line in enumerate(CONNECTOR.splitlines(), 1) if text in line)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Writes the documents and the connector, and runs the command."""
    monkeypatch.chdir(tmp_path)

    def run(change, *arguments):
        Path("old.json").write_text(json.dumps(OLD))
        Path("new.json").write_text(json.dumps(changed(change)))
        Path("items.py").write_text(CONNECTOR)
        return diff.main(["old.json", "new.json", *arguments])

    return run


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


def test_a_connector_is_judged_by_its_source(files, capsys):
    """What it calls, reads and sends: a field that it does not read may go, and a parameter that it sends may come."""
    assert files(change_all, "items.py", "--json") == 1
    found = {one["method"]: one for one in json.loads(capsys.readouterr().out)["methods"]}
    listed = {(one["code"], one["message"], one["row"]) for one in found["list_items"]["changes"]}
    line, model = line_of("_LIST ="), line_of("class Item")
    assert listed == {
        ("OD107", "response 200 `[].state` is gone", line),  # it reads it as `label`
        ("OD201", "header `X-Tenant` is not sent", line),
        ("OD201", "query `ids` is not sent", line),
        ("OD201", "query `zone` is not sent", line),
        ("OD202", "response `[].codes` is not read", model),
        ("OD202", "response `[].made` is not read", model),
    }
    assert [(one["code"], one["row"]) for one in found["create_item"]["changes"]] == [
        ("OD107", line_of("_CREATE =")),  # how it reads the response is not known
        ("OD107", line_of("_CREATE =")),
        ("OD201", line_of("class NewItem")),
        ("OD201", line_of("class NewItem")),
    ]
    assert found["delete_item"]["changes"][0]["code"] == "OD101"
    assert found["older"]["changes"][0]["message"] == "the operation is in neither document"
    assert {one["filename"] for one in found.values() if one["row"]} == {"items.py"}


@pytest.mark.parametrize(
    "annotation", ["list[Part] | None", "Optional[List[Part]]", '"list[Part] | None"', 'None | list["Part"]']
)
def test_annotations_are_read_however_they_are_written(tmp_path, monkeypatch, capsys, annotation):
    """A field of an item that is not read may go, and one that is there and not read is listed."""
    monkeypatch.chdir(tmp_path)
    Path("part.py").write_text(
        "from dataclasses import dataclass\nfrom typing import List, Optional\n"
        "from runtime.connectors.base import Endpoint, decoder\n\n\n"
        "@dataclass\nclass Part:\n    id: int\n    made: Optional[str] = None\n    parts: 'List[Part] | None' = None\n\n\n"
        f"@dataclass\nclass Item:\n    id: int\n    parts: {annotation} = None\n\n\n"
        'E = Endpoint("GET", "/api/items", "list_items", decoder(list[Item]))\n'
    )

    new = changed(lambda root: item(root, "codes").update(items=ref("Item")))
    properties = at(new, "components", "schemas", "Item", "properties")
    properties["parts"] = properties.pop("codes")
    Path("old.json").write_text(json.dumps(new))
    del properties["name"]
    Path("new.json").write_text(json.dumps(new))
    assert diff.main(["old.json", "new.json", "part.py", "--json"]) == 0
    (found,) = (one for one in json.loads(capsys.readouterr().out)["methods"] if one["filename"])
    assert "response `[].parts[].state` is not read" in [one["message"] for one in found["changes"]]


def test_what_no_connector_calls_does_not_break_it(files, capsys):
    """A connector of the remaining operations is fine."""
    Path("part.py").write_text(
        'from runtime.connectors.base import Endpoint\nE = Endpoint("GET", "/api/items", "all", f)\n'
    )
    assert files(lambda root: root["paths"].pop("/api/items/{id}"), "part.py") == 0
    assert "compatible: delete_item (DELETE /api/items/{id})\n  OD205" in capsys.readouterr().out


def test_connectors_of_other_services_are_left_out(files, capsys):
    """Their operations are in no document."""
    Path("other.py").write_text('from runtime.connectors.base import Endpoint\nE = Endpoint("GET", "/api/x", "x", f)\n')
    assert files(lambda _: None, "other.py", "items.py", "--json") == 1
    methods = [one["method"] for one in json.loads(capsys.readouterr().out)["methods"]]
    assert "older" in methods
    assert "x" not in methods
    with pytest.raises(SystemExit, match="2"):
        files(lambda _: None, "other.py")


# --- the command ------------------------------------------------------------------------------------------------------


def test_methods_with_the_same_changes_share_them(files, capsys):
    """The text names each method, each change once, and the exit code is 1."""
    change = lambda root: at(root, "components", "schemas", "Item", "properties").pop("name")  # noqa: E731
    assert files(change) == 1
    assert capsys.readouterr().out == (
        "breaking: list_items (GET /api/items)\n"
        "  OD107 response 200 `[].name` is gone\n"
        "    old.json#/components/schemas/Item/properties/name\n"
        "breaking: create_item (POST /api/items)\n"
        "  OD107 response 201 `name` is gone\n"
        "    old.json#/components/schemas/Item/properties/name\n"
        "Found 2 breaking; 2 unchanged.\n"
    )


def test_without_a_breaking_change_the_exit_code_is_0(files, capsys):
    """Compatible and new changes are listed."""
    assert files(lambda root: items(root).update(deprecated=True)) == 0
    assert "Found 1 compatible; 3 unchanged.\n" in capsys.readouterr().out
    assert files(lambda _: None) == 0
    assert capsys.readouterr().out == "Nothing has changed on the wire: 4 methods.\n"


def test_other_formats_have_each_rule(files, capsys):
    """SARIF and annotations of GitHub Actions, with the place in the connector where there is one."""
    assert files(change_all, "items.py", "--sarif") == 1
    rules = {one["id"] for one in json.loads(capsys.readouterr().out)["runs"][0]["tool"]["driver"]["rules"]}
    assert rules <= RULES.keys()
    assert files(change_all, "--github") == 1
    assert "::error title=OD101 operation-gone::old.json#/paths" in capsys.readouterr().out
    assert diff.main(["--explain", "all"]) == 0
    assert all(one in capsys.readouterr().out for one in ["OD101"])


@pytest.mark.parametrize(
    "arguments",
    [[], ["old.json"], ["old.json", "none.json"], ["old.json", "old.json", "none"], ["old.json", "broken.json"]],
)
def test_wrong_usage_is_2(tmp_path, monkeypatch, arguments):
    """So that CI can distinguish a broken document from a breaking one."""
    monkeypatch.chdir(tmp_path)
    Path("old.json").write_text(json.dumps(OLD))
    Path("broken.json").write_text("{")
    with pytest.raises(SystemExit) as caught:
        diff.main(arguments)
    assert caught.value.code == 2


def test_a_document_cannot_steer_the_terminal(files, capsys):
    """Control characters in its names are not printed."""
    for form in ("text", "github"):
        wrong = {"name": "a\x1b[2J\ud800", "in": "query", "required": True, "schema": TEXT}
        assert files(lambda root, one=wrong: items(root)["parameters"].append(one), "--format", form) == 1
        assert "`a?[2J?`" in capsys.readouterr().out
