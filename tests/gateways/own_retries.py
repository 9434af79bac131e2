"""
What each gateway does on its own: its retries and replays next to ours, its error page in our errors, Varnish's cache.

    python tests/gateways/own_retries.py    # prints the tables of docs/gateways.md

The upstream closes each connection without a byte, or responds 503; the gateway has the upstream once, or (nginx) twice.
"""

import asyncio
import logging
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from programs import PROGRAMS, Varnish, base_options, running
from upstream import Upstream

from middleware import CallError
from runtime.connectors.base import PlatformHttpClient
from runtime.gateway import DEFAULT_API_KEY
from runtime.settings import ResolvedSettings

SETTINGS = {"circuit_breaker": {"mode": "disabled"}, "retry": {"retry_after_max_s": 1.0}}
METHODS = ("GET", "PUT", "POST")


def client_of(gateway, key=DEFAULT_API_KEY):
    return PlatformHttpClient(f"http://localhost:{gateway.port}", key, policies=ResolvedSettings(SETTINGS))


async def amplification(program, folder, options):
    """Requests that the upstream reads of one call, by method, for both faults."""
    cells = []
    async with Upstream() as one, Upstream() as two:
        second = two.port if program.name == "nginx" and "retry" in options else 0
        async with (
            running(program, folder, one.port, *options, second=second) as gateway,
            client_of(gateway) as client,
        ):
            for fault in ("cut/0", "fail/503"):
                counts = []
                for method in METHODS:
                    path = f"/lab/{fault}/{method}"
                    body = None if method == "GET" else {"id": 1}
                    with suppress(CallError):
                        await client.request(method, path, path_params={}, json_body=body)
                    counts.append(sum(seen.target == path for seen in (*one.requests, *two.requests)))
                cells.append("/".join(map(str, counts)))
    return cells


async def replayed(program, folder, *options):
    """Requests that the upstream reads of a GET whose connections it closes, after six calls at a time."""
    async with (
        Upstream() as upstream,
        running(program, folder, upstream.port, *base_options(program), *options) as gateway,
        client_of(gateway) as client,
    ):
        await asyncio.gather(*(client.get("/lab/slow/100", path_params={}) for _ in range(6)))
        with suppress(CallError):
            await client.get("/lab/cut/0/GET", path_params={})
        return sum(seen.target == "/lab/cut/0/GET" for seen in upstream.requests)


async def page(program, folder):
    """The error of a GET whose upstream refuses connections."""
    async with (
        Upstream() as upstream,
        running(program, folder, upstream.port, *base_options(program)) as gateway,
        client_of(gateway) as client,
    ):
        upstream.close_listener()
        await asyncio.sleep(0.1)
        try:
            await client.post("/lab/any", path_params={}, json_body={})
        except CallError as error:
            text = str(error).replace(error.correlation_id, "…")
            return f"`{text}`; answered_by {error.answered_by}; outcome_unknown {error.outcome_unknown}"
    return "a success"


async def cached(folder, *options):
    """Reads of the upstream for three GETs by two applications."""
    async with Upstream() as upstream, running(Varnish, folder, upstream.port, *options) as gateway:
        for key in (DEFAULT_API_KEY, DEFAULT_API_KEY, DEFAULT_API_KEY[:-1] + "x"):
            async with client_of(gateway, key) as client:
                await client.get("/lab/read", path_params={})
        return len(upstream.requests)


async def main(folder):
    installed = [program for program in PROGRAMS if program.path()]
    print(
        "| gateway | its own retries | GET/PUT/POST read, no byte | GET/PUT/POST read, 503 |\n| --- | --- | --- | --- |"
    )
    for program in installed:
        for options in ((), ("retry",)):
            if set(options) <= program.offers:
                cells = await amplification(program, folder, options)
                print(
                    f"| {program.name} {program.version()} | {'on' if options else 'default'} | {' | '.join(cells)} |",
                    flush=True,
                )
    print("\n| gateway | GETs read with idle connections | without replays |\n| --- | --- | --- |")
    for program in installed:
        if "once" in program.offers:
            cells = [await replayed(program, folder), await replayed(program, folder, "once")]
            print(f"| {program.name} | {' | '.join(map(str, cells))} |", flush=True)
    print("\n| gateway | a POST whose upstream is down |\n| --- | --- |")
    for program in installed:
        print(f"| {program.name} | {await page(program, folder)} |", flush=True)
    if Varnish.path():
        print(
            f"\nVarnish, 3 GETs of 2 applications: {await cached(folder)} read; with pass {await cached(folder, 'pass')}"
        )


if __name__ == "__main__":
    logging.disable()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        Path(place).chmod(0o755)
        asyncio.run(main(Path(place)))
