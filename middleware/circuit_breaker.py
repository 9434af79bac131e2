"""
A circuit breaker over a sliding time window.

`CircuitBreaker` is the pure state machine: everything that affects a state is in this file. Closed lets attempts
through and counts; open refuses; half_open lets exactly one probe through. Results carry the epoch in which their
permit was given, and a result of an older epoch counts nowhere.
"""

import threading
from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Annotated, Literal, TypeAlias

from .clock import Clock
from .errors import (
    CircuitOpenError,
    RefusedError,
    RequestNotSentError,
    ResponseLostError,
    StatusError,
)
from .events import AttemptRejected, CircuitStateChanged, Listener
from .knobs import Knob, Settings
from .types import CallInfo, Handler, PlatformRequest, PlatformResponse

__all__ = ["CircuitBreaker", "CircuitBreakerConfig", "CircuitBreakerMiddleware", "Permit", "verdict_of"]

State: TypeAlias = Literal["closed", "open", "half_open"]
Verdict: TypeAlias = Literal["success", "failure", "neutral"]

_BUCKETS = 10
_OPEN_JITTER = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreakerConfig(Settings):
    """When a service counts as failing, and for how long it is left alone."""

    enabled: Annotated[bool, Knob(doc="Refuse attempts while the service is failing.")] = True
    window_s: Annotated[float, Knob(doc="Length of the window that is looked at.", unit="s", ge=1, le=600)] = 10.0
    failure_ratio: Annotated[
        float,
        Knob(
            doc="Share of failed attempts in the window that opens the circuit.",
            ge=0.01,
            le=1,
            source="simulation: lower values turn partial failure into outage",
        ),
    ] = 0.7
    min_calls: Annotated[int, Knob(doc="Attempts in the window below which it never opens.", ge=1, le=100_000)] = 10
    open_s: Annotated[
        float,
        Knob(doc="How long it stays open, times U(1, 1.2).", unit="s", ge=0.01, le=600, source=".NET: 5 s"),
    ] = 5.0


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave for one attempt, valid in the epoch it was given in."""

    epoch: int
    is_probe: bool


class CircuitBreaker:
    """
    The state machine of one breaker.

    Args:
        name: What it protects, for example the service.
        config: The settings.
        random: Source of the open time's jitter.
        probe_timeout_s: A probe silent for this long loses its permit, so that half_open cannot last for ever.
    """

    def __init__(self, name: str, config: CircuitBreakerConfig, random: Random, *, probe_timeout_s: float) -> None:
        self.name = name
        self._config = config
        self._random = random
        self._probe_timeout_s = probe_timeout_s
        self._lock = threading.Lock()
        self._state: State = "closed"
        self._epoch = 0
        self._open_until = 0.0
        self._probe_until: float | None = None
        self._window: deque[list[float]] = deque()  # [bucket start, calls, failures]

    @property
    def state(self) -> State:
        """State after the last thing that happened; an open circuit whose time is over still reads `open`."""
        return self._state

    def retry_after_s(self, now: float) -> float | None:
        """Seconds for which an attempt at *now* would be refused; None when it would be let through."""
        with self._lock:
            return self._refusal(now)

    def _refusal(self, now: float) -> float | None:
        if self._state == "open":
            return self._open_until - now if now < self._open_until else None
        if self._state == "half_open" and self._probe_until is not None and now < self._probe_until:
            return self._probe_until - now
        return None

    def acquire(self, now: float) -> tuple[Permit | None, State, State]:
        """
        Ask for leave at *now*.

        Returns:
            The permit, or None for a refusal, then the state before and after.
        """
        if not self._config.enabled:
            return Permit(self._epoch, is_probe=False), "closed", "closed"
        with self._lock:
            before = self._state
            if self._refusal(now) is not None:
                return None, before, before
            if before == "closed":
                return Permit(self._epoch, is_probe=False), before, before
            # open and over, or half_open with no live probe: this attempt becomes the probe
            self._state = "half_open"
            self._epoch += 1
            self._probe_until = now + self._probe_timeout_s
            return Permit(self._epoch, is_probe=True), before, "half_open"

    def record(self, permit: Permit, verdict: Verdict, now: float) -> tuple[State, State]:
        """Report how the attempt with *permit* ended; returns the state before and after."""
        if not self._config.enabled:
            return "closed", "closed"
        with self._lock:
            before = self._state
            if permit.epoch != self._epoch:
                return before, before  # decided in another epoch
            if permit.is_probe:
                self._end_probe(verdict, now)
            elif verdict != "neutral" and before == "closed":
                self._count(verdict, now)
            return before, self._state

    def _end_probe(self, verdict: Verdict, now: float) -> None:
        self._probe_until = None
        if verdict == "success":
            self._state = "closed"
            self._epoch += 1
            self._window.clear()
        elif verdict == "failure":
            self._open(now)

    def _count(self, verdict: Verdict, now: float) -> None:
        width = self._config.window_s / _BUCKETS
        start = now - now % width
        if not self._window or self._window[-1][0] < start:
            self._window.append([start, 0, 0])
        self._window[-1][1] += 1
        self._window[-1][2] += verdict == "failure"
        while self._window[0][0] <= now - self._config.window_s:
            self._window.popleft()
        calls = sum(bucket[1] for bucket in self._window)
        failures = sum(bucket[2] for bucket in self._window)
        if calls >= self._config.min_calls and failures / calls >= self._config.failure_ratio:
            self._open(now)

    def _open(self, now: float) -> None:
        self._state = "open"
        self._epoch += 1
        self._open_until = now + self._config.open_s * self._random.uniform(1, 1 + _OPEN_JITTER)
        self._window.clear()


def verdict_of(error: BaseException | None) -> Verdict:
    """
    What an attempt's end says about the service's health.

    Transport failures, attempt timeouts and 5xx but 501 and 505 are failures. Cancellation, 408, 429 and local
    refusals say nothing. Everything else, 4xx included, is an answer of a healthy service.
    """
    if error is None:
        return "success"
    if isinstance(error, StatusError):
        if error.status in {408, 429}:
            return "neutral"
        failed = error.status >= 500 and error.status not in {501, 505}  # noqa: PLR2004
        return "failure" if failed else "success"
    if isinstance(error, RefusedError):
        return "neutral"
    return "failure" if isinstance(error, RequestNotSentError | ResponseLostError) else "neutral"


class CircuitBreakerMiddleware:
    """Asks the breaker before each attempt and reports each result to it."""

    def __init__(self, breaker: CircuitBreaker, clock: Clock, emit: Listener) -> None:
        self._breaker = breaker
        self._clock = clock
        self._emit = emit

    def is_open(self) -> bool:
        """Would an attempt be refused now? Takes no permit."""
        return self._breaker.retry_after_s(self._clock.now()) is not None

    def refuse_if_open(self, request: PlatformRequest) -> None:
        """
        Refuse before queueing what would be refused after it.

        Raises:
            CircuitOpenError: The circuit is open.
        """
        if self.is_open():
            raise self._refusal(request)

    def _refusal(self, request: PlatformRequest) -> CircuitOpenError:
        request.call.circuit_state = self._breaker.state
        retry_after_s = self._breaker.retry_after_s(self._clock.now())
        self._emit(AttemptRejected(call=request.call.info, guard="circuit_breaker", retry_after_s=retry_after_s))
        return CircuitOpenError(f"circuit {self._breaker.name} is open", retry_after_s=retry_after_s)

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """
        Make the attempt under a permit.

        Raises:
            CircuitOpenError: The circuit is open, or half open with its probe in flight.
        """
        call = request.call
        permit, before, after = self._breaker.acquire(self._clock.now())
        self._tell(call.info, before, after)
        call.circuit_state = after
        if permit is None:
            raise self._refusal(request)
        error: BaseException | None = None
        try:
            return await call_next(request)
        except BaseException as raised:
            error = raised
            raise
        finally:
            before, after = self._breaker.record(permit, verdict_of(error), self._clock.now())
            call.circuit_state = after
            self._tell(call.info, before, after)

    def _tell(self, call: CallInfo, before: State, after: State) -> None:
        if before != after:
            self._emit(CircuitStateChanged(call=call, breaker=self._breaker.name, before=before, after=after))
