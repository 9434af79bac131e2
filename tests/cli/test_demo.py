"""The demo, as its user runs it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.cli.trace_view import CallTrace, render_trace

ROOT = Path(__file__).resolve().parents[2]


def run_demo(*arguments, **environment):
    command = [sys.executable, "-m", "runtime", "demo", *arguments]
    env = {**os.environ, "MOZAIKS_VENV": "none", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def document():
    result = run_demo("--json")
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_all_of_the_story_holds(document):
    """Every check, and the telemetry matches the gateway's log."""
    assert document["ok"]
    assert len(document["steps"]) == 8
    assert all(check["held"] for step in document["steps"] for check in step["checks"])


def test_the_figures_come_from_telemetry_and_agree(document):
    """Requests the gateway read are the attempts in the table."""
    assert sum(row["attempts"] for row in document["operations"]) == document["gateway"]["requests"]
    attempts = [attempt for step in document["steps"] for trace in step["traces"] for attempt in trace["attempts"]]
    assert len(attempts) == document["gateway"]["requests"]


def test_the_text_shows_the_trees():
    """In plain text where output is no terminal; an absent collector changes nothing."""
    result = run_demo(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert (result.returncode, result.stderr) == (0, "")
    assert "\x1b" not in result.stdout
    assert re.search(r"├─ wait +░+ +1\.\d\d s Retry-After 1 s", result.stdout)
    assert "unknown: ResponseLostError" in result.stdout
    assert "closed → open" in result.stdout


def test_a_trace_of_no_duration_can_be_drawn():
    """A call that was refused at once."""
    call = CallTrace(
        trace_id="0",
        span_id="0",
        name="a.b",
        correlation_id="",
        duration_s=0.0,
        outcome="failure",
        error_type="CircuitOpenError",
        stop_reason="circuit_open",
        events=[{"name": "rejected", "at_s": 0.0, "mozaiks.guard": "bulkhead"}],
    )
    assert render_trace(call).row_count == 3
