"""One span per incoming request, as an instrumentation of the host makes it; calls of connectors are its children."""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, StatusCode, TracerProvider

from middleware import current_correlation_id

__all__ = ["ServerSpans"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class ServerSpans:
    """
    Makes the span of a request; `opentelemetry-instrumentation-fastapi` does it in a host that has it.

    Args:
        app: The application.
        tracer_provider: Receives the spans; None uses the process's global one.
    """

    def __init__(
        self, app: Callable[[_Message, _Receive, _Send], Awaitable[None]], tracer_provider: TracerProvider | None = None
    ) -> None:
        self._app = app
        self._tracer = trace.get_tracer("examples.host", tracer_provider=tracer_provider)

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Handle one request, or another ASGI scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with self._tracer.start_as_current_span(
            scope["method"], context=propagate.extract(headers), kind=SpanKind.SERVER
        ) as span:
            span.set_attribute("http.request.method", scope["method"])
            span.set_attribute("process.pid", os.getpid())
            span.set_attribute("correlation_id", current_correlation_id())

            async def noting(message: _Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:  # noqa: PLR2004 - semantic conventions for servers
                        span.set_status(StatusCode.ERROR)
                await send(message)

            await self._app(scope, receive, noting)
            route = getattr(scope.get("route"), "path", None)
            if route is not None:
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)
