"""Our own connectors by the conformance plugin: what it generates, and a scenario for each against the gateway."""

from pathlib import Path

from runtime.conformance import Conformance, Step
from runtime.connectors import registry
from runtime.connectors.discovery import ListingCreate, ListingUpdate
from runtime.connectors.hosting import AppCreate, AppUpdate, DeployRequest
from runtime.connectors.service import ServiceItemCreate, ServiceItemUpdate

RECORDED = Path(__file__).parent.parent / "recorded"  # by `python3 .ci/tools/record_connectors.py --write`


def of(operation, argument, field="id"):
    """Arguments of a step: what an earlier one made."""
    return lambda seen: {argument: getattr(seen[operation], field)}


def domain_of(seen):
    return {"app_id": "app_1", "domain_id": seen["add_domain"].id}


hosting = Conformance(
    registry._HOSTING,
    recorded=RECORDED / "hosting.json",
    steps=[
        Step("create_app", {"request": AppCreate("Shop", config={"aKey": {"b_c": 1}})}),
        Step("get_app", of("create_app", "app_id")),
        Step("list_apps"),
        Step("update_app", lambda seen: {"app_id": seen["create_app"].id, "request": AppUpdate(description="All")}),
        Step("pause_app", of("create_app", "app_id")),
        Step("get_app", of("create_app", "app_id")),
        Step("resume_app", of("create_app", "app_id")),
        Step("deploy", {"app_id": "app_1", "request": DeployRequest(branch="main")}),
        Step("list_deployments", {"app_id": "app_1"}),
        Step("get_deployment", lambda seen: {"app_id": "app_1", "deployment_id": seen["deploy"].id}),
        Step("add_domain", {"app_id": "app_1", "domain": "shop.example.com"}),
        Step("get_domain", domain_of),
        Step("list_domains", {"app_id": "app_1"}),
        Step("verify_domain", domain_of),
        Step("remove_domain", domain_of),
        Step("list_domains", {"app_id": "app_1"}),
        Step("get_subscription_summary", {"app_id": "app_1"}),
        Step("delete_app", of("create_app", "app_id")),
        Step("list_apps"),
    ],
)

discovery = Conformance(
    registry._DISCOVERY,
    recorded=RECORDED / "discovery.json",
    steps=[
        Step("create_listing", {"request": ListingCreate("app_1", "Shop", tags=["a"], price=1999)}),
        Step("get_listing", of("create_listing", "listing_id")),
        Step("list_listings"),
        Step(
            "update_listing",
            lambda seen: {"listing_id": seen["create_listing"].id, "request": ListingUpdate(title="Store")},
        ),
        Step("delete_listing", of("create_listing", "listing_id")),
        Step("list_listings"),
        Step("list_featured"),
        Step("list_quests"),
        Step("get_quest", {"quest_id": "quest_1"}),
        Step("join_quest", {"quest_id": "quest_1"}),
        Step("submit_quest_step", {"quest_id": "quest_1", "step": 1, "submission": {"url": "x"}}),
    ],
)

identity = Conformance(
    registry._IDENTITY,
    recorded=RECORDED / "identity.json",
    steps=[
        Step("get_current_user"),
        Step("update_user_roles", {"user_id": "user_3", "roles": ["moderator"]}),
        Step("get_user", {"user_id": "user_3"}),
        Step("get_user_roles", {"user_id": "user_3"}),
        Step("list_users", {"role": "user"}),
        Step("check_permission", {"user_id": "user_1", "permission": "read:users"}),
        Step("check_permissions", {"user_id": "user_1", "permissions": ["read:users"]}),
    ],
)

billing = Conformance(
    registry._BILLING,
    recorded=RECORDED / "billing.json",
    steps=[
        Step("get_subscription_status"),
        Step("check_feature_access", {"feature": "export"}),
        Step("check_features", {"features": ["export"]}),
        Step("get_usage"),
        Step("create_checkout", {"scope": "platform", "plan": "pro"}),
        Step("cancel_subscription", {"scope": "platform"}),
        Step("list_invoices"),
    ],
)

payment = Conformance(
    registry._PAYMENT,
    recorded=RECORDED / "payment.json",
    steps=[
        Step("checkout", {"scope": "platform", "plan": "pro"}),
        Step("subscription_status", {"scope": "platform"}),
        Step("cancel", {"scope": "platform"}),
    ],
)

service = Conformance(
    registry._SERVICE,
    recorded=RECORDED / "service.json",
    steps=[
        Step("create_item", {"request": ServiceItemCreate("One", {"aKey": 1})}),
        Step("get_item", of("create_item", "item_id")),
        Step("list_items"),
        Step(
            "update_item",
            lambda seen: {"item_id": seen["create_item"].id, "request": ServiceItemUpdate(status="paused")},
        ),
        Step("delete_item", of("create_item", "item_id")),
        Step("list_items"),
    ],
)
