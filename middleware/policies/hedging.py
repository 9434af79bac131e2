"""
Hedging, off by default: further attempts in parallel with a slow one, for requests that may be repeated.

It shortens the tail of latencies at the price of some more load, so all that bounds load must allow a hedge: the
maximum of attempts, the circuit, the bulkhead and the retry budget. A rejected hedge does not affect the attempts in
flight.
Source: Dean and Barroso, "The Tail at Scale" (CACM 2013).
"""

from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from typing import Annotated

import anyio

from middleware._internal.cancellation import pass_on_cancel, pending_cancels
from middleware._internal.detached import detached
from middleware.clock import Clock
from middleware.errors import (
    BulkheadFullError,
    CallError,
    CircuitOpenError,
    LocalRejectionError,
    RateLimitExceededError,
    RequestNotSentError,
    StatusError,
    is_lost_response,
)
from middleware.events import HedgeRefused, HedgeStarted, HedgeWon, Listener
from middleware.settings import Settings, SettingsLookup, SettingSpec
from middleware.types import SAFE_METHODS, Attempt, Call, Handler, PlatformRequest, PlatformResponse

__all__ = ["HedgingMiddleware", "HedgingSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgingSettings(Settings):
    """Whether and when a slow attempt is hedged."""

    max_hedges: Annotated[
        int,
        SettingSpec(
            doc="Attempts in parallel with a slow one, for idempotent requests; 0 switches hedging off.",
            ge=0,
            le=5,
            raise_when="The slowest few per cent of reads matter, and the service has headroom.",
            lower_when="Hedges are extra load on a service that is slow because it is overloaded.",
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
            raise_when="More than a few per cent of the calls start a hedge.",
            lower_when="Hedges start too late to help: use the 95th percentile of latency.",
        ),
    ] = 2.0


class HedgingMiddleware:
    """
    Starts further attempts while a slow one is in flight; the first success wins.

    Args:
        clock: Source of time.
        emit: Listener for started, rejected and successful hedges.
        rejection: Names the guard that rejects a hedge of a request now, or withdraws from the budget and returns "".
        refund: Returns to the budget what a call withdrew at a clock reading; None where nothing is withdrawn.
    """

    def __init__(
        self,
        clock: Clock,
        emit: Listener,
        rejection: Callable[[PlatformRequest], str],
        refund: Callable[[Call, float], None] | None = None,
    ) -> None:
        self._clock = clock
        self._emit = emit
        self._rejection = rejection
        self._refund = refund

    def is_needed(self, settings: SettingsLookup) -> bool:
        """Hedging is off by default."""
        return settings(HedgingSettings).max_hedges > 0

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """
        Return the first success of this round.

        Raises:
            CallError: All attempts of the round failed, or one with a definitive response; the error of the last one.
        """
        config = request.call.settings(HedgingSettings)
        if config.max_hedges == 0 or not request.is_repeatable:  # R19
            return await call_next(request)
        race, before = _Race(request, call_next, self._clock, self._emit, self._refund), pending_cancels()
        async with anyio.create_task_group() as group:
            group.start_soon(race.run, 0, race.started_at)
            for hedge in range(1, config.max_hedges + 1):
                await detached(race.decided_within(race.started_at + hedge * config.delay_s - self._clock.now()))
                if race.is_decided:
                    break  # equivalent: what is decided stays so: nothing follows
                if self._allows(request, race):
                    race.begin()
                    group.start_soon(race.run, hedge, self._clock.now())
            await race.until_decided()
            race.note_losers()
            group.cancel_scope.cancel()  # R19: the losers are cancelled; the end of this block awaits them
        pass_on_cancel(before)  # R42
        return race.result()

    def _allows(self, request: PlatformRequest, race: "_Race") -> bool:
        reason = "throttled" if race.is_throttled else self._rejection(request)  # R19
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


def _is_definitive(error: Exception) -> bool:
    """Return whether *error* to a request that changes nothing is one that is not repeated, as R11 says."""
    if isinstance(error, StatusError):
        return error.rule.repeat not in {"any", "repeatable"}
    return not isinstance(error, RequestNotSentError) and not is_lost_response(error)


class _Race:
    """
    The attempts of one round, and its result.

    Attributes:
        started_at: Clock reading at the start of the round.
        is_throttled: The service has asked for fewer requests.
    """

    def __init__(
        self,
        request: PlatformRequest,
        call_next: Handler,
        clock: Clock,
        emit: Listener,
        refund: Callable[[Call, float], None] | None,
    ) -> None:
        self.started_at = clock.now()
        self.is_throttled = False
        self._refund = refund
        self._running: list[Attempt] = []
        self._sent: set[int] = set()
        self._retry_after_s: float | None = None
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
        """True when one attempt has succeeded or got a definitive response, or all have failed."""
        return self._decided.is_set()

    async def until_decided(self) -> None:
        """Wait for a success, a definitive response, or the last failure."""
        await self._decided.wait()

    async def decided_within(self, seconds: float) -> None:
        """Wait as `until_decided`, but no longer than *seconds*."""
        with anyio.move_on_after(seconds):
            await self.until_decided()

    def begin(self) -> None:
        """Count one more attempt; the round lasts until it has ended too."""
        self._in_flight += 1

    def note_losers(self) -> None:
        """Mark the attempts that are still in flight, before they are cancelled."""
        for attempt in self._running:
            attempt.lost_race = True

    async def run(self, hedge: int, decided_at: float) -> None:
        """Make one attempt, decided at clock reading *decided_at*; number 0 is the one that is no hedge."""
        call = self._request.call
        attempt = self._hedge(hedge) if hedge else self._request.attempt
        self._running.append(attempt)
        try:
            response = await self._call_next(self._request.for_attempt(attempt))
            if self._response is None:
                self._response = response
                self._decided.set()
                if hedge:
                    self._emit(HedgeWon(call=call.info, hedge=hedge))
        except Exception as error:  # noqa: BLE001 - raised by `result`; a task group would wrap it
            error.__traceback__ = None  # its frames refer to the request, and no layer clears a loser's error
            if hedge and isinstance(error, LocalRejectionError):  # R19: rejected after the check in `_allows`
                self._emit(HedgeRefused(call=call.info, reason=_GUARDS.get(type(error), "refused")))
            elif not self.is_decided:
                self._fail(error)
        finally:
            self._running.remove(attempt)
            if hedge and hedge not in self._sent:  # R19: it added no load
                call.attempts_scheduled -= 1
                if self._refund is not None:
                    self._refund(call, decided_at)
        self._in_flight -= 1
        if self._in_flight == 0:
            self._decided.set()

    def _fail(self, error: Exception) -> None:
        self._error = error
        if isinstance(error, CallError):
            waits = [wait for wait in (self._retry_after_s, error.retry_after_s) if wait is not None]
            self._retry_after_s = error.retry_after_s = max(waits, default=None)  # R19: an earlier one still applies
            self.is_throttled |= bool(waits) or (isinstance(error, StatusError) and error.is_throttled)  # R19
        if self._request.method in SAFE_METHODS and _is_definitive(error):  # R19
            self._decided.set()

    def _hedge(self, hedge: int) -> Attempt:
        here = copy_context()  # the call schedules a hedge, so its event belongs to the span of the call

        def emit_start() -> None:
            self._sent.add(hedge)
            delay_s = self._clock.now() - self.started_at
            self._emit(HedgeStarted(call=self._request.call.info, hedge=hedge, delay_s=delay_s))

        return Attempt(is_hedge=True, on_start=lambda: here.run(emit_start))

    def result(self) -> PlatformResponse:
        """
        Return the response of the round.

        Raises:
            Exception: All attempts failed; the error of the last one.
            CancelledError: A layer below cancelled an attempt, none failed, and the round itself was not cancelled.
        """
        if self._response is not None:
            return self._response
        if self._error is None:
            raise anyio.get_cancelled_exc_class()  # as without hedging: passed on unchanged
        raise self._error
