"""
The gateway's server: real sockets, a log of every request that was really read, and scripted faults.

HTTP parsing is h11's; the connection is a plain asyncio stream, because resets, stalls and short bodies are out of an
application server's reach.
"""

import asyncio
import gzip
import hashlib
import json
import socket
import struct
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import h11

from runtime.openapi import Api

from .access import CONTROL, Access
from .dialects import DIALECTS, speak
from .documented import DocumentedService
from .faults import Fault, FaultScript
from .routes import Caller, Platform, Request, Response, caller_of

__all__ = ["DEFAULT_API_KEY", "DEFAULT_TOKENS", "Gateway", "RequestRecord"]

# Defaults of every gateway; they are valid at this stand-in alone.
DEFAULT_API_KEY = "moz_test_0123456789abcdefghijklmnopqrstuv"
DEFAULT_TOKENS = {"token-ada": "user_1", "token-grace": "user_2", "token-alan": "user_3"}

_SECRET_HEADERS = frozenset({"authorization", "x-mozaiks-app-key"})
_MAX_BODY = 1024 * 1024
_GZIP_FROM = 1024
_MAX_RECORDS = 100_000
_MAX_RECORDED_BYTES = 64 * 1024 * 1024


@dataclass(kw_only=True)
class RequestRecord:
    """
    One request that was read from a socket.

    Attributes:
        number: 1 for the first since start or reset.
        connection: Number of the connection it came on.
        at_s: Monotonic clock reading when it was complete.
        method: HTTP method.
        path: Raw path, still percent-encoded.
        query: Raw query.
        headers: Name (lower case) and value of each header, in order.
        body: The body.
        fault: Kind of the fault that was played on it; empty for none.
        status: Status of the response; None when none was sent.
        applied: Whether it changed the platform's state.
    """

    number: int
    connection: int
    at_s: float
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)
    fault: str = ""
    status: int | None = None
    applied: bool = False

    def header(self, name: str) -> str | None:
        """Value of a header; None when it was not sent."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    @property
    def size(self) -> int:
        """Bytes that were read, about."""
        return len(self.path) + len(self.query) + len(self.body) + sum(len(n) + len(v) for n, v in self.headers)

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object; credentials as a digest only."""
        shown = [
            (name, "sha256:" + hashlib.sha256(value.encode()).hexdigest()[:12] if name in _SECRET_HEADERS else value)
            for name, value in self.headers
        ]
        return {**self.__dict__, "headers": shown, "body": self.body.decode(errors="replace")}


class _Close(Exception):  # noqa: N818 - ends a connection, inside this module only
    """The connection has been dealt with and must not be used further."""


class Gateway:
    """
    A local stand-in for the platform on a loopback port.

    Args:
        api_key: The one accepted application key.
        tokens: Accepted user tokens and whose they are.
        host: Loopback address to listen on.
        port: Port to listen on; 0 picks a free one.
        dialect: How responses are written; one of `DIALECTS`.
        allow_hosts: Names that a request's Host may have in addition to those and the addresses of loopback.
        api: A document whose service it is, instead of the platform's services; it has no dialect.

    Attributes:
        requests: Every request read so far; of more than 100 000, or of more than 64 MiB, the newest.
        connections_opened: Connections accepted so far.
        connections_open: Connections open now.
        connections_peak: Most connections open at a time.
    """

    def __init__(
        self,
        api_key: str = DEFAULT_API_KEY,
        tokens: Mapping[str, str] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        dialect: str = "docs",
        allow_hosts: Iterable[str] = (),
        api: Api | None = None,
    ) -> None:
        if dialect not in DIALECTS:
            raise ValueError(f"dialect: must be one of {', '.join(DIALECTS)}, got {dialect!r}")
        self.dialect = dialect
        self.api_key = api_key
        self._access = Access(allow_hosts)
        self._tokens = dict(DEFAULT_TOKENS if tokens is None else tokens)
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._busy: set[asyncio.Task[Any]] = set()
        self._script = FaultScript()
        self.platform = Platform(self.api_key, self._tokens)
        self._documented = None if api is None else DocumentedService(api, self._caller)
        self.requests: list[RequestRecord] = []
        self._read = 0
        self._recorded_bytes = 0
        self.connections_opened = 0
        self.connections_open = 0
        self.connections_peak = 0

    @property
    def port(self) -> int:
        """Port the gateway listens on."""
        return self._port

    @property
    def url(self) -> str:
        """Base URL of the gateway."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """
        Listen.

        Raises:
            OSError: The port cannot be had.
        """
        self._server = await asyncio.start_server(self._connected, self._host, self._port, backlog=2048)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and end every connection, stalled ones included."""
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._busy)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        """Listen; `async with Gateway() as gateway:` stops it at the end of the block."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def script(self, *faults: Fault) -> None:
        """Play *faults* on coming requests, in this order."""
        self._script.add(faults)

    def clear_faults(self) -> None:
        """Respond normally from now on."""
        self._script.clear()

    def reset(self) -> None:
        """Forget log, faults and state; connections stay."""
        self._script.clear()
        self.platform = Platform(self.api_key, self._tokens)
        self.requests.clear()
        self._read = self._recorded_bytes = 0
        self.connections_peak = self.connections_open

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs this callback in a task
        self._busy.add(task)
        self.connections_opened += 1
        self.connections_open += 1
        self.connections_peak = max(self.connections_peak, self.connections_open)
        try:
            await self._serve(_Connection(reader, writer, self.connections_opened))
        except (_Close, ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            pass  # the connection is gone: nothing more can be sent
        finally:
            self.connections_open -= 1
            self._busy.discard(task)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _serve(self, connection: "_Connection") -> None:
        while True:
            request = await connection.read()
            if request is None:
                return
            record, parsed = self._log(connection.number, *request)
            refusal = self._access.refusal(parsed)
            if refusal is not None or parsed.path.startswith(CONTROL):
                await connection.send(refusal or self._control(parsed), parsed)
                continue
            self._record(record)
            await self._respond(connection, record, parsed)

    def _log(self, connection: int, head: h11.Request, body: bytes) -> tuple[RequestRecord, Request]:
        path, _, query = head.target.decode("ascii").partition("?")
        headers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in head.headers]
        method = head.method.decode("ascii")
        record = RequestRecord(
            number=self._read + 1,
            connection=connection,
            at_s=time.monotonic(),
            method=method,
            path=path,
            query=query,
            headers=headers,
            body=body,
        )
        return record, Request(method=method, path=path, query=query, headers=dict(headers), body=body)

    def _record(self, record: RequestRecord) -> None:
        self._read += 1
        self.requests.append(record)
        self._recorded_bytes += record.size
        while len(self.requests) > _MAX_RECORDS or self._recorded_bytes > _MAX_RECORDED_BYTES:
            self._recorded_bytes -= self.requests.pop(0).size

    async def _respond(self, connection: "_Connection", record: RequestRecord, request: Request) -> None:
        fault = self._script.take(request.method, request.path)
        if fault is None:
            await self._respond_normally(connection, record, request)
            return
        record.fault = fault.kind
        if fault.kind == "latency":
            await asyncio.sleep(fault.seconds)
            await self._respond_normally(connection, record, request)
            return
        if fault.kind in {"short_body", "drip", "close_idle"}:
            response = self._apply(record, request)
            record.status = response.status
            await getattr(connection, fault.kind)(response, request, fault)
            return
        if fault.applied:
            self._apply(record, request)
        if fault.kind == "status":
            record.status = fault.status
            await connection.send_scripted(fault, request)
        else:
            await getattr(connection, fault.kind)()

    def respond(self, request: Request) -> Response:
        """Apply *request* and return the response in the gateway's dialect, without a socket, a fault or a record."""
        if len(request.body) > _MAX_BODY:
            return Response(status=413, document={"message": "Request body too large."})
        if self._documented is not None:
            return self._documented.respond(request)
        response = self.platform.respond(request)
        status, document = speak(self.dialect, request.path, response.status, response.document)
        return replace(response, status=status, document=document)

    def _caller(self, request: Request) -> Caller | None:
        return caller_of(request, self.api_key, self._tokens)

    def _apply(self, record: RequestRecord, request: Request) -> Response:
        response = self.respond(request)
        record.applied = response.changed
        return response

    async def _respond_normally(self, connection: "_Connection", record: RequestRecord, request: Request) -> None:
        response = self._apply(record, request)
        record.status = response.status
        await connection.send(response, request)

    def _control(self, request: Request) -> Response:  # noqa: PLR0911 - one return per endpoint
        """Serve another process: the log, the counters, the faults."""
        what = request.path.removeprefix(CONTROL)
        if (request.method, what) == ("GET", "requests"):
            return Response(document=[record.to_json() for record in self.requests])
        if (request.method, what) == ("GET", "stats"):
            opened, still_open, peak = self.connections_opened, self.connections_open, self.connections_peak
            return Response(document={"requests": self._read, "opened": opened, "open": still_open, "peak": peak})
        if (request.method, what) == ("POST", "faults"):
            try:
                faults = [Fault.from_json(entry) for entry in json.loads(request.body)]
            except (ValueError, TypeError) as error:
                return Response(status=400, document={"error": str(error)})
            self.script(*faults)
            return Response(document={"scripted": len(faults)})
        if (request.method, what) == ("DELETE", "faults"):
            self.clear_faults()
            return Response(document={})
        if (request.method, what) == ("POST", "reset"):
            self.reset()
            return Response(document={})
        return Response(status=404, document={"error": "NotFound"})


class _Connection:
    """One connection: requests in, responses and faults out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)
        self.number = number

    async def read(self) -> tuple[h11.Request, bytes] | None:
        """Read one whole request; None when the client is gone."""
        if self._http.our_state is h11.MUST_CLOSE or self._http.our_state is h11.CLOSED:
            return None
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(65536))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                if len(body) <= _MAX_BODY:
                    body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return head, bytes(body)
            else:
                return None

    async def send(self, response: Response, request: Request) -> None:
        """Send a normal response."""
        head, body = self._encode(response, request)
        await self._write(self._http.send(head), self._http.send(h11.Data(data=body)), self._end())

    async def send_scripted(self, fault: Fault, request: Request) -> None:
        """Send the response that a `status` fault asks for."""
        headers = {**fault.headers, **({"retry-after": fault.retry_after} if fault.retry_after else {})}
        head = self._head(fault.status, fault.content_type if fault.body else "", fault.body.encode(), headers, request)
        await self._write(self._http.send(head), self._http.send(h11.Data(data=fault.body.encode())), self._end())

    async def short_body(self, response: Response, request: Request, _fault: Fault) -> None:
        """Promise the whole body, send half of it, close."""
        head, body = self._encode(response, request)
        await self._write(self._http.send(head), body[: len(body) // 2])
        raise _Close

    async def drip(self, response: Response, request: Request, fault: Fault) -> None:
        """Send the body one byte at a time."""
        head, body = self._encode(response, request)
        await self._write(self._http.send(head))
        for index in range(len(body)):
            await asyncio.sleep(fault.seconds)
            await self._write(self._http.send(h11.Data(data=body[index : index + 1])))
        await self._write(self._end())

    async def close_idle(self, response: Response, request: Request, _fault: Fault) -> None:
        """Respond as if the connection were kept, then close it."""
        await self.send(response, request)
        raise _Close

    async def stall(self) -> None:
        """Say nothing until the client goes."""
        while await self._reader.read(65536):
            pass
        raise _Close

    async def reset(self) -> None:
        """Reset the connection: with SO_LINGER at 0, closing sends RST instead of FIN."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        raise _Close

    async def garbage(self) -> None:
        """Send bytes that are not HTTP."""
        await self._write(b"\x15\x03\x01\x00\x02\x02\x28 this is not HTTP\r\n\r\n")
        raise _Close

    def _encode(self, response: Response, request: Request) -> tuple[h11.Response, bytes]:
        body, headers = response.body(), dict(response.headers)
        if len(body) >= _GZIP_FROM and "gzip" in request.headers.get("accept-encoding", ""):
            body = gzip.compress(body)
            headers["content-encoding"] = "gzip"
        return self._head(response.status, response.content_type if body else "", body, headers, request), body

    def _head(
        self, status: int, content_type: str, body: bytes, headers: Mapping[str, str], request: Request
    ) -> h11.Response:
        echoed = request.headers.get("x-correlation-id", "").strip() or str(uuid.uuid4())
        echoed = headers.get("x-correlation-id", echoed)  # a fault may name another call's
        pairs: Iterable[tuple[str, str]] = (
            *((name, value) for name, value in headers.items() if name != "x-correlation-id"),
            *((("content-type", content_type),) if content_type else ()),
            ("content-length", str(len(body))),
            ("x-correlation-id", echoed),
            ("x-content-type-options", "nosniff"),
            ("x-mozaiks-runtime-version", "1.0.0"),
        )
        if status == 204:  # noqa: PLR2004 - RFC 9110 section 8.6: no Content-Length
            pairs = [pair for pair in pairs if pair[0] != "content-length"]
        return h11.Response(status_code=status, headers=list(pairs))

    def _end(self) -> bytes:
        return self._http.send(h11.EndOfMessage()) or b""

    async def _write(self, *pieces: bytes | None) -> None:
        self._writer.write(b"".join(piece for piece in pieces if piece))
        await self._writer.drain()
