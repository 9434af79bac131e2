"""
ASGI integration: connectors that open and close with the application, and what its incoming requests bind.

`FastAPI(lifespan=connectors_lifespan(…))` and `app.add_middleware(ConnectorsMiddleware)`, or the same for Starlette;
the middleware goes around any ASGI application. It opens no span: the host's own instrumentation does. What FastAPI and
Starlette take in addition is in `runtime.adapters.starlette`.
"""

import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, TypeAlias

import anyio

from middleware._internal.moved import announce_renames
from middleware.call_options import IncomingDeadline, IncomingRequest, incoming_deadline, incoming_request
from middleware.clock import Clock
from middleware.request.correlation import CORRELATION_HEADER, choose_correlation_id
from middleware.types import TIME_LEFT_HEADER
from runtime.connectors.loader import ConnectorBundle, ConnectorConfig, config_of_environment, load_connectors

from .telemetry import TelemetryHandle

__all__ = ["ConnectorsMiddleware", "connectors_lifespan"]

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]
_App: TypeAlias = Callable[[_Message, _Receive, _Send], Awaitable[None]]
_Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]

_BOUND = {"http", "websocket"}
_MARK = "mozaiks.connectors"
"""Key of the id in a scope that is bound."""
_ID_HEADER = CORRELATION_HEADER.encode()
_PLAIN = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"21")]
_HEADS = {"http.response.start", "accept"}
_PARTS = {"http.response.body", "http.response.zerocopysend"}
_LAST = {"http.response.pathsend", "close"}
_BEFORE_THE_BODY = {"http.response.start", "http.response.push", "http.response.early_hint", "http.response.debug"}
_MAX_DIGITS = 9  # eleven days; more is no deadline
_DRAIN_S = 5.0
"""How long a server that stops waits for calls: well below the 30 s that gunicorn and Kubernetes wait themselves."""

# Handles of the lifespans that run: one that several applications share ends with the last of them.
_handles: list[TelemetryHandle] = []


def connectors_lifespan(
    config: ConnectorConfig | None = None,
    *,
    telemetry: TelemetryHandle | Callable[[], TelemetryHandle] | None = None,
    lifespan: _Lifespan | None = None,
    drain_s: float = _DRAIN_S,
    process_wide: bool = False,
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
        config: What to load; None reads the environment when the server starts, as `load_connectors()` does. Where its
            telemetry names no provider, the handle's is used.
        telemetry: A handle, or what makes one when the server starts, in each worker process; ended here. One that
            several applications share ends with the last of them.
        lifespan: The host's own, inside: it begins when the bundle is open, and what it yields is added to the state.
        drain_s: Longest wait for calls in flight, in seconds.
        process_wide: Plugins that call `get_connectors()` or `load_connectors()` get this bundle too, while it is open.

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
            bundle = load_connectors(_reported(config or config_of_environment(), handle), process_wide=process_wide)
            at_end.push_async_callback(_close, bundle, drain_s)
            own = await at_end.enter_async_context(lifespan(app)) if lifespan is not None else None
            yield {"connectors": bundle, **(own or {})}

    return opened


def _reported(config: ConnectorConfig, handle: TelemetryHandle | None) -> ConnectorConfig:
    """Return *config* with the providers of *handle* where it names none."""
    if handle is None:
        return config
    given = config.telemetry
    telemetry = replace(
        given,
        tracer_provider=given.tracer_provider or handle.tracer_provider,
        meter_provider=given.meter_provider or handle.meter_provider,
    )
    return replace(config, telemetry=telemetry)


async def _close(bundle: ConnectorBundle, drain_s: float) -> None:
    with anyio.CancelScope(shield=True):  # a server may cancel its lifespan at its own limit; both waits are bounded
        await bundle.drain(drain_s)
        await bundle.aclose()


async def _end(handle: TelemetryHandle) -> None:
    _handles.remove(handle)
    if handle not in _handles:
        with anyio.CancelScope(shield=True):  # as above
            await anyio.to_thread.run_sync(handle.shutdown)


class ConnectorsMiddleware:
    """
    Gives each incoming request a correlation id, which its connector calls and its response carry, and its deadline.

    Id: that of the `X-Correlation-ID` header where it can be sent on, else a new UUID. Connector calls that are given
    none send it, in each task of the request, and every response has it: of errors and streams too, and the one to an
    unhandled exception. It ends with the last byte of the response: calls of background tasks, and of tasks that
    outlive the request, have ids of their own.

    Deadline: connector calls end when the sender stops waiting, after its `X-Request-Timeout-Ms`. The time only
    shortens what the settings allow; a header that is no whole number of milliseconds is ignored. The sender waits no
    longer once the response arrives: when its first bytes of the body are sent the deadline ends, so that neither the
    rest of a stream nor a background task is bound by it. A task that outlives the request inherits the deadline until
    then.

    Credentials are never bound: see `ConnectorBundle.bind`. Of a WebSocket the id is bound until it closes, and sent
    with the handshake. It goes around any ASGI application, or, by `app.add_middleware`, is added last, so that it is
    the outermost.

    Args:
        app: The application.
        clock: Source of time, the connectors' own.
    """

    def __init__(self, app: _App, clock: Clock | None = None) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Handle one request, WebSocket, or other ASGI scope."""
        if scope["type"] not in _BOUND or _MARK in scope:  # around it is another one, whose id counts
            await self._app(scope, receive, send)
            return
        given = _header(scope, _ID_HEADER).decode("latin-1")
        correlation_id, _ = choose_correlation_id(given)
        scope[_MARK] = correlation_id
        milliseconds = _header(scope, TIME_LEFT_HEADER.encode()) if scope["type"] == "http" else b""
        with ExitStack() as at_end:
            deadline = None
            if milliseconds.isdigit() and len(milliseconds) <= _MAX_DIGITS:
                deadline = at_end.enter_context(incoming_deadline(int(milliseconds) / 1000, clock=self._clock))
                at_end.callback(deadline.lift)
            request = at_end.enter_context(incoming_request(correlation_id))
            response = _Response(send, correlation_id, request, deadline)
            await _with_error_response(self._app, scope)(scope, receive, response.send)


class _Response:
    """
    The response to one request, as it passes.

    Args:
        send: Sends its messages on.
        correlation_id: Is added to its head.
        request: Ends with its last byte.
        deadline: Is lifted when the first bytes of its body were sent.
    """

    def __init__(
        self, send: _Send, correlation_id: str, request: IncomingRequest, deadline: IncomingDeadline | None
    ) -> None:
        self._send = send
        self._id = _ID_HEADER, correlation_id.encode()
        self._request = request
        self._deadline = deadline

    async def send(self, message: _Message) -> None:
        """Send one message on."""
        kind = message["type"].removeprefix("websocket.")  # a rejected handshake has `websocket.http.response.start`
        if kind in _HEADS:
            others = [one for one in message.get("headers", ()) if bytes(one[0]).lower() != _ID_HEADER]
            message = {**message, "headers": [*others, self._id]}
        await self._send(message)
        if self._deadline is not None and kind not in _BEFORE_THE_BODY:
            self._deadline.lift()
        if kind in _LAST or (kind in _PARTS and not message.get("more_body", False)):
            self._request.end()


def _with_error_response(app: _App, scope: _Message) -> _App:
    """
    Return *app* so that the response to an unhandled exception passes this middleware, or has the id all the same.

    Starlette makes it outside of all middleware that is added to an application. Its own one is made here instead, and
    the exception goes on. A handler of the host's own is called by Starlette, once, and its response gets the id there.
    Around an application of another kind the response is that which servers make.
    """
    if scope["type"] != "http":
        return app
    # Not imported: it is there where the host is Starlette's.
    errors: Any = sys.modules.get("starlette.middleware.errors")
    outer = getattr(scope.get("app"), "middleware_stack", None) if errors is not None else None
    while outer is not None and not isinstance(outer, errors.ServerErrorMiddleware):
        outer = getattr(outer, "app", None)  # an instrumentation is around it
    if outer is None:
        return _PlainErrors(app)
    if outer.handler is None or outer.debug:
        own: _App = errors.ServerErrorMiddleware(app, debug=outer.debug)
        return own
    if not isinstance(outer.handler, _HandlerWithId):
        outer.handler = _HandlerWithId(outer.handler)
    return app


class _PlainErrors:
    """An application whose unhandled exceptions have a response; they go on to the server."""

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        has_started = False

        async def noting(message: _Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:
            if not has_started:
                with suppress(Exception):  # the client may be gone; the application's own exception counts
                    await send({"type": "http.response.start", "status": 500, "headers": _PLAIN})
                    await send({"type": "http.response.body", "body": b"Internal Server Error"})
            raise


class _HandlerWithId:
    """A host's own handler of unhandled exceptions, which runs for the request, and whose response gets its id."""

    def __init__(self, handler: Callable[[Any, Exception], Any]) -> None:
        self._handler = handler
        self._is_async = any(map(inspect.iscoroutinefunction, (handler, getattr(handler, "__call__", None))))  # noqa: B004

    async def __call__(self, request: Any, error: Exception) -> Any:
        correlation_id = request.scope.get(_MARK)
        if correlation_id is None:  # a middleware between the two has copied the scope
            return await self._response(request, error)
        with incoming_request(correlation_id):
            response = await self._response(request, error)
        response.headers[CORRELATION_HEADER] = correlation_id
        return response

    async def _response(self, request: Any, error: Exception) -> Any:
        if self._is_async:
            return await self._handler(request, error)
        return await anyio.to_thread.run_sync(self._handler, request, error)


def _header(scope: _Message, name: bytes) -> bytes:
    return next((bytes(value) for key, value in scope.get("headers", ()) if key.lower() == name), b"")


announce_renames(__name__)
