"""The example of a signature: the server can verify what it read, on every attempt."""

import asyncio
import hmac
import re

import pytest

from examples import signing_header
from examples.signing_header import SigningHeader
from middleware import HostLayers
from runtime.connectors.base import PlatformHttpClient
from runtime.testing import LoopClock, ScriptedUpstream, virtual_time

SECRET = b"marker-secret"


def verify(seen):
    """As a server would, from the request alone; returns time and nonce."""
    timestamp, nonce, mac = re.fullmatch(r"t=(\d+),n=(\w+),v1=(\w+)", seen.headers["x-signature"]).groups()
    target = seen.path + (f"?{seen.query}" if seen.query else "")
    text = f"{timestamp}\n{nonce}\n{seen.method}\n{target}\n".encode() + seen.body
    assert hmac.compare_digest(mac, hmac.new(SECRET, text, "sha256").hexdigest())
    return int(timestamp), nonce


def client_of(upstream):
    layer = SigningHeader(SECRET, now=asyncio.get_running_loop().time)
    return PlatformHttpClient(
        "http://platform.test/base",
        transport=upstream,
        clock=LoopClock(),
        middleware=HostLayers(attempt=[layer]),
    )


@virtual_time
async def test_each_attempt_is_signed_anew():
    """With its own time and the call's nonce; another call has another one."""
    upstream = ScriptedUpstream(["hang", {}, {}])
    client = client_of(upstream)
    await client.put("/api/items/{id}", path_params={"id": "1"}, params={"q": "x"}, json_body={"n": 1})
    await client.get("/api/items")
    (first, nonce), (second, same), (_, another) = map(verify, upstream.requests)
    assert second >= first + 10
    assert nonce == same != another
    assert upstream.requests[0].path == "/base/api/items/1"


@pytest.mark.sockets
async def test_it_runs(capsys):
    """The file's own demonstration, against the reference gateway."""
    await signing_header.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" x-")[0].rpartition(" ")[0] for line in lines] == ["GET /api/service/items"] * 2
