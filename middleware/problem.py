"""
What an error response says about itself, read from every body shape the platform uses.

Shapes (RFC 9457 problem details; .NET `{error}`, `{errorCode, message}`, ValidationProblemDetails; Python
`{detail}`; nested `{error: {code, message, details}}`; second generation `{success: false, error: …}`; a JSON string;
plain text; nothing) all end in one `Problem`.
"""

import codecs
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from .redaction import redact

__all__ = ["Problem", "parse_problem", "problem_of"]

_MAX_FIELDS = 50
# Not every codec of Python: some are no charsets, and some take a time that grows with the square of the input.
_CHARSETS = frozenset({"utf-8", "utf-16", "utf-16-le", "utf-16-be", "ascii", "iso8859-1", "iso8859-15", "cp1252"})
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE)
_HTML = re.compile(r"<(?:!doctype\s+html|html)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """
    Details of a refused request, safe to show.

    Attributes:
        code: Machine-readable code, for example `NotFound`; empty when the body has none.
        message: Sentence for people; empty when the body has none.
        field_errors: Messages per input field.
        correlation_id: Id the body names, when it names one.
        retryable: The server's own word on retrying; None when it says nothing.
    """

    code: str = ""
    message: str = ""
    field_errors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    correlation_id: str = ""
    retryable: bool | None = None


def parse_problem(body: bytes, content_type: str, *secrets: str | None) -> Problem:
    """
    Read *body* of an error response; any input gives a Problem, never an exception.

    Args:
        body: The decompressed response body.
        content_type: Value of the Content-Type header, lower-cased or not; empty when absent.
        secrets: Values masked wherever the server echoes them.
    """
    text = body.decode(_encoding(content_type), errors="replace").removeprefix("\ufeff").strip()
    if not text:
        return Problem()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        # An HTML page says nothing a machine or an error message can use.
        is_html = "html" in content_type.lower() or _HTML.match(text)
        return Problem() if is_html else Problem(message=redact(text, *secrets))
    if isinstance(document, str):
        return Problem(message=redact(document, *secrets))
    if not isinstance(document, dict):
        return Problem()
    return problem_of(document, *secrets)


def _encoding(content_type: str) -> str:
    """Name the encoding of a text by the charset of its content type; UTF-8 where that names none that is known."""
    named = _CHARSET.search(content_type)
    with suppress(LookupError):
        known = codecs.lookup(named[1]).name if named else ""
        return known if known in _CHARSETS else "utf-8"
    return "utf-8"


def problem_of(document: dict[str, Any], *secrets: str | None) -> Problem:
    """Read the parsed object of an error body; see `parse_problem`."""

    def clean(value: Any) -> str:
        return redact(value, *secrets) if isinstance(value, str) else ""

    error = document.get("error")
    nested = error if isinstance(error, dict) else {}
    message = _first(nested, document, keys=("message",))
    detail, title = document.get("detail"), document.get("title")
    code = _first(nested, document, keys=("code", "errorCode", "error_code"))
    if isinstance(error, str):
        # `error` is sometimes a code, sometimes a sentence: a code has no blanks, and there is but one.
        if code or " " in error.strip():
            message = message or error
        else:
            code = error
    message = message or _text(document.get("reason")) or _text(detail) or _text(title)
    retryable = nested.get("retryable")
    return Problem(
        code=clean(code),
        message=clean(message),
        field_errors=_field_errors(document.get("errors"), detail, nested.get("details"), clean),
        correlation_id=clean(_first(nested, document, keys=("correlationId", "correlation_id"))),
        retryable=retryable if isinstance(retryable, bool) else None,
    )


def _first(*documents: dict[str, Any], keys: tuple[str, ...]) -> str:
    for document in documents:
        for key in keys:
            value = document.get(key)
            if isinstance(value, str) and value:
                return value
    return ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _field_errors(errors: Any, detail: Any, details: Any, clean: Any) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for source in (errors, details):
        if isinstance(source, dict):  # ValidationProblemDetails: {Field: [message, …]}
            for name, messages in list(source.items())[:_MAX_FIELDS]:
                listed = messages if isinstance(messages, list) else [messages]
                texts = tuple(clean(text) for text in listed if isinstance(text, str))
                if texts:
                    found[clean(name)] = texts
    if isinstance(detail, list):  # FastAPI 422: [{loc, msg, type}]
        for entry in detail[:_MAX_FIELDS]:
            if isinstance(entry, dict) and isinstance(entry.get("msg"), str):
                loc = entry.get("loc")
                place = ".".join(str(part) for part in loc) if isinstance(loc, list) else ""
                found[clean(place)] = (*found.get(clean(place), ()), clean(entry["msg"]))
    return found
