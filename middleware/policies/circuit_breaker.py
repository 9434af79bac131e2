"""
A circuit breaker over a sliding time window.

`CircuitBreaker` is the pure state machine: everything that affects a state is in this file. Closed permits attempts
and counts their results; open rejects them; half_open permits a probe, and another one when it takes long. A result
belongs to the epoch in which its permit was acquired, and is ignored in a later epoch. The settings are arguments, so
that a reload keeps state and window.
"""

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Annotated, Any, Literal, TypeAlias

from middleware.clock import Clock
from middleware.errors import (
    CallError,
    CircuitOpenError,
    LocalRejectionError,
    OperationFailedError,
    PoolTimeoutError,
    RequestNotSentError,
    ResponseLostError,
    StatusError,
    is_refused_connection,
)
from middleware.events import AttemptRejected, AttemptRejectedInShadow, CircuitStateChanged, Listener
from middleware.records import CallInfo
from middleware.settings import Settings, SettingSpec
from middleware.status import StatusVerdict
from middleware.steps import Step
from middleware.types import Call, PlatformRequest, PlatformResponse

__all__ = [
    "CircuitBreaker",
    "CircuitBreakerMiddleware",
    "CircuitBreakerSettings",
    "CircuitBreakers",
    "Permit",
    "verdict_of",
]

State: TypeAlias = Literal["closed", "open", "half_open"]
ShownState: TypeAlias = Literal[
    "closed", "open", "half_open", "forced_open", "disabled", "shadow", "shadow_open", "shadow_half_open"
]
"""What is reported: the state, or the mode where that decides; in mode shadow both, unless the circuit is closed."""

Verdict: TypeAlias = StatusVerdict | Literal["deadline"]
"""What the end of an attempt counts as; `deadline`: its call's deadline ended it before the attempt timeout."""

_BUCKETS = 10
_OPEN_JITTER = 0.2
_REFUSED_OPEN_S = 0.8, 0.95  # with the time until the next call and its response: less than 1 s
_MAX_BREAKERS = 1024
_COUNTS = frozenset({"normal", "shadow"})
_NO_EPOCH = -1  # equivalent: `2`: -2 is not an epoch either
_PATIENCE = 1.5
_MOST_ALONE_S = 15.0  # 1.5 times the default of the attempt timeout
_LEAST_ALONE_S = 1.0
_FAIR_CONNECT_S = 1.0  # RFC 6298 section 2: by then a lost SYN was sent again, so a healthy service has connected
_SCOUT_EVERY_S = 1.0
_RECHECK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreakerSettings(Settings):
    """When a service counts as failing, and for how long attempts are rejected then."""

    mode: Annotated[
        str,
        SettingSpec(
            doc="normal; shadow never rejects, and counts and reports what normal would reject; disabled permits all "
            "and counts none; forced_open rejects all.",
            choices=("normal", "shadow", "disabled", "forced_open"),
            raise_when="`shadow` to see what a breaker would reject; `disabled` where another one exists; "
            "`forced_open` to take load from a service in an incident.",
        ),
    ] = "normal"
    key: Annotated[
        str,
        SettingSpec(
            doc="Which attempts share a breaker: service for all of a service, route for those of one method and "
            "route, any other word for the operations that are given the same.",
            raise_when="One route of a service fails while others work (`route`), or some operations have a backend "
            "of their own (a word of your own).",
        ),
    ] = "service"
    window_s: Annotated[
        float,
        SettingSpec(
            doc="Length of the window of results.",
            unit="s",
            ge=1,
            le=600,
            shared=True,
            raise_when="Too few attempts are in a window to reach `min_calls`.",
            lower_when="The circuit should open sooner after traffic that went well.",
        ),
    ] = 10.0
    failure_ratio: Annotated[
        float,
        SettingSpec(
            doc="Share of failed attempts in the window that opens the circuit.",
            ge=0.01,
            le=1,
            shared=True,
            source="simulation: lower values turn partial failure into outage",
            raise_when="The circuit opens while most calls would get through by retries.",
            lower_when="A service that fails in part should get no more calls; below 0.5 a half-working service "
            "counts as down.",
        ),
    ] = 0.7
    min_calls: Annotated[
        int,
        SettingSpec(
            doc="Attempts in the window below which it never opens; so many are watched beyond their call's deadline.",
            ge=1,
            le=100_000,
            shared=True,
            raise_when="A few failures in a quiet time open the circuit.",
            lower_when="So many attempts never are in a window, so that the circuit never opens.",
        ),
    ] = 10
    slow_ratio: Annotated[
        float,
        SettingSpec(
            doc="Share of slow attempts in the window that opens the circuit too; 0 switches this off.",
            ge=0,
            le=1,
            shared=True,
            raise_when="The circuit opens for slowness that callers accept; above 0 it is on.",
            lower_when="Slow responses are as useless as none; start from 1.",
        ),
    ] = 0.0
    slow_share: Annotated[
        float,
        SettingSpec(
            doc="An attempt is slow beyond this share of its timeout.",
            ge=0.01,
            le=1,
            shared=True,
            raise_when="Normal responses count as slow.",
            lower_when="Responses that callers find slow do not count.",
        ),
    ] = 0.5
    open_s: Annotated[
        float,
        SettingSpec(
            doc="How long it stays open, times U(1, 1.2).",
            unit="s",
            ge=0.01,
            le=600,
            shared=True,
            source=".NET: 5 s",
            raise_when="The service needs longer to recover, and probes disturb it.",
            lower_when="Calls should be back sooner after a short failure.",
        ),
    ] = 5.0


@dataclass(slots=True, eq=False)
class _Watch:
    """
    An attempt that is watched to its own timeout, though its call has less time.

    Attributes:
        overdue_at: From then on it counts as overdue.
        lost_at: From then on no result is expected, for example since its event loop was closed.
        call_ended: The deadline of its call has passed.
    """

    overdue_at: float
    lost_at: float
    call_ended: bool = False


@dataclass(frozen=True, slots=True)
class Permit:
    """Permission for one attempt, valid in the epoch in which it was acquired."""

    epoch: int
    is_probe: bool
    watch: _Watch | None = None


_UNCOUNTED = Permit(_NO_EPOCH, is_probe=False)  # equivalent: its epoch is never the current one, so it is not read


class CircuitBreaker:
    """
    The state machine of one breaker.

    Args:
        name: What the breaker protects, for example the service.
        random: Source of the open time's jitter.
    """

    def __init__(self, name: str, random: Random) -> None:
        self.name = name
        self._random = random
        self._lock = threading.Lock()
        self._state: State = "closed"
        self._epoch = 0  # equivalent: `1`: epochs are compared, not counted
        self._open_until = 0.0  # equivalent: set before it is read
        self._usual = Permit(self._epoch, is_probe=False)  # of all attempts of a closed circuit that are not watched
        self._probe: Permit | None = None  # equivalent: set before it is read
        self._alone_until = 0.0  # equivalent: set before it is read
        # [bucket start, attempts, failures, slow attempts, failures that are refused connections]
        self._window: deque[list[float]] = deque()
        self._is_clean = True  # no failure and no slow attempt is in the window
        self._in_flight = 0
        self._watched: list[_Watch] = []
        self._unwatched = 0.0
        self._next_scout_at = 0.0

    @property
    def state(self) -> State:
        """State after the last event; an open circuit whose open time is over is still `open`."""
        return self._state

    @property
    def is_idle(self) -> bool:
        """Closed, with no attempt in flight: safe to evict."""
        return self._state == "closed" and self._in_flight == 0

    def shown_state(self, config: CircuitBreakerSettings) -> ShownState:
        """Return the state to report: the mode, where the mode decides instead of the state; in mode shadow both."""
        if config.mode == "normal":
            return self._state
        if config.mode == "shadow" and self._state != "closed":
            return "shadow_open" if self._state == "open" else "shadow_half_open"  # R30
        return config.mode  # type: ignore[return-value] # the SettingSpec's choices

    def rejects(self, now: float, config: CircuitBreakerSettings) -> bool:
        """Return whether an attempt at *now* would be rejected."""
        if config.mode == "normal":
            with self._lock:
                return self._rejects(now)
        return config.mode == "forced_open"

    def retry_after_s(self, now: float) -> float | None:
        """Return the time for which attempts are rejected at most; None when none is."""
        with self._lock:
            if not self._rejects(now):
                return None
            return (self._open_until if self._state == "open" else self._alone_until) - now  # R36

    def _rejects(self, now: float) -> bool:
        if self._state == "open":
            return now < self._open_until  # R33: at exactly that time it is over
        return self._state == "half_open" and self._probe is not None and now < self._alone_until  # R34

    def must_wait(self, now: float, config: CircuitBreakerSettings) -> bool:
        """
        Return whether an attempt that its deadline would end must wait at *now*, and check again later.

        It must while watched attempts are overdue and would open the circuit if they failed. One attempt a second is
        permitted nevertheless.
        """
        with self._lock:
            if config.mode != "normal" or self._state != "closed" or not self._is_suspect(now, config):  # R39
                return False
            if now >= self._next_scout_at:  # R39: so that waiting attempts learn of a recovery
                self._next_scout_at = now + _SCOUT_EVERY_S
                return False
            return True

    def _is_suspect(self, now: float, config: CircuitBreakerSettings) -> bool:
        pending = [watch for watch in self._watched if now < watch.lost_at]
        overdue = sum(watch.call_ended or watch.overdue_at <= now for watch in pending)  # R39
        if overdue == 0:
            return False
        attempts, failures, _ = self._totals(now, config)
        attempts, failures = attempts + overdue, failures + overdue
        return attempts >= config.min_calls and failures / attempts >= config.failure_ratio  # R39

    def acquire_usual(self, config: CircuitBreakerSettings) -> Permit | None:
        """Return the permit of an attempt that is not watched, while the circuit is closed; else None."""
        with self._lock:
            if self._state != "closed" or config.mode not in _COUNTS:
                return None
            self._in_flight += 1
            if self._usual.epoch != self._epoch:
                self._usual = Permit(self._epoch, is_probe=False)
            return self._usual

    def acquire(
        self,
        now: float,
        config: CircuitBreakerSettings,
        probe_alone_s: float,
        *,
        watch_timeout_s: float | None = None,
    ) -> tuple[Permit | None, State, State]:
        """
        Request permission for an attempt at *now*.

        Args:
            now: Clock reading.
            config: The settings.
            probe_alone_s: After this time without the result of a probe the next attempt is a probe too.
            watch_timeout_s: Timeout of an attempt that its call's deadline would end earlier; None for any other.

        Returns:
            The permit, or None for a rejection, then the state before and after.
        """
        with self._lock:
            before = self._state
            if config.mode == "forced_open":
                return None, before, before
            rejected = config.mode != "disabled" and self._rejects(now)
            if rejected and config.mode == "normal":
                return None, before, before
            if rejected or config.mode == "disabled":
                # R30: in mode shadow what normal would reject is permitted, and its result must not count.
                return self._issue(_UNCOUNTED), before, before
            if before == "closed":
                watch = self._watch(now, config, watch_timeout_s)
                return self._issue(Permit(self._epoch, is_probe=False, watch=watch)), before, before
            # The open time is over, or the last probe is alone no longer: this attempt is a probe.
            if before == "open":  # R34: in half_open the result of a probe that takes long still counts
                self._epoch += 1  # equivalent: `2`: epochs are compared, not counted
            self._state = "half_open"
            self._alone_until = now + probe_alone_s  # R34
            self._watched.clear()  # R38: of an older epoch, or an older probe
            self._unwatched = 0.0  # R38
            watch = self._watch(now, config, watch_timeout_s)  # R34: a probe is watched too
            self._probe = Permit(self._epoch, is_probe=True, watch=watch)
            return self._issue(self._probe), before, "half_open"

    def _watch(self, now: float, config: CircuitBreakerSettings, timeout_s: float | None) -> _Watch | None:
        if timeout_s is None:
            return None
        self._watched = [watch for watch in self._watched if now < watch.lost_at]
        if len(self._watched) >= config.min_calls:  # R38: as many as can open the circuit
            return None
        watch = _Watch(overdue_at=now + config.slow_share * timeout_s, lost_at=now + _PATIENCE * timeout_s)
        self._watched.append(watch)
        return watch

    def _issue(self, permit: Permit) -> Permit:
        self._in_flight += 1
        return permit

    def record(
        self,
        permit: Permit,
        verdict: Verdict,
        now: float,
        config: CircuitBreakerSettings,
        *,
        slow: bool = False,
        refused: bool = False,
    ) -> tuple[State, State]:
        """
        Record the end of the attempt with *permit*.

        Args:
            permit: What `acquire` returned.
            verdict: What it counts as.
            now: Clock reading.
            config: The settings.
            slow: It took longer than `slow_share` of its timeout.
            refused: It is a failure whose connection was refused.

        Returns:
            The state before and after.
        """
        with self._lock:
            before = self._state
            self._in_flight -= 1
            if permit.epoch != self._epoch:  # R35: acquired in another epoch, or never counted
                return before, before
            weight = 1.0 if permit.watch is None else 1 + self._end_watch(permit.watch)
            if verdict == "limited":
                attempts, failures, _ = self._totals(now, config)
                verdict = "neutral" if attempts > failures else "failure"  # R31
            if permit.is_probe and before == "half_open":
                if permit is self._probe:  # R34: a longer probe before it may be in flight still
                    self._probe = None
                self._end_probe(verdict, now, config, slow=slow and config.slow_ratio > 0, refused=refused)
            elif verdict == "deadline":
                self._unwatched += any(watch.call_ended for watch in self._watched)  # R38: they represent it
            elif verdict != "neutral":
                self._count(verdict, now, config, slow=slow, refused=refused, weight=weight)
            return before, self._state

    def go_on(self, permit: Permit) -> None:
        """Record that the call of a watched attempt has ended; the result of the attempt follows."""
        with self._lock:
            if permit.watch is not None:
                permit.watch.call_ended = True  # R38

    def _end_watch(self, watch: _Watch) -> float:
        """Remove a watched attempt; returns how many attempts that ended unwatched it represents."""
        if watch not in self._watched:
            return 0.0
        representatives = sum(one.call_ended for one in self._watched)
        self._watched.remove(watch)
        if not watch.call_ended:
            return 0.0
        share = self._unwatched / representatives  # R38
        self._unwatched -= share
        return share

    def _end_probe(
        self, verdict: Verdict, now: float, config: CircuitBreakerSettings, *, slow: bool, refused: bool
    ) -> None:
        if verdict == "failure" or (verdict == "success" and slow):
            self._open(now, config, refused=refused)
        elif verdict == "success":
            self._state = "closed"

    def _count(
        self, verdict: Verdict, now: float, config: CircuitBreakerSettings, *, slow: bool, refused: bool, weight: float
    ) -> None:
        window, width = self._window, config.window_s / _BUCKETS
        start = now - now % width
        if not window or window[-1][0] < start:
            self._totals(now, config)  # drops what is too old
            window.append([start, 0, 0, 0, 0])
        bucket = window[-1]
        bucket[1] += weight
        if self._is_clean and verdict == "success" and not slow:
            return  # neither share is above zero
        self._is_clean = False
        bucket[2] += weight * (verdict == "failure")
        bucket[3] += weight * slow
        bucket[4] += weight * refused
        attempts, failures, slow_ones = self._totals(now, config)
        if attempts < config.min_calls:  # R32
            return
        if failures / attempts >= config.failure_ratio:  # R32
            self._open(now, config, refused=all(failed == unsent for _, _, failed, _, unsent in self._window))  # R33
        elif 0 < config.slow_ratio <= slow_ones / attempts:  # R32
            self._open(now, config, refused=False)

    def _totals(self, now: float, config: CircuitBreakerSettings) -> tuple[float, float, float]:
        """Return the attempts, failures and slow attempts in the window."""
        while self._window and self._window[0][0] <= now - config.window_s:  # R32: the window slides
            self._window.popleft()
        attempts = failures = slow_ones = 0.0
        for _, counted, failed, late, _ in self._window:
            attempts, failures, slow_ones = attempts + counted, failures + failed, slow_ones + late
        self._is_clean = failures == slow_ones == 0
        return attempts, failures, slow_ones

    def _open(self, now: float, config: CircuitBreakerSettings, *, refused: bool) -> None:
        self._state = "open"
        self._epoch += 1  # equivalent: `2`: epochs are compared, not counted
        open_s = config.open_s * self._random.uniform(1, 1 + _OPEN_JITTER)  # R33
        if refused:  # R33: nothing was sent, so a short time adds no load
            open_s = min(open_s, self._random.uniform(*_REFUSED_OPEN_S))  # R33
        self._open_until = now + open_s  # R33
        self._window.clear()
        self._is_clean = True


class CircuitBreakers:
    """
    The breakers of one service, by key: at most 1024.

    Beyond that the least recently used idle one is evicted; where none is idle, a new key shares the service's own.

    Args:
        service: Name of the service, and of its own breaker.
        random: Source of jitter.

    Attributes:
        own: The service's own breaker.
    """

    def __init__(self, service: str, random: Random) -> None:
        self._service = service
        self._random = random
        self._lock = threading.Lock()
        self.own = CircuitBreaker(service, random)
        self._by_key: OrderedDict[str, CircuitBreaker] = OrderedDict()

    def get(self, call: Call, config: CircuitBreakerSettings) -> CircuitBreaker:
        """Return the breaker that *call* belongs to."""
        if config.key == "service":
            return self.own
        key = f"{call.info.method} {call.info.route}" if config.key == "route" else config.key
        with self._lock:
            breaker = self._by_key.get(key)
            if breaker is not None:
                self._by_key.move_to_end(key)
                return breaker
            if len(self._by_key) >= _MAX_BREAKERS and not self._evict_one():
                return self.own
            breaker = self._by_key[key] = CircuitBreaker(f"{self._service} {key}", self._random)
            return breaker

    def _evict_one(self) -> bool:
        idle = next((key for key, breaker in self._by_key.items() if breaker.is_idle), None)  # R30: least recently used
        if idle is None:
            return False
        del self._by_key[idle]
        return True

    def all(self) -> list[CircuitBreaker]:
        """Every breaker, the service's own first."""
        with self._lock:
            return [self.own, *self._by_key.values()]


def verdict_of(error: BaseException | None) -> Verdict:
    """
    Return what the end of an attempt says about the service's health.

    A response counts as the row of its status says (`status.py`), a 2xx as a success. What `limited` counts as depends
    on the other results in the window: `CircuitBreaker.record` decides. Transport failures and attempt timeouts are
    failures. Neutral are cancellations, a pool without a free connection, a response that cannot be decoded, and local
    rejections.
    """
    if error is None or isinstance(error, OperationFailedError):
        return "success"
    if isinstance(error, StatusError):
        return error.rule.verdict  # R31
    if isinstance(error, LocalRejectionError | PoolTimeoutError):  # R31: local, independent of the service
        return "neutral"
    if isinstance(error, CallError) and error.is_local:  # R31: this process ran out of memory, for example
        return "neutral"
    return "failure" if isinstance(error, RequestNotSentError | ResponseLostError) else "neutral"  # R31


_Entered: TypeAlias = tuple[CircuitBreaker, CircuitBreakerSettings, Permit, float, float]
"""An attempt with its permit: breaker, settings, permit, clock reading at its start, attempt timeout in seconds."""


class CircuitBreakerMiddleware(Step):
    """
    Acquires a permit of the breaker for each attempt, and records the result.

    Args:
        breakers: The breakers of the service.
        clock: Source of time.
        emit: Listener for rejections and changes of state.
        attempt_timeout_s: Returns the attempt timeout of a call in seconds.
        usual_timeout_s: Returns the attempt timeout of operations without one of their own; None for no difference.
        note_failure: Called with each failed attempt before it is counted.
    """

    def __init__(
        self,
        breakers: CircuitBreakers,
        clock: Clock,
        emit: Listener,
        attempt_timeout_s: Callable[[Call], float],
        usual_timeout_s: Callable[[], float] | None = None,
        *,
        note_failure: Callable[[PlatformRequest, BaseException], None] = lambda _request, _error: None,
    ) -> None:
        self._breakers = breakers
        self._own = breakers.own
        self._clock = clock
        self._emit = emit
        self._attempt_timeout_s = attempt_timeout_s
        self._usual_timeout_s = usual_timeout_s
        self._note_failure = note_failure

    def _breaker(self, call: Call) -> tuple[CircuitBreaker, CircuitBreakerSettings]:
        config = call.settings(CircuitBreakerSettings)
        return self._breakers.get(call, config), config

    def is_open(self, request: PlatformRequest) -> bool:
        """Return whether an attempt would be rejected now; acquires no permit."""
        breaker, config = self._breaker(request.call)
        return breaker.rejects(self._clock.now(), config)

    def is_closed(self, request: PlatformRequest) -> bool:
        """Return whether the service counts as healthy, so that optional attempts are allowed."""
        breaker, config = self._breaker(request.call)
        return config.mode in {"disabled", "shadow"} or (config.mode == "normal" and breaker.state == "closed")

    def reject_if_open(self, request: PlatformRequest) -> None:
        """
        Reject an attempt before it queues, if it would be rejected after.

        Raises:
            CircuitOpenError: The circuit is open.
        """
        config = request.call.settings(CircuitBreakerSettings)
        breaker = self._own if config.key == "service" else self._breakers.get(request.call, config)
        if breaker._state == "closed" and config.mode != "forced_open":  # noqa: SLF001 - of this file
            return
        if breaker.rejects(self._clock.now(), config):
            raise self._rejection(request, breaker, config)

    def _rejection(
        self, request: PlatformRequest, breaker: CircuitBreaker, config: CircuitBreakerSettings
    ) -> CircuitOpenError:
        request.call.circuit_state = breaker.shown_state(config)
        # Forced open by an operator: until when is unknown.
        retry_after_s = breaker.retry_after_s(self._clock.now()) if config.mode == "normal" else None
        self._emit(AttemptRejected(call=request.call.info, guard="circuit_breaker", retry_after_s=retry_after_s))
        # A new object each time: the traceback of one that is raised again would grow each time.
        return CircuitOpenError(f"circuit {breaker.name} is open", retry_after_s=retry_after_s)  # R36

    def _pass_uncounted(
        self, request: PlatformRequest, breaker: CircuitBreaker, config: CircuitBreakerSettings, permit: Permit | None
    ) -> Permit:
        """Return the permit of an attempt that is not counted; in mode shadow normal would have rejected it."""
        if permit is None:
            raise self._rejection(request, breaker, config)
        if config.mode == "shadow":  # R30
            after_s = breaker.retry_after_s(self._clock.now())
            self._emit(AttemptRejectedInShadow(call=request.call.info, breaker=breaker.name, retry_after_s=after_s))
        return permit

    def enter(self, request: PlatformRequest) -> _Entered | Coroutine[Any, Any, _Entered]:
        """
        Acquire the permit of the attempt.

        Raises:
            CircuitOpenError: The circuit is open, or half open with its probe in flight.
        """
        call = request.call
        config = call.settings(CircuitBreakerSettings)
        breaker = self._own if config.key == "service" else self._breakers.get(call, config)
        timeout_s, started = self._attempt_timeout_s(call), self._clock.now()
        if call.deadline_at - started > timeout_s:
            permit = breaker.acquire_usual(config)
            if permit is not None:
                call.circuit_state = "closed" if config.mode == "normal" else breaker.shown_state(config)
                return breaker, config, permit, started, timeout_s
        elif breaker.must_wait(started, config):  # R39
            return self._wait(request, breaker, config, timeout_s)
        return self._acquire(request, breaker, config, timeout_s, started)

    async def _wait(
        self, request: PlatformRequest, breaker: CircuitBreaker, config: CircuitBreakerSettings, timeout_s: float
    ) -> _Entered:
        while True:
            await self._clock.sleep(_RECHECK_S)  # polled, since what ends the wait may be in another loop
            started = self._clock.now()
            if request.call.deadline_at - started > timeout_s or not breaker.must_wait(started, config):  # R39
                return self._acquire(request, breaker, config, timeout_s, started)

    def _acquire(
        self,
        request: PlatformRequest,
        breaker: CircuitBreaker,
        config: CircuitBreakerSettings,
        timeout_s: float,
        started: float,
    ) -> _Entered:
        call = request.call
        permit, before, after = breaker.acquire(
            started,
            config,
            0.0 if breaker._state == "closed" else self._alone_s(timeout_s, config),  # noqa: SLF001 - of this file
            watch_timeout_s=timeout_s if call.deadline_at - started <= timeout_s else None,  # R38
        )
        call.circuit_state = after if config.mode == "normal" else breaker.shown_state(config)
        if permit is None or permit is _UNCOUNTED:
            permit = self._pass_uncounted(request, breaker, config, permit)
        entered = breaker, config, permit, started, timeout_s
        if permit.watch is not None:
            request.attempt.on_late_end = partial(self._end, request, entered)  # R38
        if before != after:
            try:
                self._emit_change(call.info, breaker, before, after)
            except BaseException as error:
                self.failed(request, entered, error)
                raise
        return entered

    def succeeded(self, request: PlatformRequest, entered: _Entered, _response: PlatformResponse | None = None) -> None:
        """Record the result."""
        breaker, config, permit, started, timeout_s = entered
        now = self._clock.now()
        # R31: a response that a layer of the host made says nothing about the service.
        verdict: Verdict = "neutral" if request.attempt.is_short_circuited else "success"
        slow = now - started > config.slow_share * timeout_s
        before, after = breaker.record(permit, verdict, now, config, slow=slow)
        if before != after or config.mode != "normal":
            self._note_state(request.call, breaker, config, before, after)
        else:
            request.call.circuit_state = after

    def failed(self, request: PlatformRequest, entered: _Entered, error: BaseException) -> BaseException:
        """Record the result, or that the attempt goes on without its call."""
        self._note_failure(request, error)  # R21
        if request.attempt.goes_on:
            entered[0].go_on(entered[2])
        else:
            self._end(request, entered, error)
        return error

    def _end(self, request: PlatformRequest, entered: _Entered, error: BaseException | None) -> None:
        if error is None:
            self.succeeded(request, entered)
            return
        breaker, config, permit, started, timeout_s = entered
        now = self._clock.now()
        slow = now - started > config.slow_share * timeout_s
        verdict = self._verdict(request, error, now - started, slow=slow, config=config)
        refused = is_refused_connection(error)
        before, after = breaker.record(permit, verdict, now, config, slow=slow, refused=refused)
        self._note_state(request.call, breaker, config, before, after)

    def _note_state(
        self, call: Call, breaker: CircuitBreaker, config: CircuitBreakerSettings, before: State, after: State
    ) -> None:
        call.circuit_state = after if config.mode == "normal" else breaker.shown_state(config)
        if before != after:
            self._emit_change(call.info, breaker, before, after)

    def _verdict(
        self,
        request: PlatformRequest,
        error: BaseException,
        took_s: float,
        *,
        slow: bool,
        config: CircuitBreakerSettings,
    ) -> Verdict:
        """Return what the failure of an attempt counts as, after *took_s*."""
        if isinstance(error, asyncio.CancelledError):
            if request.call.is_over(self._clock.now()):
                never_connected = request.attempt.request_sent == "no" and took_s >= _FAIR_CONNECT_S
                return "failure" if never_connected else "deadline"  # R31, R38
            if request.attempt.lost_race and slow and config.slow_ratio > 0:
                return "success"  # R31: without its result, but its time counts
        return "neutral" if request.attempt.is_short_circuited else verdict_of(error)

    def _alone_s(self, timeout_s: float, config: CircuitBreakerSettings) -> float:
        """Return how long a probe with that attempt timeout is alone."""
        is_long = self._usual_timeout_s is not None and timeout_s > self._usual_timeout_s()
        alone_s = _LEAST_ALONE_S if is_long else min(_PATIENCE * timeout_s, _MOST_ALONE_S)  # R34
        return max(alone_s, config.open_s)  # R34

    def _emit_change(self, call: CallInfo, breaker: CircuitBreaker, before: State, after: State) -> None:
        self._emit(CircuitStateChanged(call=call, breaker=breaker.name, before=before, after=after))
