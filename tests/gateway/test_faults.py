"""Scripted trouble, as a client on the wire meets it."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from runtime.gateway import DEFAULT_API_KEY, Fault, Gateway
from runtime.gateway.faults import KINDS, FaultScript

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "gateway.md").read_text()

HEAD = f"GET /api/service/items HTTP/1.1\r\nHost: localhost\r\nX-Mozaiks-App-Key: {DEFAULT_API_KEY}\r\n\r\n".encode()
POST = (
    f"POST /api/service/items HTTP/1.1\r\nHost: localhost\r\nX-Mozaiks-App-Key: {DEFAULT_API_KEY}\r\n"
    'Content-Length: 12\r\n\r\n{"name":"a"}'
).encode()


async def exchange(gateway, request=HEAD, *, until_closed=True):
    """Send raw bytes; what is received until the gateway closes, or its first bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        writer.write(request)
        return await (reader.read() if until_closed else reader.read(65536))
    finally:
        writer.close()


async def test_a_status_fault_answers_without_applying(gateway):
    """With the Retry-After, headers and body of the script."""
    headers = {"x-limit": "120"}
    gateway.script(Fault(kind="status", status=429, retry_after="7", headers=headers, body='{"error":"RateLimited"}'))
    answer = await exchange(gateway, POST, until_closed=False)
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: 7\r\n" in answer
    assert b"x-limit: 120\r\n" in answer
    assert answer.endswith(b'{"error":"RateLimited"}')
    assert not gateway.requests[0].applied


@pytest.mark.parametrize("applied", [False, True])
async def test_a_reset_is_a_real_one(gateway, applied):
    """The client's socket sees ECONNRESET; the request may have been applied before."""
    gateway.script(Fault(kind="reset", applied=applied))
    with pytest.raises(ConnectionResetError):
        await exchange(gateway, POST)
    assert gateway.requests[0].applied is applied
    assert gateway.requests[0].status is None


async def test_a_short_body_is_short(gateway):
    """Fewer bytes than promised, then the end."""
    gateway.script(Fault(kind="short_body"))
    head, _, body = (await exchange(gateway)).partition(b"\r\n\r\n")
    promised = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert 0 < len(body) < promised


async def test_a_stall_says_nothing(gateway):
    """The request is read, the socket stays open."""
    gateway.script(Fault(kind="stall"))
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(HEAD)
    while not gateway.requests:
        await asyncio.sleep(0.001)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.05)
    assert gateway.connections_open == 1
    writer.close()


async def test_garbage_is_not_http(gateway):
    """Then the connection is closed."""
    gateway.script(Fault(kind="garbage"))
    assert not (await exchange(gateway)).startswith(b"HTTP/")


async def test_close_idle_answers_and_goes(gateway):
    """Without a word in the headers."""
    gateway.script(Fault(kind="close_idle"))
    answer = await exchange(gateway)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" not in answer.lower()


async def test_faults_match_and_are_consumed_in_order(gateway):
    """By method and path, each as often as it says."""
    gateway.script(
        Fault(kind="status", status=500, method="POST"), Fault(kind="status", status=502, path="items$", times=2)
    )
    statuses = [int((await exchange(gateway, HEAD, until_closed=False)).split()[1]) for _ in range(3)]
    statuses.append(int((await exchange(gateway, POST, until_closed=False)).split()[1]))
    assert statuses == [502, 502, 200, 500]


@pytest.mark.parametrize(
    "document", [{"kind": "nonsense"}, {"kind": "stall", "unknown": 1}, [], {"kind": "stall", "times": -1}]
)
def test_a_wrong_fault_is_refused(document):
    """A typo must not test nothing."""
    with pytest.raises(ValueError, match="fault"):
        Fault.from_json(document)


def test_a_fault_survives_json():
    """The control client sends it to another process."""
    fault = Fault(kind="status", status=503, retry_after="1", times=0)
    assert Fault.from_json(json.loads(json.dumps(fault.to_json()))) == fault


async def test_stopping_ends_stalled_connections(gateway):
    """No task is left behind."""
    async with Gateway() as other:
        other.script(Fault(kind="stall"))
        _, writer = await asyncio.open_connection("127.0.0.1", other.port)
        writer.write(HEAD)
        while not other.requests:
            await asyncio.sleep(0.001)
    assert other.connections_open == 0
    writer.close()


def test_a_share_of_the_requests_is_hit_by_chance_and_the_same_ones_each_time():
    """Half of them, and the others go on to the next fault that matches."""
    hit = []
    for _ in range(2):
        script = FaultScript()
        script.add([Fault(kind="reset", times=0, share=0.5), Fault(kind="stall", times=0)])
        hit.append([script.take("GET", "/").kind for _ in range(1000)])
    assert hit[0] == hit[1]
    assert 400 < hit[0].count("reset") < 600
    assert hit[0].count("stall") == 1000 - hit[0].count("reset")


@pytest.mark.parametrize("headers", [["x"], "x", None, {"x": 1}])
def test_headers_are_texts_by_name(headers):
    """A mistake in a script is reported where it is made."""
    with pytest.raises(ValueError, match=r"fault\.headers: must be an object of texts"):
        Fault.from_json({"kind": "status", "headers": headers})


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_a_share_is_a_share(share):
    """Named, with its bounds."""
    with pytest.raises(ValueError, match=r"fault\.share"):
        Fault(kind="reset", share=share)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("latency 3s 50% /api/auth", {"kind": "latency", "seconds": 3, "share": 0.5, "path": "^/api/auth"}),
        ("latency 300ms", {"kind": "latency", "seconds": 0.3}),
        ("  drip   0.5s  ", {"kind": "drip", "seconds": 0.5}),
        ("503", {"kind": "status", "status": 503}),
        ("status", {"kind": "status", "status": 503}),
        ("status 2x 429 retry-after=7", {"kind": "status", "status": 429, "times": 2, "retry_after": "7"}),
        ("429 POST applied", {"kind": "status", "status": 429, "method": "POST", "applied": True}),
        ("reset applied PUT /api/users/[^/]+/roles$", {"kind": "reset", "applied": True, "method": "PUT",
            "path": "^/api/users/[^/]+/roles$"}),
        ("stall 12.5%", {"kind": "stall", "share": 0.125}),
    ],
)  # fmt: skip
def test_a_fault_has_a_text(text, fields):
    """Kind or status first, then words in any order; until cleared, unless it says how often."""
    assert Fault.from_text(text) == Fault(**{"times": 0, **fields})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "must begin with a status or one of"),
        ("laten 3s", "got 'laten'"),
        ("/api/auth latency", "got '/api/auth'"),
        ("600", "got '600'"),
        ("latency 3", "'3': is none of a time"),
        ("latency 3s 4s", "'4s': seconds is given twice"),
        ("503 429", "'429': status is given twice"),
        ("stall 3s", "'3s': a fault of the kind 'stall' has no seconds"),
        ("latency 503", "'503': a fault of the kind 'latency' has no status"),
        ("reset retry-after=1", "a fault of the kind 'reset' has no retry_after"),
        ("drip applied", "a fault of the kind 'drip' has no applied"),
        ("reset 0x", "'0x': is none of"),
        ("reset 0%", "fault.share: must be in"),
        ("reset 101%", "fault.share: must be in"),
        ("reset post", "'post': is none of"),
        ("reset /api/(", "fault: "),
    ],
)
def test_a_wrong_text_of_a_fault_is_an_error(text, error):
    """A typo must not test nothing: the word is named."""
    with pytest.raises(ValueError, match=re.escape(error)):
        Fault.from_text(text)


async def test_a_fault_by_its_text_is_played(gateway):
    """Until cleared, on the paths that begin so."""
    gateway.script(Fault.from_text("502 /api/service"), Fault.from_text("504 /service"))
    statuses = [int((await exchange(gateway, HEAD, until_closed=False)).split()[1]) for _ in range(3)]
    gateway.clear_faults()
    statuses.append(int((await exchange(gateway, HEAD, until_closed=False)).split()[1]))
    assert statuses == [502, 502, 502, 200]


def test_the_documented_faults_are_the_faults():
    """Every kind with its meaning, every example."""
    table = DOCUMENT.partition("<!-- kinds -->\n")[2].partition("\n<!-- /kinds -->")[0]
    rows = [f"| `{kind}` | {what} |" for kind, what in KINDS.items()]
    assert table.splitlines()[2:] == rows
    examples = re.findall(r"--fault '([^']+)'", DOCUMENT)
    assert len([Fault.from_text(text) for text in examples]) == 3


@pytest.mark.parametrize(
    "path",
    [
        "(a+)+$",
        "^(a|a)*$",
        "a*a*a*b",
        "^a?a?a?a?aaaa$",
        "(?x) (a) *",
        "(?#)(a*)(?#)*",
        "(?i:a)",
        "^a{1,9}b|c|d|e",
        "(a)(?=b)+",
    ],
)
def test_a_pattern_that_may_take_long_is_refused(path):
    """Repeats of repeats, and too many of them; told apart by their text, before any path is matched."""
    with pytest.raises(ValueError, match="must have at most 3"):
        Fault(kind="reset", path=path)


@pytest.mark.parametrize(
    "path", ["^/api/users/[^/]+/roles/[^/]+$", "/api/(?:apps|users)/[*+?|{]+", "^/a*?(?!b)c+?\\+\\*", "items$"]
)
def test_the_usual_patterns_are_taken(path):
    """And none costs more than a moment for the longest path that is matched."""
    fault = Fault(kind="reset", path=path)
    assert not fault.matches("GET", "/a" * 256 + "x")
    assert not fault.matches("GET", "/" + "a" * 511)


@pytest.mark.parametrize("path", ["[", "(", "a{99999999999}", 7, b"/a"])
def test_a_path_that_is_no_pattern_is_refused(path):
    """With the error of every other field."""
    with pytest.raises(ValueError, match="fault: path: must be"):
        Fault(kind="reset", path=path)
