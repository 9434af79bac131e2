"""Which calls are chosen: by time, duration, outcome and the rest."""

from datetime import datetime

import pytest
from trace_spans import RETRY, START, attempt, call

from runtime.traces.calls import Call
from runtime.traces.filters import CallFilter, parse_duration, parse_time


def clock(text, *, oldest_s=0.0, newest_s=1800.0):
    at = parse_time(text, oldest_ns=START + round(oldest_s * 1e9), newest_ns=START + round(newest_s * 1e9))
    return datetime.fromtimestamp(at / 1e9).strftime("%d %H:%M:%S")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("14:00", "28 14:00:00"),
        ("14:00:20", "28 14:00:20"),
        ("10m", "28 14:05:00"),
        ("30s", "28 14:14:30"),
        ("2026-11-28T14:00", "28 14:00:00"),
        ("23:00", "28 23:00:00"),  # later than the file, which does not reach to the day before
    ],
)
def test_times_are_written_as_people_write_them(text, at):
    """The day is the newest call's."""
    assert clock(text) == at


def test_a_clock_time_of_a_file_over_midnight_is_of_the_day_before():
    """23:55 of a file that ends at 00:15."""
    assert clock("23:55", oldest_s=9 * 3600, newest_s=10.5 * 3600) == "28 23:55:00"


@pytest.mark.parametrize("text", ["25:00", "14:61", "soon", "", "10", "-5m", "9999999999d"])
def test_what_is_no_time_is_named(text):
    """With examples of what is."""
    with pytest.raises(ValueError, match=f"14:00:20 or 2026.* got {text!r}"):
        clock(text)


def test_durations():
    """With their unit, always."""
    assert [parse_duration(text) for text in ("250ms", "1.5s", "10m", "2h", "1d")] == [0.25, 1.5, 600, 7200, 86400]
    with pytest.raises(ValueError, match="250ms"):
        parse_duration("250")


RECOVERED = call(1, events=[RETRY], lasts_s=2.0)


FILTERED = [Call(RECOVERED, (attempt(1, 1, error="503", status=503), attempt(2, 1, status=200))), Call(call(2, name="billing.get_plan"))]  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"services": ("identity",)},
        {"operations": ("get_user",)},
        {"operations": ("identity.get_user",)},
        {"outcomes": ("recovered",)},
        {"statuses": ("503",)},
        {"statuses": ("5xx",)},
        {"min_duration_s": 1.0},
    ],
    ids=str,
)
def test_filters(fields):
    """Each chooses the first call, and not the second."""
    assert [CallFilter(**fields).accepts(one) for one in FILTERED] == [True, False]
