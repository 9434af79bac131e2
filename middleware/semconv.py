"""
Names of spans' attributes and events, and of metrics.

HTTP names: https://opentelemetry.io/docs/specs/semconv/http/ (v1.44.0, stable). No convention exists for retries and
circuit breakers, so those live in the product's own namespace.
"""

from typing import Final

__all__: list[str] = []

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
SCOPE: Final = "mozaiks.connectors"

HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_REQUEST_RESEND_COUNT: Final = "http.request.resend_count"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
URL_FULL: Final = "url.full"
URL_TEMPLATE: Final = "url.template"
ERROR_TYPE: Final = "error.type"

CONNECTOR_NAME: Final = "mozaiks.connector.name"
CONNECTOR_OPERATION: Final = "mozaiks.connector.operation"
CORRELATION_ID: Final = "mozaiks.correlation_id"
OUTCOME: Final = "mozaiks.outcome"
STOP_REASON: Final = "mozaiks.stop_reason"
REQUEST_SENT: Final = "mozaiks.request_sent"
RETRY_ATTEMPTS: Final = "mozaiks.retry.attempts"
RETRY_ATTEMPT: Final = "mozaiks.retry.attempt"
RETRY_DELAY: Final = "mozaiks.retry.delay"
RETRY_AFTER: Final = "mozaiks.retry.retry_after"
CIRCUIT_BREAKER_NAME: Final = "mozaiks.circuit_breaker.name"
CIRCUIT_BREAKER_STATE: Final = "mozaiks.circuit_breaker.state"
CIRCUIT_BREAKER_FROM: Final = "mozaiks.circuit_breaker.from"
CIRCUIT_BREAKER_TO: Final = "mozaiks.circuit_breaker.to"
GUARD: Final = "mozaiks.guard"

EVENT_RETRY_SCHEDULED: Final = "retry.scheduled"
EVENT_REJECTED: Final = "rejected"
EVENT_CIRCUIT_REJECTED: Final = "circuit_breaker.rejected"
EVENT_CIRCUIT_STATE_CHANGED: Final = "circuit_breaker.state_changed"

METRIC_REQUEST_DURATION: Final = "http.client.request.duration"
METRIC_CALL_DURATION: Final = "mozaiks.connector.call.duration"
METRIC_RETRIES: Final = "mozaiks.connector.retries"
METRIC_RETRY_DELAY: Final = "mozaiks.connector.retry.delay"
METRIC_CIRCUIT_TRANSITIONS: Final = "mozaiks.circuit_breaker.transitions"
METRIC_CIRCUIT_REJECTIONS: Final = "mozaiks.circuit_breaker.rejections"

DURATION_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
