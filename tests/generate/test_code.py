"""Connectors from documents: what they send and read, and how they are written again."""

import importlib.util
import json
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from middleware.errors import DecodeError, InvalidArgumentError
from runtime.cli import new
from runtime.connectors.base import UnknownKeys, decoder
from runtime.connectors.loader import managed_connector
from runtime.connectors.registry import Connector
from runtime.contract import check_paths
from runtime.generate import NotGeneratedError, Options, changes, connector_files, make_plan, write
from runtime.generate.template import template
from runtime.openapi import Document, load, read
from runtime.testing import Reply, ScriptedUpstream, run_virtual

# What is written is formatted by a process of ruff.
pytestmark = pytest.mark.sockets

DOCUMENTS = Path(__file__).parent.parent / "openapi"

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


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """The connector of a document with one of everything."""
    folder = tmp_path_factory.mktemp("odd")
    list(write(folder, changes(folder, connector_files(make_plan(read(Document("odd", ODD)), Options("odd"))))))
    yield imported(folder, "odd")
    del sys.modules["odd_connector"]


def call(module, name, response, **arguments):
    """The result of one call, and the request that the service read."""

    async def run():
        upstream = ScriptedUpstream([response])
        connector = managed_connector(module.ODD, upstream.client(service="odd"))
        return await getattr(connector, name)(**arguments), upstream.requests[0]

    return run_virtual(run())


THING = UUID(int=7)


def test_a_response_is_read_as_dotnet_means_it(odd):
    """Exact decimals, times without offset, TimeSpan, unknown fields and enum values, null where the document hides it."""
    body = """{"count": "12", "price": 1234567890.12345678901234567, "ratio": 2, "state": "Later", "level": "Low, High",
        "date": "2027-01-15T00:00:00", "made": "2027-01-15T08:00:00.1234567", "lasts": "1.02:03:04.5", "parent": null,
        "@odata.etag": "e", "unknown": 1, "blob": "dGV4dA==", "tags": {"a": 1}}"""
    found, request = call(odd, "get_things", Reply(body=body.encode()), thing_id=THING, x_tenant="t")
    assert found.count == 12
    assert found.price == Decimal("1234567890.12345678901234567")
    assert found.ratio == 2.0
    assert type(found.ratio) is float
    assert found.state == "Later"
    assert found.level == 3
    assert isinstance(found.state, odd.State)
    assert isinstance(found.level, odd.Level)
    assert found.date_ == date(2027, 1, 15)
    assert found.lasts == timedelta(days=1, hours=2, minutes=3, seconds=4.5)
    assert found.made == datetime(2027, 1, 15, 8, 0, 0, 123456, tzinfo=UTC)
    assert found.parent is None
    assert found.odata_etag == "e"
    assert found.blob == b"text"
    assert found.tags == {"a": 1}
    assert request.path == f"/api/v1/things/{THING}"


@pytest.mark.parametrize(
    "document", [{}, {"count": None}, {"count": "x"}, {"count": 1, "lasts": "P1Y"}, {"count": 1, "blob": "%"}]
)
def test_what_is_no_thing_is_an_error_of_ours(odd, document):
    """A required value type is never null."""
    with pytest.raises(DecodeError):
        call(odd, "get_things", document, thing_id=THING, x_tenant="t")


def test_a_request_is_sent_as_the_document_says(odd):
    """Lists repeat their key or are joined, times have a zone, headers are the service's own, transport headers are not."""
    since = datetime(2027, 1, 15, tzinfo=UTC)
    arguments = {"class_": [1, 2], "since": since, "codes": ["a", "b"], "x_tenant": "acme"}
    _, request = call(odd, "get_things", {"count": 1}, thing_id=THING, **arguments)
    assert request.query == "class=1&class=2&since=2027-01-15T00%3A00%3A00%2B00%3A00&codes=a%2Cb"
    assert request.headers["x-tenant"] == "acme"


def test_a_body_has_the_names_of_the_document(odd):
    """Nested models, and no field that is None; 201 without a body is a success."""
    parent = odd.Thing(count=1, state=odd.State.N2_ND)
    thing = odd.Thing(
        count=2, price=Decimal("1.10"), ratio=0.5, level=odd.Level.ALL, date_=date(2027, 1, 15), lasts=timedelta(days=-1, seconds=1),
        parent=parent, odata_etag="e", blob=b"text", tags={"a": 1},
    )  # fmt: skip
    found, request = call(odd, "update_thing", Reply(status=201), thing_id="7", request=thing)
    assert found is True
    assert request.headers["content-type"] == "application/json"
    assert request.json == {
        "count": 2, "price": 1.1, "Ratio": 0.5, "level": 99, "date": "2027-01-15", "lasts": "-23:59:59", "@odata.etag": "e",
        "parent": {"count": 1, "state": "2nd"}, "blob": "dGV4dA==", "tags": {"a": 1},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("parent", {"count": 1}, "request.parent"),
        ("tags", {"a": "x"}, "request.tags['a']"),
        ("made", datetime(2027, 1, 15), "request.made: must have a time zone"),
        ("date_", datetime(2027, 1, 15, tzinfo=UTC), "request.date_"),
        ("count", True, "request.count"),
        ("price", Decimal("0.1234567890123456789012345"), "more digits"),
        ("price", Decimal("NaN"), "more digits"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_sent(odd, field, value, place):
    """By its path in the request."""
    thing = odd.Thing(count=1)
    setattr(thing, field, value)
    with pytest.raises(InvalidArgumentError) as caught:
        call(odd, "update_thing", 500, thing_id="7", request=thing)
    assert place in str(caught.value)


@pytest.mark.parametrize("value", ["a\r\nb", "", "ü", 7.5j, b"x"])
def test_a_header_takes_no_other_characters(odd, value):
    """The value is not shown."""
    with pytest.raises(InvalidArgumentError) as caught:
        call(odd, "get_things", 500, thing_id=THING, x_tenant=value)
    assert "x-tenant" in str(caught.value).replace("_", "-")


def test_variants_are_read_by_their_discriminator(odd):
    """Without a mapping by the component's name; one that is not known is the base, with its keys."""
    documents = [{"kind": "Circle", "radius": 1.5, "name": "c"}, {"kind": "Hexagon", "name": "h", "sides": 6}]
    (circle, other), _ = call(odd, "list_shapes", documents)
    assert (type(circle), circle.radius, circle.name) == (odd.Circle, Decimal("1.5"), "c")
    assert type(other) is odd.Shape
    assert other.name == "h"
    assert other.extra == {"sides": 6}


@dataclass
class Pet:
    extra: UnknownKeys = field(default_factory=dict)


@dataclass
class Cat(Pet):
    lives: int | None = None


@dataclass
class Dog(Pet):
    tricks: list[str] | None = None
    breed: str | None = None


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"lives": 9}, Cat(lives=9)),
        ({"breed": "b", "size": 1}, Dog(breed="b", extra={"size": 1})),
        ({}, Pet()),
        ({"size": 1}, Pet(extra={"size": 1})),
    ],
)
def test_variants_without_a_discriminator_are_read_by_their_keys(document, expected):
    """A document with none of them is the base."""
    assert decoder(Pet, variants={Pet: ("", {"Cat": Cat, "Dog": Dog})})(document) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("00:00:01", timedelta(seconds=1)),
        ("-1.00:00:00.0000001", -timedelta(days=1)),
        ("P1DT2H3.5S", timedelta(days=1, hours=2, seconds=3.5)),
        ("PT5M", timedelta(minutes=5)),
    ],
)
def test_durations_are_read_in_both_notations(text, expected):
    """.NET's TimeSpan, and ISO 8601 without years and months."""
    assert decoder(timedelta)(text) == expected


@pytest.mark.parametrize("text", ["", "P", "PT", "P1Y", "5", "25", "1:2", "99999999999.00:00:00"])
def test_other_texts_are_no_durations(text):
    """An error of ours, whatever the text."""
    with pytest.raises(DecodeError):
        decoder(timedelta)(text)


@dataclass
class Times:
    made: datetime | None = None
    made_at: datetime | None = None


def test_a_time_is_not_read_as_another_field():
    """`madeAt` is a field of its own here, and no other name of `made`."""
    found = decoder(Times)({"made": None, "madeAt": "2027-01-15T08:00:00Z"})
    assert found == Times(made_at=datetime(2027, 1, 15, 8, tzinfo=UTC))


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


def test_a_connector_made_by_flags_is_conformant(tmp_path):
    """The contract's template: five operations; it is registered by its entry point, and passes the check."""
    document = template("invoices", "Invoice", ["amount:decimal", "due:date", "paid:bool"], "/api/invoices")
    list(write(tmp_path, changes(tmp_path, connector_files(make_plan(read(document), Options("invoices"))))))
    assert check_paths([tmp_path], strict=True) == []
    module = imported(tmp_path, "invoices")
    try:
        assert isinstance(module.INVOICES, Connector)
        assert module.INVOICES.operations == (
            "list_invoices",
            "create_invoice",
            "get_invoice",
            "update_invoice",
            "delete_invoice",
        )
    finally:
        del sys.modules["invoices_connector"]
    assert 'invoices = "invoices_connector:INVOICES"' in (tmp_path / "pyproject.toml").read_text()


# --- written again ----------------------------------------------------------------------------------------------------

OLD = {"a.py": "one\ntwo\nthree\nfour\nfive\n"}


def written(folder, files):
    return [path.name for path in write(folder, changes(folder, files))]


def test_edits_are_kept_when_other_lines_change(tmp_path):
    """Three-way: the ancestor is what was generated last time."""
    assert written(tmp_path, OLD) == ["a.py"]
    (tmp_path / "a.py").write_text("one\nedited\nthree\nfour\nfive\n")
    (change,) = changes(tmp_path, {"a.py": "one\ntwo\nthree\nfour\nsix\n"})
    assert change.new == "one\nedited\nthree\nfour\nsix\n"
    assert change.conflicts == ()
    assert "+six" in change.diff()
    list(write(tmp_path, [change]))
    assert written(tmp_path, {"a.py": "one\ntwo\nthree\nfour\nsix\n"}) == []


def test_lines_that_both_changed_are_a_conflict(tmp_path):
    """With git's markers; neither side is lost."""
    written(tmp_path, OLD)
    (tmp_path / "a.py").write_text("one\nedited\nthree\nfour\nfive\n")
    (change,) = changes(tmp_path, {"a.py": "one\ngenerated\nthree\nfour\nfive\n"})
    assert change.new == "one\n<<<<<<< edited\nedited\n=======\ngenerated\n>>>>>>> generated\nthree\nfour\nfive\n"
    assert [one.line for one in change.conflicts] == [2]


def test_a_file_that_was_not_generated_is_not_overwritten(tmp_path):
    """Unless it has the same text."""
    (tmp_path / "a.py").write_text("mine\n")
    with pytest.raises(NotGeneratedError, match="was not generated"):
        changes(tmp_path, OLD)
    (tmp_path / "a.py").write_text(OLD["a.py"])
    assert written(tmp_path, OLD) == []


def test_an_unchanged_file_is_replaced_by_a_new_version(tmp_path):
    """And a file that was removed is written again."""
    written(tmp_path, OLD)
    assert written(tmp_path, {"a.py": "new\n"}) == ["a.py"]
    (tmp_path / "a.py").unlink()
    assert written(tmp_path, {"a.py": "new\n"}) == ["a.py"]


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def odd_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "odd.json"
    path.write_text("\ufeff" + json.dumps(ODD), encoding="utf-8")
    return str(path)


def test_the_command_shows_and_then_writes(odd_file, tmp_path, capsys):
    """A dry run writes nothing; what is not as in the document is said both times."""
    assert new.main(["odd", "--from", odd_file, "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert "+class OddConnector(Protocol):" in shown.out
    assert "operation POST /upload: its body is multipart/form-data" in shown.err
    assert not (tmp_path / "odd_connector").exists()
    assert new.main(["odd", "--from", odd_file]) == 0
    shown = capsys.readouterr()
    assert "wrote odd_connector/odd_connector/__init__.py" in shown.out
    assert "next: python3 -m runtime test odd_connector\n" in shown.err  # no index has the runtime of a checkout
    assert check_paths([tmp_path / "odd_connector"], strict=True) == []
    assert new.main(["odd", "--from", odd_file]) == 0
    assert capsys.readouterr().out == ""


def test_a_document_cannot_steer_the_terminal(odd_file, capsys):
    """Control characters in its paths are not printed."""
    odd = {**ODD, "paths": {**ODD["paths"], "/a\x1b[2J": ODD["paths"]["/upload"]}}
    Path(odd_file).write_text(json.dumps(odd))
    assert new.main(["odd", "--from", odd_file, "--dry-run"]) == 0
    assert "has a character that is not printed (/paths/~1a?[2J/post)" in capsys.readouterr().err


HOSTILE = "a\x1b[2J\x07\x9b\u202e\u2028z"


def test_no_text_of_a_document_controls_a_terminal(tmp_path, capsys):
    """Neither in what is written nor in what is shown; a path with such a character is left out."""
    schema = {"type": "object", "description": HOSTILE, "properties": {HOSTILE: {"$ref": f"#/{HOSTILE}"}}}
    content = {"application/json": {"schema": schema}}
    operation = {"operationId": HOSTILE, "summary": HOSTILE, "responses": {"200": {"description": HOSTILE, "content": content}}}  # fmt: skip
    paths = {path: {"get": operation} for path in ("/a", f"/{HOSTILE}")}
    document = {"openapi": "3.0.3", "info": {"title": HOSTILE, "version": HOSTILE}, "paths": paths}
    (tmp_path / "a.json").write_text(json.dumps(document))
    (tmp_path / "b.json").write_text(json.dumps({"openapi": HOSTILE}))
    assert new.main(["odd", "--from", str(tmp_path / "a.json"), "--output", str(tmp_path / "odd")]) == 0
    with pytest.raises(SystemExit):
        new.main(["odd", "--from", str(tmp_path / "b.json")])
    shown = capsys.readouterr()
    assert shown.err.count("its path has a character that is not printed") == 1
    files = [path.read_text() for path in (tmp_path / "odd").rglob("*") if path.is_file()]
    assert len(files) > 4
    for text in (shown.out, shown.err, *files):
        assert all(line.isprintable() for line in text.split("\n"))


def test_next_to_an_installed_runtime_the_connector_is_installed(odd_file, capsys, monkeypatch):
    """As a package of its own, so that it is in every bundle."""
    monkeypatch.setattr(new, "project_directory", lambda: None)
    assert new.main(["odd", "--from", odd_file]) == 0
    assert "next: pip install -e odd_connector && python3 -m pytest odd_connector\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["Odd"], "words in lower case"),
        (["class"], "words in lower case"),
        (["odd", "--from", "none.json"], "cannot be read"),
        (["odd", "--from", "odd.json", "--tag", "none"], "no operation has none; the document's tags are none"),
        (["odd", "--from", "odd.json", "--path", "/file"], "the client reads JSON"),
        (["odd", "--field", "a:b"], "NAME:TYPE"),
        (["odd", "--path", "x"], "slash"),
    ],
)
@pytest.mark.usefixtures("odd_file")
def test_wrong_usage_is_one_line(arguments, problem, capsys):
    """With the exit code of wrong usage."""
    with pytest.raises(SystemExit) as caught:
        new.main(arguments)
    assert caught.value.code == 2
    assert problem in capsys.readouterr().err
