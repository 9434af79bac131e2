"""A server that does exactly what a test says, byte for byte, on a real socket; what it read is the truth."""

import asyncio
import socket
import ssl
import struct
from dataclasses import dataclass, field


@dataclass
class Seen:
    """One whole request that was read."""

    connection: int
    method: str
    target: str
    headers: dict
    body: bytes

    @property
    def attempt(self):
        return self.headers.get("x-attempt")


@dataclass
class Peer:
    """One accepted connection."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self):
        """Read one request; None at the end."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, target, _ = first.split(" ")
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Seen(self.number, method, target, headers, body)

    async def write(self, *pieces):
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def gone(self):
        """Wait until the client has closed."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass

    def reset(self):
        """Close with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def ok(body=b"{}", *headers, status=b"200 OK"):
    lines = [b"HTTP/1.1 " + status, b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class RawServer:
    """
    Responds to each request with what `answer(seen)` returns, or lets `serve(peer, seen)` do as it likes.

    `serve` returns True to go on with the connection; `accept(peer)` runs before the first request.
    """

    def __init__(self, answer=None, *, serve=None, accept=None, tls=None):
        self._answer = answer or (lambda _seen: ok())
        self._serve = serve
        self._accept = accept
        self._tls = tls
        self._tasks = set()
        self.requests = []
        self.peers = []

    @property
    def open(self):
        return sum(not peer.closed.is_set() for peer in self.peers)

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://localhost:{self.port}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader, writer):
        peer = Peer(len(self.peers) + 1, reader, writer)
        self.peers.append(peer)
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            if self._accept is not None and not await self._accept(peer):
                return
            while (seen := await peer.read()) is not None:
                self.requests.append(seen)
                if self._serve is None:
                    await peer.write(self._answer(seen))
                elif not await self._serve(peer, seen):
                    return
        except (ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            peer.closed.set()
            self._tasks.discard(task)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()
