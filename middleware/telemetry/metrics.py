"""
Metrics, recorded from events; needs the OpenTelemetry API only.

Every attempt is one sample, refused connections included. Labels are bounded: service, operation, route template,
status and error class; never an id. Observable values are read at export, which keeps no closed client alive.
"""

import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, NoOpMeter, Observation

from middleware._internal.forks import renew_in_child
from middleware.errors import error_type
from middleware.events import (
    AttemptFinished,
    AttemptQueued,
    AttemptRejected,
    AttemptRejectedInShadow,
    CallFinished,
    CircuitStateChanged,
    CorrelationIdMismatched,
    Event,
    HedgeRefused,
    HedgeStarted,
    HedgeWon,
    QuotaAcquired,
    QuotaSourceChanged,
    RetryAbandoned,
    RetryBudgetExhausted,
    RetryScheduled,
    SettingsRejected,
    SettingsReloaded,
)
from middleware.records import CallInfo
from middleware.types import StackState

from . import semconv

__all__ = ["MetricsListener"]

_Labels: TypeAlias = tuple[tuple[str, str], ...]

_BREAKER_STATES = ("closed", "open", "half_open")
_SHADOW_STATES = ("shadow", "shadow_open", "shadow_half_open")


class MetricsListener:
    """
    Records metrics from events.

    Args:
        provider: Source of the instruments; None takes the global one.
        version: Version of the instrumentation scope.
        service: Name of the service.
        base_url: Base URL of the service, for `server.address` and `server.port`.

    Attributes:
        event_types: Events that are recorded.
    """

    def __init__(self, provider: MeterProvider | None, version: str, *, service: str, base_url: str) -> None:
        self._service = {semconv.CONNECTOR_NAME: service}
        self._server = semconv.server_attributes(base_url)
        self._state: Callable[[], StackState] | None = None
        self._dropped: Callable[[], Mapping[str, int]] = dict  # equivalent: set before it is read
        try:
            self._make_instruments(_meter(provider, version))
        except Exception:  # noqa: BLE001 - a provider that cannot make instruments loses the metrics only
            self._make_instruments(NoOpMeter(semconv.SCOPE))
        self._gauges = _gauges_of(provider, version)
        self._recorders: dict[type[Event], Callable[[Any], None]] = {
            AttemptFinished: self._attempt_finished,
            AttemptQueued: self._attempt_queued,
            AttemptRejected: self._attempt_rejected,
            AttemptRejectedInShadow: self._attempt_rejected_in_shadow,
            CallFinished: self._call_finished,
            CircuitStateChanged: self._circuit_state_changed,
            CorrelationIdMismatched: self._correlation_id_mismatched,
            HedgeRefused: self._hedge_refused,
            HedgeStarted: self._hedge_started,
            HedgeWon: self._hedge_won,
            QuotaAcquired: self._quota_acquired,
            QuotaSourceChanged: self._quota_source_changed,
            RetryAbandoned: self._retry_abandoned,
            RetryBudgetExhausted: self._budget_exhausted,
            RetryScheduled: self._retry_scheduled,
            SettingsRejected: self._settings_rejected,
            SettingsReloaded: self._settings_reloaded,
        }
        self.event_types = frozenset(self._recorders)

    def _make_instruments(self, meter: Meter) -> None:
        self._requests = _histogram(meter, semconv.METRIC_REQUEST_DURATION)
        self._calls = _histogram(meter, semconv.METRIC_CALL_DURATION)
        self._delays = _histogram(meter, semconv.METRIC_RETRY_DELAY)
        self._queue_waits = _histogram(meter, semconv.METRIC_BULKHEAD_WAIT)
        self._quota_waits = _histogram(meter, semconv.METRIC_QUOTA_WAIT)
        self._penalties = _histogram(meter, semconv.METRIC_QUOTA_PENALTY)
        self._retries = _counter(meter, semconv.METRIC_RETRIES)
        self._abandoned = _counter(meter, semconv.METRIC_RETRIES_ABANDONED)
        self._exhausted = _counter(meter, semconv.METRIC_BUDGET_EXHAUSTED)
        self._hedges = _counter(meter, semconv.METRIC_HEDGES)
        self._hedges_won = _counter(meter, semconv.METRIC_HEDGES_WON)
        self._hedges_refused = _counter(meter, semconv.METRIC_HEDGES_REFUSED)
        self._rejections = _counter(meter, semconv.METRIC_REJECTIONS)
        self._transitions = _counter(meter, semconv.METRIC_CIRCUIT_TRANSITIONS)
        self._circuit_rejections = _counter(meter, semconv.METRIC_CIRCUIT_REJECTIONS)
        self._circuit_rejections_in_shadow = _counter(meter, semconv.METRIC_CIRCUIT_REJECTIONS_IN_SHADOW)
        self._switches = _counter(meter, semconv.METRIC_QUOTA_SWITCHES)
        self._mismatches = _counter(meter, semconv.METRIC_CORRELATION_ID_MISMATCHES)
        self._reloads = _counter(meter, semconv.METRIC_RELOADS)

    def observe(self, state: Callable[[], StackState], dropped: Callable[[], Mapping[str, int]]) -> None:
        """
        Let observable instruments read the stack from now on, for as long as this listener lives.

        Args:
            state: Returns the present state of the stack.
            dropped: Returns how much telemetry was lost so far, by kind.
        """
        self._state, self._dropped = state, dropped
        self._gauges.add(self)

    def needs_success(self, _kind: type[Event]) -> bool:
        """Return whether there is an SDK: without one, each instrument is the API's own."""
        return getattr(self._calls, "_real_instrument", self) is not None

    def __call__(self, event: Event) -> None:
        """Record *event*."""
        self._recorders[type(event)](event)

    def _attempt_finished(self, event: AttemptFinished) -> None:
        if getattr(self._requests, "_real_instrument", self) is None:
            return  # the API's own, while no SDK is installed: as each instrument of it
        call, record = event.call, event.record
        attributes: dict[str, Any] = {
            semconv.HTTP_REQUEST_METHOD: call.method if call.method in semconv.KNOWN_METHODS else "_OTHER",
            semconv.URL_TEMPLATE: call.route,
            **self._server,
        }
        if record.status is not None:
            attributes[semconv.HTTP_RESPONSE_STATUS_CODE] = record.status
        if event.error is not None:
            attributes[semconv.ERROR_TYPE] = error_type(event.error)
        if record.answered_by:
            attributes[semconv.ANSWERED_BY] = record.answered_by
        self._requests.record(record.ended_s - record.started_s, attributes)

    def _call_finished(self, event: CallFinished) -> None:
        if getattr(self._calls, "_real_instrument", self) is None:
            return
        call = event.call
        attributes = {
            semconv.CONNECTOR_NAME: call.service,
            semconv.CONNECTOR_OPERATION: call.operation,
            semconv.OUTCOME: event.result,
        }
        if event.error is not None:
            attributes[semconv.ERROR_TYPE] = error_type(event.error)
        self._calls.record(event.outcome.elapsed_s, attributes)

    def _retry_scheduled(self, event: RetryScheduled) -> None:
        operation = _operation(event.call)
        self._delays.record(event.delay_s, operation)
        self._retries.add(1, {**operation, semconv.ERROR_TYPE: error_type(event.error)})

    def _retry_abandoned(self, event: RetryAbandoned) -> None:
        self._abandoned.add(1, {**_operation(event.call), semconv.STOP_REASON: event.stop_reason})

    def _budget_exhausted(self, _event: RetryBudgetExhausted) -> None:
        self._exhausted.add(1, self._service)

    def _hedge_started(self, event: HedgeStarted) -> None:
        self._hedges.add(1, _operation(event.call))

    def _hedge_won(self, event: HedgeWon) -> None:
        self._hedges_won.add(1, _operation(event.call))

    def _hedge_refused(self, event: HedgeRefused) -> None:
        self._hedges_refused.add(1, {**_operation(event.call), semconv.HEDGE_REFUSAL: event.reason})

    def _attempt_queued(self, event: AttemptQueued) -> None:
        self._queue_waits.record(event.waited_s, self._service)

    def _attempt_rejected(self, event: AttemptRejected) -> None:
        if event.guard == "circuit_breaker":
            self._circuit_rejections.add(1, self._service)
        else:
            self._rejections.add(1, {**self._service, semconv.GUARD: event.guard})

    def _attempt_rejected_in_shadow(self, _event: AttemptRejectedInShadow) -> None:
        self._circuit_rejections_in_shadow.add(1, self._service)

    def _circuit_state_changed(self, event: CircuitStateChanged) -> None:
        self._transitions.add(
            1,
            {
                semconv.CIRCUIT_BREAKER_NAME: event.breaker,
                semconv.CIRCUIT_BREAKER_FROM: event.before,
                semconv.CIRCUIT_BREAKER_TO: event.after,
            },
        )

    def _quota_acquired(self, event: QuotaAcquired) -> None:
        self._quota_waits.record(event.waited_s, {**self._service, semconv.QUOTA_SOURCE: event.source})
        if event.penalty_s:
            self._penalties.record(event.penalty_s, self._service)

    def _quota_source_changed(self, event: QuotaSourceChanged) -> None:
        attributes = {**self._service, semconv.QUOTA_SOURCE: event.source}
        self._switches.add(1, {**attributes, semconv.QUOTA_REASON: event.reason} if event.reason else attributes)

    def _correlation_id_mismatched(self, event: CorrelationIdMismatched) -> None:
        self._mismatches.add(1, _operation(event.call))

    def _settings_reloaded(self, _event: SettingsReloaded) -> None:
        self._reloads.add(1, {**self._service, semconv.RELOAD_RESULT: "applied"})

    def _settings_rejected(self, _event: SettingsRejected) -> None:
        self._reloads.add(1, {**self._service, semconv.RELOAD_RESULT: "rejected"})

    def read(self, metric: semconv.Metric) -> Mapping[_Labels, float]:
        """Return the present values of an observable metric by their attributes; empty before `observe`."""
        if self._state is None:
            return {}
        service = tuple(self._service.items())
        if metric is semconv.METRIC_DROPPED:
            return {(*service, (semconv.DROP_KIND, kind)): count for kind, count in self._dropped().items()}
        state = self._state()
        if metric is semconv.METRIC_CIRCUIT_STATE:
            return {
                (*service, (semconv.CIRCUIT_BREAKER_NAME, breaker), (semconv.CIRCUIT_BREAKER_STATE, known)): known
                == now
                for breaker, now in state.breakers.items()
                for known in (*_BREAKER_STATES, *(_SHADOW_STATES if now in _SHADOW_STATES else (now,)))
            }
        if metric is semconv.METRIC_CONFIG_INFO:
            known_hash = state.settings_hash
            return {(*service, (semconv.SETTINGS_HASH, known_hash)): 1} if known_hash else {}
        value = getattr(state, _STATES[metric.name])
        return {} if value is None else {service: value}


# Field of `StackState` that a metric shows.
_STATES = {
    semconv.METRIC_CALLS_IN_FLIGHT.name: "calls_in_flight",
    semconv.METRIC_ATTEMPTS_IN_FLIGHT.name: "attempts_in_flight",
    semconv.METRIC_ATTEMPTS_QUEUED.name: "attempts_queued",
    semconv.METRIC_ATTEMPTS_LIMIT.name: "attempts_limit",
    semconv.METRIC_BUDGET_BALANCE.name: "budget_balance",
}


def _operation(call: CallInfo) -> dict[str, Any]:
    return {semconv.CONNECTOR_NAME: call.service, semconv.CONNECTOR_OPERATION: call.operation}


def _meter(provider: MeterProvider | None, version: str) -> Meter:
    return metrics.get_meter(semconv.SCOPE, version, meter_provider=provider, schema_url=semconv.SCHEMA_URL)


def _histogram(meter: Meter, metric: semconv.Metric) -> metrics.Histogram:
    bounds = list(semconv.DURATION_BOUNDS)
    return meter.create_histogram(metric.name, metric.unit, metric.doc, explicit_bucket_boundaries_advisory=bounds)


def _counter(meter: Meter, metric: semconv.Metric) -> metrics.Counter:
    return meter.create_counter(metric.name, metric.unit, metric.doc)


class _Gauges:
    """
    The observable instruments of one meter provider, shared by all its clients.

    An SDK keeps only the callbacks of the first instrument of a name, and takes one value per set of attributes: so
    one callback adds up the values of all living clients, to which it has weak references.
    """

    def __init__(self, meter: Meter) -> None:
        self._renew()
        renew_in_child(self._renew)
        for create, metric in (
            (meter.create_observable_up_down_counter, semconv.METRIC_CALLS_IN_FLIGHT),
            (meter.create_observable_up_down_counter, semconv.METRIC_ATTEMPTS_IN_FLIGHT),
            (meter.create_observable_up_down_counter, semconv.METRIC_ATTEMPTS_QUEUED),
            (meter.create_observable_up_down_counter, semconv.METRIC_ATTEMPTS_LIMIT),
            (meter.create_observable_gauge, semconv.METRIC_BUDGET_BALANCE),
            (meter.create_observable_gauge, semconv.METRIC_CIRCUIT_STATE),
            (meter.create_observable_gauge, semconv.METRIC_CONFIG_INFO),
            (meter.create_observable_counter, semconv.METRIC_DROPPED),
        ):
            create(metric.name, [self._callback(metric)], metric.unit, metric.doc)

    def _renew(self) -> None:
        self._listeners: weakref.WeakSet[MetricsListener] = weakref.WeakSet()
        self._lock = threading.Lock()

    def add(self, listener: MetricsListener) -> None:
        with self._lock:
            self._listeners.add(listener)

    def _callback(self, metric: semconv.Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        lost: dict[_Labels, float] = {}
        reported: weakref.WeakKeyDictionary[MetricsListener, dict[_Labels, float]] = weakref.WeakKeyDictionary()

        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            with self._lock:
                listeners = list(self._listeners)
            # A counter never falls: what a client lost before it was closed stays in the sum.
            sums = lost if metric is semconv.METRIC_DROPPED else {}
            for listener in listeners:
                with suppress(Exception):  # one client whose state cannot be read must not hide the others
                    for labels, value in listener.read(metric).items():
                        known = reported.setdefault(listener, {}) if sums is lost else {}
                        sums[labels] = sums.get(labels, 0) + value - known.get(labels, 0)
                        known[labels] = value
            return [Observation(value, dict(labels)) for labels, value in sums.items()]

        return observe


_lock = threading.Lock()
_of_global: list[_Gauges] = []
_of_provider: weakref.WeakKeyDictionary[MeterProvider, _Gauges] = weakref.WeakKeyDictionary()


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603 - a thread that does not exist in the child may have acquired it
    _lock = threading.Lock()


renew_in_child(_renew_lock)


def _gauges_of(provider: MeterProvider | None, version: str) -> _Gauges:
    """
    Return the instruments of *provider*, made once.

    The global provider counts as one, whichever it is: instruments made before the host sets it are forwarded to it.
    """
    with _lock:
        try:
            current = metrics.get_meter_provider()
            found = _of_provider.get(provider or current)
            if provider is None or provider is current:
                if not _of_global:
                    _of_global.append(found or _Gauges(_meter(provider, version)))
                return _of_global[0]  # equivalent: `-1`: it is the only one
            if found is None:
                found = _of_provider[provider] = _Gauges(_meter(provider, version))
            return found
        except Exception:  # noqa: BLE001 - as in the listener's constructor
            return _Gauges(NoOpMeter(semconv.SCOPE))
