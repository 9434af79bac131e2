"""Names to addresses: each name is looked up at most once at a time, whatever the number of calls that wait."""

import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

from middleware._internal.single_flight import SingleFlight
from middleware.clock import SystemClock

__all__ = ["Address", "Resolver"]

_MACHINE = SystemClock()

Address: TypeAlias = tuple[int, Any]
"""Family, and what a socket of that family connects to."""


class Resolver:
    """
    Looks names up with the C library, which blocks: in threads of its own.

    An event loop's own threads are few and the host's too: the look-ups of one name whose server does not respond
    would block those of all other names, and whatever the host runs there.

    Args:
        keep_s: Addresses are used for this time in seconds; a failure is not kept.
        now: Source of time, read on event loops alone.
    """

    def __init__(self, keep_s: float, now: Callable[[], float]) -> None:
        self._keep_s = keep_s
        self._now = now
        self._look_ups: SingleFlight[list[Address]] = SingleFlight()
        self._kept: dict[str, tuple[float, list[Address]]] = {}

    async def resolve(self, host: str, port: int) -> list[Address]:
        """
        Return the addresses of *host*, in the order in which to try them.

        Raises:
            OSError: It has none, the look-up failed, or this process lacks the means.
            UnicodeError: It cannot be a name.
        """
        for family in (socket.AF_INET, socket.AF_INET6):
            with suppress(OSError):
                socket.inet_pton(family, host)
                return [(family, (host, port))]  # an address needs no look-up and so no thread
        now = self._now()
        until, found = self._kept.get(host, (now, []))
        if until <= now:
            found = await self._look_ups.run(host, partial(self._look_up, host, now))
        return [(family, (address[0], port, *address[2:])) for family, address in found]

    def _look_up(self, host: str, started: float) -> list[Address]:
        begun = _MACHINE.now()  # in this thread the clock, which may be an event loop's, cannot be read
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        found: list[Address] = [(family, address) for family, _, _, _, address in answers]
        # Kept here, so that what comes when all callers have given up still serves the next ones.
        if self._keep_s:
            self._kept[host] = started + (_MACHINE.now() - begun) + self._keep_s, found
        return found
