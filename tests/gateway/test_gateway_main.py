"""`python3 -m runtime.gateway`: its arguments, its help, and what it prints."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from runtime.gateway import Fault, GatewayProcess
from runtime.gateway.__main__ import main
from runtime.gateway.faults import KINDS

pytestmark = pytest.mark.sockets


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_it_misbehaves_from_the_start(form):
    """As its arguments say, each by its text."""
    command = [sys.executable, "-m", "runtime", "gateway", "--port", "0", "--exit-with-parent", *form]
    command += ["--fault", "latency 1ms 1x /api/auth", "--fault", "418 /api/auth"]
    environment = {**os.environ, "MOZAIKS_VENV": "none"}
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    first = child.stdout.readline()
    url = json.loads(first)["url"] if form else re.fullmatch(r"gateway at (\S+)\n", first)[1]
    shown = [] if form else [child.stdout.readline().strip() for _ in range(5)]
    with httpx.Client(base_url=url, trust_env=False, headers={"authorization": "Bearer token-ada"}) as client:
        assert [client.get(path).status_code for path in ("/api/auth/me", "/api/auth/me", "/api/apps")] == [
            200,
            418,
            200,
        ]
    child.stdin.close()
    assert child.wait(10) == 0
    child.stdout.close()
    assert form or shown[2:4] == ["fault: latency 1ms 1x /api/auth", "fault: 418 /api/auth"]


def test_it_serves_a_document_and_misbehaves():
    """The service of a document has the same faults, and the same log."""
    with GatewayProcess(document=Path(__file__).parent.parent / "openapi/eshop-catalog-aspnet10.json") as gateway:
        gateway.script(Fault(kind="status", retry_after="1"), Fault(kind="status", status=500, applied=True))
        with httpx.Client(base_url=gateway.url, params={"api-version": "1.0"}, trust_env=False) as client:
            found = [client.get("/api/catalog/catalogtypes"), client.delete("/api/catalog/items/7")]
            found += [client.delete("/api/catalog/items/7"), client.get("/api/catalog/items/7/pic")]
        assert [one.status_code for one in found] == [503, 500, 204, 200]
        assert found[-1].headers["content-type"] == "application/octet-stream"
        assert [one["applied"] for one in gateway.requests()] == [False, True, True, False]


def test_the_help_lists_the_faults(capsys):
    """Every kind, and the words."""
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"  {kind} " in shown for kind in KINDS)
    assert "'latency 3s 50% /api/auth'" in shown


def test_a_document_cannot_steer_the_terminal(tmp_path):
    """Control characters in its title are not printed."""
    document = {"openapi": "3.1.0", "info": {"title": "a\x1b[2J"}, "paths": {"/a": {"get": {}}}}
    (tmp_path / "a.json").write_text(json.dumps(document))
    command = [sys.executable, "-m", "runtime.gateway", "--port", "0", "--from", tmp_path / "a.json"]
    command += ["--exit-with-parent"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert "serves 1 operations of a?[2J\n" in child.communicate(timeout=10)[0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "0.0.0.0"], "not a loopback address"),
        (["--host", "nonsense"], "not a loopback address"),
        (["--port", "70000"], "between 0 and 65535"),
        (["--from", "absent.json"], "--from: absent.json: cannot be read"),
        (["--from", "absent.json", "--dialect", "cloud"], "--dialect: responses of --from"),
        (["--fault", "503", "--fault", "latency 3 s"], "--fault 'latency 3 s': '3': is none of"),
    ],
)
def test_wrong_usage_is_told_in_one_line(arguments, told, capsys):
    """With exit code 2."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_port_in_use_is_told_in_one_line(capsys):
    """Instead of a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
