"""
Python function calls per successful GET: the gate against a stack that grows slower, free of noise.

    python3 benchmarks/function_calls.py           # fails when a figure has risen by more than 2 %
    python3 benchmarks/function_calls.py --write   # commits the present figures to benchmarks/function_calls.json
    python3 benchmarks/function_calls.py --where   # whose functions they are, on the default transport

Counted by `sys.setprofile` over whole calls through all layers and a real socket, on the default transport and on
aiohttp: with both spans sampled and a log line, with no span sampled and a log line, and without an SDK and a line; the
median of many calls. Libraries make calls too, so `.ci/run` counts in an environment with the versions pinned in
benchmarks/function_calls.txt, and each minor version of Python has figures of its own.
"""

import argparse
import asyncio
import json
import logging
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.clients import getter, log_to_null, sdk, stack
from benchmarks.server import running
from middleware import Telemetry

FIGURES = ROOT / "benchmarks/function_calls.json"
TOLERANCE = 1.02


LIBRARIES = {"default": "", "aiohttp": "aiohttp"}
KINDS = {"sampled": sdk, "unsampled": lambda: sdk(sampled=False), "no SDK": Telemetry}
OWNERS = {
    "middleware/transports": "the transport",
    "middleware": "the layers",
    "runtime": "the client",
    "benchmarks": "this benchmark and its log handler",
    "opentelemetry": "OpenTelemetry",
    "frozen abc": "OpenTelemetry, its checks of types",
    "typing.py": "OpenTelemetry, its checks of types",
    "logging": "logging",
    "asyncio": "asyncio and its selector",
    "selectors.py": "asyncio and its selector",
    "<string>": "the layers",  # functions made from text: `maker`
}
"""Whose functions are in a file, by a part of its path; the first that fits."""


async def count(
    url: str, library: str, telemetry: Telemetry, *, logs: bool, calls: int, where: Counter[str] | None = None
) -> int:
    """Median number of Python functions entered during one GET; *where* counts them by the path of their file."""
    counted = []
    entered = 0
    logging.getLogger("mozaiks.connectors").disabled = not logs

    def profile(frame: Any, event: str, _argument: Any) -> None:
        nonlocal entered
        entered += event == "call"
        if where is not None and event == "call":
            where[frame.f_code.co_filename] += 1

    async with stack(url, telemetry, library=library) as client:
        get = getter(client)
        for n in range(20):
            await get(n, "")
        for n in range(calls):
            entered = 0
            sys.setprofile(profile)
            try:
                await get(n, "")
            finally:
                sys.setprofile(None)
            counted.append(entered)
    return int(statistics.median(counted))


def figures_now() -> dict[str, int]:
    """Count every library with every kind of telemetry."""
    now = {}
    with running() as url:
        for name, library in LIBRARIES.items():
            for kind, telemetry in KINDS.items():
                counting = count(url, library, telemetry(), logs=kind != "no SDK", calls=200)
                now[f"{name}, {kind}"] = asyncio.run(counting)
    return now


def owner_of(path: str) -> str:
    """Whose functions are in the file at *path*."""
    inside = path.removeprefix(f"{ROOT}/") if "site-packages" not in path else path.rpartition("site-packages/")[2]
    return next((owner for part, owner in OWNERS.items() if part in inside), "others")


def table(calls: int = 100) -> str:
    """Functions of one GET on the default transport by whose they are, for each kind of telemetry."""
    log_to_null()
    found: dict[str, Counter[str]] = {}
    with running() as url:
        for kind, telemetry in KINDS.items():
            where: Counter[str] = Counter()
            asyncio.run(count(url, "", telemetry(), logs=kind != "no SDK", calls=calls, where=where))
            found[kind] = Counter()
            for path, entered in where.items():
                found[kind][owner_of(path)] += entered
    lines = [f"| | {' | '.join(found)} |", "|" + " --- |" * (1 + len(found))]
    for owner in [*found["sampled"], ""]:
        figures = (by[owner] if owner else by.total() for by in found.values())
        lines.append(f"| {owner or 'in all'} | {' | '.join(f'{figure / calls:.0f}' for figure in figures)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--where", action="store_true")
    arguments = parser.parse_args()
    if arguments.where:
        print(table())
        return
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    log_to_null()
    now = figures_now()
    if arguments.write:
        figures[version] = now
        FIGURES.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    risen = []
    for name, calls in now.items():
        limit = figures.get(version, {}).get(name)
        print(f"Python {version}, {name}: {calls} function calls per GET, committed {limit}")
        if limit is None or calls > limit * TOLERANCE:
            risen.append(name)
        elif calls < limit / TOLERANCE:
            print("  fewer than committed: `--write` keeps it so")
    if risen:
        sys.exit(f"risen by more than 2 %, or without a committed figure: {', '.join(risen)}")


if __name__ == "__main__":
    main()
