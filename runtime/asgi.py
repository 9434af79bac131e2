"""
For the core's application: what came with a request into the calls that are made on its behalf.

`app.add_middleware(IncomingDeadlineMiddleware)` for FastAPI or Starlette, or around any ASGI application. It opens no
span: the host's own instrumentation does.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from middleware.call_options import incoming_deadline
from middleware.clock import Clock
from middleware.types import TIME_LEFT_HEADER

__all__ = ["IncomingDeadlineMiddleware"]

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]
_App: TypeAlias = Callable[[_Message, _Receive, _Send], Awaitable[None]]

_MAX_DIGITS = 9  # eleven days; more is no deadline


class IncomingDeadlineMiddleware:
    """
    Ends connector calls when whoever sent the request stops waiting: after its `X-Request-Timeout-Ms`.

    The time only shortens what the settings allow; a header that is no whole number of milliseconds is ignored. A task
    that outlives the request inherits its deadline, unless it is started from a context of its own.

    Args:
        app: The application.
        clock: Source of time, the connectors' own.
    """

    def __init__(self, app: _App, clock: Clock | None = None) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Handle one request, or whatever else the server brings."""
        milliseconds = _header(scope, TIME_LEFT_HEADER.encode()) if scope["type"] == "http" else b""
        if not milliseconds.isdigit() or len(milliseconds) > _MAX_DIGITS:
            await self._app(scope, receive, send)
            return
        with incoming_deadline(int(milliseconds) / 1000, clock=self._clock):
            await self._app(scope, receive, send)


def _header(scope: _Message, name: bytes) -> bytes:
    return next((bytes(value) for key, value in scope.get("headers", ()) if key.lower() == name), b"")
