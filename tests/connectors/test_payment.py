"""The payment connector: how it reads what the platform says of a subscription, and what it sends."""

import pytest
from connector_support import responding

from middleware import (
    DecodeError,
)
from runtime.connectors import billing, payment
from runtime.testing import ScriptedUpstream


@pytest.mark.parametrize(
    ("document", "active"),
    [
        ({"active": True, "status": "active"}, True),
        ({"isActive": True, "planId": "pro"}, True),
        ({"isActive": False}, False),
        ({"active": True, "isActive": False}, False),
        ({"active": True, "status": "Active"}, True),
        ({"active": True, "status": " PAST_DUE "}, True),
        ({"active": True, "status": "canceled"}, False),
        ({"active": True, "status": "surprising"}, False),
        ({"success": True, "found": True, "Status": "Trialing"}, True),
        ({"success": True, "found": True}, False),
        ({"success": True, "found": False}, False),
        ({"success": True, "found": True, "status": "active", "plan_id": "pro"}, True),
        ({"success": True, "found": True, "status": "expired"}, False),
    ],
)
async def test_a_payment_status_fails_closed(document, active):
    """A contradiction or an unknown status is not active."""
    connector = responding(payment.ManagedPaymentConnector, document)
    assert (await connector.subscription_status(scope="platform")).active is active


LATER, EARLIER = "2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("document", "active"),
    [
        ({"active": True, "status": "canceled", "currentPeriodEnd": LATER, "cancelAtPeriodEnd": True}, True),
        ({"active": True, "status": "Cancelled", "currentPeriodEndUtc": LATER}, True),
        ({"isActive": True, "status": "canceled", "expiresAtUtc": LATER}, True),
        ({"found": True, "status": "canceled", "expires_at": LATER}, True),
        ({"active": True, "status": "canceled", "currentPeriodEnd": EARLIER, "cancelAtPeriodEnd": True}, False),
        ({"active": True, "status": "canceled", "currentPeriodEnd": ""}, False),
        ({"active": True, "status": "canceled", "currentPeriodEnd": LATER, "cancelAtPeriodEnd": False}, False),
        ({"active": False, "status": "canceled", "currentPeriodEnd": LATER}, False),
        ({"active": True, "isActive": False, "status": "canceled", "currentPeriodEnd": LATER}, False),
        ({"found": False, "status": "canceled", "expires_at": LATER}, False),
        ({"active": True, "status": "expired", "currentPeriodEnd": LATER}, False),
    ],
)
async def test_a_canceled_subscription_is_active_until_its_period_ends(document, active):
    """By the public billing specification; a flag that contradicts it closes it. Billing decides alike."""
    found = await responding(payment.ManagedPaymentConnector, document).subscription_status(scope="platform")
    assert found.active is active
    if not {"active", "isActive"} & {name for name, flag in document.items() if flag is False}:
        subscription = await responding(billing.ManagedBillingConnector, document).get_subscription_status()
        assert subscription.is_active is active


async def test_a_payment_status_keeps_what_it_does_not_read():
    """Features, the subscription's id, and unknown keys; a flag that is not sent is unknown."""
    document = {"isActive": True, "planId": "pro", "subscriptionId": "sub_1", "features": ["a"], "seatCount": 3}
    found = await responding(payment.ManagedPaymentConnector, document).subscription_status(scope="platform")
    assert found.plan == "pro"
    assert found.subscription_id == "sub_1"
    assert found.features == ["a"]
    assert found.extra == {"seatCount": 3}
    assert found.cancel_at_period_end is None
    flags = {"isActive": True, "features": {"a": True, "b": "yes"}, "cancel_at_period_end": False}
    found = await responding(payment.ManagedPaymentConnector, flags).subscription_status(scope="platform")
    assert (found.features, found.extra, found.cancel_at_period_end) == (["a"], {}, False)


async def test_a_checkout_sends_every_field_that_dotnet_reads():
    """Under its names; keys of the caller's own come with them and replace none."""
    upstream = ScriptedUpstream([{"sessionId": "s", "hosted": True}])
    checkout = await payment.ManagedPaymentConnector(upstream.client()).checkout(
        scope="app",
        app_id="app_1",
        plan="pro",
        success_url="https://a.example",
        cancel_url="https://b.example",
        mode="payment",
        amount=1999,
        currency="eur",
        metadata={"k": "v"},
        extra={"couponCode": "X", "planId": "free"},
    )
    assert upstream.requests[0].json == {
        "scope": "app",
        "appId": "app_1",
        "plan": "pro",
        "planId": "pro",
        "successUrl": "https://a.example",
        "cancelUrl": "https://b.example",
        "mode": "payment",
        "amount": 1999,
        "currency": "eur",
        "metadata": {"k": "v"},
        "couponCode": "X",
    }
    assert checkout.session_id == "s"
    assert checkout.extra == {"hosted": True}


@pytest.mark.parametrize("document", [{}, [], "ok", {"active": "true"}, {"active": 1}, {"isActive": None}, None])
async def test_an_unclear_payment_status_is_an_error(document):
    """Documents that the earlier client read as active."""
    with pytest.raises(DecodeError):
        await responding(payment.ManagedPaymentConnector, document).subscription_status(scope="platform")


async def test_a_client_secret_is_not_shown():
    """Neither in the object's repr nor in anything made from it."""
    connector = responding(payment.ManagedPaymentConnector, {"sessionId": "s", "clientSecret": "hush"})
    checkout = await connector.checkout(plan="pro")
    assert checkout.client_secret == "hush"
    assert "hush" not in repr(checkout)
