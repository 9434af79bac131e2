"""Documents are converted to typed objects."""

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from middleware import DecodeError
from middleware.errors import OperationFailedError
from runtime.connectors.base import decode_page, decoder, refuse_failure, spelled, succeeded, unwrap


@dataclass
class Part:
    serial_no: str
    made_at: datetime | None = None


@dataclass
class Thing:
    thing_id: str
    is_live: bool = False
    size: int = 0
    parts: list[Part] = field(default_factory=list)
    by_name: dict[str, Part] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


thing = decoder(Thing)


@pytest.mark.parametrize("key", ["thing_id", "thingId", "ThingId"])
def test_three_spellings_are_one_field(key):
    """snake, camel and Pascal case."""
    assert thing({key: "t"}) == Thing("t")


def test_free_form_keys_stay_untouched():
    """Only declared fields are renamed."""
    metadata = {"camelKey": 1, "snake_key": {"thingId": 2}}
    assert thing({"thingId": "t", "metadata": metadata, "unknown": 3}).metadata == metadata


def test_nested_objects_are_decoded():
    """In lists and in maps."""
    found = thing({"thingId": "t", "parts": [{"serialNo": "a"}], "byName": {"someKey": {"SerialNo": "b"}}})
    assert found.parts == [Part("a")]
    assert found.by_name == {"someKey": Part("b")}


@pytest.mark.parametrize("digits", range(10))
def test_any_number_of_fractional_digits(digits):
    """.NET writes none to seven."""
    text = "2026-01-02T03:04:05" + ("." + "123456789"[:digits] if digits else "") + "Z"
    micros = int("123456789"[: min(digits, 6)].ljust(6, "0")) if digits else 0
    assert decoder(Part)({"serial_no": "a", "made_at": text}).made_at == datetime(2026, 1, 2, 3, 4, 5, micros, UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05+00:00"),
        ("2026-01-02", "2026-01-02T00:00:00+00:00"),
        ("2026-01-02T03:04Z", "2026-01-02T03:04:00+00:00"),
        ("2026-01-02 03:04:05,5-0230", "2026-01-02T05:34:05.500000+00:00"),
        ("2026-01-02T03:04:05z", "2026-01-02T03:04:05+00:00"),
        (" 0002-01-01 ", "0002-01-01T00:00:00+00:00"),
    ],
)
def test_times_are_always_aware(text, expected):
    """Without a zone they are UTC."""
    assert decoder(Part)({"serial_no": "a", "made_at": text}).made_at.isoformat() == expected


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00", "0001-12-31", "0000-00-00"])
def test_year_one_is_no_date(text):
    """It is how .NET writes that there is no date."""
    assert thing({"thing_id": "t", "parts": [{"serial_no": "a", "made_at": text}]}).parts == [Part("a")]


@pytest.mark.parametrize(
    "text", ["soon", "-", 7, True, "2026-13-01", "2026-01-01T25:00:00Z", "9999-12-31T23:59:59-01:00", {}]
)
def test_a_wrong_time_names_its_path(text):
    """The value itself is not quoted."""
    with pytest.raises(DecodeError, match=r"^parts\[1\]\.made_at: must be an ISO 8601 time$"):
        thing({"thing_id": "t", "parts": [{"serial_no": "a"}, {"serial_no": "b", "made_at": text}]})


def reason_of(function, *arguments):
    """Return the reason of the error that *function* raises."""
    with pytest.raises(DecodeError) as caught:
        function(*arguments)
    return caught.value.reason


@pytest.mark.parametrize("value", ["true", 1, 0, "yes", [], {}])
def test_a_flag_is_true_or_false(value):
    """A string that reads like a flag is not one."""
    assert reason_of(thing, {"thing_id": "t", "is_live": value}) == "is_live: must be true or false"


def test_a_number_is_no_flag():
    """True is not 1."""
    assert reason_of(thing, {"thing_id": "t", "size": True}) == "size: must be a number"
    assert reason_of(decoder(list[float]), [0.5, True]) == "[1]: must be a number"


def test_null_is_the_default():
    """The platform writes null for an unknown value."""
    assert thing({"thing_id": "t", "parts": None, "is_live": None}) == Thing("t")

    @dataclass
    class Other:
        name: str = "nameless"
        tags: list[str] = field(default_factory=lambda: ["none"])

    assert decoder(Other)({"name": None, "tags": None}) == Other()


def test_null_is_a_value_where_the_model_says_so():
    """A field without a default that may be None keeps the null, also in a union."""
    assert decoder(Known)({"id": None, "at": None, "on": None, "part": None}) == Known(None, None, None, None)
    found = decoder(Known)({"id": 7, "at": "2026-01-02", "on": True, "part": {"SerialNo": "a"}})
    assert found == Known(7, datetime(2026, 1, 2, tzinfo=UTC), True, Part("a"))


@dataclass
class Known:
    id: int | str | None
    at: datetime | None
    on: bool | None
    part: Part | None


def test_the_first_spelling_that_says_something_is_taken():
    """A null is skipped if another spelling has a value; the field's own name has precedence over declared ones."""
    also = {Part: {"serial_no": ("number", "plate_no")}}
    assert decoder(Part, also)({"serial_no": None, "PlateNo": "b", "number": "a"}) == Part("a")
    assert decoder(Part, also)({"serialNo": "own", "number": "a"}) == Part("own")
    assert decoder(list[Part], also)([{"plateNo": "b"}]) == [Part("b")]


def test_each_word_begins_with_a_capital():
    """However many there are."""

    @dataclass
    class Worded:
        last_seen_by_us: str

    for key in ("last_seen_by_us", "lastSeenByUs", "LastSeenByUs"):
        assert decoder(Worded)({key: "a"}) == Worded("a")


PART = decoder(dict[str, Part])


@pytest.mark.parametrize(
    ("function", "document", "reason"),
    [
        (thing, {}, "not a Thing: thing_id: Field required"),
        (thing, {"thing_id": None}, "not a Thing: thing_id: Input should be a valid string"),
        (thing, {"thing_id": {}}, "not a Thing: thing_id: Input should be a valid string"),
        (PART, {"a": {}}, "not a dict: a.serial_no: Field required"),
        (PART, {".b": {}}, "not a dict: .b.serial_no: Field required"),
        (PART, {"b": {"serial_no": "x", "made_at": "now"}}, "b.made_at: must be an ISO 8601 time"),
        (decoder(list[Part]), [{}], "not a list: [0].serial_no: Field required"),
        (PART, 7, "not a dict: $: Input should be"),
        (decoder(datetime), "2026-13-01", "$: must be an ISO 8601 time"),
        (decoder(datetime), "now", "$: must be an ISO 8601 time"),
        (decoder(bool), 1, "$: must be true or false"),
        (decoder(int), True, "$: must be a number"),
    ],
)
def test_an_error_names_the_path_of_the_wrong_value(function, document, reason):
    """The document itself is `$`; a key is shown as it is."""
    assert reason_of(function, document).startswith(reason)


@pytest.mark.parametrize("kind", [Part, list[Part], dict[str, Part], list[datetime] | None, Part | Thing])
@pytest.mark.parametrize("document", [7, "x", ["x"], {"a": "x"}, [["x"]], [{"a": {}}], {"serial_no": []}])
def test_a_document_of_another_shape_is_a_decode_error(kind, document):
    """No other exception is raised."""
    assert reason_of(decoder(kind), document)


@dataclass
class Six:
    a: str
    b: str
    c: str
    d: str
    e: str
    f: str


def test_only_the_first_five_problems_are_listed():
    """The error says how many more there are."""
    listed = "; ".join(f"{name}: Field required" for name in "abcde")
    assert reason_of(decoder(Six), {}) == f"not a Six: {listed}; and 1 more"
    assert reason_of(decoder(Six), {"f": ""}) == f"not a Six: {listed}"


def test_every_wrong_field_is_named_and_no_value_is_quoted():
    """One error lists all of them, and shows nothing that may be secret."""
    with pytest.raises(DecodeError) as caught:
        thing({"thing_id": 7, "size": "secret", "parts": [{"serial_no": None}]})
    text = str(caught.value)
    assert all(path in text for path in ("thing_id:", "size:", "parts[0].serial_no:"))
    assert "secret" not in text


def test_a_model_serialises_by_its_own_names():
    """Decoding adds no alias that a host's API would show."""
    assert b"thing_id" in TypeAdapter(Thing).dump_json(Thing("t"))


@pytest.mark.parametrize(
    "document", [[{"thing_id": "t"}], {"items": [{"thing_id": "t"}]}, {"things": [{"thingId": "t"}]}]
)
def test_list_shapes(document):
    """A bare array, or an object that contains it."""
    assert decode_page(document, thing, "things", "items") == ([Thing("t")], None)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (None, "$"),
        (7, "$"),
        ("x", "$"),
        ({}, "things"),
        ({"things": {}}, "things"),
        ({"other": []}, "things"),
        ({"Items": None}, "Items"),
    ],
)
def test_no_list_is_a_decode_error(document, place):
    """A missing list is not an empty one; the first key is what is asked for."""
    assert reason_of(decode_page, document, thing, "things", "items") == f"{place}: must be a list"


@pytest.mark.parametrize("key", ["total", "totalCount", "totalDeployments", "count", "Total", "TotalCount"])
def test_the_total_is_found_by_its_names(key):
    """Each that the platform's services use."""
    assert decode_page({"items": [], key: 7}, thing, "items") == ([], 7)


@pytest.mark.parametrize(
    ("said", "total"), [(0, 0), (1, 1), (-1, None), (True, None), (False, None), ("3", None), (2.0, None), (None, None)]
)
def test_a_total_is_a_whole_number(said, total):
    """Anything else is read as no total."""
    assert decode_page({"items": [], "total": said, "count": 9}, thing, "items") == ([], total)


def test_a_wrong_item_names_its_place():
    """The error has the index of the wrong item."""
    document = {"Things": [{"thing_id": "t"}, {"thing_id": "u", "is_live": 1}]}
    assert reason_of(decode_page, document, thing, "things") == "Things[1]: is_live: must be true or false"
    assert reason_of(decode_page, [{"thing_id": "t", "size": True}], thing, "things") == "$[0]: size: must be a number"


@pytest.mark.parametrize("flag", ["success", "ok", "Success", "Ok"])
@pytest.mark.parametrize("function", [thing, refuse_failure, succeeded, lambda it: decode_page(it, thing, "items")])
def test_a_2xx_body_that_reports_failure_is_an_error(function, flag):
    """The error carries the problem in the body."""
    with pytest.raises(OperationFailedError) as caught:
        function({flag: False, "error": {"code": "Full", "message": "no room"}, "thing_id": "t", "items": []})
    assert caught.value.problem.code == "Full"
    assert caught.value.problem.message == "no room"


@pytest.mark.parametrize("flag", ["success", "ok", "Success", "Ok"])
@pytest.mark.parametrize("function", [thing, lambda it: decode_page(it, thing, "items")])
def test_a_false_flag_without_a_result_reports_failure(function, flag):
    """Not "applied, and unreadable": a write that failed may be repeated. With the result it is no failure."""
    with pytest.raises(OperationFailedError) as caught:
        function({flag: False, "message": "card declined"})
    assert caught.value.problem.message == "card declined"
    assert caught.value.applied == "no"
    function({flag: False, "thing_id": "t", "items": []})
    with pytest.raises(DecodeError):
        function({flag: True, "message": "card declined"})


@pytest.mark.parametrize(
    "document",
    [
        {"success": True, "error": "x"},
        {"success": False},
        {"success": False, "error": None},
        {"success": 0, "error": "x"},
        {"ok": False},
        {"cancelled": False, "error": "x"},
        {"status": "failed", "error": "x"},
        {"error": "x"},
        ["success", "error"],
        None,
    ],
)
def test_whatever_else_is_no_failure(document):
    """Both are required, the false flag and the error."""
    assert refuse_failure(document) is document


@pytest.mark.parametrize(
    ("document", "worked"),
    [
        ({"success": True}, True),
        ({"success": False}, False),
        ({"Success": False}, False),
        ({"Success": True}, True),
        ({"other": 1}, True),
        ([], True),
        (None, True),
        (True, True),
        (False, False),
        ({"ok": True}, True),
        ({"ok": False}, False),
        ({"Ok": False}, False),
        ({"cancelled": False}, False),
        ({"Cancelled": False}, False),
        ({"canceled": False}, False),
        ({"cancelled": True}, True),
        ({"success": True, "ok": False}, False),
        ({"success": True, "Success": False}, False),
        ({"ok": True, "status": "failed"}, False),
        ({"status": "failed"}, False),
        ({"status": " FAILURE "}, False),
        ({"Status": "error"}, False),
        ({"status": "rejected"}, False),
        ({"status": False}, False),
        ({"status": 400}, False),
        ({"status": 503.0}, False),
        ({"status": 399}, True),
        ({"status": True}, True),
        ({"status": "cancelled"}, True),
        ({"status": "deleted"}, True),
        ({"status": None}, True),
        ({"status": ["failed"]}, True),
        ({"success": True, "error": "x"}, True),
        ({"error": None}, True),
        ({"success": True, "operation": {"status": "failed", "error": None}}, False),
        ({"success": True, "operation": {"status": "cancelled"}}, False),
        ({"success": True, "operation": {"status": "rolling_back"}}, False),
        ({"success": True, "operation": {"status": "succeeded"}}, True),
        ({"success": False, "operation": {"status": "succeeded"}}, False),
        ({"success": True, "operation": "failed"}, True),
    ],
)
def test_a_change_reports_whether_it_worked(document, worked):
    """A response without any report is a success."""
    assert succeeded(document) is worked


@pytest.mark.parametrize(
    "document",
    [
        {"ok": False, "error": "x y", "error_code": "Full"},
        {"cancelled": False, "error": "Full", "message": "x y"},
        {"status": "failed", "error": {"code": "Full", "message": "x y"}},
        {"error": "Full", "message": "x y"},
        {"success": True, "operation": {"status": "failed", "error": {"code": "Full", "message": "x y"}}},
    ],
)
def test_a_change_that_failed_with_an_error_carries_it(document):
    """Code and message are those of the body, in whichever way it reports the failure."""
    with pytest.raises(OperationFailedError) as caught:
        succeeded(document)
    assert caught.value.problem.code == "Full"
    assert caught.value.problem.message == "x y"


@pytest.mark.parametrize("value", ["yes", "false", None, 0, 1])
@pytest.mark.parametrize("flag", ["success", "ok", "cancelled", "canceled"])
def test_an_unclear_flag_is_a_decode_error(flag, value):
    """A string, a number or null is not a flag, in any spelling."""
    assert reason_of(succeeded, {flag: value}) == f"{flag}: must be true or false"
    assert reason_of(succeeded, {flag.capitalize(): value}) == f"{flag}: must be true or false"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["thing_id", "thingId", "parts", "serialNo", "made_at", "size", "x"]), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_document_gives_an_object_or_a_decode_error(document):
    """No other exception is raised."""
    with suppress(DecodeError):
        assert isinstance(thing(document), Thing)


@pytest.mark.parametrize(
    ("document", "values"),
    [
        ({"is_on": 1, "isOn": 2, "IsOn": 3, "ison": 4}, [1, 2, 3]),
        ({"On": 5, "on": 4, "isOn": 2}, [2, 4, 5]),
        ({"is_on": None}, [None]),
        ({}, []),
    ],
)
def test_the_spellings_of_a_name_are_read_in_order(document, values):
    """snake, camel and Pascal case of each name, in this order; a spelling that two of them share is read once."""
    assert spelled(document, "is_on", "on") == values


@pytest.mark.parametrize(
    "document", [{"id": "a"}, {"app": None}, {"app": "text"}, {"app": ["a"]}, {"App": {}}, [], "app", None, {}]
)
def test_a_document_without_an_envelope_is_returned_itself(document):
    """An envelope has an object under the name."""
    assert unwrap(document, "app") is document


def test_an_envelope_is_removed():
    """The object inside is the document; an envelope that reports failure is an error."""
    inner = {"id": "a"}
    assert unwrap({"success": True, "app": inner}, "app") is inner
    with pytest.raises(OperationFailedError):
        unwrap({"success": False, "error": "Full", "app": inner}, "app")
