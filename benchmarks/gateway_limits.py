"""
Limiters and a dead upstream behind real gateways: nginx with `limit_conn`, and Varnish.

Both respond 503 with Retry-After: nginx where too many requests are in flight, Varnish for an upstream that refuses
connections. The circuit must stay closed before the one and open before the other (rule R31). What the gateway saw is
read from its own counters.

    python3 benchmarks/gateway_limits.py    # starts those of nginx and varnishd that are installed

- nginx: 100 GETs at 10/s of 0.3 s where 2 at a time are allowed; at least 45 succeed.
- Varnish: 1 000 GETs at 60/s, the upstream dead from the first one on; it gets at most 60 requests.
"""

import asyncio
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from middleware import PlatformError
from runtime.cli.behind import find
from runtime.connectors.base import PlatformHttpClient
from tests.gateways.programs import READY_PATH, Nginx, Varnish, running

LEAST_SUCCEEDED, MOST_REQUESTS = 45, 60
SERVICE_S = 0.3


async def at_rate(url, calls, per_second):
    """Make *calls* GETs, and return how many succeeded."""
    succeeded = 0

    async def one(client):
        nonlocal succeeded
        try:
            await client.get("/r", path_params={})
        except PlatformError:
            return
        succeeded += 1

    async with PlatformHttpClient(url) as client, asyncio.TaskGroup() as tasks:
        for _ in range(calls):
            tasks.create_task(one(client))
            await asyncio.sleep(1 / per_second)
    return succeeded


async def respond(reader, writer):
    """Respond to one request after 0.3 s."""
    try:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(SERVICE_S)
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
        )
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass  # the gateway has closed the connection
    finally:
        writer.close()


async def behind_nginx(folder):
    """Return how many GETs succeeded behind a limiter, and how many requests it got."""
    upstream = await asyncio.start_server(respond, "127.0.0.1", 0)
    port = upstream.sockets[0].getsockname()[1]
    async with upstream, running(Nginx, folder, port, "limit-retry-after") as gateway:
        succeeded = await at_rate(f"http://127.0.0.1:{gateway.port}", 100, 10)
        lines = (gateway.folder / "access.log").read_text().splitlines()
    return succeeded, sum(f" {READY_PATH} " not in line for line in lines)


async def behind_varnish(folder):
    """Return how many GETs succeeded behind a dead upstream, and how many requests Varnish got."""
    upstream = await asyncio.start_server(respond, "127.0.0.1", 0)
    port = upstream.sockets[0].getsockname()[1]
    async with running(Varnish, folder, port) as gateway:
        upstream.close()
        before = requests_of(gateway)
        succeeded = await at_rate(f"http://127.0.0.1:{gateway.port}", 1000, 60)
        return succeeded, requests_of(gateway) - before


def requests_of(varnish):
    """Return how many requests Varnish has read."""
    counted = [find("varnishstat"), "-n", str(varnish.folder / "varnish"), "-1", "-f", "MAIN.client_req"]
    return int(subprocess.run(counted, capture_output=True, check=True, text=True).stdout.split()[1])  # noqa: S603


def main():
    logging.disable()
    passed = True
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the gateways' own users read it
        if Nginx.path():
            succeeded, requests = asyncio.run(behind_nginx(Path(folder)))
            print(f"nginx limit_conn: {succeeded} of 100 succeeded (at least {LEAST_SUCCEEDED}), {requests} requests")
            passed &= succeeded >= LEAST_SUCCEEDED
        else:
            print("nginx: not installed")
        if Varnish.path():
            succeeded, requests = asyncio.run(behind_varnish(Path(folder)))
            print(f"Varnish, dead upstream: {requests} requests of 1000 calls (at most {MOST_REQUESTS})")
            passed &= requests <= MOST_REQUESTS and succeeded == 0
        else:
            print("varnishd: not installed")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
