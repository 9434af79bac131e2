"""
Ours and seven other Python clients on the same twelve faults, over real sockets: right, wrong, or has none.

    python3 benchmarks/faults.py                  # all of them, three times; six minutes, prints the table
    python3 benchmarks/faults.py --write          # also writes benchmarks/faults.json and docs/is-it-for-you.md
    python3 benchmarks/faults.py --redraw         # writes the table anew from benchmarks/faults.json, without a run
    python3 benchmarks/faults.py --only kiota     # one client
    python3 benchmarks/faults.py --quick          # ours alone, by counts, never by time; exit code 1 unless all right

The faults and what is right for each are in fault_verdicts.py, the clients and their settings in fault_clients.py. Each
client runs in a process of its own, and there each scenario has a client and a server of its own; the server runs in
a thread with its own event loop, and what it saw is the truth. The clients come from `.venv-bench` (see compare.py);
clientwright needs Python 3.12 and is left out before.
"""

import argparse
import asyncio
import json
import platform
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.fault_clients import CLIENTS, PACKAGES, PATIENT, Call, Limits, Maker
from benchmarks.fault_verdicts import (
    AFTER_THE_STORM,
    AT_HALF_OPEN,
    DOCUMENT,
    FAULTS,
    LATE_RETRY_AFTER_S,
    OPEN_S,
    RETRY_AFTER_S,
    Ended,
    Request,
    Seen,
    Span,
)

RESULTS = ROOT / "benchmarks/faults.json"
PAGE = ROOT / "docs/is-it-for-you.md"
WAVES, A_WAVE = 5, 200
"""The storm: so many calls start at once, so often."""

MOST_LAG_S = 0.25
"""Of the scenarios of one call: a run in which the loop was later than this is made again."""

TRIPS, A_TRIP = 5, 20
"""Calls that fail, at most, for a breaker to open."""

_BODY = json.dumps(DOCUMENT).encode()


# --- the server -------------------------------------------------------------------------------------------------------


class Exchange:
    """One request that was read, and the means to respond to it."""

    def __init__(self, server: "Server", path: str, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.path = path
        self.number = len(server.requests)
        self.writer = writer

    def head(self, status: int, **headers: str) -> None:
        """Write the head of a response with the document, and note the status."""
        if self.number:
            self.server.requests[self.number - 1]["status"] = status
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        fields = {"content-type": "application/json", "content-length": str(len(_BODY)), **given}
        lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in fields.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())

    def respond(self, status: int = 200, **headers: str) -> None:
        """Write a whole response."""
        self.head(status, **headers)
        self.writer.write(_BODY)

    def close(self) -> None:
        self.writer.close()


Behaviour = Callable[[Exchange], Awaitable[None]]


class Server:
    """A scripted HTTP server; lives in the loop of the servers' thread, its records are read from any."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.requests: list[dict[str, Any]] = []
        self.paths: set[str] = set()
        self.held = 0
        self.released: dict[str, asyncio.Event] = {}
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.listening: asyncio.Server | None = None
        self.tasks: set[asyncio.Task[Any]] = set()

    async def listen(self) -> None:
        self.listening = await asyncio.start_server(self.serve, sock=self.socket, backlog=1024)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                await reader.readexactly(int(fields.get("content-length", 0)))
                path = head[0].split(" ")[1]
                if path == "/warm":
                    Exchange(self, path, writer).respond()
                    continue
                self.paths.add(path)
                self.requests.append(
                    {"at_s": time.monotonic(), "status": 0, "traceparent": fields.get("traceparent", "")}
                )
                await self.behave(Exchange(self, path, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.tasks.discard(task)
            writer.close()

    async def hold(self, name: str) -> None:
        """Wait until `release(name)`."""
        self.held += 1
        await self.released.setdefault(name, asyncio.Event()).wait()
        self.held -= 1

    async def release(self, name: str) -> None:
        self.released.setdefault(name, asyncio.Event()).set()

    async def close(self) -> None:
        if self.listening is not None:
            self.listening.close()
        self.socket.close()
        for task in list(self.tasks):
            task.cancel()

    def seen(self) -> list[Request]:
        first = self.requests[0]["at_s"] if self.requests else 0.0
        return [Request(one["at_s"] - first, one["status"], one["traceparent"]) for one in self.requests]


# --- the scenarios ----------------------------------------------------------------------------------------------------

TimedCall = Callable[[str, str], Awaitable[Ended]]


async def timed(call: Call, limits: Limits, method: str, path: str) -> Ended:
    """Make one call; give it up when it has taken twice its deadline: it has no end of its own in sight."""
    began = time.monotonic()
    task = asyncio.ensure_future(call(method, path))
    try:
        await asyncio.wait({task}, timeout=2 * limits.deadline_s)
        took = time.monotonic() - began
        if not task.done():
            return Ended(took, error="still running")
        error = task.exception()
        return Ended(took, error=type(error).__name__) if error else Ended(took, task.result())
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=1)


@dataclass
class World:
    """What a scenario is run with: a client to be, the servers' loop, and where spans go."""

    make: Maker
    limits: Limits
    servers: asyncio.AbstractEventLoop
    provider: Any
    exporter: Any
    ready: asyncio.Barrier
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    async def there(self, work: Any) -> Any:
        """Run a coroutine in the servers' loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.servers))

    @asynccontextmanager
    async def opened(
        self, behave: Behaviour, limits: Limits | None = None, *, listening: bool = True
    ) -> AsyncIterator[tuple[TimedCall, Server]]:
        """Start a server that behaves so, and a client of it with one connection open."""
        limits = limits or self.limits
        server = Server(behave)
        if listening:
            await self.there(server.listen())
        async with AsyncExitStack() as stack:
            stack.push_async_callback(lambda: self.there(server.close()))
            async with self.opening:  # one at a time: it takes CPU, of which the first call's deadline knows nothing
                call = await stack.enter_async_context(self.make(server.url, limits, self.provider))
                if listening:
                    await call("GET", "/warm")
            yield partial(timed, call, limits), server


def without_times(seen: Seen) -> Seen:
    """Return it as if each call had ended at once: a busy machine changes no count."""
    return replace(seen, calls=[replace(call, after_s=0.0) for call in seen.calls])


async def until(condition: Callable[[], Any], seconds: float = 5.0) -> bool:
    """Wait until *condition* is true, at most for so long."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:  # noqa: ASYNC110 - of another thread
        await asyncio.sleep(0.01)
    return bool(condition())


async def one_call(world: World, behave: Behaviour, method: str = "GET") -> Seen:
    """Make one call of a server that behaves so."""
    async with world.opened(behave) as (call, server):
        await world.ready.wait()
        return Seen([await call(method, "/items/1")], server.seen())


async def half_body(world: World) -> Seen:
    async def behave(exchange: Exchange) -> None:
        if exchange.number > 1:
            exchange.respond()
            return
        exchange.head(200)
        exchange.writer.write(_BODY[: len(_BODY) // 2])
        await exchange.writer.drain()
        exchange.close()

    return await one_call(world, behave)


async def lost_response(world: World) -> Seen:
    async def behave(exchange: Exchange) -> None:
        exchange.close()

    return await one_call(world, behave, "POST")


async def refused_then_open(world: World) -> Seen:
    async def behave(exchange: Exchange) -> None:
        exchange.respond()

    async with world.opened(behave, listening=False) as (call, server):
        await world.ready.wait()
        task = asyncio.ensure_future(call("GET", "/items/1"))
        await asyncio.sleep(1)
        await world.there(server.listen())
        return Seen([await task], server.seen())


def status_first(status: int, retry_after_s: float, *, always: bool = False) -> Behaviour:
    """Make a behaviour that responds with a status and Retry-After, to the first request or to each."""

    async def behave(exchange: Exchange) -> None:
        if always or exchange.number == 1:
            exchange.respond(status, retry_after=f"{retry_after_s:.0f}")
        else:
            exchange.respond()

    return behave


async def retry_after_beyond(world: World) -> Seen:
    return await one_call(world, status_first(503, LATE_RETRY_AFTER_S, always=True))


async def retry_after_within(world: World) -> Seen:
    return await one_call(world, status_first(503, RETRY_AFTER_S))


async def throttled(world: World) -> Seen:
    return await one_call(world, status_first(429, RETRY_AFTER_S))


async def hang(world: World) -> Seen:
    async def behave(exchange: Exchange) -> None:
        await exchange.server.hold("never")

    return await one_call(world, behave)


async def slow_drip(world: World) -> Seen:
    async def behave(exchange: Exchange) -> None:
        exchange.head(200, content_length="1000")
        while True:
            exchange.writer.write(b" ")
            await exchange.writer.drain()
            await asyncio.sleep(0.2)

    return await one_call(world, behave)


async def trip(call: TimedCall, server: Server) -> bool:
    """Fail calls until one of them ends without the server having seen it."""
    for number in range(TRIPS):
        paths = [f"/fail/{number * A_TRIP + n}" for n in range(A_TRIP)]
        await asyncio.gather(*(call("GET", path) for path in paths))
        if set(paths) - server.paths:
            await asyncio.sleep(1.3 * OPEN_S)  # ours is open for 1.2 times as long at most
            return True
    return False


async def failing_or_held(exchange: Exchange) -> None:
    """Respond 500 to `/fail/…`; to all else when it is released."""
    if exchange.path.startswith("/fail"):
        exchange.respond(500)
        return
    await exchange.server.hold(exchange.path.split("/")[1])
    exchange.respond()


async def half_open(world: World) -> Seen:
    async with world.opened(failing_or_held, PATIENT) as (call, server):
        seen = Seen(opened=await trip(call, server))
        if not seen.opened:
            return seen
        tasks = [asyncio.ensure_future(call("GET", f"/held/{n}")) for n in range(AT_HALF_OPEN)]
        await until(lambda: server.held)
        await asyncio.sleep(0.5)
        seen.most_at_once = server.held
        await world.there(server.release("held"))
        seen.calls = list(await asyncio.gather(*tasks))
        for n in range(5):
            seen.recovered = seen.recovered or (await call("GET", f"/held/after/{n}")).succeeded
            await asyncio.sleep(0.1)
        return seen


async def late_success(world: World) -> Seen:
    async with world.opened(failing_or_held, PATIENT) as (call, server):
        old = asyncio.ensure_future(call("GET", "/old"))
        await until(lambda: "/old" in server.paths)
        seen = Seen(opened=await trip(call, server))
        probe: asyncio.Future[Ended] | None = None
        if seen.opened:
            for n in range(10):
                probe = asyncio.ensure_future(call("GET", f"/probe/{n}"))
                if await until(lambda path=f"/probe/{n}": path in server.paths, 0.5):
                    break
        await world.there(server.release("old"))
        seen.calls = [await old]
        await world.there(server.release("late"))
        late = [asyncio.ensure_future(call("GET", f"/late/{n}")) for n in range(5)]
        await asyncio.wait(late, timeout=0.5)
        seen.let_through = sum(path.startswith("/late") for path in server.paths)
        await world.there(server.release("probe"))
        await asyncio.gather(*late, *([probe] if probe else []))
        return seen


async def storm(world: World) -> Seen:
    async def behave(exchange: Exchange) -> None:
        if exchange.path.startswith("/slow"):
            await asyncio.sleep(0.02)
        exchange.respond()

    async def cancelled(call: TimedCall, path: str) -> None:
        task = asyncio.ensure_future(call("GET", path))
        await asyncio.sleep(world.chance.uniform(0, 0.03))
        task.cancel()
        await asyncio.wait({task})

    # Patient: what a busy machine delays beyond an attempt's second would open a breaker, which is another fault.
    async with world.opened(behave, PATIENT) as (call, _server):
        for wave in range(WAVES):
            await asyncio.gather(*(cancelled(call, f"/slow/{wave}/{n}") for n in range(A_WAVE)))
        return Seen(list(await asyncio.gather(*(call("GET", f"/items/{n}") for n in range(AFTER_THE_STORM)))))


async def spans(world: World) -> Seen:
    async def behave(exchange: Exchange) -> None:
        exchange.respond(503 if exchange.number < 3 else 200)

    async with world.opened(behave) as (call, server):
        await world.ready.wait()
        with world.provider.get_tracer("host").start_as_current_span("a request of the host") as span:
            trace_id = f"{span.get_span_context().trace_id:032x}"
            ended = await call("GET", "/items/1")
        found = [
            Span(
                f"{one.context.trace_id:032x}",
                f"{one.context.span_id:016x}",
                one.attributes.get("http.response.status_code", one.attributes.get("http.status_code", 0)),
            )
            for one in world.exporter.get_finished_spans()
            if f"{one.context.trace_id:032x}" == trace_id
        ]
        return Seen([ended], server.seen(), trace_id=trace_id, spans=found)


GROUPS = (
    (
        half_body,
        lost_response,
        refused_then_open,
        retry_after_beyond,
        retry_after_within,
        throttled,
        hang,
        slow_drip,
        spans,
    ),
    (half_open, late_success),
    (storm,),
)
TIMED = (retry_after_beyond, hang, slow_drip)
"""Scenarios in which right and wrong differ in when a call ends."""


# --- the run ----------------------------------------------------------------------------------------------------------


def many(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def in_words(key: str, seen: Seen) -> str:
    """Say what the server saw and how the calls ended."""
    if key in {"half_open", "late_success"} and not seen.opened:
        return f"{TRIPS * A_TRIP} failing calls all reached the server"
    if key == "half_open":
        after = "a call was served afterwards" if seen.recovered else "no call was served afterwards"
        return f"{many(seen.most_at_once, 'request')} at a time; {after}"
    if key == "late_success":
        return f"{seen.let_through} of 5 calls reached the server"
    if key == "storm":
        good = sum(call.succeeded for call in seen.calls)
        return f"{good} of {len(seen.calls)} calls succeeded, the last after {max(c.after_s for c in seen.calls):.1f} s"
    call = seen.calls[0]
    words = f"{call.error or 'the document'} after {call.after_s:.1f} s, {many(len(seen.requests), 'request')}"
    if key == "spans":
        words += f" with {many(len({one.traceparent for one in seen.requests} - {''}), 'traceparent')}"
    elif len(seen.requests) > 1:
        words += f", the second {seen.requests[1].at_s:.1f} s after the first"
    return words


async def watch(world: World, lags: list[float]) -> None:
    """Note by how much the loop is late, from when every client is open."""
    await world.ready.wait()
    while True:
        began = time.monotonic()
        await asyncio.sleep(0.02)
        lags.append(time.monotonic() - began - 0.02)


async def run(name: str, *, patient: bool = False) -> tuple[dict[str, Seen], float]:
    """
    Run the scenarios with the client of that name; *patient* are those that are judged by counts alone.

    Those of one call go first, and start together once every client is open: opening one takes CPU.

    Returns:
        What was seen, by fault, and by how much the loop was late at most while times counted.
    """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    servers = asyncio.new_event_loop()
    thread = threading.Thread(target=servers.run_forever, daemon=True)
    thread.start()
    found: dict[str, Seen] = {}
    lags: list[float] = []
    for group in GROUPS:
        chosen = [scenario for scenario in group if not (patient and scenario in TIMED)]
        limits = PATIENT if patient else Limits()
        world = World(CLIENTS[name], limits, servers, provider, exporter, asyncio.Barrier(len(chosen) + 1))
        watching = asyncio.create_task(watch(world, lags))
        results = await asyncio.gather(*(scenario(world) for scenario in chosen))
        watching.cancel()
        found |= {scenario.__name__: seen for scenario, seen in zip(chosen, results, strict=True)}
    servers.call_soon_threadsafe(servers.stop)
    thread.join()
    return found, max(lags)


def judged(found: dict[str, Seen]) -> dict[str, list[str]]:
    """By fault, the verdict and what was seen."""
    return {
        fault.key: [fault.verdict(found[fault.key]), in_words(fault.key, found[fault.key])]
        for fault in FAULTS
        if fault.key in found
    }


def run_elsewhere(name: str, runs: int) -> dict[str, list[str]] | None:
    """
    Run them in processes of their own, *runs* times; None where the client cannot run here.

    A verdict is right where it was right each time. A run that the machine kept waiting is made again: what is late by
    itself would count as the client's doing.
    """
    rows: list[dict[str, list[str]]] = []
    for _ in range(5 * runs):
        done = subprocess.run(  # noqa: S603 - ourselves
            [sys.executable, str(Path(__file__)), "--one", name], capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            print(f"{name}: left out: {said[-1]}", file=sys.stderr)
            return None
        row, lag_s = json.loads(done.stdout.splitlines()[-1])
        wrong = {key: seen for key, (verdict, seen) in row.items() if verdict == "wrong"}
        print(f"{name}, up to {lag_s:.2f} s late: {wrong}", file=sys.stderr)
        if lag_s <= MOST_LAG_S:
            rows.append(row)
        if len(rows) == runs:
            break
    else:
        sys.exit("the machine is too busy")
    combined = {}
    for fault in FAULTS:
        failed = [row[fault.key] for row in rows if row[fault.key][0] == "wrong"]
        verdict, seen = failed[0] if failed else rows[0][fault.key]
        often = f" ({len(failed)} of {runs} times)" if 0 < len(failed) < runs else ""
        combined[fault.key] = [verdict, seen + often]
    return combined


def versions_of(name: str) -> str:
    """Name the packages that a client is, with their versions."""
    found = []
    for package in PACKAGES.get(name, ()):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def markdown(document: dict[str, Any]) -> str:
    """Tables for people: the verdicts, what each fault is, and what was seen where it was not right."""
    clients = document["clients"]
    shown = {"right": "right", "wrong": "**wrong**", "none": "has none"}
    lines = [f"| | {' | '.join(clients)} |", "| --- |" + " --- |" * len(clients)]
    for fault in FAULTS:
        cells = [shown[row["faults"][fault.key][0]] for row in clients.values()]
        lines.append(f"| {fault.name} | {' | '.join(cells)} |")
    verdicts = [[verdict for verdict, _ in row["faults"].values()] for row in clients.values()]
    scores = [f"{each.count('right')} of {len(each) - each.count('none')}" for each in verdicts]
    lines.append(f"| right, of those that it has | {' | '.join(scores)} |")
    lines += [
        "",
        "What each fault is, and what is right:",
        "",
        "| fault | what happens | right |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {fault.name} | {fault.happens} | {fault.right} |" for fault in FAULTS]
    lines += ["", "What was seen where it was not right:", ""]
    for name, row in clients.items():
        seen = [
            f"{fault.name}: {row['faults'][fault.key][1]}" for fault in FAULTS if row["faults"][fault.key][0] == "wrong"
        ]
        about = f" ({row['versions']})" if row["versions"] else ""
        lines.append(f"- **{name}**{about}: {'; '.join(seen) or 'nothing'}.")
    lines += ["", f"Python {document['python']}; `{document['command']}`."]
    return "\n".join(lines)


def write_page(document: dict[str, Any]) -> None:
    """Write the table into docs/is-it-for-you.md."""
    from benchmarks.compare import write_between

    write_between("faults.py", markdown(document), PAGE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--redraw", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=int, default=3, help="of each client; right is what is right each time")
    parser.add_argument("--only", action="append", choices=list(CLIENTS), help="one of the clients; may be repeated")
    parser.add_argument("--one", choices=list(CLIENTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write and arguments.only:
        parser.error("--write writes about all clients")
    if arguments.redraw:
        write_page(json.loads(RESULTS.read_text()))
        return 0
    if arguments.one:
        found, lag_s = asyncio.run(run(arguments.one))
        print(json.dumps([judged(found), lag_s]))
        return 0
    if arguments.quick:
        found, _ = asyncio.run(run("ours", patient=True))
        rows = judged({key: without_times(seen) for key, seen in found.items()})
        wrong = [f"{key}: {seen}" for key, (verdict, seen) in rows.items() if verdict != "right"]
        print("\n".join([f"{len(rows) - len(wrong)} of {len(rows)} faults right by their counts", *wrong]))
        return int(bool(wrong))
    from benchmarks.compare import enter_environment

    enter_environment()
    names = arguments.only or list(CLIENTS)
    results = {name: run_elsewhere(name, arguments.runs) for name in names}
    document = {
        "python": platform.python_version(),
        "command": "python3 benchmarks/faults.py --write",
        "clients": {
            name: {"versions": versions_of(name), "faults": faults} for name, faults in results.items() if faults
        },
    }
    if arguments.write:
        if missing := [name for name in CLIENTS if not results.get(name)]:
            sys.exit(f"not written: {', '.join(missing)} did not run")
        RESULTS.write_text(json.dumps(document, indent=1) + "\n")
        write_page(document)
    print(markdown(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
