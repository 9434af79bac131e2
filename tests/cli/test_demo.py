"""
The demo, as its user runs it.

Also the tests of `runtime.cli.story`.
"""

import gzip
import json
import re

import pytest
from demo_support import run_demo
from otlp_collector import running_collector

pytestmark = pytest.mark.sockets


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
