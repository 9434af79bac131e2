"""
One call, tortured at one point, and what must be true after it whatever happened.

The call runs with one permit and room for one call, so that anything that is not released stops the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count, takewhile
from typing import Any

import anyio
from injection import Point, under_torture
from layer_support import FakeClock
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from middleware import CallError, DeadlineExceededError, Telemetry
from middleware.policies.deadline import AttemptTimeoutMiddleware
from middleware.telemetry.recording import CallRecordingMiddleware
from runtime.connectors.base import PlatformHttpClient
from runtime.gateway import Gateway
from runtime.settings import ResolvedSettings
from runtime.testing import LoopClock, ScriptedUpstream, UpperBound

PATH = "/api/service/items"
ITEMS = {"items": []}
_CRAMPED = {"bulkhead": {"permits": 1}, "calls": {"max_in_flight": 1}, "budget": {"enabled": False}}
_LONG_S = 100.0


@dataclass(kw_only=True)
class Scenario:
    """
    What the platform does, under which settings.

    Attributes:
        name: For the test's id.
        script: What the platform does with the first requests; it responds well to the later ones.
        method: Of the call.
        settings: In addition to those of the harness.
        before: Makes the trouble that the call meets; gives what must have ended before the next call.
        end: What becomes of the call without interference: `ok`, or the name of an error.
        library: What makes the calls to the gateway on real sockets, whose script it is; empty for the test kit's, in
            virtual time.
        calls: Calls across a border that it has at the least; 0 for a scenario of which only the waits are tortured.
        waits: Suspensions that it has at the least.
    """

    name: str
    script: tuple[Any, ...] = ()
    method: str = "GET"
    settings: dict[str, Any] = field(default_factory=dict)
    before: Callable[[PlatformHttpClient], Awaitable[asyncio.Task[Any] | None]] | None = None
    end: str = "ok"
    library: str = ""
    calls: int = 0
    waits: int = 0

    @cached_property
    def policies(self):
        """The settings in force, made once: checking them takes longer than a call."""
        wire = {"transport": {"library": self.library}} if self.library else {}
        return ResolvedSettings({**_CRAMPED, **wire, **self.settings})

    def __str__(self):
        return f"{self.library or 'virtual'}-{self.method}-{self.name}"


class Victim:
    """The call's caller, for those who want to end it."""

    def __init__(self, task: asyncio.Task[Any]):
        self.task = task
        self.scope = anyio.CancelScope()
        self.timeout = asyncio.timeout(None)
        self.was_cancelled = False

    def cancel(self, *_done: Any):
        """Cancel the task as asyncio does."""
        self.was_cancelled |= self.task.cancel()

    def cancel_scope(self):
        """Cancel the anyio scope around the call."""
        self.scope.cancel()

    def time_out(self):
        """Let the `asyncio.timeout` around the call expire."""
        self.was_cancelled |= not self.task.done()
        self.timeout.reschedule(0)


@dataclass(kw_only=True)
class Run:
    """
    What became of one call.

    Attributes:
        hit: Where the injection hit; None when the call had fewer points.
        points: Points that it met.
        ended: The response's document, or the exception.
        was_cancelled: The caller was cancelled before it had its result.
        dropped: Events that the client counted as lost.
        sent: Requests of this call that the platform read.
        faults: What was left behind.
    """

    hit: Point | None
    points: int
    ended: Any
    was_cancelled: bool
    dropped: int
    sent: int
    faults: list[str]

    @property
    def end(self):
        """`ok`, or the name of the exception."""
        return type(self.ended).__name__ if isinstance(self.ended, BaseException) else "ok"

    def complaints(self) -> list[str]:
        """What is wrong with this run, whatever was done to it."""
        found = list(self.faults)
        if isinstance(self.ended, Exception) and not isinstance(self.ended, CallError | TimeoutError):
            found.append("a foreign exception escaped")
        if isinstance(self.ended, CallError) and self.sent and self.ended.outcome.request_sent == "no":
            found.append("the platform read a request that is said not to have been sent")
        return [f"{text}: {self}" for text in found]

    def __str__(self):
        return f"{self.hit.place} ({self.hit.library}) gave {self.ended!r}"[:500]


class _OpenSpans(SpanProcessor):
    """Counts the spans that were begun and not ended."""

    def __init__(self):
        self.count = 0

    def on_start(self, span, parent_context=None):
        self.count += 1

    def on_end(self, span):
        self.count -= 1


_open_spans = _OpenSpans()
_tracers = TracerProvider(shutdown_on_exit=False)
_tracers.add_span_processor(_open_spans)
_meters = MeterProvider(metric_readers=[InMemoryMetricReader()], shutdown_on_exit=False)


def _ignore(_event):
    """Act as a listener of the host."""


TELEMETRY = Telemetry(tracer_provider=_tracers, meter_provider=_meters, listener=_ignore)


class Scripted:
    """The platform in virtual time."""

    def __init__(self, scenario: Scenario):
        self._steps = list(scenario.script)
        self._upstream = ScriptedUpstream(lambda _seen: self._steps.pop(0) if self._steps else ITEMS)

    @property
    def sent(self):
        """Requests that were read."""
        return len(self._upstream.requests)

    def client(self, policies):
        """Make a client of it."""
        return self._upstream.client(policies=policies, telemetry=TELEMETRY)

    def behave(self):
        """Respond well from now on."""
        self._steps.clear()

    async def left_open(self, _client):
        """Requests that are in flight."""
        return self._upstream.in_flight


class OnSockets:
    """The gateway, on real sockets."""

    def __init__(self, scenario: Scenario, gateway: Gateway):
        self._gateway = gateway
        gateway.reset()
        gateway.script(*scenario.script)

    @property
    def sent(self):
        """Requests that were read."""
        return len(self._gateway.requests)

    def client(self, policies):
        """Make a client of it, with connections of its own."""
        return PlatformHttpClient(
            self._gateway.url,
            self._gateway.api_key,
            service="service",
            policies=policies,
            telemetry=TELEMETRY,
            clock=FakeClock(LoopClock(), checkpoint=True),
            random=UpperBound(),
        )

    def behave(self):
        """Respond well from now on."""
        self._gateway.clear_faults()

    async def left_open(self, client):
        """Connections beyond the one that the next call used; after closing the client, any at all."""
        beyond = await self._connections(1) - 1
        await client.aclose()
        left = await self._connections(0)
        if left:  # the next run is not to pay for this one
            await self._gateway.stop()
            await self._gateway.start()
        return max(beyond, left)

    async def _connections(self, wanted):
        for _ in range(200):  # iterations of the loop in which a closed socket is seen at its other end
            if self._gateway.connections_open <= wanted:
                break
            await asyncio.sleep(0)
        return self._gateway.connections_open


async def torture(platform, scenario: Scenario, injection) -> Run:
    """Make one call of *scenario* under *injection* and look at all that it may have left behind."""
    faults: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(
        lambda _loop, context: faults.append(str(context.get("exception") or context["message"]))
    )
    client = platform.client(scenario.policies)
    busy = await scenario.before(client) if scenario.before else None
    others, sent_before = asyncio.all_tasks(), platform.sent
    arguments = {"json_body": {"name": "Item"}} if scenario.method in {"POST", "PUT", "PATCH"} else {}

    async def caller():
        under_torture.set(True)
        ended: Any = None
        async with victim.timeout:
            with victim.scope:
                try:
                    response = await injection.drive(client.request(scenario.method, PATH, path_params={}, **arguments))
                    ended = response.data
                except Exception as error:
                    ended = error
                if trace.get_current_span() is not trace.INVALID_SPAN and not _in_telemetry(injection):
                    faults.append("a span is still current")
                await asyncio.sleep(0)  # what was cancelled in the last step learns it at the next wait
        return None if victim.scope.cancelled_caught else ended

    with injection:
        task = asyncio.create_task(caller())
        victim = injection.victim = Victim(task)
        await asyncio.wait({task}, timeout=_LONG_S)
    if not task.done():
        faults.append("the call did not end")
        task.cancel()
        await asyncio.wait({task})
    ended: Any = asyncio.CancelledError() if task.cancelled() else task.exception() or task.result()
    sent = platform.sent - sent_before
    if isinstance(ended, DeadlineExceededError) and (watched := _watched(client)):
        await asyncio.wait(watched, timeout=_LONG_S)  # R38: these alone go on, and not for ever
    faults += [f"a task is left: {left}" for left in asyncio.all_tasks() - others if not _is_gateways(left)]
    faults += await _left_behind(client, platform, injection, busy)
    return Run(
        hit=injection.hit,
        points=injection.count,
        ended=ended,
        was_cancelled=victim.was_cancelled or victim.scope.cancelled_caught,
        dropped=client._stack.events.dropped + _spans_dropped(client),
        sent=sent,
        faults=faults,
    )


async def _left_behind(client, platform, injection, busy) -> Iterator[str]:
    faults = []
    if busy is not None:
        await asyncio.wait({busy}, timeout=_LONG_S)
    state = client._stack.state()
    held = state.calls_in_flight, state.attempts_in_flight, state.attempts_queued
    if held != (0, 0, 0):
        faults.append(f"calls, attempts and waiters still held: {held}")
    if _open_spans.count and not _in_telemetry(injection):
        faults.append(f"{_open_spans.count} spans are still open")
    _open_spans.count = 0
    platform.behave()
    if "open" in state.breakers.values():
        await asyncio.sleep(_LONG_S)
    try:
        async with asyncio.timeout(_LONG_S):
            if "items" not in await client.get(PATH, path_params={}):
                faults.append("the next call got something else")
    except Exception as error:
        faults.append(f"the next call failed: {error!r}")
    if left_open := await platform.left_open(client):
        faults.append(f"{left_open} connections are still open")
    return faults


def _watched(client):
    (layer,) = (layer for layer in client._stack.layers if isinstance(layer, AttemptTimeoutMiddleware))
    return set().union(*layer._watched._tasks.all())


def _spans_dropped(client):
    (tracer,) = {layer._tracer for layer in client._stack.layers if isinstance(layer, CallRecordingMiddleware)}
    return tracer.dropped


def _in_telemetry(injection):
    return injection.hit is not None and injection.hit.is_telemetry


def _is_gateways(task):
    # What serves a connection, and asyncio's own that makes one of what the listening socket accepted.
    return task.get_coro().__qualname__.startswith(("Gateway.", "BaseSelectorEventLoop._accept_connection"))


def every_point(run_at: Callable[[int], Run]) -> list[Run]:
    """Run with point 1, 2, 3 … until a run has no such point."""
    return list(takewhile(lambda run: run.hit is not None, map(run_at, count(1))))
