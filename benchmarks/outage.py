"""
A dead dependency at 100 calls/s, and its return, on the real stack in virtual time.

    python3 benchmarks/outage.py            # ten seeds; prints requests per call, recovery, probes at a time
    python3 benchmarks/outage.py --quick    # one seed, as CI runs it
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runtime.testing import Reply, ScriptedUpstream, run_virtual

RATE, CALLS, RESPONSE_S, OPEN_S = 100, 1000, 0.05, 5.0
MOST_REQUESTS, MOST_PER_CALL = 40, 1.21


async def one(client, results):
    try:
        await client.get("/r", path_params={})
    except Exception:
        return
    results.append(asyncio.get_running_loop().time())


async def at_rate(client, calls, results):
    async with asyncio.TaskGroup() as tasks:
        for _ in range(calls):
            tasks.create_task(one(client, results))
            await asyncio.sleep(1 / RATE)


async def outage(seed):
    down = True

    def respond(_seen):
        return Reply(status=500 if down else 200, after_s=RESPONSE_S)

    upstream, responded = ScriptedUpstream(respond), []
    client = upstream.client(random=Random(seed))
    await at_rate(client, CALLS, responded)
    requests = len(upstream.requests)
    await asyncio.sleep(0)
    upstream.most_in_flight = 0
    await at_rate(client, 10 * RATE, responded)
    probes = upstream.most_in_flight
    assert not responded
    down, back_at = False, asyncio.get_running_loop().time()
    await at_rate(client, 10 * RATE, responded)
    return {"requests": requests, "probes_at_a_time": probes, "recovery_s": round(responded[0] - back_at, 3)}


async def without_breaker(seed):
    upstream = ScriptedUpstream([], then=500)
    client = upstream.client(random=Random(seed), circuit_breaker={"mode": "disabled"})
    await at_rate(client, CALLS, [])
    return len(upstream.requests) / CALLS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seeds = range(1 if options.quick else options.seeds)
    runs = [run_virtual(outage(seed)) | {"per_call_no_breaker": run_virtual(without_breaker(seed))} for seed in seeds]
    worst = {name: max(run[name] for run in runs) for name in runs[0]}
    if options.json:
        print(json.dumps(runs, indent=2))
    else:
        print(f"the first {CALLS} calls at {RATE}/s, defaults: {worst['requests']} requests (at most {MOST_REQUESTS})")
        print(f"breaker off: {worst['per_call_no_breaker']:.3f} requests per call (at most {MOST_PER_CALL})")
        print(f"probes at a time: {worst['probes_at_a_time']} (at most 1)")
        print(f"recovered after {worst['recovery_s']} s (at most {OPEN_S * 1.2 + RESPONSE_S + 1 / RATE:.2f})")
        print(f"the worst of {len(runs)} seeds each")
    passed = (
        worst["requests"] <= MOST_REQUESTS
        and worst["per_call_no_breaker"] <= MOST_PER_CALL
        and worst["probes_at_a_time"] <= 1
        and worst["recovery_s"] <= OPEN_S * 1.2 + RESPONSE_S + 1 / RATE
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
