"""
Run what docker-compose.otel.yml describes, but for its images: commands, variables, mounts, names and health checks.

For `.ci/real_stack.py`, which starts it in mount and network namespaces of its own and gives it the directory of the
programs and an empty directory. There it lays a root that is the machine's own, read-only, and has the containers'
files in their places. All of it is in memory and in this namespace alone, and ends with this process: nothing here
removes a file.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Any

import yaml
from seen import ask, until
from seen import check as check_here

PROJECT = Path(__file__).resolve().parents[1]
PROGRAMS, PLACE = map(Path, sys.argv[1:])
CONTAINERS = yaml.safe_load((PROJECT / "docker-compose.otel.yml").read_text("utf-8"))["services"]
BINARIES = {"jaeger": "jaeger", "prometheus": "prometheus", "otel-collector": "otelcol-contrib"}
MONITOR = {"service": "mozaiks-connector-demo", "spanKind": "internal", "groupByOperation": "true", "ratePer": "60000"}


def check(what: str, condition: Any, seen: Any = "") -> None:
    """Print *what*, or end the run."""
    check_here(f"as composed: {what}", condition, seen)


def body(port: int, path: str, **query: str) -> bytes:
    """Return the body of a service's 200 response; nothing otherwise."""
    status, found = ask(port, f"{path}?{urllib.parse.urlencode(query)}")
    return found if status == 200 else b""


def query(expression: str) -> list[Any]:
    """Return the series that Prometheus finds."""
    return json.loads(body(9090, "/api/v1/query", query=expression))["data"]["result"]


def is_open(port: str) -> bool:
    """Whether something listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


def run(*command: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True, cwd=PROJECT)


def lay_root() -> None:
    """Lay the root directory."""
    run("mount", "--make-rprivate", "/")
    top = [entry for entry in Path("/").iterdir() if entry.name not in {"etc", "lost+found"}]
    hosts = f"127.0.0.1 localhost {' '.join(CONTAINERS)}\n"
    run("mount", "-t", "tmpfs", "root", str(PLACE))
    for entry in top:
        if entry.is_symlink():
            (PLACE / entry.name).symlink_to(entry.readlink())
        elif entry.is_dir():
            (PLACE / entry.name).mkdir()
            run("mount", "--rbind", str(entry), str(PLACE / entry.name))
            run("mount", "-o", "remount,bind,ro", str(PLACE / entry.name))
    shutil.copytree("/etc", PLACE / "etc", symlinks=True)
    (PLACE / "etc/hosts").write_text(hosts, "utf-8")
    for volume in (volume for name in BINARIES for volume in CONTAINERS[name]["volumes"]):
        source, target, _ = volume.split(":")
        if target.startswith("/etc/") and (PROJECT / source).is_file():
            place = PLACE / target.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / source, place)


def start(name: str, running: contextlib.ExitStack) -> None:
    """Start a container's program and wait until its own check says that it is healthy."""
    container = CONTAINERS[name]
    process = subprocess.Popen(
        ["chroot", str(PLACE), str(PROGRAMS / BINARIES[name]), *container["command"]],
        env={"PATH": os.environ["PATH"], **container["environment"]},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    running.enter_context(process)
    running.callback(process.terminate)
    if health := container.get("healthcheck"):
        asked = until(lambda: not subprocess.run(health["test"][1:], check=False, stderr=subprocess.DEVNULL).returncode)
        check(f"{name} is healthy by its container's check", asked)


def main() -> None:
    """Start the programs, send the demo's traffic, look at all that depends on names, paths and variables."""
    run("ip", "link", "set", "lo", "up")
    lay_root()
    with contextlib.ExitStack() as running:
        for name in BINARIES:
            start(name, running)
        ports = sorted(port.split(":")[1] for name in BINARIES for port in CONTAINERS[name]["ports"])
        check(f"the published ports {', '.join(ports)} listen", until(lambda: all(map(is_open, ports))))
        subprocess.run([sys.executable, "-m", "runtime", "demo"], check=True, cwd=PROJECT, stdout=subprocess.DEVNULL)
        operations = "count by (mozaiks_connector_operation) (mozaiks_connector_call_duration_seconds_count)"
        check("the demo's calls are in Prometheus", until(lambda: len(query(operations)) > 10))
        check("Prometheus reads all of its targets", until(lambda: len(query("up == 1")) == 3), query("up"))
        check("Prometheus has the rules", len(json.loads(body(9090, "/api/v1/rules"))["data"]["groups"]) == 3)
        services = until(lambda: json.loads(body(16686, "/api/v3/services")).get("services"))
        check("the demo's spans are in Jaeger", services == ["mozaiks-connector-demo"], services)
        calls = until(lambda: json.loads(body(16686, "/api/metrics/calls", **MONITOR) or b"{}").get("metrics"))
        check("Jaeger asks Prometheus for its Monitor tab", calls)
        check("Jaeger has our settings in its page", b"lastAtmSearchSpanKind" in body(16686, "/"))


if __name__ == "__main__":
    main()
