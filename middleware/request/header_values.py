"""Which values may be sent as a credential in a header."""

from typing import Any

__all__ = ["MAX_TOKEN", "is_token"]

MAX_TOKEN = 8192
"""Longest credential in characters; common servers accept a header of that size."""

# RFC 6750 section 2.1 allows fewer characters in a bearer token.
_VISIBLE_ASCII = bytes(range(0x21, 0x7F))


def is_token(value: Any) -> bool:
    """True when *value* can be sent as a credential: 1 to `MAX_TOKEN` visible ASCII characters."""
    # Not by a regular expression: a token is long, and to delete what is allowed needs a quarter of its time. By the
    # methods of `str`, since a subclass may have others.
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TOKEN or not str.isascii(value):
        return False
    return not str.encode(value).translate(None, _VISIBLE_ASCII)
