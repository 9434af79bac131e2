"""Lines of trace files, and both ways to read them."""

import pytest

from runtime.traces import trace_file
from runtime.traces.trace_file import SpanReader

# As the Collector's file exporter writes it.
COLLECTOR = """{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"core"}}]},\
"scopeSpans":[{"scope":{"name":"s"},"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",\
"parentSpanId":"","name":"GET /items","kind":2,"startTimeUnixNano":"1544712660000000000",\
"endTimeUnixNano":"1544712661000000000","attributes":[{"key":"a.number","value":{"intValue":"7"}},\
{"key":"a.list","value":{"arrayValue":{"values":[{"boolValue":true},{"doubleValue":0.5}]}}},\
{"key":"a.map","value":{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}}],\
"droppedAttributesCount":0,"events":[{"timeUnixNano":"1544712660500000000","name":"e","attributes":[]}],\
"status":{"code":2,"message":"oops"}}]}]}]}"""


def same_in_both_ways(line):
    """What msgspec reads of a line, where it does, is what the standard library reads; returns whether it does."""
    quick = trace_file._read_quickly(line)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace_file, "_read_quickly", trace_file._read_nothing)
        reader = SpanReader()
        found = list(reader.read([line]))
    if quick is not None:
        assert repr(quick) == repr(found)  # by their text, in which one `nan` is the other
        assert reader == SpanReader(lines=1, spans=len(found))
    return quick is not None
