"""
A signature of each request, as a layer around the attempt.

`x-signature: t=<unix time>,n=<nonce>,v1=<hex>` with an HMAC-SHA256 over time, nonce, method, path with query, and body.
The time is that of the attempt, so that a retry is not rejected as too old; the nonce is that of the call, so that the
platform recognises attempts of one call.
"""

import asyncio
import hmac
import time
import uuid
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from middleware import CallState, Handler, HostLayers, PlatformRequest, PlatformResponse
from runtime.connectors.loader import ConnectorConfig, load_connectors
from runtime.gateway import Fault, Gateway


def signature(secret: bytes, *, timestamp: str, nonce: str, method: str, target: str, body: bytes) -> str:
    """Return the HMAC that both sides compute, in hex; *target* is path and query as the server reads them."""
    # No part but the last may contain a line break, so that no two requests have the same text.
    message = f"{timestamp}\n{nonce}\n{method}\n{target}".encode() + b"\n" + body
    return hmac.new(secret, message, "sha256").hexdigest()


class SigningHeader:
    """
    Signs each attempt.

    Args:
        secret: Key shared with the platform.
        now: Seconds since the Unix epoch.
    """

    def __init__(self, secret: bytes, *, now: Callable[[], float] = time.time) -> None:
        self._sign = partial(signature, secret)
        self._now = now
        self._nonce = CallState(lambda: uuid.uuid4().hex)

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Add the header and send the attempt."""
        timestamp, nonce = str(int(self._now())), self._nonce.of(request.call)
        signed = self._sign(
            timestamp=timestamp,
            nonce=nonce,
            method=request.method,
            target=urlsplit(request.call.info.base_url).path + request.target,
            body=request.content or b"",
        )
        request.headers["x-signature"] = f"t={timestamp},n={nonce},v1={signed}"
        return await call_next(request)


async def main() -> None:
    """Make a call whose first attempt fails: both attempts are signed."""
    async with Gateway() as gateway:
        gateway.script(Fault(kind="status", status=503))
        config = ConnectorConfig(
            managed_mode=True,
            gateway_base_url=gateway.url,
            api_key=gateway.api_key,
            middleware=HostLayers(attempt=[SigningHeader(b"a secret from your vault")]),
        )
        async with load_connectors(config) as connectors:
            await connectors.service.list_items()
        for seen in gateway.requests:
            print(seen.method, seen.path, dict(seen.headers)["x-signature"])


if __name__ == "__main__":
    asyncio.run(main())
