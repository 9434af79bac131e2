"""
A soak: a fifth of all requests meets trouble, 200 calls at a time; no call is lost, no write applied twice.

    python3 benchmarks/soak.py                # 40 000 calls on each transport, two minutes each at most
    python3 benchmarks/soak.py --calls 1000   # the short form of CI

It fails on counts: a call without an end, a write that was applied twice or against what its call reported, a request
on the wire that no attempt recorded, and tasks, descriptors or memory that grow after the first quarter.
"""

import argparse
import asyncio
import gc
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.compare import enter_environment, stats_of
from benchmarks.server import running

CONCURRENCY = 200
FAULTS = 0.2
LONGEST_S = 120.0
MEMORY_MB = 16  # for what allocators and caches round up to


def resident_mb() -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted, not walked


class Ledger:
    """What the calls reported, to be compared with what the server did."""

    def __init__(self) -> None:
        self.started = 0
        self.ended: Counter[str] = Counter()
        self.reported: dict[
            str, tuple[str, int]
        ] = {}  # by id: what its caller knows, and attempts that may have arrived

    async def call(self, client: Any, n: int) -> None:
        """Read or write number *n*; each its own id."""
        from middleware import CallError

        writes, number = n % 2 == 1, f"{n:06d}"
        self.started += 1
        try:
            response = await client.request(
                "POST" if writes else "GET",
                "/effect/{id}",
                path_params={"id": number},
                json_body={} if writes else None,
                correlation_id=f"c{number}",
            )
            outcome, known, name = response.outcome, "applied", "ok"
        except CallError as error:
            outcome, known = error.outcome, "unknown" if error.outcome_unknown else "applied"
            known = "not applied" if error.is_retry_safe else known
            name = type(error).__name__
        self.ended[name] += 1
        arrived = sum(record.request_sent != "no" for record in outcome.timeline)
        self.reported[number] = (known if writes else "read", arrived)

    def contradictions(self, stats: dict[str, Any]) -> list[str]:
        """List every call whose report contradicts the server."""
        found = []
        for number, (known, arrived) in self.reported.items():
            effects, read = stats["effects"].get(number, 0), stats["attempts"].get(f"c{number}", 0)
            if effects > 1 or (known == "applied" and effects != 1) or (known == "not applied" and effects):
                found.append(f"{number}: reported {known!r}, applied {effects} times")
            if read > arrived:
                found.append(f"{number}: {read} requests on the wire, {arrived} attempts that may have arrived")
        if not self.started == sum(self.ended.values()) == len(self.reported):
            found.append(f"{self.started} calls started, {sum(self.ended.values())} ended")
        return found


def growth(marks: list[tuple[int, int, float]]) -> list[str]:
    """Compare tasks, descriptors and memory at the end with those at a quarter."""
    (tasks, files, memory), (tasks_then, files_then, memory_then) = marks[-1], marks[0]
    flat = (
        tasks <= tasks_then + CONCURRENCY // 4
        and files <= files_then + CONCURRENCY // 4
        and memory <= memory_then + MEMORY_MB
    )
    return [] if flat else [f"grew: {marks[0]} to {marks[-1]}"]


async def soak(url: str, library: str, calls: int) -> list[str]:
    """Return the contradictions."""
    from middleware import StackSettings
    from middleware.transports.registry import TransportSettings
    from runtime.connectors.base import PlatformHttpClient

    ledger = Ledger()
    began = time.monotonic()
    marks: list[tuple[int, int, float]] = []

    async def worker(client: Any) -> None:
        while ledger.started < calls and time.monotonic() - began < LONGEST_S:
            await ledger.call(client, ledger.started)
            if len(ledger.reported) in {calls // 4, calls - CONCURRENCY}:
                gc.collect()
                marks.append((len(asyncio.all_tasks()), descriptors(), resident_mb()))

    before = len(asyncio.all_tasks()), descriptors()
    async with PlatformHttpClient(url, policies=StackSettings(transport=TransportSettings(library=library))) as client:
        await asyncio.gather(*(worker(client) for _ in range(CONCURRENCY)))
    stats = await stats_of(url)
    wrong = ledger.contradictions(stats) + growth(marks)
    after = before
    for _ in range(100):  # what was closed is gone once the loop has come round
        await asyncio.sleep(0.02)
        after = len(asyncio.all_tasks()), descriptors()
        if after <= before:
            break
    if after[0] > before[0] or after[1] > before[1]:
        wrong.append(f"tasks and descriptors before {before}, after {after}")
    print(f"{library}: {ledger.started} calls in {time.monotonic() - began:.1f} s: {dict(ledger.ended)}")
    applied = sum(stats["effects"].values())
    print(f"  faults met: {stats['faults']}; requests read: {stats['requests']}; writes applied: {applied}")
    print(f"  tasks, descriptors, resident MB at a quarter and at the end: {marks}")
    for line in wrong[:20]:
        print(f"  FAILED: {line}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    enter_environment()
    failed = False
    for library in ("httptools", "httpcore", "aiohttp"):
        with running("--faults", str(FAULTS), "--seed", str(arguments.seed)) as url:
            failed |= bool(asyncio.run(soak(url, library, arguments.calls)))
    sys.exit(failed)


if __name__ == "__main__":
    main()
