"""Lines that msgspec reads: as the standard library does, or not at all."""

import json

import pytest
from trace_lines import COLLECTOR, same_in_both_ways

from runtime.traces import trace_file
from runtime.traces.trace_file import read_line

ATTRIBUTES = '"attributes":[{"key":"a.number"'


@pytest.mark.parametrize(
    ("old", "new", "quick"),
    [
        ("", "", True),
        ('{"resourceSpans"', '\N{ZERO WIDTH NO-BREAK SPACE}{"resourceSpans"', False),
        ("GET /items", "GET /caf\N{LATIN SMALL LETTER E WITH ACUTE}", True),
        ("GET /items", r"GET \u0007\u202e", True),
        ("a.number", r"a\u002enumber", True),
        ("a.number", "\x7f\N{RIGHT-TO-LEFT OVERRIDE}", True),
        ('{"intValue":"7"}', '{"intValue":"7","stringValue":"both"}', True),
        ('{"intValue":"7"}', "null", True),
        ('{"intValue":"7"}', '{"doubleValue":NaN}', False),
        ('{"intValue":"7"}', '{"doubleValue":1e999}', False),
        ('{"intValue":"7"}', r'{"stringValue":"\ud800"}', False),
        ('{"intValue":"7"}', "7", False),
        ('"1544712660000000000"', "1544712660000000000", True),
        ('"1544712660000000000"', "1.54471266e18", False),
        ('"kind":2', '"kind":"SPAN_KIND_SERVER"', True),
        ("resourceSpans", "resourceMetrics", True),
        ('"parentSpanId":""', '"parentSpanId":null', True),
        ("eee19b7ec3c1b174", "EEE19b7ec3c1b174", False),
        ('"1544712661000000000"', '"1544712659000000000"', False),
        ("5b8efff798038103d269b633813fc60c", "5b8efff798038103d269b633813fc60cee", False),
        (ATTRIBUTES, f'"attributes":null,{ATTRIBUTES}', True),
    ],
    ids=lambda value: repr(value)[:40].encode("ascii", "backslashreplace").decode(),
)
def test_a_quicker_reader_reads_the_same_or_nothing(old, new, quick):
    """Msgspec's, of lines as programs write them; what is odd is for the reader that counts it."""
    pytest.importorskip("msgspec")
    assert old in COLLECTOR
    assert same_in_both_ways(COLLECTOR.replace(old, new, 1).encode()) is quick


def test_equal_attributes_are_read_once_and_long_ones_are_not_kept():
    """A file of large spans fills no memory."""
    pytest.importorskip("msgspec")
    short, long = (COLLECTOR.replace('"k"', f'"{text}"') for text in ("k", "k" * 5000))
    for line in (short, short, long):
        read_line(line.encode())
    first, second = (read_line(short.encode())[0] for _ in range(2))
    assert first.attributes is second.attributes
    assert all(len(raw) < 5000 for raw in trace_file._known)


def with_ids(*pairs):
    attributes = ",".join(f'{{"key":{json.dumps(key)},"value":{value}}}' for key, value in pairs)
    return COLLECTOR.replace('{"key":"a.number","value":{"intValue":"7"}}', attributes).encode()


NAME = "mozaiks.correlation_id"


NESTED = f'{{"kvlistValue":{{"values":[{{"key":"{NAME}","value":{{"stringValue":"%s"}}}}]}}}}'


@pytest.mark.parametrize(
    ("form", "quick"),
    [
        ([(NAME, '{"stringValue":"%s"}')], True),
        ([("a", '{"boolValue":true}'), (NAME, '{"stringValue":"%s"}'), ("b", '{"doubleValue":0.5}')], True),
        ([(NAME, '{"stringValue":"%s"}'), (NAME, '{"stringValue":"last"}')], True),
        ([(NAME, '{"stringValue":"%s"}'), ("outer", NESTED)], True),
        ([("outer", NESTED)], True),
        ([(NAME, '{"stringValue":"%s","stringValue":"later"}')], True),
        ([(NAME, '{"intValue":"1","boolValue":true}'), ("id", '{"stringValue":"%s"}')], True),
    ],
    ids=["alone", "between others", "twice", "inside of another too", "only inside", "two values", "two kinds"],
)
def test_calls_that_differ_in_their_correlation_id_are_read_alike(form, quick):
    """Each with its own, wherever and however often it is written; an empty one, and one with an escape, too."""
    pytest.importorskip("msgspec")
    for correlation_id in ("one", "two", "", "last", r"\u0007", "three"):
        line = with_ids(*((key, value.replace("%s", correlation_id)) for key, value in form))
        assert same_in_both_ways(line) is quick
