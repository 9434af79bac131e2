"""Per-call options that travel through the context, so that connectors need no parameter for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TypeVar

from .clock import Clock, SystemClock
from .errors import ConfigError

__all__ = ["CallOptions", "call_options", "current_options", "incoming_deadline"]


_N = TypeVar("_N", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """
    What a caller asks of the calls in a block.

    Attributes:
        deadline_s: Total seconds per call; only shortens the policy's deadline.
        max_attempts: Total tries per call; only lowers the policy's.
        ends_at: Reading of the monotonic clock at which whoever waits for the calls goes away.
    """

    deadline_s: float | None = None
    max_attempts: int | None = None
    ends_at: float | None = None

    def seconds_at(self, now: float) -> float | None:
        """Total seconds that a call starting at clock reading *now* may take; None where nothing bounds it."""
        left_s = None if self.ends_at is None else self.ends_at - now
        return _smaller(self.deadline_s, left_s)


_options: ContextVar[CallOptions] = ContextVar("mozaiks_call_options", default=CallOptions())  # noqa: B039 - frozen


def current_options() -> CallOptions:
    """Options in force here."""
    return _options.get()


@contextmanager
def call_options(*, deadline_s: float | None = None, max_attempts: int | None = None) -> Iterator[None]:
    """
    Apply options to every connector call inside the `with` block, in this task and the tasks it starts.

    An option left out keeps what an outer block asked for; an inner block never loosens an outer one.

    Args:
        deadline_s: Total seconds per call, > 0.
        max_attempts: Total tries per call, >= 1; 1 switches retries off.

    Raises:
        ConfigError: A value is out of bounds.
    """
    found = []
    if deadline_s is not None and (isinstance(deadline_s, bool) or not deadline_s > 0):
        found.append(f"call_options.deadline_s: must be > 0, got {deadline_s!r}")
    if max_attempts is not None and (
        isinstance(max_attempts, bool) or not isinstance(max_attempts, int) or max_attempts < 1
    ):
        found.append(f"call_options.max_attempts: must be a whole number >= 1, got {max_attempts!r}")
    if found:
        raise ConfigError(found)
    outer = _options.get()
    token = _options.set(
        replace(
            outer,
            deadline_s=_smaller(outer.deadline_s, deadline_s),
            max_attempts=_smaller(outer.max_attempts, max_attempts),
        )
    )
    try:
        yield
    finally:
        _options.reset(token)


@contextmanager
def incoming_deadline(seconds: float, *, clock: Clock | None = None) -> Iterator[None]:
    """
    End every connector call inside the `with` block at one point in time, however many there are.

    For what serves a request on behalf of somebody who waits only so long, as `runtime.asgi` does. An inner block never
    extends an outer one.

    Args:
        seconds: Time from now; zero or less refuses the calls.
        clock: Source of time, the connectors' own.
    """
    outer = _options.get()
    ends_at = (clock or SystemClock()).now() + seconds
    token = _options.set(replace(outer, ends_at=_smaller(outer.ends_at, ends_at)))
    try:
        yield
    finally:
        _options.reset(token)


def _smaller(outer: _N | None, inner: _N | None) -> _N | None:
    given = [value for value in (outer, inner) if value is not None]
    return min(given) if given else None
