"""
Reads a response within the limits of the settings: its head, its body, and a bounded wait for the body of an error.

A transport sends one attempt and passes what arrives to `receive`, whatever the HTTP library.
"""

import asyncio
import ssl
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from middleware._internal.time_limit import Progress, TimeLimit
from middleware.errors import CallError, DecodeError, ResponseLostError, ResponseTooLargeError
from middleware.redaction import redact
from middleware.types import PlatformRequest

from .transport_settings import TransportSettings

__all__ = [
    "ERROR_BODY_WAIT_S",
    "SUCCESS",
    "Received",
    "check_headers",
    "head_too_large",
    "read_body",
    "receive",
    "receive_body",
    "receive_head",
]

SUCCESS = range(200, 300)
"""The statuses of success (RFC 9110 section 15.3)."""

ERROR_BODY_WAIT_S = 1.0
"""
Longest wait, in seconds after the head, for the body of any status but 2xx.

The status alone decides the outcome of the call; the body only explains it.
"""

# One step of zlib takes less than 1 ms. Both bounds are needed: 64 kB can inflate to 64 MB, and 64 kB of empty blocks,
# which inflate to nothing, take 10 ms.
_STEP_IN = 8 * 1024
_STEP_OUT = 64 * 1024
_MEMBER_COST = 1024  # of setting zlib up, in bytes that inflate in the same time
_WORK_PER_LOOP_ITERATION = 64 * 1024  # equivalent: `64 / 1024`: the loop runs others more often

_PIECES_PER_LOOP_ITERATION = 256  # a parser takes up to 60 µs for each, however small it is

_PARTIAL = 64 * 1024  # bytes used of an error's body that is not complete
_MARGIN_SHARE, _MARGIN_S = 0.1, 0.02  # see `receive`
_BODY_ITERATIONS = 8  # R45: the limits of attempt and call, which may end in the same moment, allow more
_GZIP = b"\x1f\x8b"
_PARTIAL_CONTENT = 206
_WITHOUT_BODY = frozenset({204, 205})  # RFC 9110 sections 15.3.5 and 15.3.6
_HIDDEN_HEADERS = frozenset({"set-cookie", "www-authenticate", "authorization"})


def check_headers(
    request: PlatformRequest, raw: Iterable[tuple[bytes, bytes]], config: TransportSettings
) -> dict[str, str]:
    """
    Return the headers by lower-case name, repeated ones joined, without those that carry secrets.

    Raises:
        CallError: The response is not one to *request*; see `PlatformRequest.check_head`.
        ResponseTooLargeError: The headers exceed the limit.
    """
    headers: dict[str, str] = {}
    repeated: dict[str, list[str]] = {}
    size = 0
    for name, value in raw:
        size += len(name) + len(value) + 4  # ": " and CRLF
        key = name.decode("latin-1").lower()  # equivalent: another name of the same codec
        if key not in _HIDDEN_HEADERS:
            text = value.decode("latin-1")  # equivalent: another name of the same codec
            if key in headers:
                repeated.setdefault(key, [headers[key]]).append(text)
            else:
                headers[key] = text
    for key, texts in repeated.items():  # once, at the end: joining one by one takes quadratic time
        headers[key] = ", ".join(texts)
    if request.check_head is not None:
        request.check_head(request, headers)  # R53: first, since nothing of another call's response may be used
    if size > config.max_header_bytes:
        raise head_too_large(config.max_header_bytes)
    return headers


def head_too_large(max_header_bytes: int) -> ResponseTooLargeError:
    """Make the error for a head that exceeds the limit."""
    return ResponseTooLargeError(f"response head larger than {max_header_bytes} bytes", request_sent="yes")


class Received(NamedTuple):
    """
    A response as read from the connection.

    Attributes:
        status: HTTP status.
        headers: As `check_headers` returns them.
        body: Decompressed.
        is_complete: False when only the beginning of an error's body could be read: the connection cannot be reused.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    is_complete: bool


async def receive(
    request: PlatformRequest,
    status: int,
    raw_headers: Iterable[tuple[bytes, bytes]],
    pieces: AsyncIterable[bytes],
    *,
    config: TransportSettings,
    now: Callable[[], float],
    lost: tuple[type[Exception], ...],
    extra_info: Callable[[str], Any],
) -> Received:
    """
    Read the response to *request*, whose head has arrived.

    The body of a 2xx must be readable. Any other status decides the outcome without its body: at most
    `ERROR_BODY_WAIT_S` is spent on it, and what could be read of it is used.

    Args:
        request: The request that it responds to.
        status: HTTP status.
        raw_headers: Headers as the library returns them.
        pieces: The raw body.
        config: The settings.
        now: Source of time.
        lost: The library's exceptions for a body that is not complete.
        extra_info: Returns facts about the connection by their names of `asyncio.BaseTransport.get_extra_info`.

    Raises:
        ResponseTooLargeError: The headers, or the body of a 2xx, exceed the limit.
        DecodeError: The body of a 2xx cannot be decompressed.
        ResponseLostError: The body of a 2xx is incomplete.
        Exception: One of *lost*, for the body of a 2xx.
    """
    headers = receive_head(request, status, raw_headers, config)
    return await receive_body(
        request, status, headers, pieces, config=config, now=now, lost=lost, extra_info=extra_info
    )


def receive_head(
    request: PlatformRequest, status: int, raw_headers: Iterable[tuple[bytes, bytes]], config: TransportSettings
) -> dict[str, str]:
    """
    Note that the response to *request* has begun, and return its headers as `check_headers` does.

    Raises:
        CallError: As `check_headers`.
        ResponseTooLargeError: As `check_headers`.
    """
    attempt = request.attempt
    attempt.request_sent, attempt.status = "yes", status
    request.call.pieces_read += 1
    return check_headers(request, raw_headers, config)


async def receive_body(
    request: PlatformRequest,
    status: int,
    headers: dict[str, str],
    pieces: AsyncIterable[bytes] | bytes,
    *,
    config: TransportSettings,
    now: Callable[[], float],
    lost: tuple[type[Exception], ...],
    extra_info: Callable[[str], Any],
) -> Received:
    """
    Read the body of a response as `receive` does.

    Args:
        request: As there.
        status: As there.
        headers: As `receive_head` returns them.
        pieces: The raw body; bytes where all of it is here.
        config: As there.
        now: As there.
        lost: As there.
        extra_info: As there.

    Raises:
        ResponseTooLargeError: The body of a 2xx exceeds the limit.
        DecodeError: As `receive`.
        ResponseLostError: As `receive`.
        Exception: One of *lost*, for the body of a 2xx.
    """
    if status == _PARTIAL_CONTENT and "range" not in request.headers:  # RFC 9110 section 15.3.7
        raise ResponseLostError("206 response: part of a document that was asked for whole", request_sent="yes")
    if status in SUCCESS:
        if "content-length" not in headers and _ends_with_its_connection(request, status, headers):
            # Before the end, when the connection may know them no longer. A mock transport has none, and no end of it.
            tls, has_end = extra_info("ssl_object"), extra_info("socket") is not None
            body = await read_body(pieces, headers, config, progress=request.call)
            if has_end:
                _check_end(body, headers, tls)
        else:
            body = await read_body(pieces, headers, config, progress=request.call)
        return Received(status, headers, body, is_complete=True)
    left_s = min(request.attempt.ends_at, request.call.deadline_at) - now()
    # Ends with a margin before the timeouts of attempt and call, which would replace the status by a timeout.
    wait_s = max(0.0, min(ERROR_BODY_WAIT_S, left_s * (1 - _MARGIN_SHARE), left_s - _MARGIN_S))
    found: list[bytes] = []
    with TimeLimit(wait_s, request.call, _BODY_ITERATIONS), suppress(CallError, *lost):  # R42
        body = await read_body(pieces, headers, config, found, request.call)
        return Received(status, headers, body, is_complete=True)
    return Received(status, headers, b"".join(found)[:_PARTIAL], is_complete=False)


def _ends_with_its_connection(request: PlatformRequest, status: int, headers: Mapping[str, str]) -> bool:
    """Return whether, without a length, the end of the connection ends the body too (RFC 9112 section 6.3)."""
    return "transfer-encoding" not in headers and status not in _WITHOUT_BODY and request.method != "HEAD"


def _check_end(body: bytes, headers: Mapping[str, str], tls: ssl.SSLObject | None) -> None:
    """
    Check a body that ended with its connection.

    Raises:
        ResponseLostError: The TLS connection ended without `close_notify`, so the peer did not end it (RFC 9112 section
            9.8); or nothing came of a JSON document, which is never empty.
    """
    if tls is not None and not _is_closed_by_peer(tls):
        reason = "the TLS connection ended without close_notify"
    elif not body and "json" in headers.get("content-type", "").lower():
        reason = "the connection ended before its body"
    else:
        return
    raise ResponseLostError(f"response incomplete: {reason}", request_sent="yes")


def _is_closed_by_peer(tls: ssl.SSLObject) -> bool:
    """Return whether `close_notify` came: only then there is an end to read."""
    try:
        return not tls.read(1)
    except ssl.SSLZeroReturnError:
        return True
    except ssl.SSLError:
        return False


async def read_body(
    pieces: AsyncIterable[bytes] | bytes,
    headers: Mapping[str, str],
    config: TransportSettings,
    found: list[bytes] | None = None,
    progress: Progress | None = None,
) -> bytes:
    """
    Read a raw body and inflate it in bounded pieces.

    Args:
        pieces: The raw body; bytes where all of it is here.
        headers: As `check_headers` returns them.
        config: The settings.
        found: Collects the decompressed pieces, for a caller that can use an incomplete body.
        progress: Counts the pieces read.

    Raises:
        ResponseTooLargeError: It exceeds the limit, as sent or decompressed.
        DecodeError: Its encoding is unsupported, or its compressed data corrupt or followed by other bytes.
        ResponseLostError: Its compressed data is incomplete.
    """
    limit = config.max_response_bytes
    encoding = headers.get("content-encoding")
    inflater = _inflater(encoding) if encoding else None
    if isinstance(pieces, bytes):
        if inflater is None and len(pieces) <= limit:
            return pieces
        pieces = _one(pieces)
    found = [] if found is None else found
    await _read_pieces(pieces, inflater, limit, found, progress)
    if inflater is not None and not inflater.is_complete:
        raise ResponseLostError("content-encoding: compressed data is incomplete", request_sent="yes")
    return b"".join(found)


async def _one(piece: bytes) -> AsyncGenerator[bytes, None]:
    yield piece


async def _read_pieces(
    pieces: AsyncIterable[bytes],
    inflater: "_Inflater | None",
    limit: int,
    found: list[bytes],
    progress: Progress | None,
) -> None:
    sent = size = count = 0
    source = aiter(pieces)
    try:
        async for raw in source:
            sent += len(raw)
            count += 1
            if count % _PIECES_PER_LOOP_ITERATION == 0:
                await asyncio.sleep(0)  # lets other tasks run
            if progress is not None:
                progress.pieces_read += 1
            for piece in (raw,) if inflater is None else inflater.inflate(raw):
                size += len(piece)
                found.append(piece)
                if max(sent, size) > limit:
                    raise ResponseTooLargeError(f"response larger than {limit} bytes", request_sent="yes")
                if inflater is not None and inflater.work >= _WORK_PER_LOOP_ITERATION:
                    inflater.work = 0
                    await asyncio.sleep(0)  # lets other tasks run
    except CallError:
        if isinstance(source, AsyncGenerator):
            await source.aclose()  # now, instead of in a task that the garbage collector starts
        raise


def _inflater(encoding: str) -> "_Inflater | None":
    """
    Return the inflater for a body; None for one that is not compressed.

    Raises:
        DecodeError: The encoding is unsupported.
    """
    names = [name.strip().lower() for name in encoding.split(",") if name.strip()]
    if names in ([], ["identity"]):
        return None
    if names not in (["gzip"], ["x-gzip"], ["deflate"]):
        raise DecodeError(f"unsupported content-encoding: {redact(encoding, limit=40)}", request_sent="yes")
    return _Inflater()


class _Inflater:
    """
    Inflates gzip, all members of it (RFC 1952 section 2.2), or zlib, in steps of bounded input and output.

    Attributes:
        work: Cost of the steps so far, in bytes; the reader resets it when it lets other tasks run.
    """

    def __init__(self) -> None:
        self.work = 0
        self._zlib = zlib.decompressobj(47)  # 32: gzip or zlib, by the header; 15: with the largest window
        self._format = b""

    @property
    def is_complete(self) -> bool:
        """True when nothing is missing; an empty body is complete."""
        return self._zlib.eof or not self._format

    def inflate(self, raw: bytes) -> Iterator[bytes]:
        """
        Inflate the next *raw* bytes, at most 64 kB at a time.

        Raises:
            DecodeError: They are not valid in the encoding.
        """
        self._format = self._format or raw[:1]
        for at in range(0, len(raw), _STEP_IN):
            rest = raw[at : at + _STEP_IN]
            while rest:
                if self._zlib.eof:
                    self._begin_member(rest)
                yield self._step(rest)
                rest = self._zlib.unconsumed_tail or self._zlib.unused_data

    def _begin_member(self, rest: bytes) -> None:
        if self._format != b"\x1f" or not _GZIP.startswith(rest[:2]):  # zlib has no members
            raise DecodeError("content-encoding: compressed data is followed by other bytes", request_sent="yes")
        self._zlib = zlib.decompressobj(31)  # 16: gzip
        self.work += _MEMBER_COST

    def _step(self, data: bytes) -> bytes:
        try:
            piece = self._zlib.decompress(data, _STEP_OUT)
        except zlib.error:
            pass
        else:
            self.work += max(len(data) * (_STEP_OUT // _STEP_IN), len(piece))
            return piece
        raise DecodeError("content-encoding: compressed data is corrupt", request_sent="yes")
