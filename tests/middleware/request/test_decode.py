"""A body into a document, by the rules of RFC 8259."""

import pytest
from layer_support import a_request

from middleware.errors import DecodeError, InvalidArgumentError
from middleware.request.decode import DecodeMiddleware, parse_json
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
    """Blank means an empty object."""
    assert parse(body) == document


@pytest.mark.parametrize(
    "body", [b"{", b"NaN", b"[Infinity]", b'"\xff"', b"{} {}", '{"a": 1}'.encode("utf-16"), b"[" * 100_000]
)
def test_what_is_no_json_is_a_decode_error(body):
    """Its text names the content type, and nothing of the body."""
    with pytest.raises(DecodeError) as caught:
        parse(body)
    assert caught.value.reason == "200 response: body is not JSON (application/json)"
    assert caught.value.request_sent == "yes"


@pytest.mark.parametrize("body", [b"1e999", b"[-1e999]", b'{"a": 1E+400}', b"1" + b"0" * 400 + b".0"])
def test_a_number_that_overflows_is_refused_as_infinity_is(body):
    """JSON has no Infinity (RFC 8259 section 6), in whatever spelling."""
    with pytest.raises(DecodeError) as caught:
        parse(body)
    assert not caught.value.is_incomplete


def test_a_large_number_is_a_number():
    """Up to the largest double, and one that is too small for a double is zero."""
    assert parse(b"[1e308, -1.5E+300, 1e-999]") == [1e308, -1.5e300, 0.0]


DOCUMENT = '{"a": [1, -2.5e+10, 10E-3, true, false, null], "b": {"c": "x\\u00fcy\\n\\"q\\\\ \\ud83d\\ude00"}, "d": "ü😀"}'.encode()


@pytest.mark.parametrize("end", range(1, len(DOCUMENT)))
def test_the_beginning_of_a_document_is_told_from_garbage(end):
    """R11: wherever it ends, in a character too."""
    with pytest.raises(DecodeError) as caught:
        parse(DOCUMENT[:end])
    assert caught.value.is_incomplete


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"plain", b"NaN", b"[1,,", b"{a: 1", b'{"a" 1', b'["\\x', b'["\\u12g', b"[01", b"[1 2", b'["\xff'],
)
def test_garbage_is_no_beginning_of_a_document(body):
    """However it ends: sent again it would be garbage again."""
    with pytest.raises(DecodeError) as caught:
        parse(body)
    assert not caught.value.is_incomplete


@pytest.mark.parametrize(
    ("headers", "told"),
    [({}, "no content type"), ({"content-type": "x" * 100 + "; y"}, "x" * 80)],
    ids=["none", "long"],
)
def test_a_content_type_is_told_in_short(headers, told):
    """A server may say anything there, or nothing."""
    with pytest.raises(DecodeError) as caught:
        parse_json(PlatformResponse(status=201, headers=headers, body=b"<html>"))
    assert caught.value.reason == f"201 response: body is not JSON ({told})"


async def decoded(decode):
    """Send a document of one key through the layer."""

    async def answer(_request):
        return PlatformResponse(status=200, headers={}, body=b'{"a": 1}')

    return await DecodeMiddleware()(a_request(decode=decode), answer)


async def test_the_result_is_what_the_connector_makes_of_the_document():
    """Or the document, where it makes nothing of it."""
    assert (await decoded(None)).data == {"a": 1}
    assert (await decoded(lambda document: document["a"] + 1)).data == 2


def refuse(error):
    def decode(_document):
        raise error

    return decode


async def test_a_connector_that_cannot_decode_says_so():
    """Its own errors pass, all others become one that names only their class; the server has responded."""
    mine = InvalidArgumentError("mine")
    with pytest.raises(InvalidArgumentError) as passed:
        await decoded(refuse(mine))
    assert passed.value is mine
    assert mine.request_sent == "yes"
    with pytest.raises(DecodeError) as caught:
        await decoded(refuse(KeyError("the body's secret")))
    assert caught.value.reason == "decoding failed: KeyError"
    assert caught.value.request_sent == "yes"
    assert caught.value.__context__ is None
