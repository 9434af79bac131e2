#!/usr/bin/env bash
# Finding: OpenTelemetry's Python exporter for OTLP over HTTP reports SUCCESS for spans that the collector rejected.
#
# OTLP lets a collector respond 200 with `partial_success`: the number of spans it did not take, and why
# (https://opentelemetry.io/docs/specs/otlp/#partial-success-1; the client should log it). The exporter reads no body:
# `export()` returns SUCCESS and nothing is logged, so a queue that counts by that result counts lost spans as delivered.
# A redirect is no better: it is not followed, and a 302 is a SUCCESS too, since the exporter asks for `status < 400`.
#
# Seen with opentelemetry-exporter-otlp-proto-http 1.45.1. Exits with 1 when the behaviour changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'opentelemetry-sdk==1.45.1' 'opentelemetry-exporter-otlp-proto-http==1.45.1'
"$work/venv/bin/python" - <<'PY'
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult, SpanProcessor

lines: list[str] = []


class Keep(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("opentelemetry"):
            lines.append(record.getMessage())


logging.getLogger().addHandler(Keep())
logging.getLogger().setLevel(logging.DEBUG)

rejected = ExportTraceServiceResponse()
rejected.partial_success.rejected_spans = 5
rejected.partial_success.error_message = "quota of the tenant is used up"
requests: list[str] = []


class Collector(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        requests.append(f"POST {self.path}")
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("location", "/login")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        body = rejected.SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        requests.append(f"GET {self.path}")
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


class Collect(SpanProcessor):
    def __init__(self) -> None:
        self.ended: list = []

    def on_end(self, span) -> None:
        self.ended.append(span)


server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}"
spans = Collect()
provider = TracerProvider()
provider.add_span_processor(spans)
for number in range(5):
    provider.get_tracer("finding").start_span(f"span {number}").end()

print("opentelemetry-exporter-otlp-proto-http", version("opentelemetry-exporter-otlp-proto-http"))
partial = OTLPSpanExporter(endpoint=f"{base}/v1/traces").export(spans.ended)
print("5 of 5 spans rejected by partial_success:", partial.name, "- logged:", lines or "nothing")
moved = OTLPSpanExporter(endpoint=f"{base}/moved").export(spans.ended)
print("302 to another page:", moved.name, "- requests:", requests[1:])
server.shutdown()
same = (
    partial is SpanExportResult.SUCCESS
    and moved is SpanExportResult.SUCCESS
    and not any("reject" in line or "partial" in line for line in lines)
    and requests[1:] == ["POST /moved"]
)
print("as found" if same else "the behaviour has changed")
raise SystemExit(not same)
PY
