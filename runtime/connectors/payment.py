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

from .base import Endpoint, PlatformHttpClient, any_key, decoder, refuse_failure, spelled, succeeded, without_none

__all__ = ["ManagedPaymentConnector", "MockPaymentConnector", "PaymentCheckout", "PaymentConnector", "PaymentStatus"]

_ACTIVE = frozenset({"active", "trialing", "past_due"})


# ============================================================================
# DATA MODELS
# ============================================================================


@dataclass
class PaymentCheckout:
    """
    A payment session: `{"session_id", "checkout_url"?, "client_secret"?, "mode"?, "status"?}`.

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
        """Start a payment of *plan*."""
        ...

    async def subscription_status(
        self, *, scope: str, app_id: str | None = None, user_jwt: str | None = None, correlation_id: str = ""
    ) -> PaymentStatus:
        """Get the state of the caller's subscription of *scope*."""
        ...

    async def cancel(
        self, *, scope: str, app_id: str | None = None, user_jwt: str | None = None, correlation_id: str = ""
    ) -> bool:
        """Cancel the caller's subscription of *scope*. Returns True if successful."""
        ...


# ============================================================================
# ENDPOINTS
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
    Decode a status, failing closed: active requires a literal true, and no other flag or status that contradicts it.

    The second generation has `found` and `status` instead of a flag; `found: false` is inactive.
    """
    if not isinstance(document, Mapping):
        return _status_document(document)
    flat = dict(refuse_failure(document))
    flags = spelled(flat, "active", "is_active")
    word = next(iter(spelled(flat, "status")), None)
    if flat.get("found") is False:
        flat["active"] = False
    elif not flags and "found" in flat:
        flat["active"] = word in _ACTIVE
    status = _status_document(flat)
    # Flags that contradict each other, or the status, do not activate.
    if any(flag is not True for flag in flags) or (isinstance(word, str) and word not in _ACTIVE):
        status.active = False
    return status


_CHECKOUT = Endpoint("POST", "/api/mozaiks/pay/checkout", "checkout", _checkout)
_SUBSCRIPTION_STATUS = Endpoint("GET", "/api/mozaiks/pay/subscription-status", "subscription_status", _status)
_CANCEL = Endpoint("POST", "/api/mozaiks/pay/cancel", "cancel", succeeded)


# ============================================================================
# MANAGED IMPLEMENTATION (Real API calls)
# ============================================================================


def _scope_problem(scope: str | None, app_id: str | None) -> str:
    # The platform responds 500 to this: a permanent error in the arguments that would look like an outage.
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
        """Start a payment of *plan*; never retried, since each attempt starts a session."""
        return await self._http.call(
            _CHECKOUT,
            problem=_scope_problem(scope, app_id),
            json_body=without_none(scope=scope, appId=app_id, plan=plan, planId=plan, metadata=dict(metadata or {})),
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def subscription_status(
        self, *, scope: str, app_id: str | None = None, user_jwt: str | None = None, correlation_id: str = ""
    ) -> PaymentStatus:
        """Get the state of the caller's subscription of *scope*; scope and app id default to the request's."""
        status = await self._http.call(
            _SUBSCRIPTION_STATUS,
            problem=_scope_problem(scope, app_id),
            params={"scope": scope, "appId": app_id},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        status.scope, status.app_id = status.scope or scope, status.app_id or app_id
        return status

    async def cancel(
        self, *, scope: str, app_id: str | None = None, user_jwt: str | None = None, correlation_id: str = ""
    ) -> bool:
        """Cancel the caller's subscription of *scope*; an empty response is a success; never retried."""
        return await self._http.call(
            _CANCEL,
            problem=_scope_problem(scope, app_id),
            json_body=without_none(scope=scope, appId=app_id),
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )


# ============================================================================
# MOCK IMPLEMENTATION (Self-hosted mode)
# ============================================================================


class MockPaymentConnector:
    """
    Mock connector for self-hosted mode: the plan `self_hosted` is always active. Never raises.

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
        """Return a session with a new id: there is nothing to pay."""
        return PaymentCheckout(session_id=str(uuid.uuid4()), checkout_url="self_hosted_mode")

    async def subscription_status(
        self,
        *,
        scope: str,
        app_id: str | None = None,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> PaymentStatus:
        """Return the plan `self_hosted` as active."""
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
        """Return True: there is nothing to cancel."""
        return True
