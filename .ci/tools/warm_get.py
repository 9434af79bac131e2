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
MOST_FILES = 27
MOST_CLASSES = 33

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
    """
    Functions of the product that ran, by file, and the classes that a reader meets on the way.

    Attributes:
        functions: Functions by file.
        classes: Classes of which a method ran that is written in their file.
        records: Further classes that were only constructed, by the `__init__` that `dataclass` generates.
    """

    def __init__(self) -> None:
        self.functions: dict[str, set[str]] = defaultdict(set)
        self.classes: set[str] = set()
        self.records: set[str] = set()

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """Note what a frame runs."""
        if event != "call":
            return
        path = frame.f_code.co_filename
        is_written = path.startswith(tuple(f"{ROOT}/{package}/" for package in PACKAGES))
        if is_written:
            self.functions[path.removeprefix(f"{ROOT}/")].add(frame.f_code.co_qualname)
        names = frame.f_code.co_varnames[: frame.f_code.co_argcount]
        if names[:1] == ("self",):
            kind = type(frame.f_locals["self"])
            if kind.__module__.partition(".")[0] in PACKAGES:
                (self.classes if is_written else self.records).add(f"{kind.__module__}.{kind.__qualname__}")


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
    records = found.records - found.classes
    print("classes:", ", ".join(sorted(found.classes)))
    print("records, constructed only:", ", ".join(sorted(records)))
    files, classes = len(found.functions), len(found.classes)
    print(f"{files} files (<= {MOST_FILES}), {classes} classes (<= {MOST_CLASSES}), {len(records)} records")
    return int(files > MOST_FILES or classes > MOST_CLASSES)


if __name__ == "__main__":
    sys.exit(main())
