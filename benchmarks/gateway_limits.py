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
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from middleware import PlatformError
from runtime.connectors.base import PlatformHttpClient

LEAST_SUCCEEDED, MOST_REQUESTS = 45, 60
SERVICE_S, STARTS_WITHIN_S = 0.3, 20.0

NGINX = """
daemon off;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    limit_conn_zone $server_port zone=all:1m;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            limit_conn all 2;
            error_page 503 @limited;
            proxy_pass http://127.0.0.1:{upstream};
        }}
        location @limited {{
            add_header Retry-After 1 always;
            return 503;
        }}
    }}
}}
"""


def program(name):
    """Return where *name* is installed; None where it is not."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def free_port():
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@asynccontextmanager
async def running(command, port):
    """Run *command*, from the moment it listens on *port*."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: ASYNC220, S603
    try:
        async with asyncio.timeout(STARTS_WITHIN_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


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


async def behind_nginx(nginx, folder):
    """Return how many GETs succeeded behind a limiter, and how many requests it got."""
    upstream = await asyncio.start_server(respond, "127.0.0.1", 0)
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, upstream=upstream.sockets[0].getsockname()[1]))
    async with upstream, running([nginx, "-p", str(folder), "-c", str(config)], port):
        succeeded = await at_rate(f"http://127.0.0.1:{port}", 100, 10)
    return succeeded, len((folder / "access.log").read_text().splitlines())


async def behind_varnish(varnishd, folder):
    """Return how many GETs succeeded behind a dead upstream, and how many requests Varnish got."""
    port, name = free_port(), str(folder / "varnish")
    command = [
        varnishd,
        "-F",
        "-a",
        f"127.0.0.1:{port}",
        "-b",
        f"127.0.0.1:{free_port()}",
        "-n",
        name,
        "-s",
        "malloc,16m",
    ]
    async with running(command, port):
        succeeded = await at_rate(f"http://127.0.0.1:{port}", 1000, 60)
        counted = [program("varnishstat"), "-n", name, "-1", "-f", "MAIN.client_req"]
        shown = subprocess.run(counted, capture_output=True, check=True, text=True).stdout  # noqa: ASYNC221, S603
    return succeeded, int(shown.split()[1])


def main():
    logging.disable()
    passed = True
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the gateways' own users read it
        if nginx := program("nginx"):
            succeeded, requests = asyncio.run(behind_nginx(nginx, Path(folder)))
            print(f"nginx limit_conn: {succeeded} of 100 succeeded (at least {LEAST_SUCCEEDED}), {requests} requests")
            passed &= succeeded >= LEAST_SUCCEEDED
        else:
            print("nginx: not installed")
        if varnishd := program("varnishd"):
            succeeded, requests = asyncio.run(behind_varnish(varnishd, Path(folder)))
            print(f"Varnish, dead upstream: {requests} requests of 1000 calls (at most {MOST_REQUESTS})")
            passed &= requests <= MOST_REQUESTS and succeeded == 0
        else:
            print("varnishd: not installed")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
