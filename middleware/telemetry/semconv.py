"""
Names of spans' attributes and events, of metrics and of log lines, each with what it means.

HTTP names: https://opentelemetry.io/docs/specs/semconv/http/ (v1.44.0, stable). No convention exists for retries and
circuit breakers, so those live in the product's own namespace. docs/observability.md is made from this file.
"""

from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

__all__: list[str] = []

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
SCOPE: Final = "mozaiks.connectors"

HTTP_REQUEST_METHOD: Final = "http.request.method"
"""Method of the request; `_OTHER` for one that HTTP does not know."""
HTTP_REQUEST_METHOD_ORIGINAL: Final = "http.request.method_original"
"""The method as it was sent, where `http.request.method` says `_OTHER`."""
HTTP_REQUEST_RESEND_COUNT: Final = "http.request.resend_count"
"""Attempts of the same call before this one; absent on the first."""
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
"""Status of the response, whatever became of its body; absent when none came."""
SERVER_ADDRESS: Final = "server.address"
"""Host of the service's base URL."""
SERVER_PORT: Final = "server.port"
"""Port of the service's base URL, the scheme's own where none is given."""
URL_FULL: Final = "url.full"
"""URL of the request; every query value and every path segment that looks like a secret reads `REDACTED`."""
URL_TEMPLATE: Final = "url.template"
"""Path template of the operation; `other` (metrics alone) when the path was filled by hand."""
ERROR_TYPE: Final = "error.type"
"""Status as text, else the class of the error; absent on success, on cancellation and on a call that recovered."""

CONNECTOR_NAME: Final = "mozaiks.connector.name"
"""Service that the connector speaks to."""
CONNECTOR_OPERATION: Final = "mozaiks.connector.operation"
"""Operation of the connector, for example `get_user`."""
CORRELATION_ID: Final = "mozaiks.correlation_id"
"""Id sent on every attempt: what to search the platform's logs for."""
OUTCOME: Final = "mozaiks.outcome"
"""How the call ended: `success`, `failure`, `cancelled`, or `unknown` for a write that may have been applied."""
ATTEMPT_OUTCOME: Final = "mozaiks.attempt.outcome"
"""How the attempt ended: `ok`, `cancelled`, or the class of the error."""
IS_HEDGE: Final = "mozaiks.attempt.is_hedge"
"""True for an attempt that was started beside one still in flight; absent on all others."""
STOP_REASON: Final = "mozaiks.stop_reason"
"""Why no further attempt was made: `not_retryable`, `max_attempts`, `circuit_open`, `retry_after_max`, `deadline` or \
`budget`."""
REQUEST_SENT: Final = "mozaiks.request_sent"
"""Did the server get the request? `no`: no byte left us; `maybe`: sent, no answer; `yes`: it answered."""
ALREADY_DELETED: Final = "mozaiks.already_deleted"
"""True for a DELETE that found nothing left to delete, after an attempt that may have done it."""
RETRY_ATTEMPTS: Final = "mozaiks.retry.attempts"
"""Attempts of the call; 0 when it was refused before the first."""
RETRY_ATTEMPT: Final = "mozaiks.retry.attempt"
"""Number of the attempt that failed, 1 for the first."""
RETRY_DELAY: Final = "mozaiks.retry.delay"
"""Seconds waited before the next attempt."""
RETRY_AFTER: Final = "mozaiks.retry.retry_after"
"""Seconds after which the other side, or our own guard, asked to be tried again."""
RETRY_BUDGET_BALANCE: Final = "mozaiks.retry_budget.balance"
"""Retries that the service's budget still allows."""
CIRCUIT_BREAKER_NAME: Final = "mozaiks.circuit_breaker.name"
"""Name of the circuit breaker."""
CIRCUIT_BREAKER_STATE: Final = "mozaiks.circuit_breaker.state"
"""State of the circuit breaker when the call last asked it."""
CIRCUIT_BREAKER_FROM: Final = "mozaiks.circuit_breaker.from"
"""State that the circuit breaker left."""
CIRCUIT_BREAKER_TO: Final = "mozaiks.circuit_breaker.to"
"""State that the circuit breaker entered."""
GUARD: Final = "mozaiks.guard"
"""Guard that refused: `circuit_breaker`, `bulkhead`, `call_cap` or `rate_limit`."""
BULKHEAD_WAIT: Final = "mozaiks.bulkhead.wait"
"""Seconds waited in the bulkhead's queue."""
HEDGE_NUMBER: Final = "mozaiks.hedge.number"
"""Number of the hedge within its round, 1 for the first."""
HEDGE_DELAY: Final = "mozaiks.hedge.delay"
"""Seconds that the round had been running when the hedge began, its wait for the rate limit included."""
HEDGE_REFUSAL: Final = "mozaiks.hedge.refusal"
"""Why a hedge was not sent: `max_attempts`, `circuit_open`, `bulkhead`, `rate_limit`, `budget`, or `refused`."""
DEADLINE: Final = "mozaiks.deadline"
"""Seconds that the whole call had."""
RELOAD_RESULT: Final = "mozaiks.settings.result"
"""`applied`, or `rejected` when the changed settings cannot be used."""
CORRELATION_ID_RECEIVED: Final = "mozaiks.correlation_id.received"
"""Id of another call that a response carried; the response was not used."""
DROP_KIND: Final = "mozaiks.telemetry.kind"
"""What was lost: `event` (a listener raised) or `span` (the tracing SDK raised)."""
EXPORTER: Final = "mozaiks.telemetry.exporter"
"""Where spans go: `otlp` or `file`."""

EVENT_RETRY_SCHEDULED: Final = "retry.scheduled"
"""An attempt failed; another one follows after a wait."""
EVENT_RETRY_ABANDONED: Final = "retry.abandoned"
"""An attempt failed in a way that may be retried, and no other one follows."""
EVENT_BUDGET_EXHAUSTED: Final = "retry_budget.exhausted"
"""The service's budget refused a retry or a hedge."""
EVENT_QUEUED: Final = "bulkhead.queued"
"""An attempt waited for a permit of the bulkhead and got one."""
EVENT_REJECTED: Final = "rejected"
"""The bulkhead, the call cap or the client's own rate limit refused; nothing was sent."""
EVENT_CIRCUIT_REJECTED: Final = "circuit_breaker.rejected"
"""The circuit breaker refused; nothing was sent."""
EVENT_CIRCUIT_STATE_CHANGED: Final = "circuit_breaker.state_changed"
"""This call moved the circuit breaker to another state."""
EVENT_HEDGE_STARTED: Final = "hedge.started"
"""A further attempt, let through by all guards, began beside one in flight."""
EVENT_HEDGE_REFUSED: Final = "hedge.refused"
"""A hedge was due and not started; the attempt in flight goes on."""
EVENT_HEDGE_WON: Final = "hedge.won"
"""A hedge answered first; the other attempts of its round were cancelled."""
EVENT_DEADLINE_REACHED: Final = "deadline.reached"
"""The time for the whole call ran out, and what it was waiting for was cut."""
EVENT_CORRELATION_ID_MISMATCHED: Final = "correlation_id.mismatched"
"""The response carried another call's correlation id, and was not used."""

LOG_CALL_SUCCEEDED: Final = "call.succeeded"
"""The call gave its result."""
LOG_CALL_CANCELLED: Final = "call.cancelled"
"""The caller went away."""
LOG_CALL_FAILED: Final = "call.failed"
"""The caller got an error; whether that is an error of the application is for the application to say."""
LOG_ATTEMPT_FINISHED: Final = "attempt.finished"
"""One try ended."""
LOG_ATTEMPT_REJECTED: Final = "attempt.rejected"
"""A guard of our own refused a call or an attempt."""
LOG_RETRY_SCHEDULED: Final = "retry.scheduled"
"""An attempt failed; another one follows."""
LOG_BUDGET_EXHAUSTED: Final = "retry_budget.exhausted"
"""The service's budget refused a retry; once per length of the budget's window."""
LOG_HEDGE_STARTED: Final = "hedge.started"
"""A further attempt, let through by all guards, began beside one in flight."""
LOG_CIRCUIT_STATE_CHANGED: Final = "circuit_breaker.state_changed"
"""A circuit breaker changed its state."""
LOG_CORRELATION_ID_REPLACED: Final = "correlation_id.replaced"
"""The caller's correlation id could not be sent; a fresh one took its place."""
LOG_CORRELATION_ID_MISMATCHED: Final = "correlation_id.mismatched"
"""A response carried another call's correlation id; it was not used, and its connection was closed."""
LOG_SETTINGS_RELOADED: Final = "settings.reloaded"
"""Changed settings came into force."""
LOG_SETTINGS_REJECTED: Final = "settings.rejected"
"""A changed settings file cannot be used; the last good settings stay."""


class Metric(NamedTuple):
    """One instrument: its name, kind, unit, meaning and every attribute that its points may carry."""

    name: str
    kind: str
    unit: str
    doc: str
    attributes: tuple[str, ...] = ()


_OPERATION = (CONNECTOR_NAME, CONNECTOR_OPERATION)

METRIC_REQUEST_DURATION: Final = Metric(
    "http.client.request.duration",
    "histogram",
    "s",
    "Duration of one attempt, refused connections and failures included.",
    (
        HTTP_REQUEST_METHOD,
        URL_TEMPLATE,
        SERVER_ADDRESS,
        SERVER_PORT,
        HTTP_RESPONSE_STATUS_CODE,
        ERROR_TYPE,
    ),
)
METRIC_CALL_DURATION: Final = Metric(
    "mozaiks.connector.call.duration",
    "histogram",
    "s",
    "Duration of one call, all attempts and waits together.",
    (*_OPERATION, OUTCOME, ERROR_TYPE),
)
METRIC_RETRIES: Final = Metric(
    "mozaiks.connector.retries",
    "counter",
    "{retry}",
    "Attempts that failed and were followed by another one.",
    (*_OPERATION, ERROR_TYPE),
)
METRIC_RETRIES_ABANDONED: Final = Metric(
    "mozaiks.connector.retries.abandoned",
    "counter",
    "{retry}",
    "Failures that may be retried and were not.",
    (*_OPERATION, STOP_REASON),
)
METRIC_RETRY_DELAY: Final = Metric(
    "mozaiks.connector.retry.delay", "histogram", "s", "Wait before a retry.", _OPERATION
)
METRIC_BUDGET_EXHAUSTED: Final = Metric(
    "mozaiks.retry_budget.exhausted",
    "counter",
    "{retry}",
    "Retries and hedges that the budget refused.",
    (CONNECTOR_NAME,),
)
METRIC_HEDGES: Final = Metric(
    "mozaiks.connector.hedges", "counter", "{hedge}", "Hedges that began; refused ones did not.", _OPERATION
)
METRIC_HEDGES_WON: Final = Metric(
    "mozaiks.connector.hedges.won", "counter", "{hedge}", "Hedges that answered first.", _OPERATION
)
METRIC_HEDGES_REFUSED: Final = Metric(
    "mozaiks.connector.hedges.refused",
    "counter",
    "{hedge}",
    "Hedges that were due and not started.",
    (*_OPERATION, HEDGE_REFUSAL),
)
METRIC_REJECTIONS: Final = Metric(
    "mozaiks.connector.rejections",
    "counter",
    "{request}",
    "Calls and attempts refused by the bulkhead, the call cap or the client's own rate limit.",
    (CONNECTOR_NAME, GUARD),
)
METRIC_BULKHEAD_WAIT: Final = Metric(
    "mozaiks.bulkhead.wait", "histogram", "s", "Wait of an attempt for a permit of the bulkhead.", (CONNECTOR_NAME,)
)
METRIC_CIRCUIT_TRANSITIONS: Final = Metric(
    "mozaiks.circuit_breaker.transitions",
    "counter",
    "{transition}",
    "State changes of a circuit breaker.",
    (CIRCUIT_BREAKER_NAME, CIRCUIT_BREAKER_FROM, CIRCUIT_BREAKER_TO),
)
METRIC_CIRCUIT_REJECTIONS: Final = Metric(
    "mozaiks.circuit_breaker.rejections",
    "counter",
    "{request}",
    "Attempts refused by an open circuit.",
    (CONNECTOR_NAME,),
)
METRIC_CORRELATION_ID_MISMATCHES: Final = Metric(
    "mozaiks.connector.correlation_id.mismatches",
    "counter",
    "{response}",
    "Responses that carried another call's correlation id, and were not used.",
    _OPERATION,
)
METRIC_RELOADS: Final = Metric(
    "mozaiks.settings.reloads",
    "counter",
    "{reload}",
    "Changed settings that came into force, or that could not be used.",
    (CONNECTOR_NAME, RELOAD_RESULT),
)
METRIC_CALLS_IN_FLIGHT: Final = Metric(
    "mozaiks.connector.calls.in_flight",
    "observable up-down counter",
    "{call}",
    "Calls begun and not ended, waiting ones included.",
    (CONNECTOR_NAME,),
)
METRIC_ATTEMPTS_IN_FLIGHT: Final = Metric(
    "mozaiks.bulkhead.in_flight",
    "observable up-down counter",
    "{attempt}",
    "Attempts that hold a permit of the bulkhead.",
    (CONNECTOR_NAME,),
)
METRIC_ATTEMPTS_QUEUED: Final = Metric(
    "mozaiks.bulkhead.queued",
    "observable up-down counter",
    "{attempt}",
    "Attempts that wait for a permit of the bulkhead.",
    (CONNECTOR_NAME,),
)
METRIC_CIRCUIT_STATE: Final = Metric(
    "mozaiks.circuit_breaker.state",
    "observable gauge",
    "{circuit_breaker}",
    "Circuit breakers in each state: 1 or 0 for one client, their number where several share a name.",
    (CONNECTOR_NAME, CIRCUIT_BREAKER_NAME, CIRCUIT_BREAKER_STATE),
)
METRIC_BUDGET_BALANCE: Final = Metric(
    "mozaiks.retry_budget.balance",
    "observable gauge",
    "{retry}",
    "Retries that the budget still allows, all clients of the service together.",
    (CONNECTOR_NAME,),
)
METRIC_DROPPED: Final = Metric(
    "mozaiks.telemetry.dropped",
    "observable counter",
    "{item}",
    "Events and spans lost because a listener or the SDK raised.",
    (CONNECTOR_NAME, DROP_KIND),
)

METRIC_EXPORT_DROPPED: Final = Metric(
    "mozaiks.telemetry.export.dropped",
    "observable counter",
    "{span}",
    "Spans that ended and did not arrive: the queue was full, or the other side failed or rejected them.",
    (EXPORTER,),
)

DURATION_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Bounds of the buckets of every duration, in seconds, as the conventions advise."""

KNOWN_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
"""Methods that HTTP knows; any other is `_OTHER`, since labels must be bounded."""


def server_attributes(base_url: str) -> dict[str, Any]:
    """Host and port of *base_url*, the port by the scheme where none is given."""
    parts = urlsplit(base_url)
    return {
        SERVER_ADDRESS: parts.hostname or "",
        SERVER_PORT: parts.port or (443 if parts.scheme == "https" else 80),
    }
