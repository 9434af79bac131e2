"""What error bodies say, and what of it may be shown."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware import redaction
from middleware.problem import Problem, parse_problem, problem_of
from middleware.redaction import redact


@pytest.mark.parametrize(
    ("document", "code", "message"),
    [
        ({"error": "NotFound", "message": "no such app"}, "NotFound", "no such app"),
        ({"error": "Unauthorized", "reason": "expired"}, "Unauthorized", "expired"),
        ({"error": "this is a sentence"}, "", "this is a sentence"),
        ({"errorCode": "internal_error", "message": "oops", "detail": None}, "internal_error", "oops"),
        ({"message": "m", "detail": "d"}, "", "m"),
        ({"type": "about:blank", "title": "Not Found", "status": 404, "traceId": "t"}, "", "Not Found"),
        ({"error": "RateLimited", "message": "slow down", "limit": 120}, "RateLimited", "slow down"),
        ({"detail": "text"}, "", "text"),
        ({"message": "too large"}, "", "too large"),
        ({"detail": "d", "error_code": "NOT_FOUND", "status_code": 404}, "NOT_FOUND", "d"),
        ({"error": {"code": "c", "message": "m", "details": {}}}, "c", "m"),
        ({"success": False, "error": {"code": "c", "message": "m", "kind": "conflict"}}, "c", "m"),
        ({"error": "Word", "errorCode": "c"}, "c", "Word"),
        ({"error": "a sentence", "message": "m"}, "", "m"),
        ({"error": " Word ", "message": "m"}, " Word ", "m"),
        ({"error": {"code": "", "message": ""}, "code": "c", "message": "m"}, "c", "m"),
        ({"error": {"code": 7}, "code": ["c"], "errorCode": "e", "message": 7, "reason": 7, "detail": "d"}, "e", "d"),
        ({"reason": "r", "detail": "d", "title": "t"}, "", "r"),
        ({"detail": "d", "title": "t"}, "", "d"),
        ({"other": 1}, "", ""),
        ("a JSON string", "", "a JSON string"),
        ([], "", ""),
        (None, "", ""),
    ],
)
def test_every_shape_in_use(document, code, message):
    """One typed Problem, whichever service wrote the body."""
    problem = parse_problem(json.dumps(document).encode(), "application/json")
    assert problem.code == code
    assert problem.message == message


def test_field_errors_of_both_frameworks():
    """.NET's map and FastAPI's list."""
    dotnet = parse_problem(b'{"title":"Invalid","errors":{"Name":["required","short"]}}', "application/problem+json")
    assert dotnet.field_errors == {"Name": ("required", "short")}
    fastapi = parse_problem(
        b'{"detail":[{"loc":["body","name"],"msg":"required","type":"missing"}]}', "application/json"
    )
    assert fastapi.field_errors == {"body.name": ("required",)}


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (
            {"errors": {"Name": "required", "Age": ["odd", 7, None], "Size": [7], "Kind": 7}},
            {"Name": ("required",), "Age": ("odd",)},
        ),
        ({"error": {"code": "c", "details": {"name": ["required"]}}}, {"name": ("required",)}),
        (
            {"detail": [7, {"msg": 7}, {"loc": ["a", 0], "msg": "x"}, {"msg": "z"}, {"loc": ["a", 0], "msg": "y"}]},
            {"a.0": ("x", "y"), "": ("z",)},
        ),
        ({"errors": ["x"], "detail": {"loc": 1}, "error": {"details": "x"}}, {}),
        ({"errors": {7: ["x"]}}, {"": ("x",)}),
    ],
)
def test_what_is_no_message_of_a_field_is_left_out(document, found):
    """The others are kept, several of one field too."""
    assert problem_of(document).field_errors == found


def test_messages_of_fields_are_bounded():
    """Whatever a server makes up."""
    many = [f"f{number}" for number in range(60)]
    assert list(problem_of({"errors": dict.fromkeys(many, "x")}).field_errors) == many[:50]
    assert list(problem_of({"error": {"details": dict.fromkeys(many, "x")}}).field_errors) == many[:50]
    assert list(problem_of({"detail": [{"loc": [name], "msg": "x"} for name in many]}).field_errors) == many[:50]


@pytest.mark.parametrize(
    "document",
    [
        {"errors": {"a": ["x" * 99] * 600}},
        {"errors": {"a": [""] * 600}},
        {"errors": {f"f{number}": ["token=" + "y" * 6_000] * 20 for number in range(60)}},
        {"error": {"code": "c" * 9_000, "message": "m" * 9_000, "details": {"d" * 9_000: ["d" * 9_000] * 3}}},
        {"detail": [{"loc": ["l" * 3_000] * 3, "msg": "m" * 3_000}] * 7},
    ],
)
def test_all_texts_of_a_problem_have_one_budget(document, monkeypatch):
    """R52: however a server spreads them, what is looked at is bounded, and so is how many there are."""
    looked_at, mask = [], redaction._mask
    monkeypatch.setattr(redaction, "_mask", lambda text, end: looked_at.append(len(text)) or mask(text, end))
    problem = problem_of(document)
    assert 15_000 <= sum(max(64, length) for length in looked_at) <= 16_000 + 300 * 20 + 512
    assert len(looked_at) <= 250
    assert sum(map(len, problem.field_errors.values())) <= 250


def test_field_errors_get_what_the_message_leaves():
    """Code, message and correlation id are read first, wherever they are placed."""
    document = {"errors": {"a": ["x" * 250] * 100}, "message": "m", "code": "c", "correlationId": "x-1"}
    problem = problem_of(document)
    assert problem.code == "c"
    assert problem.message == "m"
    assert problem.correlation_id == "x-1"
    assert problem.field_errors == {"a": ("x" * 250,) * 63}


@pytest.mark.parametrize("said", ["yes", 1, None, [True]])
def test_a_word_on_retrying_is_a_flag(said):
    """Any other value there says nothing."""
    assert problem_of({"error": {"retryable": said}}).retryable is None
    assert problem_of({"error": {"retryable": False}, "correlationId": "x-1"}) == Problem(
        retryable=False, correlation_id="x-1"
    )


def test_a_body_that_says_nothing_is_an_empty_problem():
    """Empty texts, no fields, no word on retrying."""
    problem = parse_problem(b" \n", "application/json")
    assert problem.code == ""
    assert problem.message == ""
    assert problem.field_errors == {}
    assert problem.correlation_id == ""
    assert problem.retryable is None


@pytest.mark.parametrize("size", [65536, 65537, 1_000_000])
def test_a_body_is_read_whole(size):
    """R17: what bounds it is the limit of the response, and what bounds a text is the length that is shown."""
    body = b'{"message":"m"' + b" " * (size - 30) + b',"code":"Later"}'
    assert parse_problem(body, "application/json") == Problem(message="m", code="Later")
    assert len(parse_problem(b"word " * size, "text/plain").message) == 300


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("utf-16", "utf-16"),
        ("UTF-16LE", "utf-16-le"),
        ("utf-16be", "utf-16-be"),
        ("iso-8859-1", "latin-1"),
        ('"Latin1"', "latin-1"),
        ("windows-1252", "cp1252"),
        ("utf-8", "utf-8"),
        ("utf-8", "utf-8-sig"),
        ("no-such", "utf-8"),
        ("idna", "utf-8"),  # a codec of Python's that is no charset, and slow
        ("hex", "utf-8"),
        ("\x00", "utf-8"),
    ],
)
def test_a_text_is_read_by_its_charset(charset, codec):
    """R17: UTF-8 where the content type names none that is known."""
    for text, kind in (('{"message":"Größe ungültig"}', "application/json"), ("Größe ungültig", "text/plain")):
        problem = parse_problem(text.encode(codec), f"{kind}; charset={charset}")
        assert problem == Problem(message="Größe ungültig")


@pytest.mark.parametrize("page", [b"<html><body>Bad Gateway", b"<!DOCTYPE html>\n<p>", b"\n <HTML lang=en>"])
@pytest.mark.parametrize("kind", ["", "text/plain"])
def test_a_page_is_no_message_whatever_it_is_called(page, kind):
    """Gateways send theirs as text, or without a type."""
    assert parse_problem(page, kind) == Problem()
    assert parse_problem(b"<htmlx", kind) == Problem(message="<htmlx")


def test_correlation_id_and_word_on_retrying():
    """Kept where the body names them."""
    body = b'{"success":false,"error":{"code":"c","retryable":true,"correlation_id":"x-1"}}'
    problem = parse_problem(body, "application/json")
    assert (problem.correlation_id, problem.retryable) == ("x-1", True)


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"", "", ""),
        (b"plain text", "text/plain", "plain text"),
        (b"<html>x</html>", "text/html", ""),
        (b"<HTML>x</HTML>", "TEXT/HTML; charset=utf-8", ""),
        (b"\xef\xbb\xbf[1", "", "[1"),
        (b'{"code": "TOO', "application/problem+json", ""),
        (b'{"code": "TOO', "Application/JSON; charset=utf-8", ""),
        (b"\xff\xfe{", "", "��{"),
    ],
)
def test_bodies_that_are_no_json(body, kind, message):
    """Text is a message; a page is none, and neither is a part of a document."""
    assert parse_problem(body, kind) == Problem(message=message)


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.text() | st.integers(),
        lambda s: (
            st.dictionaries(st.sampled_from(["error", "detail", "errors", "message", "details", "loc", "msg"]), s)
            | st.lists(s)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_body_raises(body):
    """Whatever comes, the status error is what the caller gets."""
    assert isinstance(parse_problem(body, "application/json"), Problem)


@pytest.mark.parametrize(
    "secret",
    [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "moz_live_abcdefghijklmnop",
        "moz_test_abcdefghijklmnop",
        "sk_c2p_live_abcdefgh",
        "mps_abcdefgh12",
        "ada@example.com",
    ],
)
def test_secrets_are_masked_by_their_shape(secret):
    """Wherever a server echoes them."""
    assert secret not in redact(f"it said {secret}, sorry")


@pytest.mark.parametrize(
    "text",
    ["Bearer hunter2", "password=hunter2", '"token": "hunter2"', "https://me:hunter2@host/x", "api_key: hunter2"],
)
def test_secrets_are_masked_by_their_name(text):
    """The name of a secret in front."""
    assert "hunter2" not in redact(text)


def test_known_secrets_are_masked_whole():
    """Also those without a known shape, and before the text is shortened."""
    assert redact("x" * 290 + "topsecretvalue", "topsecretvalue") == "x" * 290 + "***"


def test_text_is_bounded_and_free_of_control_characters():
    """A log line stays a line."""
    assert redact("a\r\nb\x00c") == "a b c"
    assert len(redact("x" * 10_000)) == 300


@pytest.mark.parametrize("loc", [1, "body", None, {"a": 1}, True])
def test_a_place_that_is_no_list_is_none(loc):
    """FastAPI writes a list; any other value there drops the field's name, not the message."""
    problem = parse_problem(json.dumps({"detail": [{"loc": loc, "msg": "wrong"}]}).encode(), "application/json")
    assert problem.field_errors == {"": ("wrong",)}
