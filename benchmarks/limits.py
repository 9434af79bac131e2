"""
The stack at its limits, on real sockets: a thousand calls at once, a surplus, hung servers, floods.

    python3 benchmarks/limits.py           # on three transports
    python3 benchmarks/limits.py --quick   # the short form of CI: a tenth of the calls

It fails on counts alone: calls that do not end as they must. Times, blocked loops and memory are printed, and compared
with what is promised only without `--quick`. Hung calls are compared with deadlines of their own, from the start of
each; how late the last of a thousand calls ends that have one deadline is reported too, and the CPU time between the
first and the last of their errors, which a busy machine disturbs less. Objects from before a burst are frozen
for the garbage collector: the time that it takes to scan a host's own objects is not the stack's.
"""

import argparse
import asyncio
import gc
import resource
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.compare import enter_environment
from benchmarks.server import running


class LoopWatch:
    """The longest time for which the event loop did not come round, beyond the 5 ms it was asked for."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        await asyncio.sleep(0.01)
        self.longest_s = 0.0
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _watch(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            self.longest_s = max(self.longest_s, time.perf_counter() - before - 0.005)


def client(url: str, library: str, **sections: Any) -> Any:
    from middleware import StackSettings
    from middleware.transports.registry import TransportSettings
    from runtime.connectors.base import PlatformHttpClient

    return PlatformHttpClient(url, policies=StackSettings(transport=TransportSettings(library=library), **sections))


@dataclass
class Burst:
    """
    Calls made at once.

    Attributes:
        ended: How many ended how.
        took_s: From the first to the last.
        blocked_s: Longest time that the loop did not come round.
        lasted_s: Longest single call, from its own start.
        refused_s: When the last rejection came.
        ending_cpu_s: CPU time of this process between the first and the last end of a call.
    """

    ended: Counter[str]
    took_s: float = 0.0
    blocked_s: float = 0.0
    lasted_s: float = 0.0
    refused_s: float = 0.0
    ending_cpu_s: float = 0.0


async def burst(of: Any, path: str, count: int, *, ends_in_s: float | None = None, **options: Any) -> Burst:
    """Make *count* calls at once, with *options* each, or with one deadline for all in *ends_in_s*."""
    from middleware import CallError, call_options
    from middleware.call_options import incoming_deadline

    seen = Burst(Counter())
    started = time.perf_counter()
    ends: list[float] = []

    async def one() -> None:
        begun, name = time.perf_counter(), "ok"
        try:
            await of.get(path)
        except CallError as error:
            name = type(error).__name__
        now = time.perf_counter()
        ends.append(time.process_time())
        seen.ended[name] += 1
        seen.lasted_s = max(seen.lasted_s, now - begun)
        if name == "BulkheadFullError":
            seen.refused_s = now - started

    gc.collect()
    gc.freeze()  # what is there before the burst, the imported modules above all, is not the burst's to look through
    async with LoopWatch() as watch:
        started = time.perf_counter()
        with call_options(**options) if ends_in_s is None else incoming_deadline(ends_in_s):
            tasks = [asyncio.create_task(one()) for _ in range(count)]
        await asyncio.gather(*tasks)
        seen.took_s, seen.blocked_s = time.perf_counter() - started, watch.longest_s
        seen.ending_cpu_s = ends[-1] - ends[0]
    gc.unfreeze()
    return seen


class Report:
    """What was seen, and what of it must not be."""

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self.failed = 0

    def counts(self, text: str, seen: Any, wanted: Any) -> None:
        good = seen == wanted
        self.failed += not good
        print(
            f"  {'passed' if good else 'FAILED'}: {text}: {dict(seen) if isinstance(seen, Counter) else seen}",
            flush=True,
        )

    def at_most(self, text: str, seen: float, limit: float) -> None:
        good = seen <= limit
        if not self.quick:
            self.failed += not good
        print(f"  {'passed' if good else 'exceeded'}: {text}: {seen:.1f}, promised {limit:g}", flush=True)


async def scenarios(url: str, library: str, report: Report) -> None:
    from middleware.policies.admission import CallCapSettings
    from middleware.policies.bulkhead import BulkheadSettings
    from middleware.policies.deadline import DeadlineSettings

    scale = 10 if report.quick else 1
    thousand, many = 1000 // scale, 5000 // scale
    async with client(url, library) as default:
        for state in ("cold", "warm"):
            seen = await burst(default, "/slow", thousand)
            report.counts(f"{thousand} calls of 20 ms at once, defaults, {state}", seen.ended, Counter(ok=thousand))
            report.at_most("milliseconds in all", seen.took_s * 1e3, 1500)
            report.at_most("milliseconds of blocked loop", seen.blocked_s * 1e3, 50)
    wide = {"bulkhead": BulkheadSettings(queue=5000), "calls": CallCapSettings(max_in_flight=5000)}
    async with client(url, library, **wide) as roomy:
        seen = await burst(roomy, "/slow", many)
        report.counts(f"{many} calls, cap and queue at 5000", seen.ended, Counter(ok=many))
        print(f"  in {seen.took_s:.2f} s, loop blocked for {seen.blocked_s * 1e3:.0f} ms at most")
    tight = (
        {}
        if scale == 1
        else {"bulkhead": BulkheadSettings(permits=10, queue=90), "calls": CallCapSettings(max_in_flight=100)}
    )
    async with client(url, library, **tight) as default:
        seen = await burst(default, "/slow", many)
        wanted = Counter(ok=thousand, BulkheadFullError=many - thousand)
        report.counts(f"{many} calls, defaults: the surplus is rejected", seen.ended, wanted)
        print(f"  last rejection after {seen.refused_s * 1e3:.0f} ms, last response after {seen.took_s * 1e3:.0f} ms")
    async with client(url, library) as default:
        seen = await burst(default, "/drip", 1, deadline_s=1)
        report.counts("one byte every 50 ms", seen.ended, Counter(DeadlineExceededError=1))
        report.at_most("milliseconds after the deadline", (seen.lasted_s - 1) * 1e3, 50)
    for text, sections in (("defaults", {}), ("all on the wire", {"bulkhead": BulkheadSettings(permits=thousand)})):
        late = Counter(DeadlineExceededError=thousand)
        async with client(url, library, deadline=DeadlineSettings(total_s=2), **sections) as hung:
            await burst(hung, "/slow", thousand)
            seen = await burst(hung, "/hang", thousand)
            report.counts(f"{thousand} hung calls, {text}", seen.ended, late)
            report.at_most("milliseconds after its own deadline, the worst call", (seen.lasted_s - 2) * 1e3, 50)
            seen = await burst(hung, "/hang", thousand, ends_in_s=1)
            report.counts(f"{thousand} hung calls with one deadline for all, {text}", seen.ended, late)
            late_ms, cpu_ms = (seen.took_s - 1) * 1e3, seen.ending_cpu_s * 1e3
            print(f"  the last one {late_ms:.0f} ms after it; {cpu_ms:.0f} ms of CPU between the first and the last")


MEMORY = """
import asyncio, re, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from benchmarks.limits import burst, client
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
async def main():
    async with client({url!r}, {library!r}) as one:
        await one.get("/warm")
        before = peak()
        seen = await burst(one, {path!r}, 1)
        print(*seen.ended, peak() - before)
asyncio.run(main())
"""


def memory(url: str, library: str, report: Report) -> None:
    """In a process of its own, by the most that the operating system gave it."""
    for path in ("/flood", "/bomb"):
        code = MEMORY.format(root=str(ROOT), url=url, library=library, path=path)
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
        ended, kilobytes = result.stdout.split()
        report.counts(
            {"/flood": "a body of 200 MB", "/bomb": "500 MB out of a gzip"}[path], ended, "ResponseTooLargeError"
        )
        report.at_most("extra memory in MB", int(kilobytes) / 1024, 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    enter_environment()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else soft, hard))
    report = Report(quick=arguments.quick)
    for library in ("httptools", "httpcore", "aiohttp"):
        print(f"{library}:", flush=True)
        with running() as url:
            asyncio.run(scenarios(url, library, report))
            memory(url, library, report)
    sys.exit(bool(report.failed))


if __name__ == "__main__":
    main()
