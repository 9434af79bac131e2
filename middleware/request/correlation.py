"""
The correlation id: one per call, the same on every attempt, always a valid header value.

A response with another call's id belongs to that call, and is not used.
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random, SystemRandom
from typing import Annotated, Any

from middleware._internal.forks import renew_in_child
from middleware.echoes import redactor_of
from middleware.errors import ResponseLostError
from middleware.events import CorrelationIdMismatched, CorrelationIdReplaced, Listener
from middleware.problem import MAX_READ
from middleware.settings import Settings, SettingSpec
from middleware.steps import Step
from middleware.types import LONGEST_ID, PlatformRequest

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
            raise_when="The service echoes the id that it was sent, as the platform does.",
            lower_when="It responds with ids of its own, or a cache before it sends no Age.",
        ),
    ] = True


_VERSION_AND_VARIANT = 0x4000_8000_0000_0000_0000  # RFC 9562 section 5.4
_OTHER_BITS = ~0xF000_C000_0000_0000_0000
_random = Random()  # noqa: S311 - ids, not secrets


def _seed() -> None:
    _random.seed(SystemRandom().getrandbits(256))


_seed()
renew_in_child(_seed)  # else all children would make the same ids


def _new_id() -> str:
    """
    Return a new UUID of version 4 as text.

    From a generator that the operating system's randomness seeds: a third of the cost of `uuid.uuid4`, which asks the
    operating system for each one.
    """
    text = f"{_random.getrandbits(128) & _OTHER_BITS | _VERSION_AND_VARIANT:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def choose_correlation_id(given: Any, bound: str = "") -> tuple[str, bool]:
    """
    Return the id to send, and whether it replaces an unusable *given* one.

    A usable id is 1 to 128 visible ASCII characters; a blank one counts as absent. Instead of any other the *bound* one
    is sent, a usable id of the request that is being served; without it a new UUID, the only form that every service of
    the platform forwards.
    """
    if given is None:
        return bound or _new_id(), False  # R50
    if isinstance(given, str) and type(given) is not str:
        given = str.__str__(given)  # its characters: methods of a subclass, such as an enum's, write something else
    if isinstance(given, str) and _VISIBLE_ASCII.fullmatch(given):
        return given, False
    absent = isinstance(given, str) and not given.strip()
    return bound or _new_id(), not absent  # R50


class CorrelationMiddleware(Step):
    """
    Adds the call's correlation id to the request, and compares it with the response's.

    Whether the service echoes ids at all is learned from its responses, and shared by all tasks and threads.
    """

    def __init__(self, emit: Listener) -> None:
        self._emit = emit
        self._echoes = False

    def enter(self, request: PlatformRequest) -> None:
        """Add the header and the check; emit one event when the caller's id was unusable."""
        info = request.call.info
        if request.call.correlation_id_replaced:
            self._emit(CorrelationIdReplaced(call=info))
        request.headers[CORRELATION_HEADER] = info.correlation_id  # R50
        request.check_head = self._check_echo

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
