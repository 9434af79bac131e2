"""The example of a quota per tenant does what it says."""

import asyncio
from contextvars import copy_context

import pytest

from examples import tenant_quota
from examples.tenant_quota import TenantQuota, TenantQuotaExceededError, tenant
from middleware import HostLayers
from runtime.testing import ScriptedUpstream, virtual_time


def client_of(upstream, quota, **settings):
    return upstream.client(middleware=HostLayers(call=[quota]), **settings)


async def as_tenant(name, client):
    """Make one call as *name*; return what came of it."""

    async def call():
        tenant.set(name)
        try:
            return await client.get("/api/items")
        except TenantQuotaExceededError as error:
            return error

    return await asyncio.create_task(call(), context=copy_context())


@virtual_time
async def test_each_tenant_has_a_quota_of_its_own():
    """What one used up does not concern another; nothing is sent for a call beyond it."""
    upstream = ScriptedUpstream([], then={})
    client = client_of(upstream, TenantQuota(2, 60, now=asyncio.get_running_loop().time))
    results = [await as_tenant(name, client) for name in ("acme", "acme", "acme", "globex")]
    assert [result if isinstance(result, dict) else result.code for result in results] == [
        {},
        {},
        "TENANT_QUOTA_EXCEEDED",
        {},
    ]
    assert results[2].retry_after_s == pytest.approx(30)
    assert (results[2].attempts, results[2].is_retry_safe) == (0, True)
    upstream.assert_count(3)


@virtual_time
async def test_it_comes_back_with_time():
    """One call after each 30 s, and never more than two at once."""
    upstream = ScriptedUpstream([], then={})
    client = client_of(upstream, TenantQuota(2, 60, now=asyncio.get_running_loop().time))
    for _ in range(3):
        await as_tenant("acme", client)
    await asyncio.sleep(30)
    for _ in range(2):
        await as_tenant("acme", client)
    await asyncio.sleep(600)
    for _ in range(3):
        await as_tenant("acme", client)
    upstream.assert_times(0, 0, 30, 630, 630)


@virtual_time
async def test_retries_are_not_counted_again():
    """It is around the call: three attempts are one call."""
    upstream = ScriptedUpstream([503, 503, {}, {}])
    client = client_of(upstream, TenantQuota(2, 60, now=asyncio.get_running_loop().time))
    assert [await as_tenant("acme", client) for _ in range(2)] == [{}, {}]


@virtual_time
async def test_a_call_without_a_tenant_passes():
    """Jobs of the host itself."""
    client = client_of(ScriptedUpstream([], then={}), TenantQuota(1, 60))
    assert [await client.get("/api/items") for _ in range(3)] == [{}] * 3


def test_tenants_without_recent_calls_take_no_memory():
    """Their buckets are full, which is as good as none."""
    time = [0.0]
    quota = TenantQuota(1, 1, now=lambda: time[0])
    for number in range(5000):
        time[0] = float(number)
        assert quota._take(f"tenant-{number}") == 0
    assert len(quota._full_at) <= 1001


@pytest.mark.sockets
async def test_it_runs(capsys):
    """The file's own demonstration, against the reference gateway."""
    await asyncio.create_task(tenant_quota.main())
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "acme: TENANT_QUOTA_EXCEEDED, next call in 30 s"
    assert lines[-1] == "the platform saw 4 requests"
