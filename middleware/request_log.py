"""
Structured log lines, written from events: one per call, per attempt, per retry and per breaker transition.

Silent until the host configures logging, and then by the host's own structlog or stdlib configuration. Never ERROR:
whether a failed call is an error is the application's to decide.
"""

import logging
from typing import Any

import structlog

from .errors import error_type
from .events import (
    AttemptFinished,
    AttemptRejected,
    CallFinished,
    CircuitStateChanged,
    CorrelationIdReplaced,
    Event,
    RetryScheduled,
)
from .types import CallInfo

__all__ = ["LOGGER_NAME", "LogListener"]

LOGGER_NAME = "mozaiks.connectors"

logging.getLogger(LOGGER_NAME).addHandler(logging.NullHandler())


class LogListener:
    """Writes one line per event that an engineer would search for."""

    def __init__(self) -> None:
        # Not structlog.get_logger(): unconfigured, that prints to stdout.
        self._log: Any = structlog.wrap_logger(
            logging.getLogger(LOGGER_NAME),
            wrapper_class=structlog.stdlib.BoundLogger,
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.filter_by_level,
                structlog.stdlib.render_to_log_kwargs,
            ],
        )

    def __call__(self, event: Event) -> None:
        """Write the line for *event*, if it has one."""
        fields = _fields(event.call)
        if isinstance(event, CallFinished):
            fields |= {"attempts": event.outcome.attempts, "elapsed_s": round(event.outcome.elapsed_s, 6)}
            if event.error is None:
                self._log.debug("call.cancelled" if event.cancelled else "call.succeeded", **fields)
            else:
                self._log.warning(
                    "call.failed",
                    **fields,
                    error_type=error_type(event.error),
                    reason=getattr(event.error, "reason", ""),
                    stop_reason=event.outcome.stop_reason,
                    outcome=event.result,
                )
        elif isinstance(event, AttemptFinished):
            record = event.record
            self._log.debug(
                "attempt.finished",
                **fields,
                attempt=record.number,
                outcome=record.outcome,
                status=record.status,
                request_sent=record.request_sent,
                duration_s=round(record.ended_s - record.started_s, 6),
            )
        elif isinstance(event, RetryScheduled):
            self._log.info(
                "retry.scheduled",
                **fields,
                attempt=event.attempt,
                delay_s=round(event.delay_s, 6),
                error_type=error_type(event.error),
            )
        elif isinstance(event, CircuitStateChanged):
            self._log.warning(
                "circuit_breaker.state_changed",
                **fields,
                breaker=event.breaker,
                state_before=event.before,
                state_after=event.after,
            )
        elif isinstance(event, AttemptRejected):
            self._log.debug("attempt.rejected", **fields, guard=event.guard, retry_after_s=event.retry_after_s)
        elif isinstance(event, CorrelationIdReplaced):
            self._log.warning("correlation_id.replaced", **fields)


def _fields(call: CallInfo) -> dict[str, Any]:
    return {
        "service": call.service,
        "operation": call.operation,
        "method": call.method,
        "route": call.route,
        "correlation_id": call.correlation_id,
    }
