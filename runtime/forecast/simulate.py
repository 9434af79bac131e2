"""
Traffic on the real stack in virtual time, against a model of the service.

Each process of the host is a client with a stack of its own; all send to one modelled service. Arrivals, service and
jitter have a source of chance each, so that two policies with the same seed meet the same calls and the same service.
"""

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, fields, replace
from multiprocessing import get_context
from random import Random
from typing import Any

from middleware.errors import CallError, LocalRejectionError
from middleware.events import CircuitStateChanged, Event
from middleware.stack import StackSettings, Telemetry
from runtime.connectors.base import PlatformHttpClient
from runtime.connectors.endpoint import Endpoint
from runtime.connectors.registry import Connector

from .models import Setting, model_of
from .simulated_transport import SimulatedTransport
from .virtual_time import LoopClock, run_virtual

__all__ = [
    "READ",
    "Operation",
    "Run",
    "Scenario",
    "Sections",
    "arrivals",
    "jitter",
    "run_all",
    "run_one",
    "sections_of",
    "settings_of",
]

Sections = Mapping[str, Mapping[str, Any]]
"""Settings of a stack as plain values, by section and field: what processes can pass to one another."""

_BASE_URL = "http://platform.test"
_HEALTHY, _HEALTHY_FOR_S = 0.95, 5  # recovered: so much success for so many seconds in a row


@dataclass(frozen=True, kw_only=True)
class Operation:
    """
    What is called.

    Attributes:
        service: Name of the service.
        name: Name of the operation; empty for any.
        method: HTTP method.
        idempotent: Whether repeating it is safe; None derives it from the method.
        max_attempts: The most attempts that its endpoint declares; None where it declares none.
    """

    service: str = "service"
    name: str = ""
    method: str = "GET"
    idempotent: bool | None = None
    max_attempts: int | None = None

    @classmethod
    def of(cls, connector: Connector[Any], name: str) -> "Operation":
        """
        Return an operation as the endpoint of *connector* declares it.

        Raises:
            ValueError: There is no such operation, or it declares no endpoint.
        """
        if name not in connector.operations:
            raise ValueError(f"{connector.name} has {', '.join(connector.operations)}, got {name!r}")
        endpoint = connector.endpoint(name)
        if endpoint is None:
            raise ValueError(f"{connector.name}.{name} declares no endpoint")
        return cls(
            service=connector.name,
            name=name,
            method=endpoint.method,
            idempotent=endpoint.idempotent,
            max_attempts=endpoint.max_attempts,
        )


READ = Operation()
"""A GET of any service."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """
    Who calls, and what happens to the service.

    Attributes:
        fault: The model, as `models.model_of` reads it.
        rps: Calls per second of each process.
        processes: Processes of the host.
        duration_s: How long they call.
        ill_from_s: When the service becomes ill; None for a sixth of the duration.
        ill_until_s: When it is well again; None for two thirds of the duration.
        latency_s: Latency of the healthy service, as in `models.Setting`.
        spread: Whether healthy latencies vary.
        steady: Calls come at even distances; else by chance, as a Poisson process.
        operation: What is called.
    """

    fault: str
    rps: float
    processes: int = 1
    duration_s: float = 60.0
    ill_from_s: float | None = None
    ill_until_s: float | None = None
    latency_s: float = 0.1
    spread: bool = True
    steady: bool = False
    operation: Operation = READ

    @property
    def setting(self) -> Setting:
        """What the service is made for."""
        begins = self.duration_s / 6 if self.ill_from_s is None else self.ill_from_s
        ends = self.duration_s * 2 / 3 if self.ill_until_s is None else self.ill_until_s
        return Setting(self.rps * self.processes, self.latency_s, begins, ends, self.spread)

    @property
    def shows_recovery(self) -> bool:
        """Whether the calls go on for long enough after the illness to see a recovery."""
        return int(self.setting.ill_until_s) + _HEALTHY_FOR_S <= int(self.duration_s)


@dataclass(frozen=True, kw_only=True)
class Run:
    """
    What happened in one run.

    Attributes:
        seed: Its seed.
        calls: Calls begun.
        succeeded: Those that succeeded.
        requests: Requests that arrived at the service.
        rejected: Calls that ended by a guard of ours.
        errors: Number of failed calls by the code of their error.
        latencies_s: What callers waited, success or not: 50th, 95th and 99th percentile and the longest.
        recovery_s: From the end of the illness to the first second from which five in a row have 95 % success; None for
            never.
        opened_at_s: When a circuit first opened; None for never.
        opened: How often one opened.
        by_second: Calls, successes, requests and rejections that began in each second.
    """

    seed: int
    calls: int
    succeeded: int
    requests: int
    rejected: int
    errors: Mapping[str, int]
    latencies_s: tuple[float, float, float, float]
    recovery_s: float | None
    opened_at_s: float | None
    opened: int
    by_second: Sequence[tuple[int, int, int, int]] = field(repr=False)

    @property
    def success(self) -> float:
        """Share of the calls that succeeded."""
        return self.succeeded / self.calls if self.calls else 1.0

    @property
    def amplification(self) -> float:
        """Requests per call."""
        return self.requests / self.calls if self.calls else 0.0


def sections_of(settings: StackSettings) -> dict[str, dict[str, Any]]:
    """Return *settings* as plain values."""
    sections = {one.name: getattr(settings, one.name) for one in fields(settings) if one.init}
    return {
        name: {one.name: getattr(section, one.name) for one in fields(section)} for name, section in sections.items()
    }


def settings_of(sections: Sections) -> StackSettings:
    """Return the settings that *sections* say; what they do not name has its default."""
    default = StackSettings()
    return replace(default, **{name: replace(getattr(default, name), **values) for name, values in sections.items()})


def arrivals(scenario: Scenario, seed: int) -> Iterator[tuple[float, int]]:
    """Yield when each call begins, and in which process, in the order of time."""
    random, rate = Random(f"{seed} arrivals"), scenario.setting.rate  # noqa: S311 - a simulation
    at = random.random() / rate if scenario.steady else random.expovariate(rate)
    while at < scenario.duration_s:
        yield at, random.randrange(scenario.processes)
        at += 1 / rate if scenario.steady else random.expovariate(rate)


def jitter(seed: int, process: int) -> Random:
    """Return the source of the jitter of one process."""
    return Random(f"{seed} jitter {process}")  # noqa: S311 - a simulation


def run_one(scenario: Scenario, policy: Sections, seed: int) -> Run:
    """Run *scenario* once under *policy*; the same arguments give the same result."""
    # Nearly all objects of a run end with their call, without cycles; a pause of the collector saves a tenth.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return run_virtual(_Simulation(scenario, settings_of(policy), seed).run())
    finally:
        if was_enabled:
            gc.enable()


def run_all(
    cases: Sequence[tuple[Scenario, Sections]], seeds: Sequence[int], *, workers: int = 1
) -> Iterator[tuple[int, Run]]:
    """
    Run each case with each seed; yields the index of the case and the run, in order of completion.

    Args:
        cases: One or more scenarios, each with its policy.
        seeds: The seeds.
        workers: Processes that share the work; with 1 it is done in this one.
    """
    tasks = [(index, seed) for seed in seeds for index in range(len(cases))]
    if workers == 1 or len(tasks) == 1:
        for index, seed in tasks:
            yield index, run_one(*cases[index], seed)
        return
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=get_context("spawn")) as pool:
        running = {pool.submit(run_one, *cases[index], seed): index for index, seed in tasks}
        for done in as_completed(running):
            yield running[done], done.result()


class _Simulation:
    """One run."""

    def __init__(self, scenario: Scenario, settings: StackSettings, seed: int) -> None:
        self._scenario = scenario
        self._seed = seed
        self._setting = scenario.setting
        service = model_of(scenario.fault).service(self._setting, Random(f"{seed} service"))  # noqa: S311 - a simulation
        self._transport = SimulatedTransport(service)
        clock, telemetry = LoopClock(), Telemetry(listener=_Changes(self._note), silent=True)
        self._clients = [
            PlatformHttpClient(
                _BASE_URL,
                service=scenario.operation.service,
                policies=settings,
                transport=self._transport,
                telemetry=telemetry,
                clock=clock,
                random=jitter(seed, process),
            )
            for process in range(scenario.processes)
        ]
        called = scenario.operation
        self._endpoint = Endpoint(
            called.method,
            "/r",
            called.name or called.method.lower(),
            _as_it_is,
            idempotent=called.idempotent,
            max_attempts=called.max_attempts,
        )
        seconds = int(scenario.duration_s) + 1
        self._begun, self._done, self._rejected = [0] * seconds, [0] * seconds, [0] * seconds
        self._requests = [0] * seconds
        self._latencies: list[float] = []
        self._errors: Counter[str] = Counter()
        self._opened: list[float] = []

    def _note(self, event: Event) -> None:
        if isinstance(event, CircuitStateChanged) and event.after == "open":
            self._opened.append(asyncio.get_running_loop().time())

    async def run(self) -> Run:
        """Make all calls, and wait for the last one."""
        loop, scenario = asyncio.get_running_loop(), self._scenario
        seen = 0
        running: set[asyncio.Task[None]] = set()
        for now, process in arrivals(scenario, self._seed):
            await asyncio.sleep(now - loop.time())
            second = int(now)
            # Requests of the second before: all that the service got since the last look.
            self._requests[second] += self._transport.requests - seen
            seen = self._transport.requests
            self._begun[second] += 1
            task = loop.create_task(self._call(self._clients[process], now, second))
            running.add(task)
            task.add_done_callback(running.discard)
        if running:
            await asyncio.wait(running)
        self._requests[-1] += self._transport.requests - seen
        for client in self._clients:
            await client.aclose()
        return self._result()

    async def _call(self, client: PlatformHttpClient, began: float, second: int) -> None:
        try:
            await client.call(self._endpoint)
            self._done[second] += 1
        except CallError as error:
            self._errors[error.code] += 1
            self._rejected[second] += isinstance(error, LocalRejectionError)
        self._latencies.append(asyncio.get_running_loop().time() - began)

    def _result(self) -> Run:
        latencies = sorted(self._latencies)
        calls = sum(self._begun)
        return Run(
            seed=self._seed,
            calls=calls,
            succeeded=sum(self._done),
            requests=self._transport.requests,
            rejected=sum(self._rejected),
            errors=dict(sorted(self._errors.items())),
            latencies_s=(
                _percentile(latencies, 0.5),
                _percentile(latencies, 0.95),
                _percentile(latencies, 0.99),
                latencies[-1] if latencies else 0.0,
            ),
            recovery_s=self._recovery(),
            opened_at_s=min(self._opened, default=None),
            opened=len(self._opened),
            by_second=tuple(zip(self._begun, self._done, self._requests, self._rejected, strict=True)),
        )

    def _recovery(self) -> float | None:
        end = int(self._setting.ill_until_s)
        healthy = [done >= _HEALTHY * begun for done, begun in zip(self._done, self._begun, strict=True)]
        last = int(self._scenario.duration_s) - _HEALTHY_FOR_S
        return next((at - end + 0.0 for at in range(end, last + 1) if all(healthy[at : at + _HEALTHY_FOR_S])), None)


class _Changes:
    """A listener of changes of circuits alone: every other event of a simulation would cost time for nothing."""

    event_types = frozenset({CircuitStateChanged})

    def __init__(self, note: Callable[[Event], None]) -> None:
        self._note = note

    def __call__(self, event: Event) -> None:
        self._note(event)


def _as_it_is(document: Any) -> Any:
    return document


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Return the nearest rank of *ordered*; 0 for none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
