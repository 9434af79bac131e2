"""Lists the user's apps: hosting."""

from typing import Any

from middleware import PlatformError
from runtime.plugins import plugin_connectors


async def execute(data: dict[str, Any]) -> dict[str, Any]:
    """Return their names."""
    try:
        with plugin_connectors(data) as connectors:
            return {"apps": [app.name for app in await connectors.hosting.list_apps()]}
    except PlatformError as error:
        return error.to_plugin_error()
