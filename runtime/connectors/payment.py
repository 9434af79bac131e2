"""
Payment Connector
=================

Connects to the gateway's payment surface (MozaiksPay) for checkout, status and cancellation.

Endpoints:
- POST /api/mozaiks/pay/checkout
- GET /api/mozaiks/pay/subscription-status
- POST /api/mozaiks/pay/cancel
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from .base import PlatformHttpClient, any_key, decoder, refuse_failure, succeeded

__all__ = ["ManagedPaymentConnector", "MockPaymentConnector", "PaymentCheckout", "PaymentConnector", "PaymentStatus"]

_ACTIVE = frozenset({"active", "trialing", "past_due"})


# ============================================================================
# DATA MODELS
# ============================================================================


@dataclass
class PaymentCheckout:
    """
    A payment that was begun: `{"session_id", "checkout_url"?, "client_secret"?, "mode"?, "status"?}`.

    `status` is `pending`, or `already_active` when there is nothing to pay.
    """

    session_id: str
    checkout_url: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    mode: str | None = None
    status: str | None = None


@dataclass
class PaymentStatus:
    """State of a subscription: `{"active", "status"?, "plan"?, "current_period_end"?, "cancel_at_period_end"?}`."""

    active: bool
    scope: str | None = None
    app_id: str | None = None
    status: str | None = None
    plan: str | None = None
    current_period_end: datetime | None = None
    cancel_at_period_end: bool = False


# ============================================================================
# CONNECTOR INTERFACE (Protocol)
# ============================================================================


class PaymentConnector(Protocol):
    """Checkout, status and cancellation; implemented for managed and mock mode."""

    async def checkout(
        self,
        *,
        scope: str | None = None,
        app_id: str | None = None,
        plan: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> PaymentCheckout:
        """Begin a payment of *plan*."""
        ...

    async def subscription_status(
        self, *, scope: str, app_id: str | None = None, user_jwt: str | None = None, correlation_id: str = ""
    ) -> PaymentStatus:
        """Tell whether the caller's subscription of *scope* is active."""
        ...

    async def cancel(
        self, *, scope: str, app_id: str | None = None, user_jwt: str | None = None, correlation_id: str = ""
    ) -> bool:
        """Cancel the caller's subscription of *scope*. Returns True if successful."""
        ...


# ============================================================================
# MANAGED IMPLEMENTATION (Real API calls)
# ============================================================================

_checkout = decoder(PaymentCheckout)
_status_document = decoder(
    PaymentStatus,
    {
        PaymentStatus: {
            "active": ("is_active",),
            "plan": ("plan_id",),
            "current_period_end": ("current_period_end_utc", "expires_at_utc", "expires_at"),
        }
    },
)


def _status(document: Any) -> PaymentStatus:
    """
    Read a status, closed on failure: active needs a literal true and no other word against it.

    The second generation says `found` and `status` instead of a flag; `found: false` is inactive.
    """
    if not isinstance(document, Mapping):
        return _status_document(document)
    flat = dict(refuse_failure(document))
    flags = [flat[name] for name in ("active", "isActive", "is_active", "IsActive", "Active") if name in flat]
    word = flat.get("status", flat.get("Status"))
    if flat.get("found") is False:
        flat["active"] = False
    elif not flags and "found" in flat:
        flat["active"] = word in _ACTIVE
    status = _status_document(flat)
    # Flags that contradict each other, or the status, do not activate.
    if any(flag is not True for flag in flags) or (isinstance(word, str) and word not in _ACTIVE):
        status.active = False
    return status


def _scope_problem(scope: str | None, app_id: str | None) -> str:
    # The platform answers 500 to this: a permanent mistake that would look like trouble of its own.
    if scope is not None and scope not in {"platform", "app"}:
        return "scope: must be 'platform' or 'app'"
    return "app_id: required when scope is 'app'" if scope == "app" and not app_id else ""


class ManagedPaymentConnector:
    """
    Production connector that calls the real payment surface; every method raises `CallError` on failure.

    Used when MOZAIKS_MANAGED=true.
    """

    def __init__(self, http: PlatformHttpClient) -> None:
        self._http = http

    async def checkout(
        self,
        *,
        scope: str | None = None,
        app_id: str | None = None,
        plan: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> PaymentCheckout:
        """Begin a payment of *plan*; never repeated, since each begins another session."""
        body = {"scope": scope, "appId": app_id, "plan": plan, "planId": plan}
        checkout: PaymentCheckout = await self._http.post(
            "/api/mozaiks/pay/checkout",
            path_params={},
            problem=_scope_problem(scope, app_id),
            json_body={
                **{name: value for name, value in body.items() if value is not None},
                "metadata": dict(metadata or {}),
            },
            decode=_checkout,
            operation="checkout",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return checkout

    async def subscription_status(
        self, *, scope: str, app_id: str | None = None, user_jwt: str | None = None, correlation_id: str = ""
    ) -> PaymentStatus:
        """Tell whether the caller's subscription of *scope* is active; missing scope and app id are the request's."""
        status: PaymentStatus = await self._http.get(
            "/api/mozaiks/pay/subscription-status",
            path_params={},
            problem=_scope_problem(scope, app_id),
            params={"scope": scope, "appId": app_id},
            decode=_status,
            operation="subscription_status",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        status.scope, status.app_id = status.scope or scope, status.app_id or app_id
        return status

    async def cancel(
        self, *, scope: str, app_id: str | None = None, user_jwt: str | None = None, correlation_id: str = ""
    ) -> bool:
        """Cancel the caller's subscription of *scope*; an empty answer is success; never repeated."""
        body = {"scope": scope, "appId": app_id}
        cancelled: bool = await self._http.post(
            "/api/mozaiks/pay/cancel",
            path_params={},
            problem=_scope_problem(scope, app_id),
            json_body={name: value for name, value in body.items() if value is not None},
            decode=succeeded,
            operation="cancel",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return cancelled


# ============================================================================
# MOCK IMPLEMENTATION (Self-hosted mode)
# ============================================================================


class MockPaymentConnector:
    """
    Mock connector for self-hosted mode: everything is paid for. Never raises.

    Used when MOZAIKS_MANAGED=false.
    """

    async def checkout(
        self,
        *,
        scope: str | None = None,  # noqa: ARG002
        app_id: str | None = None,  # noqa: ARG002
        plan: str | None = None,  # noqa: ARG002
        metadata: Mapping[str, Any] | None = None,  # noqa: ARG002
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> PaymentCheckout:
        """Begin nothing, under a fresh session id."""
        return PaymentCheckout(session_id=str(uuid.uuid4()), checkout_url="self_hosted_mode")

    async def subscription_status(
        self,
        *,
        scope: str,
        app_id: str | None = None,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> PaymentStatus:
        """Tell that the plan `self_hosted` is active."""
        owner = None if app_id is None else any_key(app_id)
        return PaymentStatus(active=True, scope=any_key(scope), app_id=owner, status="active", plan="self_hosted")

    async def cancel(
        self,
        *,
        scope: str,  # noqa: ARG002
        app_id: str | None = None,  # noqa: ARG002
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> bool:
        """Succeed; there is nothing to cancel."""
        return True
