#!/usr/bin/env bash
# Finding: stamina with timeout=1 sends the second attempt after four seconds, where a backoff hook returns Retry-After.
#
# `timeout` is "maximum total time for all retries", and a hook that returns seconds is the documented way to follow a
# Retry-After header. Between attempts only the time that has passed is compared with the timeout, not the wait that
# comes next; `wait_max` does not apply to a hook's seconds. So the server decides how long the call lasts, and the
# retry is sent when its caller's time is over. tenacity, which is below it, has `stop_before_delay` for that.
#
# Seen with stamina 26.1.0 and tenacity 9.2.1 on Python 3.11 and 3.13. Exits with 1 when the behaviour changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'stamina==26.1.0' 'tenacity==9.2.1' 'httpx==0.28.1'
"$work/venv/bin/python" - <<'PY'
import asyncio
import time
from importlib.metadata import version

import httpx
import stamina
import tenacity

requests: list[float] = []
stamina.instrumentation.set_on_retry_hooks([])  # no log lines


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Respond 503 with Retry-After: 4 to the first request, 200 to the others."""
    await reader.readuntil(b"\r\n\r\n")
    requests.append(time.monotonic())
    if len(requests) == 1:
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 4\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    else:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    writer.close()


def retry_after(error: Exception) -> bool | float:
    return isinstance(error, httpx.HTTPStatusError) and float(error.response.headers["Retry-After"])


async def get(url: str) -> int:
    async with httpx.AsyncClient() as client:
        return (await client.get(url)).raise_for_status().status_code


async def gap(decorator) -> tuple[str, list[float]]:
    requests.clear()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        ended = str(await decorator(get)(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
    except httpx.HTTPStatusError as error:
        ended = str(error.response.status_code)
    server.close()
    return ended, [one - requests[0] for one in requests]


async def main() -> bool:
    hooked = await gap(stamina.retry(on=retry_after, attempts=3, timeout=1, wait_max=1))
    bounded = await gap(
        tenacity.retry(
            retry=tenacity.retry_if_exception_type(httpx.HTTPStatusError),
            wait=tenacity.wait_exception(retry_after),
            stop=tenacity.stop_before_delay(1),
            reraise=True,
        )
    )
    print("503 with Retry-After: 4, one second for the call; seconds at which requests were sent:")
    names = f"stamina {version('stamina')}, timeout=1", f"tenacity {version('tenacity')}, stop_before_delay(1)"
    for name, (ended, sent) in zip(names, (hooked, bounded), strict=True):
        print(f"  {name}: {', '.join(f'{one:.1f}' for one in sent)}; ended with {ended}")
    return hooked[0] == "200" and len(hooked[1]) == 2 and hooked[1][1] >= 4 and bounded[0] == "503"


same = asyncio.run(main())
print("as found" if same else "the behaviour has changed")
raise SystemExit(not same)
PY
