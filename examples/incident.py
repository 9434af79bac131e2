"""
Half an hour in which one operation becomes slow and another one fails, in virtual time, as a trace file.

    python3 examples/incident.py incident.jsonl
    python3 -m runtime trace incident.jsonl --summary

To practise with, and to see what the trace command says. Calls begin at 13:45 UTC, one service after the other:

- from 14:00:20 on, two in five requests of `identity.get_user` get no response, two in five a 503, and the others take
  3 s instead of 4 ms;
- from 14:08:00 on, every fourth request of `hosting.list_apps` gets a 500;
- `billing.get_subscription` and `service.list_items` are healthy.

The calls go through the whole stack, with the default settings but for two: no circuit breaker, so that each failure
shows as itself, and one attempt.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from unittest.mock import patch

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from middleware import PlatformError, Telemetry
from runtime.telemetry.exporting import encode_line
from runtime.testing import Reply, ScriptedUpstream, SeenRequest, Step, run_virtual
from runtime.traces.trace_file import TraceFile

START = datetime(2026, 11, 28, 13, 45, tzinfo=UTC)
LENGTH_S = 1800.0
SLOW_FROM_S = 920.0
FAILING_FROM_S = 1380.0
OPERATIONS = {
    "identity": ("get_user", "/api/users/{user_id}"),
    "hosting": ("list_apps", "/api/apps"),
    "billing": ("get_subscription", "/api/billing/subscription"),
    "service": ("list_items", "/api/service/items"),
}
HUNG, UNAVAILABLE, BROKEN = 0.38, 0.41, 0.25  # shares
_BATCH = 512


class Lines(SpanProcessor):
    """Appends ended spans to a trace file, in batches."""

    def __init__(self, path: Path) -> None:
        self._file = TraceFile(path)
        self._ended: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Keep *span* for the next batch."""
        self._ended.append(span)
        if len(self._ended) >= _BATCH:
            self.force_flush()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's own
        """Append what ended."""
        if self._ended:
            self._file.append(encode_line(self._ended))
        self._ended = []
        return True

    def shutdown(self) -> None:
        """Append the rest, and close the file."""
        self.force_flush()
        self._file.close()


def response(service: str, seen: SeenRequest, chance: Random) -> Step:
    """Return what the platform does with one request."""
    usual = Reply(json={}, after_s=chance.lognormvariate(-5.5, 0.25))
    luck = chance.random()
    if service == "identity" and seen.at_s >= SLOW_FROM_S:
        if luck < HUNG:
            return "hang"
        if luck < HUNG + UNAVAILABLE:
            return 503
        return Reply(json={}, after_s=chance.uniform(2.5, 3.2))
    if service == "hosting" and seen.at_s >= FAILING_FROM_S and luck < BROKEN:
        return 500
    return usual


async def incident(provider: TracerProvider, per_s: float) -> None:
    """Make the calls: *per_s* per second and service, at random times."""
    telemetry = Telemetry(tracer_provider=provider)

    async def calls(service: str) -> None:
        chance = Random(service)  # noqa: S311 - the same half hour every time
        operation, path = OPERATIONS[service]
        upstream = ScriptedUpstream(lambda seen: response(service, seen, chance))
        async with upstream.client(
            service=service, telemetry=telemetry, circuit_breaker={"mode": "disabled"}, retry={"max_attempts": 1}
        ) as client:

            async def call() -> None:
                with suppress(PlatformError):
                    await client.get(path, path_params={"user_id": "u"} if "{" in path else {}, operation=operation)

            running: set[asyncio.Task[None]] = set()
            at_s = 0.0
            while (at_s := at_s + chance.expovariate(per_s)) < LENGTH_S:
                await asyncio.sleep(at_s - asyncio.get_running_loop().time())
                task = asyncio.create_task(call())
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.gather(*running)

    await asyncio.gather(*map(calls, OPERATIONS))


def write_incident(path: Path, per_s: float = 1.0) -> None:
    """Write the half hour to *path*, with *per_s* calls per second and service."""

    def now_ns() -> int:
        try:
            seconds = asyncio.get_running_loop().time()
        except RuntimeError:  # before and after the loop
            seconds = 0.0
        return int((START.timestamp() + seconds) * 1e9)

    provider = TracerProvider(resource=Resource({"service.name": "core"}))
    provider.add_span_processor(Lines(path))
    with patch("opentelemetry.sdk.trace.time_ns", now_ns):  # the SDK has no clock that can be given
        run_virtual(incident(provider, per_s))
    provider.shutdown()


def main(argv: Sequence[str] | None = None) -> None:
    """Write the file that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="trace file to append to")
    parser.add_argument("--per-s", type=float, default=1.0, help="calls per second and service (1)")
    options = parser.parse_args(argv)
    write_incident(options.file, options.per_s)


if __name__ == "__main__":
    main()
