"""
Hedging, off by default: a second try beside one that is late, for requests that may be repeated.

It shortens the tail of latencies at the price of some more load, so a hedge must be allowed by all that bounds load:
the attempts, the circuit, the bulkhead and the retry budget. A refused hedge leaves the try in flight alone.
Source: Dean and Barroso, "The Tail at Scale" (CACM 2013).
"""

from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from typing import Annotated

import anyio

from middleware._internal.cancellation import pass_on_cancel, pending_cancels
from middleware.clock import Clock
from middleware.errors import BulkheadFullError, CircuitOpenError, LocalRejectionError, RateLimitExceededError
from middleware.events import HedgeRefused, HedgeStarted, HedgeWon, Listener
from middleware.settings import Settings, SettingSpec
from middleware.types import Attempt, Handler, PlatformRequest, PlatformResponse

__all__ = ["HedgingMiddleware", "HedgingSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgingSettings(Settings):
    """Whether and when a late try gets company."""

    max_hedges: Annotated[
        int,
        SettingSpec(
            doc="Further tries beside a late one, for idempotent requests; 0 switches hedging off.", ge=0, le=5
        ),
    ] = 0
    delay_s: Annotated[
        float,
        SettingSpec(
            doc="A hedge starts after this time, the next one after twice it; best the 95th percentile of latency.",
            unit="s",
            ge=0.001,
            le=600,
            source=".NET standard hedging handler",
        ),
    ] = 2.0


class HedgingMiddleware:
    """
    Starts further tries beside one that is late; the first success wins.

    Args:
        clock: Source of time.
        emit: Listener for what became of each hedge.
        refusal: Names what forbids a hedge of a request now, or pays for it and returns "".
    """

    def __init__(self, clock: Clock, emit: Listener, refusal: Callable[[PlatformRequest], str]) -> None:
        self._clock = clock
        self._emit = emit
        self._refusal = refusal

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """
        Return the first success of this round.

        Raises:
            CallError: All tries of the round failed; the error of the last one.
        """
        config = request.call.settings(HedgingSettings)
        if config.max_hedges == 0 or not request.is_repeatable:  # R19
            return await call_next(request)
        race, before = _Race(request, call_next, self._clock, self._emit), pending_cancels()
        async with anyio.create_task_group() as group:
            group.start_soon(race.run, 0)
            for hedge in range(1, config.max_hedges + 1):
                with anyio.move_on_after(race.started_at + hedge * config.delay_s - self._clock.now()):
                    await race.until_decided()
                if race.is_decided:
                    break
                if self._allows(request):
                    race.begin()
                    group.start_soon(race.run, hedge)
            await race.until_decided()
            group.cancel_scope.cancel()  # R19: the losers are cancelled, and awaited by leaving this block
        pass_on_cancel(before)  # R42
        return race.result()

    def _allows(self, request: PlatformRequest) -> bool:
        reason = self._refusal(request)
        if reason:
            self._emit(HedgeRefused(call=request.call.info, reason=reason))
            return False
        request.call.attempts_scheduled += 1
        return True


_GUARDS: dict[type[Exception], str] = {
    BulkheadFullError: "bulkhead",
    CircuitOpenError: "circuit_open",
    RateLimitExceededError: "rate_limit",
}


class _Race:
    """
    The tries of one round, and which of them decided it.

    Attributes:
        started_at: Clock reading at the start of the round.
    """

    def __init__(self, request: PlatformRequest, call_next: Handler, clock: Clock, emit: Listener) -> None:
        self.started_at = clock.now()
        self._request = request
        self._call_next = call_next
        self._clock = clock
        self._emit = emit
        self._in_flight = 1
        self._response: PlatformResponse | None = None
        self._error: Exception | None = None
        self._decided = anyio.Event()

    @property
    def is_decided(self) -> bool:
        """One succeeded, or all failed."""
        return self._decided.is_set()

    async def until_decided(self) -> None:
        """Wait for a success, or for the last failure."""
        await self._decided.wait()

    def begin(self) -> None:
        """Count one more try; the round lasts until it has ended too."""
        self._in_flight += 1

    async def run(self, hedge: int) -> None:
        """Make one try; 0 is the one that was due anyway."""
        call = self._request.call
        attempt = self._hedge(hedge) if hedge else self._request.attempt
        try:
            response = await self._call_next(self._request.for_attempt(attempt))
            if self._response is None:
                self._response = response
                self._decided.set()
                if hedge:
                    self._emit(HedgeWon(call=call.info, hedge=hedge))
        except Exception as error:  # noqa: BLE001 - handed on by `result`; in a task group it would become a group
            error.__traceback__ = None  # its frames hold the request, and a loser's error is nobody's to clear
            if hedge and isinstance(error, LocalRejectionError):  # R19: a guard changed its mind in the same moment
                self._emit(HedgeRefused(call=call.info, reason=_GUARDS.get(type(error), "refused")))
            else:
                self._error = error
        self._in_flight -= 1
        if self._in_flight == 0:
            self._decided.set()

    def _hedge(self, hedge: int) -> Attempt:
        here = copy_context()  # a hedge is a decision of the call: told from the attempt, it belongs to the call's span

        def tell() -> None:
            delay_s = self._clock.now() - self.started_at
            self._emit(HedgeStarted(call=self._request.call.info, hedge=hedge, delay_s=delay_s))

        return Attempt(is_hedge=True, on_start=lambda: here.run(tell))

    def result(self) -> PlatformResponse:
        """
        Hand out what the round gave.

        Raises:
            Exception: All tries failed; the error of the last one.
            CancelledError: A try was cancelled from below and none failed, though nobody cancelled the round.
        """
        if self._response is not None:
            return self._response
        if self._error is None:
            raise anyio.get_cancelled_exc_class()  # as without hedging: it passes untouched
        raise self._error
