"""
Writes and a caller that repeats exactly when `is_retry_safe`: is anything applied twice, or reported wrongly?

Against the gateway in a process of its own. Most requests meet trouble: responses lost or truncated, a 2xx whose body
cannot be read, 503 with Retry-After, what gateways respond for an upstream that has read the request, and rejections.
Each call carries a marker of its own; afterwards the gateway's log is compared with what each call said. With an
honoured Idempotency-Key the stack repeats what may have been applied, without one it never does. The circuit breaker is
off: it would reject most of the calls.

    python3 benchmarks/lost_answers.py            # 100 000 writes, half of them with a key
    python3 benchmarks/lost_answers.py --quick    # 2 000, as CI runs it

The full run fails too if it met fewer than 4 000 of any kind of trouble.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from middleware import CallError
from runtime.connectors.base import PlatformHttpClient
from runtime.gateway import DEFAULT_API_KEY, Fault, GatewayProcess
from runtime.settings import ResolvedSettings

BATCH, CONCURRENCY, WRITES, LEAST = 10_000, 200, 100_000, 4_000
LIMIT_S = 900
SHARE = 0.044  # of all requests, for each kind of trouble
TROUBLE = [
    {"kind": "reset", "applied": True},
    {"kind": "reset"},
    {"kind": "short_body"},
    {"status": 200, "applied": True, "body": '{"id": "ord'},
    {"status": 201, "applied": True, "headers": {"content-encoding": "br"}, "body": "?"},
    {"status": 503, "applied": True, "retry_after": "1"},
    {"status": 503, "retry_after": "1"},
    {"status": 503, "headers": {"x-envoy-overloaded": "true"}},
    {"status": 429},
    {"status": 409},
    {"status": 302, "applied": True, "headers": {"location": "/elsewhere"}},
    *({"status": status, "applied": True} for status in (408, 500, 502, 504, 507, 520, 522, 524, 598)),
]


def faults():
    """The gateway draws one after the other: each share applies to the requests that the earlier ones let through."""
    for number, trouble in enumerate(TROUBLE):
        yield Fault(**{"kind": "status", **trouble}, times=0, share=SHARE / (1 - number * SHARE))


def kind_of(fault, status):
    return f"{status}" if fault == "status" else fault


async def write(client, keyed, marker):
    if keyed:
        await client.post(
            "/api/apps/{app_id}/deploy", path_params={"app_id": "a"}, json_body={"commit_message": marker}
        )
    else:
        await client.post("/api/service/items", path_params={}, json_body={"name": marker})


async def repeat_while_safe(client, keyed, name, said):
    """Make the write *name* until it is done or not safe to repeat; note what each call said by its marker."""
    for number in count():
        marker = f"{name}.{number}"
        try:
            await write(client, keyed, marker)
            said[marker] = "done"
            return
        except CallError as error:
            if not error.is_retry_safe:
                said[marker] = "unknown" if error.outcome_unknown else "applied"
                return
            said[marker] = "not applied"


async def batch(client, keyed, names):
    """Make the writes *names*; return what each call reported."""
    said, pending = {}, iter(names)

    async def worker():
        for name in pending:
            await repeat_while_safe(client, keyed, name, said)

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return said


async def run(gateway, keyed, writes, found, met):
    policies = ResolvedSettings({"idempotency": {"honors_key": keyed}, "circuit_breaker": {"mode": "disabled"}})
    async with PlatformHttpClient(gateway.url, DEFAULT_API_KEY, service="writes", policies=policies) as client:
        for first in range(0, writes, BATCH):
            gateway.reset()
            gateway.script(*faults())
            names = [f"m{number}" for number in range(first, min(first + BATCH, writes))]
            said = await batch(client, keyed, names)
            log = gateway.requests()
            met.update(kind_of(record["fault"], record["status"]) for record in log if record["fault"])
            applied = Counter(marker_of(record) for record in log if record["applied"])
            in_all = Counter()
            for marker, times in applied.items():
                in_all[marker.partition(".")[0]] += times
            ended = {marker.partition(".")[0] for marker, word in said.items() if word != "not applied"}
            found["requests"] += len(log)
            found["repeated by the caller"] += len(said) - len(ended)
            found["applied twice"] += sum(times > 1 for times in in_all.values())
            for word in ("done", "applied"):
                found[f"said {word}, not applied"] += sum(said[m] == word and not applied[m] for m in said)
            found["said not applied, applied"] += sum(said[m] == "not applied" and applied[m] > 0 for m in said)
            found["no result"] += len(names) - len(ended)
            for outcome in ("done", "applied", "unknown"):
                found[outcome] += sum(word == outcome for word in said.values())


def marker_of(record):
    document = json.loads(record["body"])
    return document.get("commit_message") or document.get("name")


FORBIDDEN = (
    "applied twice",
    "said done, not applied",
    "said applied, not applied",
    "said not applied, applied",
    "no result",
)
SHOWN = ("writes", "requests", "repeated by the caller", "done", "applied", "unknown", *FORBIDDEN)


def too_few(met, least):
    """Kinds of trouble of which fewer than *least* were met, for each way in which the gateway makes one."""
    ways = Counter(kind_of(trouble.get("kind", "status"), trouble.get("status")) for trouble in TROUBLE)
    return [kind for kind, number in ways.items() if met[kind] < number * least]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=WRITES)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    writes = 2_000 if options.quick else options.count
    results, met = {}, Counter()
    with GatewayProcess() as gateway:
        for name, keyed in (("with an honoured key", True), ("without a key", False)):
            found, started = Counter(writes=writes // 2), time.monotonic()
            asyncio.run(asyncio.wait_for(run(gateway, keyed, writes // 2, found, met), LIMIT_S))
            results[name] = {word: found[word] for word in SHOWN}
            results[name]["seconds"] = round(time.monotonic() - started)
    wrong = any(found[word] for found in results.values() for word in FORBIDDEN)
    missing = too_few(met, LEAST if writes >= WRITES else 1)
    results["trouble met"] = {**dict(sorted(met.items())), "too few of": ", ".join(missing) or "none"}
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        for name, found in results.items():
            print(name + ": " + ", ".join(f"{word} {value}" for word, value in found.items()))
    return 1 if wrong or missing else 0


if __name__ == "__main__":
    sys.exit(main())
