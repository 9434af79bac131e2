"""Per-call options in a context variable, so that connectors need no parameters for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TypeVar

from ._internal.context_variables import reset
from .clock import Clock, SystemClock
from .errors import ConfigError

__all__ = [
    "NO_OPTIONS",
    "CallOptions",
    "IncomingDeadline",
    "IncomingRequest",
    "call_options",
    "current_correlation_id",
    "current_options",
    "current_request",
    "given_options",
    "incoming_deadline",
    "incoming_deadlines",
    "incoming_request",
]


_N = TypeVar("_N", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """
    Options for the calls in a block.

    Attributes:
        deadline_s: Total seconds per call; can only shorten the deadline of the settings.
        max_attempts: Attempts per call in all; can only lower the number of the settings.
        ends_at: Reading of the monotonic clock after which the results are no longer waited for.
    """

    deadline_s: float | None = None
    max_attempts: int | None = None
    ends_at: float | None = None

    def seconds_at(self, now: float) -> float | None:
        """Total seconds that a call starting at clock reading *now* may take; None for no limit."""
        left_s = None if self.ends_at is None else self.ends_at - now
        return _smaller(self.deadline_s, left_s)


class IncomingDeadline:
    """
    A deadline that came with a request; all tasks of the request share it.

    Attributes:
        ends_at: Reading of the monotonic clock; None once it is lifted.
    """

    __slots__ = ("ends_at",)

    def __init__(self, ends_at: float) -> None:
        self.ends_at: float | None = ends_at

    def lift(self) -> None:
        """End the deadline, for calls that begin from now on, in whichever task: the sender waits no longer."""
        self.ends_at = None


class IncomingRequest:
    """
    A request that the host serves; all tasks of the request share it.

    Attributes:
        correlation_id: Its id, for calls that are given none; empty once it has ended.
    """

    __slots__ = ("correlation_id",)

    def __init__(self, correlation_id: str) -> None:
        self.correlation_id = correlation_id

    @property
    def has_ended(self) -> bool:
        """True from its last byte on."""
        return not self.correlation_id

    def end(self) -> None:
        """End it, for calls that begin from now on, in whichever task: they are no part of it."""
        self.correlation_id = ""


NO_OPTIONS = CallOptions()
"""The options where none are given."""

_options: ContextVar[CallOptions] = ContextVar("mozaiks_call_options", default=NO_OPTIONS)
_incoming: ContextVar[tuple[IncomingDeadline, ...]] = ContextVar("mozaiks_incoming_deadlines", default=())
_request: ContextVar[IncomingRequest | None] = ContextVar("mozaiks_incoming_request", default=None)

current_request = _request.get
"""Return the request that this context serves, which may have ended; None outside of one."""


def current_correlation_id() -> str:
    """Return the correlation id of the request that this context serves; empty outside of one, and after its end."""
    request = current_request()
    return "" if request is None else request.correlation_id


given_options = _options.get
"""Return the options of the innermost `call_options` block; incoming deadlines are not among them."""

incoming_deadlines = _incoming.get
"""Return the incoming deadlines that apply here."""


def current_options() -> CallOptions:
    """Return the options that are in force now."""
    options, incoming = given_options(), incoming_deadlines()
    if not incoming:
        return options
    return replace(options, ends_at=min((one.ends_at for one in incoming if one.ends_at is not None), default=None))


@contextmanager
def call_options(*, deadline_s: float | None = None, max_attempts: int | None = None) -> Iterator[None]:
    """
    Apply options to every connector call inside the `with` block, in this task and the tasks it starts.

    An omitted option keeps the value of the outer block; an inner block never loosens an outer one.

    The options are in a context variable. A framework that runs the two ends of a block in contexts of their own, as
    FastAPI does with a dependency that is `def` and has a `yield`, keeps them from the code between: make that
    dependency `async def`.

    Args:
        deadline_s: Total seconds per call, > 0.
        max_attempts: Attempts per call in all, >= 1; 1 disables retries.

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
        reset(_options, token)


@contextmanager
def incoming_deadline(seconds: float, *, clock: Clock | None = None) -> Iterator[IncomingDeadline]:
    """
    Set one deadline for all connector calls inside the `with` block.

    For the handler of a request whose client waits for a limited time, as in `runtime.asgi`. An inner block never
    extends an outer one.

    Args:
        seconds: Time from now; with zero or less every call fails at once.
        clock: Source of time, the same as the connectors'.

    Returns:
        A context manager of the deadline, which can be lifted before the block ends.
    """
    deadline = IncomingDeadline((clock or SystemClock()).now() + seconds)
    token = _incoming.set((*_incoming.get(), deadline))
    try:
        yield deadline
    finally:
        reset(_incoming, token)


@contextmanager
def incoming_request(correlation_id: str) -> Iterator[IncomingRequest]:
    """
    Give all connector calls inside the `with` block the id of one request, where they are given none of their own.

    For the handler of a request, as in `runtime.asgi`. It ends with the block, also for tasks that outlive the block;
    those never use the id of an outer one.

    Args:
        correlation_id: 1 to 128 visible ASCII characters.

    Returns:
        A context manager of the request, which can be ended before the block is.
    """
    request = IncomingRequest(correlation_id)
    token = _request.set(request)
    try:
        yield request
    finally:
        request.end()
        reset(_request, token)


def _smaller(outer: _N | None, inner: _N | None) -> _N | None:
    given = [value for value in (outer, inner) if value is not None]
    return min(given) if given else None
