"""
Service Connector
=================

Connects to Service.API for items; the template of the connector contract as a working connector.

Endpoints:
- GET /api/service/items
- GET /api/service/items/{item_id}
- POST /api/service/items
- PUT /api/service/items/{item_id}
- DELETE /api/service/items/{item_id}
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from .base import Page, PlatformHttpClient, any_copy, any_key, decode_page, decoder, succeeded

__all__ = [
    "ManagedServiceConnector",
    "MockServiceConnector",
    "ServiceConnector",
    "ServiceItem",
    "ServiceItemCreate",
    "ServiceItemUpdate",
]


# ============================================================================
# DATA MODELS
# ============================================================================


@dataclass
class ServiceItem:
    """An item of the service: `{"id", "name", "status", "created_at", "metadata": {...}}`."""

    id: str
    name: str
    status: str
    created_at: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass
class ServiceItemCreate:
    """Request to create an item: `{"name", "config": {...}}`."""

    name: str
    config: dict[str, Any] = field(default_factory=dict)


@dataclass
class ServiceItemUpdate:
    """Request to change an item; a field that is None stays as it is."""

    name: str | None = None
    status: str | None = None


# ============================================================================
# CONNECTOR INTERFACE (Protocol)
# ============================================================================


class ServiceConnector(Protocol):
    """Items of the service; implemented for managed (real API) and mock (self-hosted) mode."""

    async def list_items(self, *, user_jwt: str | None = None, correlation_id: str = "") -> Page[ServiceItem]:
        """List all items of the current user."""
        ...

    async def get_item(self, item_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> ServiceItem:
        """Get a single item by id."""
        ...

    async def create_item(
        self, request: ServiceItemCreate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> ServiceItem:
        """Create a new item."""
        ...

    async def update_item(
        self, item_id: str, request: ServiceItemUpdate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> ServiceItem:
        """Update an existing item."""
        ...

    async def delete_item(self, item_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> bool:
        """Delete an item. Returns True if successful."""
        ...


# ============================================================================
# MANAGED IMPLEMENTATION (Real API calls)
# ============================================================================

_item = decoder(ServiceItem)


def _items(document: Any) -> tuple[list[ServiceItem], int | None]:
    return decode_page(document, _item, "items")


class ManagedServiceConnector:
    """
    Production connector that calls the real Service.API; every method raises `CallError` on failure.

    Used when MOZAIKS_MANAGED=true.
    """

    def __init__(self, http: PlatformHttpClient) -> None:
        self._http = http

    async def list_items(self, *, user_jwt: str | None = None, correlation_id: str = "") -> Page[ServiceItem]:
        """List all items of the current user."""

        async def load(start: int) -> Page[ServiceItem]:
            items, total = await self._http.get(
                "/api/service/items",
                path_params={},
                params={"skip": start or None},
                decode=_items,
                operation="list_items",
                user_jwt=user_jwt,
                correlation_id=correlation_id,
            )
            return Page(items, total=total, skip=start, fetch=load)

        return await load(0)

    async def get_item(self, item_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> ServiceItem:
        """Get a single item by id."""
        item: ServiceItem = await self._http.get(
            "/api/service/items/{item_id}",
            path_params={"item_id": item_id},
            decode=_item,
            operation="get_item",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return item

    async def create_item(
        self, request: ServiceItemCreate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> ServiceItem:
        """Create a new item; not repeated when its answer is lost, since the platform would create two."""
        item: ServiceItem = await self._http.post(
            "/api/service/items",
            path_params={},
            json_body={"name": request.name, "config": request.config},
            decode=_item,
            operation="create_item",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return item

    async def update_item(
        self, item_id: str, request: ServiceItemUpdate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> ServiceItem:
        """Update an existing item; only the fields that are not None are sent."""
        body = {"name": request.name, "status": request.status}
        item: ServiceItem = await self._http.put(
            "/api/service/items/{item_id}",
            path_params={"item_id": item_id},
            json_body={name: value for name, value in body.items() if value is not None},
            decode=_item,
            operation="update_item",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return item

    async def delete_item(self, item_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> bool:
        """Delete an item. Returns True if successful, an empty answer (204) included."""
        deleted: bool = await self._http.delete(
            "/api/service/items/{item_id}",
            path_params={"item_id": item_id},
            decode=succeeded,
            operation="delete_item",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return deleted


# ============================================================================
# MOCK IMPLEMENTATION (Self-hosted mode)
# ============================================================================


class MockServiceConnector:
    """
    Mock connector for self-hosted mode: keeps items in memory and returns copies of them. Never raises.

    Used when MOZAIKS_MANAGED=false.
    """

    def __init__(self) -> None:
        self._items: dict[str, ServiceItem] = {}

    async def list_items(
        self,
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> Page[ServiceItem]:
        """List the items created here."""
        return Page([any_copy(item) for item in self._items.values()], total=len(self._items))

    async def get_item(
        self,
        item_id: str,
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> ServiceItem:
        """Get the item created here, else a made-up `Mock Item`."""
        item = self._items.get(any_key(item_id))
        return any_copy(item) if item else ServiceItem(id=any_key(item_id), name="Mock Item", status="active")

    async def create_item(
        self,
        request: ServiceItemCreate,
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> ServiceItem:
        """Keep a new item."""
        config = getattr(request, "config", None)
        item = ServiceItem(
            id=str(uuid.uuid4()),
            name=getattr(request, "name", ""),
            status="active",
            created_at=datetime.now(UTC),
            metadata=any_copy(config) if isinstance(config, dict) else {},
        )
        self._items[item.id] = item
        return any_copy(item)

    async def update_item(
        self,
        item_id: str,
        request: ServiceItemUpdate,
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> ServiceItem:
        """Change an item; one that is not known here is kept from now on, as `Unknown`."""
        key = any_key(item_id)
        item = self._items.setdefault(key, ServiceItem(id=key, name="Unknown", status="active"))
        name, status = getattr(request, "name", None), getattr(request, "status", None)
        item.name = item.name if name is None else name
        item.status = item.status if status is None else status
        return any_copy(item)

    async def delete_item(
        self,
        item_id: str,
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> bool:
        """Forget an item and succeed."""
        self._items.pop(any_key(item_id), None)
        return True
