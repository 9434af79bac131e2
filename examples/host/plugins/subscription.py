"""Shows the subscription of the user: billing."""

from typing import Any

from middleware import PlatformError
from runtime.plugins import plugin_connectors


async def execute(data: dict[str, Any]) -> dict[str, Any]:
    """Return tier and status."""
    try:
        with plugin_connectors(data) as connectors:
            found = await connectors.billing.get_subscription_status()
            return {"tier": found.tier, "status": found.status}
    except PlatformError as error:
        return error.to_plugin_error()
