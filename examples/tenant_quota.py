"""
A quota of calls per tenant, as a layer around the call.

The host sets `tenant` where it knows it, for example in a dependency of its web framework. A call beyond the quota is
rejected at once and nothing is sent; retries of a call are not counted again.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar

from middleware import Handler, HostLayers, LocalRejectionError, PlatformRequest, PlatformResponse
from runtime.connectors.loader import ConnectorConfig, load_connectors
from runtime.gateway import Gateway

tenant: ContextVar[str] = ContextVar("tenant")

_ROUNDING_S = 1e-9


class TenantQuotaExceededError(LocalRejectionError):
    """The tenant has used up its quota; `retry_after_s` is the time until its next call."""

    code = "TENANT_QUOTA_EXCEEDED"


class TenantQuota:
    """
    Allows each tenant *calls* per *window_s* seconds, of all services together; a call without a tenant passes.

    Each tenant has a token bucket, kept as one number: the time at which it is full again (GCRA, the generic cell rate
    algorithm). A bucket that is full is as good as none, so that only tenants with recent calls take memory.

    Args:
        calls: Size of the bucket.
        window_s: Time in which an empty bucket fills.
        now: Source of time, in seconds.
    """

    def __init__(self, calls: int, window_s: float, *, now: Callable[[], float] = time.monotonic) -> None:
        self._window_s = window_s
        self._interval_s = window_s / calls
        self._now = now
        self._full_at: dict[str, float] = {}
        self._prune_at = 1000  # entries
        self._lock = threading.Lock()  # one bundle serves the event loops of several threads

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Take a token, or reject the call."""
        name = tenant.get("")
        wait_s = self._take(name) if name else 0.0
        if wait_s > 0:
            raise TenantQuotaExceededError("quota of the tenant used up", retry_after_s=wait_s)
        return await call_next(request)

    def _take(self, name: str) -> float:
        """Take a token of *name*; return 0, or the seconds until there is one."""
        now = self._now()
        with self._lock:
            full_at = max(now, self._full_at.get(name, now)) + self._interval_s
            wait_s = full_at - self._window_s - now
            if wait_s > _ROUNDING_S:
                return wait_s
            self._full_at[name] = full_at
            if len(self._full_at) > self._prune_at:
                self._full_at = {key: at for key, at in self._full_at.items() if at > now}
                self._prune_at = max(1000, 2 * len(self._full_at))  # so that a call costs the same on average
            return 0.0


async def main() -> None:
    """Make three calls for each of two tenants, of which two are allowed."""
    async with Gateway() as gateway:
        config = ConnectorConfig(
            managed_mode=True,
            gateway_base_url=gateway.url,
            api_key=gateway.api_key,
            middleware=HostLayers(call=[TenantQuota(calls=2, window_s=60)]),
        )
        async with load_connectors(config) as connectors:
            for name in ("acme", "globex"):
                tenant.set(name)
                for _ in range(3):
                    try:
                        items = await connectors.service.list_items()
                        print(f"{name}: {len(items)} items")
                    except TenantQuotaExceededError as error:
                        print(f"{name}: {error.code}, next call in {error.retry_after_s:.0f} s")
        print(f"the platform saw {len(gateway.requests)} requests")


if __name__ == "__main__":
    asyncio.run(main())
