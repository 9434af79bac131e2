"""The stand-in platform responds as the real one does."""

import httpx
import pytest

from runtime.gateway import DEFAULT_API_KEY

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
    assert (record.path, record.query, record.header("x-correlation-id"), record.status) == (
        "/api/users/a%2Fb",
        "q=1",
        "c-1",
        404,
    )
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
        assert (item["name"], item["status"], item["metadata"]) == ("a", "active", {"b": 1})
        assert "config" not in item
    for document in ({}, {"name": ""}, {"name": 7}):
        assert (await client.post("/api/service/items", json=document, headers=KEY)).status_code == 400
        assert (await client.post("/api/apps", json=document, headers=KEY)).status_code == 400


@pytest.mark.parametrize("body", [b"[]", b"7", b"null", b'"x"', b"{"])
async def test_what_is_no_object_is_refused_everywhere(client, body):
    """With the platform's 400."""
    assert (await client.post("/api/notes/drafts", content=body, headers=KEY)).status_code == 400
