"""
Retries: which failures, after which wait, and how many of them in all.

`RetryPolicy` decides and `RetryBudget` counts; both are pure arithmetic. `RetryMiddleware` does it, with tenacity as
the engine: a fresh instance per call, entered only once an attempt has failed in a way that may be retried.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Annotated

import tenacity

from .clock import Clock
from .errors import (
    CallError,
    CircuitOpenError,
    RefusedError,
    RequestNotSentError,
    ResponseLostError,
    StatusError,
)
from .events import Listener, RetryScheduled
from .knobs import Knob, Settings
from .types import IDEMPOTENCY_HEADER, Attempt, Call, Handler, PlatformRequest, PlatformResponse, StopReason

__all__ = ["RetryBudget", "RetryBudgetConfig", "RetryConfig", "RetryMiddleware", "RetryPolicy"]

_JITTER_SHARE, _JITTER_CAP_S = 0.1, 1.0
_MIN_ATTEMPT_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig(Settings):
    """How often and after which wait an attempt is repeated."""

    max_attempts: Annotated[
        int, Knob(doc="Total tries of one call, the first included.", ge=1, le=10, source="AWS standard mode")
    ] = 3
    base_delay_s: Annotated[
        float, Knob(doc="Backoff ceiling before the first retry; doubles each time.", unit="s", ge=0, le=60)
    ] = 0.1
    max_delay_s: Annotated[float, Knob(doc="Highest backoff ceiling.", unit="s", ge=0, le=600)] = 5.0
    throttle_base_delay_s: Annotated[
        float,
        Knob(doc="As base_delay_s, after 429 or 503 with Retry-After.", unit="s", ge=0, le=60, source="AWS, 2026 mode"),
    ] = 1.0
    throttle_max_delay_s: Annotated[
        float, Knob(doc="As max_delay_s, after 429 or 503 with Retry-After.", unit="s", ge=0, le=600)
    ] = 20.0
    retry_after_max_s: Annotated[
        float, Knob(doc="Longest Retry-After that is waited for; above it the call gives up.", unit="s", ge=0, le=3600)
    ] = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudgetConfig(Settings):
    """Bound on the load that retries add."""

    enabled: Annotated[bool, Knob(doc="Bound the retries of a service by its traffic.")] = True
    ratio: Annotated[
        float, Knob(doc="Retries allowed per call started in the window.", ge=0, le=10, source="Finagle, Envoy: 20 %")
    ] = 0.2
    ttl_s: Annotated[float, Knob(doc="Length of the window.", unit="s", ge=1, le=600)] = 10.0
    min_per_s: Annotated[float, Knob(doc="Retries per second that are always allowed.", unit="1/s", ge=0, le=1000)] = (
        1.0
    )


class RetryBudget:
    """
    Sliding window over calls and retries of one service in this process.

    balance = min_per_s * ttl_s + ratio * calls started - retries decided, both within the last ttl_s seconds.
    A withdrawal happens at decision time and is never refunded; first attempts never pay.
    """

    def __init__(self, config: RetryBudgetConfig) -> None:
        self._config = config
        self._calls: deque[tuple[float, int]] = deque()
        self._retries: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    def deposit(self, now: float) -> None:
        """Count a call that starts at *now*."""
        if self._config.enabled:
            with self._lock:
                _count(self._calls, now)

    def balance(self, now: float) -> float:
        """Retries that may still be decided at *now*."""
        with self._lock:
            return self._balance(now)

    def _balance(self, now: float) -> float:
        config, since = self._config, now - self._config.ttl_s
        return config.min_per_s * config.ttl_s + config.ratio * _sum(self._calls, since) - _sum(self._retries, since)

    def withdraw(self, now: float) -> bool:
        """Pay for one retry at *now*; False, and nothing paid, when the balance is below one."""
        if not self._config.enabled:
            return True
        with self._lock:
            if self._balance(now) < 1:
                return False
            _count(self._retries, now)
            return True


def _count(window: deque[tuple[float, int]], now: float) -> None:
    # One entry per tenth of a second bounds memory at any call rate.
    if window and now - window[-1][0] < 0.1:  # noqa: PLR2004
        window[-1] = (window[-1][0], window[-1][1] + 1)
    else:
        window.append((now, 1))


def _sum(window: deque[tuple[float, int]], since: float) -> int:
    while window and window[0][0] <= since:
        window.popleft()
    return sum(count for _, count in window)


class RetryPolicy:
    """
    Which failures may be retried, and the wait before the next attempt.

    Args:
        config: The settings.
        random: Source of jitter.
    """

    def __init__(self, config: RetryConfig, random: Random) -> None:
        self.config = config
        self._random = random

    def is_retryable(self, error: BaseException, *, idempotent: bool, keyed: bool) -> bool:
        """
        Tell whether the failure of an attempt allows another one.

        Args:
            error: Why the attempt failed.
            idempotent: Repeating the request is harmless.
            keyed: The request carries an idempotency key that the service honours.
        """
        if isinstance(error, StatusError):
            status = error.status
            if _is_throttled(error):
                return True  # the answer itself says that the request was not processed
            if status == 409:  # noqa: PLR2004 - "request in progress", Idempotency-Key draft
                return keyed
            return idempotent and status in {408, 500, 502, 503, 504}
        if isinstance(error, RequestNotSentError):
            return not isinstance(error, RefusedError)
        return idempotent and isinstance(error, ResponseLostError)

    def delay_s(self, error: BaseException, attempt: int) -> float:
        """
        Seconds to wait after *attempt* failed with *error*.

        Full jitter, `uniform(0, min(max, base * 2 ** (attempt - 1)))` (AWS Architecture Blog, "Exponential Backoff And
        Jitter"), or Retry-After plus up to 10 % (at most 1 s), whichever is longer.
        """
        config = self.config
        if isinstance(error, StatusError) and _is_throttled(error):
            base, cap = config.throttle_base_delay_s, config.throttle_max_delay_s
        else:
            base, cap = config.base_delay_s, config.max_delay_s
        backoff = self._random.uniform(0, min(cap, base * 2 ** (attempt - 1)))
        after = _retry_after(error)
        if after is None:
            return backoff
        # Clients told the same second must not come back in the same millisecond.
        return max(backoff, after + self._random.uniform(0, min(after * _JITTER_SHARE, _JITTER_CAP_S)))


def _is_throttled(error: StatusError) -> bool:
    return error.status == 429 or (error.status == 503 and error.retry_after_s is not None)  # noqa: PLR2004


def _refusal(error: BaseException) -> StopReason:
    return "circuit_open" if isinstance(error, CircuitOpenError) else "not_retryable"


def _retry_after(error: BaseException) -> float | None:
    return error.retry_after_s if isinstance(error, CallError) else None


class RetryMiddleware:
    """
    Repeats attempts as the policy allows.

    Args:
        policy: Which failures, after which wait.
        budget: How many retries in all.
        clock: Time and sleep.
        emit: Listener for `RetryScheduled`.
        circuit_is_open: Tells, without taking a permit, that the next attempt would be refused.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        budget: RetryBudget,
        clock: Clock,
        emit: Listener,
        circuit_is_open: Callable[[], bool],
    ) -> None:
        self._policy = policy
        self._budget = budget
        self._clock = clock
        self._emit = emit
        self._circuit_is_open = circuit_is_open

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Make the first attempt; enter the engine only when its failure may be retried."""
        self._budget.deposit(self._clock.now())
        try:
            return await call_next(request)
        except CallError as error:
            if not self._may_retry(error, request):
                request.call.stop_reason = _refusal(error)
                raise
            first = error
        return await self._retry(request, call_next, first)

    def _may_retry(self, error: BaseException, request: PlatformRequest) -> bool:
        # isinstance first: tenacity's own predicates would swallow a CancelledError.
        return isinstance(error, CallError) and self._policy.is_retryable(
            error, idempotent=request.call.info.idempotent, keyed=IDEMPOTENCY_HEADER in request.headers
        )

    async def _retry(  # noqa: C901 - five small callbacks of one engine
        self, request: PlatformRequest, call_next: Handler, first: CallError
    ) -> PlatformResponse:
        """Run tenacity over the attempts; its first round replays *first*, which already happened."""
        call = request.call
        failed: list[CallError] = []
        waited: list[float] = []

        async def attempt() -> PlatformResponse:
            if not failed:
                failed.append(first)
                raise first
            try:
                return await call_next(replace(request, attempt=Attempt(delay_s=waited[-1])))
            except CircuitOpenError:
                # The circuit opened while this call waited: what the caller needs is the upstream's own error.
                call.stop_reason = "circuit_open"
                raise failed[-1] from None
            except CallError as error:
                failed.append(error)
                raise

        def may_retry(state: tenacity.RetryCallState) -> bool:
            error = state.outcome.exception() if state.outcome else None
            if error is None or call.stop_reason == "circuit_open":
                return False
            retryable = self._may_retry(error, request)
            if not retryable:
                call.stop_reason = _refusal(error)
            return retryable

        def wait(state: tenacity.RetryCallState) -> float:
            return self._policy.delay_s(failed[-1], state.attempt_number)

        def stop(state: tenacity.RetryCallState) -> bool:
            call.stop_reason = self._stop_reason(call, failed[-1], state.attempt_number, state.upcoming_sleep)
            return bool(call.stop_reason)

        def before_sleep(state: tenacity.RetryCallState) -> None:
            waited.append(state.upcoming_sleep)
            self._emit(
                RetryScheduled(
                    call=call.info, attempt=state.attempt_number, delay_s=state.upcoming_sleep, error=failed[-1]
                )
            )

        engine = tenacity.AsyncRetrying(
            retry=may_retry, wait=wait, stop=stop, sleep=self._clock.sleep, before_sleep=before_sleep, reraise=True
        )
        return await engine(attempt)

    def _stop_reason(self, call: Call, error: CallError, attempt: int, delay_s: float) -> StopReason:
        """Name the first reason to stop that holds; the budget comes last because asking it withdraws."""
        config, now = self._policy.config, self._clock.now()
        limit = config.max_attempts if call.max_attempts is None else min(config.max_attempts, call.max_attempts)
        if attempt >= limit:
            return "max_attempts"
        if self._circuit_is_open():
            return "circuit_open"
        after = _retry_after(error)
        if after is not None and after > config.retry_after_max_s:
            return "retry_after_max"
        if now + delay_s + _MIN_ATTEMPT_S >= call.deadline_at:
            return "deadline"
        if not self._budget.withdraw(now):
            return "budget"
        return ""
