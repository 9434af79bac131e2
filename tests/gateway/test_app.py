"""What the stand-in platform does for every request: credentials, ids, compression, and the log."""

import httpx
import pytest

from runtime.gateway import DEFAULT_API_KEY, Gateway

pytestmark = pytest.mark.sockets

KEY = {"X-Mozaiks-App-Key": DEFAULT_API_KEY}


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
