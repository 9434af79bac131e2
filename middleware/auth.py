"""Credentials onto the request: the caller's token, the application's key."""

import re

from .errors import ConfigError, InvalidArgumentError
from .types import Handler, PlatformRequest, PlatformResponse

__all__ = ["AuthMiddleware", "check_api_key"]

# A token that a header may carry: visible ASCII, no blanks (RFC 6750 section 2.1 allows less still).
_TOKEN = re.compile(r"[\x21-\x7e]+")
_MAX_TOKEN = 8192


def _is_sendable(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_TOKEN and _TOKEN.fullmatch(value) is not None


def check_api_key(api_key: str | None) -> str | None:
    """
    Return the key to send; None when it is absent or blank.

    Raises:
        ConfigError: The key holds characters that no header may carry. The text does not show the key.
    """
    if api_key is None or (isinstance(api_key, str) and not api_key.strip()):
        return None
    if not _is_sendable(api_key):
        raise ConfigError(f"api_key: must be 1 to {_MAX_TOKEN} visible ASCII characters without blanks")
    return api_key


class AuthMiddleware:
    """Adds `Authorization: Bearer` when the caller passed a token, and `X-Mozaiks-App-Key` when a key is configured."""

    def __init__(self, api_key: str | None) -> None:
        self._api_key = api_key

    async def __call__(self, request: PlatformRequest, call_next: Handler) -> PlatformResponse:
        """
        Add the credentials to this attempt.

        Raises:
            InvalidArgumentError: The token holds characters that no header may carry.
        """
        headers = {}
        jwt = request.user_jwt
        if jwt is not None and jwt != "":
            if not _is_sendable(jwt):
                raise InvalidArgumentError(
                    f"user_jwt: must be 1 to {_MAX_TOKEN} visible ASCII characters without blanks"
                )
            headers["authorization"] = f"Bearer {jwt}"
        if self._api_key is not None:
            headers["x-mozaiks-app-key"] = self._api_key
        return await call_next(request.with_headers(**headers))
