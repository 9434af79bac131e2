"""Retry-After in both forms."""

import pytest

from middleware.retry_after import parse_retry_after

WALL = 1_800_000_000.5  # Fri, 15 Jan 2027 08:00:00.5 GMT


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        (None, None, None),
        ("1", None, 1.0),
        (" 007 ", None, 7.0),
        ("0", None, None),
        ("000", None, None),
        ("-1", None, None),
        ("1.5", None, None),
        ("٣", None, None),
        ("", None, None),
        ("soon", None, None),
        ("9" * 12, None, 999_999_999_999.0),
        ("9" * 13, None, float("inf")),
        ("0" * 13 + "5", None, 5.0),
        ("Fri, 15 Jan 2027 08:00:01 GMT", None, 0.5),
        ("Fri, 15 Jan 2027 08:00:00 GMT", None, None),
        ("Fri, 15 Jan 2027 08:00:02 GMT", "Fri, 15 Jan 2027 08:00:01 GMT", 1.0),
        ("Fri, 15 Jan 2027 08:00:01 GMT", "Fri, 15 Jan 2027 08:00:01 GMT", None),
        ("Fri, 15 Jan 2027 08:00:01 GMT", "no date", 0.5),
        ("Fri Jan 15 08:00:03 2027", "Fri, 15 Jan 2027 08:00:01 -0000", 2.0),
        ("Fri, 15 Jan 2027 10:00:03 +0200", "Fri, 15 Jan 2027 08:00:01 GMT", 2.0),
    ],
)
def test_it_is_a_positive_number_of_seconds_or_none(value, date, seconds):
    """R15: a date is measured against the response's own, and against our clock only where that is missing."""
    assert parse_retry_after(value, date, WALL) == seconds
