"""A call's arguments into a request target and a body, or into an error that names the argument."""

import re
from enum import Enum
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_support import Upstream, a_request

from middleware.errors import InvalidArgumentError
from middleware.request.encode import EncodeMiddleware, encode_body, encode_target


@pytest.mark.parametrize(
    ("path", "path_params", "params", "target"),
    [
        ("/a", None, None, "/a"),
        ("/a/{id}", {"id": 7}, None, "/a/7"),
        ("/a/{id}/b/{name_2}", {"id": "x/y", "name_2": "ö:~"}, None, "/a/x%2Fy/b/%C3%B6:~"),
        ("/a/{id}", {"id": "a b?c"}, None, "/a/a%20b%3Fc"),
        ("/a/x%2Fy ö/@:", None, None, "/a/x%2Fy%20%C3%B6/@:"),
        ("/~a", None, None, "/~a"),
        ("/~a/{id}", {"id": "~ "}, None, "/~a/~%20"),
        ("/caf\u00e9 %20/{id}", {"id": "\u00e9"}, None, "/caf%C3%A9%20%20/%C3%A9"),
        ("/a", {}, {"q": "a b&c"}, "/a?q=a%20b%26c"),
        ("/a", {}, {"yes": True, "no": False, "n": 1, "f": 1.5, "none": None}, "/a?yes=true&no=false&n=1&f=1.5"),
        ("/a", {}, {"id": ["x", None, 2], "also": ("y",)}, "/a?id=x&id=2&also=y"),
        ("/a", {}, {"none": None}, "/a"),
        ("/a", {}, {}, "/a"),
    ],
)
def test_the_target(path, path_params, params, target):
    """One encoded segment per placeholder, one pair per query value."""
    assert encode_target(path, path_params, params, allow_slash=True) == target


class Plan(str, Enum):  # noqa: UP042 - str() of a member is its name, other than that of a StrEnum
    PRO = "pro"


class Size(int, Enum):
    TWO = 2


class Share(float):
    def __str__(self):
        raise OSError


@pytest.mark.parametrize(("value", "sent"), [(Plan.PRO, "pro"), (Size.TWO, "2"), (10**20, "1" + "0" * 20)])
def test_a_value_of_a_subclass_is_sent_as_its_value(value, sent):
    """As in a JSON body: a member of an enum, for example; in the path and in the query."""
    assert encode_target("/a/{id}", {"id": value}, {"q": [value]}) == f"/a/{sent}?q={sent}"
    assert encode_target("/a", {}, {"q": Share(1.5)}) == "/a?q=1.5"


# What a value may look like and still be one segment, for every decoder.
HARMLESS = [
    *(
        "a..b",
        "..a",
        "a..",
        "...",
        ".hidden",
        "a.",
        "a/b",
        "a\\b",
        "/",
        "a//b",
        "x;y",
        "a;..",
        "a/..b",
        "a/...",
        "100%",
    ),
    *("%2e%2e%2e", "%2ea", "a%2fb", "a%5cb", "%25", "%zz", "a%2", "%252525252e", "\u2025", "a\u00a0b", "\ufffd"),
]
CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]


def percent(text):
    """Every byte of *text* as a percent triplet."""
    return "".join(f"%{byte:02x}" for byte in text.encode())


def spellings(text):
    """*text* as it is, and percent-encoded once and twice: all of it, in parts, in both cases."""
    separators = re.sub(r"[/\\]", lambda match: percent(match[0]), text)
    once = [percent(text), percent(text).upper(), separators, text.replace(".", "%2e"), text.replace("..", ".%2E")]
    return list(dict.fromkeys([text, *once, *(one.replace("%", "%25") for one in once)]))


LEAVING = [
    spelt
    for text in ("../admin/7", "..\\admin", "a/..", "a\\..", "a/./b", "./a", "a\\.", "a/../../b", "..;/a", "a/..;x=1/b")
    for spelt in spellings(text)
] + ["..%2F%2e%252e", "%2e.%5c", "%252e%2e%252Fa", *spellings("/..")]


@pytest.mark.parametrize("value", HARMLESS)
def test_a_value_that_stays_in_its_segment_is_sent(value):
    """R54: dots within a name, a lone percent sign, an encoded separator between names: each is one segment."""
    path, _, segment = encode_target("/a/{id}", {"id": value}, None, allow_slash=True).rpartition("/")
    assert path == "/a"
    assert unquote(segment) == value


@pytest.mark.parametrize("separator", ["/", "\\", ";"])
def test_a_value_holds_no_separator_unless_its_operation_allows_it(separator):
    """R54: as it is, or percent-encoded once or twice: gateways decode before they route. A filled path is checked alone."""
    for spelt in (separator, percent(separator), percent(percent(separator)), percent(separator).replace("%", "%25")):
        for value in (f"a{spelt}b", f"a{spelt}", f"{spelt}b"):
            with pytest.raises(InvalidArgumentError) as caught:
                encode_target("/a/{id}", {"id": value}, None)
            assert caught.value.reason == (
                "path_params.id: must not contain '/', '\\' or ';' where path.allow_slash is off for the operation"
            )
            assert encode_target("/a/{id}", {"id": value}, None, allow_slash=True).count("/") == 2
    assert encode_target("/a/b;c", None, None) == "/a/b;c"


@pytest.mark.parametrize("value", [*LEAVING, *(spelt for text in (".", "..") for spelt in spellings(text)[1:])])
def test_a_value_cannot_leave_its_segment(value):
    """R54: nor does it in a path that was filled by hand; the value is not shown."""
    for path, path_params, place in (("/a/{id}/b", {"id": value}, "path_params.id"), (f"/a/{value}", None, "path")):
        with pytest.raises(InvalidArgumentError) as caught:
            encode_target(path, path_params, None)
        reasons = {f"{place}: must not contain '.' or '..' segments"} | ({_HELD} if path_params is None else set())
        assert caught.value.reason in reasons
        assert value not in caught.value.reason.replace("'.' or '..'", "")


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_a_value_holds_no_control_characters(control):
    """R54: C0, DEL and C1, as they are or percent-encoded once or twice; in a path filled by hand neither."""
    for spelt in (control, percent(control), percent(percent(control)).lower(), percent(control).replace("%", "%25")):
        with pytest.raises(InvalidArgumentError) as caught:
            encode_target("/a/{id}", {"id": f"x{spelt}y"}, None)
        assert caught.value.reason == "path_params.id: must not contain control characters"
        with pytest.raises(InvalidArgumentError) as caught:
            encode_target(f"/a/x{spelt}y", None, None)
        assert caught.value.reason == _HELD


@pytest.mark.parametrize(
    ("template", "values", "allow_slash"),
    [
        ("/a/{x}{y}/b", {"x": "%2", "y": "e%2e"}, False),
        ("/a/{x}{y}/b", {"x": "%252", "y": "e%2e"}, False),
        ("/a/{x}{y}/b", {"x": "%2", "y": "fb"}, False),
        ("/a/{x}2e./b", {"x": "%"}, False),
        ("/a/%2{x}./b", {"x": "e"}, False),
        ("/a/%252{x}./b", {"x": "e"}, False),
        ("/a/..{x}", {"x": ";b"}, True),
    ],
)
def test_a_value_forms_nothing_with_the_text_next_to_it(template, values, allow_slash):
    """R54: neither a percent-escape nor a dot segment, of which each has a part alone."""
    with pytest.raises(InvalidArgumentError, match="path_params: must not form"):
        encode_target(template, values, None, allow_slash=allow_slash)


def test_a_value_may_share_its_segment():
    """Also one that is encoded, next to text that is encoded."""
    assert encode_target("/a%20{x}:b/{y}.json", {"x": "1 %", "y": "\u00e9"}, None) == "/a%201%20%25:b/%C3%A9.json"


@pytest.mark.parametrize("template", ["/a/../{id}", "/a/./{id}", "/a/%2e%2e/{id}", "/a/..%2f{id}"])
def test_a_template_is_looked_at_too(template):
    """R54: by the same rule."""
    with pytest.raises(InvalidArgumentError) as caught:
        encode_target(template, {"id": "7"}, None)
    assert caught.value.reason == _DOTS


@given(st.text("./\\%25eEfFcC;a", max_size=12), st.sampled_from(["{id}", "{id}{x}", ".{id}2e", "%2{id}:x"]))
def test_no_reader_that_decodes_up_to_three_times_is_led_elsewhere(value, segment):
    """R54: what is sent has been encoded once, so that its value decoded twice has been decoded three times."""
    try:
        values = {"id": value, "x": value[::-1]} if "{x}" in segment else {"id": value}
        target = encode_target(f"/a/{segment}", values, None)
    except InvalidArgumentError:
        return
    assert target.count("/") == 2
    for _ in range(3):
        target = unquote(target)
        assert not {".", ".."} & set(re.split(r"[/\\]", target))


_HELD = "path: must not contain control characters, '\\', '?' or '#'; use params for a query"
_ABSOLUTE = "path: must start with exactly one '/': absolute URLs are refused"
_DOTS = "path: must not contain '.' or '..' segments"


@pytest.mark.parametrize(
    ("path", "path_params", "params", "reason"),
    [
        (7, None, None, "path: must be str, got int"),
        ("a", None, None, _ABSOLUTE),
        ("//host/a", None, None, _ABSOLUTE),
        ("https://host/a", {}, None, _ABSOLUTE),
        *((f"/a{char}b", None, None, _HELD) for char in "\x00\x1f\x7f\\?#"),
        ("/a\nb", {}, None, _HELD),
        ("/a/../b", None, None, _DOTS),
        ("/a/./b", None, None, _DOTS),
        ("/a/%2e%2e/b", None, None, _DOTS),
        ("/a\ud800", None, None, "path: not encodable as UTF-8"),
        ("/a", [1], None, "path_params: must be a mapping, got list"),
        ("/a/{id}", {"id": 1, "z": 1, "b": 2}, None, "path_params: not in the path: b, z"),
        ("/a/{id}", {"id": 1, "/a/": 1}, None, "path_params: not in the path: /a/"),
        ("/a/{id}", {}, None, "path_params.id: missing"),
        ("/a/{id}", {"id": 1.5}, None, "path_params.id: must be str or int, got float"),
        ("/a/{id}", {"id": True}, None, "path_params.id: must be str or int, got bool"),
        *(("/a/{id}", {"id": t}, None, "path_params.id: must not be empty, '.' or '..'") for t in ("", ".", "..")),
        ("/a/{id}", {"id": 10**4300}, None, "path_params.id: has too many digits"),
        ("/a", {}, {"q": [1, -(10**4300)]}, "params.q: has too many digits"),
        ("/a/{id}", {"id": "\ud800"}, None, "path_params.id: not encodable as UTF-8"),
        ("/a", {}, [1], "params: must be a mapping with names of type str"),
        ("/a", {}, {1: 2}, "params: must be a mapping with names of type str"),
        ("/a", {}, {"q": {}}, "params.q: must be str, number or bool, got dict"),
        ("/a", {}, {"q": "\ud800"}, "params: not encodable as UTF-8"),
        ("/" + "a" * 8192, None, None, "path and params: encoded they are longer than 8192 characters"),
    ],
)
def test_what_cannot_be_sent_is_named(path, path_params, params, reason):
    """The argument and what it must be; nothing of its value."""
    with pytest.raises(InvalidArgumentError) as caught:
        encode_target(path, path_params, params)
    assert caught.value.reason == reason


def test_the_longest_target_is_sent():
    """8192 characters, query included."""
    assert len(encode_target("/" + "a" * 8189, {}, {"": ""})) == 8192
    assert len(encode_target("/" + "a" * 8191, None, None)) == 8192


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (None, None),
        ({}, b"{}"),
        ({"a": [1, "ö"], "b": None}, '{"a":[1,"ö"],"b":null}'.encode()),
        (0, b"0"),
        ("", b'""'),
    ],
)
def test_the_body(body, sent):
    """Compact, in UTF-8."""
    assert encode_body(body) == sent


RECURSIVE = []
RECURSIVE.append(RECURSIVE)


@pytest.mark.parametrize(
    ("body", "kind"),
    [({1, 2}, "TypeError"), (float("nan"), "ValueError"), (RECURSIVE, "ValueError"), ("\ud800", "UnicodeEncodeError")],
    ids=["set", "nan", "recursive", "surrogate"],
)
def test_a_body_that_is_not_json_ready(body, kind):
    """R52: only the class of the cause; its text may quote the body."""
    with pytest.raises(InvalidArgumentError) as caught:
        encode_body(body)
    assert caught.value.reason == f"json_body: not JSON-ready ({kind})"
    assert caught.value.__context__ is None


async def encoded(**fields):
    request = a_request(method=fields.pop("method", "POST"))
    for name, value in fields.items():
        setattr(request, name, value)
    upstream = Upstream(None)
    assert (await EncodeMiddleware()(request, upstream)).status == 200
    return upstream.requests[0]


async def test_the_layer_hands_on_what_goes_on_the_wire():
    """R14: encoded once; a body has its type."""
    with_body = await encoded(json_body={"a": 1}, path="/x/{id}", path_params={"id": 1}, params={"q": 2})
    assert with_body.content == b'{"a":1}'
    assert with_body.target == "/x/1?q=2"
    assert with_body.headers == {"content-type": "application/json"}
    assert (await encoded()).headers == {}
    assert (await encoded(user_jwt="")).headers == {}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"problem": "name: must be text"}, "name: must be text"),
        ({"method": "G T"}, "method: must be an HTTP method"),
        ({"method": "A" * 21}, "method: must be an HTTP method"),
        *(
            ({"method": name}, "method: must be an HTTP method other than CONNECT and TRACE")
            for name in ("CONNECT", "TRACE")
        ),
        ({"user_jwt": "a b"}, "user_jwt: must be 1 to 8192 visible ASCII characters without blanks"),
        ({"user_jwt": 7}, "user_jwt: must be 1 to 8192 visible ASCII characters without blanks"),
    ],
)
async def test_the_layer_refuses_what_cannot_be_sent(fields, reason):
    """Before anything is sent."""
    with pytest.raises(InvalidArgumentError) as caught:
        await encoded(**fields)
    assert caught.value.reason == reason
