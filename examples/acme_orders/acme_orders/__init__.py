"""
Orders Connector
================

Connects to Acme's Orders.API; a connector that is a package of its own.

Endpoints:
- GET, POST /api/orders/orders
- GET /api/orders/orders/{order_id}
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Protocol

from runtime.connectors.base import (
    Endpoint,
    Page,
    PlatformHttpClient,
    any_field,
    any_key,
    any_page,
    body_of,
    by_skip,
    decode_page,
    decoder,
    wrong_type,
)
from runtime.connectors.registry import Connector

__all__ = ["ORDERS", "ManagedOrdersConnector", "MockOrdersConnector", "Order", "OrderCreate", "OrdersConnector"]


@dataclass
class Order:
    """An order: `{"id", "name", "status"}`."""

    id: str
    name: str
    status: str = "unknown"


@dataclass
class OrderCreate:
    """Request to create an order."""

    name: str
    note: str | None = None


class OrdersConnector(Protocol):
    """Orders; implemented for managed and mock mode."""

    async def list_orders(
        self, *, skip: int = 0, limit: int = 50, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Page[Order]:
        """List the caller's orders."""
        ...

    async def get_order(self, order_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Order:
        """Get an order by id."""
        ...

    async def create_order(
        self, request: OrderCreate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Order:
        """Create an order."""
        ...


_order = decoder(Order, {Order: {"id": ("order_id",)}})


def _orders(document: Any) -> tuple[list[Order], int | None]:
    return decode_page(document, _order, "items", "orders")


_LIST_ORDERS = Endpoint("GET", "/api/orders/orders", "list_orders", _orders, paging=by_skip)
_GET_ORDER = Endpoint("GET", "/api/orders/orders/{order_id}", "get_order", _order)
_CREATE_ORDER = Endpoint("POST", "/api/orders/orders", "create_order", _order, max_attempts=1)


class ManagedOrdersConnector:
    """Production connector that calls the real Orders.API; every method raises `CallError` on failure."""

    def __init__(self, http: PlatformHttpClient) -> None:
        self._http = http

    async def list_orders(
        self, *, skip: int = 0, limit: int = 50, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Page[Order]:
        """List the caller's orders."""
        return await self._http.page(
            _LIST_ORDERS,
            skip=skip,
            limit=limit,
            problem=wrong_type(int, limit=limit),
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def get_order(self, order_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Order:
        """Get an order by id."""
        return await self._http.call(
            _GET_ORDER, path_params={"order_id": order_id}, user_jwt=user_jwt, correlation_id=correlation_id
        )

    async def create_order(
        self, request: OrderCreate, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> Order:
        """Create an order; never repeated, unless a setting of this operation lifts that."""
        body, problem = body_of(request, OrderCreate)
        return await self._http.call(
            _CREATE_ORDER, problem=problem, json_body=body, user_jwt=user_jwt, correlation_id=correlation_id
        )


class MockOrdersConnector:
    """Mock connector for self-hosted mode: stores orders in memory. Never raises."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}

    async def list_orders(
        self,
        *,
        skip: int = 0,
        limit: int = 50,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> Page[Order]:
        """List the orders created here."""
        return any_page(self._orders.values(), skip, limit)

    async def get_order(
        self,
        order_id: str,
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> Order:
        """Get the order created here, else a made-up one."""
        key = any_key(order_id)
        return self._orders.get(key) or Order(id=key, name="Mock Order", status="active")

    async def create_order(
        self,
        request: OrderCreate,
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> Order:
        """Store a new order."""
        order = Order(id=str(uuid.uuid4()), name=any_field(request, "name", str, ""), status="active")
        self._orders[order.id] = order
        return order


ORDERS: Connector[OrdersConnector] = Connector("orders", ManagedOrdersConnector, MockOrdersConnector)
