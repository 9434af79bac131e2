"""Telemetry set-up for a host that has none: providers, export and the trace file."""

from runtime.telemetry.setup import (
    TelemetryHandle,
    configure_telemetry,
)

__all__ = [
    "TelemetryHandle",
    "configure_telemetry",
]
