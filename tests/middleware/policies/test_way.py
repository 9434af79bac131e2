import asyncio

import httpx
import pytest

from middleware import NotFoundError
from runtime.connectors.base import PlatformHttpClient
from runtime.testing import LoopClock, Reply, ScriptedUpstream, UpperBound, virtual_time

REFUSED = httpx.ConnectError("refused")
OF_TRAEFIK = Reply(status=404, body=b"404 page not found\n", headers={"content-type": "text/plain; charset=utf-8"})
OF_PLATFORM = Reply(status=404, body=b'{"status": 404}', headers={"content-type": "application/problem+json"})


async def get(client):
    return await client.get("/api/users/{id}", path_params={"id": "1"})


async def failure(call):
    with pytest.raises(NotFoundError) as raised:
        await call
    return raised.value


@virtual_time
async def test_a_gateways_404_right_after_a_refused_connection_is_retried():
    """R21: with the backoff of a refused connection, and not counted towards `max_attempts`."""
    upstream = ScriptedUpstream([REFUSED, OF_TRAEFIK, OF_TRAEFIK, OF_TRAEFIK, {"id": "1"}])
    assert await get(upstream.client()) == {"id": "1"}
    upstream.assert_times(0.5, 1.5, 2.5, 3.5)


@virtual_time
async def test_for_three_seconds_and_no_longer():
    """R21: `gateway_404_s` counts from the first 404 of the call."""
    upstream = ScriptedUpstream([REFUSED], then=OF_TRAEFIK)
    error = await failure(get(upstream.client()))
    upstream.assert_times(0.5, 1.5, 2.5, 3.5)
    assert error.stop_reason == "not_retryable"
    assert error.stop_detail == "retry.gateway_404_s is 3 s"
    assert error.answered_by == "gateway"


@virtual_time
async def test_another_call_within_ten_seconds_is_retried_too():
    """R21: the refused connection may have been that of another call; after 10 s a 404 is final."""
    upstream = ScriptedUpstream([REFUSED, {}, OF_TRAEFIK, {"id": "1"}, OF_TRAEFIK])
    client = upstream.client()
    await get(client)
    await asyncio.sleep(9)
    assert await get(client) == {"id": "1"}
    await asyncio.sleep(1)
    await failure(get(client))
    upstream.assert_times(0.5, 9.5, 10.0, 11.0)


@virtual_time
async def test_clients_of_one_origin_share_what_they_know():
    """R21: of the same origin, whatever the service."""
    clock, upstream = LoopClock(), ScriptedUpstream([REFUSED, {}, OF_TRAEFIK, {"id": "1"}, OF_TRAEFIK])

    def client(url):
        return PlatformHttpClient(url, transport=upstream, clock=clock, random=UpperBound())

    one, two, other = client("http://gw/api"), client("http://gw"), client("http://gw:8080")
    await get(one)
    assert await get(two) == {"id": "1"}
    await failure(get(other))


@pytest.mark.parametrize(
    ("script", "settings", "method"),
    [
        ([OF_TRAEFIK], {}, "GET"),
        ([REFUSED, OF_PLATFORM], {}, "GET"),
        ([REFUSED, OF_TRAEFIK], {"gateway_404_s": 0}, "GET"),
        ([REFUSED, OF_TRAEFIK], {}, "DELETE"),
        ([REFUSED, Reply(status=410, body=b"gone", headers={"content-type": "text/plain"})], {}, "GET"),
        ([REFUSED, OF_TRAEFIK], {"max_attempts": 1}, "GET"),
    ],
    ids=["not-refused", "platform", "off", "delete", "410", "no-retries"],
)
def test_any_other_404_is_final(script, settings, method):
    """R21: without a refused connection before it, of the platform, switched off, or to another method."""

    @virtual_time
    async def run():
        upstream = ScriptedUpstream(script)
        client = upstream.client(retry=settings)
        if settings.get("max_attempts") == 1:
            with pytest.raises(Exception, match="refused"):
                await get(client)
        await failure(client.request(method, "/api/users/{id}", path_params={"id": "1"}))
        upstream.assert_count(1)

    run()


@virtual_time
async def test_it_counts_neither_for_nor_against_the_service():
    """R21, R31: such a 404 does not close a half-open circuit, as one of the platform does."""
    upstream = ScriptedUpstream([REFUSED] * 2 + [OF_TRAEFIK, {}])
    client = upstream.client(circuit_breaker={"min_calls": 2, "failure_ratio": 0.5})
    with pytest.raises(Exception, match="refused"):
        await get(client)
    assert client.health().breakers["service"] == "open"
    await asyncio.sleep(1)
    call = asyncio.create_task(get(client))
    await asyncio.sleep(0.1)
    assert client.health().breakers["service"] == "half_open"
    assert await call == {}
    assert client.health().breakers["service"] == "closed"
