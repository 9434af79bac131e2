"""
Structured log lines, written from events: one per call, per attempt, per retry and per breaker transition.

Nothing is written until the host configures logging; then the host's own configuration applies: structlog's where the
host has configured structlog, else the standard library's. A line is written exactly when its level is enabled there. A
call never logs at ERROR: whether a failed call is an error is for the application to decide.
"""

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import structlog

from middleware._internal.loggers import LibraryLogger, write_record
from middleware.errors import InternalError, error_type
from middleware.events import (
    AttemptFinished,
    AttemptRejected,
    CallFinished,
    CircuitStateChanged,
    CorrelationIdMismatched,
    CorrelationIdReplaced,
    Event,
    HedgeStarted,
    QuotaAcquired,
    QuotaSourceChanged,
    RetryBudgetExhausted,
    RetryScheduled,
    SettingsContradictory,
    SettingsRejected,
    SettingsReloaded,
)

from . import semconv
from .host_structlog import StructlogChannel

__all__ = ["ATTEMPT_LOGGER_NAME", "LOGGER_NAME", "LogListener"]

LOGGER_NAME = "mozaiks.connectors"

ATTEMPT_LOGGER_NAME = f"{LOGGER_NAME}.attempts"
"""Logger of the lines about single attempts; with its level at INFO there is one line per call."""


class _Kind(NamedTuple):
    """
    A kind of line: what is known before a line of it is made.

    Attributes:
        name: Name of the line.
        level: Level of all its lines.
        summary: Returns what happened, for people: our own words, names and numbers; no ids, and nothing that a caller
            or a server wrote.
        fields: Returns the fields that only this kind has.
        logger: Name of its logger.
    """

    name: str
    level: int
    summary: Callable[[Any], str]
    fields: Callable[[Any], dict[str, Any]]
    logger: str = LOGGER_NAME


_Write: TypeAlias = Callable[[_Kind, Event, dict[str, Any]], None]


class _Channel:
    """
    One logger, through what the host has configured.

    Args:
        name: Name of the logger.

    Attributes:
        stdlib: The logger of the standard library.
    """

    def __init__(self, name: str) -> None:
        self.stdlib = LibraryLogger(name)
        self._structlog = StructlogChannel(name)

    def open(self, level: int) -> _Write | None:
        """Return the writer of lines of *level*; None where a line would not be written."""
        # Not by structlog where it is not configured: that prints to stdout.
        if structlog.is_configured():
            return self._by_structlog
        logger = self.stdlib.enabled(level)
        if logger is None:
            return None
        return functools.partial(self._by_stdlib, logger)

    def _by_structlog(self, kind: _Kind, _event: Event, fields: dict[str, Any]) -> None:
        self._structlog.write(kind.level, kind.name, fields)

    @staticmethod
    def _by_stdlib(logger: logging.Logger, kind: _Kind, event: Event, fields: dict[str, Any]) -> None:
        # All fields go into the record, never into the message: formatters rewrite messages, and mask what looks like
        # an id in them.
        message = f"{kind.name} {kind.summary(event)}"
        fields["event"] = kind.name
        write_record(logger, kind.level, message, fields, source=_SOURCE, has_own_names=True)


_here = _Channel._by_stdlib.__code__  # noqa: SLF001 - of this module
_SOURCE = _here.co_filename, _here.co_firstlineno, _here.co_name
"""File, line and function of all lines: to look for them costs as much as all fields of a line."""


class LogListener:
    """
    Writes one line per event, of the types that have a line.

    Args:
        trace_ids: Returns the ids of the current span, for the line's fields.

    Attributes:
        event_types: Events that have a line.
    """

    def __init__(self, trace_ids: Callable[[], Mapping[str, str]] = dict) -> None:
        self._trace_ids = trace_ids
        self._channels = {name: _Channel(name) for name in (LOGGER_NAME, ATTEMPT_LOGGER_NAME)}
        self.event_types = frozenset(_KIND_OF)

    def needs_success(self, kind: type[Event]) -> bool:
        """Return whether the line of a success would be written."""
        line = _SUCCEEDED[kind]
        return structlog.is_configured() or self._channels[line.logger].stdlib.enabled(line.level) is not None

    def __call__(self, event: Event) -> None:
        """Write the line for *event*, if its level is enabled."""
        kind = _KIND_OF[type(event)](event)
        write = self._channels[kind.logger].open(kind.level)
        if write is None:
            return
        call = event.call
        common = {
            "service": call.service,
            "operation": call.operation,
            "method": call.method,
            "route": call.route,
            "correlation_id": call.correlation_id,
        }
        write(kind, event, {**common, **kind.fields(event), **self._trace_ids()})


def _operation(event: Event) -> str:
    return f"{event.call.service}.{event.call.operation}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _ended_summary(event: CallFinished) -> str:
    call, attempts = event.call, event.outcome.attempts
    return f"{call.service}.{call.operation} after {attempts} attempt{'' if attempts == 1 else 's'}"


def _ended_fields(event: CallFinished) -> dict[str, Any]:
    return {
        "attempts": event.outcome.attempts,
        "elapsed_s": round(event.outcome.elapsed_s, 6),
        "outcome": event.result,
        "platform_correlation_id": event.outcome.platform_correlation_id,
    }


def _failed_summary(event: CallFinished) -> str:
    return f"{_operation(event)} {error_type(event.error)} after {_counted(event.outcome.attempts, 'attempt')}"


def _failed_fields(event: CallFinished) -> dict[str, Any]:
    return {
        "attempts": event.outcome.attempts,
        "elapsed_s": round(event.outcome.elapsed_s, 6),
        "outcome": event.result,
        "platform_correlation_id": event.error.platform_correlation_id if event.error else "",
        "error_type": error_type(event.error),
        "reason": event.error.reason if event.error else "",
        "stop_reason": event.outcome.stop_reason,
        "request_sent": event.outcome.request_sent,
        "answered_by": event.outcome.answered_by,
        "origin": list(event.error.origin) if isinstance(event.error, InternalError) else [],
    }


def _attempt_summary(event: AttemptFinished) -> str:
    status = "" if event.record.status is None else f" {event.record.status}"
    return f"{_operation(event)} attempt {event.record.number} {event.record.outcome}{status}"


def _attempt_fields(event: AttemptFinished) -> dict[str, Any]:
    record = event.record
    return {
        "attempt": record.number,
        "attempt_outcome": record.outcome,
        "status": record.status,
        "request_sent": record.request_sent,
        "answered_by": record.answered_by,
        "duration_s": round(record.ended_s - record.started_s, 6),
        "is_hedge": record.is_hedge,
        "platform_correlation_id": record.platform_correlation_id,
    }


def _rejected_summary(event: AttemptRejected) -> str:
    return f"{_operation(event)} by {event.guard}"


def _rejected_fields(event: AttemptRejected) -> dict[str, Any]:
    return {"guard": event.guard, "retry_after_s": event.retry_after_s}


def _retry_summary(event: RetryScheduled) -> str:
    failed = f"attempt {event.attempt} {error_type(event.error)}"
    return f"{_operation(event)} {failed}, next one in {event.delay_s:.3g} s"


def _retry_fields(event: RetryScheduled) -> dict[str, Any]:
    return {
        "attempt": event.attempt,
        "delay_s": round(event.delay_s, 6),
        "error_type": error_type(event.error),
        "retry_after_s": event.error.retry_after_s,
        "budget_balance": event.budget_balance,
    }


def _budget_summary(event: RetryBudgetExhausted) -> str:
    return f"{event.call.service} {event.balance:.3g} retries left"


def _budget_fields(event: RetryBudgetExhausted) -> dict[str, Any]:
    return {"balance": round(event.balance, 3)}


def _hedge_summary(event: HedgeStarted) -> str:
    return f"{_operation(event)} hedge {event.hedge} after {event.delay_s:.3g} s"


def _hedge_fields(event: HedgeStarted) -> dict[str, Any]:
    return {"hedge": event.hedge, "delay_s": round(event.delay_s, 6)}


def _circuit_summary(event: CircuitStateChanged) -> str:
    return f"{event.breaker} {event.before} -> {event.after}"


def _circuit_fields(event: CircuitStateChanged) -> dict[str, Any]:
    return {"breaker": event.breaker, "state_before": event.before, "state_after": event.after}


def _quota_summary(event: QuotaAcquired) -> str:
    penalty = f", {event.penalty_s:.3g} s of it for a Retry-After" if event.penalty_s else ""
    return f"{_operation(event)} by {event.source} quota after {event.waited_s:.3g} s{penalty}"


def _quota_fields(event: QuotaAcquired) -> dict[str, Any]:
    return {
        "source": event.source,
        "waited_s": round(event.waited_s, 6),
        "penalty_s": round(event.penalty_s, 6),
    }


def _source_summary(event: QuotaSourceChanged) -> str:
    reason = f" ({event.reason})" if event.reason else ""
    return f"{event.call.service} quota is {event.source}{reason}"


def _source_fields(event: QuotaSourceChanged) -> dict[str, Any]:
    return {"source": event.source, "reason": event.reason}


def _mismatched_fields(event: CorrelationIdMismatched) -> dict[str, Any]:
    return {"received_correlation_id": event.received}


def _replaced_fields(_event: CorrelationIdReplaced) -> dict[str, Any]:
    return {}


def _reloaded_summary(event: SettingsReloaded) -> str:
    # Not the service of the call, which happened to be the first; a source of the host's own may name no scope.
    changes = _counted(len(event.changes), "change")
    text = f"{changes} of {', '.join(event.scopes)}" if event.scopes else f"{event.call.service} {changes}"
    return f"{text}, {_counted(len(event.shadowed), 'value')} shadowed" if event.shadowed else text


def _reloaded_fields(event: SettingsReloaded) -> dict[str, Any]:
    fields: dict[str, Any] = {"changes": list(event.changes)}
    more = {
        "scopes": list(event.scopes),
        "shadowed": list(event.shadowed),
        "hashes": dict(event.hashes),
        "policy": dict(event.policy),
    }
    return fields | {name: values for name, values in more.items() if values}


def _refused_summary(event: SettingsRejected) -> str:
    return f"{event.call.service} {_counted(len(event.problems), 'problem')}"


def _refused_fields(event: SettingsRejected) -> dict[str, Any]:
    return {"problems": list(event.problems)}


def _contradictory_summary(event: SettingsContradictory) -> str:
    return f"{event.call.service} {_counted(len(event.contradictions), 'contradiction')}"


def _contradictory_fields(event: SettingsContradictory) -> dict[str, Any]:
    return {"contradictions": list(event.contradictions)}


_CALL_SUCCEEDED = _Kind(semconv.LOG_CALL_SUCCEEDED, logging.DEBUG, _ended_summary, _ended_fields)
_CALL_CANCELLED = _Kind(semconv.LOG_CALL_CANCELLED, logging.DEBUG, _ended_summary, _ended_fields)
_CALL_FAILED = _Kind(semconv.LOG_CALL_FAILED, logging.WARNING, _failed_summary, _failed_fields)
_ATTEMPT_FINISHED = _Kind(
    semconv.LOG_ATTEMPT_FINISHED, logging.DEBUG, _attempt_summary, _attempt_fields, ATTEMPT_LOGGER_NAME
)
_ATTEMPT_REJECTED = _Kind(
    semconv.LOG_ATTEMPT_REJECTED, logging.DEBUG, _rejected_summary, _rejected_fields, ATTEMPT_LOGGER_NAME
)
_RETRY_SCHEDULED = _Kind(semconv.LOG_RETRY_SCHEDULED, logging.INFO, _retry_summary, _retry_fields)
_BUDGET_EXHAUSTED = _Kind(semconv.LOG_BUDGET_EXHAUSTED, logging.WARNING, _budget_summary, _budget_fields)
_BUDGET_STILL_EXHAUSTED = _Kind(semconv.LOG_BUDGET_EXHAUSTED, logging.DEBUG, _budget_summary, _budget_fields)
_HEDGE_STARTED = _Kind(semconv.LOG_HEDGE_STARTED, logging.DEBUG, _hedge_summary, _hedge_fields, ATTEMPT_LOGGER_NAME)
_CIRCUIT_STATE_CHANGED = _Kind(semconv.LOG_CIRCUIT_STATE_CHANGED, logging.WARNING, _circuit_summary, _circuit_fields)
_QUOTA_ACQUIRED = _Kind(semconv.LOG_QUOTA_ACQUIRED, logging.DEBUG, _quota_summary, _quota_fields, ATTEMPT_LOGGER_NAME)
_QUOTA_SOURCE_CHANGED = _Kind(semconv.LOG_QUOTA_SOURCE_CHANGED, logging.WARNING, _source_summary, _source_fields)
_CORRELATION_ID_REPLACED = _Kind(semconv.LOG_CORRELATION_ID_REPLACED, logging.WARNING, _operation, _replaced_fields)
_CORRELATION_ID_MISMATCHED = _Kind(
    semconv.LOG_CORRELATION_ID_MISMATCHED, logging.WARNING, _operation, _mismatched_fields
)
_SETTINGS_RELOADED = _Kind(semconv.LOG_SETTINGS_RELOADED, logging.INFO, _reloaded_summary, _reloaded_fields)
_SETTINGS_REJECTED = _Kind(semconv.LOG_SETTINGS_REJECTED, logging.ERROR, _refused_summary, _refused_fields)

_SETTINGS_CONTRADICTORY = _Kind(
    semconv.LOG_SETTINGS_CONTRADICTORY, logging.WARNING, _contradictory_summary, _contradictory_fields
)


def _kind_of_end(event: CallFinished) -> _Kind:
    if event.error is not None:
        return _CALL_FAILED
    return _CALL_CANCELLED if event.cancelled else _CALL_SUCCEEDED


def _kind_of_exhaustion(event: RetryBudgetExhausted) -> _Kind:
    return _BUDGET_EXHAUSTED if event.first else _BUDGET_STILL_EXHAUSTED


_SUCCEEDED: dict[type[Event], _Kind] = {AttemptFinished: _ATTEMPT_FINISHED, CallFinished: _CALL_SUCCEEDED}

# The kind, and so the level, is chosen before the fields are made: most lines are below the enabled level.
_KIND_OF: dict[type[Event], Callable[[Any], _Kind]] = {
    AttemptFinished: lambda _: _ATTEMPT_FINISHED,
    AttemptRejected: lambda _: _ATTEMPT_REJECTED,
    CallFinished: _kind_of_end,
    CircuitStateChanged: lambda _: _CIRCUIT_STATE_CHANGED,
    CorrelationIdMismatched: lambda _: _CORRELATION_ID_MISMATCHED,
    CorrelationIdReplaced: lambda _: _CORRELATION_ID_REPLACED,
    HedgeStarted: lambda _: _HEDGE_STARTED,
    QuotaAcquired: lambda _: _QUOTA_ACQUIRED,
    QuotaSourceChanged: lambda _: _QUOTA_SOURCE_CHANGED,
    RetryBudgetExhausted: _kind_of_exhaustion,
    RetryScheduled: lambda _: _RETRY_SCHEDULED,
    SettingsContradictory: lambda _: _SETTINGS_CONTRADICTORY,
    SettingsRejected: lambda _: _SETTINGS_REJECTED,
    SettingsReloaded: lambda _: _SETTINGS_RELOADED,
}
