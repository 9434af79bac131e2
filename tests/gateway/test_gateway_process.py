"""The gateway in a process of its own."""

import json
import subprocess
import sys

import pytest

from runtime.gateway import Fault, GatewayProcess

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
