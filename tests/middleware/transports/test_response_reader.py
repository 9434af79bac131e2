"""One exchange: its TLS, proxies and bounds, its answer, and what a library's exception says about it."""

import asyncio
import gzip
import ssl
import zlib
from contextlib import suppress

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from layer_support import a_request

from middleware.errors import (
    ConfigError,
    DecodeError,
    PoolTimeoutError,
    RateLimitedError,
    RequestNotSentError,
    ResponseLostError,
    ResponseTooLargeError,
    StatusError,
)
from middleware.transports.response_reader import (
    TlsContext,
    TransportSettings,
    answer,
    check_headers,
    env_proxies,
    failure,
    head_too_large,
    proxy_for,
    read_body,
    wire_headers,
)


@pytest.mark.parametrize(
    ("error", "traced", "kind", "sent", "reason"),
    [
        (httpx.ReadError("reset"), False, ResponseLostError, "maybe", "ReadError after the request was sent"),
        (httpx.WriteTimeout(""), False, ResponseLostError, "maybe", "WriteTimeout after the request was sent"),
        (httpx.ConnectError("refused"), False, RequestNotSentError, "no", "ConnectError: refused"),
        (httpx.ReadError("reset"), True, RequestNotSentError, "no", "ReadError: reset"),
        (httpx.PoolTimeout(""), True, PoolTimeoutError, "no", "PoolTimeout"),
    ],
    ids=str,
)
def test_without_a_trace_only_a_class_that_cannot_have_sent_has_not(error, traced, kind, sent, reason):
    """R12: where the phase is known it decides, whatever the exception is called."""
    request = a_request()
    told = failure(request, error, traced=traced)
    assert (type(told), told.request_sent, request.attempt.request_sent, told.reason) == (kind, sent, sent, reason)


def test_the_reason_holds_no_credentials_and_can_be_another():
    """R52: a library's text may hold what was sent."""
    request = a_request(headers={"x-mozaiks-app-key": "k3y"})
    request.user_jwt = "t0ken"
    assert failure(request, httpx.ConnectError("t0ken k3y"), traced=True).reason == "ConnectError: *** ***"
    assert failure(request, httpx.ConnectError("mine"), traced=True, text="ours").reason == "ConnectError: ours"
    assert failure(request, httpx.ConnectError("mine"), traced=True, text="").reason == "ConnectError"


# Headers


def test_headers_go_out_and_come_back_byte_for_byte():
    """Values may hold any byte, as HTTP has it since ever."""
    assert wire_headers(a_request(headers={"x-name": "Z\xfcrich"})) == [(b"x-name", b"Z\xfcrich")]
    found = check_headers(a_request(), [(b"X-Name", b"Z\xfcrich"), (b"x-name", b"2")], TransportSettings())
    assert found == {"x-name": "Z\xfcrich, 2"}


@pytest.mark.parametrize("name", [b"Set-Cookie", b"WWW-Authenticate", b"authorization"])
def test_headers_of_credentials_are_left_out(name):
    """R52: they are nobody's to read."""
    assert check_headers(a_request(), [(name, b"secret"), (b"a", b"b")], TransportSettings()) == {"a": "b"}


def test_a_head_is_counted_with_what_stands_between():
    """Name, value, a colon, a blank and the line's end: 1024 bytes pass, one more does not."""
    config = TransportSettings(max_header_bytes=1024)
    exact = [(b"a", b"x" * 507), (b"b", b"y" * 507)]
    assert check_headers(a_request(), exact, config)
    with pytest.raises(ResponseTooLargeError) as caught:
        check_headers(a_request(), [(b"set-cookie", b"z" * 1011)], config)
    told = head_too_large(config)
    assert caught.value.reason == told.reason == "response head larger than 1024 bytes"
    assert (caught.value.request_sent, told.request_sent) == ("yes", "yes")


# Bodies


class Pieces:
    """A body as a library gives it; notes its end."""

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
        ("gzip", GZIPPED[:-9], "content encoding is cut short"),
        ("gzip", b"not gzip", "content encoding is broken"),
        ("gzip", GZIPPED + GZIPPED[:-9], "content encoding is cut short"),
        ("gzip", GZIPPED + GZIPPED[:1], "content encoding is cut short"),
        ("gzip", GZIPPED + b"\x1f\x8b\0\0", "content encoding is broken"),
        ("gzip", GZIPPED + b"\0", "content encoding is followed by something else"),
        ("gzip", GZIPPED + DEFLATED, "content encoding is followed by something else"),
        ("gzip", DEFLATED + GZIPPED, "content encoding is followed by something else"),
        ("deflate", DEFLATED + DEFLATED, "content encoding is followed by something else"),
        ("br", b"x", "content encoding br was not asked for"),
        ("gzip, gzip", GZIPPED, "content encoding gzip, gzip was not asked for"),
        ("b" * 50, b"x", f"content encoding {'b' * 39}… was not asked for"),
    ],
)
async def test_a_body_that_cannot_be_unpacked_says_why(encoding, body, reason):
    """The server answered; that its answer cannot be read is another matter."""
    with pytest.raises(DecodeError) as caught:
        await body_of(body, encoding=encoding)
    assert (caught.value.reason, caught.value.request_sent) == (reason, "yes")


@pytest.mark.parametrize("encoding", [None, "gzip"])
async def test_a_body_may_be_as_long_as_its_bound(encoding):
    """Unpacked; one byte more ends the reading at once."""
    pack = gzip.compress if encoding else bytes
    assert len(await body_of(pack(b"x" * 1024), encoding=encoding)) == 1024
    pieces = Pieces(pack(b"x" * 1025), b"never read")
    headers = {"content-encoding": encoding} if encoding else {}
    with pytest.raises(ResponseTooLargeError) as caught:
        await read_body(pieces, headers, TransportSettings(max_response_bytes=1024))
    assert (caught.value.reason, caught.value.request_sent) == ("response larger than 1024 bytes", "yes")
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
    """However much comes in one piece: 8 kB in and 64 kB out at most, then it is the others' turn."""
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
    with suppress(DecodeError):  # the blocks have no end
        await reading
    assert len(taken) >= turns
    assert max(read for read, _, _ in taken) <= 16 * 1024
    assert max(made for _, made, _ in taken) <= 128 * 1024
    assert max(count for _, _, count in taken) <= 64


# Answers


def answered(status, headers, body=b"", **request):
    return answer(a_request(**request), status, headers, body, lambda: 1_800_000_000.0)


def test_an_answer_has_the_servers_correlation_id_or_else_ours():
    """An old service echoes none."""
    assert answered(200, {"x-correlation-id": "theirs"}).correlation_id == "theirs"
    assert answered(200, {}).correlation_id == "c-1"
    assert answered(200, {"x-correlation-id": ""}).correlation_id == "c-1"


def test_a_refusal_is_read_by_its_headers():
    """R15: a date counts from the answer's own; a page for people says nothing."""
    headers = {
        "retry-after": "Fri, 15 Jan 2027 09:00:10 GMT",
        "date": "Fri, 15 Jan 2027 09:00:00 GMT",
        "content-type": "text/html",
    }
    with pytest.raises(RateLimitedError) as caught:
        answered(429, headers, b"<h1>slow down</h1>")
    assert (caught.value.retry_after_s, caught.value.problem.message) == (10.0, "")
    with pytest.raises(RateLimitedError) as caught:
        answered(429, {"retry-after": "Fri, 15 Jan 2027 08:00:07 GMT"}, b"slow down")
    assert (caught.value.retry_after_s, caught.value.problem.message) == (7.0, "slow down")


@pytest.mark.parametrize(
    ("status", "value", "said"),
    [
        (503, "true", True),
        (503, " True ", True),
        (503, "false", False),
        (503, "", False),
        (502, "true", False),
    ],
)
def test_only_an_envoy_that_says_so_has_dropped_a_request(status, value, said):
    """R11: any other 503 may come after the upstream has read the request."""
    with pytest.raises(StatusError) as caught:
        answered(status, {"x-envoy-overloaded": value, "retry-after": "1"})
    assert (caught.value.not_processed, caught.value.attempt_applied) == (said, "no" if said else "maybe")


def test_an_answer_that_repeats_what_was_sent_shows_none_of_it():
    """R52: the token, the key, and values of the query."""
    request = a_request(headers={"x-mozaiks-app-key": "k3y"})
    request.user_jwt, request.params = "t0ken", {"q": "value-of-q"}
    with pytest.raises(RateLimitedError) as caught:
        answer(request, 429, {}, b"no t0ken, k3y or value-of-q", lambda: 0.0)
    assert caught.value.problem.message == "no ***, *** or ***"


# TLS and proxies


@pytest.fixture
def authority(tmp_path):
    """A private authority, in a file."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    return made


async def test_the_public_authorities_are_loaded_once_and_those_of_the_environment_never(
    authority, tmp_path, monkeypatch
):
    """Whoever may set a variable must not choose whom a client trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    shared = TlsContext(TransportSettings())
    first, second = await asyncio.gather(shared.get(), shared.get())
    assert first is second is await shared.get()
    with_certificate = tmp_path / "client.pem"
    authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(with_certificate)
    other = await TlsContext(TransportSettings(client_certificate_file=str(with_certificate))).get()
    for context in (first, other):
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert len(context.get_ca_certs()) > 1


def files_of(authority, folder):
    """A certificate and its key, which needs a passphrase."""
    mine = authority.issue_cert("client@example.org")
    mine.cert_chain_pems[0].write_to_path(folder / "client.crt")
    key = serialization.load_pem_private_key(mine.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    (folder / "client.key").write_bytes(locked)
    return {
        "client_certificate_file": str(folder / "client.crt"),
        "client_key_file": str(folder / "client.key"),
    }


def test_a_file_that_cannot_be_used_is_told_with_the_reason(authority, tmp_path):
    """A key with a passphrase is one: nobody is there to be asked for it."""
    files = files_of(authority, tmp_path)
    names = "TransportSettings.client_certificate_file, client_key_file: cannot be used:"
    for settings, reason in [
        ({"ca_file": "/no/such.pem"}, "TransportSettings.ca_file: cannot be used: [Errno 2] No such file or directory"),
        ({"client_key_file": "x"}, "TransportSettings.client_key_file: needs client_certificate_file"),
        ({"client_certificate_file": "/no/such.pem"}, f"{names} [Errno 2] No such file or directory"),
        (files, f"{names} the key has a passphrase"),
    ]:
        with pytest.raises(ConfigError) as caught:
            TlsContext(TransportSettings(**settings))
        assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("variables", "proxies"),
    [
        ({}, {}),
        ({"http_proxy": "http://one:1"}, {"http": "http://one:1"}),
        ({"https_proxy": "https://two:3128"}, {"https": "https://two:3128"}),
        ({"all_proxy": "three:8080"}, {"http": "http://three:8080", "https": "http://three:8080"}),
        ({"all_proxy": "http://all", "http_proxy": "http://one"}, {"http": "http://one", "https": "http://all"}),
    ],
)
def test_proxies_of_the_environment_by_scheme(environment, variables, proxies):
    """Where they are asked for; without a scheme, one is an HTTP proxy."""
    for name, value in variables.items():
        environment.setenv(name, value)
    assert env_proxies(TransportSettings(trust_env=True)) == proxies
    assert env_proxies(TransportSettings()) == {}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("proxy", ["socks5://one:1", "http://one:0", "http://one:port", "http://", "http://[::"])
def test_what_is_no_http_proxy_is_told_by_its_scheme(environment, scheme, proxy):
    """And not shown."""
    environment.setenv(f"{scheme}_proxy", proxy)
    with pytest.raises(ConfigError) as caught:
        env_proxies(TransportSettings(trust_env=True))
    reason = f"TransportSettings.trust_env: the environment's proxy for {scheme} is not an http(s) URL"
    assert str(caught.value) == reason


def test_a_proxy_is_for_its_scheme_and_not_for_what_is_excepted(environment):
    """NO_PROXY is heeded when a connection is made."""
    proxies = {"http": "http://one:1"}
    environment.setenv("no_proxy", "inside.test,other.test:81")
    assert proxy_for(proxies, "http://outside.test") == "http://one:1"
    assert proxy_for(proxies, "https://outside.test") is None
    assert proxy_for(proxies, "http://inside.test:80") is None
    assert proxy_for(proxies, "http://other.test:81") is None
    assert proxy_for(proxies, "http://other.test:82") == "http://one:1"
