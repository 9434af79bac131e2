"""Greets the user of the request: identity."""

from typing import Any

from middleware import PlatformError
from runtime.plugins import plugin_connectors


async def execute(data: dict[str, Any]) -> dict[str, Any]:
    """Return the user's name."""
    try:
        with plugin_connectors(data) as connectors:
            user = await connectors.identity.get_current_user()
            return {"hello": user.username}
    except PlatformError as error:
        return error.to_plugin_error()
