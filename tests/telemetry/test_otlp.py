"""What a collector does not take, and what it says of it."""

import json
import logging

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from runtime.telemetry import configure_telemetry, otlp

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("no_otel_settings")]


@pytest.fixture
def responding(collector, no_otel_settings):
    """A collector that responds by `responses`: status, headers and body of each signal; a redirect leads to `page`."""
    collector.responses = {}
    collector.respond = lambda received: collector.responses.get(received.signal, (200, {}, b""))
    no_otel_settings.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    no_otel_settings.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    return collector


def partial(signal, rejected, said="", *, as_json=False):
    """A collector's response that takes all but *rejected* items."""
    name = "rejectedSpans" if signal == "traces" else "rejectedDataPoints"
    document = {"partialSuccess": {name: str(rejected), "errorMessage": said, "later": 1}}
    if as_json:
        return 200, {"content-type": "application/json; charset=utf-8"}, json.dumps(document).encode()
    del document["partialSuccess"]["later"]
    kind = ExportTraceServiceResponse if signal == "traces" else ExportMetricsServiceResponse
    body = json_format.ParseDict(document, kind()).SerializeToString()
    return 200, {"content-type": "application/x-protobuf"}, body


def logged(caplog):
    """What was said of exports: name, exporter, signal, reason."""
    records = [record for record in caplog.records if record.name == "mozaiks.telemetry"]
    assert all(record.getMessage().startswith(record.event) for record in records)
    return [(record.event, record.exporter, record.signal, getattr(record, "reason", "")) for record in records]


REDIRECTED = "status {}, a redirect, which is not followed"


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        *[((status, {"location": "/page"}, b""), REDIRECTED.format(status)) for status in (301, 302, 303, 307, 308)],
        ((304, {}, b""), REDIRECTED.format(304)),
        ((400, {}, b"no"), "status 400"),
        ((401, {}, b"no"), "status 401"),
        ((404, {}, b"no"), "status 404"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else "",
)
def test_what_a_collector_does_not_take_is_lost_and_logged_with_the_reason(responding, caplog, response, reason):
    """A redirect too: nothing is sent after it, and nothing but the collector's own word counts as delivered."""
    caplog.set_level(logging.INFO, "mozaiks.telemetry")
    responding.responses = {"traces": response, "metrics": response}
    with configure_telemetry() as handle:
        for _ in range(3):
            handle.tracer_provider.get_tracer("x").start_span("s").end()
        handle.meter_provider.get_meter("x").create_counter("c").add(1)
    assert handle.dropped == {"otlp": 3}
    assert sorted(logged(caplog)) == [
        ("export.failing", "otlp", "metrics", reason),
        ("export.failing", "otlp", "traces", reason),
    ]
    assert {received.path for received in responding.received} == {"/v1/traces", "/v1/metrics"}


@pytest.mark.parametrize("as_json", [False, True], ids=["protobuf", "json"])
def test_a_partial_success_loses_what_was_rejected(responding, caplog, as_json):
    """As many as the collector says, with what it says, for both signals; then all arrive, and that is logged too."""
    caplog.set_level(logging.INFO, "mozaiks.telemetry")
    responding.responses = {
        signal: partial(signal, 2, "quota\nexceeded for ada@example.com " + "x" * 500, as_json=as_json)
        for signal in ("traces", "metrics")
    }
    with configure_telemetry() as handle:
        for _ in range(5):
            handle.tracer_provider.get_tracer("x").start_span("s").end()
        handle.meter_provider.get_meter("x").create_counter("c").add(1)
        handle.tracer_provider.force_flush()
        handle.meter_provider.force_flush()
        assert handle.dropped == {"otlp": 2}
        failing = logged(caplog)
        responding.responses = {}
        handle.tracer_provider.get_tracer("x").start_span("s").end()
    assert handle.dropped == {"otlp": 2}
    assert [one[:3] for one in failing] == [("export.failing", "otlp", signal) for signal in ("traces", "metrics")]
    for *_, reason in failing:
        assert reason.startswith("partial success, 2 rejected: quota exceeded for *** xxx")
        assert len(reason) < 250
    assert sorted(logged(caplog)[2:]) == [("export.recovered", "otlp", signal, "") for signal in ("metrics", "traces")]


@pytest.mark.parametrize(
    "response",
    [
        partial("traces", 0, "please send less"),
        partial("traces", -3, "?"),
        (200, {"content-type": "application/x-protobuf"}, b"\xff no protobuf"),
        (200, {"content-type": "application/json"}, b'{"partialSuccess": 7}'),
        (200, {"content-type": "application/json"}, b"\xff"),
        (202, {"content-type": "text/plain"}, b"thanks"),
    ],
)
def test_a_response_that_rejects_nothing_is_a_delivery(responding, caplog, response):
    """A warning, or something that cannot be understood, with a status that says "taken"."""
    caplog.set_level(logging.INFO, "mozaiks.telemetry")
    responding.responses = {"traces": response}
    with configure_telemetry() as handle:
        handle.tracer_provider.get_tracer("x").start_span("s").end()
    assert handle.dropped == {"otlp": 0}
    assert logged(caplog) == []


def test_more_rejected_than_sent_is_all_that_was_sent(responding):
    """The counter never says more than there was."""
    responding.responses = {"traces": partial("traces", 2**62)}
    with configure_telemetry() as handle:
        handle.tracer_provider.get_tracer("x").start_span("s").end()
    assert handle.dropped == {"otlp": 1}


def test_a_collector_that_rejects_a_part_still_gets_everything_at_the_end(responding, no_otel_settings):
    """It is there, unlike one that takes nothing, which a program that ends asks once more and no further."""
    no_otel_settings.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    no_otel_settings.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    responding.responses = {"traces": partial("traces", 1)}
    with configure_telemetry() as handle:
        handle.tracer_provider.get_tracer("x").start_span("s").end()
        handle.tracer_provider.force_flush()
        for _ in range(9):
            handle.tracer_provider.get_tracer("x").start_span("s").end()
        handle.tracer_provider.force_flush()
        for _ in range(25):
            handle.tracer_provider.get_tracer("x").start_span("s").end()
    sent = sum(
        len(scope.spans)
        for path, body, *_ in responding.received
        if path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
    )
    exports = sum(received.signal == "traces" for received in responding.received)
    assert sent == 35
    assert handle.dropped == {"otlp": exports}


def test_a_session_of_the_hosts_credential_provider_stays_in_use(no_otel_settings):
    """It brings the host's credentials; watching its responses is not worth losing them."""
    watched = otlp._Session("traces")
    assert otlp._session_for("traces", watched) is watched
    no_otel_settings.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER", "gcp")
    assert otlp._session_for("traces", watched) is None
    assert otlp._session_for("metrics", watched) is watched
    no_otel_settings.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "gcp")
    assert otlp._session_for("metrics", watched) is None
