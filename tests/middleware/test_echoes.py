"""What a request carried is masked in the texts of its response."""

import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_support import a_request

from middleware.echoes import Echoes, redactor_of


def of(body=None, params=None, **request):
    made = a_request(**request)
    made.json_body, made.params = body, params
    return Echoes(made)


IBAN = "DE89370400440532013000"
NAME = 'J\u00fcrgen "Joe" M\u00fcller/1'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"iban {IBAN} is not allowed", "iban *** is not allowed"),
        (f"{IBAN}{IBAN};{IBAN}", "***;***".replace(";", "***;", 1)),
        (NAME, "***"),
        (json.dumps(NAME), '"***"'),
        (json.dumps(NAME, ensure_ascii=False), '"***"'),
        (json.dumps(NAME).replace("\\u00fc", "\\u00FC"), '"***"'),
        (quote(NAME, safe=""), "***"),
        (quote(NAME, safe="").lower().replace("j%", "J%").replace("joe", "Joe").replace("%20m", "%20M"), "***"),
        (quote(NAME), "***"),
        (quote_plus(NAME), "***"),
        (f"cut off: {IBAN[:12]}...", "cut off: ***..."),
        (f"cut off: {IBAN[:12]}\u2026", "cut off: ***\u2026"),
        (f"cut off: {IBAN[:8]}", "cut off: ***"),
        (f"too short: {IBAN[:7]}", f"too short: {IBAN[:7]}"),
        (f"another: {IBAN[:-1]}X", f"another: {IBAN[:-1]}X"),
        ("%zz %4 \\u12 \\x %ff + nothing", "%zz %4 \\u12 \\x %ff + nothing"),
        ("", ""),
    ],
)
def test_values_are_masked_in_every_spelling(text, shown):
    """R52: plain, as JSON writes them, and percent-encoded; and where a server shortens them at the end of its text."""
    assert of({"a": [{"iban": IBAN}], "name": NAME}).mask(text) == shown


def test_the_longest_value_is_masked():
    """One may begin as another one does."""
    echoes = of({"a": "https://a.example", "b": "https://a.example/private", "c": "https://b.example"})
    assert (
        echoes.mask("x https://a.example/private, https://a.example/other, https://b.exam!")
        == "x ***, ***/other, https://b.exam!"
    )


def test_which_values_there_are():
    """Texts of a body from eight characters on, values of a query from six, and the query as a whole."""
    params = {"a": "sixsix", "b": "five5", "c": ["listed-1", 7], "d": ("listed-2",), "e": None, "f": 1234567, "g": True}
    echoes = of({"a": "seven77", "b": ["eight888"], "c": 98765432, "d": None}, params)
    shown = echoes.mask("sixsix five5 listed-1 7 listed-2 1234567 seven77 eight888 98765432 true")
    assert shown == "*** five5 *** 7 *** 1234567 seven77 *** 98765432 true"
    request = a_request()
    request.params, request.target = {"q": "4711"}, "/search?q=4711"
    assert Echoes(request).mask("GET /search?q=4711 HTTP/1.1") == "GET /search?*** HTTP/1.1"


def test_names_and_the_operations_own_words_stay():
    """A message without them would say nothing."""
    request = a_request()
    info = type(request.call.info)(
        service="billing",
        operation="create_checkout",
        method="POST",
        route="/api/subscriptions",
        idempotent=False,
        correlation_id="c-1234567",
    )
    request.call.info = info
    request.json_body = {"field": "description", "description": "checkout", "a": "subscriptions", "b": "c-1234567"}
    text = "description of checkout in subscriptions of billing, c-1234567: Description"
    assert Echoes(request).mask(text) == text


def test_codes_and_names_of_fields_are_never_masked():
    """R52: programs compare them."""
    request = a_request()
    request.json_body, request.user_jwt = {"kind": "NotAllowed", "a": "my secret text"}, "t0ken-0123456789"
    redactor = redactor_of(request, budget=1_000)
    assert redactor.redact("NotAllowed", is_name=True) == "NotAllowed"
    assert redactor.redact("NotAllowed: my secret text t0ken-0123456789") == "***: *** ***"
    assert redactor.redact("t0ken-0123456789", is_name=True) == "***"


@given(st.text(min_size=8, max_size=30).filter(lambda text: text.strip() and "\ud800" not in text), st.text(max_size=9))
def test_no_value_gets_through(value, around):
    """Whatever it contains, and whatever is next to it."""
    if any("\ud800" <= char <= "\udfff" for char in value):
        return
    for spelling in (value, json.dumps(value)[1:-1], quote(value, safe=""), quote_plus(value)):
        text = of({"": value}).mask(f"{around}|{spelling}|{around}")
        assert value not in text.replace(around, "")


def test_a_large_body_is_searched_once_for_many_texts():
    """Its values are sorted by how they begin; a text costs as many look-ups as it has characters."""
    body = [f"https://host-{number}.example/{number}" for number in range(20_000)]
    echoes = of(body)
    assert echoes.mask("a https://host-19999.example/19999 b") == "a *** b"
    index = echoes._index()
    for number in range(200):
        assert echoes.mask(f"x{body[number]}y") == "x***y"
    assert echoes._index() is index
