"""How long a connection may be idle before it is used again."""

import re
from collections.abc import Mapping

from middleware.types import PlatformRequest

from .response_reader import SUCCESS

__all__ = ["idle_limit_s", "may_be_reused"]

_TIMEOUT = re.compile(r'(?:^|[,;])\s*timeout\s*=\s*"?([0-9]{1,9})', re.IGNORECASE | re.ASCII)
_SURELY_READ = 64 * 1024  # bytes of a body that a server reads with its head, or shortly after
_SHARE = 0.9  # a server that closes after its whole time loses a request that is on its way then


def idle_limit_s(headers: Mapping[str, str], expiry_s: float) -> float:
    """
    Return for how many seconds a connection may be idle after a response.

    A server that says when it closes (`Keep-Alive: timeout=5`, RFC 2068 section 19.7.1.1) is obeyed: the connection is
    used for nine tenths of that time. Without that header, or with one that says something else, the setting decides.

    Args:
        headers: Of the response, as `check_headers` returns them.
        expiry_s: The setting `keepalive_expiry_s`.
    """
    value = headers.get("keep-alive")
    if value is None:
        return expiry_s
    found = _TIMEOUT.search(value)
    return expiry_s if found is None else min(expiry_s, int(found[1]) * _SHARE)


def may_be_reused(request: PlatformRequest, status: int) -> bool:
    """
    Return whether a connection may carry another request after the response to *request*.

    A server that rejects a large body (RFC 9110 section 15.5.14) may not have read it, and never read the next request.
    """
    return status in SUCCESS or request.content is None or len(request.content) <= _SURELY_READ
