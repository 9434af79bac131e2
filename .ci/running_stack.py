"""
What the checks of the local stack share: its environment, set when this is imported, and how its programs are asked.

The first argument of the command is the directory of the programs (`.ci/stack_binaries.py` prints it).
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.parse
from pathlib import Path
from typing import Any

from seen import ask

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


def ask_json(port: int, path: str, **query: str) -> Any:
    status, body = ask(port, f"{path}?{urllib.parse.urlencode(query)}")
    return json.loads(body) if status == 200 else None


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
