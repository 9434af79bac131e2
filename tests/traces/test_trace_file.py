"""Reading and writing trace files: the Collector's format, whatever a file contains."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from trace_lines import COLLECTOR, same_in_both_ways

from runtime.telemetry import configure_telemetry
from runtime.telemetry.exporting import FileSpanExporter, encode_line
from runtime.traces.model import rows_of, traces_of
from runtime.traces.page import render_page
from runtime.traces.terminal import render_list, render_trace
from runtime.traces.trace_file import SpanReader, read_line


def finished_spans():
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "me"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("scope", "1")
    with tracer.start_as_current_span("call", kind=SpanKind.INTERNAL) as call:
        call.add_event("retry.scheduled", {"delay": 0.5})
        linked = [Link(call.get_span_context())]
        with tracer.start_as_current_span("GET /x", kind=SpanKind.CLIENT, links=linked) as attempt:
            attempt.set_attributes(
                {"text": "ü", "count": 3, "big": 2**53 + 1, "share": 0.25, "flag": True, "list": ["a", "b"]}
            )
            attempt.set_status(Status(StatusCode.ERROR, "why"))
    return exporter.get_finished_spans()


def test_what_is_written_is_what_the_sdk_had():
    """Every field that is shown is read as it was written."""
    attempt, call = finished_spans()
    (read_attempt, read_call) = read_line(encode_line([attempt, call]))
    assert read_attempt.trace_id == f"{attempt.context.trace_id:032x}" == read_call.trace_id
    assert read_attempt.span_id == f"{attempt.context.span_id:016x}"
    assert read_attempt.parent_id == read_call.span_id
    assert read_call.parent_id == ""
    assert read_attempt.kind == "CLIENT"
    assert read_call.kind == "INTERNAL"
    assert read_call.service == "me"
    assert read_attempt.start_ns == attempt.start_time
    assert read_attempt.end_ns == attempt.end_time
    assert read_attempt.status == "ERROR"
    assert read_attempt.message == "why"
    assert read_call.status == "UNSET"
    assert read_attempt.attributes == {
        key: list(value) if isinstance(value, tuple) else value for key, value in attempt.attributes.items()
    }
    (event,) = read_call.events
    assert event.name == "retry.scheduled"
    assert event.at_ns == call.events[0].timestamp
    assert event.attributes == {"delay": 0.5}


def test_a_line_is_otlp_json():
    """Ids in lower-case hex, 64-bit numbers as text, enumerations as numbers; one line."""
    line = encode_line(finished_spans())
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    (resource,) = json.loads(line)["resourceSpans"]
    attempt, call = resource["scopeSpans"][0]["spans"]
    for span in (attempt, call):
        assert len(bytes.fromhex(span["traceId"])) == 16
        assert len(bytes.fromhex(span["spanId"])) == 8
        assert span["startTimeUnixNano"].isdigit()
        assert isinstance(span["kind"], int)
    assert bytes.fromhex(attempt["links"][0]["spanId"]) == bytes.fromhex(call["spanId"])
    assert attempt["status"] == {"code": 2, "message": "why"}
    known = {field.json_name for field in ExportTraceServiceRequest.DESCRIPTOR.fields}
    assert set(json.loads(line)) <= known


def test_a_file_of_the_collector_is_read():
    """Spans of other programs, with values of every type."""
    (span,) = read_line(COLLECTOR.encode())
    assert span.name == "GET /items"
    assert span.kind == "SERVER"
    assert span.service == "core"
    assert span.parent_id == ""
    assert span.attributes == {"a.number": 7, "a.list": [True, 0.5], "a.map": {"k": "v"}}
    assert span.status == "ERROR"
    assert span.message == "oops"
    assert span.events[0].at_ns - span.start_ns == 500_000_000


@pytest.mark.parametrize(
    "line", ["", "  \n", '{"resourceMetrics":[]}', '{"resourceLogs":[{}]}', "{}", '{"resourceSpans":null}']
)
def test_blank_lines_and_other_signals_are_passed_over(line):
    """A Collector may write metrics and logs into the same file."""
    assert read_line(line.encode()) == []


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        "7",
        COLLECTOR[:200],
        COLLECTOR.replace("5b8efff798038103d269b633813fc60c", "zz"),
        COLLECTOR.replace('"1544712660000000000"', '"soon"'),
        COLLECTOR.replace('"1544712660000000000"', "-1"),
        COLLECTOR.replace('"1544712660000000000"', "1" * 400),
        COLLECTOR.replace('{"intValue":"7"}', '{"intValue":{}}'),
        COLLECTOR.replace('"kind":2', '"kind":"SPAN_KIND_OTHER"'),
        '{"resourceSpans":' + "[" * 100_000,
        '{"resourceSpans":[7]}',
    ],
)
def test_a_line_that_is_no_otlp_is_counted_and_the_rest_is_read(line):
    """One broken line hides no other."""
    reader = SpanReader()
    spans = list(reader.read([COLLECTOR.encode(), line.encode(), COLLECTOR.encode()]))
    assert len(spans) == 2
    assert reader.bad_lines == [2]
    assert reader.lines == 3


ODD_SPANS = {
    "no end": {"endTimeUnixNano": None},
    "an end that protobuf left at its default": {"endTimeUnixNano": "0"},
    "no start": {"startTimeUnixNano": None},
    "a kind of a later version": {"kind": "SPAN_KIND_NEW"},
    "a status of a later version": {"status": {"code": "STATUS_CODE_NEW"}},
    "an id that is not hexadecimal": {"spanId": "zz"},
    "an id of another length": {"traceId": "ab"},
    "no id": {"spanId": None},
    "a parent's id that is none": {"parentSpanId": "zz"},
    "attributes of another shape": {"attributes": [7]},
    "events of another shape": {"events": 7},
    "a text": "span",
}
ODD_EVENTS = {
    "no time": {"timeUnixNano": None},
    "a time that protobuf left at its default": {"timeUnixNano": "0"},
    "a time that is none": {"timeUnixNano": "soon"},
    "attributes of another shape": {"attributes": [7]},
    "a text": "event",
}


def changed(original, change):
    if not isinstance(change, dict):
        return change
    return {key: value for key, value in {**original, **change}.items() if value is not None}


def read_with(*, span=None, event=None):
    """A good span, an odd one and another good one, on one line."""
    document = json.loads(COLLECTOR)
    spans = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    good = spans[0]
    odd = good if span is None else changed(good, span)
    if event is not None:
        odd = {**good, "events": [*good["events"], changed(good["events"][0], event), *good["events"]]}
    spans[:] = [good, odd, good]
    reader = SpanReader()
    return reader, list(reader.read([COLLECTOR.encode(), json.dumps(document).encode()]))


@pytest.mark.parametrize("odd", ODD_SPANS.values(), ids=ODD_SPANS)
def test_an_odd_span_costs_itself_alone_and_is_counted(odd):
    """Those next to it on its line are shown."""
    reader, spans = read_with(span=odd)
    assert len(spans) == 3
    assert reader.bad_spans == 1
    assert reader.bad_events == 0
    assert reader.bad_lines == [2]


@pytest.mark.parametrize("odd", ODD_EVENTS.values(), ids=ODD_EVENTS)
def test_an_odd_event_costs_itself_alone_and_is_counted(odd):
    """Its span is shown, with its other events."""
    reader, spans = read_with(event=odd)
    assert [len(span.events) for span in spans] == [1, 1, 2, 1]
    assert reader.bad_spans == 0
    assert reader.bad_events == 1
    assert reader.bad_lines == [2]


def test_one_line_is_read_whole_or_not_at_all_where_it_is_asked_for():
    """By programs that count on each of its spans."""
    document = json.loads(COLLECTOR)
    document["resourceSpans"][0]["scopeSpans"][0]["spans"].append({})
    with pytest.raises(ValueError, match="no OTLP JSON"):
        read_line(json.dumps(document).encode())


def test_control_characters_do_not_come_through():
    """A file cannot move the cursor, colour the terminal or reverse the text."""
    hostile = COLLECTOR.replace("GET /items", r"\u001b[2J\u202epwn\u0007\ud800")
    (span,) = read_line(hostile.encode())
    assert span.name == "\ufffd[2J\ufffdpwn\ufffd\ufffd"


KEYS = st.sampled_from(["stringValue", "intValue", "arrayValue", "values", "key", "value", "x"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
SHALLOW = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(KEYS, LEAVES, max_size=3)
VALUES = SHALLOW | st.lists(SHALLOW, max_size=3) | st.dictionaries(KEYS, SHALLOW, max_size=3)


@pytest.mark.torture
@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_whatever_a_file_holds_it_is_shown_or_refused(data):
    """Mutated documents never break the reader, the tree, the table or the page."""
    document = json.loads(COLLECTOR)
    span = document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    names = [
        "retry.scheduled",
        "bulkhead.queued",
        "retry_budget.exhausted",
        "hedge.started",
        "deadline.reached",
        "rejected",
    ]
    keys = ["mozaiks.retry.delay", "mozaiks.retry.retry_after", "mozaiks.bulkhead.wait", "http.request.resend_count",
            "mozaiks.attempt.outcome", "mozaiks.connector.operation", "mozaiks.stop_reason", "mozaiks.deadline"]  # fmt: skip
    typed = st.fixed_dictionaries({"stringValue": st.text(max_size=5)}) | st.fixed_dictionaries(
        {"doubleValue": st.floats()}
    )
    pairs = st.lists(st.fixed_dictionaries({"key": st.sampled_from(keys), "value": typed | VALUES}), max_size=4)
    span["attributes"] = data.draw(pairs)
    span["events"][0]["name"] = data.draw(st.sampled_from(names))
    span["events"][0]["attributes"] = data.draw(pairs)
    span[data.draw(st.sampled_from([*span, "extra"]))] = data.draw(VALUES | st.just(span["events"]))
    line = json.dumps(document).encode()
    same_in_both_ways(line)
    reader = SpanReader()
    traces = traces_of(reader.read([line]))
    for trace in traces:
        assert rows_of(trace)
        render_trace(trace)
    render_list(traces)
    assert "</html>" in render_page(traces, of=len(traces), source="x")


def test_a_full_disk_costs_the_spans_and_is_counted():
    """The program goes on."""
    with configure_telemetry(trace_file="/dev/full") as handle:
        handle.tracer_provider.get_tracer("x").start_span("s").end()
    assert handle.dropped == {"file": 1}


def test_lines_are_appended(tmp_path):
    """A second program, or a second run, adds to the file."""
    for _ in range(2):
        exporter = FileSpanExporter(tmp_path / "t.jsonl")
        exporter.export(finished_spans())
        exporter.shutdown()
    with (tmp_path / "t.jsonl").open("rb") as file:
        assert len(list(SpanReader().read(file))) == 4


def test_a_line_that_a_full_disk_cut_is_lost_alone(tmp_path):
    """The next batch begins a line of its own, and readers see it whole."""
    path = tmp_path / "t.jsonl"
    exporter = FileSpanExporter(path)
    spans = finished_spans()
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    with path.open("a+b", buffering=0) as disk:
        whole = exporter._file._file

        class Short:
            fileno = disk.fileno

            def write(self, line):
                return disk.write(line[:20])

        exporter._file._file = Short()
        assert exporter.export(spans) is SpanExportResult.FAILURE
        exporter._file._file = whole
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    exporter.shutdown()
    lines = path.read_bytes().split(b"\n")
    assert [len(line) == 20 for line in lines if line] == [False, True, False]
    assert json.loads(lines[0]) == json.loads(lines[2])


@pytest.mark.parametrize("mode", [0o600, 0o200], ids=["readable", "write-only"])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_line_that_another_process_left_unfinished_is_lost_alone(tmp_path, mode, when):
    """One of an earlier run, or a worker that shares the file: the next batch begins a line of its own."""
    path = tmp_path / "t.jsonl"
    spans = finished_spans()
    path.write_bytes(encode_line(spans) + (encode_line(spans)[:40] if when == "before" else b""))
    path.chmod(mode)
    exporter = FileSpanExporter(path)
    if when == "meanwhile":
        assert exporter.export(spans) is SpanExportResult.SUCCESS
        with path.open("ab") as other:
            other.write(encode_line(spans)[:40])
    for _ in range(2):
        assert exporter.export(spans) is SpanExportResult.SUCCESS
    exporter.shutdown()
    path.chmod(0o600)
    reader = SpanReader()
    with path.open("rb") as file:
        assert len(list(reader.read(file))) == (6 if when == "before" else 8)
    assert len(reader.bad_lines) == 1


def test_a_whole_file_gets_no_empty_line(tmp_path):
    """What ends with a line's end is gone on with as it is."""
    path = tmp_path / "t.jsonl"
    for _ in range(2):
        exporter = FileSpanExporter(path)
        for _ in range(2):
            exporter.export(finished_spans())
        exporter.shutdown()
    assert b"\n\n" not in path.read_bytes()
    assert path.read_bytes().count(b"\n") == 4


def test_a_file_that_may_be_written_and_not_read_is_written(tmp_path, monkeypatch):
    """Its last line cannot be looked at, so each batch begins with an empty one, which readers pass over."""
    path = tmp_path / "t.jsonl"
    path.touch()
    real = Path.open

    def no_reading(self, mode="r", **arguments):
        if "+" in mode:
            raise PermissionError(13, "Permission denied")
        return real(self, mode, **arguments)

    monkeypatch.setattr(Path, "open", no_reading)
    exporter = FileSpanExporter(path)
    for _ in range(2):
        assert exporter.export(finished_spans()) is SpanExportResult.SUCCESS
    exporter.shutdown()
    with real(path, "rb") as file:
        assert len(list(SpanReader().read(file))) == 4


def test_a_figure_of_any_size_is_shown():
    """A third-party file may contain a number of 400 digits."""
    attribute = f'[{{"key":"mozaiks.retry.delay","value":{{"intValue":"{"9" * 401}"}}}}]'
    document = COLLECTOR.replace('"name":"e","attributes":[]', f'"name":"retry.scheduled","attributes":{attribute}')
    (trace,) = traces_of(read_line(document.encode()))
    assert rows_of(trace)
