"""
Test kit: connectors under test without waiting, against a platform that does what the test says.

    import httpx
    from runtime.connectors.service import ManagedServiceConnector
    from runtime.testing import ScriptedUpstream, virtual_time

    @virtual_time
    async def test_a_read_survives_trouble():
        upstream = ScriptedUpstream([503, "hang", httpx.ConnectError, {"items": []}])
        connector = ManagedServiceConnector(upstream.client(retry={"max_attempts": 4}))
        assert await connector.list_items() == []
        upstream.assert_times(0.0, 0.1, 10.8)  # when it read a request; a refused connection has none

Time is virtual: waiting moves the clock and takes no time, so that a test of minutes runs in milliseconds and every
point in time is exact. Jitter is at its upper bound unless a source of randomness is given.
"""

import asyncio
import functools
import inspect
import json
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypeVar

import anyio
import httpx

from middleware.host_layers import HostLayers
from middleware.stack import SettingsSource, StackSettings, Telemetry
from runtime.connectors.base import PlatformHttpClient
from runtime.settings import ResolvedSettings

__all__ = [
    "LoopClock",
    "Reply",
    "ScriptedUpstream",
    "SeenRequest",
    "Step",
    "UnexpectedRequestError",
    "UpperBound",
    "VirtualTimeLoop",
    "run_virtual",
    "virtual_time",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_EPOCH_S = 1_800_000_000.0  # 2027-01-15T08:00:00Z: the wall clock's reading at virtual time 0
_REAL_WAIT_S = 5.0
_BASE_URL = "http://platform.test"


# --- time -------------------------------------------------------------------------------------------------------------


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """
    An event loop whose time moves only when nothing else is left to do, and then at once to the next timer.

    While a thread of the loop's own executor works (`asyncio.to_thread`), time does not move.

    Raises:
        RuntimeError: A deadlock: all tasks wait, and no timer, socket or thread will wake one.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self.threads_at_work = 0
        super().__init__(_VirtualSelector(self))

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self._now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override] # generics aside
        """Run *func* in a thread; virtual time does not move until it ends."""
        future = super().run_in_executor(executor, func, *args)
        self.threads_at_work += 1
        future.add_done_callback(self._thread_ended)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - asyncio's
        """Wait for the executor's threads in real time, however long *timeout* would be in virtual time."""
        self.threads_at_work += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self.threads_at_work -= 1

    def _thread_ended(self, _future: Any) -> None:
        self.threads_at_work -= 1

    def advance(self, seconds: float) -> None:
        """Move virtual time forward."""
        self._now += seconds


class _VirtualSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and (timeout is None or (timeout and self._loop.threads_at_work)):
            ready = super().select(_REAL_WAIT_S)  # a thread may still call back
            if not ready and timeout is None and not self._loop.threads_at_work:
                raise RuntimeError(f"deadlock at {self._loop.time():g} s: all tasks wait and nothing is scheduled")
        elif not ready and timeout:
            self._loop.advance(timeout)
            ready = super().select(0)
        found: list[tuple[selectors.SelectorKey, int]] = ready
        return found


class LoopClock:
    """The running event loop's time, for the client's `clock`; the wall clock starts at 2027-01-15T08:00:00Z."""

    def now(self) -> float:
        """Seconds of the loop's time."""
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        """Seconds since the Unix epoch."""
        return _EPOCH_S + self.now()

    async def sleep(self, delay_s: float) -> None:
        """Wait in the loop's time."""
        await anyio.sleep(delay_s)


class UpperBound(Random):
    """Randomness at its upper bound: each wait is the longest it can be, and so exactly known."""

    def uniform(self, _low: float, high: float) -> float:
        """Return *high*."""
        return high


def run_virtual(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run *coroutine* to its end in virtual time and return its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)


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
        script: The steps, or a function of the request that gives its step, async where it has to wait.
        then: Step for every request beyond the script; without it such a request raises `UnexpectedRequestError`.

    Attributes:
        requests: What it read, in order: a step that is an exception reads nothing.
        refused: Requests that failed with the script's exception.
        in_flight: Requests in flight now.
        most_in_flight: The most requests in flight at a time.
    """

    def __init__(self, script: Script, *, then: Step | None = None) -> None:
        self._respond = script if callable(script) else None
        self._steps: list[Step] = [] if callable(script) else list(script)
        self._then = then
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
        step = await self._next(seen)
        trace = request.extensions.get("trace")
        if isinstance(step, BaseException) or (isinstance(step, type) and issubclass(step, BaseException)):
            self.refused += 1
            if trace is not None:
                await trace("connection.connect_tcp.started", {})  # the client concludes that not a byte was sent
            raise step if isinstance(step, BaseException) else _raised(step)
        self.requests.append(seen)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._play(step, request)
        finally:
            self.in_flight -= 1

    async def _next(self, seen: SeenRequest) -> Step:
        if self._respond is not None:
            step = self._respond(seen)
            return await step if inspect.isawaitable(step) else step
        if self._steps:
            return self._steps.pop(0)
        if self._then is None:
            raise UnexpectedRequestError(f"{seen.method} {seen.path} is beyond the script")
        return self._then

    async def _play(self, step: Step, request: httpx.Request) -> httpx.Response:
        trace = request.extensions.get("trace")
        if trace is not None:
            # The client concludes from it that the request may have been sent.
            await trace("http11.send_request_headers.started", {})
        if step == "hang":
            await anyio.sleep_forever()
        if step == "lost":
            raise httpx.ReadError("connection reset by the scripted platform")
        if step == "hang_body":
            return httpx.Response(200, stream=_Body(b"", float("inf")))
        reply = _reply(step)
        if reply.after_s:
            await anyio.sleep(reply.after_s)
        content = (
            reply.body if reply.body is not None else b"" if reply.json is None else json.dumps(reply.json).encode()
        )
        return httpx.Response(reply.status, headers=reply.headers, stream=_Body(content, reply.body_after_s))


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


def _raised(kind: type[BaseException]) -> BaseException:
    return kind("raised by the scripted platform") if issubclass(kind, Exception) else kind()


def _listed(times: Sequence[float]) -> str:
    return "[" + ", ".join(f"{time:g}" for time in times) + "]"
