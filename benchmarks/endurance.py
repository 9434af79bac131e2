"""
Endurance: what a process has after minutes of trouble is what it had at the start.

    python3 benchmarks/endurance.py           # ten minutes, all transports at the same time
    python3 benchmarks/endurance.py --quick   # 12 s, as CI runs it

Each transport runs in a process of its own, at 50 calls/s: reads, writes, calls with a deadline that passes, calls that
their caller cancels, and a job per round in an event loop of its own in another thread. A fifth of the requests meets
trouble (`server.py --faults 0.2`), a new settings file comes every 5 s, and the server is killed and started again
every minute. Rounds of load alternate with rests, in which connections expire, and each rest is a mark.

It fails on counts:

- a call that ends with neither a result nor an error of ours; fewer than a tenth of all calls that succeed, or a third
  of the settings files that were taken;
- at any rest, and once the client is closed, more tasks, descriptors, threads or timers than before the first call;
  left out are the threads of asyncio's own executor, which keeps them, and the connections of the last job's event
  loop, which the next one closes;
- more than `MOST_SERIES` series of metrics, whose labels are bounded;
- objects known to the garbage collector, or resident memory, that grow: the slope, which is the median of the slopes
  between every two rests after the first quarter (Theil-Sen), is extended over all of these, and must stay below
  `OBJECTS`, 30 for each settings file, since the last 256 snapshots stay known, and one in 20 calls; and below
  `MEMORY_MB`.
"""

import argparse
import asyncio
import gc
import logging
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from itertools import combinations
from pathlib import Path
from random import Random
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from benchmarks.server import running
from benchmarks.soak import descriptors, resident_mb
from middleware import CallError, Telemetry, call_options
from middleware.transports.transport_settings import LIBRARIES
from runtime.connectors.base import PlatformHttpClient
from runtime.settings import LiveSettings

RATE, WORKERS, FAULTS = 50, 10, 0.2
LONGEST_REST_S = 10.0
JOB_CALLS = 3
MOST_SERIES = 150
OBJECTS, OBJECTS_PER_FILE, OBJECTS_PER_CALL, MEMORY_MB = 1000, 30, 0.05, 8.0


class Length(NamedTuple):
    """How long a run is: rounds, seconds of load in each, and between two settings files and two restarts."""

    rounds: int
    load_s: float
    reload_s: float
    restart_s: float


FULL, QUICK = Length(28, 20.0, 5.0, 60.0), Length(3, 2.5, 1.1, 4.0)


class Counts(NamedTuple):
    """What a process must have no more of than before."""

    tasks: int
    descriptors: int
    threads: int
    timers: int


class Mark(NamedTuple):
    """What a rest has found."""

    calls: int
    files: int
    counts: Counts
    series: int
    objects: int
    memory_mb: float


def counted() -> Counts:
    loop = asyncio.get_running_loop()
    return Counts(
        tasks=len(asyncio.all_tasks()),
        descriptors=descriptors(),
        threads=sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate()),
        timers=sum(not timer.cancelled() for timer in loop._scheduled),  # type: ignore[attr-defined] # asyncio's own
    )


async def at_rest(least: Counts) -> Counts:
    """Wait until nothing is more than *least*, or for `LONGEST_REST_S`; return what there is."""
    ends = time.monotonic() + LONGEST_REST_S
    while True:
        found = counted()
        if all(now <= then for now, then in zip(found, least, strict=True)) or time.monotonic() > ends:
            return found
        await asyncio.sleep(0.05)


class Ended(SpanProcessor):
    """A tracer provider without a processor would make no spans."""


class Host:
    """One process: its client on one transport, its settings file, and its telemetry."""

    def __init__(self, library: str, url: str, folder: Path) -> None:
        self._file = folder / f"{library}.toml"
        self._chance = Random(library)
        self.written = 0
        self._library = library
        self.write_settings()
        self.settings = LiveSettings(file=self._file, services={"platform": ()})
        self._reader = InMemoryMetricReader()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(Ended())
        meters = MeterProvider([self._reader], shutdown_on_exit=False)
        telemetry = Telemetry(tracer_provider=tracers, meter_provider=meters)
        self.client = PlatformHttpClient(url, policies=self.settings, telemetry=telemetry)
        self.ended: Counter[str] = Counter()
        self.calls = 0

    def write_settings(self) -> None:
        """Replace the file by one that no other equals, and that composes another stack."""
        self.written += 1
        odd = self.written % 2 == 1
        fresh = self._file.with_suffix(".new")
        fresh.write_text(
            f"[transport]\nlibrary = '{self._library}'\nkeepalive_expiry_s = 1.0\n"
            f"[deadline]\ntotal_s = {2 + self.written / 1000}\n"
            f"[attempt]\ntimeout_s = 1.0\n"
            f"[bulkhead]\nadaptive = {'true' if odd else 'false'}\n"
            f"[hedging]\nmax_hedges = {int(odd)}\n"
            f"[circuit_breaker]\nopen_s = 1.0\n"
            f"[rate_limit]\nper_second = {100 if odd else 0}\n"
        )
        fresh.replace(self._file)

    def has_taken(self) -> bool:
        return not self.settings.problems and self.settings.of("platform").deadline.total_s == 2 + self.written / 1000

    def series(self) -> int:
        data = self._reader.get_metrics_data()
        metrics = [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        return sum(len(metric.data.data_points) for metric in metrics)

    async def call(self) -> None:
        """One call of a kind by chance; each ends with a result or an error of ours, or its caller cancels it."""
        self.calls += 1
        kind = self._chance.random()
        try:
            if kind < 0.6:
                await self.client.get("/x")
            elif kind < 0.85:
                path_params = {"id": f"{self.calls:06d}"}
                await self.client.request("POST", "/effect/{id}", path_params=path_params, json_body={})
            elif kind < 0.93:
                with call_options(deadline_s=0.1):
                    await self.client.get("/hang")
            else:
                await asyncio.wait_for(self.client.get("/hang"), 0.05)
            name = "ok"
        except CallError as error:
            name = type(error).__name__
        except TimeoutError:
            name = "cancelled"
        self.ended[name] += 1

    async def load(self, seconds: float) -> None:
        ends = time.monotonic() + seconds

        async def worker() -> None:
            while time.monotonic() < ends:
                await self.call()
                await asyncio.sleep(self._chance.random() * 2 * WORKERS / RATE)

        async def job() -> None:
            await asyncio.gather(*(self.call() for _ in range(JOB_CALLS)))

        await asyncio.gather(*(worker() for _ in range(WORKERS)), asyncio.to_thread(asyncio.run, job()))

    async def mark(self, least: Counts) -> Mark:
        counts = await at_rest(least)
        gc.collect()
        return Mark(self.calls, self.written, counts, self.series(), len(gc.get_objects()), resident_mb())


def growth(values: list[float]) -> float:
    """Return by how much *values* grow from the first to the last: the median slope between two (Theil-Sen)."""
    slopes = [(b - a) / (j - i) for (i, a), (j, b) in combinations(enumerate(values), 2)]
    return statistics.median(slopes) * (len(values) - 1)


def problems_of(before: Counts, marks: list[Mark], after: Counts) -> list[str]:
    """List what was not flat."""
    found = [
        f"{place}: {counts}, before the first call {before}"
        for place, counts in (*((f"mark {n}", mark.counts) for n, mark in enumerate(marks, 1)), ("closed", after))
        if any(now > then for now, then in zip(counts, before, strict=True))
    ]
    if marks[-1].series > MOST_SERIES:
        found.append(f"series of metrics: {marks[-1].series}")
    later = marks[max(1, len(marks) // 4) :]
    calls, files = later[-1].calls - later[0].calls, later[-1].files - later[0].files
    objects, memory_mb = growth([mark.objects for mark in later]), growth([mark.memory_mb for mark in later])
    if objects > OBJECTS + OBJECTS_PER_FILE * files + OBJECTS_PER_CALL * calls:
        found.append(f"objects: {objects:.0f} more in {calls} calls and {files} settings files")
    if memory_mb > MEMORY_MB:
        found.append(f"memory: {memory_mb:.1f} MB more in {calls} calls")
    return found


async def endure(library: str, url: str, folder: Path, length: Length) -> int:
    """Run one transport; prints what it found, and returns 1 if something was not flat."""
    logging.disable(logging.CRITICAL)
    await asyncio.to_thread(int)  # the executor, which stays
    before, marks, taken = counted(), list[Mark](), 0
    least = before._replace(descriptors=before.descriptors + JOB_CALLS)
    host = Host(library, url, folder)

    async def reload() -> None:
        nonlocal taken
        while True:
            await asyncio.sleep(length.reload_s)
            taken += host.has_taken()
            host.write_settings()

    for _ in range(length.rounds):
        reloading = asyncio.create_task(reload())
        await host.load(length.load_s)
        reloading.cancel()
        await asyncio.wait([reloading])
        marks.append(await host.mark(least))
    await host.client.aclose()
    problems = problems_of(least, marks, await at_rest(before))
    if sum(host.ended.values()) != host.calls or host.ended["ok"] < host.calls / 10:
        problems.append(f"of {host.calls} calls {sum(host.ended.values())} ended, {host.ended['ok']} with success")
    if taken < host.written / 3 or host.settings.problems:
        problems.append(f"of {host.written} settings files {taken} were taken: {host.settings.problems}")
    shown = [*summary(library, host, marks), *(f"  FAILED: {problem}" for problem in problems[:20])]
    print("\n".join(shown), flush=True)
    return 1 if problems else 0


def summary(library: str, host: Host, marks: list[Mark]) -> list[str]:
    first, last = marks[max(1, len(marks) // 4)], marks[-1]
    ended = ", ".join(f"{name} {count}" for name, count in host.ended.most_common())
    counts = ", ".join(f"{name} {count}" for name, count in last.counts._asdict().items())
    rest = ", ".join(f"{name} {getattr(first, name):.0f} → {getattr(last, name):.0f}" for name in Mark._fields[3:])
    return [
        f"{library}: {host.calls} calls, {host.written} settings files, {len(marks)} rests; {ended}",
        f"  at rest {counts}; after a quarter → at the end: {rest}",
    ]


@contextmanager
def restarted(length: Length, seed: int):
    """Run one server for each transport, all of them killed and started again in between; gives their URLs."""
    stacks = {library: ExitStack() for library in LIBRARIES}
    options = ("--faults", str(FAULTS), "--seed", str(seed))
    urls = {library: stack.enter_context(running(*options)) for library, stack in stacks.items()}
    over = threading.Event()

    def restart() -> None:
        while not over.wait(length.restart_s):
            for library, stack in stacks.items():
                stack.close()
                port = urls[library].rpartition(":")[2]
                if stack.enter_context(running(*options, "--port", port)) != urls[library]:
                    raise RuntimeError(f"the server of {library} did not start again")

    with ThreadPoolExecutor(1) as executor:
        restarting = executor.submit(restart)
        try:
            yield urls
        finally:
            over.set()
            wait([restarting])
            for stack in stacks.values():
                stack.close()
    restarting.result()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--one", nargs=3, metavar=("LIBRARY", "URL", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    length = QUICK if arguments.quick else FULL
    if arguments.one:
        library, url, folder = arguments.one
        return asyncio.run(endure(library, url, Path(folder), length))
    quick = ["--quick"] if arguments.quick else []
    with tempfile.TemporaryDirectory() as folder, restarted(length, arguments.seed) as urls:
        processes = [
            subprocess.Popen(  # noqa: S603 - our own file
                [sys.executable, __file__, *quick, "--one", library, url, folder]
            )
            for library, url in urls.items()
        ]
        codes = [process.wait() for process in processes]
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
