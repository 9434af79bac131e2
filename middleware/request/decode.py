"""Decodes a complete 2xx body to the operation's result, inside the attempt: a failure is the attempt's outcome."""

import json
from typing import Any, NoReturn

from middleware.errors import CallError, DecodeError
from middleware.types import Handler, NoContent, PlatformRequest, PlatformResponse

__all__ = ["DecodeMiddleware", "parse_json"]

_WITHOUT_BODY = frozenset({204, 205})  # RFC 9110 sections 15.3.5 and 15.3.6


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and the infinities


# Shared: `json.loads` with options makes a new decoder each time.
_DECODER = json.JSONDecoder(parse_constant=_reject_constant)


def parse_json(response: PlatformResponse) -> Any:
    """
    Parse the body of *response*; `{}` for an empty one.

    Raises:
        DecodeError: The body is not JSON. The text names its content type, never its content.
    """
    if not response.body.strip():
        return {}
    try:
        return _DECODER.decode(
            response.body.decode("utf-8-sig")  # equivalent: another name of the same codec
        )  # RFC 8259 section 8.1: UTF-8; .NET may add a byte order mark
    except (ValueError, RecursionError):
        kind = response.headers.get("content-type", "no content type").split(";")[0][:80]
    raise DecodeError(f"{response.status} response: body is not JSON ({kind})", request_sent="yes")


class DecodeMiddleware:
    """Parses the JSON and applies the operation's `decode`; a response that has `data` already passes as it is."""

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """
        Set `response.data`.

        Raises:
            DecodeError: The body is not JSON, or `decode` raised an exception.
        """
        response = await call_next(request)
        request.attempt.status = response.status  # for a custom transport that did not set it
        if response.data is not None:
            return response
        document = NoContent() if response.status in _WITHOUT_BODY else parse_json(response)
        if request.decode is None:
            response.data = document
            return response
        try:
            response.data = request.decode(document)
            return response
        except CallError as error:
            error.request_sent = "yes"
            raise
        except Exception as error:  # noqa: BLE001 - `decode` is the connector's code; its error text may quote the body
            reason = f"decoding failed: {type(error).__name__}"
        raise DecodeError(reason, request_sent="yes")
