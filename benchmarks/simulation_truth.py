"""
Is `config simulate` right? Models and policy changes on real sockets, against the reference gateway in its own process.

First each case is simulated with ten seeds, and what is predicted is written to a file: the mean, and the interval that
99 % of single runs are in. Then the same traffic, of a seed that no prediction has seen, is sent by processes of their
own, with the connections of the default transport, and the gateway plays the same faults. Success must be within 3
points of the predicted mean, and requests per call, as the gateway counted them, within 5 % of it. Calls come at even
distances and the runs are long enough for chance to be smaller than these limits, which the whole run checks too; in
the short one a difference within the interval of chance passes.

`--table models` is five models under one policy; `--table changes` is the bad policy of docs/tuning-tutorial.md, and
three changes of it, one on top of the other. Each takes less than ten minutes.

    python3 benchmarks/simulation_truth.py                         # both, 40 s each
    python3 benchmarks/simulation_truth.py --table changes --against benchmarks/simulation_truth.json
    python3 benchmarks/simulation_truth.py --predict benchmarks/simulation_truth.json   # writes it, sends nothing
    python3 benchmarks/simulation_truth.py --quick                 # the models, 12 s each, as CI runs it
"""

import argparse
import asyncio
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean, stdev

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from middleware import PlatformError
from middleware.stack import Telemetry
from runtime.connectors.base import PlatformHttpClient
from runtime.forecast.simulate import Scenario, arrivals, jitter, run_all, settings_of
from runtime.gateway import DEFAULT_API_KEY, Fault, GatewayProcess

RPS, PROCESSES, LATENCY_S = 15.0, 4, 0.004
SEEDS, MEASURED_SEED = range(10), 1000
T_99 = 3.250  # two-sided 99 % quantile of Student's t with nine degrees of freedom
MOST_SUCCESS, MOST_AMPLIFICATION = 0.03, 0.05
LIMIT_S = 600  # of a table
PATH = "/api/users/user_1"
USER = "token-ada"  # one of the stand-in
FAULTS = {
    "errors:30%": Fault(kind="status", status=500, times=0, share=0.3),
    "outage:503": Fault(kind="status", status=503, times=0),
    "spikes:10%/3s": Fault(kind="latency", seconds=3.0, times=0, share=0.1),
    "spikes:30%/5s": Fault(kind="latency", seconds=5.0, times=0, share=0.3),
    "lost:20%": Fault(kind="reset", applied=True, times=0, share=0.2),
    "flapping:3s": Fault(kind="status", status=503, times=0),
}
"""What the gateway does for each model."""
OPEN = {"circuit_breaker": {"open_s": 1.0}}  # as in the demo
POLICY = {"attempt": {"timeout_s": 1.0}, "deadline": {"total_s": 4.0}, **OPEN}
BAD = {"attempt": {"timeout_s": 3.0}, "deadline": {"total_s": 3.0}, **OPEN}
FIRST = {**BAD, "attempt": {"timeout_s": 0.5}}
SECOND = {**FIRST, "budget": {"ratio": 1.0}}
THIRD = {**SECOND, "retry": {"max_attempts": 2}}
MODELS = {model: (model, POLICY) for model in ("errors:30%", "outage:503", "spikes:10%/3s", "lost:20%", "flapping:3s")}
CHANGES = {
    "attempt.timeout_s 3.0": ("spikes:30%/5s", BAD),
    "attempt.timeout_s 0.5": ("spikes:30%/5s", FIRST),
    "and budget.ratio 1.0": ("spikes:30%/5s", SECOND),
    "and retry.max_attempts 2": ("spikes:30%/5s", THIRD),
}
TABLES = {"models": MODELS, "changes": CHANGES}
CASES = {**MODELS, **CHANGES}
"""Model and policy of each case."""


def scenario(model, duration_s):
    return Scenario(
        fault=model,
        rps=RPS,
        processes=PROCESSES,
        duration_s=duration_s,
        ill_from_s=duration_s / 6,
        ill_until_s=duration_s * 5 / 6,
        latency_s=LATENCY_S,
        steady=True,
    )


def predictions(names, duration_s):
    """Return the mean and the interval of single runs, for each case, of success and of requests per call."""
    cases = [(scenario(model, duration_s), policy) for model, policy in (CASES[name] for name in names)]
    runs = {name: [] for name in names}
    for index, run in run_all(cases, SEEDS, workers=len(os.sched_getaffinity(0))):
        runs[names[index]].append(run)
    return {
        name: {figure: spread([getattr(run, figure) for run in found]) for figure in ("success", "amplification")}
        for name, found in runs.items()
    }


def spread(values):
    mean, half = fmean(values), T_99 * stdev(values) * math.sqrt(1 + 1 / len(values))
    return {"mean": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4)}


async def calls(url, starts_at, case, duration_s, process):
    """One process of the host: make the calls of the simulation, and count them."""
    model, policy = CASES[case]
    counts = {"calls": 0, "succeeded": 0}
    client = PlatformHttpClient(
        url,
        DEFAULT_API_KEY,
        policies=settings_of(policy),
        telemetry=Telemetry(silent=True),
        random=jitter(MEASURED_SEED, process),
    )

    async def one():
        counts["calls"] += 1
        try:
            await client.get(PATH, path_params={}, user_jwt=USER)
        except PlatformError:
            return
        counts["succeeded"] += 1

    async with client, asyncio.TaskGroup() as tasks:
        for at, whose in arrivals(scenario(model, duration_s), MEASURED_SEED):
            if whose == process:
                await asyncio.sleep(max(0.0, starts_at + at - time.time()))
                tasks.create_task(one())
    return counts


def play(gateway, model, starts_at, duration_s):
    """Play the faults of *model* at their times."""
    setting, fault = scenario(model, duration_s).setting, FAULTS[model]
    changes = [(setting.ill_from_s, True), (setting.ill_until_s, False)]
    if model.startswith("flapping"):
        period = float(model.partition(":")[2].rstrip("s"))
        count = int((setting.ill_until_s - setting.ill_from_s) / period) + 1
        ends = [setting.ill_from_s + period * number for number in range(1, count)]
        changes += [(at, number % 2 == 1) for number, at in enumerate(ends) if at < setting.ill_until_s]
    for at, down in sorted(changes):
        time.sleep(max(0.0, starts_at + at - time.time()))
        if down:
            gateway.script(fault)
        else:
            gateway.clear_faults()


def measured(gateway, case, duration_s):
    gateway.reset()
    command = [sys.executable, __file__, "--client", gateway.url, case, str(duration_s)]
    clients = [
        subprocess.Popen(  # noqa: S603 - this file
            [*command, str(process)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for process in range(PROCESSES)
    ]
    try:
        for client in clients:
            client.stdout.readline()  # it is up
        starts_at = time.time() + 0.5
        for client in clients:
            client.stdin.write(f"{starts_at}\n")
            client.stdin.flush()
        play(gateway, CASES[case][0], starts_at, duration_s)
        found = [json.loads(client.communicate(timeout=duration_s + 60)[0]) for client in clients]
    finally:
        for client in clients:
            client.kill()
    total = sum(one["calls"] for one in found)
    requests = sum(record["path"] == PATH for record in gateway.requests())
    return {
        "calls": total,
        "success": round(sum(one["succeeded"] for one in found) / total, 4),
        "amplification": round(requests / total, 4),
    }


def judged(predicted, found, *, quick):
    """Return what is wrong with a case; empty for nothing."""
    wrong = []
    for figure, most in (
        ("success", MOST_SUCCESS),
        ("amplification", MOST_AMPLIFICATION * predicted["amplification"]["mean"]),
    ):
        one, value = predicted[figure], found[figure]
        chance = one["high"] - one["mean"]
        if abs(value - one["mean"]) > (max(most, chance) if quick else most):
            wrong.append(f"{figure}: not within")
        if chance > most and not quick:
            wrong.append(f"{figure}: the runs are too short")
    return wrong


def shown(figure):
    return f"{figure['mean']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=list(TABLES), help="this table alone")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--predict", type=Path, metavar="FILE", help="write the predictions to a file, and stop")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with the predictions of this file")
    parser.add_argument("--client", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        url, case, duration_s, process = options.client
        print("up", flush=True)
        starts_at = sys.stdin.readline()
        print(json.dumps(asyncio.run(calls(url, float(starts_at), case, float(duration_s), int(process)))))
        return 0
    table, duration_s = "models" if options.quick else options.table, 12.0 if options.quick else 40.0
    names = list(TABLES[table] if table else CASES)
    file = options.against or options.predict or Path(tempfile.mkdtemp()) / "predictions.json"
    if not options.against:
        file.write_text(json.dumps(predictions(names, duration_s), indent=2) + "\n")
    if options.predict:
        return 0
    predicted, results = json.loads(file.read_text()), {}
    began = time.monotonic()
    with GatewayProcess() as gateway:
        for name in names:
            if time.monotonic() - began > LIMIT_S * len(TABLES) - duration_s - 10:
                sys.exit("out of time")
            found = measured(gateway, name, duration_s)
            wrong = judged(predicted[name], found, quick=options.quick)
            results[name] = {"predicted": predicted[name], "measured": found, "wrong": wrong}
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        print(f"predictions: {file}\n")
        print(
            "| case | calls | success, predicted (99 % of runs) | measured | requests per call, predicted | measured |"
        )
        print("| --- | --- | --- | --- | --- | --- |")
        for name, one in results.items():
            before, after = one["predicted"], one["measured"]
            cells = [shown(before["success"]), f"{after['success']:.3f}"]
            cells += [shown(before["amplification"]), f"{after['amplification']:.3f}"]
            print(f"| {name} | {after['calls']} | {' | '.join(cells)} |" + "; ".join(one["wrong"]))
    return 1 if any(one["wrong"] for one in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
