"""A host's own instrumentations: whatever is instrumented, when and how, a call has one span per attempt: ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {
    "spans": [["mozaiks.connectors", "CLIENT", True], ["mozaiks.connectors", "INTERNAL", False]],
    "carried": ["mozaiks.connectors"],
}
THEIRS = {
    "spans": [["opentelemetry.instrumentation.httpx", "CLIENT", False]],
    "carried": ["opentelemetry.instrumentation.httpx"],
}
NOTHING = {"spans": [], "carried": [""]}


def host(mode, **environment):
    command = [sys.executable, str(ROOT / "tests" / "support" / "instrumented_host.py"), mode]
    env = {**{k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}, "PYTHONPATH": str(ROOT), **environment}
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.sockets
@pytest.mark.parametrize("opt_in", ["", "http", "http/dup"])
def test_no_span_is_doubled_and_the_hosts_clients_keep_theirs(opt_in):
    """Before and after our clients were made, on every way onto the wire, under every choice of conventions."""
    found = host("sdk", OTEL_SEMCONV_STABILITY_OPT_IN=opt_in)
    ways = ("own", "httpx", "aiohttp")
    expected = {f"instrumented {order}, {way}": OURS for order in ("not", "after", "before") for way in ways}
    expected |= {f"configured, {way}": OURS for way in ways}
    expected |= {
        "instrumented not, the host's client": NOTHING,
        "instrumented after, the host's client": THEIRS,
        "instrumented before, the host's client": THEIRS,
        "configured, the host's client": THEIRS,
        "shut down, the host's client": NOTHING,
        "a transport instrumented by itself": OURS,
    }
    for way in ("own", "httpx"):
        expected[f"respx by httpcore, {way}"] = {**OURS, "carried": []}  # intercepted
        expected[f"respx by httpx, {way}"] = OURS  # which replaces parts of httpx's client: no part of ours
    assert found == expected


@pytest.mark.sockets
def test_a_host_with_the_api_alone_works():
    """Instrumentations without an SDK say nothing, and calls go through."""
    found = host("api")
    assert found.pop("requests") == 3
    assert found == dict.fromkeys(("own", "httpx", "aiohttp"), NOTHING)
