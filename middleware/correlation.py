"""The correlation id: one per call, the same on every attempt, always a value that a header may carry."""

import re
import uuid
from typing import Any

from .events import CorrelationIdReplaced, Listener
from .types import Handler, PlatformRequest, PlatformResponse

__all__ = ["CORRELATION_HEADER", "CorrelationMiddleware", "choose_correlation_id"]

CORRELATION_HEADER = "x-correlation-id"

_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,128}")


def choose_correlation_id(given: Any) -> tuple[str, bool]:
    """
    Return the id to send, and whether *given* had to be replaced.

    A usable id is 1 to 128 visible ASCII characters; blank means none was given. Fresh ids are UUIDs, the only form
    that every service of the platform passes on.
    """
    if isinstance(given, str) and _VISIBLE_ASCII.fullmatch(given):
        return given, False
    absent = given is None or (isinstance(given, str) and not given.strip())
    return str(uuid.uuid4()), not absent


class CorrelationMiddleware:
    """Puts the call's correlation id onto the request."""

    def __init__(self, emit: Listener) -> None:
        self._emit = emit

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Add the header; say once when the caller's id was unusable."""
        info = request.call.info
        if request.call.correlation_id_replaced:
            self._emit(CorrelationIdReplaced(call=info))
        request.headers[CORRELATION_HEADER] = info.correlation_id  # R50
        return await call_next(request)
