"""
A slowdown that outlasts its cause, on the real stack in virtual time.

Ten processes send 100 calls/s to a service of 12 workers and 100 ms (83 % load). For 15 s it is three times slower.
What the client gave up is still worked on by the server, as it is in life, so retries can keep it busy for ever.
Prints success over the 180 s and the time from the end of the slowdown to the recovery: the first second from which
five seconds in a row have at least 95 % success.

    python3 benchmarks/metastable.py            # ten seeds of the default policy, and the peers of the table
    python3 benchmarks/metastable.py --quick    # one seed of the default policy; fails on counts, as CI runs it
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runtime.testing import ScriptedUpstream, run_virtual

PROCESSES, RATE, WORKERS, SERVICE_S = 10, 100.0, 12, 0.1
DURATION_S, SLOW_FROM_S, SLOW_TO_S, SLOWER = 180.0, 30.0, 45.0, 3.0
COMMON = {"attempt": {"timeout_s": 1.0}, "deadline": {"total_s": 4.0}}
NO_BREAKER, NO_BUDGET = {"circuit_breaker": {"mode": "disabled"}}, {"budget": {"enabled": False}}
POLICIES = {
    "default": {},
    "no retry": {"retry": {"max_attempts": 1}, **NO_BREAKER},
    "3 attempts": {**NO_BREAKER, **NO_BUDGET},
    "3 attempts, budget": NO_BREAKER,
    "3 attempts, breaker": NO_BUDGET,
}
WORST_SUCCESS, WORST_RECOVERY_S = 0.85, 15


class Service:
    """Twelve workers and a first-in-first-out queue; service times are exponential."""

    def __init__(self, random):
        self._random = random
        self._queue = asyncio.Queue()
        self._workers = [asyncio.create_task(self._work()) for _ in range(WORKERS)]

    async def _work(self):
        while True:
            response = await self._queue.get()
            slow = SLOW_FROM_S <= asyncio.get_running_loop().time() < SLOW_TO_S
            await asyncio.sleep(self._random.expovariate(1 / (SERVICE_S * (SLOWER if slow else 1))))
            if not response.done():
                response.set_result(200)

    async def respond(self, _seen):
        response = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(response)
        return await response

    def stop(self):
        for worker in self._workers:
            worker.cancel()


class Upstream(ScriptedUpstream):
    """Counts requests instead of keeping them."""

    count = 0

    async def handle_async_request(self, request):
        self.count += 1
        self.requests.clear()
        return await super().handle_async_request(request)


async def simulate(sections, seed):
    random = Random(seed)
    service = Service(Random(random.random()))
    upstream = Upstream(service.respond)
    clients = [upstream.client(**COMMON, **sections, random=Random(random.random())) for _ in range(PROCESSES)]
    succeeded, started = [0] * int(DURATION_S), [0] * int(DURATION_S)

    async def call(client, second):
        started[second] += 1
        try:
            await client.get("/r", path_params={})
        except Exception:
            return
        succeeded[second] += 1

    async with asyncio.TaskGroup() as tasks:
        while (now := asyncio.get_running_loop().time()) < DURATION_S:
            tasks.create_task(call(random.choice(clients), int(now)))
            await asyncio.sleep(random.expovariate(RATE))
    service.stop()
    healthy = [done >= 0.95 * begun for done, begun in zip(succeeded, started, strict=True)]
    after = range(int(SLOW_TO_S), int(DURATION_S) - 5)
    recovery_s = next((second - int(SLOW_TO_S) for second in after if all(healthy[second : second + 5])), None)
    return {
        "success": round(sum(succeeded) / sum(started), 3),
        "recovery_s": recovery_s,
        "requests_per_call": round(upstream.count / sum(started), 2),
        "calls": sum(started),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {}
    for name, sections in POLICIES.items():
        if options.quick and name != "default":
            continue
        seeds = 1 if options.quick else options.seeds if name == "default" else 3
        found[name] = [run_virtual(simulate(sections, seed)) for seed in range(seeds)]
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print("| policy | seeds | success | recovery | requests per call |\n| --- | --- | --- | --- | --- |")
        for name, runs in found.items():
            success = [run["success"] for run in runs]
            recovery = [run["recovery_s"] for run in runs]
            times = [seconds for seconds in recovery if seconds is not None]
            shown = (
                f"{min(times)}-{max(times)} s"
                if len(times) == len(recovery)
                else "never"
                if not times
                else "not always"
            )
            load = [run["requests_per_call"] for run in runs]
            print(f"| {name} | {len(runs)} | {min(success)}-{max(success)} | {shown} | {min(load)}-{max(load)} |")
    bad = [
        run
        for run in found["default"]
        if run["success"] < WORST_SUCCESS or run["recovery_s"] is None or run["recovery_s"] > WORST_RECOVERY_S
    ]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
