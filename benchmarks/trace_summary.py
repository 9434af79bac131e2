"""
What `python3 -m runtime trace FILE --summary` takes for a large file: time, and memory, which must be bounded.

    python3 benchmarks/trace_summary.py                    # 100 000 calls, a retry in each fifth: 240 000 spans
    python3 benchmarks/trace_summary.py --calls 420000     # a million spans
    python3 benchmarks/trace_summary.py --quick            # the short form of CI: 10 000 calls

Fails when the process needs more than 300 MB, or counts other calls than were written; never on time.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CALLS = 100_000
QUICK = 10_000
MOST_MB = 300
BATCH = 512
START_NS = 1_795_000_000_000_000_000
BETWEEN_NS = 18_000_000
OPERATIONS = ("identity.get_user", "service.list_items", "billing.get_subscription", "hosting.list_apps")


def attributes(**values: str | float) -> list[dict[str, Any]]:
    """Return OTLP's form of *values*; a double underscore is a dot."""
    kinds = {str: "stringValue", int: "intValue", float: "doubleValue"}
    return [{"key": name.replace("__", "."), "value": {kinds[type(it)]: it}} for name, it in values.items()]


def spans(calls: int) -> Iterator[dict[str, Any]]:
    """Yield the spans of *calls*, as our connectors emit them: attempts, then their call."""
    chance = Random(1)
    for number in range(calls):
        name = OPERATIONS[number % len(OPERATIONS)]
        service, _, operation = name.partition(".")
        trace_id, call_id = f"{chance.getrandbits(128):032x}", f"{chance.getrandbits(64):016x}"
        at = begin = START_NS + number * BETWEEN_NS
        events = []
        attempts = 2 if chance.random() < 0.2 else 1
        for attempt in range(attempts):
            end = at + int(chance.lognormvariate(15.5, 0.4))
            failed = attempt + 1 < attempts
            yield {
                "traceId": trace_id,
                "spanId": f"{chance.getrandbits(64):016x}",
                "parentSpanId": call_id,
                "name": f"GET /api/{service}/items",
                "kind": 3,
                "startTimeUnixNano": str(at),
                "endTimeUnixNano": str(end),
                "status": {"code": 2} if failed else {},
                "attributes": attributes(
                    http__request__method="GET",
                    url__full=f"https://platform.example/api/{service}/items?page=REDACTED",
                    url__template=f"/api/{service}/items",
                    server__address="platform.example",
                    server__port=443,
                    http__response__status_code=503 if failed else 200,
                    mozaiks__attempt__outcome="ServerError" if failed else "ok",
                    mozaiks__request_sent="yes",
                    **({"error__type": "503"} if failed else {}),
                ),
            }
            if failed:
                waited = attributes(mozaiks__retry__attempt=1, mozaiks__retry__delay=0.1, error__type="503")
                events.append({"timeUnixNano": str(end), "name": "retry.scheduled", "attributes": waited})
                at = end + 100_000_000
        yield {
            "traceId": trace_id,
            "spanId": call_id,
            "name": name,
            "kind": 1,
            "startTimeUnixNano": str(begin),
            "endTimeUnixNano": str(end + 100_000),
            "events": events,
            "attributes": attributes(
                mozaiks__connector__name=service,
                mozaiks__connector__operation=operation,
                mozaiks__correlation_id=f"{chance.getrandbits(128):032x}",
                mozaiks__settings__hash="1f0c77aa",
                mozaiks__outcome="success",
                mozaiks__retry__attempts=attempts,
                mozaiks__request_sent="yes",
                mozaiks__circuit_breaker__state="closed",
            ),
        }


def write(path: Path, calls: int) -> int:
    """Write *calls* in batches; returns the number of spans."""
    number = 0
    resource_of = {"attributes": attributes(service__name="core")}
    with path.open("w") as file:
        batch: list[dict[str, Any]] = []

        def end_batch() -> None:
            scope = {"scope": {"name": "mozaiks.connectors"}, "spans": batch}
            file.write(json.dumps({"resourceSpans": [{"resource": resource_of, "scopeSpans": [scope]}]}) + "\n")

        for span in spans(calls):
            batch.append(span)
            number += 1
            if len(batch) == BATCH:
                end_batch()
                batch.clear()
        if batch:
            end_batch()
    return number


def main() -> None:
    """Write the file, and summarise it in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} calls")
    options = parser.parse_args()
    calls = QUICK if options.quick else options.calls
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "traces.jsonl"
        number = write(path, calls)
        start = time.perf_counter()
        command = [sys.executable, "-c", "import sys; from runtime.cli.trace import main; sys.exit(main(sys.argv[1:]))"]
        result = subprocess.run(  # noqa: S603 - ourselves
            [*command, str(path), "--summary"], cwd=ROOT, check=True, capture_output=True, text=True
        )
        elapsed_s = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        megabytes = path.stat().st_size / 1e6
    counted = re.search(r"(\d+) calls of connectors", result.stdout)
    most_mb = used.ru_maxrss / 1024
    print(
        f"{calls} calls, {number} spans, {megabytes:.0f} MB: {elapsed_s:.1f} s ({used.ru_utime:.1f} s of CPU),"
        f" at most {most_mb:.0f} MB of memory"
    )
    if counted is None or int(counted[1]) != calls:
        sys.exit(f"expected {calls} calls, got {result.stdout.splitlines()[0]}")
    if most_mb > MOST_MB:
        sys.exit(f"more than {MOST_MB} MB of memory")


if __name__ == "__main__":
    main()
