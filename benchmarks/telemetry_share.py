"""
Telemetry's share of a call without I/O: CPU time as a ratio to `httpx.AsyncClient` over the same stub.

Each round measures, one after the other: httpx's client; the stack with its telemetry taken out; the stack without an
SDK, with an SDK that samples nothing, and with one that samples all, metrics recorded in both. A share is what a
variant adds to the stack without telemetry, divided by httpx's time in the same round; the median of the rounds counts.
Reported next to it: what the SDK takes alone: two layers that do nothing but open a span of five attributes, inject its
context and record one histogram each, in the same stack; and its bare calls, two spans and two records, in a loop of
nothing else, where every cache is warm: no library that reports a call and an attempt to the SDK can spend less.

    python3 benchmarks/telemetry_share.py            # 15 rounds of 1 500 calls
    python3 benchmarks/telemetry_share.py --quick    # 3 rounds of 300, to see that it runs
"""

import argparse
import asyncio
import gc
import json
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx
from opentelemetry import propagate

from benchmarks.bare_stack import without_telemetry
from benchmarks.clients import sdk, sdk_calls
from middleware import Telemetry
from runtime.connectors.base import PlatformHttpClient

URL = "http://platform.test"
PATH = "/api/users/{user_id}/roles"
BODY = json.dumps({"user_id": "u-1", "roles": ["user"]}).encode()
OWN_LIMIT = 0.25  # above what the SDK takes alone, which is beyond the aims by itself
LIMITS = {"no SDK": 0.15, "unsampled": 0.25, "sampled": 0.5}


class Stub(httpx.AsyncBaseTransport):
    """Responds at once."""

    async def handle_async_request(self, _request):
        return httpx.Response(200, headers={"content-type": "application/json"}, content=BODY)


class Bare:
    """What no telemetry of this shape can do without: one span, its header, one sample."""

    def __init__(self, telemetry):
        self._tracer = telemetry.tracer_provider.get_tracer("bare")
        self._histogram = telemetry.meter_provider.get_meter("bare").create_histogram("bare.duration", "s")
        self._attributes = {f"attribute.{number}": "value" for number in range(5)}

    async def __call__(self, request, call_next):
        options = {"record_exception": False, "set_status_on_exception": False}
        with self._tracer.start_as_current_span("bare", attributes=self._attributes, **options):
            propagate.inject({})
            response = await call_next(request)
            self._histogram.record(0.001, self._attributes)
            return response


def client(telemetry):
    return PlatformHttpClient(URL, service="identity", transport=Stub(), telemetry=telemetry)


def alone(telemetry):
    return without_telemetry(lambda: client(off()), [Bare(telemetry), Bare(telemetry)])


def off():
    return Telemetry()  # the API alone, as a host has it that sets nothing up


async def by_sdk(act, calls):
    act(calls)


async def by_httpx(http, calls):
    for _ in range(calls):
        (await http.get(f"{URL}/api/users/u-1/roles")).json()


async def by_stack(made, calls):
    for _ in range(calls):
        await made.get(PATH, path_params={"user_id": "u-1"}, operation="get_user_roles")


async def measure(rounds, calls):
    http = httpx.AsyncClient(transport=Stub())
    variants = {
        "httpx": (by_httpx, http),
        "stack": (by_stack, without_telemetry(lambda: client(off()))),
        "no SDK": (by_stack, client(off())),
        "unsampled": (by_stack, client(sdk(sampled=False))),
        "sampled": (by_stack, client(sdk())),
        "SDK alone, unsampled": (by_stack, alone(sdk(sampled=False))),
        "SDK alone, sampled": (by_stack, alone(sdk())),
        "SDK's calls, unsampled": (by_sdk, sdk_calls(sdk(sampled=False))),
        "SDK's calls, sampled": (by_sdk, sdk_calls(sdk())),
    }
    times = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, (act, subject) in variants.items():
            gc.collect()
            started = time.process_time()
            await act(subject, calls)
            if number:  # the first round warms up
                times[name].append((time.process_time() - started) / calls)
    await http.aclose()
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds, to see that it runs")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    rounds, calls = (3, 300) if options.quick else (15, 1500)
    times = asyncio.run(measure(rounds, calls))
    shares = {
        name: statistics.median(
            (with_it - (0 if name.startswith("SDK's calls") else without)) / base
            for with_it, without, base in zip(times[name], times["stack"], times["httpx"], strict=True)
        )
        for name in times
        if name not in {"httpx", "stack"}
    }
    micro = {name: statistics.median(found) * 1e6 for name, found in times.items()}
    packages = {name: version(name) for name in ("httpx", "opentelemetry-sdk", "structlog")}
    if options.json:
        print(json.dumps({"shares": shares, "cpu_us": micro, "python": platform.python_version(), **packages}))
    else:
        print(f"Python {platform.python_version()}, {packages}, {rounds} rounds of {calls} calls")
        for name, found in micro.items():
            share = f"   share of telemetry {shares[name]:.2f}" if name in shares else ""
            aim = f" (aim {LIMITS[name]})" if name in LIMITS else ""
            print(f"{name:<23}{found:8.1f} us per call{share}{aim}")
    own = max(shares[name] - shares[f"SDK alone, {name}"] for name in ("sampled", "unsampled"))
    kept = shares["no SDK"] <= LIMITS["no SDK"] and own <= OWN_LIMIT
    return 0 if kept or options.quick else 1


if __name__ == "__main__":
    sys.exit(main())
