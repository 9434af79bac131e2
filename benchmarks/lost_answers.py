"""
Writes whose answers are lost, against the gateway in a process of its own: is anything applied twice, or lied about?

One answer in five is lost after the request was applied; some are refused by 429 or by 500 on top. Each write carries
a marker of its own; afterwards the gateway's log is held against what each call said. With an honoured Idempotency-
Key a call may be repeated, without one never.

    python3 benchmarks/lost_answers.py            # 100 000 writes with a key, 100 000 without
    python3 benchmarks/lost_answers.py --quick    # 1 000 of each, as CI runs it
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from middleware import CallError
from runtime.connectors.base import PlatformHttpClient
from runtime.gateway import DEFAULT_API_KEY, Fault, GatewayProcess
from runtime.settings import ResolvedSettings

BATCH, CONCURRENCY, LOST_SHARE, REFUSED_SHARE = 10_000, 200, 0.2, 0.01
LIMIT_S = 900


async def write(client, keyed, marker):
    if keyed:
        await client.post(
            "/api/apps/{app_id}/deploy", path_params={"app_id": "a"}, json_body={"commit_message": marker}
        )
    else:
        await client.post("/api/service/items", path_params={}, json_body={"name": marker})


async def batch(client, keyed, markers):
    """Make one write per marker; tell what each call said."""
    said, pending = {}, iter(markers)

    async def worker():
        for marker in pending:
            try:
                await write(client, keyed, marker)
                said[marker] = "done"
            except CallError as error:
                said[marker] = "unknown" if error.outcome_unknown else "not applied"

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return said


async def run(gateway, keyed, count, found):
    policies = ResolvedSettings({"idempotency": {"honors_key": keyed}})
    async with PlatformHttpClient(gateway.url, DEFAULT_API_KEY, service="writes", policies=policies) as client:
        for first in range(0, count, BATCH):
            gateway.reset()
            gateway.script(
                Fault(kind="reset", times=0, share=LOST_SHARE, applied=True),
                Fault(kind="status", times=0, share=REFUSED_SHARE, status=429),
                Fault(kind="status", times=0, share=REFUSED_SHARE, status=500),
            )
            markers = [f"m{number}" for number in range(first, min(first + BATCH, count))]
            said = await batch(client, keyed, markers)
            log = gateway.requests()
            applied = Counter(marker_of(record) for record in log if record["applied"])
            found["requests"] += len(log)
            found["answers lost"] += sum(record["fault"] == "reset" for record in log)
            found["applied twice"] += sum(times > 1 for times in applied.values())
            found["said done, not applied"] += sum(said[m] == "done" and not applied[m] for m in markers)
            found["said not applied, applied"] += sum(said[m] == "not applied" and applied[m] > 0 for m in markers)
            found["no result"] += len(markers) - len(said)
            for outcome in ("done", "unknown", "not applied"):
                found[outcome] += sum(word == outcome for word in said.values())


def marker_of(record):
    document = json.loads(record["body"])
    return document.get("commit_message") or document.get("name")


FORBIDDEN = ("applied twice", "said done, not applied", "said not applied, applied", "no result")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    count = 1_000 if options.quick else options.count
    results = {}
    with GatewayProcess() as gateway:
        for name, keyed in (("with an honoured key", True), ("without a key", False)):
            found, started = Counter(writes=count), time.monotonic()
            asyncio.run(asyncio.wait_for(run(gateway, keyed, count, found), LIMIT_S))
            results[name] = {
                word: found[word]
                for word in ("writes", "requests", "answers lost", "done", "unknown", "not applied", *FORBIDDEN)
            }
            results[name]["seconds"] = round(time.monotonic() - started)
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        for name, found in results.items():
            print(name + ": " + ", ".join(f"{word} {number}" for word, number in found.items()))
    return 1 if any(found[word] for found in results.values() for word in FORBIDDEN) else 0


if __name__ == "__main__":
    sys.exit(main())
