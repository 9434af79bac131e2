"""The idempotency key: which requests carry one."""

import uuid

import pytest
from layer_support import Upstream, a_request

from middleware.request.encode import EncodeMiddleware
from middleware.request.idempotency import IdempotencySettings


async def key_of_a_call(method, *, honors_key):
    request = a_request(method=method, settings=[IdempotencySettings(honors_key=honors_key)])
    upstream = Upstream(None)
    assert (await EncodeMiddleware()(request, upstream)).status == 200
    key = upstream.requests[0].headers.get("idempotency-key")
    assert request.call.keyed is (key is not None)
    return key


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "GET", "PUT"])
@pytest.mark.parametrize("honors_key", [True, False])
async def test_a_write_carries_a_key_where_it_is_honoured(method, honors_key):
    """R50: a new UUID per call."""
    keys = [await key_of_a_call(method, honors_key=honors_key) for _ in range(2)]
    if honors_key and method in {"POST", "PATCH", "DELETE"}:
        assert len({uuid.UUID(key) for key in keys}) == 2
    else:
        assert keys == [None, None]
