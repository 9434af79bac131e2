#!/usr/bin/env bash
# hypercorn 0.18 is stopped by SIGTERM, with a graceful timeout of 20 s. A request whose head the application was given,
# and whose response the application has sent within that time, is expected to get it. Where the event loop is busy,
# some do not: `send` returns, the process ends with exit code 0, and the connection ends without a byte.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet hypercorn==0.18.0
cat >"$folder/application.py" <<'PY'
import asyncio
import os
import time

SENT = os.open("sent.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    await asyncio.sleep(0.2)
    time.sleep(0.03)  # a busy event loop: work between two awaits
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
    os.write(SENT, scope["path"].encode() + b"\n")
PY
cat >"$folder/driver.py" <<'PY'
import asyncio
import importlib.metadata
import signal
import socket
import subprocess
import sys

received = set()


async def request(port, number):
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /{number} HTTP/1.1\r\nHost: core\r\n\r\n".encode())
        await reader.readuntil(b"ok")
        received.add(f"/{number}")
        writer.close()
    except (OSError, EOFError):
        pass


async def main():
    number = 0
    for _ in range(3):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "hypercorn", "--graceful-timeout", "20", "--bind", f"127.0.0.1:{port}"]
        server = subprocess.Popen([*command, "application:app"], stderr=subprocess.DEVNULL)
        while True:
            try:
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            except OSError:
                await asyncio.sleep(0.1)
        tasks, stopped = [], False
        while server.poll() is None:
            tasks.append(asyncio.create_task(request(port, number)))
            number += 1
            await asyncio.sleep(0.02)
            if len(tasks) == 75 and not stopped:
                server.send_signal(signal.SIGTERM)
                stopped = True
        await asyncio.gather(*tasks)
        assert server.returncode == 0, server.returncode
    sent = set(open("sent.txt").read().split())
    lost = sent - received
    print(f"hypercorn {importlib.metadata.version('hypercorn')}: {len(sent)} responses sent by the application, "
          f"{len(lost)} not received")
    sys.exit(not lost)


asyncio.run(main())
PY
cd "$folder"
timeout 120 venv/bin/python driver.py
