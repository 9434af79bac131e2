"""
A cache of responses, as a layer around the call.

A response is found again only by the same user, with the same application key, at the same service, for the same
request. Nothing but a complete GET is kept. A hit makes no attempt: it costs no retry, no permit and no connection.
"""

import asyncio
import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from middleware import Handler, HostLayers, PlatformRequest, PlatformResponse
from runtime.connectors.loader import ConnectorConfig, load_connectors
from runtime.gateway import Gateway


class _Entry(NamedTuple):
    expires_at: float
    body: bytes


class ResponseCache:
    """
    Keeps the bodies of complete GET responses.

    Bodies and not results: each hit is decoded anew, so that no caller can change what another one gets. A write does
    not evict what was read before it: *max_age_s* is how old data may be.

    Args:
        max_age_s: Seconds for which a response is used.
        max_entries: Responses kept; beyond that the one that was used least recently is dropped.
        max_body_bytes: Larger ones are not kept.
        now: Source of time, in seconds.
    """

    def __init__(
        self,
        *,
        max_age_s: float,
        max_entries: int = 1000,
        max_body_bytes: int = 65_536,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_age_s = max_age_s
        self._max_entries = max_entries
        self._max_body_bytes = max_body_bytes
        self._now = now
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()  # one bundle serves the event loops of several threads

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Return a response that is kept, or make the call and keep its response."""
        if request.method != "GET":
            return await call_next(request)
        key, started_at = _key(request), self._now()
        body = self._get(key, started_at)
        if body is not None:
            return PlatformResponse(status=200, body=body)  # the stack decodes it and adds this call's record
        response = await call_next(request)
        if self._may_keep(response):
            self._put(key, _Entry(started_at + self._max_age_s, response.body))
        return response

    def _may_keep(self, response: PlatformResponse) -> bool:
        is_complete = response.status == 200  # noqa: PLR2004 - and not 204 or 206
        allowed = "no-store" not in response.headers.get("cache-control", "").lower()
        return is_complete and allowed and len(response.body) <= self._max_body_bytes

    def _get(self, key: str, now: float) -> bytes | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.expires_at <= now:
                return None
            self._entries.move_to_end(key)
            return entry.body

    def _put(self, key: str, entry: _Entry) -> None:
        with self._lock:
            self._entries[key] = entry
            self._entries.move_to_end(key)
            if len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)


def _key(request: PlatformRequest) -> str:
    """Return a digest of all that a response may depend on; the credentials cannot be read from it."""
    info = request.call.info
    own = {name: value for name, value in request.headers.items() if name != "x-correlation-id"}
    parts = [
        request.user_jwt,
        request.app_key,
        info.service,
        info.base_url,
        request.method,
        request.target,
        hashlib.sha256(request.content or b"").hexdigest(),
        sorted(own.items()),  # those of layers further out, which may choose a tenant or a language
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


async def main() -> None:
    """Read one list twice as each of two users: the platform is asked once per user."""
    async with Gateway() as gateway:
        config = ConnectorConfig(
            managed_mode=True,
            gateway_base_url=gateway.url,
            api_key=gateway.api_key,
            middleware=HostLayers(call=[ResponseCache(max_age_s=30)]),
        )
        async with load_connectors(config) as connectors:
            for token in ("token-ada", "token-grace", "token-ada", "token-grace"):
                user = await connectors.identity.get_current_user(user_jwt=token)
                print(f"{token}: {user.username}, {len(gateway.requests)} requests so far")


if __name__ == "__main__":
    asyncio.run(main())
