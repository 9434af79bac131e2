"""The stack: which layers, in which order, and why. It is composed once per snapshot of the settings."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import compress
from random import Random
from types import MappingProxyType
from typing import Any, Protocol, Self

from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider, TracerProvider

from middleware.policies.admission import CallCapMiddleware, CallCapSettings, PacingMiddleware
from middleware.policies.bulkhead import BulkheadMiddleware, BulkheadSettings
from middleware.policies.circuit_breaker import CircuitBreakerMiddleware, CircuitBreakers, CircuitBreakerSettings
from middleware.policies.deadline import (
    AttemptTimeoutMiddleware,
    AttemptTimeoutSettings,
    DeadlineMiddleware,
    DeadlineSettings,
)
from middleware.policies.hedging import HedgingMiddleware, HedgingSettings
from middleware.policies.quota import QuotaMiddleware, QuotaSettings, limiter_of
from middleware.policies.rate_limit import RateLimitMiddleware, RateLimitSettings
from middleware.policies.retry import RetryMiddleware, RetryPolicy, RetrySettings
from middleware.policies.retry_budget import RetryBudget, RetryBudgetSettings
from middleware.policies.way import way_to
from middleware.request.auth import AuthMiddleware
from middleware.request.correlation import CorrelationMiddleware, CorrelationSettings
from middleware.request.decode import DecodeMiddleware
from middleware.request.encode import EncodeMiddleware, PathSettings
from middleware.request.error_boundary import ErrorBoundaryMiddleware
from middleware.request.idempotency import IdempotencySettings
from middleware.telemetry.logs import LogListener
from middleware.telemetry.metrics import MetricsListener
from middleware.telemetry.recording import AttemptRecordingMiddleware, CallRecordingMiddleware
from middleware.telemetry.tracing import SafeTracer, SpanListener, current_ids
from middleware.transports.registry import TransportSettings

from .clock import Clock
from .events import FanOut, Listener
from .host_layers import HostLayerMiddleware, HostLayers
from .policies.watched_attempts import WatchedAttempts
from .settings import Settings, SettingsLookup, hash_of, lookup_in, settings_of
from .steps import Step, in_one
from .types import Call, Handler, Middleware, OptInLayer, PlatformRequest, PlatformResponse, StackState, Transport

__all__ = [
    "FixedSettings",
    "SettingsChange",
    "SettingsSource",
    "Stack",
    "StackSettings",
    "Telemetry",
    "build_stack",
    "compose",
]


_MOST_SNAPSHOTS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSettings:
    """
    Settings of one service's stack, one dataclass per policy; each is declared in the file of its policy.

    Attributes:
        by_type: The settings of each policy by their class.
        settings_hash: Hash of the snapshot that these settings are of, made once with it; empty where none was made.
    """

    deadline: DeadlineSettings = field(default_factory=DeadlineSettings)
    calls: CallCapSettings = field(default_factory=CallCapSettings)
    idempotency: IdempotencySettings = field(default_factory=IdempotencySettings)
    retry: RetrySettings = field(default_factory=RetrySettings)
    hedging: HedgingSettings = field(default_factory=HedgingSettings)
    budget: RetryBudgetSettings = field(default_factory=RetryBudgetSettings)
    bulkhead: BulkheadSettings = field(default_factory=BulkheadSettings)
    rate_limit: RateLimitSettings = field(default_factory=RateLimitSettings)
    quota: QuotaSettings = field(default_factory=QuotaSettings)
    circuit_breaker: CircuitBreakerSettings = field(default_factory=CircuitBreakerSettings)
    attempt: AttemptTimeoutSettings = field(default_factory=AttemptTimeoutSettings)
    correlation: CorrelationSettings = field(default_factory=CorrelationSettings)
    path: PathSettings = field(default_factory=PathSettings)
    transport: TransportSettings = field(default_factory=TransportSettings)
    by_type: Mapping[type[Settings], Settings] = field(init=False, repr=False, compare=False)
    lookup: SettingsLookup = field(init=False, repr=False, compare=False)
    settings_hash: str = field(init=False, default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        sections = [getattr(self, section.name) for section in fields(self) if section.init]
        object.__setattr__(self, "by_type", MappingProxyType({type(section): section for section in sections}))
        object.__setattr__(self, "lookup", lookup_in(self.by_type))

    def values(self) -> dict[str, Any]:
        """Return every value by its name, `section.field`."""
        sections = ((section.name, getattr(self, section.name)) for section in fields(self) if section.init)
        return {
            f"{name}.{setting.name}": getattr(section, setting.name)
            for name, section in sections
            for setting in settings_of(type(section))  # type: ignore[arg-type] # mypy takes no type for hashable
        }

    def with_hash(self, settings_hash: str) -> Self:
        """Return these settings with the hash of the snapshot that they are of."""
        hashed = replace(self)
        object.__setattr__(hashed, "settings_hash", settings_hash)
        return hashed


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsChange:
    """
    Result of a check for changed settings; each change is reported once.

    Attributes:
        changes: One line per changed value; empty when the new settings were rejected.
        problems: Why they were rejected; empty when they are in force.
        scopes: For what values were changed: `all services`, services, operations as `service.operation`.
        shadowed: One line per value of the file that a stronger source overrides.
        contradictions: Values in force that contradict each other and did not before; one line each.
        hashes: Hash of the settings in force, by service.
        policy: The settings in force: the values for all services, and those given for a service or an operation.
    """

    changes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    shadowed: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)


class SettingsSource(Protocol):
    """Where a client gets the settings in force from; read at the start of every call."""

    def of(self, service: str, operation: str = "") -> StackSettings:
        """Return the settings in force for an operation, or for the whole service: always a complete snapshot."""
        ...

    def poll(self, now: float) -> SettingsChange | None:
        """Check for changed settings at clock reading *now*; cheap, and None while nothing has changed."""
        ...


@dataclass(frozen=True, slots=True)
class FixedSettings:
    """One set of settings for all operations, which never changes."""

    config: StackSettings

    def __post_init__(self) -> None:
        if not self.config.settings_hash:  # made once, by the first client that has them
            object.__setattr__(self.config, "settings_hash", hash_of(self.config.values().items()))

    def of(self, _service: str, _operation: str = "") -> StackSettings:
        """Return the settings."""
        return self.config

    def poll(self, _now: float) -> SettingsChange | None:
        """Return None: these settings never change."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """
    Where spans, metrics and events go; a provider that is not given is OpenTelemetry's global one.

    Attributes:
        tracer_provider: Source of tracers.
        meter_provider: Source of meters.
        listener: Receives every event, after spans, metrics and logs.
        silent: Make no spans, metrics or log lines, whatever the host has set up, so that *listener* alone receives
            events: for simulations.
    """

    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    listener: Listener | None = None
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Stack:
    """
    The layers of one client, and what composes them for each call.

    Attributes:
        handle: Runs a call through the layers that its settings need.
        layers: Outermost first; those that are off by the settings too.
        events: Dispatches events to listeners, and counts those that a listener failed on.
        state: Returns the present state; cheap enough to be called at every export of metrics.
        aclose: Ends the attempts that go on after their calls, and closes the connections of the policies.
        request_close: Does so without waiting, from any thread.
        anew: Makes a stack like this one with a state of its own, which replaces this one: for a process made by fork.
    """

    handle: Handler
    layers: tuple[Middleware, ...]
    events: FanOut
    state: Callable[[], StackState]
    aclose: Callable[[], Awaitable[None]]
    request_close: Callable[[], None]
    anew: "Callable[[], Stack]"

    def describe(self) -> list[str]:
        """Names of the layers, outermost first: of their classes, and of the host's own functions."""
        return [layer.name if isinstance(layer, HostLayerMiddleware) else type(layer).__name__ for layer in self.layers]


def compose(layers: Sequence[Middleware], terminal: Handler) -> Handler:
    """
    Fold *layers* around *terminal*; `layers[0]` is outermost.

    Neighbours that are a `Step` run in one coroutine.
    """
    handler, steps = terminal, list[Step]()
    for layer in reversed(layers):
        if isinstance(layer, Step):
            steps.insert(0, layer)
            continue
        handler = _bind(layer, in_one(steps, handler) if steps else handler)
        steps = []
    return in_one(steps, handler) if steps else handler


def _per_snapshot(layers: Sequence[Middleware], terminal: Handler) -> Handler:
    """
    Find the layers that a call's settings need, once for each snapshot of the settings, and compose them.

    What is off by those settings is no part of the result. Snapshots that need the same layers share what is composed:
    else each reload would leave hundreds of objects behind, until `_MOST_SNAPSHOTS`.
    """
    known: dict[int, tuple[Mapping[type[Settings], Settings], Handler]] = {}
    composed: dict[tuple[bool, ...], Handler] = {}

    def handle(request: PlatformRequest) -> Awaitable[PlatformResponse]:
        snapshot = request.call.snapshot
        found = known.get(id(snapshot))
        if found is None:
            settings = request.call.settings
            needs = tuple(not isinstance(layer, OptInLayer) or layer.is_needed(settings) for layer in layers)
            if needs not in composed:
                composed[needs] = compose(list(compress(layers, needs)), terminal)
            if len(known) >= _MOST_SNAPSHOTS:
                known.clear()  # of settings that were reloaded
            found = known[id(snapshot)] = snapshot, composed[needs]  # refers to it, so that the id stays its
        return found[1](request)

    return handle


def _bind(layer: Middleware, call_next: Handler) -> Handler:
    call = layer.__call__

    def handle(request: PlatformRequest) -> Awaitable[PlatformResponse]:
        return call(request, call_next)  # not async: no extra frame, clean tracebacks

    return handle


def build_stack(
    *,
    service: str,
    base_url: str,
    policies: SettingsSource,
    middleware: HostLayers,
    transport: Transport,
    clock: Clock,
    random: Random | None,
    telemetry: Telemetry,
    version: str,
) -> Stack:
    """
    Build the stack of one service: its layers, the state of its policies and its terminal.

    Args:
        service: Name of the service.
        base_url: Comes before the target of each request.
        policies: Source of the settings.
        middleware: Layers of the host's own.
        transport: Sends the attempts.
        clock: Source of time.
        random: Source of jitter; None makes one for each process.
        telemetry: Receives spans, metrics and events.
        version: Version of the instrumentation scope.
    """
    if telemetry.silent:
        telemetry = replace(telemetry, tracer_provider=NoOpTracerProvider(), meter_provider=NoOpMeterProvider())
    tracer = SafeTracer(telemetry.tracer_provider, version)
    metrics = MetricsListener(telemetry.meter_provider, version, service=service, base_url=base_url)
    listeners: list[Callable[[Any], None]] = []
    if not telemetry.silent:
        listeners += [SpanListener(tracer), metrics, LogListener(current_ids)]
    if telemetry.listener is not None:
        listeners.append(telemetry.listener)

    def make() -> Stack:
        return _with_state(
            service=service,
            base_url=base_url,
            policies=policies,
            middleware=middleware,
            transport=transport,
            clock=clock,
            random=random or Random(),  # noqa: S311 - jitter, not cryptography
            tracer=tracer,
            metrics=metrics,
            listeners=listeners,
            anew=make,
        )

    return make()


def _with_state(
    *,
    service: str,
    base_url: str,
    policies: SettingsSource,
    middleware: HostLayers,
    transport: Transport,
    clock: Clock,
    random: Random,
    tracer: SafeTracer,
    metrics: MetricsListener,
    listeners: Sequence[Callable[[Any], None]],
    anew: Callable[[], Stack],
) -> Stack:
    """Make what has a state: all but what reports it."""
    emit = FanOut(listeners)
    breakers, budget = CircuitBreakers(service, random), RetryBudget()
    breaker = CircuitBreakerMiddleware(
        breakers,
        clock,
        emit,
        _attempt_timeout_s,
        lambda: policies.of(service).attempt.timeout_s,
        note_failure=way_to(base_url, clock).note,
    )
    rate_limit = RateLimitMiddleware(clock, emit)
    quota = QuotaMiddleware(clock, emit, random, limiter_of(policies.of(service).quota), _longest_retry_after_s)
    bulkhead = BulkheadMiddleware(clock, emit, breaker.reject_if_open, rate_limit.apply, _attempt_timeout_s)
    watched = WatchedAttempts(clock)
    call_cap = CallCapMiddleware(emit)
    retry = RetryMiddleware(RetryPolicy(random), budget, clock, emit, breaker.is_open)

    def hedge_rejection(request: PlatformRequest) -> str:
        call = request.call
        if call.attempts_scheduled >= call.attempts_allowed:  # R19
            return "max_attempts"
        if not breaker.is_closed(request):  # R19
            return "circuit_open"
        if not bulkhead.has_room(request):  # R19
            return "bulkhead"
        return "" if retry.try_withdraw(call) else "budget"  # R19: last, because checking withdraws

    layers: list[Middleware] = [
        ErrorBoundaryMiddleware(clock),  # outermost: converts unexpected exceptions to ours, adds the `Outcome`
        PacingMiddleware(call_cap.reserve, call_cap.release),  # before all other work, which it spreads
        CorrelationMiddleware(emit),  # one correlation id for all layers below
        CallRecordingMiddleware(clock, emit, tracer),  # one span per call: sees the final result
        DeadlineMiddleware(clock, emit),  # bounds queueing, backoff and attempts together
        call_cap,  # above the retry: counts calls in backoff; inside the span: a rejection is traced and logged
        EncodeMiddleware(),  # above the retry: same bytes and same key for every attempt
        # Once per call and not per attempt; after the encoding, so that a cache or a quota sees checked arguments and
        # the target; inside the span and the deadline, so that both cover the host's own work. Around them a response
        # that one of them makes is decoded as the platform's are.
        *([DecodeMiddleware()] if middleware.call else []),
        *[HostLayerMiddleware(layer, per_attempt=False) for layer in middleware.call],
        retry,  # the layers below run once per attempt
        # inside the retry, which sees one result per round
        HedgingMiddleware(clock, emit, hedge_rejection, retry.refund),
        bulkhead,  # inside the retry: a call in backoff has no permit
        rate_limit,  # inside the retry: limits retries and hedges too
        quota,  # as the rate limit, and after it: what waits for this process alone reserves no slot of all of them
        breaker,  # sees, and may reject, each attempt; after the queues: a wait does not age a probe's permit
        AttemptRecordingMiddleware(clock, emit, tracer, base_url),  # one span, one record per attempt that is sent
        AttemptTimeoutMiddleware(clock, watched),  # after the queues: their time does not count; covers decoding
        AuthMiddleware(),  # per attempt: a credential may be rotated during backoff
        DecodeMiddleware(),  # inside the attempt: a body that cannot be decoded fails it
        # Innermost: a signature covers what goes on the wire, credentials included, anew for each attempt.
        *[HostLayerMiddleware(layer, per_attempt=True) for layer in middleware.attempt],
    ]

    def terminal(request: PlatformRequest) -> Awaitable[PlatformResponse]:
        return transport.send(request, base_url + request.target)

    def state() -> StackState:
        attempts_in_flight, attempts_queued = bulkhead.load()
        config = policies.of(service)
        return StackState(
            calls_in_flight=call_cap.in_flight,
            attempts_in_flight=attempts_in_flight,
            attempts_queued=attempts_queued,
            attempts_limit=bulkhead.limit() or config.bulkhead.permits,  # the first attempt sizes it
            breakers={one.name: one.shown_state(config.circuit_breaker) for one in breakers.all()},
            budget_balance=budget.balance(clock.now(), config.budget),
            settings_hash=config.settings_hash,
        )

    metrics.observe(state, lambda: {"event": emit.dropped, "span": tracer.dropped})

    async def aclose() -> None:
        watched.close()
        await quota.aclose()

    def request_close() -> None:
        watched.close()
        quota.request_close()

    return Stack(_per_snapshot(layers, terminal), tuple(layers), emit, state, aclose, request_close, anew)


def _attempt_timeout_s(call: Call) -> float:
    return call.settings(AttemptTimeoutSettings).timeout_s


def _longest_retry_after_s(call: Call) -> float:
    return call.settings(RetrySettings).retry_after_max_s
