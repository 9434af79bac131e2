"""The idempotency key: with it a service that honours it can repeat a write safely."""

import uuid
from dataclasses import dataclass
from typing import Annotated

from middleware.settings import Settings, SettingSpec
from middleware.types import IDEMPOTENCY_HEADER, PlatformRequest

__all__ = ["IdempotencySettings", "add_key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencySettings(Settings):
    """Whether a service honours the Idempotency-Key header."""

    honors_key: Annotated[
        bool,
        SettingSpec(
            doc="The service honours Idempotency-Key: writes carry one and are retried like reads.",
            source="draft-ietf-httpapi-idempotency-key-header: a client cannot assume support",
            raise_when="The service documents that it applies a request with the same Idempotency-Key once.",
            lower_when="The service ignores the key: it would apply a repeated write twice.",
        ),
    ] = False


def add_key(request: PlatformRequest) -> None:
    """Add a new key to the write *request* where its service honours one; all attempts of a call carry the same."""
    if request.call.settings(IdempotencySettings).honors_key:
        request.headers[IDEMPOTENCY_HEADER] = str(uuid.uuid4())  # R50
        request.call.keyed = True
