"""Traces, and how figures and times of them are written."""

import pytest

from runtime.traces.model import clock_text, count_text


@pytest.mark.parametrize(("number", "text"), [(0, "0 calls"), (1, "1 call"), (2, "2 calls")])
def test_one_is_no_plural(number, text):
    """In every place that counts."""
    assert count_text(number, "call") == text


def test_the_clock_has_the_machines_time_zone(monkeypatch):
    """As the engineer's other tools."""
    import time

    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert clock_text(1_700_000_000_000_000_000, parts=3) == "03:43:20.000"
    finally:
        monkeypatch.undo()
        time.tzset()
