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
    Endpoint,
    MockState,
    Page,
    PlatformHttpClient,
    any_key,
    any_texts,
    decode_page,
    decoder,
    mock_state,
    refuse_failure,
    subscription_is_active,
    succeeded,
    texts_of,
    wrong_type,
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

# ============================================================================
# DATA MODELS
# ============================================================================


@dataclass
class Subscription:
    """
    A subscription: `{"user_id", "scope", "status", "tier"?, "current_period_start"?, "current_period_end"?,
    "cancel_at_period_end"?, "features": [...]}`; an unknown status is passed through.
    """

    status: str
    user_id: str = ""
    scope: str = "platform"
    tier: str | None = None
    current_period_start: datetime | None = None
    current_period_end: datetime | None = None
    cancel_at_period_end: bool | None = None
    features: list[str] = field(default_factory=list)

    @property
    def is_active(self) -> bool:
        """
        Whether it gives access now.

        It does while active, trialing or past_due (grace period), and while canceled until the end of the period,
        unless `cancel_at_period_end` is False. An unknown status is not active.
        """
        return subscription_is_active(
            self.status,
            period_end=self.current_period_end,
            ends_later=self.cancel_at_period_end,
            now=datetime.now(UTC),
        )


@dataclass
class FeatureAccess:
    """Whether a feature may be used: `{"feature", "allowed", "limit"?, "usage"?, "reset_at"?, "reason"?}`."""

    feature: str
    allowed: bool
    limit: int | float | None = None
    usage: int | float | None = None
    reset_at: datetime | None = None
    reason: str | None = None


@dataclass
class UsageMetric:
    """Use of one metric: `{"used", "limit"?, "percentage"?}`; a whole number stays an `int`."""

    used: int | float
    limit: int | float | None = None
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
    """A checkout session: `{"checkout_url", "session_id"}`."""

    checkout_url: str
    session_id: str


@dataclass
class Cancellation:
    """A cancellation: `{"success", "cancel_at"?, "message"?}`; an empty response is a success."""

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
        """Check whether the caller may use *feature*."""
        ...

    async def check_features(
        self, features: Iterable[str], *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> dict[str, FeatureAccess]:
        """Check for each of *features* whether the caller may use it, in one call."""
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
        """Start a checkout of *plan*, to be completed by the user at its URL."""
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
# ENDPOINTS
# ============================================================================

_subscription_document = decoder(
    Subscription,
    {Subscription: {"status": ("state",), "current_period_end": ("expires_at",)}},
)
_feature = decoder(FeatureAccess)
_usage = decoder(Usage)
_checkout = decoder(Checkout, {Checkout: {"session_id": ("checkout_id",)}})
_cancellation_document = decoder(Cancellation, {Cancellation: {"cancel_at": ("effective_at",)}})
_invoice = decoder(Invoice)


def _subscription(document: Any) -> Subscription:
    """
    Decode a subscription in any of the shapes that this path returns: flat, with a `plan` object, second generation.

    `{"found": false}` is inactive. A feature is granted only by a literal true; a missing status is an error.
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
    fields = {} if isinstance(document, bool) else document
    return replace(_cancellation_document(fields), success=worked)


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


_GET_SUBSCRIPTION_STATUS = Endpoint("GET", "/api/billing/subscription", "get_subscription_status", _subscription)
_CHECK_FEATURE_ACCESS = Endpoint("GET", "/api/billing/features/{feature_id}", "check_feature_access", _feature)
# A read that needs a body.
_CHECK_FEATURES = Endpoint("POST", "/api/billing/features/check", "check_features", _features, idempotent=True)
_GET_USAGE = Endpoint("GET", "/api/billing/usage", "get_usage", _usage)
_CREATE_CHECKOUT = Endpoint("POST", "/api/billing/checkout", "create_checkout", _checkout)
_CANCEL_SUBSCRIPTION = Endpoint("POST", "/api/billing/cancel", "cancel_subscription", _cancellation)
_LIST_INVOICES = Endpoint("GET", "/api/billing/invoices", "list_invoices", _invoices)


# ============================================================================
# MANAGED IMPLEMENTATION (Real API calls)
# ============================================================================


def _scope_problem(scope: Any, app_id: Any) -> str:
    problem = wrong_type(str, scope=scope) or wrong_type(str | None, app_id=app_id)
    if problem or scope not in {"platform", "app"}:
        return problem or "scope: must be 'platform' or 'app'"
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
        return await self._http.call(
            _GET_SUBSCRIPTION_STATUS,
            problem=_scope_problem(scope, app_id),
            params={"scope": scope, "app_id": app_id},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def check_feature_access(
        self, feature: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> FeatureAccess:
        """Check whether the caller may use *feature*; anything but a literal true or false is an error."""
        return await self._http.call(
            _CHECK_FEATURE_ACCESS, path_params={"feature_id": feature}, user_jwt=user_jwt, correlation_id=correlation_id
        )

    async def check_features(
        self, features: Iterable[str], *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> dict[str, FeatureAccess]:
        """Check for each of *features* whether the caller may use it; one missing in the response is not allowed."""
        asked, problem = texts_of("features", features)
        found = await self._http.call(
            _CHECK_FEATURES,
            problem=problem,
            json_body={"features": asked},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )
        return {name: found.get(name) or FeatureAccess(name, allowed=False, reason="not_reported") for name in asked}

    async def get_usage(
        self, *, period: str = "current", user_jwt: str | None = None, correlation_id: str = ""
    ) -> Usage:
        """Get the caller's usage; *period* is `current`, `last_month` or `all_time`."""
        return await self._http.call(
            _GET_USAGE,
            problem=wrong_type(str, period=period),
            params={"period": period},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

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
        """Start a checkout of *plan*; not retried after a lost response, since each attempt starts a session."""
        return await self._http.call(
            _CREATE_CHECKOUT,
            problem=wrong_type(str, scope=scope, plan=plan, success_url=success_url, cancel_url=cancel_url),
            json_body={"scope": scope, "plan": plan, "success_url": success_url, "cancel_url": cancel_url},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def cancel_subscription(
        self, *, scope: str, reason: str = "", user_jwt: str | None = None, correlation_id: str = ""
    ) -> Cancellation:
        """
        Cancel the caller's subscription of *scope*.

        Not retried after a lost response: the provider responds 500 to a second cancellation.
        """
        return await self._http.call(
            _CANCEL_SUBSCRIPTION,
            problem=wrong_type(str, scope=scope, reason=reason),
            json_body={"scope": scope, "reason": reason},
            user_jwt=user_jwt,
            correlation_id=correlation_id,
        )

    async def list_invoices(self, *, user_jwt: str | None = None, correlation_id: str = "") -> Page[Invoice]:
        """List the caller's invoices."""
        return await self._http.page(_LIST_INVOICES, user_jwt=user_jwt, correlation_id=correlation_id)


# ============================================================================
# MOCK IMPLEMENTATION (Self-hosted mode)
# ============================================================================


_PERIOD_END = datetime(2025, 1, 31, tzinfo=UTC)
# Status, tier, features and end of the period, by state.
_SUBSCRIPTIONS: dict[MockState, tuple[str, str | None, tuple[str, ...], datetime | None]] = {
    "active": ("active", "premium", ("all_features",), None),
    "no_plan": ("inactive", None, (), None),
    "denied": ("active", "free", (), None),
    "expired": ("expired", "premium", (), _PERIOD_END),
}


class MockBillingConnector:
    """
    Mock connector for self-hosted mode: a premium subscription and every feature. Never raises.

    Used when MOZAIKS_MANAGED=false.

    Args:
        state: For tests: `active`; `no_plan` has no subscription; `denied` a free one without features, which cannot be
            canceled; `expired` one that has ended. In all but the first no feature is allowed.
    """

    def __init__(self, state: MockState = "active") -> None:
        self._state = mock_state(state, "active", "no_plan", "denied", "expired")

    async def get_subscription_status(
        self,
        *,
        scope: str = "platform",
        app_id: str | None = None,  # noqa: ARG002
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> Subscription:
        """Get an active premium subscription, or that of the state."""
        status, tier, features, end = _SUBSCRIPTIONS[self._state]
        return Subscription(
            status=status,
            user_id="mock_user",
            scope=any_key(scope),
            tier=tier,
            current_period_end=end,
            cancel_at_period_end=False,
            features=list(features),
        )

    async def check_feature_access(
        self,
        feature: str,
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> FeatureAccess:
        """Allow *feature*, in state `active`; the reason is the state."""
        return self._access(any_key(feature))

    async def check_features(
        self,
        features: Iterable[str],
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> dict[str, FeatureAccess]:
        """Allow all of *features*, in state `active`."""
        return {name: self._access(name) for name in any_texts(features)}

    async def get_usage(
        self,
        *,
        period: str = "current",
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> Usage:
        """Get a usage without metrics, for the period in the API's documentation."""
        start = datetime(2025, 1, 1, tzinfo=UTC)
        return Usage(user_id="mock_user", period=any_key(period), period_start=start, period_end=_PERIOD_END)

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
        """Return *success_url* as the URL of the checkout: there is nothing to pay."""
        return Checkout(checkout_url=any_key(success_url), session_id="mock_session")

    async def cancel_subscription(
        self,
        *,
        scope: str,  # noqa: ARG002
        reason: str = "",  # noqa: ARG002
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> Cancellation:
        """Return a success: there is nothing to cancel; a failure in state `denied`."""
        denied = self._state == "denied"
        return Cancellation(success=not denied, message="denied" if denied else "")

    async def list_invoices(
        self,
        *,
        user_jwt: str | None = None,  # noqa: ARG002
        correlation_id: str = "",  # noqa: ARG002
    ) -> Page[Invoice]:
        """Return an empty page: there are no invoices."""
        return Page((), total=0)

    def _access(self, feature: str) -> FeatureAccess:
        allowed = self._state == "active"
        return FeatureAccess(feature=feature, allowed=allowed, reason=None if allowed else self._state)
