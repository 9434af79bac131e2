"""Who may ask the gateway: no web page."""

import httpx
import pytest

from runtime.gateway import Gateway

pytestmark = pytest.mark.sockets


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
