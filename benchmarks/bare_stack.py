"""The stack with its telemetry taken out; reaches into the layers, and so knows this version of them alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unittest import mock

from middleware import stack as layering
from middleware.events import FanOut
from middleware.telemetry.recording import AttemptRecordingMiddleware, CallRecordingMiddleware
from middleware.telemetry.tracing import SafeTracer
from middleware.types import Handler, Middleware
from runtime.connectors.base import PlatformHttpClient

_RECORDING = CallRecordingMiddleware, AttemptRecordingMiddleware


class _NoTracer(SafeTracer):
    """Opens no span, and does not look whether it could."""

    def __init__(self, *_args: Any) -> None:
        self.dropped = 0
        self.has_no_sdk = True

    def refresh_provider(self) -> bool:
        return False

    def headers(self) -> Mapping[str, str]:
        return {}

    def suppress_instrumentation(self, _headers: Any) -> None:
        return None

    def detach(self, _token: Any) -> None:
        return None


def without_telemetry(make: Callable[[], PlatformHttpClient], instead: Sequence[Middleware] = ()) -> PlatformHttpClient:
    """Make a client whose stack has no listeners, and *instead* around its recording layers, which open no spans."""
    compose = layering.compose

    def composed(layers: Sequence[Middleware], terminal: Handler) -> Handler:
        others, kept = iter(instead), list[Middleware]()
        for layer in layers:
            if isinstance(layer, _RECORDING):
                kept += [other for other in (next(others, None),) if other is not None]
            kept.append(layer)
        return compose(kept, terminal)

    with (
        mock.patch.object(layering, "compose", composed),
        mock.patch.object(layering, "SafeTracer", _NoTracer),
        mock.patch.object(layering, "FanOut", return_value=FanOut([])),
    ):
        return make()
