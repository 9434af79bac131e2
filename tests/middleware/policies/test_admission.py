"""How many calls are in flight at most."""

import asyncio

import pytest
from layer_support import Upstream, a_request

from middleware.errors import BulkheadFullError
from middleware.events import AttemptRejected
from middleware.policies.admission import CallCapMiddleware, CallCapSettings

SETTINGS = [CallCapSettings(max_in_flight=2)]


async def test_a_call_beyond_the_cap_is_refused_at_once():
    """Told by its guard; nothing is sent, and the places of others stay theirs."""
    events, release = [], asyncio.Event()
    layer, upstream = CallCapMiddleware(events.append), Upstream(None)

    async def rest(_request):
        await release.wait()

    held = [asyncio.create_task(layer(a_request(settings=SETTINGS), rest)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(BulkheadFullError) as caught:
        await layer(a_request(settings=SETTINGS), upstream)
    assert (caught.value.reason, caught.value.request_sent) == ("2 calls in flight already", "no")
    assert events == [AttemptRejected(call=a_request().call.info, guard="call_cap")]
    assert (upstream.calls, layer.in_flight) == (0, 2)
    release.set()
    await asyncio.gather(*held)
    assert layer.in_flight == 0
    assert (await layer(a_request(settings=SETTINGS), upstream)).status == 200


async def test_a_call_that_fails_gives_its_place_back():
    """However it ends."""
    layer = CallCapMiddleware(print)
    for error in (ValueError(), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            await layer(a_request(settings=SETTINGS), Upstream(error))
    assert layer.in_flight == 0
