"""Which values may be sent as a credential in a header."""

from typing import Any

__all__ = ["MAX_TOKEN", "is_token"]

MAX_TOKEN = 8192
"""Longest credential in characters; common servers accept a header of that size."""


def is_token(value: Any) -> bool:
    """True when *value* can be sent as a credential: 1 to `MAX_TOKEN` visible ASCII characters."""
    # RFC 6750 section 2.1 allows fewer characters in a bearer token. The methods of `str` need a fifth of the time of a
    # regular expression, and a token is long; a subclass may have others.
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_TOKEN
        and str.isascii(value)
        and str.isprintable(value)
        and str.find(value, " ") < 0
    )
