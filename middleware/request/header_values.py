"""Which values a header may carry."""

import re
from typing import Any

__all__ = ["MAX_TOKEN", "is_token"]

MAX_TOKEN = 8192

# Visible ASCII without blanks; RFC 6750 section 2.1 allows a bearer token less still.
_TOKEN = re.compile(r"[\x21-\x7e]+")


def is_token(value: Any) -> bool:
    """Can *value* be sent as a credential: 1 to `MAX_TOKEN` visible ASCII characters?"""
    return isinstance(value, str) and len(value) <= MAX_TOKEN and _TOKEN.fullmatch(value) is not None
