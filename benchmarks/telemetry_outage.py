"""
Calls while the collector fails: refused connections, a black hole, slow responses, garbage; against a healthy one.

500 calls/s go to the gateway, spans and metrics to a collector of the scenario, each in a process of its own. Blocks
alternate between a healthy collector and the failing one, so that whatever else the machine does falls on both. Every
block is a process that makes its calls and then ends; what counts is that no call fails, the ratio of CPU time and of
the 99th percentile of latency (medians over the pairs), memory, the spans counted as lost, and the time from the last
call to the end of the process. In every block the spans that the collector acknowledged and those counted as lost must
add up to those that ended. Failed calls are reported with their codes; how late calls began says how busy the machine
was.

    python3 benchmarks/telemetry_outage.py            # 10 pairs of blocks of 4 s per scenario, about 10 minutes
    python3 benchmarks/telemetry_outage.py --quick    # 1 pair of 0.5 s: fails on calls and counts alone
"""

import argparse
import asyncio
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from middleware import CallError
from runtime.connectors.base import PlatformHttpClient
from runtime.gateway import DEFAULT_API_KEY, GatewayProcess
from runtime.telemetry import configure_telemetry

RATE = 500
SCENARIOS = ("refused", "black hole", "slow", "garbage")
CPU_RATIO, P99_RATIO, END_S = 1.05, 1.25, 3.5
IN_FLIGHT = 100
"""Calls at a time: what a stalled gateway does not take waits here, and does not run into the client's own call cap."""
BATCH = 512


def collector(kind):
    """Respond to OTLP posts in the way of *kind*; prints the port, and at the end how many spans it acknowledged."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    bodies = []
    if kind == "refused":
        listener.close()
    else:
        threading.Thread(target=accept, args=(listener, kind, bodies), daemon=True).start()
    sys.stdin.read()
    scopes = [
        scope
        for body in list(bodies)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
    ]
    sys.stdout.write(f"{len({span.span_id for scope in scopes for span in scope.spans})}\n")
    sys.stdout.flush()
    os._exit(0)


def accept(listener, kind, bodies):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, kind, bodies), daemon=True).start()


def is_gone(connection):
    with suppress(BlockingIOError):
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    return False


def serve(connection, kind, bodies):
    with suppress(ConnectionError), connection, connection.makefile("rb") as stream:
        while line := stream.readline():
            length, is_spans = 0, b"/v1/traces" in line
            while line not in {b"\r\n", b""}:
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
                line = stream.readline()
            body = stream.read(length)
            if kind == "black hole":
                time.sleep(3600)
            if kind == "slow":
                time.sleep(1.5)
            if kind == "garbage":
                connection.sendall(b"\x16\x03\x01 this is no HTTP \xff\r\n\r\n")
                return
            if is_gone(connection):
                return  # it has given this batch up, and counts it as lost
            if is_spans:
                bodies.append(body)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


class Ended(SpanExporter):
    """Counts the spans that ended: what came of them must add up to that."""

    count = 0

    def export(self, spans):
        self.count += len(spans)
        return SpanExportResult.SUCCESS


async def calls(url, telemetry, seconds):
    """A call is due every 1/RATE seconds, whether the last one has ended or not; IN_FLIGHT at a time."""
    latencies, failures, late_s = [], Counter(), 0.0
    places = asyncio.Semaphore(IN_FLIGHT)

    async def one(client):
        started = time.perf_counter()
        try:
            await client.get("/api/service/items", path_params={}, operation="list_items")
        except Exception as error:
            failures[f"{error.code}: {error.reason}" if isinstance(error, CallError) else type(error).__name__] += 1
        latencies.append(time.perf_counter() - started)

    async with PlatformHttpClient(url, DEFAULT_API_KEY, service="service", telemetry=telemetry) as client:
        for _ in range(20):
            await one(client)
        latencies.clear()
        begin, tasks = time.perf_counter(), set()
        cpu = time.process_time()
        for number in range(int(RATE * seconds)):
            due = begin + number / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await places.acquire()
            late_s = max(late_s, time.perf_counter() - due)
            task = asyncio.create_task(one(client))
            tasks.add(task)
            task.add_done_callback(lambda task: (tasks.discard(task), places.release()))
        await asyncio.gather(*tasks)
        cpu = time.process_time() - cpu
    latencies.sort()
    p99_s = latencies[int(len(latencies) * 0.99)]
    return {
        "why": failures,
        "calls": len(latencies),
        "late_s": late_s,
        "cpu_us": cpu / len(latencies) * 1e6,
        "p99_ms": p99_s * 1e3,
    }


def block(url, seconds):
    """One process's worth of calls; its last line is printed before it ends by itself."""
    ended = Ended()
    handle = configure_telemetry(service_name="outage", span_exporters=[ended])
    found = asyncio.run(calls(url, handle.telemetry, seconds))
    found["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["ended"] = time.time()
    found["in_time"] = handle.shutdown()
    found["shutdown_s"] = time.time() - found["ended"]
    found |= {"dropped": handle.dropped["otlp"], "spans": ended.count}
    sys.stdout.write(json.dumps(found) + "\n")


def run_block(kind, url, seconds):
    command = [sys.executable, __file__, "--collector", kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as ill:  # noqa: S603 - ourselves
        port = int(ill.stdout.readline())
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_BSP_SCHEDULE_DELAY": "500",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        }
        made = subprocess.run(  # noqa: S603 - ourselves
            [sys.executable, __file__, "--block", url, "--seconds", str(seconds)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=seconds + 180,
        )
        found = json.loads(made.stdout.splitlines()[-1])
        found["end_s"] = time.time() - found["ended"]
        found["said"] = made.stderr
        ill.stdin.close()
        found["arrived"] = int(ill.stdout.read())
    return found


def adds_up(one):
    """Is each span that ended acknowledged or counted as lost? A batch acknowledged while it is dropped is both."""
    both = one["arrived"] + one["dropped"] - one["spans"]
    return 0 <= both <= (BATCH if one["arrived"] and one["dropped"] else 0)


def compare(kind, url, pairs, seconds):
    healthy, ill = [], []
    for number in range(pairs):
        order = [("healthy", healthy), (kind, ill)]
        for name, into in order if number % 2 else reversed(order):
            into.append(run_block(name, url, seconds))

    def ratio(key):
        return statistics.median(one[key] / other[key] for one, other in zip(ill, healthy, strict=True))

    return {
        "calls": sum(one["calls"] for one in ill),
        "why": {
            name: sum((Counter(one["why"]) for one in blocks), Counter())
            for name, blocks in (("ill", ill), ("healthy", healthy))
        },
        "late_s": max(one["late_s"] for one in [*ill, *healthy]),
        "cpu_ratio": ratio("cpu_us"),
        "p99_ratio": ratio("p99_ms"),
        "rss_mb": max(one["rss_mb"] for one in ill),
        "rss_mb_healthy": max(one["rss_mb"] for one in healthy),
        "spans": sum(one["spans"] for one in ill),
        "dropped": sum(one["dropped"] for one in ill),
        "arrived": sum(one["arrived"] for one in ill),
        "dropped_healthy": sum(one["dropped"] for one in healthy if one["in_time"]),
        "wrong": [one for one in [*ill, *healthy] if not adds_up(one)],
        "shutdown_s": max(one["shutdown_s"] for one in [*ill, *healthy]),
        "end_s": max(one["end_s"] for one in [*ill, *healthy]),
        "said": "".join(one["said"] for one in [*ill, *healthy]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short pair per scenario, to see that it runs")
    parser.add_argument("--pairs", type=int, default=10, help="pairs of blocks per scenario (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a block (default: %(default)s)")
    parser.add_argument("--only", choices=SCENARIOS, help="this scenario alone")
    parser.add_argument("--collector", help=argparse.SUPPRESS)
    parser.add_argument("--block", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.collector:
        collector(options.collector)
        return 0
    if options.block:
        block(options.block, options.seconds)
        return 0
    pairs, seconds = (1, 0.5) if options.quick else (options.pairs, options.seconds)
    print(f"{RATE} calls/s, {pairs} pairs of blocks of {seconds:g} s")
    kept = True
    with GatewayProcess() as gateway:
        for kind in [options.only] if options.only else SCENARIOS:
            found = compare(kind, gateway.url, pairs, seconds)
            failed = sum(sum(codes.values()) for codes in found["why"].values())
            lost = kind == "slow" or found["arrived"] == 0
            holds = failed == 0 and found["dropped_healthy"] == 0 and lost and not found["wrong"]
            in_time = found["end_s"] <= END_S and found["p99_ratio"] <= P99_RATIO
            in_bounds = in_time and found["cpu_ratio"] <= CPU_RATIO
            kept &= holds and not found["said"] and (in_bounds or options.quick)
            print(
                f"{kind:<11} {found['calls']} calls, {failed} failed; CPU x {found['cpu_ratio']:.3f}, "
                f"p99 x {found['p99_ratio']:.2f}; of {found['spans']} spans {found['dropped']} lost and counted, "
                f"{found['arrived']} arrived; "
                f"{found['rss_mb']:.0f} MB (healthy {found['rss_mb_healthy']:.0f}); telemetry ended "
                f"within {found['shutdown_s']:.2f} s, the process within {found['end_s']:.2f} s; "
                f"calls began up to {found['late_s']:.2f} s late"
                f"{'; said: ' + found['said'][:200] if found['said'] else ''}",
                flush=True,
            )
            for name, codes in found["why"].items():
                for code, count in codes.most_common():
                    print(f"  {count} failed with {name} collector: {code}")
            for one in found["wrong"]:
                print(f"  does not add up: {one['spans']} ended, {one['arrived']} arrived, {one['dropped']} lost")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
