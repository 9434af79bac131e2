"""Parses the Retry-After header (RFC 9110 section 10.2.3) in both its forms."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["parse_retry_after"]

_LONGEST_DATE = 64
"""Characters of an HTTP date: the longest form, with the weekday written out, has 33."""


def parse_retry_after(value: str | None, date: str | None, wall: float) -> float | None:
    """
    Return the seconds to wait, or None when the header is absent, malformed, zero or in the past.

    Args:
        value: Retry-After: digits, or an HTTP date.
        date: The response's own Date header, to which an HTTP date is relative, so that a wrong clock on either side
            does not matter.
        wall: Seconds since the epoch, used only where *date* is absent.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        digits = value.lstrip("0")  # equivalent: only digits are left here
        return float(digits or 0) or None if len(digits) <= 12 else float("inf")  # noqa: PLR2004 - beyond any deadline
    until = _parse_date(value)
    if until is None:
        return None
    since = _parse_date(date or "")  # equivalent: `'~'`: neither is a date
    delay = until - (wall if since is None else since)  # R15
    return delay if delay > 0 else None  # R15


def _parse_date(text: str) -> float | None:
    if len(text) > _LONGEST_DATE:
        return None
    try:
        parsed: datetime = parsedate_to_datetime(text)
        # The asctime form and "-0000" are parsed without a zone; HTTP dates are always UTC.
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
