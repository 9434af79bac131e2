"""What may be shown of a request's target and of text from outside."""

import pytest

from middleware.redaction import Redactor, printable, query_values, redact, redact_target


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/api/users/u-1", "/api/users/u-1"),
        ("/api/users/user_2?limit=10&q=ada", "/api/users/user_2?limit=REDACTED&q=REDACTED"),
        ("/x?flag&a=b=c", "/x?REDACTED&a=REDACTED"),
        ("/api/users/ada%40example.com/roles", "/api/users/REDACTED/roles"),
        ("/api/users/ada@example.com", "/api/users/REDACTED"),
        ("/a@b.cd/a@b.c/", "/REDACTED/a@b.c/"),
        ("/x/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln/y", "/x/REDACTED/y"),
        ("/x/moz_live_0123456789abcdef", "/x/REDACTED"),
        ("/x/sk_c2p_live_0123456789", "/x/REDACTED"),
        ("/x/mps_0123456789", "/x/REDACTED"),
        ("/x/token%3Dabc", "/x/REDACTED"),
        ("/x/password:hunter2", "/x/REDACTED"),
        ("/x/bearer%20abc", "/x/REDACTED"),
        ("/caf%C3%A9/%2F", "/caf%C3%A9/%2F"),
    ],
)
def test_a_target_keeps_its_shape_and_loses_its_secrets(target, shown):
    """Keys and ordinary ids stay; query values and segments that look secret are dropped."""
    assert redact_target(target) == shown


def test_a_secret_that_is_cut_leaves_no_half():
    """Masking comes before shortening."""
    text = redact("x" * 290 + " eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln")
    assert "eyJ" not in text


@pytest.mark.parametrize("length", [300, 301])
def test_a_text_is_cut_at_its_limit_and_says_so(length):
    """300 characters by default, the last one an ellipsis where something is missing."""
    assert redact("x" * length) == ("x" * 300 if length == 300 else "x" * 299 + "…")
    assert redact("x" * length, limit=length) == "x" * length
    assert redact("x" * length, limit=10) == "x" * 9 + "…"


def test_a_huge_text_is_looked_at_in_part():
    """Twenty times the limit, so that masking costs a bounded time; a secret that shrinks to its mask makes room."""
    assert redact("token=" + "a" * 187 + " end more", limit=10) == "*** end m…"
    assert redact("token=" + "a" * 190 + " end more" + " more" * 200, limit=10) == "*** end…"
    assert redact("token=" + "a" * 200 + " end more" + " more" * 200, limit=10) == "***…"


@pytest.mark.torture
@pytest.mark.parametrize(
    "secret",
    [
        "eyJ" + "hbGciOiJIUzI1NiJ9" * 500 + ".eyJzdWIiOiIxIn0.c2ln",
        "eyJhbGciOiJkaXIifQ..iv-iv-iv.ciphertext-ciphertext.tag-tag",
        "moz_live_abcdefghijklmnop",
        "sk_c2p_live_abcdefgh",
        "ada.lovelace@example.com",
        "https://" + "user:" + "p" * 1_000 + "@host/x",
        "Basic YWRhbG92ZWxhY2U6aHVudGVyMg==",
        "password=hunter2hunter2",
        "Cookie: theme=dark; sid=hunter2",
        "a value known: it has no shape",
        "known" * 400,
    ],
)
@pytest.mark.parametrize("limit", [40, 300])
@pytest.mark.parametrize("longest", [False, True])
def test_no_beginning_of_a_secret_is_shown_wherever_the_text_is_cut(secret, limit, longest):
    """At the end of what is shown, and at the end of what is looked at where masks make room for all of it."""
    known = ["a value known: it has no shape", "known" * 400]
    whole, end = redact(secret, *known), limit * 20 if longest else limit
    half = secret.removeprefix("https://")[:14] if secret.startswith("https") else secret[:14]
    margin = 512 + len(known[1])
    for before in {*range(end - 45, end + 3, 3), *range(end + margin - 45, end + margin + 3, 3)}:
        filler = "token=" + "t" * (before - 7) + " " if longest else "x" * (before - 1) + " "
        shown = redact(filler + secret + " and so on" * 999, *known, limit=limit)
        assert len(shown) <= limit
        if not whole.startswith(half):
            assert half not in shown


def test_where_looking_ends():
    """512 characters beyond what can be shown, and the longest known secret: there a half one may be."""
    assert redact("token=" + "a" * 706, limit=10) == "***"
    assert redact("token=" + "a" * 707, limit=10) == "***…"
    assert redact("token=" + "a" * 193 + " moz_live_abcdef" + " more" * 200, limit=10) == "*** …"
    assert redact("k" * 20_500, "k" * 1_000) == "…"


def test_secrets_within_secrets():
    """Each stretch has one mask, whichever shape was looked for first."""
    assert redact("Authorization: Bearer abc; and more") == "***"
    assert redact("ada@example.com has token=abc") == "*** has ***"


def test_what_one_budget_allows():
    """Each text costs what is looked at, and 64 at least; what comes when it is spent is dropped."""
    redactor = Redactor("hidden", budget=200)
    assert [redactor.redact("x" * 90), redactor.redact("a hidden"), redactor.is_spent] == ["x" * 90, "a ***", False]
    assert [redactor.redact("y" * 90), redactor.is_spent, redactor.redact("z")] == ["y" * 90, True, ""]
    redactor = Redactor(budget=65)
    assert [redactor.redact("a"), redactor.redact("b"), redactor.redact("c")] == ["a", "b", ""]


def test_a_long_known_secret_goes_before_its_parts():
    """Else the rest of it would stay."""
    assert redact("it is abcdef-ghi", "abcdef", "abcdef-ghi") == "it is ***"


def test_a_pair_of_addresses_goes_whole():
    """Each name is read from its left edge; one that follows an address directly is read too."""
    assert "co" not in redact("to=ada@a.co+bob@b.co-eve@c.co")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a eyJhbGci.eyJz b", "a *** b"),
        ("a Bearer t.o.k, b", "a ***, b"),
        ("a moz_live_abcdef b", "a *** b"),
        ("a sk_abc_test_abcdef b", "a *** b"),
        ("a mpc_abcdef b", "a *** b"),
        ("https://me:pw@host/x", "https://***@host/x"),
        ("api_key=abc&b=c", "***&b=c"),
        ("Set-Cookie: abc; b", "***"),
        ("mail ada.l@example.co.uk, b", "mail ***, b"),
        ("tokens: 7 words", "tokens: 7 words"),
        ("a\x00\x1f\x7f\x9fb", "a b"),
    ],
)
def test_what_goes_and_what_stays(text, shown):
    """A secret is replaced by its mask entirely; the text around it stays."""
    assert redact(text) == shown


def test_known_secrets_go_wherever_they_stand():
    """Each of them, each time; what is absent or empty masks nothing."""
    assert redact("a1 b2 a1 c3", "a1", None, "", "b2") == "*** *** *** c3"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Basic SECRETdXNlcjpwYXNzd29yZA==",
        "authorization=Token SECRET8f2e",
        "Proxy-Authorization: SECRET",
        "Cookie: theme=x; sid=SECRET",
        "Set-Cookie: a; session=SECRET",
        '{"accessToken":"SECRET"}',
        "clientSecret=SECRET",
        "userPassword: SECRET",
        "myApiKey = SECRET",
        "theAppKey:SECRET",
        "sent basic SECRET1=",
        "at https://SECRET@host/x",
        "at https://:SECRET@host/x",
    ],
)
def test_common_forms_of_credentials_are_masked_whole(text):
    """Whole headers, names in camel case, user information without a colon."""
    assert "SECRET" not in redact(text)


def test_words_that_only_look_alike_stay():
    """An engineer still has to read the message."""
    for text in ("basic authentication failed", "the monkey: jumped", "broken: yes", "no such tokenizer"):
        assert redact(text) == text


def test_a_query_without_a_mark_is_masked_whole():
    """A text in the place of a key may be the value."""
    assert redact_target("/x?eyJhbGciOiJI.e.s&a=1") == "/x?REDACTED&a=REDACTED"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bad name \ud83d", "bad name \ufffd"),
        ("\ude00\ud83d a", "\ufffd a"),
        ("a\u202eb\u2066c\u200f", "a\ufffdb\ufffdc\ufffd"),
        ("zero\u200bwidth\ufeff\u2060", "zero\ufffdwidth\ufffd"),
        ("a\r\n\x1b[31mb\x85c\u2028d", "a [31mb c\ufffdd"),
        ("Gr\u00f6\u00dfe \u540d\u524d \U0001f600", "Gr\u00f6\u00dfe \u540d\u524d \U0001f600"),
    ],
)
def test_what_no_terminal_and_no_encoding_can_bear_is_replaced(text, shown):
    """R52: half a character, controls, changes of direction, and what is not seen; letters of any script stay."""
    assert printable(text) == redact(text) == shown
    printable(text).encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("unknown token opaque-token-0123...", "unknown token ***..."),
        ("opaque-token-0123456789", "***"),
        ("opaque-t or opaque-tokens", "*** or ***s"),
        ("opaque-", "opaque-"),
    ],
)
def test_a_known_secret_that_a_server_shortens_is_masked_as_far_as_it_goes(text, shown):
    """R52: from eight characters on."""
    assert redact(text, "opaque-token-0123456789") == shown


def test_the_values_of_a_query_that_are_masked():
    """Texts of six characters and more, in lists too."""
    params = {"a": "sixsix", "b": "five5", "c": ["listed-1", 7, "no"], "d": ("listed-2",), "e": None, "f": 1234567}
    assert list(query_values(params)) == ["sixsix", "listed-1", "listed-2"]
    assert list(query_values(None)) == []
