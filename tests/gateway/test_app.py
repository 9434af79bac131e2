"""The stand-in platform responds as the real one does."""

import httpx
import pytest

from runtime.gateway import DEFAULT_API_KEY, Gateway

pytestmark = pytest.mark.sockets

KEY = {"X-Mozaiks-App-Key": DEFAULT_API_KEY}


@pytest.fixture
async def client(gateway):
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as made:
        yield made


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-Mozaiks-App-Key": "wrong"}, 401),
        ({"Authorization": "Bearer nobody"}, 401),
        ({"Authorization": "token-ada"}, 401),
        ({"Authorization": "Bearer token-ada", "X-Mozaiks-App-Key": "wrong"}, 401),
        (KEY, 401),
        ({"Authorization": "Bearer token-ada"}, 200),
        ({"Authorization": "Bearer token-ada", **KEY}, 200),
    ],
)
async def test_credentials_are_checked(client, headers, status):
    """401 has no body and says which scheme; the app key alone is no user."""
    response = await client.get("/api/auth/me", headers=headers)
    assert response.status_code == status
    if status == 401:
        assert response.content == b""
        assert response.headers["www-authenticate"].startswith("Bearer")


async def test_an_idempotency_key_is_honoured_where_the_platform_does(client, gateway):
    """The same key replays; another payload conflicts; without a key each call applies."""
    path, headers = "/api/apps/a/deploy", {**KEY, "Idempotency-Key": "k1"}
    first = await client.post(path, json={"branch": "main"}, headers=headers)
    second = await client.post(path, json={"branch": "main"}, headers=headers)
    other = await client.post(path, json={"branch": "dev"}, headers=headers)
    plain = [await client.post(path, json={"branch": "main"}, headers=KEY) for _ in range(2)]
    assert (first.status_code, second.json()) == (202, first.json())
    assert (other.status_code, other.json()["error"]) == (409, "conflict")
    assert plain[0].json()["jobId"] != plain[1].json()["jobId"]
    assert [request.applied for request in gateway.requests] == [True, False, False, True, True]


async def test_elsewhere_a_key_is_ignored(client):
    """A second POST is applied a second time, as on the real platform."""
    for _ in range(2):
        await client.post("/api/service/items", json={"name": "a"}, headers={**KEY, "Idempotency-Key": "k"})
    assert (await client.get("/api/service/items", headers=KEY)).json()["total"] == 2


async def test_the_second_generation_demands_a_key(client):
    """With its own error body."""
    answer = await client.post("/api/mozaiks-cloud/v1/deployments", json={"app_id": "a"}, headers=KEY)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (400, "validation_error")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", None, 404),
        ("PATCH", "/api/service/items", None, 405),
        ("POST", "/api/service/items", b"{", 400),
        ("POST", "/api/service/items", b"{}", 400),
        ("PUT", "/api/users/user_1/roles", b'{"roles": "admin"}', 400),
        ("GET", "/api/admin/users?limit=0", None, 400),
        ("GET", "/api/users/nobody", None, 404),
        ("POST", "/api/service/items", b"x" * 2_000_000, 413),
    ],
)
async def test_wrong_requests_are_refused(client, method, path, body, status):
    """With the platform's statuses."""
    assert (await client.request(method, path, content=body, headers=KEY)).status_code == status


async def test_everything_read_is_logged_without_secrets(client, gateway):
    """Raw path, headers and body; credentials only as a digest to others."""
    await client.get("/api/users/a%2Fb?q=1", headers={**KEY, "X-Correlation-Id": "c-1"})
    (record,) = gateway.requests
    assert record.path == "/api/users/a%2Fb"
    assert record.query == "q=1"
    assert record.header("x-correlation-id") == "c-1"
    assert record.status == 404
    shown = (await client.get("/__gateway__/requests")).text
    assert DEFAULT_API_KEY not in repr(record) + shown
    assert len(gateway.requests) == 1


async def test_the_correlation_id_is_echoed(client):
    """Any that is not blank; else a fresh one."""
    assert (await client.get("/x", headers={"X-Correlation-Id": "c-1"})).headers["x-correlation-id"] == "c-1"
    assert len((await client.get("/x")).headers["x-correlation-id"]) == 36


async def test_long_answers_are_compressed(client):
    """Where the client takes gzip."""
    for number in range(20):
        await client.post("/api/service/items", json={"name": f"item {number}"}, headers=KEY)
    response = await client.get("/api/service/items", headers=KEY)
    assert response.headers["content-encoding"] == "gzip"
    assert response.json()["total"] == 20


@pytest.mark.parametrize(
    "document",
    [{}, {"title": "One"}, {"name": 7}, {"config": [1]}, {"name": "a", "config": {"b": 1}, "size": 2}, {"total": None}],
    ids=repr,
)
async def test_any_collection_takes_any_object(client, document):
    """It is returned as it was sent, with an id; it is listed, read, changed and deleted too."""
    path = "/api/notes/drafts"
    created = await client.post(path, json=document, headers=KEY)
    item = created.json()
    assert (created.status_code, created.headers["location"]) == (201, f"{path}/{item['id']}")
    assert document.items() <= item.items()
    assert (await client.get(path, headers=KEY)).json()["items"] == [item]
    assert (await client.get(f"{path}/{item['id']}", headers=KEY)).json() == item
    changed = await client.put(f"{path}/{item['id']}", json={"more": document}, headers=KEY)
    assert changed.json() == {**item, "more": document}
    assert (await client.delete(f"{path}/{item['id']}", headers=KEY)).json() == {"success": True}


async def test_a_new_connector_after_the_template_reads_its_config_as_metadata(client):
    """As of the service whose connector is the contract's template, which needs a name."""
    for path in ("/api/notes/drafts", "/api/service/items"):
        item = (await client.post(path, json={"name": "a", "config": {"b": 1}}, headers=KEY)).json()
        assert item["name"] == "a"
        assert item["status"] == "active"
        assert item["metadata"] == {"b": 1}
        assert "config" not in item
    for document in ({}, {"name": ""}, {"name": 7}):
        assert (await client.post("/api/service/items", json=document, headers=KEY)).status_code == 400
        assert (await client.post("/api/apps", json=document, headers=KEY)).status_code == 400


@pytest.mark.parametrize("body", [b"[]", b"7", b"null", b'"x"', b"{"])
async def test_what_is_no_object_is_refused_everywhere(client, body):
    """With the platform's 400."""
    assert (await client.post("/api/notes/drafts", content=body, headers=KEY)).status_code == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        *(({"Host": host}, 200) for host in ("localhost", "127.9.9.9:1", "[::1]:80", "LOCALHOST.:8080", "a.localhost")),
        *(
            ({"Host": host}, 421)
            for host in ("evil.test", "localhost.evil.test", "10.0.0.1", "127.0.0.1.evil.test", "")
        ),
        *(({"Host": host}, 421) for host in ("[::1", "evil@localhost", "localhost,evil.test", "::1")),
        ({"Origin": "http://localhost"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": ""}, 415),
    ],
)
async def test_a_page_of_another_site_cannot_reach_the_gateway(client, gateway, headers, status):
    """By its origin, by a name that resolves to loopback, or by a form; nothing is applied, played or recorded."""
    response = await client.post(
        "/__gateway__/faults", content="[]", headers={"Content-Type": "application/json"} | headers
    )
    assert response.status_code == status
    assert response.headers["x-content-type-options"] == "nosniff"
    if status in {403, 421}:
        assert (await client.get("/api/auth/me", headers=headers)).status_code == status
        assert gateway.requests == []


async def test_a_host_that_is_named_is_taken():
    """As a proxy in front of the gateway sends it; a port is no part of it."""
    async with Gateway(allow_hosts=["Platform.test"]) as gateway, httpx.AsyncClient(trust_env=False) as client:
        for host, status in (("platform.test:8080", 401), ("other.test", 421)):
            response = await client.get(f"{gateway.url}/api/auth/me", headers={"Host": host})
            assert response.status_code == status
    for name in ("a:80:90", "a:80", "*", "*.test", "a b", "http://a", "::2", ""):
        with pytest.raises(ValueError, match="must be a host name without a port"):
            Gateway(allow_hosts=["platform.test", name])


async def test_the_log_is_bounded(client, gateway, monkeypatch):
    """By number and by bytes; the numbers go on."""
    monkeypatch.setattr("runtime.gateway.app._MAX_RECORDS", 3)
    for _ in range(5):
        await client.get("/api/auth/me")
    assert [record.number for record in gateway.requests] == [3, 4, 5]
    assert (await client.get("/__gateway__/stats")).json()["requests"] == 5
    monkeypatch.setattr("runtime.gateway.app._MAX_RECORDED_BYTES", 3000)
    await client.post("/api/service/items", content=b"x" * 2000)
    await client.post("/api/service/items", content=b"x" * 2000)
    assert [record.number for record in gateway.requests] == [7]
    gateway.reset()
    assert (await client.get("/__gateway__/stats")).json()["requests"] == 0


async def test_an_address_of_version_6_has_a_url():
    """In brackets."""
    async with Gateway(host="::1") as gateway, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(gateway.url + "/api/auth/me")).status_code == 401
        assert gateway.url == f"http://[::1]:{gateway.port}"
