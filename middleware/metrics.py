"""
Metrics, recorded from events by the OpenTelemetry API alone.

Every attempt is one sample, refused connections included. Labels are bounded: service, operation, route template,
status and error class; never an id.
"""

from typing import Any
from urllib.parse import urlsplit

from opentelemetry import metrics
from opentelemetry.metrics import MeterProvider

from . import semconv
from .errors import error_type
from .events import (
    AttemptFinished,
    AttemptRejected,
    CallFinished,
    CircuitStateChanged,
    Event,
    RetryScheduled,
)

__all__ = ["MetricsListener"]


class MetricsListener:
    """
    Records what events tell.

    Args:
        provider: Where the instruments come from; None takes the global one.
        version: Version of the instrumentation scope.
        base_url: Of the service, for `server.address` and `server.port`.
    """

    def __init__(self, provider: MeterProvider | None, version: str, base_url: str) -> None:
        meter = metrics.get_meter(semconv.SCOPE, version, meter_provider=provider, schema_url=semconv.SCHEMA_URL)
        parts = urlsplit(base_url)
        self._server = {
            semconv.SERVER_ADDRESS: parts.hostname or "",
            semconv.SERVER_PORT: parts.port or (443 if parts.scheme == "https" else 80),
        }
        bounds = list(semconv.DURATION_BOUNDS)

        def histogram(name: str, description: str) -> metrics.Histogram:
            return meter.create_histogram(
                name, unit="s", description=description, explicit_bucket_boundaries_advisory=bounds
            )

        self._requests = histogram(semconv.METRIC_REQUEST_DURATION, "Duration of one attempt.")
        self._calls = histogram(semconv.METRIC_CALL_DURATION, "Duration of one call, all attempts together.")
        self._delays = histogram(semconv.METRIC_RETRY_DELAY, "Wait before a retry.")
        self._retries = meter.create_counter(
            semconv.METRIC_RETRIES, unit="{retry}", description="Attempts that were repeated."
        )
        self._transitions = meter.create_counter(
            semconv.METRIC_CIRCUIT_TRANSITIONS, unit="{transition}", description="State changes of a circuit breaker."
        )
        self._rejections = meter.create_counter(
            semconv.METRIC_CIRCUIT_REJECTIONS, unit="{request}", description="Attempts refused by an open circuit."
        )

    def __call__(self, event: Event) -> None:
        """Record *event*."""
        call = event.call
        labels: dict[str, Any] = {
            semconv.CONNECTOR_NAME: call.service,
            semconv.CONNECTOR_OPERATION: call.operation,
        }
        if isinstance(event, AttemptFinished):
            record = event.record
            attributes: dict[str, Any] = {
                semconv.HTTP_REQUEST_METHOD: call.method,
                semconv.URL_TEMPLATE: call.route,
                **self._server,
            }
            if record.status is not None:
                attributes[semconv.HTTP_RESPONSE_STATUS_CODE] = record.status
            if event.error is not None:
                attributes[semconv.ERROR_TYPE] = error_type(event.error)
            self._requests.record(record.ended_s - record.started_s, attributes)
        elif isinstance(event, CallFinished):
            labels[semconv.OUTCOME] = event.result
            if event.error is not None:
                labels[semconv.ERROR_TYPE] = error_type(event.error)
            self._calls.record(event.outcome.elapsed_s, labels)
        elif isinstance(event, RetryScheduled):
            self._delays.record(event.delay_s, labels)
            self._retries.add(1, {**labels, semconv.ERROR_TYPE: error_type(event.error)})
        elif isinstance(event, CircuitStateChanged):
            self._transitions.add(
                1,
                {
                    semconv.CIRCUIT_BREAKER_NAME: event.breaker,
                    semconv.CIRCUIT_BREAKER_FROM: event.before,
                    semconv.CIRCUIT_BREAKER_TO: event.after,
                },
            )
        elif isinstance(event, AttemptRejected) and event.guard == "circuit_breaker":
            self._rejections.add(1, {semconv.CIRCUIT_BREAKER_NAME: call.service})
