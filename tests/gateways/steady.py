"""
The long table: 50 GET/s and 10 unkeyed POST/s through ten reloads and ten restarts of each gateway.

    python tests/gateways/steady.py                       # all that are installed, two at a time; prints the table
    python tests/gateways/steady.py --times 3 --gateways nginx,Envoy --library aiohttp

Ends with 1 where a write was lost or doubled, an error is not true, or a call ended as not sent at a restart whose gap was
at most a second.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from bisect import bisect
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from programs import PROGRAMS, base_options, running
from traffic import steady
from upstream import Upstream

from runtime.connectors.base import PlatformHttpClient
from runtime.gateway import DEFAULT_API_KEY
from runtime.settings import ResolvedSettings

GETS_PER_S, POSTS_PER_S = 50, 10
WARM_S, AFTER_S = 10.0, 4.0  # the retry budget is that of a process that has run for a while
# The window of the retry budget is 10 s: each gap has a whole budget.
EVERY_S = {"reload": 2.0, "restart": 12.0}
SHORT_S = 1.0  # gaps that every call outlasts (R20)
# The third process of a series of hot restarts ends the calls of the first one.
ENVOY_EVERY_S = 6.0


async def row(program, folder, library, times, mode):
    """Return the line of one gateway and mode, and whether something is wrong."""
    every_s = ENVOY_EVERY_S if (program.name, mode) == ("Envoy", "reload") else EVERY_S[mode]
    async with Upstream() as upstream, running(program, folder, upstream.port, *base_options(program)) as gateway:
        settings = ResolvedSettings({"transport": {"library": library} if library else {}})
        async with PlatformHttpClient(f"http://localhost:{gateway.port}", DEFAULT_API_KEY, policies=settings) as client:
            seconds = WARM_S + times * every_s + AFTER_S
            traffic = asyncio.create_task(
                steady(client, "lab", upstream, seconds=seconds, gets_per_s=GETS_PER_S, posts_per_s=POSTS_PER_S)
            )
            await asyncio.sleep(WARM_S)
            started, gaps = [], []
            for _ in range(times):
                pause = asyncio.create_task(asyncio.sleep(every_s))
                started.append(time.monotonic())
                gaps.append(await getattr(gateway, mode)())
                await pause
            tally = await traffic
    not_sent = Counter(gaps[max(0, bisect(started, at) - 1)] <= SHORT_S for at in tally.not_sent)
    gap = (
        f" ({sum(one <= SHORT_S for one in gaps)} gaps <= 1 s; longest {max(gaps):.2f} s)" if mode == "restart" else ""
    )
    failures = ", ".join(f"{kind}: {count}" for kind, count in (tally.get_failures + tally.post_failures).items())
    cells = [
        f"{program.name} {program.version()}",
        f"{times} {mode}s{gap}",
        f"{tally.get_failures.total()} of {tally.gets}",
        f"{tally.post_failures.total()} of {tally.posts}",
        f"{tally.unknown} ({tally.unknown_written})",
        f"{tally.lost}, {tally.twice}, {tally.dishonest}",
        f"{not_sent[True]}, {not_sent[False]}" if mode == "restart" else "",
        failures,
    ]
    return "| " + " | ".join(cells) + " |", bool(tally.wrong or (mode == "restart" and not_sent[True]))


async def main(options, folder):
    programs = [one for one in PROGRAMS if not options.gateways or one.name.lower() in options.gateways]
    at_a_time, wrong = asyncio.Semaphore(options.parallel), False

    async def one(program, mode):
        nonlocal wrong
        async with at_a_time:
            line, is_wrong = await row(program, folder, options.library, options.times, mode)
            wrong = wrong or is_wrong
            print(line, flush=True)

    columns = (
        "gateway",
        "what",
        "GETs failed",
        "POSTs failed",
        "unknown (written)",
        "lost, twice, not true",
        "not sent at gaps <= 1 s, longer",
        "failures",
    )
    print("| " + " | ".join(columns) + " |")
    print("| --- " * len(columns) + "|", flush=True)
    async with asyncio.TaskGroup() as tasks:
        for program in programs:
            if program.path():
                for mode in EVERY_S:
                    tasks.create_task(one(program, mode))
            else:
                print(f"{program.name}: not installed")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateways", type=lambda text: set(text.lower().split(",")), default=set())
    parser.add_argument("--library", default="", help="the transport; else the default one")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--parallel", type=int, default=2, help="gateways at a time")
    logging.disable()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        Path(place).chmod(0o755)
        sys.exit(asyncio.run(main(parser.parse_args(), Path(place))))
