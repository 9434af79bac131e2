"""Connectors from documents: what they send and read."""

import json
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from generated_support import ODD, imported

from middleware.errors import DecodeError, InvalidArgumentError
from runtime.cli import new
from runtime.connectors.base import UnknownKeys, decoder
from runtime.connectors.loader import managed_connector
from runtime.generate import Options, changes, connector_files, make_plan, write
from runtime.openapi import Document, read
from runtime.testing import Reply, ScriptedUpstream, run_virtual

# What is written is formatted by a process of ruff.
pytestmark = pytest.mark.sockets


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
