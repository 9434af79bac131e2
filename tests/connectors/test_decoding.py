"""Documents into typed objects."""

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from middleware import DecodeError
from runtime.connectors.base import decode_page, decoder


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
    assert (found.parts, found.by_name) == ([Part("a")], {"someKey": Part("b")})


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
    ],
)
def test_times_are_always_aware(text, expected):
    """Without a zone they are UTC."""
    assert decoder(Part)({"serial_no": "a", "made_at": text}).made_at.isoformat() == expected


@pytest.mark.parametrize("text", ["soon", "", 7, True, "2026-13-01", "2026-01-01T25:00:00Z", {}])
def test_a_wrong_time_names_its_path(text):
    """The value itself is not quoted."""
    with pytest.raises(DecodeError, match=r"^parts\[1\]\.made_at: must be an ISO 8601 time$"):
        thing({"thing_id": "t", "parts": [{"serial_no": "a"}, {"serial_no": "b", "made_at": text}]})


@pytest.mark.parametrize("value", ["true", 1, 0, "yes", [], {}])
def test_a_flag_is_true_or_false(value):
    """A text that reads like a flag is none."""
    with pytest.raises(DecodeError, match="is_live: must be true or false"):
        thing({"thing_id": "t", "is_live": value})


def test_a_number_is_no_flag():
    """True is not 1."""
    with pytest.raises(DecodeError, match="size: must be a number"):
        thing({"thing_id": "t", "size": True})


def test_null_is_the_default():
    """The platform writes null for what it does not know."""
    assert thing({"thing_id": "t", "parts": None, "is_live": None}) == Thing("t")


def test_every_wrong_field_is_named_and_no_value_is_quoted():
    """One error tells all, and shows nothing that may be secret."""
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
    """A bare array, or an object that holds it."""
    assert decode_page(document, thing, "things", "items") == ([Thing("t")], None)


@pytest.mark.parametrize("document", [None, 7, {}, {"things": {}}, {"other": []}, "x"])
def test_no_list_is_a_decode_error(document):
    """A missing list is not an empty one."""
    with pytest.raises(DecodeError, match="must be a list"):
        decode_page(document, thing, "things")


def test_a_wrong_item_names_its_place():
    """The index leads to it."""
    with pytest.raises(DecodeError, match=r"things\[1\]"):
        decode_page({"things": [{"thing_id": "t"}, {}]}, thing, "things")


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
    """Nothing foreign escapes."""
    with suppress(DecodeError):
        assert isinstance(thing(document), Thing)
