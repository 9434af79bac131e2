"""The server behind the gateways: does what the path says, and its log is the truth."""

import asyncio
import json
import socket
import struct
from collections import Counter
from dataclasses import dataclass

LARGEST_HEAD = 1 << 20
CUTS = ("no byte", "fin", "rst", "no last chunk", "close-delimited rst")
DOCUMENT = json.dumps({"items": ["x" * 90 for _ in range(10)]}).encode()


@dataclass
class Seen:
    """One request that was read, to the end of its head at least."""

    method: str
    target: str
    headers: dict
    body: bytes

    @property
    def who(self):
        """The first segment of the path: the transport that sent it."""
        return self.target.split("/")[1]


class Upstream:
    """
    Each path begins with a segment of the sender's own; the next one says what to do.

    `cut/KIND`, `slow/MS`, `head/BYTES`, `body/BYTES`, `early`, `interim`, `fail/STATUS`,
    `read`, `write`; any other gets `{}`.
    """

    def __init__(self):
        self.requests = []
        self.writes = Counter()
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=LARGEST_HEAD, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close_listener(self):
        """Refuse connections from now on, and end those that are open."""
        self._server.close()
        for task in self._tasks:
            task.cancel()

    def of(self, who):
        """What *who* sent."""
        return [seen for seen in self.requests if seen.who == who]

    async def _connected(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            while await self._serve(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, target, _ = first.split(" ")
        steps = target.partition("?")[0].split("/")[2:]
        if steps[:1] == ["early"]:
            self.requests.append(Seen(method, target, headers, b""))
            await self._send(
                writer, b'{"title": "too large", "status": 413}', b"HTTP/1.1 413 Too Large", "connection: close"
            )
            await asyncio.sleep(0.2)
            return False
        body = await self._body(reader, headers)
        if target != "/ready":
            self.requests.append(Seen(method, target, headers, body))
        return await self._respond(writer, steps, body)

    async def _body(self, reader, headers):
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return await reader.readexactly(int(headers.get("content-length", 0)))
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return body

    async def _respond(self, writer, steps, body):
        what, value = [*steps, "", ""][:2]
        if what == "cut":
            await self._cut(writer, CUTS[int(value)])
            return False
        if what == "slow":
            await asyncio.sleep(int(value) / 1000)
        if what == "write":
            self.writes[json.loads(body)["id"]] += 1
            await asyncio.sleep(0.03)
        if what == "read":
            await asyncio.sleep(0.03)
        if what == "interim":
            writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n")
        fields = ["x-large: " + "h" * 1000] * (int(value) // 1000) if what == "head" else []
        if what == "fail":
            await self._send(writer, b"{}", f"HTTP/1.1 {value} Failed".encode())
            return True
        response = json.dumps({"text": "é\u2028\x00" * (int(value) // 8)}).encode() if what == "body" else b"{}"
        await self._send(writer, response, b"HTTP/1.1 200 OK", *fields)
        return True

    async def _send(self, writer, body, status, *fields):
        lines = ["content-type: application/json", f"content-length: {len(body)}", *fields]
        writer.write(status + b"\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    async def _cut(self, writer, kind):
        part = DOCUMENT[:400]
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        if kind in {"fin", "rst"}:
            writer.write(head + b"content-length: %d\r\n\r\n" % len(DOCUMENT) + part)
        elif kind == "no last chunk":
            writer.write(head + b"transfer-encoding: chunked\r\n\r\n190\r\n" + part + b"\r\n")
        elif kind == "close-delimited rst":
            writer.write(head + b"connection: close\r\n\r\n" + part)
        if "rst" in kind:
            await writer.drain()
            await asyncio.sleep(0.05)
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
