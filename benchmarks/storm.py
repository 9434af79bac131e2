"""
A storm of cancellations on real sockets; afterwards 24 of 24 calls succeed at once and nothing is left over.

    python3 benchmarks/storm.py                      # 20 runs of 5 s on each transport, plain and over TLS
    python3 benchmarks/storm.py --runs 1 --seconds 1 # the short form of CI

Calls are cancelled at random points, 0 to 30 ms after their start, by `task.cancel`, by `asyncio.timeout` and by
clients that disconnect from a FastAPI app. It fails on counts, never on time: a call that does not succeed, a task, a
descriptor or a connection of the server that stays. Needs fastapi, uvicorn and trustme, as `.venv-bench` has them.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.compare import enter_environment, stats_of
from benchmarks.server import running

AFTERWARDS = 24
TASKS = 40


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted, not walked


async def call(client: Any, chance: random.Random) -> None:
    path = chance.choice(["/slow", "/slow", "/api/items/1", "/hang"])
    if chance.random() < 0.5:
        await client.get(path)
    else:
        await client.post(path, json_body={"n": 1})


async def cancelled_by_task(client: Any, chance: random.Random) -> None:
    task = asyncio.create_task(call(client, chance))
    await asyncio.sleep(chance.uniform(0, 0.03))
    task.cancel()
    await asyncio.wait([task])


async def cancelled_by_timeout(client: Any, chance: random.Random) -> None:
    try:
        async with asyncio.timeout(chance.uniform(0, 0.03)):
            await call(client, chance)
    except TimeoutError:
        pass


async def cancelled_by_disconnect(port: int, chance: random.Random) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /%s HTTP/1.1\r\nhost: x\r\n\r\n" % chance.choice([b"slow", b"hang"]))
    await asyncio.sleep(chance.uniform(0, 0.03))
    writer.transport.abort()
    del reader


async def serve_app(client: Any) -> tuple[Any, asyncio.Task[None], int]:
    """Start a FastAPI app whose responses stream from calls, so that a disconnect cancels them."""
    import uvicorn
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse

    app = FastAPI()

    @app.get("/{path}")
    async def proxy(path: str) -> StreamingResponse:
        async def body() -> Any:
            yield b"["
            await client.get(f"/{path}")
            yield b"]"

        return StreamingResponse(body())

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
    return server, task, server.servers[0].sockets[0].getsockname()[1]


async def storm(url: str, library: str, ca_file: str, seconds: float, seed: int) -> dict[str, Any]:
    from middleware import PlatformError, StackSettings, call_options
    from middleware.policies.circuit_breaker import CircuitBreakerSettings
    from middleware.transports.registry import TransportSettings
    from runtime.connectors.base import PlatformHttpClient

    chance = random.Random(seed)
    plain_stats = stats_of if url.startswith("http:") else None
    warm = await asyncio.to_thread(descriptors)  # the executor's thread and its pipe exist from here on
    tasks, warm = len(asyncio.all_tasks()), descriptors()
    policies = StackSettings(
        transport=TransportSettings(library=library, ca_file=ca_file),
        circuit_breaker=CircuitBreakerSettings(mode="disabled"),
    )
    client = PlatformHttpClient(url, policies=policies)
    server, serving, port = await serve_app(client)
    started, counts = time.monotonic(), {"task": 0, "timeout": 0, "disconnect": 0}

    async def worker(kind: str) -> None:
        while time.monotonic() - started < seconds:
            if kind == "task":
                await cancelled_by_task(client, chance)
            elif kind == "timeout":
                await cancelled_by_timeout(client, chance)
            else:
                await cancelled_by_disconnect(port, chance)
            counts[kind] += 1

    await asyncio.gather(*(worker(kind) for kind in counts for _ in range(TASKS // 3)))

    async def healthy() -> bool:
        try:
            with call_options(max_attempts=1, deadline_s=2):
                await client.get("/api/items/1")
        except PlatformError as error:
            print(error)
            return False
        return True

    succeeded = sum(await asyncio.gather(*(healthy() for _ in range(AFTERWARDS))))
    server.should_exit = True
    await serving
    await client.aclose()
    left: dict[str, int] = {}
    for _ in range(100):  # what was closed is gone once the loop has come round
        await asyncio.sleep(0.02)
        left = {"descriptors": descriptors() - warm, "tasks": len(asyncio.all_tasks()) - tasks}
        if plain_stats:
            left["server_connections"] = (await plain_stats(url))["open"]
        if not any(left.values()):
            break
    return {"succeeded": succeeded, "cancelled": counts, "left": left}


async def everything(arguments: argparse.Namespace) -> int:
    import trustme

    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        ca = trustme.CA()
        ca_file, pem = f"{folder}/ca.pem", f"{folder}/server.pem"
        ca.cert_pem.write_to_path(ca_file)
        ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
        for scheme in ("http", "https"):
            for library in ("httptools", "h11", "httpcore", "aiohttp"):
                good = 0
                total: dict[str, int] = {}
                for number in range(arguments.runs):
                    with running(*(["--tls", pem] if scheme == "https" else [])) as url:
                        result = await storm(
                            url, library, ca_file if scheme == "https" else "", arguments.seconds, number
                        )
                    fine = result["succeeded"] == AFTERWARDS and not any(result["left"].values())
                    good += fine
                    for kind, count in result["cancelled"].items():
                        total[kind] = total.get(kind, 0) + count
                    if not fine:
                        print(f"  run {number}: {result}")
                failed += arguments.runs - good
                print(f"{scheme} {library}: {good} of {arguments.runs} runs passed; cancelled {total}", flush=True)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    enter_environment()
    sys.exit(bool(asyncio.run(everything(arguments))))


if __name__ == "__main__":
    main()
