"""`--unit`: which tests it runs, and that it allows no socket and no process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parent / "support"
TESTS = """
import asyncio, contextlib, socket, subprocess, sys
import pytest


def test_that_computes(): pass

async def test_that_uses_the_event_loop(): await asyncio.sleep(0)

def test_that_opens_a_socket(): socket.socket().close()

def test_that_swallows_the_error():
    with contextlib.suppress(Exception):
        socket.socket(socket.AF_INET6)

def test_that_starts_a_process(): subprocess.run([sys.executable, "--version"])

@pytest.fixture
def gateway(): return socket.socket()

def test_with_a_gateway(gateway): gateway.close()

@pytest.mark.sockets
def test_marked(): socket.socket().close()

@pytest.mark.torture
def test_tortured(): pass
"""


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("option", "failed", "passed"),
    [
        ("", set(), 8),
        ("--unit", {"test_that_opens_a_socket", "test_that_swallows_the_error", "test_that_starts_a_process"}, 2),
    ],
    ids=["whole", "unit"],
)
def test_without_the_marker_a_socket_or_a_process_is_an_error(tmp_path, option, failed, passed):
    """An unmarked test fails, also where it catches the error; marked ones, and users of a gateway, are left out."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\nmarkers =\n    sockets\n    torture\n")
    (tmp_path / "test_sample.py").write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "unit_mode",
        "-p",
        "no:cacheprovider",
        *filter(None, [option]),
    ]
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    reported = {
        line.partition("::")[2].partition(" ")[0]
        for line in result.stdout.splitlines()
        if line.startswith(("FAILED", "ERROR"))
    }
    assert reported == failed, result.stdout
    assert f"{passed} passed" in result.stdout
