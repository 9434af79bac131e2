"""Hedging: when a further try starts, and which one counts."""

import asyncio

import pytest
from layer_support import FakeClock, Upstream, a_request

from middleware.errors import (
    BulkheadFullError,
    CircuitOpenError,
    LocalRejectionError,
    RateLimitExceededError,
    ServerError,
    status_error,
)
from middleware.events import HedgeRefused, HedgeStarted, HedgeWon
from middleware.policies.hedging import HedgingMiddleware, HedgingSettings
from middleware.problem import Problem
from middleware.types import PlatformResponse
from runtime.testing import LoopClock, virtual_time


@pytest.mark.parametrize(("hedges", "idempotent"), [(0, True), (1, False)])
async def test_without_hedges_the_try_is_made_in_the_callers_own_task(hedges, idempotent):
    """R19: off by default, and for what may not be repeated; it costs no task then."""
    tasks = []

    async def rest(request):
        tasks.append(asyncio.current_task())
        return await Upstream(None)(request)

    layer = HedgingMiddleware(FakeClock(), print, lambda _request: "")
    await layer(a_request(idempotent=idempotent, settings=[HedgingSettings(max_hedges=hedges)]), rest)
    assert tasks == [asyncio.current_task()]


async def test_a_prompt_failure_is_the_rounds():
    """R19: no hedge beside a try that has ended."""
    events = []
    layer = HedgingMiddleware(FakeClock(), events.append, lambda _request: "")
    upstream = Upstream(status_error(500, Problem()))
    with pytest.raises(ServerError):
        await layer(a_request(settings=[HedgingSettings(max_hedges=3)]), upstream)
    assert (upstream.calls, events) == (1, [])


CALL = a_request().call.info


class Round:
    """A round of tries, each of which does what `steps` says: wait that long and answer, or raise at once or later."""

    def __init__(self, *steps, delay_s=0.5):
        self.steps, self.events, self.tries = list(steps), [], []
        self.request = a_request(settings=[HedgingSettings(max_hedges=len(steps) - 1, delay_s=delay_s)])
        self.layer = HedgingMiddleware(LoopClock(), self.events.append, lambda _request: "")

    async def rest(self, request):
        wait_s, result = self.steps[len(self.tries)]
        self.tries.append((asyncio.get_running_loop().time(), request.attempt.is_hedge))
        if request.attempt.on_start is not None and not isinstance(result, LocalRejectionError):
            request.attempt.on_start()  # as the record of attempts does, below all guards
        await asyncio.sleep(wait_s)
        if isinstance(result, BaseException):
            raise result
        return PlatformResponse(status=result, headers={})

    async def run(self):
        return await self.layer(self.request, self.rest)


@virtual_time
async def test_hedges_start_one_delay_apart_from_the_start_of_the_round():
    """R19: the first try is none of them; each is told with the time after which it began."""
    await asyncio.sleep(3)
    tries = Round((9, 200), (9, 201), (1, 202))
    assert (await tries.run()).status == 202
    assert tries.tries == [(3.0, False), (3.5, True), (4.0, True)]
    assert tries.events == [
        HedgeStarted(call=CALL, hedge=1, delay_s=0.5),
        HedgeStarted(call=CALL, hedge=2, delay_s=1.0),
        HedgeWon(call=CALL, hedge=2),
    ]
    assert (asyncio.get_running_loop().time(), tries.request.call.attempts_scheduled) == (5.0, 2)


@virtual_time
async def test_a_first_try_that_wins_is_no_hedges_victory():
    """R19: and it keeps the attempt that the retry gave it."""
    tries = Round((0.75, 200), (9, 201))
    attempts = []

    async def rest(request):
        attempts.append(request.attempt)
        return await tries.rest(request)

    assert (await tries.layer(tries.request, rest)).status == 200
    assert attempts[0] is tries.request.attempt is not attempts[1]
    assert tries.events == [HedgeStarted(call=CALL, hedge=1, delay_s=0.5)]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BulkheadFullError("x"), "bulkhead"),
        (CircuitOpenError("x"), "circuit_open"),
        (RateLimitExceededError("x"), "rate_limit"),
        (LocalRejectionError("x"), "refused"),
    ],
    ids=lambda value: type(value).__name__,
)
@virtual_time
async def test_a_hedge_that_a_guard_refuses_after_all_is_no_failure(error, reason):
    """R19: the guard is named, and the first try goes on; the hedge never started."""
    tries = Round((2, 200), (0, error))
    assert (await tries.run()).status == 200
    assert tries.events == [HedgeRefused(call=CALL, reason=reason)]


@virtual_time
async def test_the_error_of_a_try_that_lost_keeps_nothing():
    """R52: its frames hold the request, and nobody will ever see it."""
    lost = status_error(500, Problem())
    tries = Round((1, lost), (1, 200))
    assert (await tries.run()).status == 200
    assert lost.__traceback__ is None


@virtual_time
async def test_a_try_that_was_cancelled_from_below_cancels_the_round():
    """R42: as without hedging it would."""
    with pytest.raises(asyncio.CancelledError):
        await Round((0.1, asyncio.CancelledError()), (9, 200)).run()
