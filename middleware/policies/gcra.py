"""When the next of evenly spaced slots is free; pure arithmetic, shared by the layers that limit a rate."""

import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol

__all__ = ["Rate", "RateLimiter", "RatePerSecond", "Slot"]


class Rate(Protocol):
    """
    A rate, as settings or `RatePerSecond` have it.

    Attributes:
        per_second: Slots per second; 0 means no limit.
        burst: Slots that are free back to back after idling.
    """

    @property
    def per_second(self) -> float: ...  # noqa: D102 - see the class

    @property
    def burst(self) -> int: ...  # noqa: D102 - see the class


class RatePerSecond(NamedTuple):
    """A `Rate` that is derived from settings."""

    per_second: float
    burst: int


class Slot(NamedTuple):
    """
    The time that one attempt has reserved.

    Attributes:
        wait_s: Seconds until the attempt may be sent.
        at: Theoretical arrival time before the reservation.
        next_at: Theoretical arrival time after it.
    """

    wait_s: float
    at: float
    next_at: float


class RateLimiter:
    """
    Decides when the next attempt may be sent; pure arithmetic.

    Generic cell rate algorithm (ITU-T I.371): each attempt adds one interval to the theoretical arrival time. The
    settings are arguments, so that a reload keeps what was counted. A raised rate shortens the waits of the slots that
    are reserved already; a reduced one applies to later slots.

    Args:
        on_raise: Called when the rate was raised, with the clock reading and the factor of all waits from then on.
    """

    def __init__(self, on_raise: Callable[[float, float], None] = lambda _now, _factor: None) -> None:
        self._on_raise = on_raise
        self._arrival_at = float("-inf")
        self._interval_s = 0.0  # equivalent: there is no backlog yet
        self._lock = threading.Lock()

    def reserve(self, now: float, latest: float, rate: Rate) -> Slot | None:
        """Reserve the next slot; None, and nothing reserved, if it is after *latest*."""
        with self._lock:
            self._apply(now, rate)
            wait = self._wait_s(now, rate)
            if now + wait >= latest:
                return None
            arrival = max(self._arrival_at, now)
            self._arrival_at = arrival + self._interval_s
            return Slot(wait, arrival, self._arrival_at)

    def wait_s(self, now: float, rate: Rate) -> float:
        """Return the seconds until the next free slot."""
        with self._lock:
            return self._wait_s(now, rate)

    def apply(self, now: float, rate: Rate) -> None:
        """Let *rate* apply to the slots that are reserved already."""
        with self._lock:
            self._apply(now, rate)

    def _apply(self, now: float, rate: Rate) -> None:
        interval_s = 1.0 / rate.per_second if rate.per_second else 0.0
        backlog_s = self._arrival_at - now
        if backlog_s > 0 and interval_s < self._interval_s:  # R61: the backlog is a number of slots, not of old seconds
            factor = interval_s / self._interval_s
            self._arrival_at = now + backlog_s * factor
            self._on_raise(now, factor)
        self._interval_s = interval_s

    def _wait_s(self, now: float, rate: Rate) -> float:
        return max(0.0, self._arrival_at - self._interval_s * (rate.burst - 1) - now)

    def cancel_reservation(self, slot: Slot) -> None:
        """Cancel an unused slot; one that is not the last stays empty, since later slots depend on it."""
        with self._lock:
            if self._arrival_at == slot.next_at:
                self._arrival_at = slot.at
