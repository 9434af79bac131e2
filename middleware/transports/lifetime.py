"""For how long a connection may be used: a name that leads elsewhere is followed by new connections alone."""

from collections.abc import Callable
from random import Random

from middleware._internal.forks import renew_in_child

__all__ = ["Lifetime"]

_SPREAD = 0.2


class Lifetime:
    """
    The longest life of a connection.

    It is shortened by up to a fifth at random, so that connections that were opened together do not end together.

    Args:
        longest_s: In seconds; 0 for ever.
        now: Source of time.
        random: Source of jitter; None makes one.
    """

    def __init__(self, longest_s: float, now: Callable[[], float], random: Random | None = None) -> None:
        self._longest_s = longest_s
        self._now = now
        self._random = random or Random()  # noqa: S311 - jitter, not cryptography
        renew_in_child(self._renew)

    def _renew(self) -> None:
        self._random = Random()  # noqa: S311 - as above

    def ends_at(self) -> float:
        """Return the clock reading from which on a connection that is opened now must not be used again."""
        if not self._longest_s:
            return float("inf")
        return self._now() + self._longest_s * self._random.uniform(1 - _SPREAD, 1)

    def lasts(self, ends_at: float) -> bool:
        """Return whether a connection that may be used until *ends_at* may be used now."""
        return self._now() < ends_at
