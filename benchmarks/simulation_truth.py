"""
Is `config simulate` right? Five models on real sockets, against the reference gateway in a process of its own.

First each model is simulated, and what it predicts is written to a file. Then the same traffic is sent by processes of
their own, with the connections of the default transport, and the gateway plays the same faults. Success must be within
3 points of the prediction, and requests per call, as the gateway counted them, within 5 %. Calls and jitter are those
of the simulation's first seed, whose prediction is compared: so the difference is that of simulation and sockets, and
not of chance. The file has the mean of ten seeds too.

    python3 benchmarks/simulation_truth.py             # five models, 40 s each
    python3 benchmarks/simulation_truth.py --quick     # 12 s each, as CI runs it
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from middleware import PlatformError
from middleware.stack import Telemetry
from runtime.connectors.base import PlatformHttpClient
from runtime.forecast.simulate import Scenario, arrivals, jitter, run_one, settings_of
from runtime.gateway import DEFAULT_API_KEY, Fault, GatewayProcess

POLICY = {"attempt": {"timeout_s": 1.0}, "deadline": {"total_s": 4.0}}
RPS, PROCESSES, LATENCY_S = 10.0, 4, 0.004
SEED, SEEDS = 0, 10
MOST_SUCCESS, MOST_AMPLIFICATION = 0.03, 0.05
LIMIT_S = 600
PATH = "/api/users/user_1"
USER = "token-ada"  # one of the stand-in
FAULTS = {
    "errors:30%": Fault(kind="status", status=500, times=0, share=0.3),
    "outage:503": Fault(kind="status", status=503, times=0),
    "spikes:10%/3s": Fault(kind="latency", seconds=3.0, times=0, share=0.1),
    "lost:20%": Fault(kind="reset", applied=True, times=0, share=0.2),
    "flapping:3s": Fault(kind="status", status=503, times=0),
}
"""What the gateway does for each model."""


def scenario(model, duration_s):
    return Scenario(
        fault=model,
        rps=RPS,
        processes=PROCESSES,
        duration_s=duration_s,
        ill_from_s=duration_s / 6,
        ill_until_s=duration_s * 5 / 6,
        latency_s=LATENCY_S,
    )


def predicted(model, duration_s):
    runs = [run_one(scenario(model, duration_s), POLICY, seed) for seed in range(SEEDS)]
    success, amplification = [run.success for run in runs], [run.amplification for run in runs]
    return {
        "success": round(success[0], 4),
        "amplification": round(amplification[0], 4),
        "success_of_all_seeds": [round(one, 4) for one in (min(success), fmean(success), max(success))],
        "amplification_of_all_seeds": [
            round(one, 4) for one in (min(amplification), fmean(amplification), max(amplification))
        ],
    }


async def calls(url, starts_at, model, duration_s, process):
    """One process of the host: make the calls of the simulation, and count them."""
    counts = {"calls": 0, "succeeded": 0}
    client = PlatformHttpClient(
        url,
        DEFAULT_API_KEY,
        policies=settings_of(POLICY),
        telemetry=Telemetry(silent=True),
        random=jitter(SEED, process),
    )

    async def one():
        counts["calls"] += 1
        try:
            await client.get(PATH, path_params={}, user_jwt=USER)
        except PlatformError:
            return
        counts["succeeded"] += 1

    async with client, asyncio.TaskGroup() as tasks:
        for at, whose in arrivals(scenario(model, duration_s), SEED):
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


def measured(gateway, model, duration_s):
    gateway.reset()
    command = [sys.executable, __file__, "--client", gateway.url, model, str(duration_s)]
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
        play(gateway, model, starts_at, duration_s)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--predictions", type=Path, help="where the predictions are written; default a temporary file")
    parser.add_argument("--client", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        url, model, duration_s, process = options.client
        print("up", flush=True)
        starts_at = sys.stdin.readline()
        print(json.dumps(asyncio.run(calls(url, float(starts_at), model, float(duration_s), int(process)))))
        return 0
    began, duration_s = time.monotonic(), 12.0 if options.quick else 40.0
    file = options.predictions or Path(tempfile.mkdtemp()) / "predictions.json"
    predictions = {model: predicted(model, duration_s) for model in FAULTS}
    file.write_text(json.dumps(predictions, indent=2) + "\n")
    results = {}
    with GatewayProcess() as gateway:
        for model, before in predictions.items():
            if time.monotonic() - began > LIMIT_S - duration_s - 10:
                sys.exit("out of time")
            results[model] = {"predicted": before, "measured": measured(gateway, model, duration_s)}
    passed = True
    if not options.json:
        print(f"predictions: {file}")
        print("| model | calls | success, predicted | measured | requests per call, predicted | measured |")
        print("| --- | --- | --- | --- | --- | --- |")
    for model, found in results.items():
        before, after = found["predicted"], found["measured"]
        success = abs(after["success"] - before["success"]) <= MOST_SUCCESS
        load = abs(after["amplification"] / before["amplification"] - 1) <= MOST_AMPLIFICATION
        passed &= success and load
        if not options.json:
            shown = [f"{one['success']:.3f}" for one in (before, after)]
            shown += [f"{one['amplification']:.3f}" for one in (before, after)]
            print(f"| {model} | {after['calls']} | {' | '.join(shown)} |" + ("" if success and load else " not within"))
    if options.json:
        print(json.dumps(results, indent=2))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
