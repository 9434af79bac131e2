"""
The stack on each transport and its peers: CPU, throughput, latency and memory per call, and the table in the docs.

    python3 benchmarks/compare.py            # prints the table; under ten minutes
    python3 benchmarks/compare.py --json     # the same as one document
    python3 benchmarks/compare.py --write    # also writes benchmarks/compare.json, docs/performance.md and its chart
    python3 benchmarks/compare.py --redraw   # writes page and chart anew from benchmarks/compare.json, without a run
    python3 benchmarks/compare.py --quick    # two short rounds that fail on counts, never on time
    python3 benchmarks/compare.py --against DIR             # this checkout against another one, in turn
    python3 benchmarks/compare.py --against . --python PY   # this checkout under another Python against this one
    python3 benchmarks/compare.py --only httptools --only aiohttp   # only clients whose name contains one of the texts

The first run makes `.venv-bench` next to pyproject.toml with benchmarks/requirements.txt in it. Figures are CPU time of
this process (user and system), so that a busy machine disturbs them little; the server runs in another one, on a core
of its own. Rounds are interleaved: one client after the other, in an order that rotates, and a ratio is the median of
the ratios within the rounds.
"""

import argparse
import asyncio
import gc
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/compare.json"
sys.path.insert(0, str(ROOT))

CONCURRENCY = (1, 16, 64, 256)
FLAT = (16, 1000)
IN_FLIGHT = 200
OURS = ("stack on httptools", "stack on h11", "stack on httpcore", "stack on aiohttp")
WITH_LESS = ("stack on httptools, unsampled", "stack on httptools, no SDK, no log")


def enter_environment() -> None:
    """Become a Python that has the stack's dependencies and the peers; make its environment the first time."""
    from runtime.cli.bootstrap import BootstrapError, claim, requirements

    own = ROOT / ".venv-bench"
    given = Path(os.environ.get("MOZAIKS_BENCH_VENV") or own).absolute()
    venv = Path(os.path.realpath(given))
    if Path(sys.prefix).resolve() == venv:
        return
    python = venv / "bin" / "python"
    stamp = venv / "benchmark-requirements.txt"
    wanted = [*requirements(ROOT / "pyproject.toml", ["otel", "fast", "aiohttp"])]
    wanted += [line for line in (ROOT / "benchmarks/requirements.txt").read_text().splitlines() if line[:1] != "#"]
    text = "\n".join(wanted)
    if not stamp.exists() or stamp.read_text() != text:
        try:
            with claim(given, own, setting="MOZAIKS_BENCH_VENV"):
                print(f"setting up {venv} (once)", file=sys.stderr)
                subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)  # noqa: S603
                subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)  # noqa: S603
                stamp.write_text(text)
        except BootstrapError as error:
            sys.exit(str(error))
    os.execv(str(python), [str(python), *sys.argv])  # noqa: S606 - becomes itself, in its environment


class Counter:
    """Numbers every call of the run, so that no two have the same path or token."""

    def __init__(self) -> None:
        self.n = 0

    def next(self) -> int:
        self.n += 1
        return self.n


async def run(get: Any, calls: int, concurrency: int, counter: Counter) -> dict[str, float]:
    """Make *calls* calls by *concurrency* tasks; CPU and wall time per call, and latencies."""
    latencies: list[float] = []
    left = calls

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            started = time.perf_counter()
            document = await get(counter.next(), "")
            latencies.append(time.perf_counter() - started)
            assert len(document["items"]) == 10

    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert len(latencies) == calls
    latencies.sort()
    return {
        "cpu_us": cpu / calls * 1e6,
        "per_s": calls / wall,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
    }


async def open_connections(clients: dict[str, Any], concurrency: int, counter: Counter, stats: Any) -> dict[str, int]:
    """Have each client open *concurrency* connections at once; return how many the server counted."""
    opened = {}
    for name, get in clients.items():
        await asyncio.gather(*(get(counter.next(), f"/barrier/{concurrency}") for _ in range(concurrency)))
        opened[name] = (await stats())["held"]
    return opened


async def measure(
    url: str, telemetry: Any, concurrencies: Any, *, rounds: int, budget_s: float, is_chosen: Callable[[str], bool]
) -> Any:
    """Measure every client whose name is chosen at every concurrency."""
    from benchmarks.clients import NO_SDK, all_clients

    counter, logger = Counter(), logging.getLogger("mozaiks.connectors")
    found: dict[int, dict[str, list[dict[str, float]]]] = {}
    connections = {}
    for concurrency in concurrencies:
        async with all_clients(url, telemetry) as clients:
            chosen = {name: get for name, get in clients.items() if is_chosen(name)}
            connections[concurrency] = await open_connections(chosen, concurrency, counter, lambda: stats_of(url))
            calls = {}
            for name, get in chosen.items():
                cost = await run(get, max(20, concurrency), concurrency, counter)
                calls[name] = int(min(2000, max(concurrency, 50, budget_s / (cost["cpu_us"] / 1e6))))
            results: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
            order = list(chosen)
            for _ in range(rounds):
                for name in order:
                    logger.disabled = name.endswith(NO_SDK)
                    results[name].append(await run(chosen[name], calls[name], concurrency, counter))
                    logger.disabled = False
                order.append(order.pop(0))
            found[concurrency] = results
    return found, connections


async def stats_of(url: str) -> Any:
    host, port = url.rsplit("/", 1)[1].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /__stats__ HTTP/1.1\r\nhost: x\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    document = json.loads(await reader.readexactly(length))
    writer.close()
    await writer.wait_closed()
    document["open"] -= 1
    return document


async def memory(url: str, telemetry: Any, count: int, is_chosen: Callable[[str], bool]) -> dict[str, float]:
    """Python memory per call that waits for its response, in bytes."""
    from benchmarks.clients import all_clients

    found = {}
    counter = Counter()
    async with all_clients(url, telemetry) as clients:
        for name, get in clients.items():
            if not is_chosen(name):
                continue
            await get(counter.next(), "")
            gc.collect()
            tracemalloc.start()
            while (await stats_of(url))["hanging"]:  # noqa: ASYNC110 - in another process, those of the one before
                await asyncio.sleep(0.02)
            before = tracemalloc.get_traced_memory()[0]
            tasks: list[asyncio.Task[Any]] = []
            while len(tasks) < count:  # a few at a time: under tracemalloc, connecting is slow
                tasks += [asyncio.create_task(get(counter.next(), "/hang")) for _ in range(20)]
                while (await stats_of(url))["hanging"] < len(tasks):
                    assert not any(task.done() for task in tasks), f"{name}: a call to /hang ended"
                    await asyncio.sleep(0.02)
            gc.collect()
            found[name] = (tracemalloc.get_traced_memory()[0] - before) / count
            tracemalloc.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return found


async def no_io(rounds: int, calls: int) -> dict[str, list[float]]:
    """
    CPU per call of the layers alone, and that of `httpx.AsyncClient` with nothing around it.

    All over the same stub of httpx; the layers also over a transport of ours that responds at once.
    """
    import httpx

    from benchmarks.checkout import raw_transport
    from benchmarks.clients import getter, headers, no_sdk, sdk, stack
    from benchmarks.server import BODY

    class Stub(httpx.AsyncBaseTransport):
        async def handle_async_request(self, _request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, headers={"content-type": "application/json"}, content=BODY)

    bare = httpx.AsyncClient(transport=Stub(), base_url="http://stub", trust_env=False)

    async def get_bare(n: int, _path: str) -> Any:
        return (await bare.get(f"/api/items/{n}", headers=headers(n))).json()

    clients = {
        "httpx.AsyncClient": get_bare,
        "stack, sampled": getter(stack("http://stub", sdk(), transport=Stub())),
        "stack, unsampled": getter(stack("http://stub", sdk(sampled=False), transport=Stub())),
        "stack, no SDK": getter(stack("http://stub", no_sdk(), transport=Stub())),
        "stack, sampled, raw transport": getter(stack("http://stub", sdk(), transport=raw_transport())),
        "stack, unsampled, raw transport": getter(stack("http://stub", sdk(sampled=False), transport=raw_transport())),
        "stack, no SDK, raw transport": getter(stack("http://stub", no_sdk(), transport=raw_transport())),
    }
    counter = Counter()
    found: dict[str, list[float]] = {name: [] for name in clients}
    for get in clients.values():
        await run(get, calls // 4, 1, counter)
    for _ in range(rounds):
        for name, get in clients.items():
            found[name].append((await run(get, calls, 1, counter))["cpu_us"])
    return found


def median_of(results: list[dict[str, float]], key: str) -> float:
    return statistics.median(result[key] for result in results)


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Median of the ratios within the rounds."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def cpu(results: list[dict[str, float]]) -> list[float]:
    return [result["cpu_us"] for result in results]


def document_of(
    found: Any, connections: Any, flat: Any, held: Any, alone: Any, *, rounds: int, load: float
) -> dict[str, Any]:
    table = {
        concurrency: {
            name: {key: median_of(rounds, key) for key in ("cpu_us", "per_s", "p50_ms", "p99_ms")}
            for name, rounds in results.items()
        }
        for concurrency, results in found.items()
    }
    ratios = {
        concurrency: {
            ours: {name: ratio(cpu(results[ours]), cpu(rounds)) for name, rounds in results.items() if name != ours}
            for ours in (*OURS, *WITH_LESS)
            if ours in results
        }
        for concurrency, results in found.items()
    }
    flatness = {
        name: ratio(cpu(flat[FLAT[1]][name]), cpu(flat[FLAT[0]][name])) for name in (flat[FLAT[0]] if flat else ())
    }
    return {
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "rounds": rounds,
        "load_average": [load, os.getloadavg()[0]],
        "versions": __import__("benchmarks.clients", fromlist=["versions"]).versions(),
        "connections": connections,
        "table": table,
        "ratios": ratios,
        "flat_16_to_1000": flatness,
        "memory_per_call_bytes": held,
        "no_io_cpu_us": {name: statistics.median(values) for name, values in alone.items()},
        "no_io_ratios": {
            name: ratio(values, alone["httpx.AsyncClient"])
            for name, values in alone.items()
            if name != "httpx.AsyncClient"
        },
    }


def rounds_of(document: dict[str, Any]) -> list[str]:
    """Say how many rounds there were under which load; nothing for a run that did not record it."""
    load = document.get("load_average")
    if not load:
        return []
    return [
        "{} rounds; load average {:.1f} at the start, {:.1f} at the end.".format(document["rounds"], *load),
        "",
    ]


def markdown(document: dict[str, Any]) -> str:
    """Tables for people."""
    named = ", ".join(f"{name} {found}" for name, found in document["versions"].items())
    lines = [
        f"Python {document['python']} on {document['machine']}; {named}.",
        "",
        *rounds_of(document),
        "CPU per call in µs, median of the rounds:",
        "",
    ]
    columns = list(document["table"])
    names = list(document["table"][columns[0]])
    lines += ["| | " + " | ".join(f"{c} at a time" for c in columns) + " | bytes per call in flight |"]
    lines += ["|" + " --- |" * (len(columns) + 2)]
    for name in names:
        cells = [f"{document['table'][c][name]['cpu_us']:.0f}" for c in columns]
        held = document["memory_per_call_bytes"].get(name)
        lines.append(f"| {name} | {' | '.join(cells)} | {f'{held:.0f}' if held else ''} |")
    lines += ["", "Calls per second, and p50 / p99 of their time in ms:", ""]
    lines += ["| | " + " | ".join(f"{c} at a time" for c in columns) + " |", "|" + " --- |" * (len(columns) + 1)]
    for name in names:
        rows = [document["table"][c][name] for c in columns]
        cells = [f"{row['per_s']:.0f}, {row['p50_ms']:.1f} / {row['p99_ms']:.1f}" for row in rows]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "Ratios of CPU, median of the rounds' own ratios; below 1 the stack is cheaper:", ""]
    for ours in document["ratios"][columns[0]]:
        lines += [f"| {ours} against | " + " | ".join(f"{c} at a time" for c in columns) + " |"]
        lines += ["|" + " --- |" * (len(columns) + 1)]
        for name in document["ratios"][columns[0]][ours]:
            cells = [f"{document['ratios'][c][ours][name]:.2f}" for c in columns]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    if document["flat_16_to_1000"]:
        flat = ", ".join(f"{name} {value:.2f}" for name, value in document["flat_16_to_1000"].items())
        lines += [f"CPU per call at 1000 tasks over that at 16: {flat}.", ""]
    lines += [
        "Without a wire, over the same stub of httpx, and over a raw transport:",
        "",
        "| | CPU per call, µs | ratio |",
        "| --- | --- | --- |",
    ]
    for name, value in document["no_io_cpu_us"].items():
        share = document["no_io_ratios"].get(name)
        lines.append(f"| {name} | {value:.0f} | {f'{share:.2f}' if share else ''} |")
    opened = "; ".join(
        f"{concurrency}: {min(by.values())} to {max(by.values())}"
        for concurrency, by in document["connections"].items()
    )
    lines += ["", f"Connections held open by each client at each concurrency, as the server counted them: {opened}."]
    return "\n".join(lines)


def write_page(document: dict[str, Any]) -> None:
    """Write the tables of docs/performance.md, and its chart: two panels in a row, and one for narrow screens."""
    from benchmarks.performance_chart import chart

    write_between("compare.py", markdown(document))
    (ROOT / "docs/performance.svg").write_text(chart(document, columns=2))
    (ROOT / "docs/performance-narrow.svg").write_text(chart(document, columns=1))


def write_between(command: str, text: str, page: Path = ROOT / "docs/performance.md") -> None:
    """Put what *command* found where people read it: between its marks in *page*."""
    begin, end = f"<!-- written by benchmarks/{command} -->", "<!-- end -->"
    before, _, rest = page.read_text().partition(begin)
    after = rest.partition(end)[2]
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


class Worker:
    """One checkout in a process of its own; see `checkout.py`."""

    def __init__(self, python: str, directory: Path, *where: str) -> None:
        command = [python, str(ROOT / "benchmarks/checkout.py"), str(directory), *where]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603

    def cost(self, scenario: str, concurrency: int, calls: int) -> float:
        """CPU per call in µs, of one block of *calls*."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(scenario, concurrency, calls, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def in_turn(
    first: Worker, second: Worker, scenario: str, concurrency: int, *, rounds: int, budget_s: float
) -> tuple[float, float, float]:
    """Cost of *first* and of *second*, and the first's share of the second's: medians over blocks that take turns."""
    calls = 0
    for worker in (first, second):
        worker.cost(scenario, concurrency, 4 * concurrency + 50)  # warms up
        calls = max(calls, concurrency, int(budget_s * 1e6 / worker.cost(scenario, concurrency, concurrency + 20)))
    found: list[tuple[float, float]] = []
    for number in range(rounds):
        one, other = (first, second) if number % 2 else (second, first)
        pair = one.cost(scenario, concurrency, calls), other.cost(scenario, concurrency, calls)
        found.append(pair if number % 2 else (pair[1], pair[0]))
    ours, theirs = ([pair[index] for pair in found] for index in (0, 1))
    return statistics.median(ours), statistics.median(theirs), ratio(ours, theirs)


def against(directory: Path, python: str, *, rounds: int, quick: bool, only: list[str]) -> str:
    """Compare this checkout with the one in *directory*, or this Python with *python*; the table."""
    import tempfile

    import trustme

    from benchmarks.checkout import NO_WIRE, ON_WIRE
    from benchmarks.server import running

    cores = sorted(os.sched_getaffinity(0))
    options = ["--core", str(cores[-1])] if len(cores) > 1 else []
    rows = [(scenario, 1) for scenario in NO_WIRE]
    rows += [(scenario, concurrency) for scenario in ON_WIRE for concurrency in ((1,) if quick else (1, 16, 64))]
    lines = [f"load average {os.getloadavg()[0]:.1f} at the start, {rounds} rounds"]
    lines += ["", "| | at a time | this, µs | the other, µs | this of the other |", "|" + " --- |" * 5]
    with tempfile.TemporaryDirectory() as folder:
        authority, both = trustme.CA(), Path(folder, "server.pem")
        certificate = authority.issue_cert("localhost")
        both.write_bytes(
            certificate.private_key_pem.bytes() + b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
        )
        authority.cert_pem.write_to_path(str(Path(folder, "ca.pem")))
        with running(*options) as url, running("--tls", str(both), *options) as https_url:
            where = url, https_url, str(Path(folder, "ca.pem"))
            workers = [Worker(sys.executable, ROOT, *where), Worker(python, directory.resolve(), *where)]
            try:
                for scenario, concurrency in rows:
                    if not any(text in scenario for text in only):
                        continue
                    ours, theirs, share = in_turn(
                        *workers, scenario, concurrency, rounds=rounds, budget_s=0.02 if quick else 0.15
                    )
                    lines.append(f"| {scenario} | {concurrency} | {ours:.0f} | {theirs:.0f} | {share:.2f} |")
                    print(lines[-1], file=sys.stderr)
            finally:
                for worker in workers:
                    worker.end()
    return "\n".join([*lines, "", f"load average {os.getloadavg()[0]:.1f} at the end"])


async def everything(arguments: argparse.Namespace) -> dict[str, Any]:
    from opentelemetry import metrics, trace

    from benchmarks.clients import log_to_null, sdk
    from benchmarks.server import running

    telemetry = sdk()
    trace.set_tracer_provider(telemetry.tracer_provider)  # type: ignore[arg-type] # azure-core and kiota take the global one
    metrics.set_meter_provider(telemetry.meter_provider)  # type: ignore[arg-type]
    log_to_null()
    quick, load = arguments.quick, os.getloadavg()[0]
    rounds = 2 if quick else arguments.rounds
    cores = sorted(os.sched_getaffinity(0))
    options = ["--core", str(cores[-1])] if len(cores) > 1 else []

    def is_chosen(name: str) -> bool:
        return any(text in name for text in arguments.only or [""])

    with running(*options) as url:
        os.sched_setaffinity(0, set(cores[:-1]) or set(cores))
        concurrencies = (1, 16) if quick else CONCURRENCY
        found, connections = await measure(
            url, telemetry, concurrencies, rounds=rounds, budget_s=0.02 if quick else 0.3, is_chosen=is_chosen
        )
        flat: Any = {}
        if not quick:
            flat, more = await measure(
                url,
                telemetry,
                FLAT,
                rounds=rounds,
                budget_s=0.3,
                is_chosen=lambda name: name in OURS and is_chosen(name),
            )
            connections[FLAT[1]] = more[FLAT[1]]
        held = await memory(url, telemetry, 20 if quick else IN_FLIGHT, is_chosen)
    for concurrency, by in connections.items():
        short = {name: count for name, count in by.items() if count < concurrency}
        assert not short, f"not held open: {short}"
    alone = await no_io(rounds, 40 if quick else 1500)
    return document_of(found, connections, flat, held, alone, rounds=rounds, load=load)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--redraw", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, measured in turn with this one")
    parser.add_argument("--python", default=sys.executable, help="what runs the other checkout, with its dependencies")
    parser.add_argument(
        "--only",
        action="append",
        metavar="TEXT",
        help="clients, with --against scenarios, whose name contains one of them",
    )
    arguments = parser.parse_args()
    if arguments.redraw:
        write_page(json.loads(RESULTS.read_text()))
        return
    enter_environment()
    if arguments.against is not None:
        rounds = 2 if arguments.quick else arguments.rounds
        python, only = arguments.python, arguments.only or [""]
        print(against(arguments.against, python, rounds=rounds, quick=arguments.quick, only=only))
        return
    gc.freeze()
    document = json.loads(json.dumps(asyncio.run(everything(arguments))))  # keys as --redraw reads them
    if arguments.write:
        RESULTS.write_text(json.dumps(document, indent=1) + "\n")
        write_page(document)
    print(json.dumps(document, indent=2) if arguments.json else markdown(document))


if __name__ == "__main__":
    main()
