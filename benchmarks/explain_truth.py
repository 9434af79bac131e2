"""
Is `config explain` exact? Random policies under each fault, on the real stack in virtual time.

For each policy and fault: calls with random jitter must stay within the bounds, and no attempt may start that never
can by the schedule. Then, for each attempt, a jitter that the schedule itself names must bring its start to the
earliest and to the latest bound within 1 ms. Bounds that the schedule calls not exact are checked for violations alone.

    python3 benchmarks/explain_truth.py              # 2 000 policies, eight faults; minutes
    python3 benchmarks/explain_truth.py --quick      # 100 policies, as CI runs it
"""

import argparse
import asyncio
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from middleware import PlatformError
from middleware.events import AttemptFinished
from middleware.stack import Telemetry
from runtime.connectors.base import PlatformHttpClient
from runtime.forecast.models import Setting, model_of
from runtime.forecast.schedule import schedule_of
from runtime.forecast.simulate import Operation, settings_of
from runtime.forecast.simulated_transport import SimulatedTransport
from runtime.forecast.virtual_time import LoopClock, run_virtual

FAULTS = ("hang", "503", "429:30", "refused", "slow:2s", "lost", "half-body", "flapping:5s")
NEAR_S, REACHED_S = 1e-6, 1e-3
LATENCY_S = 0.05
RANDOM_CALLS = 3
OPEN_JITTERS = ((1, 1.2), (0.8, 0.95))  # R33; in mode shadow a circuit opens, and the call goes on
READ, WRITE = Operation(), Operation(method="POST")


class Scripted(Random):
    """Jitter of waits that follows a script, and is at its lower bound after it, as is that of open circuits."""

    def __init__(self, draws):
        super().__init__(0)
        self._draws = list(draws)

    def uniform(self, low, high):
        if (low, high) in OPEN_JITTERS or not self._draws:
            return low
        return min(max(self._draws.pop(0), low), high)


class Recorder:
    event_types = frozenset({AttemptFinished})

    def __init__(self):
        self.records = []

    def __call__(self, event):
        self.records.append(event.record)


def call(settings, fault, operation, jitter):
    """Make one call; return when each attempt started and ended, when the call ended, and whether it succeeded."""

    async def run():
        setting = Setting(1.0, LATENCY_S, 0.0, float("inf"), spread=False)
        recorder = Recorder()
        client = PlatformHttpClient(
            "http://platform.test",
            policies=settings,
            transport=SimulatedTransport(model_of(fault).service(setting, Random(0))),
            telemetry=Telemetry(listener=recorder, silent=True),
            clock=LoopClock(),
            random=jitter,
        )
        try:
            await client.request(operation.method, "/r", path_params={})
            succeeded = True
        except PlatformError:
            succeeded = False
        ended = asyncio.get_running_loop().time()
        await client.aclose()
        attempts = sorted(recorder.records, key=lambda record: record.number)
        return [(one.started_s, one.ended_s) for one in attempts], ended, succeeded

    return run_virtual(run())


def policy(random):
    """Return a random policy, values that contradict each other among them."""
    sections = {
        "deadline": {"total_s": random.choice([0.5, 2.0, 5.0, 25.0, 60.0, random.uniform(0.1, 40)])},
        "attempt": {"timeout_s": random.choice([0.03, 0.5, 1.0, 3.0, 10.0, random.uniform(0.1, 30)])},
        "retry": {
            "max_attempts": random.randint(1, 10),
            "not_sent_max_attempts": random.randint(1, 10),
            "base_delay_s": random.choice([0.0, 0.1, random.uniform(0, 3)]),
            "max_delay_s": random.choice([0.5, 5.0, random.uniform(0, 20)]),
            "not_sent_base_delay_s": random.choice([0.5, random.uniform(0, 3)]),
            "not_sent_max_delay_s": random.choice([1.0, random.uniform(0, 5)]),
            "throttle_base_delay_s": random.choice([1.0, random.uniform(0, 5)]),
            "throttle_max_delay_s": random.choice([20.0, random.uniform(0, 40)]),
            "retry_after_max_s": random.choice([20.0, 30.0, 60.0]),
            "min_attempt_s": random.choice([0.005, random.uniform(0, 1)]),
            "repeat_writes_after_503": random.random() < 0.2,
        },
        "circuit_breaker": {
            "mode": random.choice(["normal", "normal", "normal", "shadow", "disabled"]),
            "min_calls": random.choice([10, 10, random.randint(1, 12)]),
            "window_s": random.choice([10.0, 30.0, 60.0]),
        },
        "budget": {
            "enabled": random.random() < 0.8,
            "ratio": random.choice([0.2, random.uniform(0, 2)]),
            "min_per_s": random.choice([1.0, 0.1, random.uniform(0, 1)]),
            "ttl_s": random.choice([10.0, 60.0]),
        },
        "idempotency": {"honors_key": random.random() < 0.5},
    }
    if random.random() < 0.2:
        sections["hedging"] = {"max_hedges": random.randint(1, 3), "delay_s": random.uniform(0.1, 3)}
    if random.random() < 0.1:
        sections["rate_limit"] = {"per_second": random.uniform(0.2, 5), "burst": random.randint(1, 5)}
    if random.random() < 0.1:
        sections["bulkhead"] = {"permits": random.randint(1, 3), "adaptive": random.random() < 0.5}
    return sections


class Check:
    """Compares calls under one fault with their schedule; collects what is wrong in `found`, and counts what it saw."""

    def __init__(self, settings, fault, operation):
        self.settings, self.fault, self.operation = settings, fault, operation
        self.schedule = schedule_of(settings, model_of(fault), operation=operation, latency_s=LATENCY_S)
        self.found, self.counts = [], Counter(schedules=1)

    def within(self, what, at, bounds):
        if not bounds[0] - NEAR_S <= at <= bounds[1] + NEAR_S:
            self.found.append(f"{what} at {at:.6g}, bounds {bounds[0]:.6g} to {bounds[1]:.6g}")

    def call(self, jitter):
        """Make a call, and return its attempts."""
        schedule = self.schedule
        attempts, ended, succeeded = call(self.settings, self.fault, self.operation, jitter)
        self.counts["calls"] += 1
        bounds = {one.number: one for one in schedule.attempts}
        for number, (start, end) in enumerate(attempts, 1):
            self.counts["attempts"] += 1
            if number in bounds:
                self.within(f"start of attempt {number}", start, bounds[number].starts_s)
                self.within(f"end of attempt {number}", end, bounds[number].ends_s)
            else:
                self.found.append(f"attempt {number} started at {start:.6g}, and never can")
        self.within("end of the call", ended, (schedule.fastest_s, schedule.worst_case_s))
        if not (schedule.succeeds if succeeded else schedule.fails):
            self.found.append(f"{'success' if succeeded else 'failure'}, and it never can")
        missing = [one for one in schedule.attempts if one.always and one.number > len(attempts)]
        self.found.extend(f"attempt {one.number} did not start, and always does" for one in missing)
        return attempts

    def reach(self, one, *, latest):
        """Make the call whose jitter brings an attempt to its bound."""
        self.counts["bounds reached"] += 1
        attempts = self.call(Scripted(self.schedule.waits_to(one.number, latest=latest)))
        at = attempts[one.number - 1][0] if one.number <= len(attempts) else float("inf")
        if abs(at - one.starts_s[latest]) > REACHED_S:
            self.found.append(f"attempt {one.number} started at {at:.6g}, its bound is {one.starts_s[latest]:.6g}")


def problems(sections, fault, operation, seed):
    """Return what is wrong with the schedule of that policy under that fault, and counts of what was checked."""
    check = Check(settings_of(sections), fault, operation)
    for number in range(RANDOM_CALLS):
        check.call(Random(seed * 10 + number))
    for one in check.schedule.attempts:
        if one.exact:
            check.reach(one, latest=False)
            check.reach(one, latest=True)
        else:
            check.counts["bounds not exact"] += 2
    return check.found, check.counts


def one_policy(seed):
    random = Random(seed)
    sections = policy(random)
    operation = WRITE if random.random() < 0.3 else READ
    total, failed = Counter(policies=1), []
    for fault in FAULTS:
        found, counts = problems(sections, fault, operation, seed)
        total += counts
        failed += [f"policy {seed}, {operation.method}, {fault}: {problem}" for problem in found]
    return failed, total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", type=int, default=2000)
    parser.add_argument("--from", dest="first", type=int, default=0, help="seed of the first policy")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    seeds = range(options.first, options.first + (100 if options.quick else options.policies))
    total, failed = Counter(), []
    with ProcessPoolExecutor(options.workers) as pool:
        for found, counts in pool.map(one_policy, seeds, chunksize=5):
            total += counts
            failed += found
    for line in failed[:40]:
        print(line)
    print(", ".join(f"{count} {name}" for name, count in total.items()))
    print(f"{len(failed)} problems")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
