"""Setting telemetry up: what is read, what is sent, and that nothing of it can block or fail a program."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from forked import run_forked
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otlp_collector import KeepAlive

from middleware import ConfigError
from runtime.connectors.base import PlatformHttpClient
from runtime.gateway import Fault
from runtime.telemetry import configure_telemetry
from runtime.telemetry import setup as telemetry
from runtime.traces.model import traces_of
from runtime.traces.page import render_page
from runtime.traces.trace_file import SpanReader

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("no_otel_settings")]
ROOT = Path(__file__).resolve().parents[2]


def read_file(path):
    with path.open("rb") as file:
        return list(SpanReader().read(file))


async def test_spans_and_metrics_reach_a_collector_and_a_file(collector, gateway, no_otel_settings, tmp_path):
    """One call: the same two spans in both, and the metrics in addition."""
    no_otel_settings.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    no_otel_settings.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=t-1")
    no_otel_settings.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    path = tmp_path / "traces.jsonl"
    with configure_telemetry(service_name="me", trace_file=path) as handle:
        async with PlatformHttpClient(gateway.url, gateway.api_key, telemetry=handle.telemetry) as client:
            await client.get("/api/service/items", path_params={})
        assert handle.shutdown()
    assert handle.dropped == {"otlp": 0, "file": 0}
    spans = ExportTraceServiceRequest.FromString(
        next(received.body for received in collector.received if received.signal == "traces")
    )
    metrics = ExportMetricsServiceRequest.FromString(
        next(received.body for received in collector.received if received.signal == "metrics")
    )
    sent = {span.name: span.span_id.hex() for scope in spans.resource_spans[0].scope_spans for span in scope.spans}
    assert set(sent) == {"platform.get", "GET /api/service/items"}
    assert {span.name: span.span_id for span in read_file(path)} == sent
    resource = {pair.key: pair.value.string_value for pair in spans.resource_spans[0].resource.attributes}
    assert resource["service.name"] == "me"
    assert resource["deployment.environment.name"] == "test"
    names = {metric.name for scope in metrics.resource_metrics[0].scope_metrics for metric in scope.metrics}
    assert {
        "http.client.request.duration",
        "mozaiks.connector.call.duration",
        "mozaiks.telemetry.export.dropped",
    } <= names
    assert {received.headers.get("x-tenant") for received in collector.received} == {"t-1"}


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "mine"),
        ({"OTEL_SERVICE_NAME": "theirs"}, "theirs"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=theirs"}, "theirs"),
    ],
)
def test_the_environments_service_name_wins(no_otel_settings, variables, name):
    """The name in the environment is the operator's choice."""
    for variable, value in variables.items():
        no_otel_settings.setenv(variable, value)
    with configure_telemetry(service_name="mine") as handle:
        assert handle.tracer_provider.resource.attributes["service.name"] == name


def test_without_an_endpoint_nothing_is_sent():
    """No collector is guessed."""
    with configure_telemetry() as handle:
        assert handle.endpoint == ""
        assert handle.dropped == {}


async def test_the_sampler_of_the_environment_is_used(gateway, no_otel_settings, tmp_path):
    """Unsampled calls reach no exporter and count as no loss; metrics count them all the same."""
    no_otel_settings.setenv("OTEL_TRACES_SAMPLER", "always_off")
    reader = InMemoryMetricReader()
    with configure_telemetry(trace_file=tmp_path / "t.jsonl", metric_readers=[reader]) as handle:
        async with PlatformHttpClient(gateway.url, gateway.api_key, telemetry=handle.telemetry) as client:
            await client.get("/api/service/items")
        exported = reader.get_metrics_data().to_json()
    assert (tmp_path / "t.jsonl").read_bytes() == b""
    assert handle.dropped == {"file": 0}
    assert "http.client.request.duration" in exported


@pytest.mark.parametrize("variable", ["OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"])
async def test_telemetry_can_be_switched_off(collector, gateway, no_otel_settings, variable):
    """By the variables that switch any SDK off; calls go on."""
    no_otel_settings.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    no_otel_settings.setenv("OTEL_METRICS_EXPORTER", "none")
    no_otel_settings.setenv(variable, "true" if variable == "OTEL_SDK_DISABLED" else "none")
    with configure_telemetry() as handle:
        async with PlatformHttpClient(gateway.url, gateway.api_key, telemetry=handle.telemetry) as client:
            assert (await client.get("/api/service/items"))["items"] == []
    assert collector.received == []
    assert len(gateway.requests) == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://x"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://h:99999"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_METRICS_EXPORTER", "prometheus"),
    ],
)
def test_an_unusable_variable_is_named(no_otel_settings, variable, value):
    """At start, not at the first lost span."""
    no_otel_settings.setenv(variable, value)
    with pytest.raises(ConfigError, match=variable):
        configure_telemetry(trace_file=os.devnull)


def test_a_protocol_that_is_not_spoken_is_named(no_otel_settings):
    """GRPC on an HTTP port would lose everything in silence."""
    no_otel_settings.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    no_otel_settings.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf"):
        configure_telemetry()


def test_a_trace_file_that_cannot_be_written_is_named(tmp_path):
    """With its place and the reason."""
    with pytest.raises(ConfigError, match=r"trace_file: cannot write .*: No such file or directory"):
        configure_telemetry(trace_file=tmp_path / "no" / "t.jsonl")


class Hole:
    """A collector that misbehaves in one way, on a real port."""

    def __init__(self, kind):
        self.kind = kind
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.held = []
        if kind == "refused":
            self.socket.close()
        else:
            self.thread = threading.Thread(target=self._serve, daemon=True)
            self.thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.held.append(connection)
            if self.kind == "garbage":
                connection.recv(100)
                connection.sendall(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
                connection.close()

    def close(self):
        if self.kind != "refused":
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self.thread.join()
            self.socket.close()
        for connection in self.held:
            connection.close()


def let_end(handle):
    """Wait for what still works on a handle that gave up: another test would see what it says."""
    for ender in handle._enders:
        assert ender.ended_within(30)


@pytest.mark.parametrize("kind", ["refused", "black hole", "garbage"])
async def test_a_broken_collector_holds_no_call_and_no_exit(gateway, no_otel_settings, caplog, kind):
    """Calls go through, the end comes in time, and every span that was lost is counted."""
    hole = Hole(kind)
    no_otel_settings.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", hole.url)
    no_otel_settings.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    handle = configure_telemetry()
    async with PlatformHttpClient(gateway.url, gateway.api_key, telemetry=handle.telemetry) as client:
        for _ in range(20):
            assert (await client.get("/api/service/items"))["items"] == []
    started = time.monotonic()
    handle.shutdown(0.3)
    assert time.monotonic() - started < 1.0  # the bound itself, with room for a busy machine
    assert handle.dropped == {"otlp": 40}
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]
    hole.close()
    let_end(handle)


SIGNAL = """
import os, signal, sys, threading
from runtime.telemetry import configure_telemetry

handle = configure_telemetry()

def stop(*_):
    print("handler", handle.shutdown(0.5), flush=True)
    if sys.argv[1] == "exits":
        sys.exit(0)

signal.signal(signal.SIGTERM, stop)
handle.tracer_provider.get_tracer("x").start_span("s").end()
if sys.argv[2] == "in a shutdown":
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    print("main", handle.shutdown(), flush=True)
elif sys.argv[2] == "with the lock":
    with handle._exports[0]._lock:  # as in the middle of `on_end`
        os.kill(os.getpid(), signal.SIGTERM)
else:
    other = threading.Thread(target=handle.shutdown)
    other.start()
    os.kill(os.getpid(), signal.SIGTERM)
    other.join()
"""


@pytest.mark.parametrize("where", ["in a shutdown", "with the lock", "while a thread shuts down"])
@pytest.mark.parametrize("then", ["exits", "goes on"])
def test_a_signal_handler_may_shut_down_whatever_it_interrupts(where, then):
    """The process ends; without a collector that responds it gives up in time."""
    hole = Hole("black hole")
    result = run_forked(SIGNAL, then, where, env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": hole.url}, timeout=30)
    hole.close()
    assert (result.returncode, result.stderr) == (0, "")
    assert "handler False" in result.stdout.splitlines()


def test_every_shutdown_waits_no_longer_than_the_first_one(no_otel_settings, monkeypatch):
    """Its time is the end's: a second call, of a block that is left or of `atexit`, adds none to it."""
    hole = Hole("black hole")
    no_otel_settings.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", hole.url)
    waits = []
    real = telemetry._Ender.ended_within
    monkeypatch.setattr(telemetry._Ender, "ended_within", lambda self, s: (waits.append(s), real(self, s))[1])
    handle = configure_telemetry()
    handle.tracer_provider.get_tracer("x").start_span("s").end()
    assert not handle.shutdown(0.2)
    first = len(waits)
    assert not handle.shutdown(30)
    assert max(waits[:first]) <= 0.2
    assert max(waits[first:]) <= 0
    hole.close()
    let_end(handle)


def test_threads_that_shut_down_together_see_the_same_end(tmp_path):
    """No thread returns early, and every step of the shutdown is done once."""
    handle = configure_telemetry(trace_file=tmp_path / "t.jsonl", instrument_httpx=True)
    handle.tracer_provider.get_tracer("x").start_span("s").end()
    together, seen = threading.Barrier(8), []

    def end():
        together.wait()
        seen.append(handle.shutdown())

    threads = [threading.Thread(target=end) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 8
    assert len(read_file(tmp_path / "t.jsonl")) == 1


EXIT = """
import sys, time
from runtime.telemetry import configure_telemetry
handle = configure_telemetry(trace_file=sys.argv[1])
handle.tracer_provider.get_tracer("x").start_span("last").end()
"""


def test_a_program_that_just_ends_loses_nothing(tmp_path):
    """The end of the process is the end of telemetry, on every version of Python."""
    path = tmp_path / "t.jsonl"
    result = run_forked(EXIT, path, timeout=20)
    assert (result.returncode, result.stderr) == (0, "")
    assert [span.name for span in read_file(path)] == ["last"]


FORK = """
import multiprocessing, os, signal, sys, threading, warnings
warnings.simplefilter("ignore")  # 3.12 warns of threads at every fork
from runtime.telemetry import configure_telemetry

handle = configure_telemetry(trace_file=sys.argv[1])

def say(*names):
    for name in names:
        handle.tracer_provider.get_tracer("x").start_span(name).end()

def flush():
    handle.tracer_provider.force_flush()
    handle.meter_provider.force_flush()

def in_child():
    signal.alarm(20)  # nothing else ends it if it hangs
    handle.meter_provider.get_meter("x").create_counter("of-child").add(1)
    print("child", handle.dropped, flush=True)
    say("child-1", "child-2")
    flush()
    print("child", handle.dropped, flush=True)
    say("child-last")

say("unwanted")
flush()
say("first")
flush()
say("waits")  # one of two places in the queue, and not handed on for a minute
locks = [export._lock for export in handle._exports]
locks += [reader._export_lock for reader in handle.meter_provider._all_metric_readers]
held, released = threading.Event(), threading.Event()

def hold():  # in a thread that is not there in the child
    for lock in locks:
        lock.acquire()
    held.set()
    released.wait()
    for lock in locks:
        lock.release()

holder = threading.Thread(target=hold)
holder.start()
held.wait()
if sys.argv[2] == "os":
    child = os.fork()
else:
    child = multiprocessing.get_context("fork").Process(target=in_child)
    child.start()
if child:
    released.set()
    holder.join()
if child == 0:
    in_child()
elif sys.argv[2] == "os":
    assert os.waitpid(child, 0)[1] == 0
else:
    child.join()
    assert child.exitcode == 0
if child:
    say("after")
    flush()
    print("parent", handle.dropped, flush=True)
"""


@pytest.mark.parametrize("how", ["os", "multiprocessing"])
def test_a_forked_child_has_its_own_queue_counters_connections_and_end(collector, tmp_path, how):
    """What the parent lost or has queued is not the child's; each exports its own spans, all of them, once."""
    collector.RequestHandlerClass = KeepAlive
    collector.respond = lambda received: (400 if b"unwanted" in received.body else 200, {}, b"")
    path = tmp_path / "t.jsonl"
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "60000",
        "OTEL_BSP_MAX_QUEUE_SIZE": "2",
    }
    result = run_forked(FORK, path, how, env=environment, timeout=30)
    assert (result.returncode, result.stderr) == (0, "")
    none, lost = {"otlp": 0, "file": 0}, {"otlp": 1, "file": 0}
    assert result.stdout.splitlines() == [f"child {none}", f"child {none}", f"parent {lost}"]
    came, of_child, of_parent = [], set(), set()
    for kind, body, _, address in collector.received:
        if kind == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                came += [span.name for scope in resource.scope_spans for span in scope.spans]
        (of_child if b"child" in body else of_parent).add(address)
    everything = ["after", "child-1", "child-2", "child-last", "first", "unwanted", "waits"]
    assert sorted(came) == sorted(span.name for span in read_file(path)) == everything
    assert of_child
    assert not of_child & of_parent  # no connection served both


GLOBAL = """
import json, logging
import httpx
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from middleware import ConfigError
from runtime.telemetry import configure_telemetry

quiet = configure_telemetry()
assert type(trace.get_tracer_provider()).__name__ == "ProxyTracerProvider", "globals are set only when asked"
logging.getLogger("opentelemetry.exporter").setLevel(logging.NOTSET)
handle = configure_telemetry(set_global=True)
assert trace.get_tracer_provider() is handle.tracer_provider
assert metrics.get_meter_provider() is handle.meter_provider
try:
    configure_telemetry(set_global=True)
except ConfigError as error:
    print(error)
"""


def test_globals_are_set_when_asked_and_only_once():
    """A host's own providers are never replaced."""
    result = run_forked(GLOBAL, timeout=20)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("set_global: the host has set OpenTelemetry's global providers already")


WITHOUT_EXTRA = """
import sys
sys.modules["opentelemetry.sdk"] = None
sys.modules["opentelemetry.sdk.trace"] = None
import runtime.telemetry
from middleware import ConfigError
try:
    runtime.telemetry.configure_telemetry()
except ConfigError as error:
    print(error)
"""


def test_a_missing_extra_is_told_with_its_remedy():
    """And importing the module needs nothing of it."""
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRA], cwd=ROOT, capture_output=True, text=True, check=False, timeout=20
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "pip install -e '.[otel]'" in result.stdout


async def test_no_secret_is_in_the_file_or_on_the_page(gateway, tmp_path):
    """What the spans do not contain is neither in the file nor on the page."""
    token, key = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl", "moz_live_5e1f0c2b9a8d"
    gateway.script(Fault(kind="status", status=400, body=json.dumps({"error": f"{token} {key} zora@example.com"})))
    path = tmp_path / "t.jsonl"
    memory = InMemorySpanExporter()
    with configure_telemetry(trace_file=path, span_exporters=[memory]) as handle:
        async with PlatformHttpClient(gateway.url, key, telemetry=handle.telemetry) as client:
            with pytest.raises(Exception, match="400"):
                await client.get(
                    "/u/{id}", path_params={"id": "zora@example.com"}, params={"q": "value-1"}, user_jwt=token
                )
    content = path.read_text() + render_page(traces_of(read_file(path)), of=1, source="t.jsonl")
    assert len(read_file(path)) == len(memory.get_finished_spans()) == 2
    assert not [secret for secret in (token, "c2lnbmF0dXJl", key, "zora", "value-1") if secret in content]
