"""
Programs in processes of their own, without the cost of starting an interpreter and importing other packages for each.

One interpreter per test run has imported what the programs import of others, and nothing of ours; each program runs in a
fork of it, as `__main__`, and ends as any program does. A program that tests what is imported, or a variable that is read
while one of these packages is imported, needs an interpreter of its own.
"""

import atexit
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVER = """
import gc, json, os, sys
import httpx, opentelemetry.exporter.otlp.proto.http.metric_exporter, opentelemetry.exporter.otlp.proto.http.trace_exporter
import opentelemetry.sdk.metrics, opentelemetry.sdk.trace, pydantic, requests, structlog, tenacity
gc.freeze()
program = None
for line in iter(sys.stdin.readline, ""):
    request = json.loads(line)
    child = os.fork()
    if child == 0:
        for number, (path, flags) in enumerate([(os.devnull, os.O_RDONLY), *((p, os.O_WRONLY) for p in request["files"])]):
            os.dup2(os.open(path, flags), number)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["cwd"])
        sys.argv[1:] = request["arguments"]
        program = request["code"]
        break
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
if program is not None:
    exec(compile(program, "<string>", "exec"))
"""


@functools.cache
def _server():
    """Start the interpreter that forks; it ends with this process."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    atexit.register(server.communicate)
    return server


def run_forked(code, *arguments, env=None, timeout=60):
    """
    Run a program in the root of the project, by default in this process's environment.

    Args:
        code: Its text.
        arguments: What it gets in `sys.argv[1:]`.
        env: Its environment.
        timeout: Seconds until it is killed.

    Returns:
        As `subprocess.run` does with `capture_output` and `text`.

    Raises:
        subprocess.TimeoutExpired: It was killed.
    """
    sys.audit("os.fork")  # `--unit` permits no process, and cannot see the one that forks
    server = _server()
    with tempfile.NamedTemporaryFile("r") as output, tempfile.NamedTemporaryFile("r") as errors:
        request = {
            "code": code,
            "arguments": list(map(str, arguments)),
            "environment": dict(os.environ if env is None else env),
            "cwd": str(ROOT),
            "files": [output.name, errors.name],
        }
        server.stdin.write(json.dumps(request) + "\n")
        child = int(server.stdout.readline())
        ended, _, _ = select.select([server.stdout], [], [], timeout)
        if not ended:
            os.kill(child, signal.SIGKILL)
        returncode = int(server.stdout.readline())
        if not ended:
            raise subprocess.TimeoutExpired(code, timeout, output.read(), errors.read())
        return subprocess.CompletedProcess(code, returncode, output.read(), errors.read())
