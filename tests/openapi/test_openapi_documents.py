"""Documents of files and URLs, in JSON and YAML."""

import pytest

from runtime.openapi import DocumentError, load, parse, read


@pytest.mark.parametrize(
    ("mark", "encoding"), [(b"", "utf-8"), (b"\xef\xbb\xbf", "utf-8"), (b"", "utf-16")], ids=["none", "mark", "utf16"]
)
def test_a_byte_order_mark_is_no_part_of_the_document(mark, encoding):
    """.NET writes one, and PowerShell's redirection writes UTF-16."""
    content = mark + '{"openapi": "3.0.1", "info": {"title": "Prüfung"}, "paths": {}}'.encode(encoding)
    assert read(parse(content, "test")).title == "Prüfung"


def test_yaml_has_the_types_of_json():
    """A status is a text, a time and a `no` are no other values."""
    text = "openapi: 3.0.1\npaths:\n  /a:\n    get:\n      summary: no\n      responses:\n        200: {description: 2026-11-27}\n"
    (found,) = read(parse(text.encode(), "test")).operations
    assert found.summary == "no"
    assert found.responses["200"].description == "2026-11-27"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not JSON"),
        (b"<html></html>", "is not JSON"),
        (b"[]", "must be an object, got list"),
        (b'{"a": 1}', "neither `openapi` nor `swagger`"),
        (b"\xff\x00\xff", "is not UTF-8"),
        (b'{"openapi": "4.0.0"}', "version 4.0.0"),
        (b'{"swagger": "1.2"}', "version 1.2"),
        (b'{"openapi": "4\\u001b[2J"}', r"version 4\?\[2J is"),
        (b'{"openapi": "3.0.1", "paths": []}', "must be an object, is list"),
        (b"[" * 100_000, "nested too deeply"),
    ],
    ids=["empty", "html", "list", "other", "bytes", "version", "swagger", "escape", "paths", "deep"],
)
def test_what_is_no_document_is_one_error(content, problem):
    """It names the place."""
    with pytest.raises(DocumentError, match=problem):
        read(parse(content, "test"))


@pytest.mark.parametrize(
    "content", [rb'{"openapi": "4\u001b[2J\u202e\u009b"}', 'a: "\u202e'.encode()], ids=["version", "yaml"]
)
def test_no_text_of_a_document_controls_a_terminal(content):
    """Commands show the error as it is."""
    with pytest.raises(DocumentError, match=r"\?") as caught:
        read(parse(content, "test"))
    assert str(caught.value).isprintable()


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    """As above."""
    with pytest.raises(DocumentError, match="cannot be read"):
        load(tmp_path / "none.json")


def test_credentials_of_a_url_are_not_shown():
    """Nor its query."""
    with pytest.raises(DocumentError) as caught:
        load("http://ada:secret-1@127.0.0.1:1/openapi.json?key=secret-2")
    assert "secret" not in str(caught.value)
