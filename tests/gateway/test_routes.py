"""
What the stand-in platform responds: keys, wrong requests, and collections of any service.

Also the tests of `runtime.gateway.store`.
"""

import pytest

from runtime.gateway import DEFAULT_API_KEY

pytestmark = pytest.mark.sockets


KEY = {"X-Mozaiks-App-Key": DEFAULT_API_KEY}


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
