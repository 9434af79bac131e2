"""
Structured log lines, written from events: one per call, per attempt, per retry and per breaker transition.

Silent until the host configures logging, and then by the host's own configuration: structlog's where the host has
configured structlog, else the standard library's. Never ERROR for a call: whether a failed call is an error is the
application's to decide.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import structlog

from middleware.errors import CallError, error_type
from middleware.events import (
    AttemptFinished,
    AttemptRejected,
    CallFinished,
    CircuitStateChanged,
    CorrelationIdMismatched,
    CorrelationIdReplaced,
    Event,
    HedgeStarted,
    RetryBudgetExhausted,
    RetryScheduled,
    SettingsRejected,
    SettingsReloaded,
)

from . import semconv

__all__ = ["ATTEMPT_LOGGER_NAME", "LOGGER_NAME", "LogListener"]

LOGGER_NAME = "mozaiks.connectors"

ATTEMPT_LOGGER_NAME = f"{LOGGER_NAME}.attempts"
"""Of the lines that tell of single attempts: a level of its own leaves one line per call."""

logging.getLogger(LOGGER_NAME).addHandler(logging.NullHandler())


class _Line(NamedTuple):
    level: int
    name: str
    fields: dict[str, Any]


class _Channel:
    """
    One logger, by way of whatever the host has configured.

    Args:
        name: Name of the logger.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._stdlib = logging.getLogger(name)
        # Not structlog.get_logger(): unconfigured, that prints to stdout. All fields go into `extra`, never into the
        # message: formatters rewrite messages, and mask what looks like an id in them. Bound once: each use of an
        # unbound logger would make a new one.
        self._to_stdlib: Any = structlog.wrap_logger(
            self._stdlib,
            wrapper_class=structlog.stdlib.BoundLogger,
            processors=[structlog.stdlib.render_to_log_kwargs],
        ).bind()
        self._to_host: Any = None

    def open(self, lowest: int) -> Any:
        """Return the structlog logger for lines of level *lowest* or above; None where none would be written."""
        if structlog.is_configured():
            if self._to_host is None:
                self._to_host = structlog.get_logger(self._name)
            return self._to_host
        return self._to_stdlib if self._stdlib.isEnabledFor(lowest) else None


class LogListener:
    """
    Writes one line per event that an engineer would search for.

    Args:
        trace_ids: Gives the ids of the current span, for the line's fields.

    Attributes:
        event_types: Events that have a line.
    """

    def __init__(self, trace_ids: Callable[[], Mapping[str, str]] = dict) -> None:
        self._trace_ids = trace_ids
        self._channels = {name: _Channel(name) for name in (LOGGER_NAME, ATTEMPT_LOGGER_NAME)}
        self.event_types = frozenset(_LINES)

    def __call__(self, event: Event) -> None:
        """Write the line for *event*."""
        lowest, make, name = _LINES[type(event)]
        channel = self._channels[name]
        if channel.open(lowest) is None:
            return
        line = make(event)
        log = channel.open(line.level)
        if log is None:
            return
        write = getattr(log, _METHODS[line.level])
        call = event.call
        write(
            line.name,
            service=call.service,
            operation=call.operation,
            method=call.method,
            route=call.route,
            correlation_id=call.correlation_id,
            **line.fields,
            **self._trace_ids(),
        )


def _call_finished(event: CallFinished) -> _Line:
    return _call_ended(event) if event.error is None else _call_failed(event, event.error)


def _call_ended(event: CallFinished) -> _Line:
    fields = {
        "attempts": event.outcome.attempts,
        "elapsed_s": round(event.outcome.elapsed_s, 6),
        "outcome": event.result,
    }
    name = semconv.LOG_CALL_CANCELLED if event.cancelled else semconv.LOG_CALL_SUCCEEDED
    return _Line(logging.DEBUG, name, fields)


def _call_failed(event: CallFinished, error: CallError) -> _Line:
    fields = {
        "attempts": event.outcome.attempts,
        "elapsed_s": round(event.outcome.elapsed_s, 6),
        "outcome": event.result,
        "error_type": error_type(error),
        "reason": error.reason,
        "stop_reason": event.outcome.stop_reason,
        "request_sent": event.outcome.request_sent,
    }
    return _Line(logging.WARNING, semconv.LOG_CALL_FAILED, fields)


def _attempt_finished(event: AttemptFinished) -> _Line:
    record = event.record
    fields = {
        "attempt": record.number,
        "attempt_outcome": record.outcome,
        "status": record.status,
        "request_sent": record.request_sent,
        "duration_s": round(record.ended_s - record.started_s, 6),
        "is_hedge": record.is_hedge,
    }
    return _Line(logging.DEBUG, semconv.LOG_ATTEMPT_FINISHED, fields)


def _attempt_rejected(event: AttemptRejected) -> _Line:
    return _Line(
        logging.DEBUG, semconv.LOG_ATTEMPT_REJECTED, {"guard": event.guard, "retry_after_s": event.retry_after_s}
    )


def _retry_scheduled(event: RetryScheduled) -> _Line:
    fields = {
        "attempt": event.attempt,
        "delay_s": round(event.delay_s, 6),
        "error_type": error_type(event.error),
        "retry_after_s": event.error.retry_after_s,
        "budget_balance": event.budget_balance,
    }
    return _Line(logging.INFO, semconv.LOG_RETRY_SCHEDULED, fields)


def _budget_exhausted(event: RetryBudgetExhausted) -> _Line:
    level = logging.WARNING if event.first else logging.DEBUG
    return _Line(level, semconv.LOG_BUDGET_EXHAUSTED, {"balance": round(event.balance, 3)})


def _hedge_started(event: HedgeStarted) -> _Line:
    return _Line(logging.DEBUG, semconv.LOG_HEDGE_STARTED, {"hedge": event.hedge, "delay_s": round(event.delay_s, 6)})


def _circuit_state_changed(event: CircuitStateChanged) -> _Line:
    fields = {"breaker": event.breaker, "state_before": event.before, "state_after": event.after}
    return _Line(logging.WARNING, semconv.LOG_CIRCUIT_STATE_CHANGED, fields)


def _correlation_id_replaced(_event: CorrelationIdReplaced) -> _Line:
    return _Line(logging.WARNING, semconv.LOG_CORRELATION_ID_REPLACED, {})


def _correlation_id_mismatched(event: CorrelationIdMismatched) -> _Line:
    fields = {"received_correlation_id": event.received}
    return _Line(logging.WARNING, semconv.LOG_CORRELATION_ID_MISMATCHED, fields)


def _settings_reloaded(event: SettingsReloaded) -> _Line:
    return _Line(logging.INFO, semconv.LOG_SETTINGS_RELOADED, {"changes": list(event.changes)})


def _settings_rejected(event: SettingsRejected) -> _Line:
    return _Line(logging.ERROR, semconv.LOG_SETTINGS_REJECTED, {"problems": list(event.problems)})


# Per event the lowest level that its line may have, since below it the line is not even made; then the line, and where
# it goes.
_LINES: dict[type[Event], tuple[int, Callable[[Any], _Line], str]] = {
    AttemptFinished: (logging.DEBUG, _attempt_finished, ATTEMPT_LOGGER_NAME),
    AttemptRejected: (logging.DEBUG, _attempt_rejected, ATTEMPT_LOGGER_NAME),
    CallFinished: (logging.DEBUG, _call_finished, LOGGER_NAME),
    CircuitStateChanged: (logging.WARNING, _circuit_state_changed, LOGGER_NAME),
    CorrelationIdMismatched: (logging.WARNING, _correlation_id_mismatched, LOGGER_NAME),
    CorrelationIdReplaced: (logging.WARNING, _correlation_id_replaced, LOGGER_NAME),
    HedgeStarted: (logging.DEBUG, _hedge_started, ATTEMPT_LOGGER_NAME),
    RetryBudgetExhausted: (logging.DEBUG, _budget_exhausted, LOGGER_NAME),
    RetryScheduled: (logging.INFO, _retry_scheduled, LOGGER_NAME),
    SettingsRejected: (logging.ERROR, _settings_rejected, LOGGER_NAME),
    SettingsReloaded: (logging.INFO, _settings_reloaded, LOGGER_NAME),
}

_METHODS = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}
