"""What a quota needs of the server that all processes share: the seam between the layer and a limiter's library."""

from typing import Protocol

from .gcra import Rate

__all__ = ["NoSlotError", "ServerIllError", "SharedLimiter"]


class NoSlotError(Exception):
    """
    The next slot is later than may be waited for; none is reserved.

    Attributes:
        retry_after_s: Seconds until it.
    """

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = retry_after_s


class ServerIllError(Exception):
    """The server cannot be used now. Its text says why, in words of ours: it is a label of a metric."""


class SharedLimiter(Protocol):
    """
    Slots and penalties by key, the same for all processes.

    Each method takes at most 0.15 s but for the wait for a slot, and raises `ServerIllError` where the server cannot be
    used, whatever its library raised.
    """

    async def acquire(self, key: str, rate: Rate, max_wait_s: float) -> None:
        """
        Reserve the next slot of *key* in one round trip, and wait for it.

        Slots are given first come, first served, all processes together, by the clock of the server. One whose wait is
        cancelled stays reserved until its time.

        Raises:
            NoSlotError: It is more than *max_wait_s* away.
            ServerIllError: The server cannot be used.
        """
        ...

    def waiting(self) -> int:
        """Return how many attempts of this process have a slot and wait for it."""
        ...

    async def check(self, key: str) -> None:
        """Try whether slots can be reserved, without reserving one; raises `ServerIllError`."""
        ...

    async def penalty_s(self, key: str) -> float:
        """Return the seconds until the penalty of *key* ends, 0 for none; raises `ServerIllError`."""
        ...

    async def penalize(self, key: str, seconds: float) -> None:
        """Let a penalty of *key* last *seconds* from now, where it would end sooner; raises `ServerIllError`."""
        ...

    async def aclose(self) -> None:
        """Close the connections; idempotent."""
        ...

    def request_close(self) -> None:
        """Close the connections without waiting, from any thread."""
        ...
