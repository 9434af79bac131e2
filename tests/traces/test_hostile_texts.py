"""No character that deceives or moves the cursor comes through, from wherever it came and wherever it is shown."""

import io
import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rich.console import Console

from middleware import CallError, ConfigError, Telemetry
from middleware.redaction import printable
from runtime.cli import trace as command
from runtime.settings import ResolvedSettings
from runtime.testing import Reply, ScriptedUpstream, run_virtual
from runtime.traces.model import Row, traces_of
from runtime.traces.page import render_page
from runtime.traces.terminal import _branches, render_list, render_trace, write_picture
from runtime.traces.trace_file import SpanReader

HOSTILE = st.text(
    st.sampled_from(
        "a\x00\x07\x1b\x7f\x85\x9b\xad\u061c\u115f\u200b\u200f\u2028\u202e\u2066\u2069\u3164\ufeff\U000e0041\ud800"
    ),
    min_size=1,
    max_size=12,
)


def is_clean(text):
    return all(line == printable(line) for line in text.split("\n"))


def spans_of(text):
    pair = {"key": text, "value": {"arrayValue": {"values": [{"stringValue": text}, {"bytesValue": text}]}}}
    span = {"traceId": "a" * 32, "spanId": "b" * 16, "name": text, "startTimeUnixNano": "1", "endTimeUnixNano": "2",
            "status": {"code": 2, "message": text}, "attributes": [pair, {"key": "mozaiks.connector.operation", "value": {"stringValue": text}},
            {"key": "mozaiks.correlation_id", "value": {"stringValue": text}}],
            "events": [{"name": text, "timeUnixNano": "1", "attributes": [pair]}]}  # fmt: skip
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": text}}]}
    document = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}
    return traces_of(SpanReader().read([json.dumps(document).encode()]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(HOSTILE)
def test_of_a_trace_file(text):
    """Terminal and page show each of its texts without them."""
    console = Console(file=io.StringIO(), markup=False, emoji=False, highlight=False, width=100)
    found = spans_of(text)
    console.print(render_trace(found[0]), render_list(found))
    assert is_clean(console.file.getvalue())
    assert is_clean(render_page(found, of=1, source=text))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(HOSTILE)
def test_of_a_response(text):
    """Error, log lines and spans have none of them: code, message, names of fields, headers."""
    document = {"code": text, "error": text, "message": text, "title": text, "detail": text, "errors": {text: [text]}}
    headers = {"x-correlation-id": text, "server": text, "via": text, "retry-after": text}
    headers = {name: printable(value).encode("ascii", "replace").decode() for name, value in headers.items()}
    exporter, provider, lines = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False), []
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(json.dumps(record.__dict__, default=str, ensure_ascii=False))
    logger = logging.getLogger("mozaiks.connectors")
    logger.addHandler(handler)

    async def failed():
        upstream = ScriptedUpstream([Reply(status=400, json=document, headers=headers)])
        with pytest.raises(CallError) as caught:
            await upstream.client(telemetry=Telemetry(tracer_provider=provider)).get("/r")
        return caught.value

    try:
        error = run_virtual(failed())
    finally:
        logger.removeHandler(handler)
    said = [str(error), repr(error), json.dumps(error.to_plugin_error(), ensure_ascii=False), *lines]
    said += [span.to_json(indent=None) for span in exporter.get_finished_spans()]
    said += [str(value) for span in exporter.get_finished_spans() for value in span.attributes.values()]
    assert len(lines) >= 1
    assert [one for one in said if not is_clean(one)] == []


@settings(max_examples=40, deadline=None, derandomize=True)
@given(HOSTILE)
def test_of_settings(text):
    """Names and values, in the environment and in mappings."""
    for given_settings in (
        {text: {text: text}},
        {"services": {text: {"retry": {}}}},
        {"circuit_breaker": {"mode": text}},
    ):
        with pytest.raises(ConfigError) as caught:
            ResolvedSettings(given_settings, services={"service": ["get_item"]})
        assert is_clean(str(caught.value))
    with pytest.raises(ConfigError) as caught:
        ResolvedSettings(environ={f"MOZAIKS_CONNECTORS_{text}": text, "MOZAIKS_CONNECTORS_BUDGET_ENABLED": text})
    assert is_clean(str(caught.value))


def test_of_the_name_of_a_file(tmp_path, capsys):
    """One that is not UTF-8, or that contains them, is shown replaced; the page and the picture are written."""
    for name in (b"t\xff\x1b[2J.jsonl", "t\u202e:smile:[bold].jsonl".encode()):
        file = tmp_path / name.decode(errors="surrogateescape")
        file.write_bytes(b"\n")
        assert command.main([str(file)]) == 1
        file.write_bytes(LINE)
        for option, target in (("--html", tmp_path / "page.html"), ("--svg", tmp_path / "picture.svg")):
            assert command.main([str(file), option, str(target)]) == 0
            assert is_clean(target.read_text("utf-8"))
        shown = capsys.readouterr()
        assert is_clean(shown.out + shown.err)


LINE = (
    b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"'
    + b"a" * 32
    + b'","spanId":"'
    + b"b" * 16
    + (b'","name":":smile:[bold]x","startTimeUnixNano":"1","endTimeUnixNano":"2"}]}]}]}\n')
)


def test_codes_of_the_terminals_library_are_text(tmp_path, capsys):
    """Emoji and markup in a name are neither drawn nor applied; the page permits no form to be sent."""
    (file := tmp_path / "t.jsonl").write_bytes(LINE)
    assert command.main([str(file)]) == 0
    assert ":smile:[bold]x" in capsys.readouterr().out
    console = command._console(record=True)
    console.print(":smile:[bold]x")
    write_picture(console, tmp_path / "p.svg", title="x")
    assert ":smile:[bold]x" in (tmp_path / "p.svg").read_text()
    assert "form-action 'none'" in render_page([], of=0, source="x")


def test_a_deep_chain_of_spans_is_drawn_in_proportion():
    """Its branches stay short however deep it is."""
    rows = [Row(depth=depth, kind="span", label="", text="", tone="plain", start_s=0, end_s=0) for depth in range(3000)]
    assert max(map(len, _branches(rows))) == 3 * 32
