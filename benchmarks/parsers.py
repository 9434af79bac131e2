"""
Generated responses, read through our connection class by httptools and by h11: they must agree, and with the framing.

A response is a sound one to which some of a few hundred small changes were made: to lengths, codings, line ends,
blanks, digits, names, chunks, trailers, and what comes behind it. Each is read twice, by either library, in pieces made
at random. The verdicts must be the same: refused, or this status and body, and the connection kept or dropped. No
response with bytes behind it may keep its connection in use. Nothing that was generated is written anywhere: a failure
prints its number, from which `--only` makes it again.

    python3 benchmarks/parsers.py                   # 1 000 000 responses, on all cores; about ten minutes
    python3 benchmarks/parsers.py --count 100000    # as CI does
    python3 benchmarks/parsers.py --only 4711       # one of them, with both verdicts
"""

import argparse
import asyncio
import os
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.compare import enter_environment

METHODS = ("GET", "GET", "GET", "POST", "HEAD")
STATUSES = (b"200 OK", b"200", b"201 Created", b"204 No Content", b"304 Not Modified", b"404 ", b"500 \xfc", b"103 X")
BODY = b'{"a": [1, 2, 3]}'
LINE_ENDS = (b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n", b"\t\r\n", b"\r\n ", b"\r\n\t", b"\0\r\n", b"")
SIZES = (b"+%d", b"-%d", b" %d", b"%d ", b"\t%d", b"0x%x", b"%d_0", b"000%d", b"%d, %d", b"%d,", b"%d;", b"\xb2", b"")
SIZES += (b"0" * 18 + b"%d", b"0" * 30 + b"%d", b"18446744073709551616", b"9" * 25, b"%d.0", b"%de0", b"1%d", b'"%d"')
CHUNK_SIZES = (b"+%x", b"-%x", b" %x", b"%x ", b"%x\t", b"0x%x", b"%x_", b"00%x", b"%X", b"0" * 20 + b"%x", b"g", b"")
CHUNK_SIZES += (
    b"%x;",
    b"%x;a",
    b"%x;a=b",
    b'%x;a="b;c"',
    b'%x;a="\\""',
    b"%x ;a",
    b"%x; a",
    b"%x;a=",
    b"%x;;a",
    b"%x;a\0",
)
CHUNK_SIZES += (
    b"ffffffffffffffff",
    b"10000000000000000",
    b"%x;a=b c",
    b'%x;a="b',
    b'%x;a="b"c',
    b"%x;a\rb",
    b"%x,1",
    b"%x;a=\xfc",
)
CODINGS = (
    b"chunked",
    b"Chunked",
    b"CHUNKED",
    b" chunked",
    b"chunked ",
    b"gzip, chunked",
    b"chunked, gzip",
    b"identity",
)
CODINGS += (
    b"chunked, chunked",
    b"xchunked",
    b"chunked;q=1",
    b"chunked,",
    b",chunked",
    b'"chunked"',
    b"chun\0ked",
    b"",
    b"gzip",
)
FIELDS = (
    b"x: y",
    b"x:y",
    b"X:\ty ",
    b"x:",
    b"x: \xfc",
    b"x : y",
    b" x: y",
    b"x y: z",
    b": y",
    b"x",
    b"\xe9: y",
    b"x\0: y",
)
FIELDS += (
    b"x: y\0",
    b"x: y\x01",
    b"x: y\x7f",
    b"x: y\rz: a",
    b"x: y\nz: a",
    b"connection: close",
    b"connection: keep-alive",
)
FIELDS += (
    b"connection: x, Close",
    b"connection: upgrade\r\nupgrade: h2c",
    b"connection:",
    b"content-length: 5",
    b"(x): y",
)
FIELDS += (
    b"Content-Length: %d" % len(BODY),
    b"transfer-encoding: chunked",
    b"content-length",
    b"keep-alive: timeout=5",
)
FIELDS += (
    b"proxy-connection: close",
    b"upgrade: h2c",
    b"x-content-length: 5",
    b"content-length\t: 5",
    b"content_length: 5",
)
BEHIND = (
    b"",
    b"",
    b"",
    b"\r\n",
    b"\n",
    b"x",
    b"\0",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
)
VERSIONS = (
    b"HTTP/1.0",
    b"HTTP/1.2",
    b"HTTP/2.0",
    b"HTTP/0.9",
    b"HTTP/1.1 ",
    b"http/1.1",
    b"HTTP/1",
    b"ICY",
    b"",
    b"\r\nHTTP/1.1",
)


def sized(random: Random, templates: tuple[bytes, ...], size: int) -> bytes:
    template = random.choice(templates)
    return template % ((size,) * template.count(b"%"))


def chunk(random: Random, data: bytes, weird: float) -> bytes:
    def line() -> bytes:
        return random.choice(LINE_ENDS) if random.random() < weird else b"\r\n"

    head = sized(random, CHUNK_SIZES, len(data)) if random.random() < weird else b"%x" % len(data)
    return head + line() + data + (line() if data else b"")


def generate(number: int) -> tuple[str, bytes, list[int]]:
    """Make method, response and the places where its pieces end."""
    random = Random(number)
    weird = random.choice((0.0, 0.02, 0.1, 0.3))

    def oddly(usual: bytes, odd: Callable[[], bytes]) -> bytes:
        return odd() if random.random() < weird else usual

    def end() -> bytes:
        return oddly(b"\r\n", lambda: random.choice(LINE_ENDS))

    response = b""
    if random.random() < 0.1:
        response += b"HTTP/1.1 103 Early Hints" + end() + random.choice(FIELDS) + end() + end()
    response += oddly(b"HTTP/1.1", lambda: random.choice(VERSIONS)) + oddly(
        b" ", lambda: random.choice((b"", b"  ", b"\t"))
    )
    response += random.choice(STATUSES) if random.random() < 0.3 else b"200 OK"
    response += end()
    lines = [random.choice(FIELDS[:5]) for _ in range(random.randrange(3))]
    lines += [random.choice(FIELDS) for _ in range(3) if random.random() < weird]
    body = BODY[: random.randrange(len(BODY) + 1)]
    kind = random.choice(("length", "length", "chunked", "chunked", "none"))
    if kind == "length":
        value = oddly(b"%d" % len(body), lambda: sized(random, SIZES, len(body)))
        lines.append(random.choice((b"content-length: ", b"Content-Length:")) + value)
    elif kind == "chunked":
        lines.append(b"transfer-encoding: " + oddly(b"chunked", lambda: random.choice(CODINGS)))
        cut = random.randrange(len(body) + 1)
        pieces = [piece for piece in (body[:cut], body[cut:]) if piece]
        body = b"".join(chunk(random, piece, weird) for piece in pieces)
        body += oddly(b"0", lambda: sized(random, CHUNK_SIZES, 0)) + end()
        body += b"".join(random.choice(FIELDS) + end() for _ in range(2) if random.random() < weird) + end()
    random.shuffle(lines)
    response += b"".join(line + end() for line in lines) + end()
    response += body + random.choice(BEHIND)
    response = oddly(response, lambda: response[: random.randrange(len(response))])
    cuts = sorted(random.randrange(len(response) + 1) for _ in range(random.choice((0, 0, 1, 3))))
    return random.choice(METHODS), response, cuts


class Wire(asyncio.Transport):
    """A connection on which the response arrives, and then the peer's end of it."""

    def write(self, data: Any) -> None:
        del data

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


class Request:
    """As much of a request as a connection needs."""

    def __init__(self, method: str) -> None:
        self.method, self.attempt, self.request_sent = method, self, "no"


async def read(parser: Any, method: str, response: bytes, cuts: list[int]) -> tuple[Any, ...]:
    """What one library makes of the response: the reason of its refusal left out, since texts differ."""
    from middleware.errors import ResponseTooLargeError
    from middleware.transports.framing import RemoteProtocolError
    from middleware.transports.http1_connection import Http1Connection

    connection: Any = Http1Connection(by_tls=False, ends_at=0.0)
    connection.is_new = False
    connection._transport = Wire()
    loop = asyncio.get_running_loop()

    def arrive(start: int, *ends: int) -> None:
        connection.data_received(response[start : ends[0]]) if ends else connection.eof_received()
        if ends:
            loop.call_soon(arrive, *ends)

    loop.call_soon(arrive, 0, *cuts, len(response))
    try:
        status, fields = await connection.exchange(Request(method), b"", parser(), 64 * 1024)
        body = connection.whole_body()
        if body is None:
            body = b"".join([piece async for piece in connection.pieces()])
    except (RemoteProtocolError, ResponseTooLargeError):
        return ("refused",)
    known = {name.lower(): value for name, value in fields}
    if b"transfer-encoding" in known:
        known[b"transfer-encoding"] = known[b"transfer-encoding"].lower()  # as h11 hands it out
    return status, len(fields), known, body, connection.is_reusable


async def both(number: int) -> tuple[Any, Any]:
    from middleware.transports.h11_transport import H11Parser
    from middleware.transports.httptools_transport import HttptoolsParser

    generated = generate(number)
    return await read(HttptoolsParser, *generated), await read(H11Parser, *generated)


def run(first: int, count: int) -> tuple[Counter[str], list[int]]:
    """Compare *count* responses; return how many had which verdict, and the numbers of those that differ."""

    async def compare() -> tuple[Counter[str], list[int]]:
        found: Counter[str] = Counter()
        differing = []
        for number in range(first, first + count):
            ours, theirs = await both(number)
            kept = ours[-1]
            found["refused" if ours == ("refused",) else "kept" if kept else "read, dropped"] += 1
            if ours != theirs:
                differing.append(number)
        return found, differing

    return asyncio.run(compare())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--only", type=int)
    arguments = parser.parse_args()
    enter_environment()
    if arguments.only is not None:
        print(generate(arguments.only), *asyncio.run(both(arguments.only)), sep="\n")
        return
    workers, step = os.cpu_count() or 1, 10_000
    starts = range(0, arguments.count, step)
    sizes = [min(step, arguments.count - start) for start in starts]
    found: Counter[str] = Counter()
    differing: list[int] = []
    with ProcessPoolExecutor(workers) as pool:
        for counted, different in pool.map(run, starts, sizes):
            found += counted
            differing += different
    print(f"{arguments.count} responses: {dict(found)}; {len(differing)} on which httptools and h11 differ")
    if differing:
        sys.exit(f"they differ on {', '.join(map(str, differing[:20]))}; --only NUMBER shows one")


if __name__ == "__main__":
    main()
