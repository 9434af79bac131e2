"""Checks whether the user has paid: payment."""

from typing import Any

from middleware import PlatformError
from runtime.plugins import plugin_connectors


async def execute(data: dict[str, Any]) -> dict[str, Any]:
    """Return whether the subscription is active."""
    try:
        with plugin_connectors(data) as connectors:
            found = await connectors.payment.subscription_status(scope="platform")
            return {"active": found.active, "status": found.status}
    except PlatformError as error:
        return error.to_plugin_error()
