#!/usr/bin/env bash
# Finding: under uvicorn a process that is stopped by SIGTERM runs no `atexit` handler, though it shuts down gracefully.
#
# uvicorn waits for requests, runs the application's lifespan to its end, restores the signal handlers that were there
# before it, and then raises the captured signal again. With Python's default handler that ends the process at once. So
# what relies on `atexit` (OpenTelemetry's providers flush their queues there) is lost at every rolling restart, and
# the lifespan is the place to flush. SIGINT is different: its default handler raises KeyboardInterrupt, and `atexit`
# runs.
#
# Seen with uvicorn 0.51.0 on Python 3.11. Exits with 1 when the behaviour changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'uvicorn==0.51.0'
cat >"$work/app.py" <<'PY'
import atexit
import sys


def say(text):
    print(text, file=sys.stderr, flush=True)


atexit.register(say, "atexit ran")


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
                say("started")
            else:
                say("lifespan ended")
                await send({"type": "lifespan.shutdown.complete"})
                return
PY
"$work/venv/bin/python" - "$work" <<'PY'
import signal
import subprocess
import sys
from importlib.metadata import version

print("uvicorn", version("uvicorn"))
seen = {}
for name in ("SIGTERM", "SIGINT"):
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", "0", "--log-level", "critical"]
    server = subprocess.Popen(command, cwd=sys.argv[1], stderr=subprocess.PIPE, text=True)
    for line in server.stderr:
        if line.strip() == "started":
            break
    server.send_signal(getattr(signal, name))
    _, rest = server.communicate(timeout=30)
    seen[name] = (server.returncode, "lifespan ended" in rest, "atexit ran" in rest)
    print(f"{name}: exit code {seen[name][0]}, lifespan ended: {seen[name][1]}, atexit ran: {seen[name][2]}")
same = seen["SIGTERM"] == (-signal.SIGTERM, True, False) and seen["SIGINT"][1:] == (True, True)
print("as found" if same else "the behaviour has changed")
raise SystemExit(not same)
PY
