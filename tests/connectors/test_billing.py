"""The billing connector: subscriptions, features, usage and cancellation."""

import httpx
import pytest
from connector_support import responding

from middleware import (
    DecodeError,
)
from runtime.connectors import billing
from runtime.connectors.base import PlatformHttpClient


async def test_a_usage_may_have_a_fraction():
    """Whole numbers stay whole; a flag or a word is no number."""
    metrics = {"storage": {"used": 12.5, "limit": 20.5}, "calls": {"used": 1, "limit": -1}}
    document = {"user_id": "u", "period": "current", "metrics": metrics}
    found = await responding(billing.ManagedBillingConnector, document).get_usage()
    assert {name: (metric.used, metric.limit) for name, metric in found.metrics.items()} == {
        "storage": (12.5, 20.5),
        "calls": (1, -1),
    }
    assert type(found.metrics["calls"].used) is int
    feature = {"feature": "f", "allowed": True, "usage": 0.5, "limit": 1}
    access = await responding(billing.ManagedBillingConnector, feature).check_feature_access("f")
    assert access.usage == 0.5
    assert access.limit == 1
    for wrong in (True, "many", None, [1]):
        document["metrics"] = {"storage": {"used": wrong}}
        with pytest.raises(DecodeError, match=r"metrics\.storage\.used"):
            await responding(billing.ManagedBillingConnector, document).get_usage()


@pytest.mark.parametrize(
    ("document", "status", "tier", "features"),
    [
        ({"status": "active", "tier": "pro", "features": ["a"]}, "active", "pro", ["a"]),
        (
            {"state": "trialing", "plan": {"tier": "pro"}, "features": {"a": True, "b": False, "c": "true"}},
            "trialing",
            "pro",
            ["a"],
        ),
        ({"success": True, "found": False}, "inactive", None, []),
        ({"status": "surprising"}, "surprising", None, []),
    ],
)
async def test_two_subscription_shapes_on_one_path(document, status, tier, features):
    """Both decode; a feature is granted only by a literal true."""
    found = await responding(billing.ManagedBillingConnector, document).get_subscription_status()
    assert found.status == status
    assert found.tier == tier
    assert found.features == features
    assert found.is_active is (status in {"active", "trialing"})


async def test_features_fail_closed():
    """A feature missing in the response is not allowed; a value that is not a flag is an error."""
    left_out = await responding(billing.ManagedBillingConnector, {"results": {}}).check_features(["a"])
    assert left_out["a"].allowed is False
    for unclear in ({"results": {"a": {"allowed": "true"}}}, {"results": {"a": True}}, {"results": {"a": {}}}, {}):
        with pytest.raises(DecodeError):
            await responding(billing.ManagedBillingConnector, unclear).check_features(["a"])


async def test_a_cancellation_says_when_and_why():
    """The other fields of the response are kept, and an empty response is a success."""
    document = {"ok": False, "effective_at": "2026-01-01", "message": "not yours"}
    found = await responding(billing.ManagedBillingConnector, document).cancel_subscription(scope="platform")
    assert (found.success, found.cancel_at.year, found.message) == (False, 2026, "not yours")
    transport = httpx.MockTransport(lambda _request: httpx.Response(204))
    connector = billing.ManagedBillingConnector(PlatformHttpClient("http://platform", transport=transport))
    assert await connector.cancel_subscription(scope="platform") == billing.Cancellation()
