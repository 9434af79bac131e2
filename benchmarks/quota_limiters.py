"""
The limiters that the choice of docs/decisions/0004-quota.md was between, with one server and several clients.

Run by `python3 benchmarks/quota.py --limiters`; needs `pip install throttled-py` in addition.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runtime.cli.replicas import QuotaServer

RATE, BURST, CLIENTS, CALLERS, SECONDS, MAX_WAIT_S = 100, 20, 4, 32, 10, 3.0


def ratelimit_io(url):
    from ratelimit_io import Algorithm, Limit, RateLimiter
    from redis.asyncio import Redis

    limiter = RateLimiter(Redis.from_url(url), limit=Limit(BURST, seconds=BURST / RATE), algorithm=Algorithm.GCRA)
    return lambda: limiter.acquire("bench", max_wait=MAX_WAIT_S)


def throttled(url):
    from throttled.asyncio import RateLimiterType, Throttled, rate_limiter
    from throttled.asyncio.store import RedisStore

    quota = rate_limiter.per_sec(RATE, burst=BURST)
    limiter = Throttled(using=RateLimiterType.GCRA.value, quota=quota, store=RedisStore(server=url))

    async def acquire():
        if (await limiter.limit("bench", timeout=MAX_WAIT_S)).limited:
            raise TimeoutError

    return acquire


LIMITERS = {"ratelimit-io": ratelimit_io, "throttled-py": throttled}


async def one(make, server):
    """Callers of several clients in a closed loop."""
    from redis.asyncio import Redis

    admin = Redis.from_url(server.url)
    await admin.flushall()
    await admin.config_resetstat()
    times, waits, refused = [], [], 0
    began = time.monotonic()

    async def caller(acquire):
        nonlocal refused
        while (started := time.monotonic()) < began + SECONDS:
            try:
                await acquire()
            except Exception:
                refused += 1
                continue
            times.append(time.monotonic() - began)
            waits.append(times[-1] - (started - began))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS):
            acquire = make(server.url)
            for _ in range(CALLERS // CLIENTS):
                tasks.create_task(caller(acquire))
    scripts = sum(
        one["calls"]
        for name, one in (await admin.info("commandstats")).items()
        if name in {"cmdstat_evalsha", "cmdstat_eval"}
    )
    await admin.aclose()
    seconds = Counter(int(at) for at in times if at < SECONDS)
    steady = [seconds[second] for second in range(1, SECONDS)]
    waits.sort()
    return {
        "per_second": round(sum(steady) / len(steady), 1),
        "most_in_a_second": max(steady),
        "scripts_per_admission": round(scripts / len(times), 2),
        "p99_wait_s": round(waits[int(0.99 * len(waits))], 2),
        "not_admitted": refused,
    }


def compare(file):
    figures = {}
    with QuotaServer() as server:
        print(f"{CALLERS} callers of {CLIENTS} clients wait for {RATE}/s, burst {BURST}, {server.name}, {SECONDS} s")
        for name, make in LIMITERS.items():
            figures[f"{name} {version(name)}"] = found = asyncio.run(one(make, server))
            print(f"  {name} {version(name)}: {found}")
    if file:
        file.write_text(json.dumps(figures, indent=2) + "\n")
    return 0
