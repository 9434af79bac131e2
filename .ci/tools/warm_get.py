"""
Count what a warm GET runs through: our files, classes and functions from the connector's method to the transport.

    python3 .ci/tools/warm_get.py        # prints them; exits with 1 above the limits

It calls `service.list_items()` against a transport that responds from memory, without an SDK for telemetry, once to
warm up and once under a profiler.
"""

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("middleware", "runtime")
MOST_FILES = 28
MOST_CLASSES = 40

sys.path.insert(0, str(ROOT))

from middleware import PlatformResponse
from runtime.connectors.base import PlatformHttpClient
from runtime.connectors.service import ManagedServiceConnector


class Memory:
    """Transport that responds at once with an empty list."""

    async def send(self, request: Any, _url: str, /) -> PlatformResponse:
        """Return a 200."""
        request.attempt.request_sent = "yes"
        return PlatformResponse(status=200, headers={"content-type": "application/json"}, body=b'{"items": []}')

    async def aclose(self) -> None:
        """Do nothing."""


class Profile:
    """Functions of the product that ran, by file, and the classes of which methods ran, generated ones included."""

    def __init__(self) -> None:
        self.functions: dict[str, set[str]] = defaultdict(set)
        self.classes: set[str] = set()

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """Note what a frame runs."""
        if event != "call":
            return
        path = frame.f_code.co_filename
        if path.startswith(tuple(f"{ROOT}/{package}/" for package in PACKAGES)):
            self.functions[path.removeprefix(f"{ROOT}/")].add(frame.f_code.co_qualname)
        names = frame.f_code.co_varnames[: frame.f_code.co_argcount]
        if names[:1] == ("self",):
            kind = type(frame.f_locals["self"])
            if kind.__module__.partition(".")[0] in PACKAGES:
                self.classes.add(f"{kind.__module__}.{kind.__qualname__}")


async def profile(call: Callable[[ManagedServiceConnector], Any]) -> Profile:
    """Run *call* once to warm up, and once more under the profiler."""
    async with PlatformHttpClient("http://platform.test", "key", service="service", transport=Memory()) as client:
        connector = ManagedServiceConnector(client)
        await call(connector)
        found = Profile()
        sys.setprofile(found)
        try:
            await call(connector)
        finally:
            sys.setprofile(None)
    return found


def main() -> int:
    """Print what ran; 1 when it is more than allowed."""
    found = asyncio.run(profile(lambda connector: connector.list_items()))
    for path, functions in sorted(found.functions.items()):
        print(f"{path}: {', '.join(sorted(functions))}")
    print("classes:", ", ".join(sorted(found.classes)))
    files, classes, functions = len(found.functions), len(found.classes), sum(map(len, found.functions.values()))
    print(f"{files} files (<= {MOST_FILES}), {classes} classes (<= {MOST_CLASSES}), {functions} functions")
    return int(files > MOST_FILES or classes > MOST_CLASSES)


if __name__ == "__main__":
    sys.exit(main())
