"""The example of a response cache: no caller gets another one's response, and only complete reads are cached."""

import asyncio

import pytest

from examples import response_cache
from examples.response_cache import ResponseCache
from middleware import CallError, HostLayers
from runtime.connectors.base import PlatformHttpClient
from runtime.testing import LoopClock, Reply, ScriptedUpstream, virtual_time

USERS, KEYS = ("token-ada", "token-grace", None), ("key-one", "key-two", None)


def whose(seen):
    """Respond with what the request says about its sender and itself."""
    known = {"authorization", "x-mozaiks-app-key", "accept-language"}
    return {"to": {name: value for name, value in seen.headers.items() if name in known}, "at": [seen.path, seen.query]}


def client_of(upstream, cache, *, key="key-one", service="svc", base_url="http://platform.test"):
    return PlatformHttpClient(
        base_url, key, service=service, transport=upstream, clock=LoopClock(), middleware=HostLayers(call=[cache])
    )


def make_cache(**options):
    return ResponseCache(**{"max_age_s": 30, "now": asyncio.get_running_loop().time, **options})


@virtual_time
async def test_a_read_is_made_once_per_user_and_key():
    """Two users and two application keys, and none: each gets its own response, the second time too."""
    upstream = ScriptedUpstream(whose)
    cache = make_cache()
    clients = {key: client_of(upstream, cache, key=key) for key in KEYS}
    for _ in range(2):
        for key, client in clients.items():
            for user in USERS:
                expected = {"x-mozaiks-app-key": key, "authorization": user and f"Bearer {user}"}
                document = await client.get("/api/items", user_jwt=user)
                assert document["to"] == {name: value for name, value in expected.items() if value}
    upstream.assert_count(len(USERS) * len(KEYS))


@virtual_time
async def test_other_requests_are_other_responses():
    """Service, base URL, path and query all count; so does a header of a layer further out."""
    upstream = ScriptedUpstream(whose)
    cache = make_cache()
    for _ in range(2):
        await client_of(upstream, cache).get("/api/items")
        await client_of(upstream, cache, service="other").get("/api/items")
        await client_of(upstream, cache, base_url="http://platform.test/v2").get("/api/items")
        await client_of(upstream, cache).get("/api/things")
        await client_of(upstream, cache).get("/api/items", params={"page": 1})
        await client_of(upstream, cache).get("/api/items", params={"page": 2})
    upstream.assert_count(6)

    languages = iter(["de", "en", "de", "en"])

    async def chooses(request, call_next):
        request.headers["accept-language"] = next(languages)
        return await call_next(request)

    client = upstream.client(middleware=HostLayers(call=[chooses, cache]))
    found = [(await client.get("/api/items"))["to"]["accept-language"] for _ in range(4)]
    assert found == ["de", "en", "de", "en"]
    upstream.assert_count(8)


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
@virtual_time
async def test_a_write_is_never_kept_nor_answered(method):
    """Each one is made, before and after a read of the same path."""
    upstream = ScriptedUpstream(whose)
    client = client_of(upstream, make_cache())
    for verb in (method, "get", method):
        await getattr(client, verb)("/api/items")
    assert [seen.method for seen in upstream.requests] == [method.upper(), "GET", method.upper()]


@pytest.mark.parametrize(
    "step",
    [
        404,
        204,
        Reply(status=206, json={}),
        Reply(status=203, json={}),
        Reply(json={}, headers={"cache-control": "private, No-Store"}),
        Reply(json="x" * 100),
        Reply(body=b"<html>"),
        "lost",
    ],
    ids=str,
)
@virtual_time
async def test_only_a_complete_response_that_may_be_kept_is_kept(step):
    """No failure, no part, nothing that is too large or that the platform forbids to store."""
    upstream = ScriptedUpstream([], then=step)
    client = client_of(upstream, make_cache(max_body_bytes=50))
    attempts = []
    for _ in range(2):
        try:
            attempts.append((await client.request("GET", "/api/items")).outcome.attempts)
        except CallError as error:
            attempts.append(error.attempts)
    assert min(attempts) >= 1


@virtual_time
async def test_a_response_is_used_for_its_time_alone():
    """Counted from when it was asked for."""
    upstream = ScriptedUpstream([], then=Reply(json={}, after_s=5))
    client = client_of(upstream, make_cache())
    for wait_s in (0, 24.9, 0.2):
        await asyncio.sleep(wait_s)
        await client.get("/api/items")
    upstream.assert_times(0, 30.1)


@virtual_time
async def test_the_least_recently_used_is_dropped_first():
    """Memory is bounded."""
    upstream = ScriptedUpstream(whose)
    client = client_of(upstream, make_cache(max_entries=2))
    for name in ("a", "b", "a", "c", "a", "b"):
        await client.get(f"/{name}")
    assert [seen.path for seen in upstream.requests] == ["/a", "/b", "/c", "/b"]


@virtual_time
async def test_a_result_that_a_caller_changes_changes_nobody_elses():
    """And the record of a hit is its own call's, which made no attempt."""
    client = client_of(ScriptedUpstream(whose), make_cache())
    first = await client.request("GET", "/api/items")
    first.data.clear()
    second = await client.request("GET", "/api/items", correlation_id="c-2")
    assert second.data["at"] == ["/api/items", ""]
    assert second.correlation_id == "c-2"
    assert second.outcome.attempts == 0
    assert second.outcome.request_sent == "no"


@virtual_time
async def test_the_cache_holds_no_credentials():
    """Keys are digests."""
    cache = make_cache()
    await client_of(ScriptedUpstream([{}]), cache, key="key-one").get("/api/items", user_jwt="token-ada")
    (key,) = cache._entries
    assert len(key) == 64
    assert "token-ada" not in repr(vars(cache))
    assert "key-one" not in repr(vars(cache))


@pytest.mark.sockets
async def test_it_runs(capsys):
    """The file's own demonstration, against the reference gateway."""
    await response_cache.main()
    assert capsys.readouterr().out.splitlines() == [
        "token-ada: ada, 1 requests so far",
        "token-grace: grace, 2 requests so far",
        "token-ada: ada, 2 requests so far",
        "token-grace: grace, 2 requests so far",
    ]


@virtual_time
async def test_a_body_makes_another_request():
    """A GET may have one, and what it asks for is in it."""
    upstream = ScriptedUpstream([{"n": 1}, {"n": 2}])
    client = client_of(upstream, make_cache())
    found = [await client.get("/r", path_params={}, json_body={"q": number}) for number in (1, 2, 1)]
    assert found == [{"n": 1}, {"n": 2}, {"n": 1}]
