"""Which values may be sent as a credential in a header."""

import re
from typing import Any

__all__ = ["MAX_TOKEN", "is_token"]

MAX_TOKEN = 8192
"""Longest credential in characters; common servers accept a header of that size."""

# Visible ASCII without blanks; RFC 6750 section 2.1 allows fewer characters in a bearer token.
_TOKEN = re.compile(r"[\x21-\x7e]+")


def is_token(value: Any) -> bool:
    """True when *value* can be sent as a credential: 1 to `MAX_TOKEN` visible ASCII characters."""
    return isinstance(value, str) and len(value) <= MAX_TOKEN and _TOKEN.fullmatch(value) is not None
