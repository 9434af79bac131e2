"""
Overload on the real stack in virtual time: a slowdown that outlasts its cause, and brown-outs.

Ten processes send 100 calls/s to a service of 12 workers and 100 ms (83 % load). What the client gave up is still
worked on by the server, as it is in life, so retries can keep it busy for ever.

`--table slowdown`: for 15 s the service is three times slower. Prints success over the 180 s and the time from the end
of the slowdown to the recovery: the first second from which five seconds in a row have at least 95 % success.

`--table brownout`: what `bulkhead.adaptive` changes, with ten processes and with two: a service that is slower than its
load for 120 of 180 s, the slowdown again, errors, and an hour of healthy load at 50, 83 and 95 %. Prints the mean
success; fails where adaptive succeeds less than is wanted.

    python3 benchmarks/metastable.py                        # both tables, ten seeds; hours of CPU
    python3 benchmarks/metastable.py --table slowdown       # ten seeds of the default policy, three of its peers
    python3 benchmarks/metastable.py --table brownout --seeds 2
    python3 benchmarks/metastable.py --quick                # one seed of the default policy, as CI runs it
"""

import argparse
import asyncio
import json
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import fmean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from middleware import PlatformError, PlatformResponse
from middleware.errors import LocalRejectionError, status_error
from middleware.problem import Problem
from runtime.connectors.base import PlatformHttpClient
from runtime.settings import ResolvedSettings
from runtime.testing import LoopClock, run_virtual

WORKERS, SERVICE_S = 12, 0.1
SHORT = {"attempt": {"timeout_s": 1.0}, "deadline": {"total_s": 4.0}}
NO_BREAKER, NO_BUDGET = {"circuit_breaker": {"mode": "disabled"}}, {"budget": {"enabled": False}}
ADAPTIVE = {"bulkhead": {"adaptive": True}}
PEERS = {
    "default": {},
    "no retry": {"retry": {"max_attempts": 1}, **NO_BREAKER},
    "3 attempts": {**NO_BREAKER, **NO_BUDGET},
    "3 attempts, budget": NO_BREAKER,
    "3 attempts, breaker": NO_BUDGET,
}
WORST_SUCCESS, WORST_RECOVERY_S = 0.85, 15
WITHIN = 0.03  # of the default, where adaptive is not needed


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """
    What happens to the service, and who calls it.

    Attributes:
        rate: Calls per second of all processes together.
        duration_s: How long they call.
        ill: From when to when the service is slower or fails, in seconds.
        slower: Factor of its service times meanwhile.
        errors: Share of responses with status 500 meanwhile.
        settings: Settings of the clients.
        least: Success that adaptive must reach; None: the default's, less `WITHIN`.
    """

    rate: float = 100.0
    duration_s: float = 180.0
    ill: tuple[float, float] = (30.0, 150.0)
    slower: float = 1.0
    errors: float = 0.0
    settings: dict = field(default_factory=lambda: SHORT)
    least: float | None = None


SLOWDOWN = Scenario(ill=(30.0, 45.0), slower=3.0)
BROWNOUTS = {
    "1/1.5 speed for 120 s": Scenario(slower=1.5, least=0.79),
    "1/2.5 speed for 120 s": Scenario(slower=2.5, least=0.54),
    "1/3 speed for 15 s": SLOWDOWN,
    "1/3 speed for 15 s, attempt 10 s": Scenario(ill=(30.0, 45.0), slower=3.0, settings={}),
    "30 % errors for 120 s": Scenario(errors=0.3),
    "60 % errors for 120 s": Scenario(errors=0.6),
}
HEALTHY = {
    f"healthy, {load:.0%} load for an hour": Scenario(rate=load * WORKERS / SERVICE_S, duration_s=3600.0, ill=(0, 0))
    for load in (0.5, 0.83, 0.95)
}


class Service:
    """A `Transport`: twelve workers and a first-in-first-out queue before them; service times are exponential."""

    def __init__(self, scenario, random):
        self.requests = 0
        self._scenario = scenario
        self._random = random
        self._queue = asyncio.Queue()
        self._workers = [asyncio.create_task(self._work()) for _ in range(WORKERS)]

    async def _work(self):
        scenario = self._scenario
        while True:
            response = await self._queue.get()
            is_ill = scenario.ill[0] <= asyncio.get_running_loop().time() < scenario.ill[1]
            await asyncio.sleep(self._random.expovariate(1 / (SERVICE_S * (scenario.slower if is_ill else 1))))
            failed = is_ill and self._random.random() < scenario.errors
            if not response.done():
                response.set_result(500 if failed else 200)

    async def send(self, request, _url):
        self.requests += 1
        request.attempt.request_sent = "maybe"
        response = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(response)
        status = request.attempt.status = await response
        request.attempt.request_sent = "yes"
        if status != 200:
            raise status_error(status, Problem())
        return PlatformResponse(status=status, headers={}, body=b"{}")

    async def aclose(self):
        for worker in self._workers:
            worker.cancel()


async def simulate(scenario, seed, *, processes=10, **sections):
    random = Random(seed)
    service = Service(scenario, Random(random.random()))
    policies = ResolvedSettings({**scenario.settings, **sections})
    clients = [
        PlatformHttpClient(
            "http://platform.test",
            policies=policies,
            transport=service,
            clock=LoopClock(),
            random=Random(random.random()),
        )
        for _ in range(processes)
    ]
    seconds = int(scenario.duration_s)
    succeeded, started, rejected = [0] * seconds, [0] * seconds, 0

    async def call(client, second):
        nonlocal rejected
        started[second] += 1
        try:
            await client.get("/r", path_params={})
        except PlatformError as error:
            rejected += isinstance(error, LocalRejectionError)
        else:
            succeeded[second] += 1

    async with asyncio.TaskGroup() as tasks:
        while (now := asyncio.get_running_loop().time()) < scenario.duration_s:
            tasks.create_task(call(random.choice(clients), int(now)))
            await asyncio.sleep(random.expovariate(scenario.rate))
    await service.aclose()
    healthy = [done >= 0.95 * begun for done, begun in zip(succeeded, started, strict=True)]
    end = int(scenario.ill[1])
    recovery_s = next((at - end for at in range(end, seconds - 5) if all(healthy[at : at + 5])), None)
    return {
        "success": round(sum(succeeded) / sum(started), 4),
        "recovery_s": recovery_s,
        "requests_per_call": round(service.requests / sum(started), 2),
        "calls": sum(started),
        "rejected": rejected,
    }


def slowdown(options):
    found = {}
    for name, sections in PEERS.items():
        if options.quick and name != "default":
            continue
        seeds = 1 if options.quick else options.seeds if name == "default" else min(3, options.seeds)
        found[name] = [run_virtual(simulate(SLOWDOWN, seed, **sections)) for seed in range(seeds)]
    if not options.json:
        print("| policy | seeds | success | recovery | requests per call |\n| --- | --- | --- | --- | --- |")
        for name, runs in found.items():
            success = [round(run["success"], 3) for run in runs]
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
    passed = all(
        run["success"] >= WORST_SUCCESS and run["recovery_s"] is not None and run["recovery_s"] <= WORST_RECOVERY_S
        for run in found["default"]
    )
    return found, passed


def brownout(options):
    found, passed = {}, True
    if not options.json:
        print("| service | processes | seeds | default | adaptive |\n| --- | --- | --- | --- | --- |", flush=True)
    for name, scenario in {**BROWNOUTS, **HEALTHY}.items():
        if options.only not in name:
            continue
        is_healthy = name in HEALTHY
        for processes in (10, 2):
            # An hour has as many calls as twenty other runs, and is not compared.
            seeds = 1 if is_healthy else options.seeds
            default, adaptive = (
                [run_virtual(simulate(scenario, seed, processes=processes, **sections)) for seed in range(count)]
                for count, sections in ((0 if is_healthy else seeds, {}), (seeds, ADAPTIVE))
            )
            found[f"{name}, {processes} processes"] = {"default": default, "adaptive": adaptive}
            if is_healthy:
                shown = ["", f"{adaptive[0]['rejected']} of {adaptive[0]['calls']} rejected"]
                passed &= adaptive[0]["rejected"] == 0
            else:
                before, after = (fmean(run["success"] for run in runs) for runs in (default, adaptive))
                shown = [f"{before:.3f}", f"{after:.3f}"]
                passed &= after >= (before - WITHIN if scenario.least is None else scenario.least)
            if not options.json:
                print(f"| {name} | {processes} | {seeds} | {shown[0]} | {shown[1]} |", flush=True)
    return found, passed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=["slowdown", "brownout"], help="print this table alone")
    parser.add_argument("--only", default="", help="of the brown-outs, those whose name contains this")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.disable()
    tables = {"slowdown": slowdown, "brownout": brownout}
    wanted = "slowdown" if options.quick else options.table
    results = {name: make(options) for name, make in tables.items() if wanted in {None, name}}
    if options.json:
        print(json.dumps({name: found for name, (found, _) in results.items()}, indent=2))
    return 0 if all(passed for _, passed in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
