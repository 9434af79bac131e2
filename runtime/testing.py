"""
Test kit: connectors and plugins under test without waiting, against a platform that does what the test says.

    import httpx
    from runtime.connectors.service import ManagedServiceConnector
    from runtime.testing import ScriptedUpstream, virtual_time

    @virtual_time
    async def test_a_read_survives_trouble():
        upstream = ScriptedUpstream([503, "hang", httpx.ConnectError, {"items": []}])
        connector = ManagedServiceConnector(upstream.client(retry={"max_attempts": 4}))
        assert await connector.list_items() == []
        upstream.assert_times(0.0, 0.1, 10.8)  # when it read a request; a refused connection has none

`bundle` makes all connectors so, for the test of a plugin. docs/testing.md shows tests of plugins and applications.

Time is virtual: waiting moves the clock and takes no time, so that a test of minutes runs in milliseconds and every
point in time is exact. Jitter is at its upper bound unless a source of randomness is given.
"""

import asyncio
import functools
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypeGuard, TypeVar

import anyio
import httpx

from middleware.host_layers import HostLayers, as_host_layers
from middleware.stack import SettingsSource, StackSettings, Telemetry
from middleware.transports.httpx_transport import HttpxTransport
from runtime.connectors.base import PlatformHttpClient
from runtime.connectors.loader import (
    ConnectorBundle,
    ConnectorConfig,
    make_process_wide,
    managed_bundle,
    services_and_operations,
)
from runtime.forecast.forecast import Forecast, forecast
from runtime.forecast.virtual_time import LoopClock, UpperBound, VirtualTimeLoop, run_virtual
from runtime.settings import ResolvedSettings

__all__ = [
    "Forecast",
    "LoopClock",
    "Reply",
    "ScriptedUpstream",
    "SeenRequest",
    "Step",
    "UnexpectedRequestError",
    "UpperBound",
    "VirtualTimeLoop",
    "bundle",
    "forecast",
    "run_virtual",
    "virtual_time",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_BASE_URL = "http://platform.test"


# --- time -------------------------------------------------------------------------------------------------------------


def virtual_time(function: Callable[_P, Coroutine[Any, Any, _T]]) -> Callable[_P, _T]:
    """Make an async test run in virtual time; its fixtures must not be async."""

    @functools.wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        return run_virtual(function(*args, **kwargs))

    return run


# --- the platform -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Reply:
    """
    A response in detail.

    Attributes:
        status: HTTP status.
        json: JSON body; None for none.
        body: Body as it is, instead of *json*.
        headers: Response headers.
        after_s: Time before the response.
        body_after_s: Time between head and body.
    """

    status: int = 200
    json: Any = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    after_s: float = 0.0
    body_after_s: float = 0.0


Step: TypeAlias = int | str | Mapping[str, Any] | list[Any] | Reply | BaseException | type[BaseException]
"""
What the platform does with one request: a status; a JSON document (with 200); a `Reply`; "hang" (reads it and says
nothing), "hang_body" (says 200 and never ends the body), "lost" (reads it and resets the connection); or an exception,
raised before anything is sent, as `httpx.ConnectError` is.
"""


_WORDS = frozenset({"hang", "hang_body", "lost"})


class UnexpectedRequestError(BaseException):
    """A request beyond the script; no `Exception`, so that no `except` of a connector or a plugin hides it."""


class SeenRequest(NamedTuple):
    """One request as the platform read it."""

    at_s: float
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


Script: TypeAlias = Iterable[Step] | Callable[[SeenRequest], Step | Awaitable[Step]]


class ScriptedUpstream(httpx.AsyncBaseTransport):
    """
    A platform that follows a script, one step per request; it takes the place of the network.

    Args:
        script: The steps, or a function of the request that gives its step, async where it has to wait. From the moment
            the function waits, the platform has read the request: an exception after that is a lost response.
        then: Step for every request beyond the script; without it such a request raises `UnexpectedRequestError`.

    Attributes:
        requests: What it read, in order: a step that is an exception reads nothing.
        refused: Requests that failed with the script's exception, before they were read.
        in_flight: Requests in flight now.
        most_in_flight: The most requests in flight at a time.

    Raises:
        TypeError: The script is neither a function nor a list of steps, or a step is none.
    """

    def __init__(self, script: Script, *, then: Step | None = None) -> None:
        if isinstance(script, str | bytes | Mapping) or not (callable(script) or isinstance(script, Iterable)):
            raise TypeError(f"script: must be a list of steps or a function, got {type(script).__name__}")
        self._respond = script if callable(script) else None
        self._steps: list[Step] = [] if callable(script) else list(script)
        self._then = then
        for index, step in enumerate(self._steps):
            _check_step(f"script[{index}]", step)
        if then is not None:
            _check_step("then", then)
        self.requests: list[SeenRequest] = []
        self.refused = 0
        self.in_flight = 0
        self.most_in_flight = 0

    def client(
        self,
        *,
        service: str = "service",
        policies: StackSettings | SettingsSource | None = None,
        telemetry: Telemetry | None = None,
        middleware: HostLayers | None = None,
        random: Random | None = None,
        **sections: Mapping[str, Any],
    ) -> PlatformHttpClient:
        """
        Make a client of this platform, for a connector under test.

        Args:
            service: Name of the service.
            policies: Settings of all policies; or give single values as `retry={"max_attempts": 4}`.
            telemetry: Where spans, metrics and events go.
            middleware: Layers of the host's own.
            random: Source of jitter instead of its upper bound.
            sections: Settings by section.

        Raises:
            ConfigError: A setting is wrong.
        """
        return PlatformHttpClient(
            _BASE_URL,
            service=service,
            policies=policies or ResolvedSettings(sections),
            transport=self,
            telemetry=telemetry,
            middleware=middleware,
            clock=LoopClock(),
            random=random or UpperBound(),
        )

    @property
    def times(self) -> list[float]:
        """When each request was read, in seconds of the loop's time."""
        return [request.at_s for request in self.requests]

    def assert_times(self, *expected: float, tolerance_s: float = 0.001) -> None:
        """Assert when the platform read requests, and so how many."""
        seen = self.times
        if len(seen) != len(expected) or any(abs(a - b) > tolerance_s for a, b in zip(seen, expected, strict=True)):
            raise AssertionError(f"requests were read at {_listed(seen)}, expected {_listed(expected)}")

    def assert_count(self, expected: int) -> None:
        """Assert how many requests the platform read."""
        if len(self.requests) != expected:
            raise AssertionError(f"{len(self.requests)} requests were read, expected {expected}")

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Play the next step on *request*."""
        seen = SeenRequest(
            at_s=asyncio.get_running_loop().time(),
            method=request.method,
            path=request.url.path,
            query=request.url.query.decode(),
            headers=dict(request.headers),
            body=request.content,
        )
        exchange = _Exchange(self, seen, request.extensions.get("trace"))
        try:
            step = await self._next(seen, exchange)
            if not _is_exception(step):
                await exchange.begin()
                return await self._play(step, request)
        finally:
            exchange.end()
        if not exchange.has_begun:
            self.refused += 1
            await exchange.trace("connection.connect_tcp.started")  # the client concludes that not a byte was sent
        raise step if isinstance(step, BaseException) else _raised(step)

    async def _next(self, seen: SeenRequest, exchange: "_Exchange") -> Step:
        if self._respond is not None:
            step = self._respond(seen)
            return await _BeginWhenWaiting(step, exchange) if inspect.isawaitable(step) else step
        if self._steps:
            return self._steps.pop(0)
        if self._then is None:
            raise UnexpectedRequestError(f"{seen.method} {seen.path} is beyond the script")
        return self._then

    async def _play(self, step: Step, request: httpx.Request) -> httpx.Response:
        if step == "hang":
            await anyio.sleep_forever()
        if step == "lost":
            raise httpx.ReadError("connection reset by the scripted platform")
        if step == "hang_body":
            return httpx.Response(200, request=request, stream=_Body(b"", float("inf")))
        reply = _reply(step)
        if reply.after_s:
            await anyio.sleep(reply.after_s)
        content = (
            reply.body if reply.body is not None else b"" if reply.json is None else json.dumps(reply.json).encode()
        )
        body = _Body(content, reply.body_after_s)
        return httpx.Response(reply.status, headers=reply.headers, request=request, stream=body)


class _Exchange:
    """One request and whether the platform has read it: recorded in *upstream*, and reported to the client."""

    def __init__(self, upstream: ScriptedUpstream, seen: SeenRequest, trace: Any) -> None:
        self._upstream = upstream
        self._seen = seen
        self._trace = trace
        self.has_begun = False

    async def begin(self) -> None:
        """Read the request, unless it is read already; the client concludes that it may have been sent."""
        if self.has_begun:
            return
        self.has_begun = True
        upstream = self._upstream
        upstream.requests.append(self._seen)
        upstream.in_flight += 1
        upstream.most_in_flight = max(upstream.most_in_flight, upstream.in_flight)
        await self.trace("http11.send_request_headers.started")

    def end(self) -> None:
        if self.has_begun:
            self._upstream.in_flight -= 1

    async def trace(self, event: str) -> None:
        if self._trace is not None:
            await self._trace(event, {})


class _BeginWhenWaiting:
    """Awaits a script's function, and begins *exchange* when it first waits."""

    def __init__(self, step: Awaitable[Step], exchange: _Exchange) -> None:
        self._step = step
        self._exchange = exchange

    def __await__(self) -> Generator[Any, Any, Step]:
        running = self._step.__await__()
        advance: Callable[[], Any] = partial(next, running)
        try:
            while True:
                try:
                    waited_for = advance()
                except StopIteration as done:
                    found: Step = done.value
                    return found
                yield from self._exchange.begin().__await__()
                try:
                    yield waited_for
                    advance = partial(next, running)
                except BaseException as error:  # noqa: BLE001 - the function decides what to do when it is cancelled
                    advance = partial(running.throw, error)
        finally:
            del advance  # it may refer to an error whose traceback refers to this frame


class _Body(httpx.AsyncByteStream):
    def __init__(self, content: bytes, after_s: float) -> None:
        self._content = content
        self._after_s = after_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._after_s == float("inf"):
            await anyio.sleep_forever()
        if self._after_s:
            await anyio.sleep(self._after_s)
        yield self._content


class _ScriptedTransport(HttpxTransport):
    """The way to one scripted platform, which a closed bundle uses no longer."""

    def request_close(self) -> None:
        """Reject further attempts."""
        self._closed = True

    def drop_connections(self) -> None:
        """Nothing to do: a script has no connections."""


def bundle(
    *,
    settings: Mapping[str, Any] | None = None,
    telemetry: Telemetry | None = None,
    middleware: HostLayers | None = None,
    random: Random | None = None,
    process_wide: bool = False,
    **services: Script | ScriptedUpstream,
) -> ConnectorBundle:
    """
    Make a bundle of managed connectors, each with a scripted platform of its own, for the test of a plugin.

    `bundle(identity=[503, {"user_id": "u"}], payment=upstream)`: a service has a script, or a `ScriptedUpstream` whose
    requests the test asserts. A request to any other service raises `UnexpectedRequestError`, and a call after the
    bundle was closed `ClientClosedError`, as in production.

    Args:
        settings: Settings of the stacks as nested mappings, as in the settings file.
        telemetry: Where spans, metrics and events go.
        middleware: Layers of the host's own.
        random: Source of jitter instead of its upper bound.
        process_wide: Return this bundle from `load_connectors()` and `get_connectors()` too, until it is closed.
        services: Script of each service, by its name in the bundle.

    Raises:
        TypeError: There is no such service, or a script is none.
        ConfigError: A setting is wrong, or another bundle is process-wide.
    """
    known = services_and_operations()
    if unknown := services.keys() - known.keys():
        raise TypeError(f"bundle() got an unexpected service {min(unknown)!r}; services are {', '.join(known)}")
    config = ConnectorConfig(
        managed_mode=True,
        gateway_base_url=_BASE_URL,
        policies=ResolvedSettings(settings, services=known),
        telemetry=telemetry or Telemetry(),
        middleware=as_host_layers(middleware),
        mode_reason="a test chose it by runtime.testing.bundle()",
    )
    clock, jitter = LoopClock(), random or UpperBound()
    transports = {
        service: _ScriptedTransport(config.policies.of(service).transport, clock, _upstream(services.get(service, ())))
        for service in known
    }

    def client(service: str, _base_url: str | None) -> PlatformHttpClient:
        return PlatformHttpClient(
            _BASE_URL,
            service=service,
            policies=config.policies,
            transport=transports[service],
            telemetry=config.telemetry,
            middleware=config.middleware,
            clock=clock,
            random=jitter,
        )

    make = partial(managed_bundle, config, client, transports.values())
    return make_process_wide(make) if process_wide else make()


def _upstream(script: Script | ScriptedUpstream) -> ScriptedUpstream:
    return script if isinstance(script, ScriptedUpstream) else ScriptedUpstream(script)


def _reply(step: Step) -> Reply:
    if isinstance(step, Reply):
        return step
    if isinstance(step, int):
        # An error as the platform sends it, not as a gateway before it does.
        headers = {"content-type": "application/problem+json"} if step >= 400 else {}  # noqa: PLR2004
        return Reply(status=step, headers=headers)
    if isinstance(step, Mapping | list):
        return Reply(json=step)
    raise AssertionError(f"{step!r} is no step of a script")


def _check_step(place: str, step: Step) -> None:
    is_step = step in _WORDS if isinstance(step, str) else isinstance(step, int | Mapping | list | Reply)
    if not is_step and not _is_exception(step):
        raise TypeError(f"{place}: {step!r} is no step of a script")


def _is_exception(step: Step) -> TypeGuard[BaseException | type[BaseException]]:
    return isinstance(step, BaseException) or (isinstance(step, type) and issubclass(step, BaseException))


def _raised(kind: type[BaseException]) -> BaseException:
    return kind("raised by the scripted platform") if issubclass(kind, Exception) else kind()


def _listed(times: Sequence[float]) -> str:
    return "[" + ", ".join(f"{time:g}" for time in times) + "]"
