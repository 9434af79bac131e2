"""
Python function calls per successful GET: the gate against a stack that grows slower, free of noise.

    python3 benchmarks/function_calls.py           # fails when a figure has risen by more than 2 %
    python3 benchmarks/function_calls.py --write   # commits the present figures to benchmarks/function_calls.json

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


async def count(url: str, library: str, telemetry: Telemetry, *, logs: bool, calls: int) -> int:
    """Median number of Python functions entered during one GET."""
    counted = []
    entered = 0
    logging.getLogger("mozaiks.connectors").disabled = not logs

    def profile(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal entered
        entered += event == "call"

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
            for kind, telemetry in {"sampled": sdk(), "unsampled": sdk(sampled=False), "no SDK": Telemetry()}.items():
                counting = count(url, library, telemetry, logs=kind != "no SDK", calls=200)
                now[f"{name}, {kind}"] = asyncio.run(counting)
    return now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
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
