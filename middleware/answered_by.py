"""
Who sent an error response, the platform or a gateway before it, by what the response itself shows.

A gateway's own 404 says nothing about the resource, and its 502 nothing about the service's code. `Server` and `Via`
alone prove little, since gateways put them on the responses that they pass on, too; so a response without other
evidence is `unknown`.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from .records import AnsweredBy

__all__ = ["answered_by", "gateway_name"]

_LONGEST_DOCUMENT = 64 * 1024
_HTML = re.compile(rb"\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_TOKEN = re.compile(r"[a-z][a-z0-9-]{1,29}", re.IGNORECASE)
_VIA = re.compile(r"(?:http/)?[0-9.]+\s+([a-z][a-z0-9-]{1,29})", re.IGNORECASE)
_PLATFORM_SERVERS = frozenset({"kestrel", "microsoft-iis", "uvicorn"})
_GATEWAY_STATUSES = frozenset({413, 431, 502, 503, 504})  # of these a gateway may send a response without a body
# Of RFC 9457 and of the platform's own formats. `message` is not among them: gateways send it alone.
_DOCUMENT_KEYS = frozenset(
    {"type", "title", "status", "detail", "errors", "error", "errorCode", "error_code", "code", "success", "ok"}
)
# Of Spring Boot's `DefaultErrorAttributes`, in which Spring Cloud Gateway says that it has no route. The platform's own
# formats have `error` and `status`, too, but neither of these.
_SPRING_KEYS = frozenset({"timestamp", "path", "status", "error"})


def answered_by(status: int, headers: Mapping[str, str], body: bytes, sent_id: str) -> AnsweredBy:
    """
    Return who sent a response.

    Args:
        status: HTTP status, not 2xx.
        headers: Response headers, names in lower case.
        body: Decompressed body, or the beginning of it.
        sent_id: Correlation id of the request.
    """
    kind = headers.get("content-type", "").lower()
    if "html" in kind or _HTML.match(body):  # R55
        return "gateway"
    echoed = [value.strip().lower() for value in headers.get("x-correlation-id", "").split(",")]
    if (sent_id and sent_id.lower() in echoed) or "problem+json" in kind:  # R55
        return "platform"
    if body.strip():  # R55
        document = _document(body)
        if isinstance(document, dict):  # R55
            is_platform = _DOCUMENT_KEYS & document.keys() and not document.keys() >= _SPRING_KEYS  # R55
            return "platform" if is_platform else "unknown"  # R55
        return "unknown" if document is not None or "json" in kind else "gateway"  # plain text
    if "text/plain" in kind or (status in _GATEWAY_STATUSES and gateway_name(headers)):  # R55
        return "gateway"
    return "unknown"


def _document(body: bytes) -> Any:
    if len(body) <= _LONGEST_DOCUMENT:
        with suppress(ValueError, RecursionError):
            return json.loads(body)
    return None


def gateway_name(headers: Mapping[str, str]) -> str:
    """Return the name of the gateway's software by `Server`, else by `Via`; empty where they name none."""
    server = _TOKEN.match(headers.get("server", "").strip())
    if server and server[0].lower() not in _PLATFORM_SERVERS:
        return server[0]
    via = _VIA.match(headers.get("via", "").strip())
    return via[1] if via else ""
