"""
Reads the details of an error response from all body formats that the platform uses.

Formats (RFC 9457 problem details; .NET `{error}`, `{errorCode, message}`, ValidationProblemDetails; Python
`{detail}`; nested `{error: {code, message, details}}`; second generation `{success: false, error: …}`; a JSON string;
plain text; nothing) all become one `Problem`.
"""

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from .redaction import Redactor

__all__ = ["MAX_READ", "Problem", "parse_problem", "problem_of", "redact_problem"]

_FAILURES = range(400, 600)
_MAX_FIELDS = 50
# Not every codec of Python: some are no charsets, and some take quadratic time.
_CHARSETS = frozenset({"utf-8", "utf-16", "utf-16-le", "utf-16-be", "ascii", "iso8859-1", "iso8859-15", "cp1252"})
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE)
_HTML = re.compile(r"<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_MAX_PATH = 20  # parts of one field's path
MAX_READ = 16_000
"""Characters read of one problem, all its texts together: an error must not block the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """
    Details from an error response, safe to show.

    Attributes:
        code: Machine-readable code, for example `NotFound`; empty when the body has none.
        message: Sentence for people; empty when the body has none.
        field_errors: Messages per input field.
        correlation_id: Id the body names, when it names one.
        retryable: Whether the server says that a retry can succeed; None when it says nothing.
        status: HTTP status of a failure that the body names; None when it names none.
    """

    code: str = ""
    message: str = ""
    field_errors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    correlation_id: str = ""
    retryable: bool | None = None
    status: int | None = None


def parse_problem(body: bytes, content_type: str, *secrets: str | None, redactor: Redactor | None = None) -> Problem:
    """
    Read *body* of an error response; any input results in a Problem, never in an exception.

    Args:
        body: The decompressed response body.
        content_type: Value of the Content-Type header, in any case; empty when absent.
        secrets: Values masked wherever the server echoes them.
        redactor: Makes the texts safe to show, instead of one with *secrets*.
    """
    redactor = redactor or Redactor(*secrets, budget=MAX_READ)
    text = body.decode(_encoding(content_type), errors="replace").removeprefix("\ufeff").strip()
    if not text:
        return Problem()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        # Neither an HTML page nor a part of a JSON document is a text that is useful in an error message.
        is_markup = "html" in content_type.lower() or "json" in content_type.lower() or _HTML.match(text)
        return Problem() if is_markup else Problem(message=redactor.redact(text))
    if isinstance(document, str):
        return Problem(message=redactor.redact(document))
    if not isinstance(document, dict):
        return Problem()
    return problem_of(document, redactor=redactor)


def redact_problem(problem: Problem, redactor: Redactor) -> Problem:
    """Return *problem* with its texts made safe to show by *redactor*."""
    return replace(
        problem,
        code=redactor.redact(problem.code, is_name=True),
        message=redactor.redact(problem.message),
        correlation_id=redactor.redact(problem.correlation_id, is_name=True),
        field_errors={
            redactor.redact(name, is_name=True): tuple(redactor.redact(text) for text in texts)
            for name, texts in problem.field_errors.items()
        },
    )


def _encoding(content_type: str) -> str:
    """Return the encoding that the charset of a content type names; UTF-8 where it names no known one."""
    named = _CHARSET.search(content_type)
    with suppress(LookupError):
        known = codecs.lookup(named[1]).name if named else ""
        return known if known in _CHARSETS else "utf-8"  # equivalent: `'utf-8~'`: another name of the same codec
    return "utf-8"  # equivalent: `'utf-8~'`: another name of the same codec


def problem_of(document: dict[str, Any], *secrets: str | None, redactor: Redactor | None = None) -> Problem:
    """
    Read the parsed object of an error body; see `parse_problem`.

    Code, message and correlation id are read first, then field errors until the budget of one problem is spent.
    """
    redactor = redactor or Redactor(*secrets, budget=MAX_READ)

    error = document.get("error")
    nested = error if isinstance(error, dict) else {}
    message = _first(nested, document, keys=("message",))
    detail, title = document.get("detail"), document.get("title")
    code = _first(nested, document, keys=("code", "errorCode", "error_code"))
    if isinstance(error, str):
        # `error` is sometimes a code, sometimes a sentence: a code has no blanks, and there is only one.
        if code or " " in error.strip():
            message = message or error
        else:
            code = error
    message = message or _text(document.get("reason")) or _text(detail) or _text(title)
    retryable, status = nested.get("retryable"), document.get("status")
    return Problem(
        code=redactor.redact(code, is_name=True),
        message=redactor.redact(message),
        correlation_id=redactor.redact(
            _first(nested, document, keys=("correlationId", "correlation_id")), is_name=True
        ),
        field_errors=_field_errors(document.get("errors"), detail, nested.get("details"), redactor),
        retryable=retryable if isinstance(retryable, bool) else None,
        status=status if isinstance(status, int) and status in _FAILURES else None,
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


def _field_errors(errors: Any, detail: Any, details: Any, redactor: Redactor) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name, messages in _messages(errors, detail, details):
        listed = [message for message in messages if isinstance(message, str)]
        shown = redactor.redact(name, is_name=True) if listed and isinstance(name, str) else ""
        for message in listed:
            if redactor.is_spent:
                break
            found.setdefault(shown, []).append(redactor.redact(message))
    return {name: tuple(listed) for name, listed in found.items()}


def _messages(errors: Any, detail: Any, details: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Yield name and messages of each field, in the formats of both frameworks."""
    for source in (errors, details):
        if isinstance(source, dict):  # ValidationProblemDetails: {Field: [message, …]}
            for name, messages in islice(source.items(), _MAX_FIELDS):
                yield name, messages if isinstance(messages, list) else [messages]
    if isinstance(detail, list):  # FastAPI 422: [{loc, msg, type}]
        for entry in detail[:_MAX_FIELDS]:
            if isinstance(entry, dict):
                loc = entry.get("loc")
                parts = loc[:_MAX_PATH] if isinstance(loc, list) else []
                yield ".".join(str(part) for part in parts if isinstance(part, str | int)), [entry.get("msg")]
