"""A response is read alike with msgspec and without it."""

import json_parity
import pytest

from middleware import DecodeError
from middleware.request import decode
from middleware.types import PlatformResponse


def test_generated_documents_are_read_alike():
    """The same value, or the same error; `.ci/tools/json_parity.py` takes 200 000 of them."""
    assert decode._quick is not None
    assert json_parity.differences(3000, seed=7) == []


@pytest.mark.parametrize("quick", [True, False])
def test_what_only_the_standard_library_reads_is_read(monkeypatch, quick):
    """A byte order mark, half a surrogate pair, a number beyond every machine integer; the last of two equal keys."""
    if not quick:
        monkeypatch.setattr(decode, "_quick", None)
    body = b'\xef\xbb\xbf{"a": 1, "a": "\\ud800", "b": ' + b"9" * 4300 + b"}"
    assert decode.parse_json(PlatformResponse(status=200, body=body)) == {"a": "\ud800", "b": int("9" * 4300)}


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("body", [b"1e999", b"NaN", b"9" * 4301, b"[" * 10_000 + b"]" * 10_000], ids=len)
def test_what_it_rejects_is_rejected(monkeypatch, quick, body):
    """Numbers out of range, and nesting that Python has no stack for."""
    if not quick:
        monkeypatch.setattr(decode, "_quick", None)
    with pytest.raises(DecodeError):
        decode.parse_json(PlatformResponse(status=200, body=body))
