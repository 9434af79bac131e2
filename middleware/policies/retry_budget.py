"""A budget that bounds retries and hedges by the traffic of their service."""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Annotated

from middleware.settings import Settings, SettingSpec

__all__ = ["RetryBudget", "RetryBudgetSettings"]

_GRAIN_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudgetSettings(Settings):
    """Bound on the load that retries and hedges add."""

    enabled: Annotated[
        bool,
        SettingSpec(
            doc="Bound the retries of a service by its traffic.",
            shared=True,
            raise_when="An outage must not be made longer by retries.",
            lower_when="The service has headroom, and partial failures last long.",
        ),
    ] = True
    ratio: Annotated[
        float,
        SettingSpec(
            doc="Retries allowed per call started in the window.",
            ge=0,
            le=10,
            shared=True,
            source="Finagle, Envoy: 20 %",
            raise_when="Partial failures use the budget up, and the service has headroom.",
            lower_when="Retries are too large a share of the load during an outage.",
        ),
    ] = 0.2
    ttl_s: Annotated[
        float,
        SettingSpec(
            doc="Length of the window; a retry counts for up to 0.1 s more.",
            unit="s",
            ge=1,
            le=600,
            shared=True,
            raise_when="Traffic comes in bursts, so that calls of the last minutes should count.",
            lower_when="Retries should stop sooner after traffic has gone down.",
        ),
    ] = 10.0
    min_per_s: Annotated[
        float,
        SettingSpec(
            doc="Retries per second that are always allowed.",
            unit="1/s",
            ge=0,
            le=1000,
            shared=True,
            raise_when="There are few calls per second, so that their share allows too few retries.",
            lower_when="Many processes share the service: the rate is per process.",
        ),
    ] = 1.0


class RetryBudget:
    """
    Sliding window over the calls and retries of one service in this process.

    balance = min_per_s * ttl_s + ratio * calls started - retries and hedges decided, both within the last ttl_s
    seconds; to bound memory the window is kept in tenths of a second, in which a call counts for up to 0.1 s less than
    ttl_s, and a retry for up to 0.1 s more. A withdrawal happens when a retry or hedge is decided; it is refunded only
    for a hedge that was never sent. First attempts need none. The settings are arguments, so that a reload keeps the
    window.
    """

    def __init__(self) -> None:
        self._calls: deque[tuple[float, int]] = deque()
        self._retries: deque[tuple[float, int]] = deque()
        self._last_reported_at = float("-inf")
        self._lock = threading.Lock()

    def deposit(self, now: float, config: RetryBudgetSettings) -> None:
        """Count a call that starts at *now*."""
        if config.enabled:
            window = self._calls
            with self._lock:
                if window and now - window[-1][0] < _GRAIN_S:  # as `_count`, without a function for each call
                    window[-1] = (window[-1][0], window[-1][1] + 1)
                else:
                    _count(window, now)

    def balance(self, now: float, config: RetryBudgetSettings) -> float | None:
        """Return the retries that are still allowed at *now*; None when the budget is off."""
        if not config.enabled:
            return None
        with self._lock:
            return self._balance(now, config)

    def _balance(self, now: float, config: RetryBudgetSettings) -> float:
        since = now - config.ttl_s
        return config.min_per_s * config.ttl_s + config.ratio * _sum(self._calls, since) - _sum(self._retries, since)

    def withdraw(self, now: float, config: RetryBudgetSettings) -> bool:
        """Withdraw one retry at *now*; False, and nothing withdrawn, when the balance is below one."""
        if not config.enabled:
            return True
        with self._lock:
            if self._balance(now, config) < 1:  # R18
                return False
            # R18: withdrawn when decided, not when it succeeds. An entry expires when its latest retry would, so the
            # coarse window never allows more than the bound.
            _count(self._retries, now, lasts_s=_GRAIN_S)
            return True

    def refund(self, withdrawn_at: float) -> None:
        """Undo a withdrawal at clock reading *withdrawn_at*, unless it has expired."""
        with self._lock:
            for index, (expires, count) in enumerate(self._retries):
                if withdrawn_at < expires <= withdrawn_at + _GRAIN_S:
                    self._retries[index] = (expires, count - 1)

    def is_first_refusal(self, now: float, config: RetryBudgetSettings) -> bool:
        """Return True once per window: an exhausted budget is reported, not each of its rejections."""
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
