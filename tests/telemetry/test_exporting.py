"""Exports next to a host's own: their files, environment, other vendors, and spans that cannot be encoded."""

import json
import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from forked import run_forked
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status, StatusCode

from middleware import ConfigError
from runtime.telemetry import configure_telemetry
from runtime.telemetry.exporting import BoundedExport, FileSpanExporter
from runtime.traces.trace_file import SpanReader

pytestmark = pytest.mark.sockets
ROOT = Path(__file__).resolve().parents[2]
HALF = "caf\udce9"  # a name of a file that is not UTF-8, as Python reads it


@pytest.fixture
def environment(monkeypatch):
    """The environment, without any variable that telemetry reads."""
    for name in list(os.environ):
        if (
            name.startswith("OTEL_")
            or name.lower().endswith("_proxy")
            or name in {"NETRC", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}
        ):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def collecting(collector, environment):
    environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    environment.setenv("OTEL_METRICS_EXPORTER", "none")
    return collector


def names_in(path):
    with path.open("rb") as file:
        return [span.name for span in SpanReader().read(file)]


def names_at(collector):
    return [
        span.name
        for path, body, *_ in collector.received
        if path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


# --- spans that cannot be encoded


def by_name(tracer, _provider=None):
    tracer.start_span(HALF).end()


def by_status(tracer, _provider=None):
    span = tracer.start_span("odd")
    span.set_status(Status(StatusCode.ERROR, HALF))
    span.end()


def by_event(tracer, _provider=None):
    span = tracer.start_span("odd")
    span.add_event(HALF)
    span.end()


def by_scope(_tracer, provider):
    provider.get_tracer(HALF).start_span("odd").end()


@pytest.mark.parametrize("odd", [by_name, by_status, by_event, by_scope], ids=lambda value: value.__name__)
@pytest.mark.parametrize("number", [1, 3])
def test_a_span_that_cannot_be_encoded_costs_itself_alone(collecting, tmp_path, caplog, odd, number):
    """The others of its batch arrive, and the line says how many did not and why."""
    caplog.set_level(logging.INFO)
    path = tmp_path / "t.jsonl"
    with configure_telemetry(trace_file=path) as handle:
        for n in range(18):
            handle.tracer_provider.get_tracer("host").start_span(f"good-{n}").end()
        for _ in range(number):
            odd(handle.tracer_provider.get_tracer("odd"), handle.tracer_provider)
    good = [f"good-{n}" for n in range(18)]
    assert names_in(path) == good
    assert names_at(collecting) == good
    assert handle.dropped == {"otlp": number, "file": number}
    lines = [record for record in caplog.records if record.name.startswith(("mozaiks", "opentelemetry"))]
    assert {(record.event, record.exporter) for record in lines} == {
        ("export.failing", "otlp"),
        ("export.failing", "file"),
    }
    for record in lines:  # a batch may have begun before the last span
        assert re.fullmatch(r"[1-3] of \d+ spans cannot be encoded", record.reason)


def test_what_is_lost_with_them_is_counted_too(collecting, caplog):
    """Where the collector does not accept the rest."""
    collecting.respond = lambda _received: (400, {}, b"")
    with configure_telemetry() as handle:
        for n in range(3):
            handle.tracer_provider.get_tracer("host").start_span(f"good-{n}").end()
        by_name(handle.tracer_provider.get_tracer("odd"))
    assert handle.dropped == {"otlp": 4}
    (reason,) = {record.reason for record in caplog.records if record.name == "mozaiks.telemetry"}
    assert reason == "1 of 4 spans cannot be encoded; status 400"


# --- a trace file that changes outside


def spans(name):
    memory = []

    class Memory(FileSpanExporter):
        def __init__(self):
            pass

        def export(self, batch):
            memory.extend(batch)

        def shutdown(self):
            pass

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(Memory()))
    provider.get_tracer("x").start_span(name).end()
    return memory


def deleted(path):
    path.unlink()


def moved(path):
    path.rename(path.with_suffix(".1"))


def replaced(path):
    moved(path)
    path.touch(mode=0o640)


def replaced_by_rename(path):
    other = path.with_suffix(".new")
    other.touch()
    other.replace(path)


def truncated(path):
    os.truncate(path, 0)


def deleted_with_its_directory(path):
    path.unlink()
    path.parent.rmdir()
    path.parent.mkdir()


@pytest.mark.parametrize(
    "change",
    [deleted, moved, replaced, replaced_by_rename, truncated, deleted_with_its_directory],
    ids=lambda value: value.__name__,
)
def test_a_trace_file_that_is_changed_outside_is_opened_anew(tmp_path, change):
    """As log rotation does; nothing goes where no reader looks."""
    path = tmp_path / "traces" / "t.jsonl"
    path.parent.mkdir()
    exporter = FileSpanExporter(path)
    exporter.export(spans("before"))
    change(path)
    exporter.export(spans("after"))
    exporter.export(spans("later"))
    exporter.shutdown()
    assert names_in(path) == ["after", "later"]
    if change not in {replaced, replaced_by_rename}:  # those have the mode they were made with
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_trace_file_that_is_deleted_while_it_is_written_is_written_again(tmp_path):
    """Between the look and the write; the line is whole in the new file."""
    path = tmp_path / "t.jsonl"
    exporter = FileSpanExporter(path)
    real = exporter._file._file

    class Late:
        fileno, close = real.fileno, real.close

        def write(self, line):
            path.unlink()
            return real.write(line)

    exporter._file._file = Late()
    exporter.export(spans("after"))
    exporter.shutdown()
    assert names_in(path) == ["after"]


def test_spans_for_which_no_new_file_can_be_opened_are_counted(environment, tmp_path, caplog):
    """Until it can be; the line names the file."""
    path = tmp_path / "traces" / "t.jsonl"
    path.parent.mkdir()
    with configure_telemetry(trace_file=path) as handle:
        tracer = handle.tracer_provider.get_tracer("x")
        path.unlink()
        path.parent.rmdir()
        tracer.start_span("lost").end()
        handle.tracer_provider.force_flush()
        assert handle.dropped == {"file": 1}
        path.parent.mkdir()
        tracer.start_span("found").end()
    assert names_in(path) == ["found"]
    assert handle.dropped == {"file": 1}
    (failing,) = [record for record in caplog.records if record.name == "mozaiks.telemetry"]
    assert failing.getMessage() == f"export.failing file traces to {path}: No such file or directory"
    assert failing.address == str(path)


def test_a_link_that_takes_the_files_place_is_not_followed(environment, tmp_path):
    """It is not at the start either."""
    path, other = tmp_path / "t.jsonl", tmp_path / "other"
    other.touch()
    with configure_telemetry(trace_file=path) as handle:
        path.unlink()
        path.symlink_to(other)
        handle.tracer_provider.get_tracer("x").start_span("s").end()
    assert other.read_bytes() == b""
    assert handle.dropped == {"file": 1}


def test_a_program_may_change_its_directory(tmp_path, monkeypatch):
    """A file that was named relative to the old one stays where it is."""
    monkeypatch.chdir(tmp_path)
    exporter = FileSpanExporter(Path("t.jsonl"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    exporter.export(spans("after"))
    exporter.shutdown()
    assert names_in(tmp_path / "t.jsonl") == ["after"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


# --- what a failing export says, and what it does not silence


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "{url}"}, "{url}/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "{url}/a/"}, "{url}/a/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "{url}"}, "{url}"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "{login}/x?api-key=s3cret-value"}, "{url}/x?api-key=REDACTED"),
    ],
)
def test_a_failing_export_says_where_to_and_why(collector, environment, caplog, variables, address):
    """A path that is not there, most often; passwords and keys are left out."""
    collector.respond = lambda _received: (404, {}, b"")
    login = collector.url.replace("://", "://user:s3cret-word@")
    for name, value in variables.items():
        environment.setenv(name, value.format(url=collector.url, login=login))
    environment.setenv("OTEL_METRICS_EXPORTER", "none")
    with configure_telemetry() as handle:
        handle.tracer_provider.get_tracer("x").start_span("s").end()
    (record,) = [record for record in caplog.records if record.name == "mozaiks.telemetry"]
    assert record.getMessage() == f"export.failing otlp traces to {address.format(url=collector.url)}: status 404"
    assert "s3cret" not in str(vars(record))


def test_the_hosts_own_exporters_keep_their_lines(collecting, caplog):
    """While ours, which fails too, writes the one line that is ours; and it is the other way round at a level."""
    collecting.respond = lambda _received: (404, {}, b"")
    caplog.set_level(logging.INFO)
    host = TracerProvider(shutdown_on_exit=False)
    with configure_telemetry() as handle:
        host.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
        handle.tracer_provider.get_tracer("x").start_span("ours").end()
        handle.tracer_provider.force_flush()
        assert [record.name for record in caplog.records if "urllib3" not in record.name] == ["mozaiks.telemetry"]
        host.get_tracer("x").start_span("the host's").end()
        assert any(record.name.startswith("opentelemetry.exporter") for record in caplog.records)
        caplog.clear()
        caplog.set_level(logging.INFO, "opentelemetry.exporter")
        handle.tracer_provider.get_tracer("x").start_span("ours").end()
        handle.tracer_provider.force_flush()
        assert any(record.name.startswith("opentelemetry.exporter") for record in caplog.records)


# --- the environment


@pytest.mark.parametrize("trust_env", [False, True])
def test_a_proxy_of_the_environment_is_used_where_it_is_asked_for(collecting, environment, trust_env):
    """A collector is next to the program, and a proxy of the container is not for it."""
    environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    environment.setenv("http_proxy", "http://127.0.0.1:9")
    with configure_telemetry(trust_env=trust_env) as handle:
        handle.tracer_provider.get_tracer("x").start_span("s").end()
    assert (names_at(collecting), handle.dropped["otlp"]) == (([], 1) if trust_env else (["s"], 0))


@pytest.mark.parametrize("trust_env", [False, True])
def test_a_password_of_a_netrc_file_is_used_where_it_is_asked_for(collecting, environment, tmp_path, trust_env):
    """Otherwise it would replace the host's own Authorization header."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b")
    (tmp_path / "netrc").chmod(0o600)
    environment.setenv("NETRC", str(tmp_path / "netrc"))
    environment.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20token-of-the-host")
    with configure_telemetry(trust_env=trust_env) as handle:
        handle.tracer_provider.get_tracer("x").start_span("s").end()
    (received,) = collecting.received
    sent = {name.lower(): value for name, value in received.headers.items()}["authorization"]
    assert sent.startswith("Basic " if trust_env else "Bearer token-of-the-host")


@pytest.mark.parametrize(
    ("variables", "verify"),
    [
        ({}, True),
        ({"REQUESTS_CA_BUNDLE": "/a.pem", "CURL_CA_BUNDLE": "/b.pem"}, "/a.pem"),
        ({"CURL_CA_BUNDLE": "/b.pem"}, "/b.pem"),
    ],
)
def test_the_authorities_of_the_environment_are_used_all_the_same(environment, variables, verify):
    """They are neither a proxy nor a password."""
    from runtime.telemetry.otlp import _Session

    for name, value in variables.items():
        environment.setenv(name, value)
    session = _Session("traces")
    assert session.merge_environment_settings("https://h", {}, None, True, None)["verify"] == verify
    assert session.merge_environment_settings("https://h", {}, None, "/own.pem", None)["verify"] == "/own.pem"


SECRET = "s3cret-value"


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"])
@pytest.mark.parametrize(
    ("value", "at"),
    [
        (SECRET, "1"),
        (f"a=1, {SECRET}", "2"),
        (f"a b={SECRET},b=2,:{SECRET}", "1, 3"),
        (f"={SECRET}", "1"),
        (f'a="{SECRET}"', "1"),
        (f"a={SECRET};b=2", "1"),
        (f"a={SECRET}%0Ab", "1"),
        (f"a={SECRET}%E2%82%AC", "1"),
    ],
)
def test_a_malformed_header_is_named_without_its_value(collecting, environment, caplog, name, value, at):
    """The SDK skips it, so that each export is rejected later, and logs it with its value."""
    environment.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        configure_telemetry()
    assert str(caught.value) == f"{name}: header {at} is not name=value, percent-encoded"
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("", {}),
        (" , ", {}),
        ("api-key=a%20b,x-t=1=2", {"api-key": "a b", "x-t": "1=2"}),
        ("authorization=Bearer abc", {"authorization": "Bearer abc"}),
        ("x-empty=", {"x-empty": ""}),
    ],
)
def test_a_header_that_the_sdk_accepts_is_sent(collecting, environment, value, sent):
    """Percent-encoded, or as other languages' SDKs accept them."""
    environment.setenv("OTEL_EXPORTER_OTLP_HEADERS", value)
    with configure_telemetry() as handle:
        handle.tracer_provider.get_tracer("x").start_span("s").end()
    (received,) = collecting.received
    headers = {name.lower(): text for name, text in received.headers.items()}
    assert {name: headers.get(name) for name in sent} == sent


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram"),
        ("OTEL_CONFIG_FILE", "/etc/otel.yaml"),
    ],
)
def test_a_variable_that_would_blind_a_dashboard_or_be_ignored_is_named(collector, environment, name, value):
    """Exponential histograms have no buckets for the panels; a declarative configuration is not read here."""
    environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    environment.setenv(name, value)
    with pytest.raises(ConfigError, match=f"^{name}: "):
        configure_telemetry()


def test_explicit_buckets_may_be_asked_for(collector, environment):
    """They are what is used."""
    environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    environment.setenv("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "explicit_bucket_histogram")
    configure_telemetry().shutdown()


# --- other vendors


VENDORS = {
    "tracers of its own": """
class Vendor(trace.TracerProvider):
    def get_tracer(self, *a, **k): return trace.NoOpTracer()
trace.set_tracer_provider(Vendor())
""",
    "no-op tracers": "trace.set_tracer_provider(trace.NoOpTracerProvider())",
    "tracers of the SDK": "from opentelemetry.sdk.trace import TracerProvider; trace.set_tracer_provider(TracerProvider())",
    "meters of its own": """
class Vendor(metrics.MeterProvider):
    def get_meter(self, *a, **k): return metrics.NoOpMeter("x")
metrics.set_meter_provider(Vendor())
""",
    "meters of the SDK": "from opentelemetry.sdk.metrics import MeterProvider; metrics.set_meter_provider(MeterProvider())",
    "tracers, at the same moment": """
import runtime.telemetry.setup as setup
real = setup._refuse_second_global
def late():
    real()
    trace.set_tracer_provider(trace.NoOpTracerProvider())
setup._refuse_second_global = late
""",
}
BESIDE = """
import json, logging, threading
from opentelemetry import metrics, trace
logging.getLogger("opentelemetry").setLevel("CRITICAL")
from middleware import ConfigError
from runtime.telemetry import configure_telemetry
VENDOR
before = trace.get_tracer_provider()
try:
    configure_telemetry(set_global=True)
except ConfigError as error:
    print(json.dumps([str(error), [t.name for t in threading.enumerate() if not t.daemon]]))
    same = trace.get_tracer_provider() is before or "same moment" in NAME
    assert same, "tracers were replaced"
handle = configure_telemetry()
assert handle.shutdown()
"""


@pytest.mark.parametrize("name", VENDORS)
def test_a_second_vendors_provider_is_an_error_that_is_raised(name):
    """Of whatever class it is: the API keeps the first one and logs a warning, so that spans would go elsewhere."""
    code = BESIDE.replace("VENDOR", VENDORS[name]).replace("NAME", repr(name))
    result = run_forked(code, timeout=30)
    assert result.returncode == 0, result.stderr
    error, threads = json.loads(result.stdout)
    assert error.startswith("set_global: the host has set OpenTelemetry's global providers already")
    assert threads == ["MainThread"]


def test_propagators_that_are_not_installed_are_named_where_an_instrumentor_needs_them():
    """Its import raises whatever the API does."""
    code = (
        "from runtime.telemetry import configure_telemetry\nfrom middleware import ConfigError\n"
        "try: configure_telemetry(instrument_httpx=True)\nexcept ConfigError as error: print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"OTEL_PROPAGATORS": "xray"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert result.stdout.startswith("instrument_httpx: "), result.stderr
    assert "xray" in result.stdout


class Slow(SpanExporter):
    """Takes batches only when it is let."""

    def __init__(self):
        self.let = threading.Event()
        self.took = 0

    def export(self, spans):
        self.let.wait(10)
        self.took += len(spans)
        return SpanExportResult.SUCCESS


def test_a_full_queue_costs_the_newest_and_counts():
    """Memory is bounded, and every span is either handed on or counted."""
    from opentelemetry.sdk.trace import TracerProvider

    slow = Slow()
    export = BoundedExport("slow", lambda: slow, max_queue=50, max_batch=10, delay_s=0.001)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export)
    tracer = provider.get_tracer("x")
    for _ in range(200):
        tracer.start_span("s").end()
    assert 130 <= export.dropped <= 150  # 50 wait, and up to two batches of 10 were taken meanwhile
    slow.let.set()
    export.shutdown()
    export.close()
    assert slow.took + export.dropped == 200
    tracer.start_span("late").end()
    assert slow.took + export.dropped == 201


def test_an_exporter_that_raises_is_counted_and_told_once(caplog):
    """Not once per batch; and again when it works."""

    class Flaky(SpanExporter):
        broken = True

        def export(self, spans):
            if self.broken:
                raise RuntimeError("no")
            return SpanExportResult.SUCCESS

    from opentelemetry.sdk.trace import TracerProvider

    caplog.set_level(logging.INFO, "mozaiks.telemetry")
    flaky = Flaky()
    export = BoundedExport("flaky", lambda: flaky, max_queue=50, max_batch=50, delay_s=60)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export)
    for broken in (True, True, False, False):
        flaky.broken = broken
        provider.get_tracer("x").start_span("s").end()
        export.force_flush()
    export.shutdown()
    assert export.dropped == 2
    assert [(record.levelname, record.event, record.message) for record in caplog.records] == [
        ("WARNING", "export.failing", "export.failing flaky traces: RuntimeError"),
        ("INFO", "export.recovered", "export.recovered flaky traces"),
    ]
    assert caplog.records[0].reason == "RuntimeError"  # not its text, which may contain a credential
