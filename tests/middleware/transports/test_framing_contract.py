"""
The framing of responses, for every transport of ours: each byte that a strict parser would not take costs something.

A response whose framing is not sound is refused, or is read and its connection dropped; never is there a value and a
connection that is used again. Two readers of one connection that differ about where a response ends is how one caller
gets the response of another (R53).
"""

import asyncio

import pytest
from layer_support import a_request
from raw_server import RawServer, ok

from middleware import CallError, ResponseLostError, ResponseTooLargeError
from middleware.clock import SystemClock
from middleware.transports import transport_settings
from middleware.transports.registry import TransportSettings, make_transport

pytestmark = pytest.mark.sockets

LIBRARIES = list(transport_settings.LIBRARIES)  # a new one joins by its line there
OURS = ["httptools", "h11"]  # whose framing is ours: one verdict, whichever parses

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"content-length: 1\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n"
CHUNKS = b"1\r\nx\r\n0\r\n\r\n"

SOUND = {
    "length": LENGTH + b"\r\nx",
    "length of blanks": OK + b"Content-Length: \t 1 \r\n\r\nx",
    "length of zeros": OK + b"content-length: 0001\r\n\r\nx",
    "chunked": CHUNKED + b"\r\n" + CHUNKS,
    "chunked in capitals": OK + b"Transfer-Encoding: Chunked\r\n\r\n" + CHUNKS,
    "chunk of leading zeros": CHUNKED + b"\r\n001\r\nx\r\n000\r\n\r\n",  # as Varnish sends them
    "chunk with an extension": CHUNKED + b'\r\n1;a=b;c="d e"\r\nx\r\n0\r\n\r\n',
    "trailer": CHUNKED + b"\r\n1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n",
    "no reason": b"HTTP/1.1 200\r\ncontent-length: 1\r\n\r\nx",
    "high bytes in a value": LENGTH + b"x: \xfc\xff\r\n\r\nx",
    "empty value": OK + b"x:\r\ny: \r\ncontent-length: 1\r\n\r\nx",
    "keep-alive": LENGTH + b"connection: keep-alive\r\n\r\nx",
    "an offer of HTTP/2": LENGTH + b"connection: Upgrade\r\nupgrade: h2c\r\n\r\nx",
    "interim that closes": b"HTTP/1.1 103 X\r\nconnection: close\r\n\r\n" + LENGTH + b"\r\nx",
    "interim": b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + LENGTH + b"\r\nx",
}
# Read, and the connection dropped.
DROPPED = {
    "close": LENGTH + b"connection: close\r\n\r\nx",
    "close in a list": LENGTH + b"connection: x, Close\r\n\r\nx",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\nx",
    "second response": LENGTH + b"\r\nx" + ok(b"y"),
    "second response after chunks": CHUNKED + b"\r\n" + CHUNKS + ok(b"y"),
    "line after": LENGTH + b"\r\nx\r\n",
    "body of a 204": b"HTTP/1.1 204 No Content\r\ncontent-length: 1\r\n\r\nx",
    "body of a 204 to come": b"HTTP/1.1 204 No Content\r\ncontent-length: 1\r\n\r\n",
    "chunks of a 204 to come": b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",
}
REFUSED = {
    "both lengths": OK + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNKS,
    "both lengths, the other order": OK + b"transfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n" + CHUNKS,
    "two lengths": OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nx",
    "one length twice": OK + b"content-length: 1\r\ncontent-length: 1\r\n\r\nx",
    "list of lengths": OK + b"content-length: 1, 1\r\n\r\nx",
    "length with a sign": OK + b"content-length: +1\r\n\r\nx",
    "negative length": OK + b"content-length: -1\r\n\r\nx",
    "length with a blank": OK + b"content-length: 1 0\r\n\r\nx",
    "length and a tab": OK + b"content-length: 1\t\r\n\r\nx",
    "length in hexadecimal": OK + b"content-length: 0x1\r\n\r\nx",
    "length with an underscore": OK + b"content-length: 1_0\r\n\r\n0123456789",
    "length of a superscript": OK + b"content-length: \xb9\r\n\r\nx",
    "empty length": OK + b"content-length:\r\n\r\nx",
    "over-long length": OK + b"content-length: 18446744073709551617\r\n\r\nx",
    "over-long length of zeros": OK + b"content-length: " + b"0" * 30 + b"1\r\n\r\nx",
    "transfer encoding twice": OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNKS,
    "nested transfer encoding": OK + b"transfer-encoding: gzip, chunked\r\n\r\n" + CHUNKS,
    "chunked not last": OK + b"transfer-encoding: chunked, gzip\r\n\r\n" + CHUNKS,
    "identity": OK + b"transfer-encoding: identity\r\n\r\nx",
    "chunked and a tab": OK + b"transfer-encoding: chunked\t\r\n\r\n" + CHUNKS,
    "chunked with a parameter": OK + b"transfer-encoding: chunked;q=1\r\n\r\n" + CHUNKS,
    "chunked misspelt": OK + b"transfer-encoding: xchunked\r\n\r\n" + CHUNKS,
    "chunked by HTTP/1.0": b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNKS,
    "chunk with a sign": CHUNKED + b"\r\n+1\r\nx\r\n0\r\n\r\n",
    "chunk with a blank before": CHUNKED + b"\r\n 1\r\nx\r\n0\r\n\r\n",
    "chunk with a blank after": CHUNKED + b"\r\n1 \r\nx\r\n0\r\n\r\n",
    "chunk in 0x": CHUNKED + b"\r\n0x1\r\nx\r\n0\r\n\r\n",
    "chunk with an underscore": CHUNKED + b"\r\n0_1\r\nx\r\n0\r\n\r\n",
    "chunk of no digit": CHUNKED + b"\r\n\r\nx\r\n0\r\n\r\n",
    "over-long chunk": CHUNKED + b"\r\n10000000000000001\r\nx\r\n0\r\n\r\n",
    "over-long chunk of zeros": CHUNKED + b"\r\n" + b"0" * 30 + b"1\r\nx\r\n0\r\n\r\n",
    "chunk longer than its size": CHUNKED + b"\r\n1\r\nxy\r\n0\r\n\r\n",
    "chunk line of a bare LF": CHUNKED + b"\r\n1\nx\r\n0\r\n\r\n",
    "chunk end of a bare LF": CHUNKED + b"\r\n1\r\nx\n0\r\n\r\n",
    "bare CR in an extension": CHUNKED + b"\r\n1;a\rb\r\nx\r\n0\r\n\r\n",
    "NUL in an extension": CHUNKED + b"\r\n1;a\0b\r\nx\r\n0\r\n\r\n",
    "trailer of a bare LF": CHUNKED + b"\r\n1\r\nx\r\n0\r\nx-sum: 1\n\r\n",
    "end of a bare LF": CHUNKED + b"\r\n1\r\nx\r\n0\r\n\n",
    "trailer that is folded": CHUNKED + b"\r\n1\r\nx\r\n0\r\nx-sum: 1\r\n 2\r\n\r\n",
    "length as a trailer": CHUNKED + b"\r\n1\r\nx\r\n0\r\ncontent-length: 1\r\n\r\n",
    "bare CR in a value": LENGTH + b"x: a\rb\r\n\r\nx",
    "bare CR after a value": OK + b"x: a\rcontent-length: 1\r\n\r\nx",
    "bare LF after a value": OK + b"x: a\ncontent-length: 1\r\n\r\nx",
    "bare LFs": b"HTTP/1.1 200 OK\ncontent-length: 1\n\nx",
    "bare LF at the end": LENGTH + b"\nx",
    "obs-fold": LENGTH + b"x: a\r\n b\r\n\r\nx",
    "folded length": OK + b"content-length:\r\n 1\r\n\r\nx",
    "folded first line": OK + b" content-length: 1\r\n\r\nx",
    "NUL in a name": LENGTH + b"x\0: a\r\n\r\nx",
    "NUL in a value": LENGTH + b"x: a\0b\r\n\r\nx",
    "control character in a value": LENGTH + b"x: a\x01b\r\n\r\nx",
    "high byte in a name": LENGTH + b"x\xe9: a\r\n\r\nx",
    "blank before the colon": OK + b"content-length : 1\r\n\r\nx",
    "blank in a name": LENGTH + b"x y: a\r\n\r\nx",
    "no name": LENGTH + b": a\r\n\r\nx",
    "no colon": LENGTH + b"x\r\n\r\nx",
    "line before": b"\r\n" + LENGTH + b"\r\nx",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\ncontent-length: 1\r\n\r\nx",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\ncontent-length: 1\r\n\r\nx",
    "HTTP/0.9": b"x",
    "other protocol": b"ICY 200 OK\r\ncontent-length: 1\r\n\r\nx",
    "status of two digits": b"HTTP/1.1 20 OK\r\ncontent-length: 1\r\n\r\nx",
    "status of four digits": b"HTTP/1.1 2000 OK\r\ncontent-length: 1\r\n\r\nx",
    "status below 100": b"HTTP/1.1 099 OK\r\ncontent-length: 1\r\n\r\nx",
    "status with a sign": b"HTTP/1.1 +20 OK\r\ncontent-length: 1\r\n\r\nx",
    "two blanks before the status": b"HTTP/1.1  200 OK\r\ncontent-length: 1\r\n\r\nx",
    "NUL in the reason": b"HTTP/1.1 200 O\0K\r\ncontent-length: 1\r\n\r\nx",
    "switched protocols": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    "interim of both lengths": b"HTTP/1.1 103 X\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n"
    + LENGTH
    + b"\r\nx",
    "interim of very many digits": b"HTTP/1.1 103 X\r\ncontent-length: %b\r\n\r\n" % (b"0" * 31) + LENGTH + b"\r\nx",
    "interim of a bare LF": b"HTTP/1.1 103 Early Hints\nlink: x\n\n" + LENGTH + b"\r\nx",
    "length shorter than said": OK + b"content-length: 2\r\n\r\nx",
    "chunks without an end": CHUNKED + b"\r\n1\r\nx\r\n",
}


ITERATIONS = 2000  # of the event loop: by then a client in it has read what is there, or waits for more


async def verdict(library, response, *, pieces):
    """What becomes of *response*, None where it is waited for; and whether its connection is used again."""
    sent = asyncio.Event()

    async def serve(peer, seen):
        if seen.target == "/again":
            await peer.write(ok(b"again"))
            return True
        try:
            for at in range(0, len(response), pieces):
                await peer.write(response[at : at + pieces])
                if pieces < len(response):
                    await asyncio.sleep(0)
        finally:  # also where the client has closed in the middle of it
            sent.set()
        is_short = response in (REFUSED["length shorter than said"], REFUSED["chunks without an end"])
        return not is_short and response != b"x"

    async def get(target):
        request = a_request(method="GET", idempotent=True)
        request.target = target
        return (await transport.send(request, server.url + target)).body

    transport = make_transport(TransportSettings(library=library), SystemClock())
    async with RawServer(serve=serve) as server:
        asked = asyncio.create_task(get("/first"))
        await sent.wait()
        for _ in range(ITERATIONS):
            if asked.done():
                break
            await asyncio.sleep(0)
        asked.cancel()
        (first,) = await asyncio.gather(asked, return_exceptions=True)
        assert await get("/again") == b"again"
        await transport.aclose()
    is_waiting = isinstance(first, asyncio.CancelledError)
    return None if is_waiting else first, [seen.connection for seen in server.requests] == [1, 1]


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("library", OURS)
async def test_a_sound_response_is_read_and_keeps_its_connection(library, name):
    """R7: as common servers send them."""
    assert await verdict(library, SOUND[name], pieces=1000) == (b"x", True)


@pytest.mark.parametrize("name", DROPPED)
@pytest.mark.parametrize("library", LIBRARIES)
async def test_what_follows_a_response_or_ends_its_connection_is_not_read(library, name):
    """R7: the response counts; its connection is not used again."""
    body = b"" if "204" in name else b"x"
    assert await verdict(library, DROPPED[name], pieces=1000) == (body, False)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("pieces", [1000, 1], ids=["whole", "bytes"])
@pytest.mark.parametrize("library", OURS)
async def test_a_response_of_doubtful_framing_is_refused(library, pieces, name):
    """R7, R11: the response is lost, at once, whichever library parses; in whatever pieces it comes."""
    found, kept = await verdict(library, REFUSED[name], pieces=pieces)
    assert (type(found), found.request_sent in {"maybe", "yes"}, kept) == (ResponseLostError, True, False)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("library", [one for one in LIBRARIES if one not in OURS])
async def test_a_response_of_doubtful_framing_leaves_no_connection(library, name):
    """R7: a library that takes it gives its value, or waits for more of it; its connection is not used again."""
    found, kept = await verdict(library, REFUSED[name], pieces=1000)
    assert found is None or isinstance(found, (bytes, CallError))
    assert not isinstance(found, ResponseTooLargeError)
    assert not kept
