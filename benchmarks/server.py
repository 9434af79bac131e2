"""
The other end of every benchmark: a small HTTP server in a process of its own, on loopback.

`GET /…` responds with 1 kB of JSON, `/large` with 100 kB. `/barrier/N` responds once N requests wait there, so that N
connections are open; `/hang` never responds; `/slow` does after 20 ms; `/drip` sends a byte every 50 ms for ever,
`/flood` 200 MB, `/bomb` a gzip of 500 MB; `POST /effect/ID` counts an effect. `/__stats__` reports what was read. With
`--faults`, that share of the other requests meets trouble: resets, closed connections, short bodies, garbage, 503.
"""

import argparse
import asyncio
import gzip
import json
import os
import random
import socket
import ssl
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BODY = json.dumps(
    {
        "items": [
            {"id": f"item-{n:04d}", "name": "A name of usual length", "status": "active", "createdAt": "2026-11-24"}
            for n in range(10)
        ]
    }
).encode()
LARGE = 1000
LARGE_BODY = json.dumps(
    {"items": [{"id": f"item-{n:04d}", "name": "A name of usual length", "text": "x" * 40} for n in range(LARGE)]}
).encode()
FAULTS = ("reset", "close", "short_body", "garbage", "unavailable", "pause", "close_idle")


def response(body: bytes, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


OK = response(BODY)
OK_LARGE = response(LARGE_BODY)


class Platform:
    """What all connections share."""

    def __init__(self, faults: float, seed: int) -> None:
        self.faults = faults
        self.random = random.Random(seed)
        self.open = 0
        self.peak = 0
        self.requests = 0
        self.hanging = 0
        self.barrier: list[Connection] = []
        self.held = 0
        self.effects: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.met: Counter[str] = Counter()

    def stats(self) -> dict[str, object]:
        return {
            "open": self.open,
            "peak": self.peak,
            "requests": self.requests,
            "hanging": self.hanging,
            "held": self.held,
            "effects": self.effects,
            "attempts": self.attempts,
            "faults": self.met,
        }


class Connection(asyncio.Protocol):
    """One connection; requests with a body carry Content-Length."""

    transport: asyncio.Transport

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.received = b""
        self.hangs = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # asyncio's promise for TCP
        self.platform.open += 1
        self.platform.peak = max(self.platform.peak, self.platform.open)

    def connection_lost(self, _error: Exception | None) -> None:
        self.platform.open -= 1
        self.platform.hanging -= self.hangs

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, rest = self.received.partition(b"\r\n\r\n")
            length = 0
            if not head.startswith(b"GET"):
                for line in head.split(b"\r\n"):
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
            if len(rest) < length:
                return
            self.received = rest[length:]
            self.respond(head)

    def respond(self, head: bytes) -> None:
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        if target == "/__stats__":
            self.transport.write(response(json.dumps(self.platform.stats()).encode()))
            return
        self.platform.requests += 1
        for line in head.split(b"\r\n") if self.platform.faults else ():  # else its statistics would grow for nothing
            if line.lower().startswith(b"x-correlation-id:"):
                self.platform.attempts[line.split(b":")[1].strip().decode()] += 1
        if target.startswith("/barrier/"):
            self.wait_at_barrier(int(target.rsplit("/", 1)[1]))
        elif target.startswith("/hang"):
            self.hangs = True
            self.platform.hanging += 1
        elif target.startswith("/drip"):
            self.transport.write(OK[: -len(BODY)])
            self.drip()
        elif target.startswith(("/flood", "/bomb")):
            self.flood(target)
        elif target.startswith("/slow"):
            asyncio.get_running_loop().call_later(0.02, self.transport.write, OK)
        elif self.platform.random.random() < self.platform.faults:
            self.trouble(method, target)
        else:
            self.take_effect(method, target)
            self.transport.write(OK_LARGE if target == "/large" else OK)

    def drip(self) -> None:
        """One byte of the body every 50 ms, for as long as somebody listens."""
        if not self.transport.is_closing():
            self.transport.write(b"x")
            asyncio.get_running_loop().call_later(0.05, self.drip)

    def flood(self, target: str) -> None:
        """200 MB as they are, or 500 MB out of a small gzip."""
        if target.startswith("/bomb"):
            bomb = gzip.compress(bytes(500 * 2**20), compresslevel=1)
            head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(bomb)}\r\n\r\n"
            self.transport.write(head.encode() + bomb)
        else:
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 209715200\r\n\r\n")
            self.transport.write(bytes(200 * 2**20))

    def wait_at_barrier(self, parties: int) -> None:
        waiting = self.platform.barrier = [one for one in self.platform.barrier if not one.transport.is_closing()]
        waiting.append(self)
        if len(waiting) >= parties:
            self.platform.held = len({id(connection) for connection in waiting})
            for connection in waiting:
                connection.transport.write(OK)
            waiting.clear()

    def take_effect(self, method: str, target: str) -> None:
        if method == "POST":
            self.platform.effects[target.rsplit("/", 1)[1]] += 1

    def trouble(self, method: str, target: str) -> None:
        kind = self.platform.random.choice(FAULTS)
        self.platform.met[kind] += 1
        # Half of the lost responses are lost after the effect.
        if kind in {"short_body", "pause", "close_idle"} or (
            kind in {"reset", "close", "garbage"} and self.platform.random.random() < 0.5
        ):
            self.take_effect(method, target)
        loop = asyncio.get_running_loop()
        if kind == "reset":
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        elif kind == "close":
            self.transport.close()
        elif kind == "short_body":
            self.transport.write(OK[:-20])
            self.transport.close()
        elif kind == "garbage":
            self.transport.write(b"\x15\x03\x01 this is not HTTP\r\n\r\n")
            self.transport.close()
        elif kind == "unavailable":
            self.transport.write(response(b"{}", "503 Service Unavailable"))
        elif kind == "pause":
            loop.call_later(0.1, self.transport.write, OK)
        else:
            self.transport.write(OK)
            self.transport.close()


@contextmanager
def running(*options: str) -> Iterator[str]:
    """Run the server in a process of its own and give its URL."""
    command = [sys.executable, str(Path(__file__)), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own file
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", metavar="PEM", help="certificate and key")
    parser.add_argument("--core", type=int, help="run on this core alone")
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    tls = None
    if arguments.tls:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(arguments.tls)
    platform = Platform(arguments.faults, arguments.seed)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(platform), "127.0.0.1", arguments.port, ssl=tls, backlog=8192)
    scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
    print(f"{scheme}://{host}:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
