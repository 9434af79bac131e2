"""
Names of span attributes, span events, metrics and log lines, each with its meaning.

HTTP names: https://opentelemetry.io/docs/specs/semconv/http/ (v1.44.0, stable). No convention exists for retries and
circuit breakers, so those are in the product's own namespace. The tables of docs/observability.md are generated from
this file.
"""

from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

__all__: list[str] = []

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
SCOPE: Final = "mozaiks.connectors"

HTTP_REQUEST_METHOD: Final = "http.request.method"
"""Method of the request; `_OTHER` for one that HTTP does not define."""
HTTP_REQUEST_METHOD_ORIGINAL: Final = "http.request.method_original"
"""The method as it was sent, where `http.request.method` says `_OTHER`."""
HTTP_REQUEST_RESEND_COUNT: Final = "http.request.resend_count"
"""Attempts of the same call before this one; absent on the first."""
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
"""Status of the response, also when its body was lost; absent without a response."""
SERVER_ADDRESS: Final = "server.address"
"""Host of the service's base URL."""
SERVER_PORT: Final = "server.port"
"""Port of the service's base URL; the default port of the scheme where the URL has none."""
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
"""Id sent with every attempt; search the platform's logs for it."""
PLATFORM_CORRELATION_ID: Final = "mozaiks.platform_correlation_id"
"""Id of the response, where it differs from the one that was sent; search the platform's logs for it too."""
OUTCOME: Final = "mozaiks.outcome"
"""How the call ended: `success`, `failure`, `cancelled`, or `unknown` for a write that may have been applied."""
ATTEMPT_OUTCOME: Final = "mozaiks.attempt.outcome"
"""How the attempt ended: `ok`, `cancelled`, or the class of the error."""
IS_HEDGE: Final = "mozaiks.attempt.is_hedge"
"""True for an attempt that was started while another one was in flight; absent on all others."""
STOP_REASON: Final = "mozaiks.stop_reason"
"""Why no further attempt was made: `not_retryable`, `max_attempts`, `circuit_open`, `retry_after_max`, `deadline` or \
`budget`."""
REQUEST_SENT: Final = "mozaiks.request_sent"
"""Did the server receive the request? `no`: no byte was sent; `maybe`: sent, no response; `yes`: it responded."""
ANSWERED_BY: Final = "mozaiks.answered_by"
"""Who sent an error response, by its evidence: `platform`, `gateway` or `unknown`; absent without an error response."""
ALREADY_DELETED: Final = "mozaiks.already_deleted"
"""True for a DELETE that found nothing left to delete, after an attempt that may have done it."""
RETRY_ATTEMPTS: Final = "mozaiks.retry.attempts"
"""Attempts of the call; 0 when it was rejected before the first."""
RETRY_ATTEMPT: Final = "mozaiks.retry.attempt"
"""Number of the attempt that failed, 1 for the first."""
RETRY_DELAY: Final = "mozaiks.retry.delay"
"""Seconds waited before the next attempt."""
RETRY_AFTER: Final = "mozaiks.retry.retry_after"
"""Seconds to wait before the next attempt, as the platform or a guard of our own asked."""
RETRY_BUDGET_BALANCE: Final = "mozaiks.retry_budget.balance"
"""Retries that the service's budget still allows."""
CIRCUIT_BREAKER_NAME: Final = "mozaiks.circuit_breaker.name"
"""Name of the circuit breaker."""
CIRCUIT_BREAKER_STATE: Final = "mozaiks.circuit_breaker.state"
"""State of the circuit breaker at the call's last request for permission."""
CIRCUIT_BREAKER_FROM: Final = "mozaiks.circuit_breaker.from"
"""Old state of the circuit breaker."""
CIRCUIT_BREAKER_TO: Final = "mozaiks.circuit_breaker.to"
"""New state of the circuit breaker."""
GUARD: Final = "mozaiks.guard"
"""Guard that rejected: `circuit_breaker`, `bulkhead`, `call_cap`, `rate_limit` or `quota`."""
BULKHEAD_WAIT: Final = "mozaiks.bulkhead.wait"
"""Seconds waited in the bulkhead's queue."""
QUOTA_SOURCE: Final = "mozaiks.quota.source"
"""What admits attempts to the quota: `shared`, the server of all processes; `local`, this process' share, while the \
server cannot be used; `own`, the part that needs no server."""
QUOTA_WAIT: Final = "mozaiks.quota.wait"
"""Seconds waited for the admission to the quota, the round trip to its server and the next attribute included."""
QUOTA_PENALTY: Final = "mozaiks.quota.penalty"
"""Seconds of it waited for the end of a Retry-After that this process or another one was given."""
QUOTA_REASON: Final = "mozaiks.quota.reason"
"""What is wrong with the quota's server: `unreachable`, `timeout`, `read_only`, `out_of_memory`, `loading`, \
`not_allowed`, `no_primary` or `error`; absent where it is well again."""
HEDGE_NUMBER: Final = "mozaiks.hedge.number"
"""Number of the hedge within its round, 1 for the first."""
HEDGE_DELAY: Final = "mozaiks.hedge.delay"
"""Seconds from the start of the round to the start of the hedge, its wait for the rate limit included."""
HEDGE_REFUSAL: Final = "mozaiks.hedge.refusal"
"""Why a hedge was not sent: `throttled`, `max_attempts`, `circuit_open`, `bulkhead`, `rate_limit`, `budget`, or \
`refused`."""
DEADLINE: Final = "mozaiks.deadline"
"""Seconds that the whole call had."""
SETTINGS_HASH: Final = "mozaiks.settings.hash"
"""Eight digits for the settings of the service that are in force: calls with the same digits had the same settings."""
RELOAD_RESULT: Final = "mozaiks.settings.result"
"""`applied`, or `rejected` when the changed settings cannot be used."""
CORRELATION_ID_RECEIVED: Final = "mozaiks.correlation_id.received"
"""Id of another call that a response carried; the response was not used."""
DROP_KIND: Final = "mozaiks.telemetry.kind"
"""What was lost: `event` (a listener raised) or `span` (the tracing SDK raised)."""
EXPORTER: Final = "mozaiks.telemetry.exporter"
"""Where spans go: `otlp` or `file`."""

EVENT_RETRY_SCHEDULED: Final = "retry.scheduled"
"""An attempt failed; a retry follows after a delay."""
EVENT_RETRY_ABANDONED: Final = "retry.abandoned"
"""An attempt failed in a way that may be retried, and no retry follows."""
EVENT_BUDGET_EXHAUSTED: Final = "retry_budget.exhausted"
"""The service's budget did not allow a retry or a hedge."""
EVENT_QUEUED: Final = "bulkhead.queued"
"""An attempt waited for a permit of the bulkhead and acquired one."""
EVENT_REJECTED: Final = "rejected"
"""Bulkhead, call cap, the client's own rate limit or the quota rejected the call or attempt; nothing was sent."""
EVENT_CIRCUIT_REJECTED: Final = "circuit_breaker.rejected"
"""The circuit breaker rejected the attempt; nothing was sent."""
EVENT_CIRCUIT_REJECTED_IN_SHADOW: Final = "circuit_breaker.rejected_in_shadow"
"""The circuit breaker, in mode shadow, would have rejected the attempt in mode normal."""
EVENT_CIRCUIT_STATE_CHANGED: Final = "circuit_breaker.state_changed"
"""The circuit breaker changed its state during this call."""
EVENT_QUOTA_WAITED: Final = "quota.waited"
"""An attempt waited for its admission to the quota, longer than a round trip takes."""
EVENT_QUOTA_SOURCE_CHANGED: Final = "quota.source_changed"
"""The quota's server cannot be used, so that this process keeps to its share; or it is well again."""
EVENT_HEDGE_STARTED: Final = "hedge.started"
"""A further attempt, allowed by all guards, started while another one was in flight."""
EVENT_HEDGE_REFUSED: Final = "hedge.refused"
"""A hedge was due and did not start; the attempt in flight continues."""
EVENT_HEDGE_WON: Final = "hedge.won"
"""A hedge received the first response; the other attempts of its round were cancelled."""
EVENT_DEADLINE_REACHED: Final = "deadline.reached"
"""The deadline of the call passed, and what the call was waiting for was cancelled."""
EVENT_CORRELATION_ID_MISMATCHED: Final = "correlation_id.mismatched"
"""The response carried another call's correlation id, and was not used."""

LOG_CALL_SUCCEEDED: Final = "call.succeeded"
"""The call succeeded."""
LOG_CALL_CANCELLED: Final = "call.cancelled"
"""The caller cancelled the call."""
LOG_CALL_FAILED: Final = "call.failed"
"""The caller got an error; the application decides whether that is an error of its own."""
LOG_ATTEMPT_FINISHED: Final = "attempt.finished"
"""An attempt ended."""
LOG_ATTEMPT_REJECTED: Final = "attempt.rejected"
"""A guard of our own rejected a call or an attempt."""
LOG_RETRY_SCHEDULED: Final = "retry.scheduled"
"""An attempt failed; a retry follows."""
LOG_BUDGET_EXHAUSTED: Final = "retry_budget.exhausted"
"""The service's budget did not allow a retry; WARNING once per length of the budget's window, else DEBUG."""
LOG_HEDGE_STARTED: Final = "hedge.started"
"""A further attempt, allowed by all guards, started while another one was in flight."""
LOG_CIRCUIT_STATE_CHANGED: Final = "circuit_breaker.state_changed"
"""A circuit breaker changed its state."""
LOG_QUOTA_ACQUIRED: Final = "quota.acquired"
"""An attempt was admitted to the quota; the fields say for what it waited."""
LOG_QUOTA_SOURCE_CHANGED: Final = "quota.source_changed"
"""The quota's server cannot be used, so that this process keeps to its share; or it is well again."""
LOG_CORRELATION_ID_REPLACED: Final = "correlation_id.replaced"
"""The caller's correlation id could not be sent and was replaced by a fresh one."""
LOG_CORRELATION_ID_MISMATCHED: Final = "correlation_id.mismatched"
"""A response carried another call's correlation id; it was not used, and its connection was closed."""
LOG_SETTINGS_RELOADED: Final = "settings.reloaded"
"""Changed settings came into force; `policy` has all of them."""
LOG_SETTINGS_REJECTED: Final = "settings.rejected"
"""A changed settings file is invalid; the last valid settings stay in force."""

LOG_SETTINGS_CONTRADICTORY: Final = "settings.contradictory"
"""Settings in force contradict each other; once at the start, and when a reload brings a new contradiction."""


class Metric(NamedTuple):
    """One instrument: its name, kind, unit, meaning and all attributes that its points may have."""

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
        ANSWERED_BY,
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
    "Attempts that failed and were followed by a retry.",
    (*_OPERATION, ERROR_TYPE),
)
METRIC_RETRIES_ABANDONED: Final = Metric(
    "mozaiks.connector.retries.abandoned",
    "counter",
    "{retry}",
    "Failed attempts that may be retried and were not.",
    (*_OPERATION, STOP_REASON),
)
METRIC_RETRY_DELAY: Final = Metric(
    "mozaiks.connector.retry.delay", "histogram", "s", "Wait before a retry.", _OPERATION
)
METRIC_BUDGET_EXHAUSTED: Final = Metric(
    "mozaiks.retry_budget.exhausted",
    "counter",
    "{retry}",
    "Retries and hedges that the budget did not allow.",
    (CONNECTOR_NAME,),
)
METRIC_HEDGES: Final = Metric("mozaiks.connector.hedges", "counter", "{hedge}", "Hedges that started.", _OPERATION)
METRIC_HEDGES_WON: Final = Metric(
    "mozaiks.connector.hedges.won", "counter", "{hedge}", "Hedges that received the first response.", _OPERATION
)
METRIC_HEDGES_REFUSED: Final = Metric(
    "mozaiks.connector.hedges.refused",
    "counter",
    "{hedge}",
    "Hedges that were due and did not start.",
    (*_OPERATION, HEDGE_REFUSAL),
)
METRIC_REJECTIONS: Final = Metric(
    "mozaiks.connector.rejections",
    "counter",
    "{request}",
    "Calls and attempts rejected by the bulkhead, the call cap, the client's own rate limit or the quota.",
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
    "Attempts rejected by an open circuit.",
    (CONNECTOR_NAME,),
)
METRIC_CIRCUIT_REJECTIONS_IN_SHADOW: Final = Metric(
    "mozaiks.circuit_breaker.rejections_in_shadow",
    "counter",
    "{request}",
    "Attempts that a circuit breaker in mode shadow would have rejected in mode normal.",
    (CONNECTOR_NAME,),
)
METRIC_QUOTA_WAIT: Final = Metric(
    "mozaiks.quota.wait",
    "histogram",
    "s",
    "Wait of an attempt for its admission to the quota, the round trip to the server included.",
    (CONNECTOR_NAME, QUOTA_SOURCE),
)
METRIC_QUOTA_PENALTY: Final = Metric(
    "mozaiks.quota.penalty",
    "histogram",
    "s",
    "Wait of an attempt for the end of a Retry-After that any process was given; only of attempts that waited.",
    (CONNECTOR_NAME,),
)
METRIC_QUOTA_SWITCHES: Final = Metric(
    "mozaiks.quota.switches",
    "counter",
    "{switch}",
    "Changes of a process from the quota's server to its share, and back.",
    (CONNECTOR_NAME, QUOTA_SOURCE, QUOTA_REASON),
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
    "Calls that started and have not ended, waiting ones included.",
    (CONNECTOR_NAME,),
)
METRIC_ATTEMPTS_IN_FLIGHT: Final = Metric(
    "mozaiks.bulkhead.in_flight",
    "observable up-down counter",
    "{attempt}",
    "Attempts that have a permit of the bulkhead.",
    (CONNECTOR_NAME,),
)
METRIC_ATTEMPTS_QUEUED: Final = Metric(
    "mozaiks.bulkhead.queued",
    "observable up-down counter",
    "{attempt}",
    "Attempts in the queue for a permit of the bulkhead.",
    (CONNECTOR_NAME,),
)
METRIC_ATTEMPTS_LIMIT: Final = Metric(
    "mozaiks.bulkhead.limit",
    "observable up-down counter",
    "{attempt}",
    "Attempts that the bulkhead allows at a time: its permits, or fewer while `bulkhead.adaptive` lowers them.",
    (CONNECTOR_NAME,),
)
METRIC_CIRCUIT_STATE: Final = Metric(
    "mozaiks.circuit_breaker.state",
    "observable gauge",
    "{circuit_breaker}",
    "Circuit breakers in each state: 1 or 0 for one client, their number where several share a name.",
    (CONNECTOR_NAME, CIRCUIT_BREAKER_NAME, CIRCUIT_BREAKER_STATE),
)
METRIC_CONFIG_INFO: Final = Metric(
    "mozaiks.connector.config.info",
    "observable gauge",
    "{client}",
    "Clients that use these settings: 1 for one client. Only the settings in force have a point.",
    (CONNECTOR_NAME, SETTINGS_HASH),
)
METRIC_BUDGET_BALANCE: Final = Metric(
    "mozaiks.retry_budget.balance",
    "observable gauge",
    "{retry}",
    "Retries that the budget still allows, summed over all clients of the service.",
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
    "Spans that ended and were not exported: the queue was full, or the other side failed or rejected them.",
    (EXPORTER,),
)

DURATION_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 15, 25, 30)
"""
Bucket bounds of every duration in seconds: what the conventions advise, up to 10 s, and beyond it the default deadline
of a call, 25 s, and the time that a plugin has, 30 s.

Source: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#metric-httpclientrequestduration.
"""

KNOWN_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
"""Methods that HTTP defines; any other is `_OTHER`, since labels must be bounded."""


def server_attributes(base_url: str) -> dict[str, Any]:
    """Return host and port of *base_url*; the default port of the scheme where it has none."""
    parts = urlsplit(base_url)
    return {
        SERVER_ADDRESS: parts.hostname or "",
        SERVER_PORT: parts.port or (443 if parts.scheme == "https" else 80),
    }
