"""
How trace context and baggage are written into headers: by the host's propagators, which `OTEL_PROPAGATORS` names.

The API loads them when its module is first imported, and raises where one is not installed. The variable may be that of
a whole container, and a program that only calls connectors must not fail for it: then W3C's are used, the default.
"""

import logging
from collections.abc import MutableMapping

from opentelemetry.context import Context

from middleware._internal.loggers import LibraryLogger
from middleware.redaction import redact

__all__ = ["inject", "report_unusable"]

_log = LibraryLogger("mozaiks.telemetry")
_unreported: list[str] = []

try:
    from opentelemetry import propagate
except Exception as error:  # noqa: BLE001 - a propagator is third-party code, and any of it may raise
    from opentelemetry.baggage.propagation import W3CBaggagePropagator
    from opentelemetry.propagators.composite import CompositePropagator
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    _w3c = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
    _unreported.append(redact(f"{type(error).__name__}: {error}", limit=200))

    def inject(carrier: MutableMapping[str, str], here: Context) -> None:
        """Write *here* into *carrier*."""
        _w3c.inject(carrier, here)

else:

    def inject(carrier: MutableMapping[str, str], here: Context) -> None:
        """Write *here* into *carrier*."""
        propagate.inject(carrier, here)


def report_unusable() -> None:
    """Log once per process that the host's propagators could not be loaded."""
    while _unreported:
        _warn("propagators.unusable", f"OTEL_PROPAGATORS: {_unreported.pop()}; tracecontext and baggage are used")


def _warn(event: str, reason: str) -> None:
    _log.log(logging.WARNING, f"{event} {reason}", {"event": event, "reason": reason})
