"""What the contract check is tested with: a small connector that keeps every rule, and changes of it; the template; ours."""

import re
from pathlib import Path

from runtime.contract import Severity, check_paths

ROOT = Path(__file__).parents[2]
CONNECTORS = ROOT / "runtime" / "connectors"
"""Folder of our own."""
TEMPLATE = re.search(
    r"^```python\n(.*?)^```", (ROOT / "docs/connector-contract.md").read_text(), re.DOTALL | re.MULTILINE
)[1]
"""The contract's template, verbatim."""
CONNECTOR = '''"""
Orders Connector
================

Connects to Orders.API.

Endpoints:
- GET, POST /api/orders/items
- GET, PUT, DELETE /api/orders/items/{item_id}
"""
from __future__ import annotations

import os.path
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from .base import Endpoint, PlatformHttpClient, any_field, any_key, body_of, decode_page, decoder, succeeded, wrong_type


@dataclass
class Line:
    """A line."""

    sku: str


@dataclass
class Item:
    """An item."""

    id: str
    note: str | None = None
    lines: list[Line] = field(default_factory=list)


@dataclass
class ItemCreate:
    """A request."""

    name: str
    note: str | None = None


class OrdersConnector(Protocol):
    """Orders."""

    async def list_items(
        self, *, status: str | None = None, user_jwt: str | None = None, correlation_id: str = ""
    ) -> list[Item]:
        """List the items."""
        ...

    async def get_item(self, item_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Item:
        """Get an item."""
        ...

    async def create_item(self, request: ItemCreate, *, user_jwt: str | None = None, correlation_id: str = "") -> Item:
        """Create an item."""
        ...

    async def update_item(
        self, item_id: str, name: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Item:
        """Change an item."""
        ...

    async def delete_item(self, item_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> bool:
        """Delete an item."""
        ...


_item = decoder(Item)


def _items(document: Any) -> tuple[list[Item], int | None]:
    return decode_page(document, _item, "items")


_LIST_ITEMS = Endpoint("GET", "/api/orders/items", "list_items", _items)
_GET_ITEM = Endpoint("GET", "/api/orders/items/{item_id}", "get_item", _item)
_CREATE_ITEM = Endpoint("POST", "/api/orders/items", "create_item", _item)
_UPDATE_ITEM = Endpoint("PUT", "/api/orders/items/{item_id}", "update_item", _item)
_DELETE_ITEM = Endpoint("DELETE", "/api/orders/items/{item_id}", "delete_item", succeeded)


class ManagedOrdersConnector:
    """Calls Orders.API."""

    def __init__(self, http: PlatformHttpClient) -> None:
        self._http = http

    async def list_items(
        self, *, status: str | None = None, user_jwt: str | None = None, correlation_id: str = ""
    ) -> list[Item]:
        """List the items."""
        return await self._http.page(
            _LIST_ITEMS,
            problem=wrong_type(str | None, status=status),
            params={"status": status},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def get_item(self, item_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Item:
        """Get an item."""
        return await self._http.call(
            _GET_ITEM, path_params={"item_id": item_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )

    async def create_item(self, request: ItemCreate, *, user_jwt: str | None = None, correlation_id: str = "") -> Item:
        """Create an item."""
        body, problem = body_of(request, ItemCreate)
        return await self._http.call(
            _CREATE_ITEM, problem=problem, json_body=body, user_jwt=user_jwt, correlation_id=correlation_id
        )

    async def update_item(
        self, item_id: str, name: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Item:
        """Change an item."""
        return await self._http.call(
            _UPDATE_ITEM,
            path_params={"item_id": item_id},
            problem=wrong_type(str, name=name),
            json_body={"name": name},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def delete_item(self, item_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> bool:
        """Delete an item."""
        return await self._http.call(
            _DELETE_ITEM, path_params={"item_id": item_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )


class MockOrdersConnector:
    """Stores items."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}

    async def list_items(
        self, *, status: str | None = None, user_jwt: str | None = None, correlation_id: str = ""
    ) -> list[Item]:
        """List the items."""
        return list(self._items.values())

    async def get_item(self, item_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Item:
        """Get an item."""
        return self._items.get(any_key(item_id)) or Item(id=any_key(item_id))

    async def create_item(self, request: ItemCreate, *, user_jwt: str | None = None, correlation_id: str = "") -> Item:
        """Create an item."""
        item = Item(id=str(uuid.uuid4()), note=any_field(request, "note", str))
        self._items[item.id] = item
        return item

    async def update_item(
        self, item_id: str, name: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Item:
        """Change an item."""
        return Item(id=any_key(item_id), note=datetime.now(UTC).isoformat())

    async def delete_item(self, item_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> bool:
        """Delete an item."""
        self._items.pop(any_key(item_id), None)
        return True
'''
REGISTRY = """from .base import Connector
from .orders import ManagedOrdersConnector, MockOrdersConnector

ORDERS = Connector("orders", ManagedOrdersConnector, MockOrdersConnector)
"""
# The bodies of one managed and one mock method, for changes that replace them.
GET = '''        """Get an item."""
        return await self._http.call(
            _GET_ITEM, path_params={"item_id": item_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )
'''
MOCK_GET = '''        """Get an item."""
        return self._items.get(any_key(item_id)) or Item(id=any_key(item_id))
'''
DOC = '        """Get an item."""\n'


def body(text):
    """Indent *text* as the body of a method, behind its docstring."""
    return DOC + "".join(f"        {line}\n" for line in text.strip("\n").split("\n"))


def changed(*edits, connector=CONNECTOR):
    """Return *connector* with each (old, new) of *edits*, the first occurrence; (old, new, n): the n-th, from 0."""
    for old, new, *number in edits:
        at = -1
        for _ in range((number[0] if number else 0) + 1):
            at = connector.index(old, at + 1)
        connector = connector[:at] + new + connector[at + len(old) :]
    return connector


def managed(text, *more):
    """Return the connector whose managed `get_item` has the body *text*."""
    return changed((GET, body(text)), *more)


def mock(text, *more):
    """Return the connector whose mock `get_item` has the body *text*."""
    return changed((MOCK_GET, body(text)), *more)


def top(text, connector=CONNECTOR):
    """Return *connector* with *text* above its endpoints."""
    return connector.replace("_item = decoder(Item)\n", f"{text}\n\n_item = decoder(Item)\n", 1)


def check(folder, connector=CONNECTOR, files=(), *, registry=REGISTRY, strict=True):
    """Write the connector, its registry and further *files* into *folder*; returns the findings that are no notes."""
    (folder / "orders.py").write_text(connector)
    if registry:
        (folder / "registry.py").write_text(registry)
    for name, text in dict(files).items():
        (folder / name).write_text(text)
    return [one for one in check_paths([folder], strict=strict) if one.severity is not Severity.NOTE]


def write_broken(folder):
    """Write a connector with one error and one warning."""
    (folder / "registry.py").write_text("Connector(ManagedOrdersConnector, MockOrdersConnector)\n")
    text = changed(("datetime.now(UTC)", "datetime.utcnow()"), ("import uuid", "import httpx\nimport uuid"))
    (folder / "orders.py").write_text(text)
