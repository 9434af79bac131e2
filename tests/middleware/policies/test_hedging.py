"""Hedging: when a further attempt starts, and which one counts."""

import asyncio
from contextvars import ContextVar, copy_context

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
async def test_without_hedges_the_attempt_is_made_in_the_callers_own_task(hedges, idempotent):
    """R19: off by default, and for what may not be repeated; it costs no task then."""
    tasks = []

    async def rest(request):
        tasks.append(asyncio.current_task())
        return await Upstream(None)(request)

    layer = HedgingMiddleware(FakeClock(), print, lambda _request: "")
    await layer(a_request(idempotent=idempotent, settings=[HedgingSettings(max_hedges=hedges)]), rest)
    assert tasks == [asyncio.current_task()]


async def test_a_prompt_failure_is_the_rounds():
    """R19: no hedge once the attempt has ended."""
    events = []
    layer = HedgingMiddleware(FakeClock(), events.append, lambda _request: "")
    upstream = Upstream(status_error(500, Problem()))
    with pytest.raises(ServerError):
        await layer(a_request(settings=[HedgingSettings(max_hedges=3)]), upstream)
    assert upstream.calls == 1
    assert events == []


async def test_the_timer_of_a_round_keeps_no_context(monkeypatch):
    """It may be cancelled long before its time, and asyncio keeps it until then."""
    loop, contexts = asyncio.get_running_loop(), []
    call_at = loop.call_at

    def recorded(*args, context=None):
        contexts.append(len(copy_context() if context is None else context))
        return call_at(*args, context=context)

    monkeypatch.setattr(loop, "call_at", recorded)
    ContextVar("user").set("alice")
    layer = HedgingMiddleware(FakeClock(), print, lambda _request: "")
    await layer(a_request(settings=[HedgingSettings(max_hedges=1, delay_s=600)]), Upstream(None))
    assert contexts == [0]


CALL = a_request().call.info


class Round:
    """A round of attempts, each of which does what `steps` says: wait that long and respond, or raise."""

    def __init__(self, *steps, delay_s=0.5):
        self.steps, self.events, self.attempts = list(steps), [], []
        self.request = a_request(settings=[HedgingSettings(max_hedges=len(steps) - 1, delay_s=delay_s)])
        self.layer = HedgingMiddleware(LoopClock(), self.events.append, lambda _request: "")

    async def rest(self, request):
        wait_s, result = self.steps[len(self.attempts)]
        self.attempts.append((asyncio.get_running_loop().time(), request.attempt.is_hedge))
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
    """R19: the first attempt is none of them; each event has the time after which the hedge started."""
    await asyncio.sleep(3)
    race = Round((9, 200), (9, 201), (1, 202))
    assert (await race.run()).status == 202
    assert race.attempts == [(3.0, False), (3.5, True), (4.0, True)]
    assert race.events == [
        HedgeStarted(call=CALL, hedge=1, delay_s=0.5),
        HedgeStarted(call=CALL, hedge=2, delay_s=1.0),
        HedgeWon(call=CALL, hedge=2),
    ]
    assert asyncio.get_running_loop().time() == 5.0
    assert race.request.call.attempts_scheduled == 2


@virtual_time
async def test_a_first_attempt_that_wins_is_not_counted_as_a_hedge():
    """R19: and it keeps the attempt state that the retry made."""
    race = Round((0.75, 200), (9, 201))
    attempts = []

    async def rest(request):
        attempts.append(request.attempt)
        return await race.rest(request)

    assert (await race.layer(race.request, rest)).status == 200
    assert attempts[0] is race.request.attempt is not attempts[1]
    assert race.events == [HedgeStarted(call=CALL, hedge=1, delay_s=0.5)]


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
async def test_a_hedge_that_a_guard_rejects_after_all_is_no_failure(error, reason):
    """R19: the guard is named, and the first attempt goes on; the hedge never started."""
    race = Round((2, 200), (0, error))
    assert (await race.run()).status == 200
    assert race.events == [HedgeRefused(call=CALL, reason=reason)]


@virtual_time
async def test_the_error_of_an_attempt_that_lost_keeps_nothing():
    """R52: its frames refer to the request, and no caller will ever see it."""
    lost = status_error(500, Problem())
    race = Round((1, lost), (1, 200))
    assert (await race.run()).status == 200
    assert lost.__traceback__ is None


@virtual_time
async def test_an_attempt_that_was_cancelled_from_below_cancels_the_round():
    """R42: as without hedging it would."""
    with pytest.raises(asyncio.CancelledError):
        await Round((0.1, asyncio.CancelledError()), (9, 200)).run()
