"""
SIGTERM under load: a host is stopped and started again while 50 requests a second arrive.

A FastAPI application with the lifespan and the middleware runs in a real server, on top of the reference gateway, whose
responses take 0.2 s, so that each stop meets calls in flight. Half of the requests write. They arrive until the server
has ended, and again once it is ready. The driver connects again for those that got no response, and gives each request
that it sends an id of its own; the application writes down the id of each request whose head it is given.

    python3 benchmarks/restarts.py                             # uvicorn, gunicorn, gunicorn --preload; six stops each
    python3 benchmarks/restarts.py --servers hypercorn,granian # those, where they are installed
    python3 benchmarks/restarts.py --quick                     # two stops each, as CI runs it

It fails on counts: a request whose head the application was given and whose response did not arrive, a response without
its id, a write that was applied twice, and a span of a call or an attempt that did not arrive in the trace file.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from runtime.cli.behind import free_port
from runtime.gateway import DEFAULT_API_KEY, Fault, GatewayProcess
from runtime.traces.trace_file import SpanReader

RATE, UP_S, RESPONSE_S = 50, 2.0, 0.2
LONGEST_S = 60.0

APPLICATION = """
import os
from typing import Annotated

from fastapi import Depends, FastAPI

from middleware import PlatformError
from middleware import current_correlation_id
from runtime.adapters.starlette import health_routes, platform_error_response, request_connectors
from runtime.asgi import ConnectorsMiddleware, connectors_lifespan
from runtime.connectors.loader import ConnectorBundle
from runtime.connectors.service import ServiceItemCreate
from runtime.telemetry import configure_telemetry


def telemetry():
    return configure_telemetry(service_name="core", trace_file="traces.jsonl")


host = FastAPI(lifespan=connectors_lifespan(telemetry=telemetry))
host.add_exception_handler(PlatformError, platform_error_response)
host.router.routes.extend(health_routes())
begun = os.open("begun.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


@host.post("/items")
async def create(found: Annotated[ConnectorBundle, Depends(request_connectors)]):
    return {"id": (await found.service.create_item(ServiceItemCreate(name=current_correlation_id()))).id}


@host.get("/items")
async def read(found: Annotated[ConnectorBundle, Depends(request_connectors)]):
    return {"items": len(await found.service.list_items())}


bound = ConnectorsMiddleware(host)


async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"] == "/items":
        os.write(begun, dict(scope["headers"])[b"x-correlation-id"] + b"\\n")
    await bound(scope, receive, send)
"""

_GUNICORN = ["gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-w", "2", "--log-level", "error", "-b", "{address}"]
SERVERS = {
    "uvicorn": ["uvicorn", "--log-level", "error", "--port", "{port}"],
    "gunicorn": _GUNICORN,
    "gunicorn --preload": [*_GUNICORN, "--preload"],
    "hypercorn": ["hypercorn", "--graceful-timeout", "10", "--log-level", "error", "--bind", "{address}"],
    "granian": ["granian", "--interface", "asgi", "--log-level", "error", "--port", "{port}"],
}
MAY_LOSE = {"hypercorn"}
"""Servers that end some connections with a request in flight when they are stopped; such losses are reported alone."""
BY_DEFAULT = ("uvicorn", "gunicorn", "gunicorn --preload")


class Server:
    """The application in a server: a process that can be stopped and started again."""

    def __init__(self, name: str, folder: Path, gateway: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._command = [sys.executable, "-m"]
        self._command += [word.format(port=port, address=f"127.0.0.1:{port}") for word in SERVERS[name]]
        self._folder = folder
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "MOZAIKS_"))},
            "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
            "MOZAIKS_MANAGED": "true",
            "MOZAIKS_GATEWAY_BASE_URL": gateway,
            "MOZAIKS_GATEWAY_API_KEY": DEFAULT_API_KEY,
        }

    def start(self) -> None:
        with (self._folder / "server.txt").open("ab") as said:
            self._process = subprocess.Popen(  # noqa: S603 - a server of `SERVERS`
                [*self._command, "application:app"],
                cwd=self._folder,
                env=self._environment,
                stdout=said,
                stderr=said,
            )

    async def is_ready(self, connections: "Connections") -> None:
        """Wait until it serves."""
        while True:
            try:
                status, _ = await connections.request("GET", "/health/ready", "probe")
                assert status == 200
            except OSError:
                if self._process.poll() is not None:
                    raise SystemExit((self._folder / "server.txt").read_text()) from None
                await asyncio.sleep(0.1)
            else:
                return

    async def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        ends = time.monotonic() + LONGEST_S
        while self._process.poll() is None:
            if time.monotonic() > ends:
                self._process.kill()
                raise SystemExit("the server did not stop")
            await asyncio.sleep(0.02)


class NoResponseError(Exception):
    """A request got no response in `LONGEST_S`."""


class Connections:
    """Kept connections to one address: less work per request than a client library, so that the driver is on time."""

    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2])
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def request(self, method: str, path: str, correlation_id: str) -> tuple[int, str]:
        """
        Send one request; returns the status and the id of its response.

        Raises:
            OSError: There was no connection, or it ended before the response had arrived.
            NoResponseError: The connection is there, and no response came.
        """
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        head = f"{method} {path} HTTP/1.1\r\nHost: core\r\nX-Correlation-ID: {correlation_id}\r\n"
        try:
            writer.write(f"{head}Content-Length: 0\r\n\r\n".encode())
            async with asyncio.timeout(LONGEST_S):
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                await reader.readexactly(int(headers.get("content-length", 0)))
        except TimeoutError as error:
            writer.close()
            raise NoResponseError from error
        except (EOFError, OSError) as error:
            writer.close()
            raise ConnectionError from error
        if headers.get("connection") == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(first.split()[1]), headers.get("x-correlation-id", "")

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


class Driver:
    """Sends requests at a rate, each until it has a response, and notes the ids of those that got one."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.responded: dict[str, int] = {}
        self.problems: list[str] = []
        self.sent_again = 0
        self.is_up = asyncio.Event()

    async def one(self, number: int) -> None:
        # Bounded per attempt: a server that takes a minute to start on a busy machine has lost no request.
        method = ("POST", "GET")[number % 2]
        for attempt in itertools.count(1):
            own = f"r{number:05d}-{attempt}"
            try:
                status, received = await self._connections.request(method, "/items", own)
            except OSError:
                self.sent_again += 1
                await asyncio.sleep(0.05)
                await self.is_up.wait()
                continue
            except NoResponseError:
                self.problems.append(f"{own}: no response in {LONGEST_S:.0f} s")
                return
            self.responded[own] = status
            if received != own:
                self.problems.append(f"{own}: its response has the id {received}")
            return

    async def at_rate(self, stopped: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            number = 0
            while not stopped.is_set():
                await self.is_up.wait()  # a herd that waits for the start would test the guards instead
                tasks.create_task(self.one(number))
                number += 1
                await asyncio.sleep(1 / RATE)


async def run(name: str, stops: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as made, GatewayProcess() as gateway:
        folder = Path(made)
        (folder / "application.py").write_text(APPLICATION)
        gateway.script(Fault(kind="latency", times=0, seconds=RESPONSE_S))
        server, stopped = Server(name, folder, gateway.url), asyncio.Event()
        client = Connections(server.url)
        with contextlib.closing(client):
            server.start()
            await server.is_ready(client)
            driver = Driver(client)
            driver.is_up.set()
            load = asyncio.create_task(driver.at_rate(stopped))
            for _ in range(stops):
                await asyncio.sleep(UP_S)
                await server.stop()
                driver.is_up.clear()
                server.start()
                await server.is_ready(client)
                driver.is_up.set()
            await asyncio.sleep(UP_S)
            stopped.set()
            await load
            await server.stop()
        begun = (folder / "begun.txt").read_text().split()
        with (folder / "traces.jsonl").open("rb") as file:
            spans = Counter(span.kind for span in SpanReader().read(file))
        at_gateway = [one for one in gateway.requests() if one["path"].startswith("/api/service/items")]
        applied = Counter(dict(one["headers"])["x-correlation-id"] for one in at_gateway if one["applied"])
        problems = driver.problems
        lost = sorted(set(begun) - set(driver.responded))
        if name not in MAY_LOSE:
            problems += [f"{one}: its head was given and no response arrived" for one in lost]
        problems += [f"{one}: applied {count} times" for one, count in applied.items() if count > 1]
        problems += [f"{one}: status {status}" for one, status in driver.responded.items() if status != 200]
        expected = {"INTERNAL": len(begun), "CLIENT": len(at_gateway)}
        if dict(spans) != expected:
            problems.append(f"spans {dict(spans)}, expected {expected}")
        if problems:
            problems.insert(0, f"the server said: {(folder / 'server.txt').read_text()[-2000:]}")
        return {
            "server": name,
            "stops": stops + 1,
            "requests": len(begun),
            "writes_applied": len(applied),
            "spans": sum(spans.values()),
            "connected_again": driver.sent_again,
            "responses_lost": len(lost),
            "problems": [*problems[:20], f"{len(problems)} in all"] if problems else [],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default=",".join(BY_DEFAULT), help="names, separated by commas")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    failed = []
    for name in arguments.servers.split(","):
        found = asyncio.run(run(name, 1 if arguments.quick else 5))
        print(json.dumps(found))
        if found["problems"]:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
