"""Decodes a complete 2xx body to the operation's result, inside the attempt: a failure is the attempt's outcome."""

import json
import math
import re
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any, NoReturn

from middleware.echoes import redactor_of
from middleware.errors import CallError, DecodeError
from middleware.problem import MAX_READ
from middleware.redaction import redact
from middleware.steps import Step
from middleware.types import NoContent, PlatformRequest, PlatformResponse

__all__ = ["DecodeMiddleware", "parse_json"]

_WITHOUT_BODY = frozenset({204, 205})  # RFC 9110 sections 15.3.5 and 15.3.6


_LONGEST_TYPE = 80


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and the infinities


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):  # `1e999`
        raise ValueError(number)
    return value


# Shared: `json.loads` with options makes a new decoder each time.
_DECODER = json.JSONDecoder(parse_constant=_reject_constant, parse_float=_finite)
_EXACT = json.JSONDecoder(parse_constant=_reject_constant, parse_float=Decimal)

_quick: Callable[[bytes], Any] | None = None
_rejections: tuple[type[Exception], ...] = (ValueError, RecursionError)
with suppress(ImportError):
    import msgspec

    _quick = msgspec.json.Decoder().decode
    _rejections += (msgspec.DecodeError,)  # a ValueError only in later releases

# What a decoder has not read of a document that ends too early: nothing, or the beginning of a literal, a number or an
# escape.
_UNREAD = re.compile(r"\s*+(?:-|\.|[eE][+-]?|t(?:ru?)?|f(?:a(?:ls?)?)?|n(?:ul?)?|\\?u[0-9a-fA-F]{0,4})?\Z")


def parse_json(response: PlatformResponse, *, decimals: bool = False) -> Any:
    """
    Parse the body of *response*; `{}` for an empty one.

    Args:
        response: The response.
        decimals: Read numbers with a fraction as Decimal, from their text, instead of float.

    Raises:
        DecodeError: The body is not JSON, or the beginning of a JSON document alone. The text names its content type,
            never its content.
    """
    if _quick is not None and not decimals:
        # What it reads it reads as the standard library does (`.ci/tools/json_parity.py` compares them). It rejects
        # more: a byte order mark, half a surrogate pair; there, and for what is no JSON, the standard library decides.
        try:
            return _quick(response.body)
        except _rejections:
            pass
    if not response.body.strip():
        return {}
    try:
        return (_EXACT if decimals else _DECODER).decode(
            response.body.decode("utf-8-sig")  # equivalent: another name of the same codec
        )  # RFC 8259 section 8.1: UTF-8; .NET may add a byte order mark
    except (ValueError, RecursionError) as error:
        is_incomplete = _is_beginning(error)
        named = response.headers.get("content-type", "no content type").split(";")[0]
        kind = redact(named[:_LONGEST_TYPE], limit=_LONGEST_TYPE)
    raise DecodeError(
        f"{response.status} response: body is not JSON ({kind})", request_sent="yes", is_incomplete=is_incomplete
    )


def _is_beginning(error: Exception) -> bool:
    """Return whether a text failed with *error* only because it ends too early."""
    if isinstance(error, UnicodeDecodeError):  # in the middle of a character, and of a document
        return error.end == len(error.object) and error.reason == "unexpected end of data"
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or _UNREAD.match(error.doc, error.pos) is not None


class DecodeMiddleware(Step):
    """Parses the JSON and applies the operation's `decode`; a response that has `data` already passes as it is."""

    def succeeded(self, request: PlatformRequest, _entered: None, response: PlatformResponse) -> None:
        """
        Set `response.data`.

        Raises:
            DecodeError: The body is not JSON, or `decode` raised an exception.
        """
        request.attempt.status = response.status  # for a custom transport that did not set it
        if response.data is not None:
            return
        document = NoContent() if response.status in _WITHOUT_BODY else parse_json(response, decimals=request.decimals)
        if request.decode is None:
            response.data = document
            return
        try:
            response.data = request.decode(document)
            return
        except CallError as error:
            error.request_sent = "yes"
            error.redact(
                redactor_of(request, budget=MAX_READ)
            )  # `decode` knows the body, and not what the request carried
            raise
        except Exception as error:  # noqa: BLE001 - `decode` is the connector's code; its error text may quote the body
            reason = f"decoding failed: {type(error).__name__}"
        raise DecodeError(reason, request_sent="yes")
