"""
What the stack may cost: every target with the limit, what is seen, and whether it is met.

    python3 benchmarks/targets.py                  # against the commit that the targets are relative to; six minutes
    python3 benchmarks/targets.py --against DIR    # another checkout in its place
    python3 benchmarks/targets.py --rounds 3       # a look; for figures to rely on, nine rounds at least
    python3 benchmarks/targets.py --only T4 --only T12

Figures are CPU time, and ratios are the median of the ratios within interleaved rounds, as of `compare.py`, whose
environment it uses. On a busy machine ratios of short blocks still move, and T12, which is wall time, says nothing:
look at the load average, which is printed before and after.
"""

import argparse
import asyncio
import gc
import io
import os
import platform
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import compare
from benchmarks.server import running

BASE = "aedca19"
"""The commit that targets are relative to: the last one before connections of our own and layers in plain functions."""

STACK, UNSAMPLED, NO_SDK = "stack on httptools", *compare.WITH_LESS


class Target(NamedTuple):
    """
    One line of the table.

    Attributes:
        name: Of the target.
        what: What is measured, against what.
        limit: The most that it may be.
        seen: What it is.
        places: Digits behind the point.
    """

    name: str
    what: str
    limit: float
    seen: float
    places: int = 2

    def row(self) -> str:
        met = "yes" if round(self.seen, self.places) <= self.limit else "**no**"
        limit, seen = (f"{value:,.{self.places}f}" for value in (self.limit, self.seen))
        return f"| {self.name} | {self.what} | {limit} | {seen} | {met} |"


OF_BASE = {
    "T1": ("GET, raw transport, no SDK, no log", {1: 0.35}),
    "T2": ("GET, raw transport, unsampled, log line", {1: 0.45}),
    "T3": ("GET, raw transport, sampled, log line", {1: 0.52}),
    "T4": ("GET, sampled, log line", {1: 0.45, 16: 0.45, 64: 0.42}),
    "T13": ("GET by h11, sampled, log line", {16: 0.60}),
}
"""Scenarios of `checkout.py`, and the most that one may cost of what it costs there, by calls at a time."""

OF_PEERS = {
    "T5": (STACK, "httpx", {1: 0.50, 16: 0.25, 64: 0.22}),
    "T6": (STACK, "aiohttp", {1: 1.7, 16: 2.0, 64: 2.1}),
    "T7": (UNSAMPLED, "aiohttp", {1: 1.25, 16: 1.4, 64: 1.5}),
    "T8": (NO_SDK, "aiohttp", {1: 0.7, 16: 0.7, 64: 0.7}),
    "T9 azure-core": (STACK, "azure-core", {1: 0.50, 16: 0.50, 64: 0.50, 256: 0.50}),
    "T9 httpx2": (STACK, "httpx2", {1: 0.55, 16: 0.45, 64: 0.45, 256: 0.20}),
    "T9 httpware": (STACK, "httpware", {1: 0.55, 16: 0.45, 64: 0.45, 256: 0.20}),
}
"""Clients of `clients.py`, and the most that one may cost of another, by calls at a time."""

CALLS = {"default, sampled": 450, "default, no SDK": 130}
"""The most Python function calls per GET, by the names of `function_calls.py`."""

BYTES_IN_FLIGHT, FLAT, LATE_MS = 20_000, 1.15, 25
HUNG = 1000


def of_base(other: Path, url: str, chosen: list[str], rounds: int) -> Iterator[Target]:
    """Measure the scenarios against those of another checkout."""
    where, name_of_other = (url, url, ""), BASE if other.name == BASE else "the other checkout"
    workers = [compare.Worker(sys.executable, directory, *where) for directory in (ROOT, other)]
    try:
        for name in chosen:
            scenario, limits = OF_BASE[name]
            for concurrency, limit in limits.items():
                share = compare.in_turn(*workers, scenario, concurrency, rounds=rounds, budget_s=0.3)[2]
                yield Target(name, f"{scenario}, {concurrency} at a time, of {name_of_other}", limit, share)
    finally:
        for worker in workers:
            worker.end()


async def of_peers(url: str, telemetry: Any, chosen: list[str], rounds: int) -> list[Target]:
    """Measure the clients against each other."""
    targets = []
    for concurrency in (1, 16, 64, 256):
        pairs = [(name, *OF_PEERS[name]) for name in chosen if concurrency in OF_PEERS[name][2]]
        names = {name for _, ours, theirs, _ in pairs for name in (ours, theirs)}
        if not names:
            continue
        found, _ = await compare.measure(
            url, telemetry, (concurrency,), rounds=rounds, budget_s=0.3, is_chosen=names.__contains__
        )
        costs = {name: compare.cpu(results) for name, results in found[concurrency].items()}
        for name, ours, theirs, limits in pairs:
            share = compare.ratio(costs[ours], costs[theirs])
            what = f"{ours}, {concurrency} at a time, of {theirs}"
            targets.append(Target(name.split()[0], what, limits[concurrency], share))
    return targets


def function_calls() -> Iterator[Target]:
    """Count function calls per GET; their number depends on the versions of the libraries, which CI pins."""
    from benchmarks.function_calls import figures_now

    seen = figures_now()
    for kind, limit in CALLS.items():
        yield Target("T10", f"function calls per GET, {kind}", limit, seen[kind], 0)


async def memory(url: str, telemetry: Any) -> Target:
    """Measure the memory of calls that wait."""
    found = await compare.memory(url, telemetry, compare.IN_FLIGHT, STACK.__eq__)
    return Target("T11", "bytes per call in flight", BYTES_IN_FLIGHT, found[STACK], 0)


async def hung(url: str, rounds: int) -> Target:
    """Measure how late the last of many calls ends that hang on the wire and have one deadline."""
    from benchmarks.limits import burst, client
    from middleware.policies.bulkhead import BulkheadSettings

    late, cpu = [], []
    for _ in range(rounds):
        async with client(url, "httptools", bulkhead=BulkheadSettings(permits=HUNG)) as one:
            await burst(one, "/slow", HUNG)
            seen = await burst(one, "/hang", HUNG, ends_in_s=1.5)
            assert seen.ended == {"DeadlineExceededError": HUNG}, seen.ended
            late.append((seen.took_s - 1.5) * 1e3)
            cpu.append(seen.ending_cpu_s * 1e3)
    spent = f"{statistics.median(cpu):.0f} ms of CPU between the first and the last error"
    what = f"{HUNG} hung calls with one deadline: ms by which the last one is late ({spent})"
    return Target("T12", what, LATE_MS, statistics.median(late), 0)


async def flat(url: str, telemetry: Any, rounds: int) -> Target:
    """Measure what a call costs when a thousand are made at a time."""
    few, many = compare.FLAT
    found, _ = await compare.measure(url, telemetry, (few, many), rounds=rounds, budget_s=0.3, is_chosen=STACK.__eq__)
    costs = {concurrency: compare.cpu(results[STACK]) for concurrency, results in found.items()}
    share = compare.ratio(costs[many], costs[few])
    return Target("T14", f"CPU per call at {many} at a time, of that at {few}", FLAT, share)


@contextmanager
def base() -> Iterator[Path]:
    """Unpack the commit that targets are relative to."""
    packed = subprocess.run(["git", "archive", BASE], cwd=ROOT, check=True, capture_output=True).stdout  # noqa: S603, S607
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        directory = Path(folder, BASE)
        archive.extractall(directory, filter="data")
        yield directory


def measured(other: Path, chosen: list[str], rounds: int) -> Iterator[Target]:
    """Measure what is *chosen*, one after the other."""
    from opentelemetry import metrics, trace

    from benchmarks.clients import log_to_null, sdk

    cores = sorted(os.sched_getaffinity(0))
    with running(*(["--core", str(cores[-1])] if len(cores) > 1 else [])) as url:
        os.sched_setaffinity(0, set(cores[:-1]) or set(cores))
        yield from of_base(other, url, [name for name in OF_BASE if name in chosen], rounds)
        if "T12" in chosen:  # without a log and an SDK, as the next one without an SDK
            yield asyncio.run(hung(url, rounds))
        log_to_null()
        if "T10" in chosen:
            yield from function_calls()
        telemetry = sdk()
        trace.set_tracer_provider(telemetry.tracer_provider)  # type: ignore[arg-type] # azure-core takes the global one
        metrics.set_meter_provider(telemetry.meter_provider)  # type: ignore[arg-type]
        gc.freeze()
        peers = [name for name in OF_PEERS if name.split()[0] in chosen]
        yield from asyncio.run(of_peers(url, telemetry, peers, rounds))
        if "T14" in chosen:
            yield asyncio.run(flat(url, telemetry, rounds))
        if "T11" in chosen:
            yield asyncio.run(memory(url, telemetry))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, metavar="DIR", help=f"another checkout than {BASE}")
    parser.add_argument("--rounds", type=int, default=9)
    every = [f"T{number}" for number in range(1, 15)]
    parser.add_argument("--only", action="append", choices=every, metavar="NAME", help="targets, by name")
    arguments = parser.parse_args()
    compare.enter_environment()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else soft, hard))
    before, targets = os.getloadavg()[0], list[Target]()
    with base() if arguments.against is None else nullcontext(arguments.against.resolve()) as other:
        for target in measured(other, arguments.only or every, arguments.rounds):
            targets.append(target)
            print(target.row(), file=sys.stderr, flush=True)
    print(f"Python {platform.python_version()}, {arguments.rounds} rounds;", end=" ")
    print(f"load average {before:.1f} at the start, {os.getloadavg()[0]:.1f} at the end.\n")
    print("| | what | target | seen | met |\n|" + " --- |" * 5)
    print("\n".join(target.row() for target in sorted(targets, key=lambda target: every.index(target.name))))


if __name__ == "__main__":
    main()
