"""Hedging: when a further try starts, and which one counts."""

import asyncio

import pytest
from layer_support import FakeClock, Upstream, a_request

from middleware.errors import ServerError, status_error
from middleware.hedging import HedgingConfig, HedgingMiddleware
from middleware.problem import Problem


@pytest.mark.parametrize(("hedges", "idempotent"), [(0, True), (1, False)])
async def test_without_hedges_the_try_is_made_in_the_callers_own_task(hedges, idempotent):
    """R19: off by default, and for what may not be repeated; it costs no task then."""
    tasks = []

    async def rest(request):
        tasks.append(asyncio.current_task())
        return await Upstream(None)(request)

    layer = HedgingMiddleware(FakeClock(), print, lambda _request: "")
    await layer(a_request(idempotent=idempotent, settings=[HedgingConfig(max_hedges=hedges)]), rest)
    assert tasks == [asyncio.current_task()]


async def test_a_prompt_failure_is_the_rounds():
    """R19: no hedge beside a try that has ended."""
    events = []
    layer = HedgingMiddleware(FakeClock(), events.append, lambda _request: "")
    upstream = Upstream(status_error(500, Problem()))
    with pytest.raises(ServerError):
        await layer(a_request(settings=[HedgingConfig(max_hedges=3)]), upstream)
    assert (upstream.calls, events) == (1, [])
