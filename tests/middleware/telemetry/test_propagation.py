"""The host's propagators; W3C's where they cannot be loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.sockets
ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import json, logging, sys
logging.basicConfig(level="INFO", stream=sys.stderr, format="%(name)s %(message)s")
logging.getLogger("opentelemetry").setLevel("CRITICAL")
import middleware
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from middleware import Telemetry
from runtime.testing import ScriptedUpstream, run_virtual

upstream = ScriptedUpstream([], then=200)
provider = TracerProvider(shutdown_on_exit=False)
clients = [upstream.client(telemetry=Telemetry(tracer_provider=provider)) for _ in range(2)]

async def main():
    context.attach(baggage.set_baggage("tenant", "t-1"))
    for client in clients:
        await client.get("/x")

run_virtual(main())
print(json.dumps([sorted({"traceparent", "baggage"} & dict(request.headers).keys()) for request in upstream.requests]))
"""
UNUSABLE = ["tracecontext,baggage,xray", "b3", "none such", ",", "tracecontext,,baggage", "tracecontext:x"]


def run(value):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={"OTEL_PROPAGATORS": value},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("value", UNUSABLE)
def test_propagators_that_cannot_be_loaded_are_replaced_by_w3cs(value):
    """A container's variable may name one that this program has not installed; one line per process says so."""
    result = run(value)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == [["baggage", "traceparent"]] * 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("mozaiks.telemetry propagators.unusable OTEL_PROPAGATORS: ValueError")


@pytest.mark.parametrize(
    ("value", "headers"),
    [("", ["baggage", "traceparent"]), ("tracecontext", ["traceparent"]), ("baggage", ["baggage"]), ("none", [])],
)
def test_propagators_that_can_be_loaded_are_used(value, headers):
    """As the host chose them, without a word; early versions of the API load neither an empty list nor `none`."""
    result = run(value)
    alone = subprocess.run(
        [sys.executable, "-c", "import opentelemetry.propagate"],
        env={**os.environ, "OTEL_PROPAGATORS": value},
        capture_output=True,
        check=False,
    )
    if alone.returncode == 0:
        assert result.stderr == ""
    else:
        assert "propagators.unusable" in result.stderr
        headers = ["baggage", "traceparent"]
    assert (result.returncode, json.loads(result.stdout)) == (0, [headers] * 2)
