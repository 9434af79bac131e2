"""
Retries: which failures, after which wait, and how many of them in all.

`RetryPolicy` decides and `RetryBudget` counts; both are pure arithmetic. `RetryMiddleware` does it, with tenacity as
the engine: a fresh instance per call, entered only once an attempt has failed in a way that may be retried.
"""

import threading
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Annotated

import tenacity

from middleware.clock import Clock
from middleware.errors import (
    CallError,
    CircuitOpenError,
    LocalRejectionError,
    NotFoundError,
    RequestNotSentError,
    ResponseLostError,
    StatusError,
)
from middleware.events import Listener, RetryAbandoned, RetryBudgetExhausted, RetryScheduled
from middleware.records import StopReason
from middleware.settings import Settings, SettingSpec
from middleware.types import IDEMPOTENCY_HEADER, Attempt, Call, Handler, PlatformRequest, PlatformResponse

__all__ = ["RetryBudget", "RetryBudgetSettings", "RetryMiddleware", "RetryPolicy", "RetrySettings"]

_JITTER_SHARE, _JITTER_CAP_S = 0.1, 1.0
_GRAIN_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings(Settings):
    """How often and after which wait an attempt is repeated."""

    max_attempts: Annotated[
        int, SettingSpec(doc="Total tries of one call, the first included.", ge=1, le=10, source="AWS standard mode")
    ] = 3
    base_delay_s: Annotated[
        float, SettingSpec(doc="Backoff ceiling before the first retry; doubles each time.", unit="s", ge=0, le=60)
    ] = 0.1
    max_delay_s: Annotated[float, SettingSpec(doc="Highest backoff ceiling.", unit="s", ge=0, le=600)] = 5.0
    throttle_base_delay_s: Annotated[
        float,
        SettingSpec(
            doc="As base_delay_s, after 429 or a 503 with Retry-After or x-envoy-overloaded.",
            unit="s",
            ge=0,
            le=60,
            source="AWS, 2026 mode",
        ),
    ] = 1.0
    throttle_max_delay_s: Annotated[
        float,
        SettingSpec(
            doc="As max_delay_s, after 429 or a 503 with Retry-After or x-envoy-overloaded.", unit="s", ge=0, le=600
        ),
    ] = 20.0
    retry_after_max_s: Annotated[
        float,
        SettingSpec(doc="Longest Retry-After that is waited for; above it the call gives up.", unit="s", ge=0, le=3600),
    ] = 20.0
    min_attempt_s: Annotated[
        float,
        SettingSpec(
            doc="A retry that would have less time than this before the deadline is not made.", unit="s", ge=0, le=60
        ),
    ] = 0.005
    repeat_writes_after_503: Annotated[
        bool,
        SettingSpec(
            doc="Repeat a write without an honoured key after 503 with Retry-After too; only where the service and "
            "every gateway before it answer so before they process a request.",
        ),
    ] = False
    accept_already_deleted: Annotated[
        bool, SettingSpec(doc="A DELETE answered 404 or 410 after an attempt that may have done it is a success.")
    ] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudgetSettings(Settings):
    """Bound on the load that retries and hedges add."""

    enabled: Annotated[bool, SettingSpec(doc="Bound the retries of a service by its traffic.", shared=True)] = True
    ratio: Annotated[
        float,
        SettingSpec(
            doc="Retries allowed per call started in the window.",
            ge=0,
            le=10,
            shared=True,
            source="Finagle, Envoy: 20 %",
        ),
    ] = 0.2
    ttl_s: Annotated[float, SettingSpec(doc="Length of the window.", unit="s", ge=1, le=600, shared=True)] = 10.0
    min_per_s: Annotated[
        float, SettingSpec(doc="Retries per second that are always allowed.", unit="1/s", ge=0, le=1000, shared=True)
    ] = 1.0


class RetryBudget:
    """
    Sliding window over calls and retries of one service in this process.

    balance = min_per_s * ttl_s + ratio * calls started - retries and hedges decided, both within the last ttl_s
    seconds. A withdrawal happens at decision time and is never refunded; first attempts never pay. The settings come
    with each question, so that a reload keeps the window.
    """

    def __init__(self) -> None:
        self._calls: deque[tuple[float, int]] = deque()
        self._retries: deque[tuple[float, int]] = deque()
        self._last_reported_at = float("-inf")
        self._lock = threading.Lock()

    def deposit(self, now: float, config: RetryBudgetSettings) -> None:
        """Count a call that starts at *now*."""
        if config.enabled:
            with self._lock:
                _count(self._calls, now)

    def balance(self, now: float, config: RetryBudgetSettings) -> float | None:
        """Retries that may still be decided at *now*; None when the budget is off."""
        if not config.enabled:
            return None
        with self._lock:
            return self._balance(now, config)

    def _balance(self, now: float, config: RetryBudgetSettings) -> float:
        since = now - config.ttl_s
        return config.min_per_s * config.ttl_s + config.ratio * _sum(self._calls, since) - _sum(self._retries, since)

    def withdraw(self, now: float, config: RetryBudgetSettings) -> bool:
        """Pay for one retry at *now*; False, and nothing paid, when the balance is below one."""
        if not config.enabled:
            return True
        with self._lock:
            if self._balance(now, config) < 1:  # R18
                return False
            # R18: paid when decided, not when it succeeds. An entry leaves as late as its latest retry would: the bound
            # is never exceeded for the sake of a coarse window.
            _count(self._retries, now, lasts_s=_GRAIN_S)
            return True

    def is_first_refusal(self, now: float, config: RetryBudgetSettings) -> bool:
        """True once per window: engineers are told of an exhausted budget, not of every refusal."""
        with self._lock:
            if now - self._last_reported_at < config.ttl_s:
                return False
            self._last_reported_at = now
            return True


def _count(window: deque[tuple[float, int]], now: float, *, lasts_s: float = 0.0) -> None:
    # One entry per tenth of a second bounds memory at any call rate.
    if window and now - window[-1][0] + lasts_s < _GRAIN_S:
        window[-1] = (window[-1][0], window[-1][1] + 1)
    else:
        window.append((now + lasts_s, 1))


def _sum(window: deque[tuple[float, int]], since: float) -> int:
    while window and window[0][0] <= since:
        window.popleft()
    return sum(count for _, count in window)


class RetryPolicy:
    """
    Which failures may be retried, and the wait before the next attempt.

    Args:
        random: Source of jitter.
    """

    def __init__(self, random: Random) -> None:
        self._random = random

    def is_retryable(self, error: BaseException, config: RetrySettings, *, repeatable: bool, keyed: bool) -> bool:
        """
        Tell whether the failure of an attempt allows another one.

        Args:
            error: Why the attempt failed.
            config: The settings.
            repeatable: Repeating the request is harmless.
            keyed: The request carries an idempotency key that the service honours.
        """
        if isinstance(error, StatusError):
            status = error.status
            if error.not_processed:
                return True  # R11
            if status == 409:  # noqa: PLR2004 # R11: "request in progress", Idempotency-Key draft
                return keyed
            if error.is_throttled and config.repeat_writes_after_503:
                return True  # R11: who set it knows that this service's 503 comes before any work
            return repeatable and status in {408, 500, 502, 503, 504}  # R11
        if isinstance(error, RequestNotSentError) and error.request_sent == "no":  # R12: and not by the class alone
            return not isinstance(error, LocalRejectionError)  # R11, R37
        return repeatable and isinstance(error, ResponseLostError)  # R11

    def delay_s(self, error: BaseException, attempt: int, config: RetrySettings) -> float:
        """
        Seconds to wait after *attempt* failed with *error*.

        Full jitter, `uniform(0, min(max, base * 2 ** (attempt - 1)))` (AWS Architecture Blog, "Exponential Backoff And
        Jitter"), or Retry-After plus up to 10 % (at most 1 s), whichever is longer.
        """
        if isinstance(error, StatusError) and error.is_throttled:
            base, cap = config.throttle_base_delay_s, config.throttle_max_delay_s
        else:
            base, cap = config.base_delay_s, config.max_delay_s
        backoff = self._random.uniform(0, min(cap, base * 2 ** (attempt - 1)))
        after = _retry_after(error)
        if after is None:
            return backoff
        # Clients told the same second must not come back in the same millisecond.
        return max(backoff, after + self._random.uniform(0, min(after * _JITTER_SHARE, _JITTER_CAP_S)))  # R15


def _refusal(error: BaseException) -> StopReason:
    return "circuit_open" if isinstance(error, CircuitOpenError) else "not_retryable"


def _retry_after(error: BaseException) -> float | None:
    return error.retry_after_s if isinstance(error, CallError) else None


def _may_be_deleted(call: Call) -> bool:
    """Tell whether an attempt before the last one may have deleted what the last one did not find."""
    # R13: with 408 the request did not arrive whole in time; that it was done all the same is not to be assumed.
    return any(record.applied != "no" and record.status != 408 for record in call.timeline[:-1])  # noqa: PLR2004


class RetryMiddleware:
    """
    Repeats attempts as the policy allows.

    Args:
        policy: Which failures, after which wait.
        budget: How many retries in all.
        clock: Time and sleep.
        emit: Listener for what was decided.
        circuit_is_open: Tells, without taking a permit, that the next attempt would be refused.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        budget: RetryBudget,
        clock: Clock,
        emit: Listener,
        circuit_is_open: Callable[[PlatformRequest], bool],
    ) -> None:
        self._policy = policy
        self._budget = budget
        self._clock = clock
        self._emit = emit
        self._circuit_is_open = circuit_is_open

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Make the first attempt; enter the engine only when its failure may be retried."""
        call = request.call
        self._budget.deposit(self._clock.now(), call.settings(RetryBudgetSettings))
        call.tries += 1
        try:
            return await call_next(request.for_attempt(request.attempt))
        except CallError as error:
            if not self._may_retry(error, request):
                call.stop_reason = _refusal(error)
                if isinstance(error, NotFoundError):
                    return self._deleted(request, error)
                raise
            if call.tries >= call.max_attempts:  # no engine for a call that has had all its tries
                call.stop_reason = "max_attempts"
                self._emit(
                    RetryAbandoned(call=call.info, attempt=call.attempts, stop_reason="max_attempts", error=error)
                )
                raise
            first = error
        try:
            return await self._retry(request, call_next, first)
        except NotFoundError as error:
            return self._deleted(request, error)

    def _may_retry(self, error: BaseException, request: PlatformRequest) -> bool:
        # isinstance first: tenacity's own predicates would swallow a CancelledError.
        return isinstance(error, CallError) and self._policy.is_retryable(
            error,
            request.call.settings(RetrySettings),
            repeatable=request.is_repeatable,
            keyed=IDEMPOTENCY_HEADER in request.headers,
        )

    def _deleted(self, request: PlatformRequest, error: NotFoundError) -> PlatformResponse:
        """
        Answer for a DELETE whose earlier attempt may have done it.

        Raises:
            NotFoundError: Nothing says that it was this call that deleted it.
        """
        call = request.call
        accepts = call.settings(RetrySettings).accept_already_deleted
        if request.method == "DELETE" and accepts and _may_be_deleted(call):  # R13
            with suppress(Exception):  # decode is the connector's: an operation that needs a document has none here
                data = {} if request.decode is None else request.decode({})
                call.already_deleted, call.stop_reason = True, ""
                return PlatformResponse(status=204, headers={}, data=data, correlation_id=call.info.correlation_id)
        raise error

    async def _retry(self, request: PlatformRequest, call_next: Handler, first: CallError) -> PlatformResponse:
        """Repeat the attempt that failed with *first* until one succeeds or a reason to stop holds."""
        call, config = request.call, request.call.settings(RetrySettings)
        last, waited_s = first, 0.0

        async def attempt() -> PlatformResponse:
            nonlocal last
            call.tries += 1
            try:
                return await call_next(request.for_attempt(Attempt(delay_s=waited_s)))
            except CircuitOpenError:
                # The circuit opened while this call waited: what the caller needs is the upstream's own error.
                call.stop_reason = "circuit_open"  # R37
                raise last from None
            except CallError as error:
                last = error
                raise

        def may_retry(error: BaseException) -> bool:
            if call.stop_reason == "circuit_open":
                return False
            if self._may_retry(error, request):
                return True
            call.stop_reason = _refusal(error)
            return False

        def wait(number: int) -> float:
            return self._policy.delay_s(last, number, config)

        def stop(delay_s: float) -> bool:
            nonlocal waited_s
            waited_s = delay_s
            call.stop_reason = self._stop_reason(request, last, delay_s)
            if call.stop_reason:
                self._emit(
                    RetryAbandoned(call=call.info, attempt=call.attempts, stop_reason=call.stop_reason, error=last)
                )
                return True
            last.__traceback__ = None  # dealt with; whoever was told of it must not keep the request by its frames
            balance = self._budget.balance(self._clock.now(), call.settings(RetryBudgetSettings))
            self._emit(
                RetryScheduled(
                    call=call.info, attempt=call.attempts, delay_s=delay_s, error=last, budget_balance=balance
                )
            )
            return False

        return await _repeat(attempt, first, may_retry=may_retry, wait=wait, stop=stop, sleep=self._clock.sleep)

    def _stop_reason(self, request: PlatformRequest, error: CallError, delay_s: float) -> StopReason:
        """Name the first reason to stop that holds; the budget comes last because asking it withdraws."""
        call, now = request.call, self._clock.now()
        config = call.settings(RetrySettings)
        if call.tries >= call.max_attempts:  # R10
            return "max_attempts"
        if self._circuit_is_open(request):  # R10, R37
            return "circuit_open"
        after = _retry_after(error)
        if after is not None and after > config.retry_after_max_s:  # R10, R16
            return "retry_after_max"
        if now + delay_s + config.min_attempt_s >= call.deadline_at:  # R10, R16
            return "deadline"
        return "" if self.try_withdraw(call) else "budget"  # R10

    def try_withdraw(self, call: Call) -> bool:
        """Withdraw one retry or hedge of *call* from the service's budget; tell of a refusal."""
        now, config = self._clock.now(), call.settings(RetryBudgetSettings)
        if self._budget.withdraw(now, config):
            return True
        balance = self._budget.balance(now, config) or 0.0
        first = self._budget.is_first_refusal(now, config)
        self._emit(RetryBudgetExhausted(call=call.info, balance=balance, first=first))
        return False


async def _repeat(
    attempt: Callable[[], Awaitable[PlatformResponse]],
    first: CallError,
    *,
    may_retry: Callable[[BaseException], bool],
    wait: Callable[[int], float],
    stop: Callable[[float], bool],
    sleep: Callable[[float], Awaitable[None]],
) -> PlatformResponse:
    """
    Drive the retries of one call: the seam to the engine, and all that is known of tenacity.

    Args:
        attempt: Makes one more try.
        first: Failure of the try that already happened; round 1 replays it.
        may_retry: Does a failure allow another try?
        wait: Seconds to wait after round *n* failed.
        stop: Is this the last round, *delay* seconds before the next?
        sleep: Waits.
    """
    replay: list[CallError] = [first]

    async def one() -> PlatformResponse:
        if replay:
            raise replay.pop()
        return await attempt()

    def failure(state: tenacity.RetryCallState) -> BaseException | None:
        return state.outcome.exception() if state.outcome else None

    # A new instance per call: its state lives on the instance, and its statistics are shared by all tasks of a loop.
    engine = tenacity.AsyncRetrying(
        retry=lambda state: (error := failure(state)) is not None and may_retry(error),
        wait=lambda state: wait(state.attempt_number),
        stop=lambda state: stop(state.upcoming_sleep),
        sleep=sleep,
        reraise=True,
    )
    return await engine(one)
