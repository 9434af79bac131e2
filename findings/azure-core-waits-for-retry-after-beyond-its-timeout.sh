#!/usr/bin/env bash
# Finding: a call of azure-core with timeout=1 waits the five seconds of a Retry-After, and then fails by its timeout.
#
# `timeout` of the retry policy is the time for the whole operation. It is looked at when an attempt starts, not when a
# wait does: the policy sleeps for as long as the server's Retry-After says, whatever is left, subtracts that afterwards,
# and raises "Response timeout" without another request. So the wait is always in vain, a busy server decides how long
# the caller waits, and the error names a timeout where the response was a 503.
#
# Seen with azure-core 1.41.0 on Python 3.11 and 3.13. Exits with 1 when the behaviour changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'azure-core==1.41.0' 'aiohttp==3.14.5'
"$work/venv/bin/python" - <<'PY'
import asyncio
import time
from importlib.metadata import version

from azure.core import AsyncPipelineClient
from azure.core.pipeline.policies import AsyncRetryPolicy
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import HttpRequest

requests: list[str] = []


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Respond 503, to /later with Retry-After: 5."""
    while not reader.at_eof():
        try:
            requests.append((await reader.readuntil(b"\r\n\r\n")).split()[1].decode())
        except asyncio.IncompleteReadError:
            break
        retry_after = b"retry-after: 5\r\n" if requests[-1] == "/later" else b""
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\n" + retry_after + b"content-length: 0\r\n\r\n")
    writer.close()


async def call(url: str) -> tuple[str, int, float]:
    requests.clear()
    began = time.monotonic()
    async with AsyncPipelineClient(url, policies=[AsyncRetryPolicy()], transport=AioHttpTransport()) as client:
        try:
            response = await client.send_request(HttpRequest("GET", url), timeout=1)
            ended = str(response.status_code)
        except Exception as error:
            ended = f"{type(error).__name__}: {error}"
    return ended, len(requests), time.monotonic() - began


async def main() -> bool:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    later, now = await call(f"{base}/later"), await call(f"{base}/now")
    print(f"azure-core {version('azure-core')}, timeout=1:")
    print(f"  503, Retry-After: 5: {later[0]!r} after {later[2]:.1f} s, {later[1]} request")
    print(f"  503 without it:      {now[0]!r} after {now[2]:.1f} s, {now[1]} requests")
    return later[:2] == ("ServiceResponseTimeoutError: Response timeout", 1) and later[2] >= 5


same = asyncio.run(main())
print("as found" if same else "the behaviour has changed")
raise SystemExit(not same)
PY
