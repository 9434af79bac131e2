"""
What type checkers see of the connectors: each method's result, read by mypy and pyright and never run.

`tests/typing` has no test for pytest, but for one that every method is listed here.
"""

from typing import assert_type

from runtime.connectors.billing import (
    BillingConnector,
    Cancellation,
    Checkout,
    FeatureAccess,
    Invoice,
    Subscription,
    Usage,
)
from runtime.connectors.discovery import DiscoveryConnector, Listing, ListingCreate, ListingUpdate, Quest, QuestProgress
from runtime.connectors.hosting import (
    App,
    AppCreate,
    AppState,
    AppUpdate,
    Deployment,
    Domain,
    HostingConnector,
    HostingSummary,
)
from runtime.connectors.identity import IdentityConnector, User, UserRoles
from runtime.connectors.loader import ConnectorBundle
from runtime.connectors.page import Page
from runtime.connectors.payment import PaymentCheckout, PaymentConnector, PaymentStatus
from runtime.connectors.service import ServiceConnector, ServiceItem, ServiceItemCreate, ServiceItemUpdate


async def billing(connector: BillingConnector) -> None:
    assert_type(await connector.get_subscription_status(), Subscription)
    assert_type(await connector.check_feature_access("x"), FeatureAccess)
    assert_type(await connector.check_features(["x"]), dict[str, FeatureAccess])
    assert_type(await connector.get_usage(), Usage)
    assert_type(await connector.create_checkout(scope="x", plan="x", success_url="x", cancel_url="x"), Checkout)
    assert_type(await connector.cancel_subscription(scope="x"), Cancellation)
    assert_type(await connector.list_invoices(), Page[Invoice])


async def discovery(
    connector: DiscoveryConnector, listing_create: ListingCreate, listing_update: ListingUpdate
) -> None:
    assert_type(await connector.list_listings(), Page[Listing])
    assert_type(await connector.get_listing("x"), Listing)
    assert_type(await connector.create_listing(listing_create), Listing)
    assert_type(await connector.update_listing("x", listing_update), Listing)
    assert_type(await connector.delete_listing("x"), bool)
    assert_type(await connector.list_featured(), Page[Listing])
    assert_type(await connector.list_quests(), Page[Quest])
    assert_type(await connector.get_quest("x"), Quest)
    assert_type(await connector.join_quest("x"), QuestProgress)
    assert_type(await connector.submit_quest_step("x", 1, {"answer": [1]}), QuestProgress)


async def hosting(connector: HostingConnector, app_create: AppCreate, app_update: AppUpdate) -> None:
    assert_type(await connector.list_apps(), Page[App])
    assert_type(await connector.get_app("x"), App)
    assert_type(await connector.create_app(app_create), App)
    assert_type(await connector.update_app("x", app_update), App)
    assert_type(await connector.delete_app("x"), bool)
    assert_type(await connector.pause_app("x"), AppState)
    assert_type(await connector.resume_app("x"), AppState)
    assert_type(await connector.deploy("x"), Deployment)
    assert_type(await connector.list_deployments("x"), Page[Deployment])
    assert_type(await connector.get_deployment("x", "x"), Deployment)
    assert_type(await connector.list_domains("x"), Page[Domain])
    assert_type(await connector.add_domain("x", "x"), Domain)
    assert_type(await connector.get_domain("x", "x"), Domain)
    assert_type(await connector.verify_domain("x", "x"), Domain)
    assert_type(await connector.remove_domain("x", "x"), bool)
    assert_type(await connector.get_subscription_summary("x"), HostingSummary)


async def identity(connector: IdentityConnector) -> None:
    assert_type(await connector.get_current_user(), User)
    assert_type(await connector.get_user("x"), User)
    assert_type(await connector.list_users(), Page[User])
    assert_type(await connector.get_user_roles("x"), UserRoles)
    assert_type(await connector.update_user_roles("x", ["x"]), bool)
    assert_type(await connector.check_permission("x", "x"), bool)
    assert_type(await connector.check_permissions("x", ["x"]), dict[str, bool])


async def payment(connector: PaymentConnector) -> None:
    assert_type(await connector.checkout(), PaymentCheckout)
    assert_type(await connector.subscription_status(scope="x"), PaymentStatus)
    assert_type(await connector.cancel(scope="x"), bool)


async def service(connector: ServiceConnector, item_create: ServiceItemCreate, item_update: ServiceItemUpdate) -> None:
    assert_type(await connector.list_items(), Page[ServiceItem])
    assert_type(await connector.get_item("x"), ServiceItem)
    assert_type(await connector.create_item(item_create), ServiceItem)
    assert_type(await connector.update_item("x", item_update), ServiceItem)
    assert_type(await connector.delete_item("x"), bool)


async def bundle(connectors: ConnectorBundle) -> None:
    """Each field is of its Protocol, in both modes."""
    assert_type(connectors.billing, BillingConnector)
    assert_type(connectors.discovery, DiscoveryConnector)
    assert_type(connectors.hosting, HostingConnector)
    assert_type(connectors.identity, IdentityConnector)
    assert_type(connectors.payment, PaymentConnector)
    assert_type(connectors.service, ServiceConnector)
