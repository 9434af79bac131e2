"""Reading a response within its limits: head, body, content encoding."""

import asyncio
import gzip
import zlib
from contextlib import suppress

import pytest
from layer_support import a_request

from middleware.errors import DecodeError, ResponseLostError, ResponseTooLargeError
from middleware.transports.response_reader import check_headers, head_too_large, read_body
from middleware.transports.transport_settings import TransportSettings

# Headers


def test_headers_are_received_byte_for_byte():
    """A value may contain any byte, as HTTP has always allowed."""
    found = check_headers(a_request(), [(b"X-Name", b"Z\xfcrich"), (b"x-name", b"2")], TransportSettings())
    assert found == {"x-name": "Z\xfcrich, 2"}


@pytest.mark.parametrize("name", [b"Set-Cookie", b"WWW-Authenticate", b"authorization"])
def test_headers_of_credentials_are_left_out(name):
    """R52: no caller needs them."""
    assert check_headers(a_request(), [(name, b"secret"), (b"a", b"b")], TransportSettings()) == {"a": "b"}


def test_a_head_is_counted_with_its_separators():
    """Name, value, a colon, a blank and the line's end: 1024 bytes pass, one more does not."""
    config = TransportSettings(max_header_bytes=1024)
    exact = [(b"a", b"x" * 507), (b"b", b"y" * 507)]
    assert check_headers(a_request(), exact, config)
    with pytest.raises(ResponseTooLargeError) as caught:
        check_headers(a_request(), [(b"set-cookie", b"z" * 1011)], config)
    told = head_too_large(config.max_header_bytes)
    assert caught.value.reason == told.reason == "response head larger than 1024 bytes"
    assert caught.value.request_sent == "yes"
    assert told.request_sent == "yes"


# Bodies


class Pieces:
    """A body as a library returns it; records its end."""

    def __init__(self, *pieces):
        self.ended, self._pieces = False, pieces

    async def __aiter__(self):
        try:
            for piece in self._pieces:
                yield piece
        finally:
            self.ended = True


def body_of(*pieces, encoding=None):
    headers = {} if encoding is None else {"content-encoding": encoding}
    return read_body(Pieces(*pieces), headers, TransportSettings(max_response_bytes=1024))


DEFLATED = zlib.compress(b"[1]" * 100)
GZIPPED = gzip.compress(b"[1]" * 100)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [("gzip", GZIPPED), ("x-gzip", GZIPPED), (" GZip , ", GZIPPED), ("deflate", DEFLATED)],
)
async def test_a_packed_body_is_read_in_whatever_pieces(encoding, packed):
    """By the names that RFC 9110 section 8.4.1 has for it, in any case."""
    for size in (1, 7, 1000):
        pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
        assert await body_of(*pieces, encoding=encoding) == b"[1]" * 100


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity", "", None])
async def test_an_empty_body_is_empty_however_it_is_packed(encoding):
    """As that of a 204 is."""
    assert await body_of(encoding=encoding) == b""
    assert await body_of(b"", encoding=encoding) == b""


@pytest.mark.parametrize(
    ("encoding", "body", "reason"),
    [
        ("gzip", b"not gzip", "content-encoding: compressed data is corrupt"),
        ("gzip", GZIPPED + b"\x1f\x8b\0\0", "content-encoding: compressed data is corrupt"),
        ("gzip", GZIPPED + b"\0", "content-encoding: compressed data is followed by other bytes"),
        ("gzip", GZIPPED + DEFLATED, "content-encoding: compressed data is followed by other bytes"),
        ("gzip", DEFLATED + GZIPPED, "content-encoding: compressed data is followed by other bytes"),
        ("deflate", DEFLATED + DEFLATED, "content-encoding: compressed data is followed by other bytes"),
        ("br", b"x", "unsupported content-encoding: br"),
        ("gzip, gzip", GZIPPED, "unsupported content-encoding: gzip, gzip"),
        ("b" * 50, b"x", f"unsupported content-encoding: {'b' * 39}…"),
    ],
)
async def test_a_body_that_cannot_be_inflated_has_a_reason(encoding, body, reason):
    """The server responded, so the request was sent, whatever its body."""
    with pytest.raises(DecodeError) as caught:
        await body_of(body, encoding=encoding)
    assert caught.value.reason == reason
    assert caught.value.request_sent == "yes"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", GZIPPED[:-9]),
        ("gzip", GZIPPED[:1]),
        ("gzip", GZIPPED + GZIPPED[:-9]),
        ("gzip", GZIPPED + GZIPPED[:1]),
        ("deflate", DEFLATED[:-1]),
    ],
)
async def test_compressed_data_without_its_end_is_a_lost_response(encoding, body):
    """R11: half a body, as one that ends before its length: the rest was lost on its way."""
    with pytest.raises(ResponseLostError) as caught:
        await body_of(body, encoding=encoding)
    assert caught.value.reason == "content-encoding: compressed data is incomplete"
    assert caught.value.request_sent == "yes"


@pytest.mark.parametrize("encoding", [None, "gzip"])
async def test_a_body_may_be_as_long_as_its_bound(encoding):
    """Unpacked; one byte more ends the reading at once."""
    pack = gzip.compress if encoding else bytes
    assert len(await body_of(pack(b"x" * 1024), encoding=encoding)) == 1024
    pieces = Pieces(pack(b"x" * 1025), b"never read")
    headers = {"content-encoding": encoding} if encoding else {}
    with pytest.raises(ResponseTooLargeError) as caught:
        await read_body(pieces, headers, TransportSettings(max_response_bytes=1024))
    assert caught.value.reason == "response larger than 1024 bytes"
    assert caught.value.request_sent == "yes"
    assert pieces.ended


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_all_members_are_read_in_whatever_pieces(size):
    """RFC 1952 section 2.2; also empty ones, and one whose end and the next one's beginning come apart."""
    packed = GZIPPED + gzip.compress(b"") + gzip.compress(b"[2]") + gzip.compress(b"")
    pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
    assert await body_of(*pieces, encoding="gzip") == b"[1]" * 100 + b"[2]"


@pytest.mark.parametrize("encoding", [None, "gzip"])
async def test_a_body_as_it_was_sent_has_the_same_bound(encoding):
    """Else what inflates to nothing would have none."""
    empty = gzip.compress(b"") if encoding else b"x"
    fits = 1024 // len(empty)
    assert await body_of(*[empty] * fits, encoding=encoding) == (b"" if encoding else b"x" * 1024)
    with pytest.raises(ResponseTooLargeError):
        await body_of(*[empty] * (fits + 1), encoding=encoding)


def empty_blocks(count):
    """Deflate blocks that inflate to nothing and are the slowest to read: each has tables of its own, in 23 bytes."""
    lengths = {18: 1, 1: 2, 0: 2}  # bits of the code that the tables are written in
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)
    fields = [(0, 1), (2, 2), (0, 5), (0, 5), (14, 4), *((lengths.get(symbol, 0), 3) for symbol in order)]
    fields += [(0, 1), (127, 7), (0, 1), (107, 7), (3, 2), (3, 2), (0, 1)]
    one = "".join(format(value, f"0{size}b")[::-1] for value, size in fields)
    bits = one * 2
    block = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
    return b"\x78\x9c" + block * (count // 2)


MANY = 2 * 2**20


@pytest.mark.parametrize(
    ("pieces", "encoding", "turns"),
    [
        ([zlib.compress(b"\0" * MANY)], "deflate", 30),
        ([gzip.compress(b"\0" * MANY)], "gzip", 30),
        ([gzip.compress(b"\0" * 65_000)] * 32, "gzip", 30),
        ([gzip.compress(b"") * 10_000], "gzip", 100),
        ([gzip.compress(b"")] * 10_000, "gzip", 100),
        ([empty_blocks(10_000)], "deflate", 10),
    ],
    ids=["deflate", "gzip", "small_bombs", "members", "small_members", "empty_blocks"],
)
async def test_no_step_of_inflating_is_long_and_others_run_between_two(monkeypatch, pieces, encoding, turns):
    """However large a piece is: 8 kB in and 64 kB out at most, then other tasks run."""
    steps, taken, make = [], [], zlib.decompressobj

    class Measured:
        def __init__(self, *arguments):
            self._zlib = make(*arguments)

        def decompress(self, data, most):
            found = self._zlib.decompress(data, most)
            steps.append((len(data), len(found)))
            return found

        def __getattr__(self, name):
            return getattr(self._zlib, name)

    monkeypatch.setattr("middleware.transports.response_reader.zlib.decompressobj", Measured)
    config = TransportSettings(max_response_bytes=MANY)
    reading = asyncio.create_task(read_body(Pieces(*pieces), {"content-encoding": encoding}, config))
    while not reading.done():
        steps.clear()
        await asyncio.sleep(0)
        taken.append((sum(size for size, _ in steps), sum(size for _, size in steps), len(steps)))
    with suppress(ResponseLostError):  # the blocks have no end
        await reading
    assert len(taken) >= turns
    assert max(read for read, _, _ in taken) <= 16 * 1024
    assert max(made for _, made, _ in taken) <= 128 * 1024
    assert max(count for _, _, count in taken) <= 64


@pytest.mark.parametrize(("pieces", "others"), [(255, 0), (256, 1), (10_000, 39)])
async def test_many_small_pieces_let_other_tasks_run(pieces, others):
    """However many have arrived at once: the parser takes its time for each of them."""
    reading = asyncio.create_task(read_body(Pieces(*[b"x"] * pieces), {}, TransportSettings()))
    await asyncio.sleep(0)
    ran = 0
    while not reading.done():
        ran += 1
        await asyncio.sleep(0)
    assert (ran, len(await reading)) == (others, pieces)
