"""
Python function calls per successful GET: the gate against a stack that grows slower, free of noise.

    python3 benchmarks/function_calls.py           # fails when a figure has risen by more than 2 %
    python3 benchmarks/function_calls.py --write   # commits the present figures to benchmarks/function_calls.json

Counted by `sys.setprofile` over whole calls through all layers and a real socket, spans sampled, metrics on; the median
of many calls. Libraries make calls too, so `.ci/run` counts in an environment with the versions pinned in
benchmarks/function_calls.txt, and each minor version of Python has figures of its own.
"""

import argparse
import asyncio
import json
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.clients import getter, sdk, stack
from benchmarks.server import running

FIGURES = ROOT / "benchmarks/function_calls.json"
TOLERANCE = 1.02


async def count(url: str, library: str, calls: int) -> int:
    """Median number of Python functions entered during one GET."""
    counted = []
    entered = 0

    def profile(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal entered
        entered += event == "call"

    async with stack(url, sdk(), library=library) as client:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    with running() as url:
        now = {library: asyncio.run(count(url, library, 200)) for library in ("httpcore", "aiohttp")}
    if arguments.write:
        figures[version] = now
        FIGURES.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    risen = []
    for library, calls in now.items():
        limit = figures.get(version, {}).get(library)
        print(f"Python {version}, {library}: {calls} function calls per GET, committed {limit}")
        if limit is None or calls > limit * TOLERANCE:
            risen.append(library)
        elif calls < limit / TOLERANCE:
            print("  fewer than committed: `--write` keeps it so")
    if risen:
        sys.exit(f"risen by more than 2 %, or without a committed figure: {', '.join(risen)}")


if __name__ == "__main__":
    main()
