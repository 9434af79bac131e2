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
from datetime import UTC, datetime
from typing import Any, Protocol

from .base import (
    Endpoint,
    MockState,
    PlatformHttpClient,
    UnknownKeys,
    any_key,
    decoder,
    mapping_of,
    mock_state,
    refuse_failure,
    spelled,
    subscription_is_active,
    succeeded,
    without_none,
    wrong_type,
)

__all__ = ["ManagedPaymentConnector", "MockPaymentConnector", "PaymentCheckout", "PaymentConnector", "PaymentStatus"]

# ============================================================================
# DATA MODELS
# ============================================================================


@dataclass
class PaymentCheckout:
    """
    A payment session: `{"session_id", "checkout_url"?, "client_secret"?, "mode"?, "status"?}`.

    `status` is `pending`, or `already_active` when there is nothing to pay; `extra` has the other keys of the document.
    """

    session_id: str
    checkout_url: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    mode: str | None = None
    status: str | None = None
    extra: UnknownKeys = field(default_factory=dict, repr=False)


@dataclass
class PaymentStatus:
    """
    State of a subscription: `{"active", "status"?, "plan"?, "current_period_end"?, "cancel_at_period_end"?,
    "features": [...], "subscription_id"?}`; `extra` has the other keys of the document.
    """

    active: bool
    scope: str | None = None
    app_id: str | None = None
    status: str | None = None
    plan: str | None = None
    current_period_end: datetime | None = None
    cancel_at_period_end: bool | None = None
    features: list[str] = field(default_factory=list)
    subscription_id: str | None = None
    extra: UnknownKeys = field(default_factory=dict, repr=False)


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
        success_url: str | None = None,
        cancel_url: str | None = None,
        mode: str | None = None,
        amount: int | None = None,
        currency: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> PaymentCheckout:
        """
        Start a payment of *plan*, or of *amount*.

        Args:
            scope: `platform`, or `app` with an *app_id*.
            app_id: The app whose plan is paid.
            plan: Id of the plan.
            success_url: Where the user is sent after the payment.
            cancel_url: Where the user is sent without a payment.
            mode: `subscription` or `payment`.
            amount: Amount in minor units, for mode `payment`.
            currency: Its currency, for example `usd`.
            metadata: Passed on with the payment.
            extra: Further keys of the request; the arguments above have precedence.
            user_jwt: The caller's token.
            correlation_id: Sent with the request.
        """
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
            "current_period_end": ("expires_at",),
        }
    },
)


def _status(document: Any) -> PaymentStatus:
    """
    Decode a status, failing closed: active requires a literal true, and no other flag or status that contradicts it.

    The second generation has `found` and `status` instead of a flag; `found: false` is inactive. A canceled one is
    active until the end of its period.
    """
    if not isinstance(document, Mapping):
        return _status_document(document)
    flat = dict(refuse_failure(document))
    flags = spelled(flat, "active", "is_active")
    if flat.get("found") is False:
        flat["active"] = False
    elif not flags and "found" in flat:
        flat["active"] = any(spelled(flat, "status"))
    features = next(iter(spelled(flat, "features")), None)
    if isinstance(features, Mapping):  # a feature is granted only by a literal true
        flat["features"] = [name for name, granted in features.items() if granted is True]
    status = _status_document(flat)
    # Flags that contradict each other, or the status, do not activate.
    if any(flag is not True for flag in flags) or (status.status is not None and not _gives_access(status)):
        status.active = False
    return status


def _gives_access(status: PaymentStatus) -> bool:
    return subscription_is_active(
        status.status,
        period_end=status.current_period_end,
        ends_later=status.cancel_at_period_end,
        now=datetime.now(UTC),
    )


# Never repeated: not even after 429, 503 or a refused connection, as the core's own client does not.
_CHECKOUT = Endpoint("POST", "/api/mozaiks/pay/checkout", "checkout", _checkout, max_attempts=1)
_SUBSCRIPTION_STATUS = Endpoint("GET", "/api/mozaiks/pay/subscription-status", "subscription_status", _status)
_CANCEL = Endpoint("POST", "/api/mozaiks/pay/cancel", "cancel", succeeded, max_attempts=1)


# ============================================================================
# MANAGED IMPLEMENTATION (Real API calls)
# ============================================================================


def _scope_problem(scope: Any, app_id: Any) -> str:
    # The platform responds 500 to this: a permanent error in the arguments that would look like an outage.
    problem = wrong_type(str, scope=scope) or wrong_type(str | None, app_id=app_id)
    if problem or scope not in {"platform", "app"}:
        return problem or "scope: must be 'platform' or 'app'"
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
        success_url: str | None = None,
        cancel_url: str | None = None,
        mode: str | None = None,
        amount: int | None = None,
        currency: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> PaymentCheckout:
        """Start a payment; not repeated, whatever its failure, since each attempt may start a session."""
        labels, wrong_labels = mapping_of("metadata", {} if metadata is None else metadata)
        others, wrong_others = mapping_of("extra", {} if extra is None else extra)
        wrong_text = wrong_type(
            str | None, plan=plan, success_url=success_url, cancel_url=cancel_url, mode=mode, currency=currency
        )
        wrong_scope = _scope_problem("platform" if scope is None else scope, app_id)
        named = without_none(
            scope=scope,
            appId=app_id,
            plan=plan,
            planId=plan,
            successUrl=success_url,
            cancelUrl=cancel_url,
            mode=mode,
            amount=amount,
            currency=currency,
            metadata=labels,
        )
        return await self._http.call(
            _CHECKOUT,
            problem=wrong_scope or wrong_text or wrong_type(int | None, amount=amount) or wrong_labels or wrong_others,
            json_body={**others, **named},
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
        """Cancel the caller's subscription of *scope*; an empty response is a success. Not repeated, as `checkout`."""
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

    Args:
        state: For tests: `active`; `no_plan`; `denied`, where payments and cancellations fail; `expired`.
    """

    def __init__(self, state: MockState = "active") -> None:
        self._state = mock_state(state, "active", "no_plan", "denied", "expired")

    async def checkout(
        self,
        *,
        scope: str | None = None,  # noqa: ARG002
        app_id: str | None = None,  # noqa: ARG002
        plan: str | None = None,  # noqa: ARG002
        success_url: str | None = None,  # noqa: ARG002
        cancel_url: str | None = None,  # noqa: ARG002
        mode: str | None = None,  # noqa: ARG002
        amount: int | None = None,  # noqa: ARG002
        currency: str | None = None,  # noqa: ARG002
        metadata: Mapping[str, Any] | None = None,  # noqa: ARG002
        extra: Mapping[str, Any] | None = None,  # noqa: ARG002
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> PaymentCheckout:
        """Return a session with a new id: there is nothing to pay. Its status is `denied` in that state."""
        status = "denied" if self._state == "denied" else None
        return PaymentCheckout(session_id=str(uuid.uuid4()), checkout_url="self_hosted_mode", status=status)

    async def subscription_status(
        self,
        *,
        scope: str,
        app_id: str | None = None,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> PaymentStatus:
        """Return the plan `self_hosted` as active, or as the state says."""
        return PaymentStatus(
            active=self._state == "active",
            scope=any_key(scope),
            app_id=None if app_id is None else any_key(app_id),
            status="inactive" if self._state == "no_plan" else self._state,
            plan=None if self._state == "no_plan" else "self_hosted",
            current_period_end=datetime(2025, 1, 31, tzinfo=UTC) if self._state == "expired" else None,
            cancel_at_period_end=False,
        )

    async def cancel(
        self,
        *,
        scope: str,  # noqa: ARG002
        app_id: str | None = None,  # noqa: ARG002
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> bool:
        """Return True: there is nothing to cancel; False in state `denied`."""
        return self._state != "denied"
