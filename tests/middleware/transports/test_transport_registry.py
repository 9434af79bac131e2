"""The end of the stack: third-party exceptions become ours, responses are bounded."""

import asyncio
import gzip
import zlib

import httpx
import pytest

from middleware import (
    CallError,
    DecodeError,
    InternalError,
    RedirectError,
    RequestNotSentError,
    ResponseLostError,
    ResponseTooLargeError,
    ServerError,
    StackSettings,
    StatusError,
    call_options,
)
from middleware.retry_after import parse_retry_after
from middleware.transports.registry import TransportSettings
from runtime.connectors.base import PlatformHttpClient

LIMIT = 64 * 1024


def a_client(respond):
    """Make a client whose responses come from the function *respond*."""
    policies = StackSettings(transport=TransportSettings(max_response_bytes=LIMIT))
    return PlatformHttpClient(
        "http://platform", "moz_test_key0", policies=policies, transport=httpx.MockTransport(respond)
    )


def failing(error):
    def answer(request):
        error.request = request
        raise error

    return a_client(answer)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectError("refused"), RequestNotSentError),
        (httpx.ConnectTimeout("slow"), RequestNotSentError),
        (httpx.PoolTimeout("full"), RequestNotSentError),
        (httpx.ReadError("reset"), ResponseLostError),
        (httpx.ReadTimeout("slow"), ResponseLostError),
        (httpx.WriteError("reset"), ResponseLostError),
        (httpx.RemoteProtocolError("garbage"), ResponseLostError),
        (OSError("broken"), ResponseLostError),
        (ExceptionGroup("both", [OSError("v4"), OSError("v6")]), ResponseLostError),
    ],
)
async def test_third_party_exceptions_become_ours(error, kind):
    """For a transport that reports no phase the error's class decides; what may have been sent counts as sent."""
    with call_options(max_attempts=1), pytest.raises(kind) as caught:
        await failing(error).get("/x")
    assert caught.value.outcome.request_sent == ("no" if kind is RequestNotSentError else "maybe")


async def test_the_third_party_exception_is_not_reachable():
    """It refers to the request, and so to the credentials."""
    with call_options(max_attempts=1), pytest.raises(RequestNotSentError) as caught:
        await failing(httpx.ConnectError("refused")).get("/x", user_jwt="secret")
    error, seen = caught.value, []
    while error is not None:
        seen.append(type(error).__module__.split(".")[0])
        error = error.__cause__ or error.__context__
    assert "httpx" not in seen


@pytest.mark.sockets
@pytest.mark.parametrize("port", [1, 9])
async def test_a_real_refusal_is_not_sent(port):
    """By the phase that the connection reached."""
    async with PlatformHttpClient(f"http://127.0.0.1:{port}") as client:
        with call_options(max_attempts=1), pytest.raises(RequestNotSentError) as caught:
            await client.post("/x", json_body={})
    assert caught.value.outcome.request_sent == "no"


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1])
async def test_the_body_is_bounded(size):
    """At the limit fine, beyond it a typed error."""
    body = b'"' + b"x" * (size - 2) + b'"'
    client = a_client(lambda _request: httpx.Response(200, stream=httpx.ByteStream(body)))
    if size == LIMIT:
        assert len(await client.get("/x")) == size - 2
    else:
        with pytest.raises(ResponseTooLargeError):
            await client.get("/x")


async def test_a_gzip_bomb_is_bounded():
    """The limit applies to the inflated body."""
    bomb = gzip.compress(b" " * (50 * 1024 * 1024))
    client = a_client(
        lambda _request: httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(bomb))
    )
    with pytest.raises(ResponseTooLargeError):
        await client.get("/x")


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)]
)
async def test_encodings_are_read(encoding, pack):
    """Those that were asked for, and the one every server may use."""
    body = pack(b'{"a": 1}')
    client = a_client(
        lambda _request: httpx.Response(200, headers={"content-encoding": encoding}, stream=httpx.ByteStream(body))
    )
    assert await client.get("/x") == {"a": 1}


@pytest.mark.parametrize(("encoding", "body"), [("gzip", b"not gzip"), ("br", b"x"), ("gzip, gzip", b"x")])
async def test_a_broken_encoding_is_a_decode_error(encoding, body):
    """Not a third-party one."""
    client = a_client(
        lambda _request: httpx.Response(200, headers={"content-encoding": encoding}, stream=httpx.ByteStream(body))
    )
    with pytest.raises(DecodeError, match="encoding"):
        await client.get("/x")


async def test_headers_are_shown_but_for_secrets():
    """Repeated ones joined, cookies not at all."""
    headers = [("X-A", "1"), ("x-a", "2"), ("Set-Cookie", "sid=secret"), ("Location", "/here")]
    response = await a_client(lambda _request: httpx.Response(201, headers=headers, json={})).request("POST", "/x")
    assert response.headers["x-a"] == "1, 2"
    assert response.location == "/here"
    assert "secret" not in str(response.headers)


async def test_no_cookie_is_kept():
    """A shared client must not mix users."""
    seen = []

    def answer(request):
        seen.append(request.headers.get("cookie"))
        return httpx.Response(200, headers={"set-cookie": "sid=1"}, json={})

    client = a_client(answer)
    await client.get("/x")
    await client.get("/x")
    assert seen == [None, None]


async def test_redirects_and_errors_are_typed():
    """3xx too."""
    with pytest.raises(RedirectError):
        await a_client(lambda _request: httpx.Response(302, headers={"location": "http://evil"})).get("/x")
    with call_options(max_attempts=1), pytest.raises(ServerError) as caught:
        await a_client(lambda _request: httpx.Response(503, headers={"retry-after": "3"})).get("/x")
    assert caught.value.retry_after_s == 3.0


async def test_respx_intercepts_every_default_call(respx_mock):
    """A user's tests never send real calls."""
    route = respx_mock.get("http://platform.test/x").respond(json={"mocked": True})
    async with PlatformHttpClient("http://platform.test") as client:
        assert await client.get("/x") == {"mocked": True}
    assert route.called


async def test_no_default_call_gets_past_respx(respx_mock, monkeypatch):
    """Not even one that no route matches, by any method, over TLS or not: no socket is opened."""

    async def no_socket(*_args, **_kwargs):
        raise AssertionError("a real call")

    for way in ("create_connection", "sock_connect"):
        monkeypatch.setattr(asyncio.get_running_loop(), way, no_socket)
    monkeypatch.setattr("middleware.transports.resolver.Resolver.resolve", no_socket)
    respx_mock.route(host="known.test").respond(json={"mocked": True})
    respx_mock.route(host="broken.test").mock(side_effect=httpx.ConnectError("mocked"))
    respx_mock.route(host="lost.test").mock(side_effect=httpx.ReadError("mocked"))
    for scheme in ("http", "https"):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            body = {"a": 1} if method != "GET" else None
            async with PlatformHttpClient(f"{scheme}://known.test") as client:
                assert (await client.request(method, "/x", json_body=body)).data == {"mocked": True}
            async with PlatformHttpClient(f"{scheme}://unknown.test") as client:
                with pytest.raises(InternalError) as caught:
                    await client.request(method, "/x", json_body=body)
                said = f"RESPX: <Request('{method}', '{scheme}://unknown.test/x')> not mocked!"
                assert caught.value.reason.startswith("unexpected AllMockedAssertionError")
                assert caught.value.reason.endswith(f": {said}")
    for host, sent in (("broken", "no"), ("lost", "maybe")):
        async with PlatformHttpClient(f"http://{host}.test") as client:
            with call_options(max_attempts=1), pytest.raises(CallError) as caught:
                await client.post("/x", json_body={})
            assert caught.value.request_sent == sent
    assert respx_mock.calls.last.request.content == b"{}"


@pytest.mark.parametrize("transport", [None, httpx.AsyncHTTPTransport], ids=["default", "httpx"])
async def test_respx_says_which_request_no_route_matches(respx_mock, transport):
    """The error has its text, without the values of the query and what looks like a secret."""
    respx_mock.get("http://platform.test/known")
    async with PlatformHttpClient("http://platform.test", transport=transport and transport()) as client:
        with pytest.raises(InternalError) as caught:
            await client.get("/x/moz_live_0123456789", params={"q": "s3cret", "r": [1, 2]}, user_jwt="token-s3cret")
    said = "RESPX: <Request('GET', 'http://platform.test/x/***?q=REDACTED&r=REDACTED&r=REDACTED')> not mocked!"
    assert said in str(caught.value)


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("value", "date", "expected"),
    [
        ("120", None, 120.0),
        (" 7 ", None, 7.0),
        ("0", None, None),
        ("-1", None, None),
        ("1.5", None, 1.5),
        ("soon", None, None),
        ("", None, None),
        (None, None, None),
        ("9" * 30, None, float("inf")),
        ("0" * 13, None, None),
        ("0" * 20 + "5", None, 5.0),
        ("Fri, 15 Jan 2027 08:00:10 GMT", "Fri, 15 Jan 2027 08:00:00 GMT", 10.0),
        ("Fri, 15 Jan 2027 08:00:10 GMT", None, 10.0),
        ("Friday, 15-Jan-27 08:00:10 GMT", None, 10.0),
        ("Fri Jan 15 08:00:10 2027", None, 10.0),
        ("Fri, 15 Jan 2027 07:59:00 GMT", None, None),
        ("Fri, 15 Jan 2027 08:00:10 GMT", "nonsense", 10.0),
    ],
)
def test_retry_after_in_both_forms(value, date, expected):
    """R15: digits, or a date against the response's own; everything else is none."""
    assert parse_retry_after(value, date, NOW) == expected


@pytest.mark.parametrize(("status", "fine"), [(199, False), (200, True), (299, True), (300, False)])
async def test_a_success_is_200_to_299(status, fine):
    """RFC 9110 section 15.3; everything else is an error."""
    client = a_client(lambda _request: httpx.Response(status, json={}))
    with call_options(max_attempts=1):
        if fine:
            assert await client.get("/x") == {}
        else:
            with pytest.raises(StatusError):
                await client.get("/x")
