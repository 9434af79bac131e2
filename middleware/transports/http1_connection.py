"""
One HTTP/1.1 connection of ours: what is written, when, and which bytes are its response.

A library parses (`parser.py`), `framing.py` says where the response ends, and this waits for the bytes. There is no
stream and no task between the socket and the attempt that waits for it.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from middleware.types import PlatformRequest

from .framing import FINAL, BodyFraming, RemoteProtocolError, check_head, find_head
from .parser import Parser
from .response_reader import head_too_large
from .stream import ConnectError, Stream

__all__ = ["Http1Connection", "ReadError"]


class ReadError(OSError):
    """The connection broke before the end of the response."""


class Http1Connection(Stream):
    """
    One connection, for one exchange after another.

    Args:
        by_tls: Whether a TLS handshake comes before the first byte of a request.
        ends_at: Clock reading from which on it must not be used again.

    Attributes:
        ends_at: As above.
        idle_since: Clock reading of its last response's end.
        idle_limit_s: For how long the server lets it be idle.
        is_new: It has carried no request yet.
    """

    idle_since: float
    idle_limit_s: float

    def __init__(self, *, by_tls: bool, ends_at: float) -> None:
        super().__init__(by_tls=by_tls)
        self.ends_at = ends_at
        self.is_new = True
        self._parser: Parser | None = None
        self._body: BodyFraming | None = None

    async def exchange(
        self, request: PlatformRequest, wire: bytes, parser: Parser, max_header_bytes: int
    ) -> tuple[int, list[tuple[bytes, bytes]]]:
        """
        Send *request* as *wire*, and return status and fields of its final response.

        From the first byte on, it may have been sent.

        Raises:
            ConnectError: The connection is closed, or the peer sent bytes that no request has asked for.
            ReadError: The connection broke.
            RemoteProtocolError: The response is malformed, its framing not sound, or it ended before its head did.
            ResponseTooLargeError: Its head exceeds its bound, interim responses included.
        """
        if self._received or (self.is_new and await self._peer_spoke_first()):
            raise ConnectError("the peer sent bytes before the request")
        transport = self._transport
        if transport is None or self._is_gone:
            if transport is not None and not (self._ended or self._aborted):
                await self._wait()  # it is closing: for why
            raise ConnectError("connection closed") from self._error
        self._body = None
        request.attempt.request_sent = "maybe"
        # All at once: from its own buffer asyncio writes after it has read. A write of another piece to a connection
        # that the peer has reset would discard the response.
        transport.write(wire)
        left, searched = max_header_bytes, 0
        while True:
            data = self._received
            end = find_head(data, searched) if data else 0
            if (end or len(data)) > left:
                raise head_too_large(max_header_bytes)
            if not end:
                searched = len(data)
                await self._more()
                continue
            head, self._received = data[:end], data[end:]
            left, searched = left - end, 0
            status = check_head(head)
            fields = parser.head(head)
            if len(fields) != head.count(b"\n") - 2:
                raise RemoteProtocolError("fields and lines differ in number")
            # Of an interim response too, which must not have a length: parsers differ about one there.
            body = BodyFraming(request.method, status, head, max_header_bytes)
            if status >= FINAL:
                self._body, self._parser = body, parser if body.is_chunked else None
                return status, fields

    def whole_body(self) -> bytes | None:
        """
        Return the body of the response whose head `exchange` has read, where all of it is here; else None.

        Chunks are left to `pieces`, since there may be many.
        """
        body = self._body
        assert body is not None  # noqa: S101 - `exchange` comes before
        if body.is_over:
            return b""
        if body.length is not None and len(self._received) >= body.length:
            return self._take(body)
        return None

    async def pieces(self) -> AsyncIterator[bytes]:
        """
        Yield the body's bytes as they come, chunks decoded.

        Raises:
            ReadError: The connection broke.
            RemoteProtocolError: It ended before the body did, or the chunks are malformed.
        """
        body = self._body
        assert body is not None  # noqa: S101 - `exchange` comes before
        ends_itself = body.is_chunked or body.length is not None
        while not body.is_over:
            before = len(self._received)
            piece = self._take(body)
            if piece:
                yield piece
            if len(self._received) == before:  # nothing was taken
                if not ends_itself and self._ended and self._error is None:
                    return
                await self._more()
            elif self._received and not body.is_over:
                await asyncio.sleep(0)  # many chunks: lets other tasks run

    def _take(self, body: BodyFraming) -> bytes:
        """Take from what has arrived what belongs to *body*, and return its data."""
        data = self._received
        end = body.take(data)
        taken = data if end == len(data) else data[:end]
        self._received = b"" if end == len(data) else data[end:]
        if self._paused_reading:
            self._resume()
        if not body.is_chunked or not taken:
            return taken
        parser = self._parser
        assert parser is not None  # noqa: S101 - as above
        if body.is_over:
            self._parser = None
        piece = parser.chunks(taken)
        body.decoded(len(piece))
        return piece

    def _more(self) -> asyncio.Future[None]:
        """
        Return what is done when more has arrived, or the connection is over.

        Raises:
            ReadError: It has broken already.
            RemoteProtocolError: It has ended already.
        """
        if self._error is not None:
            raise ReadError(str(self._error)) from self._error
        if self._ended or self._aborted:
            raise RemoteProtocolError("the connection ended before the response")
        # Where it is closing, for why. A coroutine would be one more frame, as `_wait` is.
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    @property
    def is_reusable(self) -> bool:
        """True after a response that ended cleanly."""
        body, transport = self._body, self._transport
        return (
            body is not None
            and body.is_over
            and body.may_keep
            and not self._received
            and transport is not None
            and not self._is_gone
            and not transport.get_write_buffer_size()  # else the response came before the end of the request
        )

    def get_extra_info(self, name: str) -> Any:
        """Return what asyncio knows about the connection under *name*."""
        return None if self._transport is None else self._transport.get_extra_info(name)
