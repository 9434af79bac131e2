"""
Retries: which failures are retried, after which wait, and when a call stops.

`RetryPolicy` decides; it is pure arithmetic. `RetryMiddleware` repeats attempts, with tenacity as the engine: a new
instance per call, entered only when an attempt has failed in a way that may be retried.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from traceback import clear_frames
from typing import Annotated

import tenacity

from middleware.clock import Clock
from middleware.errors import (
    CallError,
    CircuitOpenError,
    LocalRejectionError,
    NotFoundError,
    RequestNotSentError,
    StatusError,
    decisive_error,
    is_lost_response,
    is_refused_connection,
)
from middleware.events import Listener, RetryAbandoned, RetryBudgetExhausted, RetryScheduled
from middleware.policies.retry_budget import RetryBudget, RetryBudgetSettings
from middleware.records import StopReason
from middleware.settings import Settings, SettingSpec
from middleware.status import status_rule
from middleware.types import IDEMPOTENCY_HEADER, Attempt, Call, Handler, NoContent, PlatformRequest, PlatformResponse

__all__ = ["RetryMiddleware", "RetryPolicy", "RetrySettings"]

_JITTER_SHARE, _JITTER_CAP_S = 0.1, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings(Settings):
    """How often and after which wait a failed attempt is retried."""

    max_attempts: Annotated[
        int,
        SettingSpec(
            doc="Attempts of one call, the first included.",
            ge=1,
            le=10,
            source="AWS standard mode",
            raise_when="Short failures outlast a call, and the service has headroom for the retries.",
            lower_when="Retries would be extra load on an overloaded service, or callers repeat by themselves; 1 "
            "disables retries.",
        ),
    ] = 3
    not_sent_max_attempts: Annotated[
        int,
        SettingSpec(
            doc="Refused connections that end a call; they do not count towards max_attempts, which with 1 disables "
            "all retries.",
            ge=1,
            le=10,
            raise_when="The gateway restarts for longer than calls wait for it, and the deadline has room.",
            lower_when="Calls should fail sooner while nothing listens.",
        ),
    ] = 5
    base_delay_s: Annotated[
        float,
        SettingSpec(
            doc="Backoff ceiling before the first retry; doubles each time.",
            unit="s",
            ge=0,
            le=60,
            raise_when="The service needs longer than a few tenths of a second to recover.",
            lower_when="Failures are over at once, and latency matters more than load.",
        ),
    ] = 0.1
    max_delay_s: Annotated[
        float,
        SettingSpec(
            doc="Highest backoff ceiling.",
            unit="s",
            ge=0,
            le=600,
            raise_when="With many attempts, the later ones should be further apart.",
            lower_when="The wait takes too much of the deadline.",
        ),
    ] = 5.0
    not_sent_base_delay_s: Annotated[
        float,
        SettingSpec(
            doc="As base_delay_s, after a refused connection; each wait is at least half its ceiling.",
            unit="s",
            ge=0,
            le=60,
            source="a gateway restarts in up to 1 s",
            raise_when="The gateway is away for longer than about 2 s when it restarts.",
            lower_when="It is back in a fraction of a second, and latency matters.",
        ),
    ] = 0.5
    not_sent_max_delay_s: Annotated[
        float,
        SettingSpec(
            doc="As max_delay_s, after a refused connection.",
            unit="s",
            ge=0,
            le=600,
            raise_when="Restarts take many seconds, and the deadline has room.",
            lower_when="Calls should find a gateway that is back sooner.",
        ),
    ] = 1.0
    gateway_404_s: Annotated[
        float,
        SettingSpec(
            doc="For this long a gateway's own 404 to a GET is retried within 10 s after a refused connection; 0 makes "
            "it final.",
            unit="s",
            ge=0,
            le=60,
            source="Traefik has its routes up to 2.6 s after its port",
            raise_when="The gateway listens for longer than this before it has its routes.",
            lower_when="Nothing in front of the service responds 404 while it starts.",
        ),
    ] = 3.0
    throttle_base_delay_s: Annotated[
        float,
        SettingSpec(
            doc="As base_delay_s, after 429 or a 503 with Retry-After or x-envoy-overloaded.",
            unit="s",
            ge=0,
            le=60,
            source="AWS, 2026 mode",
            raise_when="The service still throttles the retries.",
            lower_when="Its limits recover in less than a second.",
        ),
    ] = 1.0
    throttle_max_delay_s: Annotated[
        float,
        SettingSpec(
            doc="As max_delay_s, after 429 or a 503 with Retry-After or x-envoy-overloaded.",
            unit="s",
            ge=0,
            le=600,
            raise_when="Throttling lasts for many seconds, and the deadline has room.",
            lower_when="The wait takes too much of the deadline.",
        ),
    ] = 20.0
    retry_after_max_s: Annotated[
        float,
        SettingSpec(
            doc="Longest Retry-After that is waited for; above it the call gives up.",
            unit="s",
            ge=0,
            le=3600,
            raise_when="The service asks for longer waits, and callers have the time.",
            lower_when="Callers should get the error, with `retry_after_s`, instead of a wait.",
        ),
    ] = 20.0
    min_attempt_s: Annotated[
        float,
        SettingSpec(
            doc="A retry that would have less time than this before the deadline is not made.",
            unit="s",
            ge=0,
            le=60,
            raise_when="Attempts that start with so little time never succeed: use the fastest latency of the service.",
            lower_when="The service responds within a few milliseconds.",
        ),
    ] = 0.005
    repeat_writes_after_503: Annotated[
        bool,
        SettingSpec(
            doc="Repeat a write without an honoured key after 503 with Retry-After too; only where the service and "
            "every gateway before it respond so before they process a request.",
            raise_when="The service and every gateway before it send 503 with Retry-After only before they process a "
            "request.",
            lower_when="Any of them may send it after the request was processed, as Varnish does.",
        ),
    ] = False
    accept_already_deleted: Annotated[
        bool,
        SettingSpec(
            doc="A DELETE with a 404 or 410 after an attempt that may have deleted is a success.",
            raise_when="A resource that is gone is what a DELETE is for.",
            lower_when="Callers must know whether it was this call that deleted.",
        ),
    ] = True


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
        Return whether the failure of an attempt allows another one.

        Args:
            error: Why the attempt failed.
            config: The settings.
            repeatable: Repeating the request is harmless.
            keyed: The request carries an idempotency key that the service honours.
        """
        if isinstance(error, StatusError):
            rule = error.rule
            if rule.throttled and config.repeat_writes_after_503:
                return True  # R11: the setting says that this service's 503 comes before any work
            return {"any": True, "repeatable": repeatable, "keyed": keyed, "never": False}[rule.repeat]  # R11
        if isinstance(error, RequestNotSentError) and error.request_sent == "no":  # R12: and not by the class alone
            return not isinstance(error, LocalRejectionError)  # R11, R37
        return repeatable and is_lost_response(error)  # R11

    def delay_s(self, error: BaseException, attempt: int, config: RetrySettings) -> float:
        """
        Seconds to wait after *attempt* failed with *error*.

        Full jitter, `uniform(0, min(max, base * 2 ** (attempt - 1)))` (AWS Architecture Blog, "Exponential Backoff And
        Jitter"), or Retry-After plus up to 10 % (at most 1 s), whichever is longer. After a refused connection the
        jitter is "equal" (same source), from half the ceiling, so that even the shortest waits outlast a restart; so
        it is after a 404 of a gateway that returns.

        Args:
            error: Why the attempt failed.
            attempt: Number of failures so far that have the same backoff, this one included.
            config: The settings.
        """
        refused = _is_no_way(error)
        if refused:
            base, cap = config.not_sent_base_delay_s, config.not_sent_max_delay_s
        elif isinstance(error, StatusError) and error.is_throttled:
            base, cap = config.throttle_base_delay_s, config.throttle_max_delay_s
        else:
            base, cap = config.base_delay_s, config.max_delay_s
        ceiling = min(cap, base * 2 ** (attempt - 1))
        backoff = self._random.uniform(ceiling / 2 if refused else 0, ceiling)  # R15, R20
        after = _retry_after(error)
        if after is None:
            return backoff
        # Clients that got the same Retry-After must not all retry in the same millisecond.
        return max(backoff, after + self._random.uniform(0, min(after * _JITTER_SHARE, _JITTER_CAP_S)))  # R15


def _is_no_way(error: BaseException) -> bool:
    """Return whether no connection was made, or the gateway that took it has no routes yet."""
    return is_refused_connection(error) or (isinstance(error, NotFoundError) and error.gateway_returns)  # R20, R21


def _rejection_reason(error: BaseException) -> StopReason:
    return "circuit_open" if isinstance(error, CircuitOpenError) else "not_retryable"


def _max_attempts_detail(call: Call) -> str:
    if 0 < call.max_refused <= call.attempts_refused:  # R20
        return f"retry.not_sent_max_attempts is {call.settings(RetrySettings).not_sent_max_attempts}"
    return f"max_attempts is {call.max_attempts}"


def _retry_after(error: BaseException) -> float | None:
    return error.retry_after_s if isinstance(error, CallError) else None


def _may_be_deleted(call: Call) -> bool:
    """Return whether an attempt before the last one may have deleted what the last one did not find."""
    # R13: after 408 the request did not arrive whole, so it is not assumed to have been applied all the same.
    return any(
        record.applied != "no" and (record.status is None or status_rule(record.status).arrived_whole)
        for record in call.timeline[:-1]
    )


class RetryMiddleware:
    """
    Retries failed attempts as the policy allows.

    Args:
        policy: Decides which failures are retried, and after which wait.
        budget: Bounds the retries of the service.
        clock: Time and sleep.
        emit: Listener for scheduled and abandoned retries.
        circuit_is_open: Returns whether the circuit would reject the next attempt; acquires no permit.
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
        """Make the first attempt; enter the engine only if its failure may be retried."""
        call = request.call
        self._budget.deposit(self._clock.now(), call.settings(RetryBudgetSettings))
        call.attempts_scheduled += 1
        try:
            return await call_next(request.for_attempt(request.attempt))
        except CallError as error:
            call.note_failure(error)
            failed, may_retry = error, self._may_retry(error, request)
            if not may_retry:
                call.stop_reason = _rejection_reason(error)
            elif call.attempts_scheduled >= call.attempts_allowed:  # no engine for a call without further attempts
                may_retry = False
                call.stop_reason, call.stop_detail = "max_attempts", _max_attempts_detail(call)
                self._emit(
                    RetryAbandoned(call=call.info, attempt=call.attempts_sent, stop_reason="max_attempts", error=error)
                )
        if may_retry:
            try:
                return await self._retry(request, call_next, failed)
            except CallError as error:
                failed = error
        if isinstance(failed, NotFoundError):
            return self._deleted(request, failed)
        decisive = decisive_error(call.failures, failed)  # R37
        if decisive is not failed and not call.stop_detail:
            call.stop_detail = failed.reason
        raise decisive  # outside the handler, so unchained: the error of an earlier attempt has no context

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
        Return a success for a DELETE whose earlier attempt may have deleted already.

        Raises:
            NotFoundError: No earlier attempt of this call may have deleted it, or the platform did not say that it is
                gone.
        """
        call = request.call
        # R13: a gateway's own 404 does not say so.
        accepts = call.settings(RetrySettings).accept_already_deleted and error.answered_by == "platform"
        if request.method == "DELETE" and accepts and _may_be_deleted(call):  # R13
            with suppress(Exception):  # an operation whose decoder needs a document has none here
                data = {} if request.decode is None else request.decode(NoContent())
                call.already_deleted, call.stop_reason = True, ""
                return PlatformResponse(status=204, headers={}, data=data, correlation_id=call.info.correlation_id)
        raise error

    async def _retry(self, request: PlatformRequest, call_next: Handler, first: CallError) -> PlatformResponse:
        """Retry the attempt that failed with *first* until one succeeds or a reason to stop applies."""
        call, config = request.call, request.call.settings(RetrySettings)
        rounds, waited_s = [first], 0.0  # equivalent: `stop` sets it before anything reads it
        failed = Counter[bool]()  # by whether the connection was refused: each kind has its own backoff

        async def attempt() -> PlatformResponse:
            call.attempts_scheduled += 1
            try:
                return await call_next(request.for_attempt(Attempt(delay_s=waited_s)))
            except CallError as error:
                call.note_failure(error)
                rounds.append(error)
                raise

        def may_retry(error: BaseException) -> bool:
            if self._may_retry(error, request):
                return True
            call.stop_reason = _rejection_reason(error)
            return False

        def wait() -> float:
            last = rounds[-1]
            refused = _is_no_way(last)
            failed[refused] += 1  # R20, R21
            return self._policy.delay_s(last, failed[refused], config)

        def stop(delay_s: float) -> bool:
            nonlocal waited_s
            waited_s, last = delay_s, rounds[-1]
            call.stop_reason = self._gateway_stop(request, last, delay_s) or self._stop_reason(request, last, delay_s)
            if call.stop_reason:
                self._emit(
                    RetryAbandoned(call=call.info, attempt=call.attempts_sent, stop_reason=call.stop_reason, error=last)
                )
                return True
            last.__traceback__ = None  # handled; a listener that keeps the error must not keep the request
            balance = self._budget.balance(self._clock.now(), call.settings(RetryBudgetSettings))
            self._emit(
                RetryScheduled(
                    call=call.info, attempt=call.attempts_sent, delay_s=delay_s, error=last, budget_balance=balance
                )
            )
            return False

        try:
            return await _repeat(attempt, first, may_retry=may_retry, wait=wait, stop=stop, sleep=self._clock.sleep)
        finally:
            rounds.clear()  # the functions above refer to one another by the engine: a cycle that would keep the errors

    def _gateway_stop(self, request: PlatformRequest, error: CallError, delay_s: float) -> StopReason:
        """Return `not_retryable`, and set its detail, where a gateway that returns has had its time for its routes."""
        call = request.call
        limit_s = call.settings(RetrySettings).gateway_404_s
        if isinstance(error, NotFoundError):
            first_s = next((record.ended_s for record in call.timeline if record.status == error.status), 0.0)
            if self._clock.now() - call.started_at - first_s + delay_s > limit_s:  # R21
                call.stop_detail = f"retry.gateway_404_s is {limit_s:g} s"
                return "not_retryable"
        return ""

    def _stop_reason(self, request: PlatformRequest, error: CallError, delay_s: float) -> StopReason:
        """
        Return the first reason to stop that applies, and set its detail.

        The budget comes last because checking it withdraws.
        """
        call, now = request.call, self._clock.now()
        config = call.settings(RetrySettings)
        if call.attempts_scheduled >= call.attempts_allowed:  # R10
            call.stop_detail = _max_attempts_detail(call)
            return "max_attempts"
        if self._circuit_is_open(request):  # R10, R37
            call.stop_detail = "circuit open"
            return "circuit_open"
        after = _retry_after(error)
        if after is not None and after > config.retry_after_max_s:  # R10, R16
            call.stop_detail = f"retry.retry_after_max_s is {config.retry_after_max_s:g} s"
            return "retry_after_max"
        if now + delay_s + config.min_attempt_s >= call.deadline_at:  # R10, R16
            left_s = max(0.0, call.deadline_at - now)
            call.stop_detail = f"next attempt in {delay_s:.3g} s, deadline in {left_s:.3g} s"
            return "deadline"
        if self.try_withdraw(call):  # R10
            return ""
        call.stop_detail = "retry budget exhausted"
        return "budget"

    def try_withdraw(self, call: Call) -> bool:
        """Withdraw one retry or hedge of *call* from the service's budget; emit an event if it is exhausted."""
        now, config = self._clock.now(), call.settings(RetryBudgetSettings)
        if self._budget.withdraw(now, config):
            return True
        balance = self._budget.balance(now, config) or 0.0
        first = self._budget.is_first_refusal(now, config)
        self._emit(RetryBudgetExhausted(call=call.info, balance=balance, first=first))
        return False

    def refund(self, call: Call, withdrawn_at: float) -> None:
        """Undo a withdrawal of *call* at clock reading *withdrawn_at*: what it was for was never sent."""
        if call.settings(RetryBudgetSettings).enabled:
            self._budget.refund(withdrawn_at)


async def _repeat(
    attempt: Callable[[], Awaitable[PlatformResponse]],
    first: CallError,
    *,
    may_retry: Callable[[BaseException], bool],
    wait: Callable[[], float],
    stop: Callable[[float], bool],
    sleep: Callable[[float], Awaitable[None]],
) -> PlatformResponse:
    """
    Drive the retries of one call; the only code that knows tenacity.

    Args:
        attempt: Makes one more attempt.
        first: Failure of the attempt that was already made; round 1 replays it.
        may_retry: Returns whether a failure allows another attempt.
        wait: Returns the seconds to wait after a round has failed; called once for each.
        stop: Returns whether to stop instead of waiting *delay* seconds for the next round.
        sleep: Waits.
    """
    replay: list[CallError] = [first]

    async def one() -> PlatformResponse:
        if replay:
            raise replay.pop()
        return await attempt()

    def failure(state: tenacity.RetryCallState) -> BaseException | None:
        return state.outcome.exception() if state.outcome else None

    # A new instance per call: an instance keeps state, and all tasks of a loop would share it.
    engine = tenacity.AsyncRetrying(
        retry=lambda state: (error := failure(state)) is not None and may_retry(error),
        wait=lambda _state: wait(),
        stop=lambda state: stop(state.upcoming_sleep),
        sleep=sleep,
        reraise=True,
    )
    try:
        return await engine(one)
    except BaseException as error:
        # The engine's frames refer to the error: a cycle that would keep it and the request until the next collection.
        clear_frames(error.__traceback__)
        raise
    finally:
        engine.iter_state.reset()  # and so do the engine and the actions of its last round
