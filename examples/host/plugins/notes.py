"""Keeps notes as items of the template's service."""

from typing import Any

from middleware import PlatformError
from runtime.connectors.service import ServiceItemCreate
from runtime.plugins import plugin_connectors


async def execute(data: dict[str, Any]) -> dict[str, Any]:
    """Add `data["text"]` as a note, where it is given, and return all of them."""
    try:
        with plugin_connectors(data) as connectors:
            if data.get("text"):
                await connectors.service.create_item(ServiceItemCreate(name=str(data["text"])))
            return {"notes": [item.name for item in await connectors.service.list_items()]}
    except PlatformError as error:
        return error.to_plugin_error()
