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
        ("1.5", None, 1.5),
        ("4.5", None, 4.5),
        ("5.0", None, 5.0),
        ("5.", None, 5.0),
        (".5", None, None),
        ("0.0", None, None),
        ("0.25", None, 0.25),
        ("1e3", None, None),
        ("5s", None, None),
        ('"5"', None, 5.0),
        ('" 5"', None, 5.0),
        ("1." + "9" * 500, None, 1.999999999),
        ("9" * 13 + ".5", None, float("inf")),
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
        ("Friday, 15-Jan-27 08:00:04 GMT", "Fri, 15 Jan 2027 08:00:01 GMT", 3.0),
        # Two header lines, or two gateways.
        ("5, 5", None, 5.0),
        ("5,3", None, 5.0),
        ("3, 5.5", None, 5.5),
        ('3, "5"', None, 5.0),
        ("5, soon", None, 5.0),
        ("soon, 5", None, 5.0),
        ("-5, 3", None, 3.0),
        ("0, 0", None, None),
        ("Fri, 15 Jan 2027 08:00:02 GMT, 2", None, 2.0),
        ("1, Fri, 15 Jan 2027 08:00:02 GMT", None, 1.5),
        ('"Fri, 15 Jan 2027 08:00:02 GMT"', None, 1.5),
        ("fri, 15 Jan 2027 08:00:02 GMT, FRIDAY, 15-Jan-27 08:00:03 GMT", None, 2.5),
        ("Fri Jan 15 08:00:03 2027, 1", None, 2.5),
        ("Fri, 5", None, None),
        ("Fri, 15 Jan 2027 08:00:02 GMT", "Fri, 15 Jan 2027 08:00:01 GMT, Fri, 15 Jan 2027 08:00:00 GMT", 1.0),
        (",".join(["1"] * 19 + ["2"]), None, 2.0),
        (",".join(["1"] * 20 + ["2"]), None, 1.0),
    ],
)
def test_it_is_a_positive_number_of_seconds_or_none(value, date, seconds):
    """R15: of several values the longest; a date against the response's own, and our clock only where that is missing."""
    assert parse_retry_after(value, date, WALL) == seconds
