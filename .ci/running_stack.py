"""
What the checks of the local stack share: its environment, set when this is imported, and how its programs are asked.

The first argument of the command is the directory of the programs (`.ci/stack_binaries.py` prints it).
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
STATE = tempfile.TemporaryDirectory()
os.environ |= {
    "PATH": f"{Path(sys.argv[1]).resolve()}{os.pathsep}{os.environ['PATH']}",
    "XDG_STATE_HOME": STATE.name,
    "MOZAIKS_VENV": "none",
    "PYTHONPATH": str(ROOT),
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
    "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    "OTEL_BSP_SCHEDULE_DELAY": "500",
}
os.environ.pop("OTEL_SERVICE_NAME", None)


def check(what: str, condition: Any, seen: Any = "") -> None:
    if not condition:
        sys.exit(f"FAILED: {what}\n{seen}")
    print(f"  passed: {what}", flush=True)


def ask(port: int, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        method = "GET" if body is None else "POST"
        connection.request(method, path, body, {"content-type": "application/json"} if body else {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def ask_json(port: int, path: str, **query: str) -> Any:
    status, body = ask(port, f"{path}?{urllib.parse.urlencode(query)}")
    return json.loads(body) if status == 200 else None


def until(look: Callable[[], Any], seconds: float = 30) -> Any:
    """What *look* finds, once it finds something; else the last it saw."""
    ends = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < ends:
        time.sleep(0.25)
    return found


def command(*arguments: str, code: int = 0) -> str:
    result = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    if result.returncode != code:
        sys.exit(f"FAILED: {' '.join(arguments)}: exit code {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


def ours(*arguments: str, code: int = 0) -> str:
    return command(sys.executable, "-m", "runtime", *arguments, code=code)


def query(expression: str) -> list[Any]:
    response = ask_json(9090, "/api/v1/query", query=expression)
    return response["data"]["result"] if response else []


def files() -> Path:
    """The directory of what the stack writes."""
    return Path(STATE.name) / "mozaiks-stack"


def pid_of(service: str) -> int:
    """The process id of a program that `stack up` has started."""
    return int(json.loads((files() / f"{service}.json").read_text("utf-8"))["pid"])
