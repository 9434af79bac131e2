"""The demo, as its user runs it."""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from otlp_collector import running_collector

from runtime.cli import demo, host_demo

pytestmark = pytest.mark.sockets

ROOT = Path(__file__).resolve().parents[2]


def run_demo(*arguments, **environment):
    command = [sys.executable, "-m", "runtime", "demo", *arguments]
    env = {**os.environ, "MOZAIKS_VENV": "none", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=240)


@pytest.fixture(scope="module")
def document():
    """The story of a run whose collector is absent: its connections are refused, and that changes nothing."""
    result = run_demo("--json", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def as_text(tmp_path_factory):
    """A run in plain text, with a collector; its picture is to go where its spans go."""
    folder = tmp_path_factory.mktemp("demo")
    spans = folder / "t.jsonl"
    with running_collector() as collector:
        arguments = "--traces", str(spans), "--svg", str(folder / "." / "t.jsonl")
        result = run_demo(*arguments, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        return result, spans, list(collector.received)


def test_all_of_the_story_holds(document):
    """Every check, and the telemetry matches the gateway's log."""
    assert document["ok"]
    assert len(document["steps"]) == 9
    assert all(check["held"] for step in document["steps"] for check in step["checks"])


def test_the_figures_come_from_telemetry_and_agree(document):
    """Requests the gateway read are the attempts in the table."""
    assert sum(row["attempts"] for row in document["operations"]) == document["gateway"]["requests"]
    attempts = [attempt for step in document["steps"] for trace in step["traces"] for attempt in trace["attempts"]]
    assert len(attempts) == document["gateway"]["requests"]


def test_the_text_shows_the_trees_and_spans_go_to_the_endpoint(as_text):
    """In plain text where output is no terminal; over OTLP where an endpoint is set."""
    result, _spans, received = as_text
    assert "\x1b" not in result.stdout
    assert re.search(r"├─ wait +░+ +1\.\d\d s Retry-After 1 s", result.stdout)
    assert re.search(r"unknown: ReadError after the request\s+was sent", result.stdout)
    assert "closed → open" in result.stdout
    assert {one.path for one in received} == {"/v1/traces", "/v1/metrics"}
    bodies = [one.body for one in received]
    sent = b"".join(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body for body in bodies)
    assert b"http.client.request.duration" in sent
    assert b"identity.get_user_roles" in sent


def test_a_picture_never_overwrites_the_spans(as_text):
    """The story is printed, then one line says why there is no picture; a link is not followed either."""
    result, spans, _received = as_text
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert f"demo: {spans}: is the same file as {spans}, which must not be overwritten" in result.stderr
    assert spans.read_bytes().startswith(b'{"resourceSpans"')
    assert spans.stat().st_mode & 0o777 == 0o600


def test_an_absent_collector_changes_nothing(document):
    """Its connections are refused, and the demo still succeeds within its timeout."""
    assert document["ok"]


def test_the_host_is_driven_over_http(tmp_path):
    """Two workers, and one trace from a request to the attempts of its call; its spans go to the file."""
    spans = tmp_path / "spans.jsonl"
    result = run_demo("--host", "--json", "--traces", str(spans))
    document = json.loads(result.stdout)
    failed = [check for step in document["steps"] for check in step["checks"] if not check["held"]]
    assert (failed, result.returncode, result.stderr) == ([], 0, "")
    assert len(document["steps"]) == 7
    (burst,) = document["steps"][3]["traces"]
    assert burst["name"] == "identity.get_current_user"
    assert len(burst["attempts"]) == 3
    assert b"POST /api/execute/{name}" in spans.read_bytes()


def test_the_host_is_in_the_sources_alone(monkeypatch, capsys):
    """An installed package does not have it, and says so before anything is started."""
    monkeypatch.setattr(host_demo, "project_directory", lambda: None)
    assert demo.main(["--host", "--json"]) == 2
    assert "examples/host, which is in the sources of the project alone" in capsys.readouterr().err


def test_a_host_that_does_not_start_is_reported_with_its_own_words(monkeypatch, capsys, tmp_path):
    """The last of what it wrote."""
    (tmp_path / "examples").mkdir()
    monkeypatch.setattr(host_demo, "project_directory", lambda: tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(host_demo, "_APPLICATION", "no_such_module:app")
    assert demo.main(["--host", "--json"]) == 1
    assert "no_such_module" in capsys.readouterr().err


def test_the_story_of_tuning_holds_and_is_that_of_the_tutorial():
    """Every check; and each command prints what the page shows, which has the same two files."""
    result = run_demo("--tuning", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert document["ok"]
    page = (ROOT / "docs" / "tuning-tutorial.md").read_text()
    outputs = [step["output"] for step in document["steps"]]
    printed = [block for output in outputs for block in re.split(r"^(?=\$ )", output, flags=re.MULTILINE) if block]
    commands = [block for block in printed if block.startswith("$ python3")]
    assert len(commands) == 2
    assert [block for block in commands if f"```text\n{block}```" not in page] == []
    for block in printed:
        if block.startswith("$ cat "):
            command, policy = block.split("\n", 1)
            policy = policy.partition("\nlogged at the start")[0].rstrip()
            assert f"```toml\n# {command.removeprefix('$ cat ')}\n{policy}\n```" in page
    assert "settings.toml:2: attempt.timeout_s" in outputs[0]
    attempts = [[len(trace["attempts"]) for trace in step["traces"]] for step in document["steps"]]
    assert attempts[0] == [1]
    assert attempts[-2] in ([2], [3])
