"""The gateway in a process of its own."""

import json
import socket
import subprocess
import sys

import pytest

from runtime.gateway import Fault, GatewayProcess
from runtime.gateway.__main__ import main

pytestmark = pytest.mark.sockets


def test_another_process_can_script_and_read_it():
    """Faults in, log and counters out."""
    with GatewayProcess() as gateway:
        gateway.script(Fault(kind="status"))
        gateway.clear_faults()
        assert gateway.requests() == []
        assert gateway.stats()["open"] == 1
        with pytest.raises(RuntimeError, match="refused"):
            gateway._ask("POST", "faults", [{"kind": "nonsense"}])


def test_it_ends_with_its_parent():
    """A closed standard input is enough."""
    command = [sys.executable, "-m", "runtime.gateway", "--port", "0", "--json", "--exit-with-parent"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert json.loads(child.stdout.readline())["port"] > 0
    child.stdin.close()
    assert child.wait(10) == 0
    child.stdout.close()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "0.0.0.0"], "not a loopback address"),
        (["--host", "nonsense"], "not a loopback address"),
        (["--port", "70000"], "between 0 and 65535"),
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
