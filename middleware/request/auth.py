"""Adds the credentials to a request: the caller's token and the application's key."""

from middleware.errors import ConfigError
from middleware.steps import Step
from middleware.types import PlatformRequest

from .header_values import MAX_TOKEN, is_token

__all__ = ["AuthMiddleware", "check_api_key"]


def check_api_key(api_key: str | None) -> str | None:
    """
    Return the key to send; None when it is absent or blank.

    Raises:
        ConfigError: The key has characters that no header may carry. The text does not show the key.
    """
    if api_key is None or (isinstance(api_key, str) and not api_key.strip()):
        return None
    if not is_token(api_key):
        raise ConfigError(f"api_key: must be 1 to {MAX_TOKEN} visible ASCII characters without blanks")
    return api_key


class AuthMiddleware(Step):
    """
    Adds `Authorization: Bearer` when the caller passed a token, and `X-Mozaiks-App-Key` when a key is configured.

    Both were checked before: the key at construction, the token with the call's other arguments.
    """

    def enter(self, request: PlatformRequest) -> None:
        """Add the credentials to this attempt."""
        if request.user_jwt:
            request.headers["authorization"] = f"Bearer {request.user_jwt}"
        if request.app_key is not None:
            request.headers["x-mozaiks-app-key"] = request.app_key
