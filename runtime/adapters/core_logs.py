"""
The core's own log lines about payments: names, levels and keys as its dashboards and tests know them.

Each message is one compact JSON object, since the core's text format shows the message alone; added keys come after the
core's. The core masks every UUID in a message, so the correlation id is an attribute of the record too.
"""

import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

from middleware._internal.loggers import LibraryLogger, write_record
from middleware.errors import error_type
from middleware.events import AttemptFinished, AttemptRejected, AttemptStarted, Event
from middleware.records import AttemptRecord

__all__ = ["MANAGED", "MOCK", "GatewayLines", "calling", "write"]

MANAGED = LibraryLogger("mozaiks_sdk.connectors.managed")
MOCK = LibraryLogger("mozaiks_sdk.connectors.mock")

_SERVICE = "payment"

# `scope` and `appId` of the call that the core makes in this context; None in every other call.
calling: ContextVar[Mapping[str, Any] | None] = ContextVar("calling", default=None)


def write(logger: LibraryLogger, level: int, event: str, fields: Mapping[str, Any]) -> None:
    """Write one line, if *level* is enabled."""
    enabled = logger.enabled(level)
    if enabled is None:
        return
    line = {"event": event, **fields}
    message = json.dumps(line, separators=(",", ":"), default=repr)
    write_record(enabled, level, message, {"event": event, "correlation_id": fields.get("correlationId", "")})


class GatewayLines:
    """
    Writes the lines about the attempts of calls that the core makes; a listener of the client's events.

    Per attempt that was sent: `gateway.request`, then `gateway.response` for a response of any status, then
    `gateway.error` where the attempt failed. A guard's rejection is a `gateway.error` of attempt 0.
    """

    event_types = frozenset({AttemptStarted, AttemptFinished, AttemptRejected})

    def __call__(self, event: Event) -> None:
        """Write the lines for *event*."""
        place = calling.get()
        if place is None or event.call.service != _SERVICE:  # a host's layer may call other services meanwhile
            return
        if isinstance(event, AttemptStarted):
            fields = _of_attempt(event, event.number, place)
            write(MANAGED, logging.INFO, "gateway.request", {**fields, "host": urlsplit(event.call.base_url).hostname})
        elif isinstance(event, AttemptFinished):
            fields = _of_attempt(event, event.record.number, place)
            self._finished(fields, event)
        elif isinstance(event, AttemptRejected):
            fields = _of_attempt(event, 0, place)
            write(MANAGED, logging.WARNING, "gateway.error", {**fields, "error": f"rejected by {event.guard}"})

    @staticmethod
    def _finished(fields: Mapping[str, Any], event: AttemptFinished) -> None:
        record, error = event.record, event.error
        if record.status is not None:
            added = _measured(record)
            write(MANAGED, logging.INFO, "gateway.response", {**fields, "status": record.status, **added})
        if error is not None:
            added = {"errorType": error_type(error), "requestSent": record.request_sent, **_measured(record)}
            write(MANAGED, logging.WARNING, "gateway.error", {**fields, "error": str(error), **added})


def _of_attempt(event: Event, number: int, place: Mapping[str, Any]) -> dict[str, Any]:
    call = event.call
    named = {"method": call.method, "path": call.route, "attempt": number}
    return {**named, "correlationId": call.correlation_id, **place}


def _measured(record: AttemptRecord) -> dict[str, Any]:
    return {"durationMs": round((record.ended_s - record.started_s) * 1000, 1)}
