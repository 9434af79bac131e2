"""A body into a document, by the rules of RFC 8259."""

import pytest

from middleware.decode import parse_json
from middleware.errors import DecodeError
from middleware.types import PlatformResponse


def parse(body):
    return parse_json(PlatformResponse(status=200, headers={"content-type": "application/json; x"}, body=body))


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b'{"a": [1, null]}', {"a": [1, None]}),
        (b' \r\n{"a": 1}\t', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),  # the mark that .NET may write
        ('"ü"'.encode(), "ü"),
        (b"", {}),
        (b" \n", {}),
    ],
)
def test_a_document_is_read(body, document):
    """Blank stands for an empty object."""
    assert parse(body) == document


@pytest.mark.parametrize(
    "body", [b"{", b"NaN", b"[Infinity]", b'"\xff"', b"{} {}", '{"a": 1}'.encode("utf-16"), b"[" * 100_000]
)
def test_what_is_no_json_is_a_decode_error(body):
    """Its text names the content type, and nothing of the body."""
    with pytest.raises(DecodeError, match=r"answered 200 with a body that is not JSON \(application/json\)"):
        parse(body)
