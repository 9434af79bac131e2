"""
Core types: request, response, the state of a call and of an attempt, and the protocols of layers and transports.

The one interface of a layer is `async (request, call_next) -> response`: call `call_next` zero times (reject), once
(observe) or many times (retry); never store it. A layer instance serves concurrent calls, so per-call state lives in
`request.call` and nowhere else.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

from ._internal.frozen import maker
from ._internal.moved import renamed_member
from .errors import CallError
from .records import AnsweredBy, AttemptRecord, CallInfo, Outcome, RequestSent, StopReason, most
from .settings import Settings, SettingsLookup, lookup_in

__all__ = [
    "IDEMPOTENCY_HEADER",
    "KEYED_METHODS",
    "LONGEST_ID",
    "SAFE_METHODS",
    "TIME_LEFT_HEADER",
    "Attempt",
    "Call",
    "CallState",
    "Handler",
    "Middleware",
    "NoContent",
    "OptInLayer",
    "PlatformRequest",
    "PlatformResponse",
    "StackState",
    "Transport",
]

IDEMPOTENCY_HEADER = "idempotency-key"
"""Set above the retry where the service honours it; a request that has it may be repeated."""

LONGEST_ID = 128
"""Characters that are kept of an id from outside."""

TIME_LEFT_HEADER = "x-request-timeout-ms"
"""Milliseconds for which the client waits; sent with `attempt.announce`, read from incoming requests."""

KEYED_METHODS = frozenset({"POST", "PATCH", "DELETE"})
"""Methods that carry an idempotency key where the service honours one."""


SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110 section 9.2.1); TRACE is not used."""

_ROUNDING_S = 1e-6

_new_outcome = maker(Outcome)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """
    State of one service's stack at one moment, for metrics and health checks.

    Attributes:
        calls_in_flight: Calls that have started and not ended, waiting ones included.
        attempts_in_flight: Attempts with a permit of the bulkhead, all event loops together.
        attempts_queued: Attempts that wait for a permit.
        attempts_limit: Attempts that the bulkhead allows at a time now, all event loops together.
        breakers: State of each circuit breaker by its name.
        budget_balance: Retries that the budget still allows; None when it is off.
        settings_hash: Hash of the settings in force; empty where their source makes none.
    """

    calls_in_flight: int
    attempts_in_flight: int
    attempts_queued: int
    breakers: Mapping[str, str]
    budget_balance: float | None
    attempts_limit: int = 0
    settings_hash: str = ""


@dataclass(slots=True, kw_only=True, eq=False)
class Attempt:
    """
    State of one attempt; concurrent attempts of one call do not share it.

    Attributes:
        delay_s: Backoff slept before it.
        is_hedge: Started while another attempt is in flight; it never queues.
        request_sent: Whether the server got it; the transport keeps it current.
        status: HTTP status, set by the transport once the head of a response is read, whether or not the body follows.
        started_at: Clock reading at its start, when all guards have let it through; infinite before.
        timed_out: The attempt timeout has ended it.
        timeout_s: The attempt timeout, for the transport's own timeouts, a backstop; None means no limit.
        ends_at: Clock reading at which the attempt timeout or the call's deadline ends it, whichever comes first.
        on_start: Called when all guards have let it through and it starts; a rejected attempt never starts.
        on_late_end: Set for a watched attempt, which goes on when the deadline ends its call: called when it ends, with
            its error or with None for a success.
        goes_on: The call has ended, and this attempt goes on.
        platform_correlation_id: The id of the response, where it differs from the one that was sent; safe to show.
        is_short_circuited: A layer of the host made the response, so it says nothing about the service.
        lost_race: Another attempt of its round decided, so this one is cancelled.
    """

    delay_s: float = 0.0
    is_hedge: bool = False
    request_sent: RequestSent = "no"
    status: int | None = None
    started_at: float = float("inf")
    timed_out: bool = False
    timeout_s: float | None = None
    ends_at: float = float("inf")
    on_start: Callable[[], None] | None = None
    on_late_end: Callable[[BaseException | None], None] | None = None
    goes_on: bool = False
    platform_correlation_id: str = ""
    is_short_circuited: bool = False
    lost_race: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """
    State of one call, shared by all layers and attempts of that call alone.

    Attributes:
        info: What the call is.
        started_at: Clock reading at the start.
        snapshot: Settings in force for this call, by their class; a reload does not change them.
        settings_hash: Hash of the snapshot; empty where the source of the settings makes none.
        correlation_id_replaced: True when the caller's own id could not be sent.
        deadline_s: Deadline asked for by the caller in seconds; it can only shorten the configured one.
        max_attempts: Attempts that the call may make, hedges included.
        max_refused: Refused connections that end the call; with 0 they count towards `max_attempts` as all others.
        deadline_at: Clock reading at which the whole call ends; set by the deadline layer.
        attempts_scheduled: Attempts decided so far, hedges included; some may still wait for a permit.
        attempts_sent: Attempts started on the wire so far.
        attempts_refused: Those whose connection was refused, or that a gateway without its routes responded to; they do
            not count towards `max_attempts`.
        timeline: Records of the attempts that have ended.
        failures: Errors of the attempts so far; cleared at the end of the call, since they refer to it.
        stop_reason: Why no further attempt is made; set by the retry layer.
        stop_detail: The limit behind it, for people.
        circuit_state: State of the circuit breaker when it was last checked.
        already_deleted: A DELETE found nothing left to delete, after an attempt that may have done it.
        keyed: Its attempts have an idempotency key that the service honours; set by the encoding layer.
        pieces_read: Number of pieces of responses, heads included, that its attempts have read so far.
        layer_state: Values of the host's layers for this call, by their `CallState`; None until one stores a value.
        settings: Returns the settings of one policy in force for this call; its defaults where nothing is set.
    """

    info: CallInfo
    started_at: float
    snapshot: Mapping[type[Settings], Settings] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    settings_hash: str = ""
    correlation_id_replaced: bool = False
    deadline_s: float | None = None
    max_attempts: int = 1
    max_refused: int = 0
    deadline_at: float = float("inf")
    attempts_scheduled: int = 0
    attempts_sent: int = 0
    attempts_refused: int = 0
    timeline: list[AttemptRecord] = field(default_factory=list)
    failures: "list[CallError]" = field(default_factory=list, repr=False)
    stop_reason: StopReason = ""
    stop_detail: str = ""
    circuit_state: str = ""
    already_deleted: bool = False
    keyed: bool = False
    pieces_read: int = 0
    layer_state: "dict[CallState[Any], Any] | None" = field(default=None, repr=False)
    settings: SettingsLookup = field(default=None, repr=False)  # type: ignore[assignment] # set by `__post_init__`

    def __post_init__(self) -> None:
        if self.settings is None:
            self.settings = lookup_in(self.snapshot)

    # Old names, for one release.
    attempts = renamed_member("attempts", "attempts_sent")
    policy = renamed_member("policy", "snapshot")
    tries = renamed_member("tries", "attempts_scheduled")

    @property
    def attempts_allowed(self) -> int:
        """Attempts that the call may make in all, by what is known so far."""
        if 0 < self.max_refused <= self.attempts_refused:  # R20
            return self.attempts_scheduled
        return self.max_attempts + self.attempts_refused  # R20

    def is_over(self, now: float) -> bool:
        """Return whether the deadline has passed; a timer may fire early by a rounding error."""
        return now >= self.deadline_at - _ROUNDING_S

    def note_failure(self, error: CallError) -> None:
        """Add the error of an attempt to `failures`; once, though several layers see it."""
        if all(noted is not error for noted in self.failures):
            self.failures.append(error)

    @property
    def most_sent(self) -> RequestSent:
        """The most that any ended attempt of this call reached."""
        return most(record.request_sent for record in self.timeline)

    def outcome(self, now: float, *, answered_by: AnsweredBy = "") -> Outcome:
        """Return the record of this call at clock reading *now*; *answered_by*: who sent its error response."""
        return _new_outcome(
            call=self.info,
            attempts=self.attempts_sent,
            elapsed_s=max(0.0, now - self.started_at),
            timeline=tuple(self.timeline),
            stop_reason=self.stop_reason,
            request_sent=self.timeline[0].request_sent if len(self.timeline) == 1 else self.most_sent,
            circuit_state=self.circuit_state,
            already_deleted=self.already_deleted,
            keyed=self.keyed,
            stop_detail=self.stop_detail,
            answered_by=answered_by,
        )


class CallState(Generic[_T]):
    """
    A layer's own state of each call: made when the call's layers first ask for it, dropped with the call.

    Made once per layer, as a `contextvars.ContextVar` is. Attempts of one call share the value, calls never do.

        class Timing:
            def __init__(self) -> None:
                self._starts = CallState[list[float]](list)

            async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
                self._starts.of(request.call).append(time.monotonic())
                return await call_next(request)

    Args:
        make: Makes the value of a call.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make

    def of(self, call: Call) -> _T:
        """Return the value of *call*."""
        if call.layer_state is None:
            call.layer_state = {}
        if self not in call.layer_state:
            call.layer_state[self] = self._make()
        value: _T = call.layer_state[self]
        return value


@dataclass(slots=True, kw_only=True, eq=False)
class PlatformRequest:
    """
    One request on its way to the transport. Each layer sets its own fields; the retry makes a copy for each attempt.

    Attributes:
        call: The call this request belongs to.
        attempt: State of the attempt; above the retry a placeholder that is never sent.
        method: HTTP method, upper case.
        path: Path template, or a path filled by hand.
        path_params: Values for the template's placeholders.
        params: Query values; None values are left out, lists repeat the key.
        json_body: JSON-ready body; None sends none.
        user_jwt: The caller's token, sent as Bearer.
        app_key: The application's key, sent as X-Mozaiks-App-Key.
        decode: Converts the parsed document to the result; runs inside the attempt.
        decimals: Whether numbers with a fraction are read as Decimal.
        problem: What is wrong with the caller's arguments; nothing is sent then.
        target: Encoded path and query, set once above the retry.
        content: Encoded body, set once above the retry: the same bytes on every attempt.
        headers: Headers set so far, names in lower case.
        check_head: Called with this request and the headers of a response before its body is read; raises a `CallError`
            where the response is not one to this request, and its connection is then not used again.
    """

    call: Call
    attempt: Attempt = field(default_factory=Attempt)
    method: str
    path: str
    path_params: Mapping[str, Any] | None = field(default=None, repr=False)
    params: Mapping[str, Any] | None = field(default=None, repr=False)
    json_body: Any = field(default=None, repr=False)
    user_jwt: str | None = field(default=None, repr=False)
    app_key: str | None = field(default=None, repr=False)
    decode: Callable[[Any], Any] | None = field(default=None, repr=False)
    decimals: bool = False
    problem: str = ""
    target: str = field(default="", repr=False)
    content: bytes | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    check_head: Callable[["PlatformRequest", Mapping[str, str]], None] | None = field(default=None, repr=False)

    @property
    def is_repeatable(self) -> bool:
        """True when the request may be sent again: it is idempotent, or has a key that the service honours."""
        return self.call.info.idempotent or IDEMPOTENCY_HEADER in self.headers  # R11

    def for_attempt(self, attempt: Attempt) -> "PlatformRequest":
        """Return a copy for one attempt, with its own headers."""
        copied = object.__new__(PlatformRequest)  # a quarter of the cost of sixteen keyword arguments
        copied.call = self.call
        copied.attempt = attempt
        copied.method = self.method
        copied.path = self.path
        copied.path_params = self.path_params
        copied.params = self.params
        copied.json_body = self.json_body
        copied.user_jwt = self.user_jwt
        copied.app_key = self.app_key
        copied.decode = self.decode
        copied.decimals = self.decimals
        copied.problem = self.problem
        copied.target = self.target
        copied.content = self.content
        copied.headers = dict(self.headers)
        copied.check_head = self.check_head
        return copied


@dataclass(slots=True, kw_only=True)
class PlatformResponse:
    """
    A 2xx response.

    Attributes:
        status: HTTP status, 200-299.
        headers: Response headers, names in lower case; repeated ones joined by a comma.
        body: Decompressed body.
        data: The decoded result: what `decode` made of the JSON, or the JSON itself; `{}` for an empty body. None until
            then: a layer that makes a response of its own gives `body`, and the stack decodes it.
        correlation_id: Id that the server echoed, else the one that was sent.
        outcome: Record of the whole call; set by the outermost layer.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    data: Any = field(default=None, repr=False)
    correlation_id: str = ""
    outcome: Outcome | None = None

    @property
    def platform_correlation_id(self) -> str:
        """As `Outcome.platform_correlation_id`."""
        return self.outcome.platform_correlation_id if self.outcome else ""

    @property
    def location(self) -> str | None:
        """Value of the Location header, as a 201 carries it."""
        return self.headers.get("location")


class NoContent(dict[str, Any]):
    """
    The document of a response whose status says that there is none (204, 205): an empty object.

    An empty body of any other status may be what is left of a response that was lost on its way.
    """


Handler: TypeAlias = Callable[[PlatformRequest], Awaitable[PlatformResponse]]


class Middleware(Protocol):
    """One layer of the stack: a function or an object, safe for concurrent calls."""

    async def __call__(self, request: PlatformRequest, call_next: Handler, /) -> PlatformResponse:
        """Handle *request*, with `call_next` as the rest of the stack."""
        ...


@runtime_checkable
class OptInLayer(Protocol):
    """A layer that is no part of the stack of a call whose settings have it off."""

    def is_needed(self, settings: SettingsLookup, /) -> bool:
        """Return whether *settings* have it on."""
        ...


class Transport(Protocol):
    """The end of the stack: sends one attempt on the wire."""

    async def send(self, request: PlatformRequest, url: str) -> PlatformResponse:
        """
        Send *request* to *url* once and read the whole response.

        Keeps `request.attempt.request_sent` current, and sets `request.attempt.status` once a response head is read.

        The headers of every response, whatever its status, are passed to `request.check_head` before the body is read;
        when that raises, the connection is aborted.

        Raises:
            CallError: Any failure, translated, with the phase in which it happened.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections; idempotent."""
        ...
