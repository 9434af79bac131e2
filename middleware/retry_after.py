"""Parses the Retry-After header: both forms of RFC 9110 section 10.2.3, and others that services and gateways send."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["parse_retry_after"]

_LONGEST_DATE = 64
"""Characters of an HTTP date: the longest form, with the weekday written out, has 33."""
_MOST_VALUES = 20
_SECONDS = re.compile(r"([0-9]+)(?:\.([0-9]*))?")
_WEEKDAY = re.compile(r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*", re.IGNORECASE)


def parse_retry_after(value: str | None, date: str | None, wall: float) -> float | None:
    """
    Return the seconds to wait, or None when the header is absent, malformed, zero or in the past.

    Of several values, as of a gateway and the service behind it, the longest counts.

    Args:
        value: Retry-After: seconds, also with a fraction or in quotes, or an HTTP date; repeated headers joined.
        date: The response's own Date header, to which an HTTP date is relative, so that a wrong clock on either side
            does not matter.
        wall: Seconds since the epoch, used only where *date* is absent.
    """
    if value is None:
        return None
    sent_at = _parse_date(next(_values(date or ""), ""))  # equivalent: `'~'`: none of them is a date
    since = wall if sent_at is None else sent_at  # R15
    return max((wait for wait in (_wait(text, since) for text in _values(value)) if wait > 0), default=None)  # R15


def _values(joined: str) -> Iterator[str]:
    """Split a header at its commas, but for the one after the weekday of a date."""
    weekday = ""
    for part in joined.split(",", _MOST_VALUES)[:_MOST_VALUES]:
        text = part.strip(' \t"')
        if _WEEKDAY.fullmatch(text):
            weekday = f"{text}, "
        else:
            yield weekday + text
            weekday = ""


def _wait(text: str, since: float) -> float:
    """Return the seconds that one value asks for; 0 for a value that cannot be read."""
    seconds = _SECONDS.fullmatch(text)
    if seconds:
        whole, fraction = seconds[1].lstrip("0"), seconds[2] or ""
        return float(f"0{whole}.{fraction[:9]}") if len(whole) <= 12 else float("inf")  # noqa: PLR2004 - beyond any deadline
    until = _parse_date(text)
    return 0.0 if until is None else until - since


def _parse_date(text: str) -> float | None:
    if len(text) > _LONGEST_DATE:
        return None
    try:
        parsed: datetime = parsedate_to_datetime(text)
        # The asctime form and "-0000" are parsed without a zone; HTTP dates are always UTC.
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
