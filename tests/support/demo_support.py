"""Runs the demo as its user does."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_demo(*arguments, **environment):
    command = [sys.executable, "-m", "runtime", "demo", *arguments]
    env = {**os.environ, "MOZAIKS_VENV": "none", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=240)
