"""Lists what is featured in the marketplace: discovery."""

from typing import Any

from middleware import PlatformError
from runtime.plugins import plugin_connectors


async def execute(data: dict[str, Any]) -> dict[str, Any]:
    """Return the titles."""
    try:
        with plugin_connectors(data) as connectors:
            return {"listings": [one.title for one in await connectors.discovery.list_featured()]}
    except PlatformError as error:
        return error.to_plugin_error()
