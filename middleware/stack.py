"""The stack: which layers, in which order, and why. Composed once per client, at construction."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from random import Random
from types import MappingProxyType
from typing import Any, Protocol

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from middleware.policies.bulkhead import BulkheadMiddleware, BulkheadSettings
from middleware.policies.call_cap import CallCapMiddleware, CallCapSettings
from middleware.policies.circuit_breaker import CircuitBreakerMiddleware, CircuitBreakers, CircuitBreakerSettings
from middleware.policies.deadline import (
    AttemptTimeoutMiddleware,
    AttemptTimeoutSettings,
    DeadlineMiddleware,
    DeadlineSettings,
)
from middleware.policies.hedging import HedgingMiddleware, HedgingSettings
from middleware.policies.pacing import PacingMiddleware
from middleware.policies.rate_limit import RateLimitMiddleware, RateLimitSettings
from middleware.policies.retry import RetryBudget, RetryBudgetSettings, RetryMiddleware, RetryPolicy, RetrySettings
from middleware.request.auth import AuthMiddleware
from middleware.request.correlation import CorrelationMiddleware, CorrelationSettings
from middleware.request.decode import DecodeMiddleware
from middleware.request.encode import EncodeMiddleware
from middleware.request.idempotency import IdempotencySettings
from middleware.telemetry.logs import LogListener
from middleware.telemetry.metrics import MetricsListener
from middleware.telemetry.recording import AttemptRecordMiddleware, CallRecordMiddleware, OutcomeMiddleware
from middleware.telemetry.tracing import (
    AttemptTracingMiddleware,
    CallTracingMiddleware,
    SafeTracer,
    SpanListener,
    current_ids,
)
from middleware.transports.registry import TransportSettings

from .clock import Clock
from .events import FanOut, Listener
from .policies.watched_attempts import WatchedAttempts
from .settings import Settings
from .types import Call, Handler, Middleware, PlatformRequest, PlatformResponse, StackState, Transport

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


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSettings:
    """Settings of one service's stack, one dataclass per policy; each is declared beside its policy."""

    deadline: DeadlineSettings = field(default_factory=DeadlineSettings)
    calls: CallCapSettings = field(default_factory=CallCapSettings)
    idempotency: IdempotencySettings = field(default_factory=IdempotencySettings)
    retry: RetrySettings = field(default_factory=RetrySettings)
    hedging: HedgingSettings = field(default_factory=HedgingSettings)
    budget: RetryBudgetSettings = field(default_factory=RetryBudgetSettings)
    bulkhead: BulkheadSettings = field(default_factory=BulkheadSettings)
    rate_limit: RateLimitSettings = field(default_factory=RateLimitSettings)
    circuit_breaker: CircuitBreakerSettings = field(default_factory=CircuitBreakerSettings)
    attempt: AttemptTimeoutSettings = field(default_factory=AttemptTimeoutSettings)
    correlation: CorrelationSettings = field(default_factory=CorrelationSettings)
    transport: TransportSettings = field(default_factory=TransportSettings)
    by_type: Mapping[type[Settings], Settings] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sections = [getattr(self, section.name) for section in fields(self) if section.init]
        object.__setattr__(self, "by_type", MappingProxyType({type(section): section for section in sections}))


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsChange:
    """
    What a look at changed settings gave; each change is told once.

    Attributes:
        changes: One line per changed value; empty when they were refused.
        problems: Why they were refused; empty when they are in force.
    """

    changes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class SettingsSource(Protocol):
    """Where a client gets the settings in force from; asked at the start of every call."""

    def of(self, service: str, operation: str = "") -> StackSettings:
        """Return the settings in force for an operation, or for the service at large: always a whole snapshot."""
        ...

    def poll(self, now: float) -> SettingsChange | None:
        """Look for changed settings at clock reading *now*; cheap, and None as long as nothing changed."""
        ...


@dataclass(frozen=True, slots=True)
class FixedSettings:
    """One set of settings for everything, for ever."""

    config: StackSettings

    def of(self, _service: str, _operation: str = "") -> StackSettings:
        """Return the settings."""
        return self.config

    def poll(self, _now: float) -> SettingsChange | None:
        """Never change."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """
    Where spans, metrics and events go; everything left out takes OpenTelemetry's global providers.

    Attributes:
        tracer_provider: Source of tracers.
        meter_provider: Source of meters.
        listener: Told of every event, after spans, metrics and logs.
    """

    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    listener: Listener | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """
    A composed stack.

    Attributes:
        handle: The outermost handler.
        layers: Outermost first.
        events: Counts what listeners lost.
        state: Tells what the stack holds now; cheap enough to be asked at every export of metrics.
        close: Ends what goes on after its call.
    """

    handle: Handler
    layers: tuple[Middleware, ...]
    events: FanOut
    state: Callable[[], StackState]
    close: Callable[[], None]

    def describe(self) -> list[str]:
        """Names of the layers, outermost first."""
        return [type(layer).__name__ for layer in self.layers]


def compose(layers: Sequence[Middleware], terminal: Handler) -> Handler:
    """Fold *layers* around *terminal*; `layers[0]` is outermost. Runs once, at client construction."""
    handler = terminal
    for layer in reversed(layers):
        handler = _bind(layer, handler)
    return handler


def _bind(layer: Middleware, call_next: Handler) -> Handler:
    call = layer.__call__

    def handle(request: PlatformRequest) -> Awaitable[PlatformResponse]:
        return call(request, call_next)  # not async: no extra frame, clean tracebacks

    return handle


def build_stack(
    *,
    service: str,
    base_url: str,
    api_key: str | None,
    policies: SettingsSource,
    transport: Transport,
    clock: Clock,
    random: Random,
    telemetry: Telemetry,
    version: str,
) -> Stack:
    """Build the stack of one service: its layers, its policies' state and its terminal."""
    tracer = SafeTracer(telemetry.tracer_provider, version)
    metrics = MetricsListener(telemetry.meter_provider, version, service=service, base_url=base_url)
    listeners: list[Callable[[Any], None]] = [SpanListener(), metrics, LogListener(current_ids)]
    if telemetry.listener is not None:
        listeners.append(telemetry.listener)
    emit = FanOut(listeners)
    breakers, budget = CircuitBreakers(service, random), RetryBudget()
    breaker = CircuitBreakerMiddleware(breakers, clock, emit, _attempt_timeout_s)
    bulkhead = BulkheadMiddleware(clock, emit, breaker.refuse_if_open)
    watched = WatchedAttempts(clock)
    call_cap = CallCapMiddleware(emit)
    retry = RetryMiddleware(RetryPolicy(random), budget, clock, emit, breaker.is_open)

    def hedge_refusal(request: PlatformRequest) -> str:
        call = request.call
        if call.tries >= call.max_attempts:  # R19
            return "max_attempts"
        if not breaker.is_closed(request):  # R19
            return "circuit_open"
        if not bulkhead.has_room(request):  # R19
            return "bulkhead"
        return "" if retry.try_withdraw(call) else "budget"  # R19: last, because asking it withdraws

    layers: list[Middleware] = [
        OutcomeMiddleware(clock),  # outermost: whatever fails inside, one of our errors leaves, with its record
        PacingMiddleware(call_cap.expect, call_cap.arrived),  # before all work: a burst must not hold up the loop
        CorrelationMiddleware(emit),  # one id for everything that follows
        CallTracingMiddleware(tracer),  # one INTERNAL span: sees the final result
        CallRecordMiddleware(clock, emit),  # inside the span, so that log line and exemplar carry its ids
        DeadlineMiddleware(clock, emit),  # cuts queue waits, backoff and attempts alike
        call_cap,  # bounds memory when everything waits in backoff
        EncodeMiddleware(),  # above the retry: same bytes and same key on every attempt
        retry,  # what follows is once per attempt
        HedgingMiddleware(clock, emit, hedge_refusal),  # inside the retry: a round of tries fails or succeeds as one
        bulkhead,  # a call in backoff holds no permit
        RateLimitMiddleware(clock, emit),  # retries are paid for too
        breaker,  # inside the retry: sees, and may refuse, every attempt; after the queue: a wait ages no permit
        AttemptTracingMiddleware(tracer, base_url),  # one CLIENT span per try that is really sent
        AttemptRecordMiddleware(clock, emit),  # the timeline; inside the span, as above
        AttemptTimeoutMiddleware(clock, watched),  # starts after the queue; covers body and decoding
        AuthMiddleware(api_key),  # per attempt: a credential may be rotated during backoff
        DecodeMiddleware(),  # inside the attempt: a body that cannot be decoded is its outcome
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
            breakers={one.name: one.shown_state(config.circuit_breaker) for one in breakers.all()},
            budget_balance=budget.balance(clock.now(), config.budget),
        )

    metrics.observe(state, lambda: {"event": emit.dropped, "span": tracer.dropped})
    return Stack(compose(layers, terminal), tuple(layers), emit, state, watched.close)


def _attempt_timeout_s(call: Call) -> float:
    return call.settings(AttemptTimeoutSettings).timeout_s
