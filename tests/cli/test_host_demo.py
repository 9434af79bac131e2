"""`demo --host`: the example host, driven over HTTP."""

import json

import pytest
from demo_support import ROOT, run_demo

from runtime.cli import demo, host_demo

pytestmark = pytest.mark.sockets


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
