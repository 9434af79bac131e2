"""
Run the telemetry tier for real: two agents, two members of the tier, one Jaeger, on five addresses of this machine.

Takes the directory of the programs (`.ci/stack_binaries.py --scale` prints it). The spans are those of
docs/traces/stories.jsonl under new trace ids, each in a request of its own, alternately to both agents, in mixed
order. Every check is printed when it passed; the first that fails ends the run.
"""

import copy
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections import Counter
from pathlib import Path
from typing import Any

from seen import ask, check, until

ROOT = Path(__file__).resolve().parents[1]
FILES = ROOT / "dashboards"
PROGRAMS = Path(sys.argv[1]).resolve()
# Of loopback, and not where another program's spans go by default.
AGENTS = ("127.0.27.1", "127.0.27.2")
TIERS = ("127.0.27.3", "127.0.27.4")
JAEGER = "127.0.27.5"
DECISION_WAIT_S = 4
KEPT_PERCENT = 25
SLOW_S = 2.0

Trace = list[dict[str, Any]]


class Stack:
    """The five programs, each with its log in *place*."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, host: str) -> None:
        """Start the program of an address, and wait until it is ready."""
        collector = str(PROGRAMS / "otelcol-scale")
        environment = {"PATH": os.environ["PATH"], "LISTEN_HOST": host, "JAEGER_HOST": JAEGER}
        if host in AGENTS:
            command = [collector, f"--config={FILES}/otel-collector.yml", f"--config={FILES}/scale/agent.yml"]
            environment |= {f"TIER_{number}": f"{tier}:4317" for number, tier in enumerate(TIERS)}
        elif host in TIERS:
            command = [collector, f"--config={FILES}/scale/tier.yml"]
            environment |= {
                "STATE_DIRECTORY": str(self.place / host),
                "DECISION_WAIT": f"{DECISION_WAIT_S}s",
                "KEPT_PERCENT": str(KEPT_PERCENT),
            }
        else:
            command = [str(PROGRAMS / "jaeger"), f"--config={FILES}/jaeger.yml"]
            environment |= {"JAEGER_UI_CONFIG": str(FILES / "jaeger-ui.js"), "PROMETHEUS_HOST": host}
        with (self.place / f"{host}.log").open("ab") as log:
            self.running[host] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        port, path = (14133, "/status") if host == JAEGER else (13133, "/")
        if not until(lambda: ask(port, path, host=host)[0] == 200, 60):
            sys.exit(f"FAILED: {host} is not ready\n{(self.place / f'{host}.log').read_text()[-2000:]}")

    def end(self, host: str, how: signal.Signals) -> None:
        """End the program of an address."""
        process = self.running.pop(host)
        process.send_signal(how)
        process.wait(30)

    def end_all(self) -> None:
        """Kill what runs."""
        for host in tuple(self.running):
            self.end(host, signal.SIGKILL)


# Traces.


def stories() -> dict[str, Trace]:
    """The spans of each story by the name of its call, with the envelope that they came in."""
    found: dict[str, Trace] = {}
    for line in (ROOT / "docs" / "traces" / "stories.jsonl").read_text("utf-8").splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    envelope = {"resource": resource["resource"], "scopeSpans": [{**scope, "spans": [span]}]}
                    found.setdefault(span["traceId"], []).append(envelope)
    return {what_happened(trace): trace for trace in found.values()}


def what_happened(trace: Trace) -> str:
    """The name of a call and its events."""
    call = call_of(trace)
    return " ".join([call["name"], *dict.fromkeys(event["name"] for event in call.get("events", ()))])


def span_of(envelope: dict[str, Any]) -> dict[str, Any]:
    """The one span of an envelope."""
    span: dict[str, Any] = envelope["scopeSpans"][0]["spans"][0]
    return span


def call_of(trace: Trace) -> dict[str, Any]:
    """The span of the call."""
    (call,) = [span_of(one) for one in trace if span_of(one)["kind"] == 1]
    return call


def copies(trace: Trace, count: int, chance: random.Random, seconds: float | None = None) -> dict[str, Trace]:
    """Copies of a trace under ids of their own; the call as long as *seconds*."""
    made = {}
    for _ in range(count):
        again = copy.deepcopy(trace)
        trace_id = f"{chance.getrandbits(128):032x}"
        for span in map(span_of, again):
            span["traceId"] = trace_id
        if seconds is not None:
            call_of(again)["endTimeUnixNano"] = str(int(call_of(again)["startTimeUnixNano"]) + int(seconds * 1e9))
        made[trace_id] = again
    return made


def send(traces: dict[str, Trace], chance: random.Random) -> None:
    """Each span in a request of its own, to either agent alternately, in mixed order."""
    envelopes = [one for trace in traces.values() for one in trace]
    chance.shuffle(envelopes)
    for number, envelope in enumerate(envelopes):
        body = json.dumps({"resourceSpans": [envelope]}).encode()
        status, response = ask(4318, "/v1/traces", body, host=AGENTS[number % 2])
        if status != 200:
            check("an agent accepts a span", False, response)


def kept(traces: dict[str, Trace]) -> Counter[str]:
    """How many of *traces* Jaeger has whole, in part, not at all, or with a span twice."""
    found: Counter[str] = Counter()
    for trace_id, trace in traces.items():
        status, body = ask(
            16686, f"/api/v3/traces/{trace_id}?{urllib.parse.urlencode({'raw_traces': 'true'})}", host=JAEGER
        )
        ids = re.findall(r'"spanId":"([0-9a-f]{16})"', body.decode()) if status == 200 else []
        sent = {span_of(one)["spanId"] for one in trace}
        if not ids:
            found["none"] += 1
        elif len(ids) > len(set(ids)):
            found["twice"] += 1
        else:
            found["whole" if set(ids) == sent else "part"] += 1
    return found


def metric(host: str, port: int, name: str, having: str = "") -> float:
    """The sum of a metric's series whose labels have a text."""
    _, body = ask(port, "/metrics", host=host)
    lines = re.findall(rf"^{name}(\{{.*\}})? ([0-9.e+]+)", body.decode(), re.MULTILINE)
    return sum(float(value) for labels, value in lines if having in labels)


# What is seen.


def check_files() -> None:
    """By the program's own check."""
    environment = {**os.environ, "STATE_DIRECTORY": tempfile.gettempdir()}
    for program, *files in (
        ("otelcol-scale", "otel-collector.yml", "scale/agent.yml"),
        ("otelcol-scale", "scale/tier.yml"),
        ("jaeger", "jaeger.yml", "scale/jaeger.yml"),
    ):
        command = [str(PROGRAMS / program), "validate", *(f"--config={FILES}/{file}" for file in files)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        check(f"{program} accepts {' + '.join(files)}", result.returncode == 0, result.stderr)


def check_sampling(known: dict[str, Trace], chance: random.Random) -> None:
    """What is kept, and that the counts are those of all spans."""
    (plain,) = [trace for trace in known.values() if len(trace) == 2 and not is_in_trouble(trace)][:1]
    wanted = {name: copies(trace, 20, chance) for name, trace in known.items() if is_in_trouble(trace)}
    wanted["a slow one"] = copies(plain, 20, chance, seconds=SLOW_S + 0.1)
    others = copies(plain, 400, chance)
    everything = {trace_id: trace for traces in (*wanted.values(), others) for trace_id, trace in traces.items()}
    send(everything, chance)
    time.sleep(DECISION_WAIT_S)
    for name, traces in wanted.items():
        seen = until(lambda traces=traces: (found := kept(traces))["whole"] == 20 and found) or kept(traces)
        check(f"{name}: 20 of 20 kept whole, though their spans came by two agents", seen == {"whole": 20}, seen)
    seen = kept(others)
    check(
        f"of 400 plain successes {seen['whole']} are kept whole, for a share of {KEPT_PERCENT} %",
        set(seen) <= {"whole", "none"} and 65 <= seen["whole"] <= 135,
        seen,
    )
    sent = sum(map(len, everything.values()))
    calls = "traces_span_metrics_calls_total"
    counted = until(lambda: (found := sum(metric(agent, 8889, calls) for agent in AGENTS)) == sent and found)
    check(f"span metrics of both agents count all {sent} spans, not those that were kept", counted, counted)
    failed = sum(span_of(one)["status"].get("code") == 2 for trace in everything.values() for one in trace)
    counted = sum(metric(agent, 8889, calls, "STATUS_CODE_ERROR") for agent in AGENTS)
    check(f"and all {failed} that failed", counted == failed, counted)
    shares = [metric(tier, 8888, "otelcol_receiver_accepted_spans_total") for tier in TIERS]
    check(f"the members of the tier got {shares[0]:.0f} and {shares[1]:.0f} spans", sum(shares) == sent, shares)
    check("and both have a part of the work", min(shares) > 0.25 * sent, shares)


def is_in_trouble(trace: Trace) -> bool:
    """Whether the tier keeps it for what is in it."""
    return bool(call_of(trace).get("events")) or call_of(trace)["status"].get("code") == 2


def check_killed_member(stack: Stack, trace: Trace, chance: random.Random) -> None:
    """Its traces wait for it; those of the other do not."""
    before = metric(TIERS[0], 8888, "otelcol_receiver_accepted_spans_total")
    stack.end(TIERS[1], signal.SIGKILL)
    traces = copies(trace, 100, chance)
    send(traces, chance)
    time.sleep(DECISION_WAIT_S)
    came = until(
        lambda: (
            (found := kept(traces)["whole"]) * len(trace)
            == metric(TIERS[0], 8888, "otelcol_receiver_accepted_spans_total") - before
            and found
        )
    )
    check(f"with one member killed, {came} of 100 traces come whole by the other", 25 < came < 75, kept(traces))
    stack.start(TIERS[1])
    seen = until(lambda: (found := kept(traces))["whole"] == 100 and found, 60) or kept(traces)
    check("once it is back, all 100 are there whole, and no span twice", seen == {"whole": 100}, seen)


def check_disk(stack: Stack, trace: Trace, chance: random.Random) -> None:
    """What was decided on survives a kill while Jaeger is away."""
    stack.end(JAEGER, signal.SIGKILL)
    traces = copies(trace, 60, chance)
    send(traces, chance)
    decided = "otelcol_processor_tail_sampling_global_count_traces_sampled_total"
    until(lambda: sum(metric(tier, 8888, decided, 'sampled="true"') for tier in TIERS) >= 60)
    time.sleep(DECISION_WAIT_S + 2)
    for tier in TIERS:
        stack.end(tier, signal.SIGKILL)
    stack.start(JAEGER)
    for tier in TIERS:
        stack.start(tier)
    seen = until(lambda: (found := kept(traces))["whole"] + found["twice"] == 60 and found, 60) or kept(traces)
    check(
        "Jaeger away and then both members killed: 60 of 60 come from their disks",
        seen["none"] == seen["part"] == 0,
        seen,
    )


def check_stop(stack: Stack, trace: Trace, chance: random.Random) -> None:
    """SIGTERM decides on what is there."""
    traces = copies(trace, 40, chance)
    send(traces, chance)
    time.sleep(1)
    for tier in TIERS:
        stack.end(tier, signal.SIGTERM)
        stack.start(tier)
    seen = until(lambda: (found := kept(traces))["whole"] == 40 and found) or kept(traces)
    check("after SIGTERM before the decision, 40 of 40 failed traces are kept", seen == {"whole": 40}, seen)


def main() -> None:
    """Start everything, and look."""
    check_files()
    chance = random.Random(27)
    known = stories()
    failed = next(trace for trace in known.values() if call_of(trace)["status"].get("code") == 2 and len(trace) > 2)
    with tempfile.TemporaryDirectory() as place:
        stack = Stack(Path(place))
        try:
            for host in (JAEGER, *TIERS, *AGENTS):
                stack.start(host)
            check_sampling(known, chance)
            check_killed_member(stack, failed, chance)
            check_stop(stack, failed, chance)
            check_disk(stack, failed, chance)
        finally:
            stack.end_all()


if __name__ == "__main__":
    main()
