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

from .base import (
    Endpoint,
    Page,
    PlatformHttpClient,
    any_copy,
    any_field,
    any_key,
    any_page,
    body_of,
    by_skip,
    decode_page,
    decoder,
    succeeded,
)

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
    """Request to change an item; a field that is None is not changed."""

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
# ENDPOINTS
# ============================================================================

_item = decoder(ServiceItem)


def _items(document: Any) -> tuple[list[ServiceItem], int | None]:
    return decode_page(document, _item, "items")


_LIST_ITEMS = Endpoint("GET", "/api/service/items", "list_items", _items, paging=by_skip)
_GET_ITEM = Endpoint("GET", "/api/service/items/{item_id}", "get_item", _item)
_CREATE_ITEM = Endpoint("POST", "/api/service/items", "create_item", _item)
_UPDATE_ITEM = Endpoint("PUT", "/api/service/items/{item_id}", "update_item", _item)
_DELETE_ITEM = Endpoint("DELETE", "/api/service/items/{item_id}", "delete_item", succeeded)


# ============================================================================
# MANAGED IMPLEMENTATION (Real API calls)
# ============================================================================


class ManagedServiceConnector:
    """
    Production connector that calls the real Service.API; every method raises `CallError` on failure.

    Used when MOZAIKS_MANAGED=true.
    """

    def __init__(self, http: PlatformHttpClient) -> None:
        self._http = http

    async def list_items(self, *, user_jwt: str | None = None, correlation_id: str = "") -> Page[ServiceItem]:
        """List all items of the current user."""
        return await self._http.page(_LIST_ITEMS, user_jwt=user_jwt, correlation_id=correlation_id)

    async def get_item(self, item_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> ServiceItem:
        """Get a single item by id."""
        return await self._http.call(
            _GET_ITEM, path_params={"item_id": item_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )

    async def create_item(
        self, request: ServiceItemCreate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> ServiceItem:
        """Create a new item; not retried after a lost response, since the platform would create two."""
        body, problem = body_of(request, ServiceItemCreate)
        return await self._http.call(
            _CREATE_ITEM,
            problem=problem,
            json_body=body,
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def update_item(
        self, item_id: str, request: ServiceItemUpdate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> ServiceItem:
        """Update an existing item; only the fields that are not None are sent."""
        body, problem = body_of(request, ServiceItemUpdate)
        return await self._http.call(
            _UPDATE_ITEM,
            path_params={"item_id": item_id},
            problem=problem,
            json_body=body,
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def delete_item(self, item_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> bool:
        """Delete an item. Returns True if successful, also after an empty response (204)."""
        return await self._http.call(
            _DELETE_ITEM, path_params={"item_id": item_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )


# ============================================================================
# MOCK IMPLEMENTATION (Self-hosted mode)
# ============================================================================


class MockServiceConnector:
    """
    Mock connector for self-hosted mode: stores items in memory and returns copies. Never raises.

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
        return any_page(self._items.values(), 0, None)

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
        """Store a new item."""
        item = ServiceItem(
            id=str(uuid.uuid4()),
            name=any_field(request, "name", str, ""),
            status="active",
            created_at=datetime.now(UTC),
            metadata=any_field(request, "config", dict, {}),
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
        """Change an item; an unknown one is stored under the name `Unknown`."""
        key = any_key(item_id)
        item = self._items.setdefault(key, ServiceItem(id=key, name="Unknown", status="active"))
        item.name = any_field(request, "name", str, item.name)
        item.status = any_field(request, "status", str, item.status)
        return any_copy(item)

    async def delete_item(
        self,
        item_id: str,
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> bool:
        """Remove an item. Always returns True."""
        self._items.pop(any_key(item_id), None)
        return True
