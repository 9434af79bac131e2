#!/usr/bin/env bash
# Finding: aiohttp-retry repeats no request that ends in an exception, though its README says "by default on all".
#
# `RetryOptionsBase(exceptions=None)` is documented as "on which exceptions we should retry, by default on all". None
# becomes an empty set, and an exception is repeated only where it is an instance of a member: so a timeout, as it is
# run here, ends the call at the first attempt, with `attempts=3` and a client that looks as if it retried.
# Responses are repeated as documented (5xx by default). With `exceptions={Exception}` all attempts are made.
#
# Seen with aiohttp-retry 2.9.1 and aiohttp 3.14.5 on Python 3.11 and 3.13. Exits with 1 when the behaviour changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'aiohttp-retry==2.9.1' 'aiohttp==3.14.5'
"$work/venv/bin/python" - <<'PY'
import asyncio
from importlib.metadata import version

from aiohttp import ClientTimeout
from aiohttp_retry import ExponentialRetry, RetryClient

requests: list[str] = []


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Respond 503 to /busy; to all else only after the client's timeout."""
    requests.append((await reader.readuntil(b"\r\n\r\n")).split()[1].decode())
    if requests[-1] == "/busy":
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
    else:
        await reader.read()
    writer.close()


async def attempts_of(url: str, options: ExponentialRetry) -> tuple[str, int]:
    requests.clear()
    async with RetryClient(retry_options=options, timeout=ClientTimeout(total=0.5), raise_for_status=True) as client:
        try:
            async with client.get(url):
                return "no error", len(requests)
        except Exception as error:
            return type(error).__name__, len(requests)


async def main() -> bool:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    default = ExponentialRetry(attempts=3, start_timeout=0.01)
    named = ExponentialRetry(attempts=3, start_timeout=0.01, exceptions={Exception})
    found = [
        await attempts_of(f"{base}/slow", default),
        await attempts_of(f"{base}/slow", named),
        await attempts_of(f"{base}/busy", default),
    ]
    print(f"aiohttp-retry {version('aiohttp-retry')}, aiohttp {version('aiohttp')}; attempts=3, requests that were sent:")
    for what, (error, count) in zip(("timeout, defaults", "timeout, exceptions={Exception}", "503, defaults"), found, strict=True):
        print(f"  {what + ':':33} {count}, then {error}")
    return found == [("TimeoutError", 1), ("TimeoutError", 3), ("ClientResponseError", 3)]


same = asyncio.run(main())
print("as found" if same else "the behaviour has changed")
raise SystemExit(not same)
PY
