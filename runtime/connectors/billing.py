"""
Billing Connector
=================

Connects to Billing.API for subscriptions, features, usage, checkout and invoices.

Endpoints:
- GET /api/billing/subscription
- GET /api/billing/features/{feature_id}
- POST /api/billing/features/check
- GET /api/billing/usage
- POST /api/billing/checkout
- POST /api/billing/cancel
- GET /api/billing/invoices
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from .base import (
    DecodeError,
    Page,
    PlatformHttpClient,
    any_key,
    any_texts,
    decode_page,
    decoder,
    refuse_failure,
    succeeded,
    texts_of,
)

__all__ = [
    "BillingConnector",
    "Cancellation",
    "Checkout",
    "FeatureAccess",
    "Invoice",
    "ManagedBillingConnector",
    "MockBillingConnector",
    "Subscription",
    "Usage",
    "UsageMetric",
]

_ACTIVE = frozenset({"active", "trialing", "past_due"})


# ============================================================================
# DATA MODELS
# ============================================================================


@dataclass
class Subscription:
    """
    A subscription: `{"user_id", "scope", "status", "tier"?, "current_period_start"?, "current_period_end"?,
    "cancel_at_period_end", "features": [...]}`; an unknown status is kept as given.
    """

    status: str
    user_id: str = ""
    scope: str = "platform"
    tier: str | None = None
    current_period_start: datetime | None = None
    current_period_end: datetime | None = None
    cancel_at_period_end: bool = False
    features: list[str] = field(default_factory=list)

    @property
    def is_active(self) -> bool:
        """True for active, trialing and past_due (grace); anything else, an unknown status included, is not."""
        return self.status in _ACTIVE


@dataclass
class FeatureAccess:
    """Whether a feature may be used: `{"feature", "allowed", "limit"?, "usage"?, "reset_at"?, "reason"?}`."""

    feature: str
    allowed: bool
    limit: int | None = None
    usage: int | None = None
    reset_at: datetime | None = None
    reason: str | None = None


@dataclass
class UsageMetric:
    """Use of one metric: `{"used", "limit"?, "percentage"?}`; counts are whole numbers."""

    used: int
    limit: int | None = None
    percentage: float | None = None


@dataclass
class Usage:
    """Use in a period: `{"user_id", "period", "period_start"?, "period_end"?, "metrics": {name: metric}}`."""

    user_id: str
    period: str
    period_start: datetime | None = None
    period_end: datetime | None = None
    metrics: dict[str, UsageMetric] = field(default_factory=dict)


@dataclass
class Checkout:
    """A checkout that was begun: `{"checkout_url", "session_id"}`."""

    checkout_url: str
    session_id: str


@dataclass
class Cancellation:
    """A cancellation: `{"success", "cancel_at"?, "message"?}`; an empty answer is a success."""

    success: bool = True
    cancel_at: datetime | None = None
    message: str = ""


@dataclass
class Invoice:
    """An invoice: `{"id", "amount", "currency", "status", "created_at"?, "pdf_url"?}`; amount in minor units."""

    id: str
    amount: int
    currency: str
    status: str
    created_at: datetime | None = None
    pdf_url: str | None = None


# ============================================================================
# CONNECTOR INTERFACE (Protocol)
# ============================================================================


class BillingConnector(Protocol):
    """Subscriptions, features, usage and payment; implemented for managed and mock mode."""

    async def get_subscription_status(
        self,
        *,
        scope: str = "platform",
        app_id: str | None = None,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> Subscription:
        """Get the caller's subscription; *scope* is `platform`, or `app` with an *app_id*."""
        ...

    async def check_feature_access(
        self, feature: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> FeatureAccess:
        """Tell whether the caller may use *feature*."""
        ...

    async def check_features(
        self, features: Iterable[str], *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> dict[str, FeatureAccess]:
        """Tell for each of *features* whether the caller may use it, in one call."""
        ...

    async def get_usage(
        self, *, period: str = "current", user_jwt: str | None = None, correlation_id: str = ""
    ) -> Usage:
        """Get the caller's usage; *period* is `current`, `last_month` or `all_time`."""
        ...

    async def create_checkout(
        self,
        *,
        scope: str,
        plan: str,
        success_url: str,
        cancel_url: str,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> Checkout:
        """Begin a checkout of *plan*; the user is sent to its URL."""
        ...

    async def cancel_subscription(
        self, *, scope: str, reason: str = "", user_jwt: str | None = None, correlation_id: str = ""
    ) -> Cancellation:
        """Cancel the caller's subscription of *scope*."""
        ...

    async def list_invoices(self, *, user_jwt: str | None = None, correlation_id: str = "") -> Page[Invoice]:
        """List the caller's invoices."""
        ...


# ============================================================================
# MANAGED IMPLEMENTATION (Real API calls)
# ============================================================================

_subscription_document = decoder(
    Subscription,
    {Subscription: {"status": ("state",), "current_period_end": ("current_period_end_utc", "expires_at_utc")}},
)
_feature = decoder(FeatureAccess)
_usage = decoder(Usage)
_checkout = decoder(Checkout, {Checkout: {"session_id": ("checkout_id",)}})
_cancellation_document = decoder(Cancellation, {Cancellation: {"cancel_at": ("effective_at",)}})
_invoice = decoder(Invoice)


def _subscription(document: Any) -> Subscription:
    """
    Read a subscription in either of the two shapes that one path has, or the second generation's.

    `{"found": false}` is inactive. Features that are no clear grant are left out; an absent status is an error.
    """
    if not isinstance(document, Mapping):
        return _subscription_document(document)
    flat = dict(refuse_failure(document))
    if flat.get("found") is False:
        return Subscription(status="inactive")
    plan = flat.pop("plan", None)
    if isinstance(plan, Mapping):
        flat.setdefault("tier", plan.get("tier"))
        flat.setdefault("current_period_end", plan.get("expires_at", plan.get("expiresAt")))
    features = flat.get("features")
    if isinstance(features, Mapping):
        flat["features"] = [name for name, granted in features.items() if granted is True]
    return _subscription_document(flat)


def _cancellation(document: Any) -> Cancellation:
    worked = succeeded(document)
    said = {} if isinstance(document, bool) else document
    return replace(_cancellation_document(said), success=worked)


def _features(document: Any) -> dict[str, FeatureAccess]:
    results = refuse_failure(document).get("results") if isinstance(document, Mapping) else None
    if not isinstance(results, Mapping):
        raise DecodeError("results: must be an object")
    found = {}
    for name, access in results.items():
        if not isinstance(access, Mapping):
            raise DecodeError(f"results.{name[:80]}: must be an object")
        found[name] = _feature({**access, "feature": name})
    return found


def _invoices(document: Any) -> tuple[list[Invoice], int | None]:
    return decode_page(document, _invoice, "invoices", "items")


def _scope_problem(scope: str, app_id: str | None) -> str:
    if scope not in {"platform", "app"}:
        return "scope: must be 'platform' or 'app'"
    return "app_id: required when scope is 'app'" if scope == "app" and not app_id else ""


class ManagedBillingConnector:
    """
    Production connector that calls the real Billing.API; every method raises `CallError` on failure.

    Used when MOZAIKS_MANAGED=true.
    """

    def __init__(self, http: PlatformHttpClient) -> None:
        self._http = http

    async def get_subscription_status(
        self,
        *,
        scope: str = "platform",
        app_id: str | None = None,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> Subscription:
        """Get the caller's subscription; *scope* is `platform`, or `app` with an *app_id*."""
        subscription: Subscription = await self._http.get(
            "/api/billing/subscription",
            path_params={},
            problem=_scope_problem(scope, app_id),
            params={"scope": scope, "app_id": app_id},
            decode=_subscription,
            operation="get_subscription_status",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return subscription

    async def check_feature_access(
        self, feature: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> FeatureAccess:
        """Tell whether the caller may use *feature*; what is no clear grant is an error."""
        access: FeatureAccess = await self._http.get(
            "/api/billing/features/{feature_id}",
            path_params={"feature_id": feature},
            decode=_feature,
            operation="check_feature_access",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return access

    async def check_features(
        self, features: Iterable[str], *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> dict[str, FeatureAccess]:
        """Tell for each of *features* whether the caller may use it; what the platform leaves out is not allowed."""
        asked, problem = texts_of("features", features)
        found: dict[str, FeatureAccess] = await self._http.post(
            "/api/billing/features/check",
            path_params={},
            problem=problem,
            json_body={"features": asked},
            decode=_features,
            operation="check_features",
            idempotent=True,  # a read that needs a body
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return {name: found.get(name) or FeatureAccess(name, allowed=False, reason="not_reported") for name in asked}

    async def get_usage(
        self, *, period: str = "current", user_jwt: str | None = None, correlation_id: str = ""
    ) -> Usage:
        """Get the caller's usage; *period* is `current`, `last_month` or `all_time`."""
        usage: Usage = await self._http.get(
            "/api/billing/usage",
            path_params={},
            params={"period": period},
            decode=_usage,
            operation="get_usage",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return usage

    async def create_checkout(
        self,
        *,
        scope: str,
        plan: str,
        success_url: str,
        cancel_url: str,
        user_jwt: str | None = None,
        correlation_id: str = "",
    ) -> Checkout:
        """Begin a checkout of *plan*; not repeated when its answer is lost, since each begins another session."""
        checkout: Checkout = await self._http.post(
            "/api/billing/checkout",
            path_params={},
            json_body={"scope": scope, "plan": plan, "success_url": success_url, "cancel_url": cancel_url},
            decode=_checkout,
            operation="create_checkout",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return checkout

    async def cancel_subscription(
        self, *, scope: str, reason: str = "", user_jwt: str | None = None, correlation_id: str = ""
    ) -> Cancellation:
        """Cancel the caller's subscription of *scope*; not repeated blindly, the payment provider answers 500 then."""
        cancellation: Cancellation = await self._http.post(
            "/api/billing/cancel",
            path_params={},
            json_body={"scope": scope, "reason": reason},
            decode=_cancellation,
            operation="cancel_subscription",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return cancellation

    async def list_invoices(self, *, user_jwt: str | None = None, correlation_id: str = "") -> Page[Invoice]:
        """List the caller's invoices."""
        invoices, total = await self._http.get(
            "/api/billing/invoices",
            path_params={},
            decode=_invoices,
            operation="list_invoices",
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return Page(invoices, total=total)


# ============================================================================
# MOCK IMPLEMENTATION (Self-hosted mode)
# ============================================================================


class MockBillingConnector:
    """
    Mock connector for self-hosted mode: a premium subscription and every feature. Never raises.

    Used when MOZAIKS_MANAGED=false.
    """

    async def get_subscription_status(
        self,
        *,
        scope: str = "platform",
        app_id: str | None = None,  # noqa: ARG002
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> Subscription:
        """Get an active premium subscription."""
        return Subscription(
            status="active", user_id="mock_user", scope=any_key(scope), tier="premium", features=["all_features"]
        )

    async def check_feature_access(
        self,
        feature: str,
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> FeatureAccess:
        """Allow *feature*."""
        return FeatureAccess(feature=any_key(feature), allowed=True)

    async def check_features(
        self,
        features: Iterable[str],
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> dict[str, FeatureAccess]:
        """Allow all of *features*."""
        return {name: FeatureAccess(feature=name, allowed=True) for name in any_texts(features)}

    async def get_usage(
        self,
        *,
        period: str = "current",
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> Usage:
        """Get a usage without metrics, over the documented period."""
        start, end = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 31, tzinfo=UTC)
        return Usage(user_id="mock_user", period=any_key(period), period_start=start, period_end=end)

    async def create_checkout(
        self,
        *,
        scope: str,  # noqa: ARG002
        plan: str,  # noqa: ARG002
        success_url: str,
        cancel_url: str,  # noqa: ARG002
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> Checkout:
        """Succeed at once: the user is sent to *success_url*."""
        return Checkout(checkout_url=any_key(success_url), session_id="mock_session")

    async def cancel_subscription(
        self,
        *,
        scope: str,  # noqa: ARG002
        reason: str = "",  # noqa: ARG002
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> Cancellation:
        """Succeed; there is nothing to cancel."""
        return Cancellation(success=True)

    async def list_invoices(
        self,
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> Page[Invoice]:
        """List no invoices."""
        return Page((), total=0)
