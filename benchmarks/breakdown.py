"""
Where the time of a call goes: the same GET with one part more at a time, for each transport.

Each round measures, one after the other, a bare client, our transport alone, the stack around it without telemetry,
with telemetry where no SDK is, with an SDK that samples nothing, with one that samples all, and with one JSON line per
call. What a part costs is the median of the differences within the rounds; CPU time of this process, the server runs
in another one. Reported next to it: the SDK's own calls in a loop of nothing else: two spans and two records.

    python3 benchmarks/breakdown.py            # 1 and 64 calls at a time; about two minutes
    python3 benchmarks/breakdown.py --write    # also writes the table into docs/performance.md
    python3 benchmarks/breakdown.py --quick    # two short rounds, to see that it runs
    python3 benchmarks/breakdown.py --floor    # without a wire: a call, and others' code in it alone
"""

import argparse
import asyncio
import gc
import json
import logging
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.compare import Counter, enter_environment, run, write_between

LIBRARIES = ("httptools", "aiohttp")
PARTS = {
    "transport": "the transport alone: one exchange, bounds, phases, headers checked",
    "layers": "+ the client and its layers, telemetry taken out",
    "no SDK": "+ telemetry, with OpenTelemetry's API alone",
    "unsampled": "+ an SDK: metrics recorded, spans not sampled",
    "sampled": "+ both spans sampled into a batch processor",
    "log line": "+ one JSON line per call",
}


def transport_alone(client: Any, url: str) -> Any:
    """Make a getter that hands the transport what the stack would hand it."""
    from benchmarks.clients import headers
    from middleware.records import CallInfo
    from middleware.types import Call, PlatformRequest

    async def get(n: int, path: str) -> Any:
        info = CallInfo(
            service="service", operation="get_item", method="GET", route="", idempotent=True, correlation_id=""
        )
        request = PlatformRequest(
            call=Call(info=info, started_at=0.0, snapshot={}), method="GET", path="", headers=headers(n)
        )
        response = await client._transport.send(request, f"{url}{path or f'/api/items/{n}'}")
        return json.loads(response.body)

    return get


def variants(url: str, library: str, opened: list[Any]) -> dict[str, Any]:
    """All parts of one transport, each as a coroutine `get(n, path)`."""
    from benchmarks.bare_stack import without_telemetry
    from benchmarks.clients import getter, sdk, stack
    from middleware import Telemetry

    def client(telemetry: Telemetry) -> Any:
        made = stack(url, telemetry, library=library)
        opened.append(made)
        return made

    return {
        "transport": transport_alone(client(Telemetry()), url),
        "layers": getter(without_telemetry(lambda: client(Telemetry()))),
        "no SDK": getter(client(Telemetry())),
        "unsampled": getter(client(sdk(sampled=False))),
        "sampled": getter(client(sdk())),
        "log line": getter(client(sdk())),  # `measure` enables the log for it
    }


async def bare(url: str, library: str, opened: list[Any]) -> Any:
    """The bare client of the same family: what is in use today."""
    import aiohttp
    import httpx

    from benchmarks.clients import headers

    if library != "aiohttp":
        client = httpx.AsyncClient(base_url=url, limits=httpx.Limits(max_connections=None), trust_env=False)
        opened.append(client)

        async def get(n: int, path: str) -> Any:
            return (await client.get(path or f"/api/items/{n}", headers=headers(n))).json()

        return get
    session = aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0))
    opened.append(session)

    async def get_by_aiohttp(n: int, path: str) -> Any:
        async with session.get(path or f"/api/items/{n}", headers=headers(n)) as response:
            return await response.json()

    return get_by_aiohttp


def sdk_alone(calls: int) -> float:
    """CPU that the SDK's calls of one call of ours take, in µs, in a loop of nothing else."""
    from benchmarks.clients import sdk, sdk_calls

    act = sdk_calls(sdk())
    started = time.process_time()
    act(calls)
    return (time.process_time() - started) / calls * 1e6


def others_alone(telemetry: Any, *, logs: bool) -> Any:
    """Make what spends a call's worth of code that is not ours: the SDK, the host's log handler, the JSON decoder."""
    import msgspec

    from benchmarks.clients import sdk_calls
    from benchmarks.server import BODY

    spans_and_records = sdk_calls(telemetry) if telemetry.tracer_provider else lambda _calls: None
    decode, logger = msgspec.json.Decoder().decode, logging.getLogger("mozaiks.connectors")
    fields = {f"field_{number}": "value" for number in range(12)}  # as many as a line of ours has

    async def act(_n: int, _path: str) -> Any:
        spans_and_records(1)
        if logs:
            record = logger.makeRecord(logger.name, logging.DEBUG, __file__, 1, "call.succeeded", (), None)
            record.__dict__.update(fields)
            logger.handle(record)
        return decode(BODY)

    return act


async def floor(rounds: int, calls: int) -> str:
    """Without a wire, in turn: a call, and what of it is not ours in a loop of nothing else; 10th percentiles."""
    from benchmarks.checkout import raw_transport
    from benchmarks.clients import getter, sdk, stack
    from middleware import Telemetry

    counter, logger = Counter(), logging.getLogger("mozaiks.connectors")
    lines = ["| over a raw `Transport` | a call, µs | others' code alone, µs | its share |", "|" + " --- |" * 4]
    for name, telemetry in {"no SDK": Telemetry(), "unsampled": sdk(sampled=False), "sampled": sdk()}.items():
        logs = name != "no SDK"
        whole, alone = (
            getter(stack("http://stub", telemetry, transport=raw_transport())),
            others_alone(telemetry, logs=logs),
        )
        found: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for costs, get in zip(found, (whole, alone), strict=True):
                logger.disabled = not logs
                costs.append((await run(get, calls, 1, counter))["cpu_us"])
        ours, theirs = (sorted(costs)[len(costs) // 10] for costs in found)
        title = f"{name}, log line" if logs else f"{name}, no log"
        lines.append(f"| {title} | {ours:.0f} | {theirs:.0f} | {theirs / ours:.2f} |")
    return "\n".join(lines)


async def measure(url: str, concurrency: int, rounds: int, calls: int) -> dict[str, dict[str, list[float]]]:
    """CPU per call in µs of every part of every transport."""
    opened: list[Any] = []
    counter, logger = Counter(), logging.getLogger("mozaiks.connectors")
    chosen = {}
    for library in LIBRARIES:
        chosen[library] = {"bare client": await bare(url, library, opened), **variants(url, library, opened)}
    found: dict[str, dict[str, list[float]]] = {
        library: {name: [] for name in parts} for library, parts in chosen.items()
    }
    for number in range(rounds + 1):
        for library, parts in chosen.items():
            for name, get in parts.items():
                logger.disabled = name != "log line"
                cost = await run(get, calls, concurrency, counter)
                if number:  # the first round warms up
                    found[library][name].append(cost["cpu_us"])
    for client in opened:
        await (client.close() if hasattr(client, "close") else client.aclose())
    return found


def table(found: dict[str, dict[str, list[float]]], concurrency: int) -> list[str]:
    """One row per part: its whole, its difference to the part before, and that as a share of the bare client."""
    heads = [
        f"{library}: µs | more than above | of bare {name}"
        for library, name in zip(LIBRARIES, ("httpx", "aiohttp"), strict=True)
    ]
    lines = [f"{concurrency} at a time:", "", f"| | {' | '.join(heads)} |", "|" + " --- |" * 7]
    before = "bare client"
    for name in ("bare client", *PARTS):
        cells = []
        for library in LIBRARIES:
            rounds = found[library]
            whole = statistics.median(rounds[name])
            more = statistics.median(a - b for a, b in zip(rounds[name], rounds[before], strict=True))
            share = statistics.median(a / b for a, b in zip(rounds[name], rounds["bare client"], strict=True))
            first = name in ("bare client", "transport")
            cells += [f"{whole:.0f}", "" if first else f"{more:+.0f}", f"{share:.2f}"]
        lines.append(f"| {PARTS.get(name, 'bare client')} | {' | '.join(cells)} |")
        before = name
    return lines


async def everything(*, quick: bool) -> str:
    """Measure and return the tables."""
    from benchmarks.clients import log_to_null
    from benchmarks.server import running

    log_to_null()
    cores = sorted(os.sched_getaffinity(0))
    options = ["--core", str(cores[-1])] if len(cores) > 1 else []
    lines: list[str] = []
    with running(*options) as url:
        os.sched_setaffinity(0, set(cores[:-1]) or set(cores))
        for concurrency in (1,) if quick else (1, 64):
            found = await measure(url, concurrency, 2 if quick else 9, 20 if quick else 400)
            lines += [*table(found, concurrency), ""]
    alone = statistics.median(sdk_alone(100 if quick else 2000) for _ in range(5))
    lines.append(f"Two sampled SDK spans and two records of a histogram, in a loop of nothing else: {alone:.0f} µs.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--floor", action="store_true")
    arguments = parser.parse_args()
    enter_environment()
    gc.freeze()
    if arguments.floor:
        from benchmarks.clients import log_to_null

        log_to_null()
        print(asyncio.run(floor(5, 20) if arguments.quick else floor(100, 50)))
        return
    text = asyncio.run(everything(quick=arguments.quick))
    if arguments.write:
        write_between("breakdown.py", text)
    print(text)


if __name__ == "__main__":
    main()
