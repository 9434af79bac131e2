"""
The correlation id: one per call, the same on every attempt, always a valid header value.

A response with another call's id belongs to that call, and is not used.
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from middleware.echoes import redactor_of
from middleware.errors import ResponseLostError
from middleware.events import CorrelationIdMismatched, CorrelationIdReplaced, Listener
from middleware.problem import MAX_READ
from middleware.settings import Settings, SettingSpec
from middleware.types import LONGEST_ID, Handler, PlatformRequest, PlatformResponse

__all__ = ["CORRELATION_HEADER", "CorrelationMiddleware", "CorrelationSettings", "choose_correlation_id"]

CORRELATION_HEADER = "x-correlation-id"

_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,128}")
# The formats D, N, B and P of a Guid in .NET, and the URN of RFC 9562 section 4. `uuid.UUID` alone accepts far more.
_UUID = re.compile(r"(?:urn:uuid:)?[{(]?([0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12})[)}]?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrelationSettings(Settings):
    """How a response is treated whose correlation id differs from the request's."""

    verify_echo: Annotated[
        bool,
        SettingSpec(
            shared=True,
            doc="A response with the correlation id of another call is lost: it is not used, its connection is closed.",
        ),
    ] = True


def choose_correlation_id(given: Any, bound: str = "") -> tuple[str, bool]:
    """
    Return the id to send, and whether it replaces an unusable *given* one.

    A usable id is 1 to 128 visible ASCII characters; a blank one counts as absent. Instead of any other the *bound* one
    is sent, a usable id of the request that is being served; without it a new UUID, the only form that every service of
    the platform forwards.
    """
    if isinstance(given, str) and type(given) is not str:
        given = str.__str__(given)  # its characters: methods of a subclass, such as an enum's, write something else
    if isinstance(given, str) and _VISIBLE_ASCII.fullmatch(given):
        return given, False
    absent = given is None or (isinstance(given, str) and not given.strip())
    return bound or str(uuid.uuid4()), not absent  # R50


class CorrelationMiddleware:
    """
    Adds the call's correlation id to the request, and compares it with the response's.

    Whether the service echoes ids at all is learned from its responses, and shared by all tasks and threads.
    """

    def __init__(self, emit: Listener) -> None:
        self._emit = emit
        self._echoes = False

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """Add the header and the check; emit one event when the caller's id was unusable."""
        info = request.call.info
        if request.call.correlation_id_replaced:
            self._emit(CorrelationIdReplaced(call=info))
        request.headers[CORRELATION_HEADER] = info.correlation_id  # R50
        request.check_head = self._check_echo
        return await call_next(request)

    def _check_echo(self, request: PlatformRequest, headers: Mapping[str, str]) -> None:
        """
        Compare the id of a response with the one that was sent.

        Raises:
            ResponseLostError: It is another call's id, so this request's own response is lost.
        """
        received, sent = headers.get(CORRELATION_HEADER), request.call.info.correlation_id
        if received is None:
            return
        if received == sent:
            self._echoes = True
            return
        self._check_other(request, headers, received, sent)
        if _as_uuid(received) is None or _as_uuid(received) != _as_uuid(sent):
            redactor = redactor_of(request, budget=MAX_READ)
            request.attempt.platform_correlation_id = redactor.redact(received.strip(), LONGEST_ID, is_name=True)

    def _check_other(self, request: PlatformRequest, headers: Mapping[str, str], received: str, sent: str) -> None:
        """Compare ids that differ as texts; errors as for `_check_echo`."""
        ours = _as_uuid(sent)
        # Each hop may have added a line of its own, with an id of its own: ours among them is ours.
        found = {one for text in received.split(",") if (one := _as_uuid(text.strip())) is not None}
        if ours is None or not found:
            return
        if ours in found:
            self._echoes = self._echoes or found == {ours}
        elif self._echoes and not _is_from_cache(headers) and request.call.settings(CorrelationSettings).verify_echo:
            other = str(min(found))
            self._emit(CorrelationIdMismatched(call=request.call.info, received=other))
            request.attempt.status = None  # it is the status of the other call's response
            raise ResponseLostError("the response carries another call's correlation id", request_sent="maybe")  # R53


def _as_uuid(text: str) -> uuid.UUID | None:
    match = _UUID.fullmatch(text)
    return None if match is None else uuid.UUID(match[1])


def _is_from_cache(headers: Mapping[str, str]) -> bool:
    """True for a response from a cache, whose id is that of the call it was stored for (RFC 9111 section 5.1)."""
    age = headers.get("age", "").partition(",")[0].strip()  # of several values the first counts
    return age.isascii() and age.isdigit() and age.strip("0") != ""
