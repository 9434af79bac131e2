"""
ASGI integration: connectors that open and close with the application, and deadlines of its incoming requests.

`FastAPI(lifespan=connectors_lifespan(…))` and `app.add_middleware(IncomingDeadlineMiddleware)`, or the same for
Starlette; the middleware goes around any ASGI application. It opens no span: the host's own instrumentation does.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import anyio

from middleware.call_options import incoming_deadline
from middleware.clock import Clock
from middleware.stack import Telemetry
from middleware.types import TIME_LEFT_HEADER
from runtime.connectors.loader import ConnectorBundle, ConnectorConfig, load_connectors

from .telemetry import TelemetryHandle

__all__ = ["IncomingDeadlineMiddleware", "connectors_lifespan"]

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]
_App: TypeAlias = Callable[[_Message, _Receive, _Send], Awaitable[None]]
_Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]

_BEFORE_THE_BODY = {"http.response.start", "http.response.push", "http.response.early_hint", "http.response.debug"}
_MAX_DIGITS = 9  # eleven days; more is no deadline
_DRAIN_S = 5.0
"""How long a server that stops waits for calls: well below the 30 s that gunicorn and Kubernetes wait themselves."""
_DRAIN_POLL_S = 0.01

# Handles of the lifespans that run: one that several applications share ends with the last of them.
_handles: list[TelemetryHandle] = []


def connectors_lifespan(
    config: ConnectorConfig | None = None,
    *,
    telemetry: TelemetryHandle | Callable[[], TelemetryHandle] | None = None,
    lifespan: _Lifespan | None = None,
    drain_s: float = _DRAIN_S,
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """
    Make a lifespan for FastAPI or Starlette that opens and closes a bundle of connectors, and telemetry.

    A server that is stopped by a signal ends its process with that signal, so that nothing registered with `atexit`
    runs: anything to be done at the end belongs in the lifespan. Requests find the bundle in
    `request.state.connectors`.

    At the end, whether the server stops or the application fails: the host's own lifespan ends; calls in flight, those
    of tasks in the background, have *drain_s* seconds to end; the bundle is closed; telemetry is flushed, for as long
    as its `shutdown` allows, in a thread, so that the event loop is not blocked. An error at the start closes what was
    opened, and the server does not start.

    Args:
        config: What to load; None reads the environment when the server starts. Where its telemetry names no provider,
            the handle's is used.
        telemetry: A handle, or what makes one when the server starts, in each worker process; ended here. One that
            several applications share ends with the last of them.
        lifespan: The host's own, inside: it begins when the bundle is open, and what it yields is added to the state.
        drain_s: Longest wait for calls in flight, in seconds.

    Returns:
        A function of the application, as frameworks take it. It gives an async context manager of the state.
    """

    @asynccontextmanager
    async def opened(app: Any) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as at_end:
            handle = telemetry() if callable(telemetry) else telemetry
            if handle is not None:
                _handles.append(handle)
                at_end.push_async_callback(_end, handle)
            bundle = load_connectors(_reported(config or ConnectorConfig.from_env(), handle))
            at_end.push_async_callback(_close, bundle, drain_s)
            own = await at_end.enter_async_context(lifespan(app)) if lifespan is not None else None
            yield {"connectors": bundle, **(own or {})}

    return opened


def _reported(config: ConnectorConfig, handle: TelemetryHandle | None) -> ConnectorConfig:
    """Return *config* with the providers of *handle* where it names none."""
    if handle is None:
        return config
    given = config.telemetry
    telemetry = Telemetry(
        tracer_provider=given.tracer_provider or handle.tracer_provider,
        meter_provider=given.meter_provider or handle.meter_provider,
        listener=given.listener,
    )
    return replace(config, telemetry=telemetry)


async def _close(bundle: ConnectorBundle, drain_s: float) -> None:
    with anyio.CancelScope(shield=True):  # a server may cancel its lifespan at its own limit; both waits are bounded
        with anyio.move_on_after(drain_s):
            while bundle.calls_in_flight:  # noqa: ASYNC110 - a call signals its end to no other task
                await anyio.sleep(_DRAIN_POLL_S)
        await bundle.aclose()


async def _end(handle: TelemetryHandle) -> None:
    _handles.remove(handle)
    if handle not in _handles:
        with anyio.CancelScope(shield=True):  # as above
            await anyio.to_thread.run_sync(handle.shutdown)


class IncomingDeadlineMiddleware:
    """
    Ends connector calls when the sender of the request stops waiting: after its `X-Request-Timeout-Ms`.

    The time only shortens what the settings allow; a header that is no whole number of milliseconds is ignored. The
    sender waits no longer once the response arrives: when its first bytes of the body are sent the deadline ends, so
    that neither the rest of a stream nor a background task is bound by it. A task that outlives the request inherits
    the deadline until then.

    Args:
        app: The application.
        clock: Source of time, the connectors' own.
    """

    def __init__(self, app: _App, clock: Clock | None = None) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Handle one request, or another ASGI scope, such as a WebSocket."""
        milliseconds = _header(scope, TIME_LEFT_HEADER.encode()) if scope["type"] == "http" else b""
        if not milliseconds.isdigit() or len(milliseconds) > _MAX_DIGITS:
            await self._app(scope, receive, send)
            return
        with incoming_deadline(int(milliseconds) / 1000, clock=self._clock) as deadline:

            async def send_and_lift(message: _Message) -> None:
                await send(message)
                if message["type"] not in _BEFORE_THE_BODY:
                    deadline.lift()

            await self._app(scope, receive, send_and_lift)


def _header(scope: _Message, name: bytes) -> bytes:
    return next((bytes(value) for key, value in scope.get("headers", ()) if key.lower() == name), b"")
