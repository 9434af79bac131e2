"""
The connections of one event loop between two attempts: which one the next attempt takes, and how they end.

Connections are aborted a few per iteration of the event loop: when many attempts are cancelled in the same moment, as
by one deadline, their callers get their errors first.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Generic, Protocol, TypeVar

from .keep_alive import idle_limit_s

__all__ = ["IdleConnections", "KeptConnection"]

_ABORTS_PER_ITERATION = 16  # each takes 10 µs, and ten times that over TLS


class KeptConnection(Protocol):
    """
    A connection that can carry one request after another.

    Attributes:
        ends_at: Clock reading from which on it must not be used again.
        idle_since: Clock reading of its last response's end.
        idle_limit_s: For how long the server lets it be idle.
        is_new: It has carried no request yet.
    """

    ends_at: float
    idle_since: float
    idle_limit_s: float
    is_new: bool

    @property
    def is_reusable(self) -> bool:
        """True after a response that ended cleanly."""
        ...

    @property
    def is_stale(self) -> bool:
        """True when it cannot be used: the peer closed it, or sent bytes that belong to no request."""
        ...

    def abort(self) -> None:
        """Close now, without waiting for the peer or for unsent data; idempotent."""
        ...


_C = TypeVar("_C", bound=KeptConnection)
_Origin = TypeVar("_Origin")


class IdleConnections(Generic[_Origin, _C]):
    """
    Idle connections of one event loop, by origin; the one used last is taken first.

    Args:
        expiry_s: Connections idle for longer are closed.
        now: Source of time.
    """

    def __init__(self, expiry_s: float, now: Callable[[], float]) -> None:
        self._expiry_s = expiry_s
        self._now = now
        self._stacks: dict[_Origin, list[_C]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._aborting: deque[_C] = deque()
        self._aborted = 0  # in this iteration of the event loop

    def take(self, origin: _Origin, longest_s: float) -> _C | None:
        """Pop a connection that can be used and has been idle for at most *longest_s*; None if there is none."""
        stack = self._stacks.get(origin)
        if not stack:
            return None
        now = self._now()
        oldest = now - min(longest_s, self._expiry_s)
        while stack and stack[-1].idle_since >= oldest:
            connection = stack.pop()
            is_fresh = now < connection.ends_at and now - connection.idle_since <= connection.idle_limit_s
            if is_fresh and not connection.is_stale:
                return connection
            connection.abort()
        return None

    def put(self, origin: _Origin, connection: _C, headers: Mapping[str, str]) -> None:
        """Push *connection*, whose last response had *headers*, unless it cannot be reused."""
        usable = False
        try:
            usable = not self._closed and connection.is_reusable
        finally:
            if not usable:
                connection.abort()
        if not usable:
            return
        connection.idle_since, connection.is_new = self._now(), False
        connection.idle_limit_s = idle_limit_s(headers, self._expiry_s)
        stack = self._stacks.get(origin)
        if stack is None:
            stack = self._stacks[origin] = []
        stack.append(connection)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._expiry_s, self._expire, context=Context())

    def discard(self, connection: _C) -> None:
        """Abort *connection*, which an attempt gives up: now, or after others in one of the loop's next iterations."""
        if not self._aborted:
            try:
                self._schedule()
            except RuntimeError:  # the attempt is collected, after its event loop was closed
                connection.abort()
                return
        elif self._aborted >= _ABORTS_PER_ITERATION:
            self._aborting.append(connection)
            return
        self._aborted += 1
        connection.abort()

    def _schedule(self) -> None:
        asyncio.get_running_loop().call_soon(self._abort_some, context=Context())

    def _abort_some(self) -> None:
        self._aborted = min(len(self._aborting), _ABORTS_PER_ITERATION)
        for _ in range(self._aborted):
            self._aborting.popleft().abort()
        if self._aborted:
            self._schedule()

    def _expire(self) -> None:
        """Close what has been idle for too long; runs again as long as something is idle."""
        oldest = self._now() - self._expiry_s
        for origin, stack in list(self._stacks.items()):
            while stack and stack[0].idle_since <= oldest:
                stack.pop(0).abort()
            if not stack:
                del self._stacks[origin]
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._expiry_s, self._expire, context=Context()) if self._stacks else None

    def close(self) -> None:
        """Close all idle connections now, and busy ones when their attempt ends."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for stack in self._stacks.values():
            for connection in stack:
                connection.abort()
        self._stacks.clear()  # equivalent: aborted connections are stale, so they are not reused
        while self._aborting:
            self._aborting.popleft().abort()
