"""
One scenario suite for every implementation: the mocks, and the managed connectors in each dialect.

Also the tests of `runtime.gateway.dialects`.
"""

import ast
import asyncio
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterable
from datetime import datetime
from random import Random
from typing import get_args, get_origin, get_type_hints

import httpx
import pytest
from connector_support import MODULES, implementations, required_arguments, responding

from middleware import (
    AuthenticationError,
    ConflictError,
    DecodeError,
    InvalidArgumentError,
    InvalidRequestError,
    NotFoundError,
    OperationFailedError,
    PermissionDeniedError,
    PlatformError,
    RateLimitedError,
    ServerError,
    StatusError,
    call_options,
)
from runtime.connectors import billing, discovery, hosting, identity, payment, service
from runtime.connectors.base import PlatformHttpClient
from runtime.connectors.loader import ConnectorConfig, load_connectors
from runtime.gateway import DEFAULT_API_KEY, Fault, Gateway
from runtime.testing import ScriptedUpstream, virtual_time

JWT = "token-ada"


@pytest.fixture(
    params=["mock", *(pytest.param(name, marks=pytest.mark.sockets) for name in ("docs", "dotnet", "cloud"))]
)
async def connectors(request):
    if request.param == "mock":
        yield load_connectors(ConnectorConfig())
        return
    async with Gateway(dialect=request.param) as gateway:
        config = ConnectorConfig(managed_mode=True, gateway_base_url=gateway.url, api_key=DEFAULT_API_KEY)
        async with load_connectors(config) as bundle:
            yield bundle


def typed(value, kind):
    """Check that *value* is a *kind* whose times are aware."""
    assert type(value) is kind
    for field in dataclasses.fields(value):
        found = getattr(value, field.name)
        assert not isinstance(found, datetime) or found.tzinfo is not None, field.name
    return value


async def test_apps(connectors):
    """Create, get, list, update, pause, resume, delete."""
    apps = connectors.hosting
    created = typed(
        await apps.create_app(hosting.AppCreate("Shop", config={"aKey": {"b_c": 1}}), user_jwt=JWT), hosting.App
    )
    assert created.name == "Shop"
    assert created.status == "draft"
    assert created.metadata == {"aKey": {"b_c": 1}}
    assert await apps.get_app(created.id, user_jwt=JWT) == created
    page = await apps.list_apps(user_jwt=JWT)
    assert page == [created]
    updated = await apps.update_app(created.id, hosting.AppUpdate(description="All of it"), user_jwt=JWT)
    assert updated.name == "Shop"
    assert updated.description == "All of it"
    assert typed(await apps.pause_app(created.id, user_jwt=JWT), hosting.AppState).status == "paused"
    assert (await apps.get_app(created.id, user_jwt=JWT)).status == "paused"
    assert (await apps.resume_app(created.id, user_jwt=JWT)).status == "running"
    assert await apps.delete_app(created.id, user_jwt=JWT) is True
    assert await apps.list_apps(user_jwt=JWT) == []


async def test_deployments(connectors):
    """Queue, list, get."""
    apps = connectors.hosting
    queued = typed(await apps.deploy("app_1", hosting.DeployRequest(branch="main"), user_jwt=JWT), hosting.Deployment)
    assert queued.status == "queued"
    (listed,) = await apps.list_deployments("app_1", user_jwt=JWT)
    assert listed.id == queued.id
    assert listed.status == "queued"
    assert (await apps.get_deployment("app_1", queued.id, user_jwt=JWT)).status == "queued"


async def test_domains(connectors):
    """Add, get, list, verify, remove."""
    apps = connectors.hosting
    added = typed(await apps.add_domain("app_1", "shop.example.com", user_jwt=JWT), hosting.Domain)
    assert added.domain == "shop.example.com"
    assert added.status == "pending"
    assert await apps.get_domain("app_1", added.id, user_jwt=JWT) == added
    assert await apps.list_domains("app_1", user_jwt=JWT) == [added]
    assert (await apps.verify_domain("app_1", added.id, user_jwt=JWT)).status == "active"
    assert await apps.remove_domain("app_1", added.id, user_jwt=JWT) is True
    assert await apps.list_domains("app_1", user_jwt=JWT) == []
    assert typed(await apps.get_subscription_summary("app_1", user_jwt=JWT), hosting.HostingSummary).status == "active"


async def test_listings(connectors):
    """Create, get, list, update, delete; money is a whole number."""
    market = connectors.discovery
    request = discovery.ListingCreate("app_1", "Shop", tags=["a"], price=1999, metadata={"aKey": 1})
    created = typed(await market.create_listing(request, user_jwt=JWT), discovery.Listing)
    assert created.title == "Shop"
    assert created.status == "draft"
    assert created.tags == ["a"]
    assert created.price == 1999
    assert type(created.price) is int
    assert await market.get_listing(created.id, user_jwt=JWT) == created
    assert await market.list_listings(user_jwt=JWT) == [created]
    updated = await market.update_listing(created.id, discovery.ListingUpdate(title="Store"), user_jwt=JWT)
    assert updated.title == "Store"
    assert updated.price == 1999
    assert await market.delete_listing(created.id, user_jwt=JWT) is True
    assert await market.list_listings(user_jwt=JWT) == []
    assert all(type(entry) is discovery.Listing for entry in await market.list_featured(user_jwt=JWT))


async def test_quests(connectors):
    """Join, then submit a step."""
    quests = connectors.discovery
    assert all(type(quest) is discovery.Quest for quest in await quests.list_quests(user_jwt=JWT))
    assert typed(await quests.get_quest("quest_1", user_jwt=JWT), discovery.Quest).status == "active"
    joined = typed(await quests.join_quest("q1", user_jwt=JWT), discovery.QuestProgress)
    assert joined.quest_id == "q1"
    assert joined.completed_steps == 0
    assert joined.status == "in_progress"
    step = await quests.submit_quest_step("q1", 1, {"url": "x"}, user_jwt=JWT)
    assert step.completed_steps == 1


async def test_items(connectors):
    """The contract's template."""
    created = typed(
        await connectors.service.create_item(service.ServiceItemCreate("One", {"aKey": 1}), user_jwt=JWT),
        service.ServiceItem,
    )
    assert await connectors.service.get_item(created.id, user_jwt=JWT) == created
    assert await connectors.service.list_items(user_jwt=JWT) == [created]
    change = service.ServiceItemUpdate(status="paused")
    assert (await connectors.service.update_item(created.id, change, user_jwt=JWT)).status == "paused"
    assert await connectors.service.delete_item(created.id, user_jwt=JWT) is True


async def test_identity(connectors):
    """Roles are replaced; permissions are flags."""
    people = connectors.identity
    assert await people.update_user_roles("user_3", ["moderator"]) is True
    assert (await people.get_user("user_3")).roles == ["moderator"]
    assert typed(await people.get_user_roles("user_3"), identity.UserRoles).roles == ["moderator"]
    assert typed(await people.get_current_user(user_jwt=JWT), identity.User).roles == ["user", "admin"]
    assert all(type(user) is identity.User for user in await people.list_users(role="user"))
    assert await people.check_permission("user_1", "read:users") is True
    assert await people.check_permissions("user_1", ["read:users"]) == {"read:users": True}


async def test_billing(connectors):
    """Subscription, features, usage, checkout, cancellation, invoices."""
    bills = connectors.billing
    assert typed(await bills.get_subscription_status(user_jwt=JWT), billing.Subscription).is_active
    assert typed(await bills.check_feature_access("export", user_jwt=JWT), billing.FeatureAccess).allowed is True
    checked = await bills.check_features(["export"], user_jwt=JWT)
    assert (list(checked), checked["export"].allowed) == (["export"], True)
    usage = typed(await bills.get_usage(user_jwt=JWT), billing.Usage)
    assert all(type(metric.used) is int for metric in usage.metrics.values())
    checkout = await bills.create_checkout(
        scope="platform", plan="pro", success_url="https://a.example", cancel_url="https://b.example", user_jwt=JWT
    )
    assert typed(checkout, billing.Checkout).session_id
    assert typed(await bills.cancel_subscription(scope="platform", user_jwt=JWT), billing.Cancellation).success is True
    assert all(type(invoice.amount) is int for invoice in await bills.list_invoices(user_jwt=JWT))


async def test_payment(connectors):
    """Checkout, status, cancel."""
    pay = connectors.payment
    assert typed(await pay.checkout(scope="platform", plan="pro", user_jwt=JWT), payment.PaymentCheckout).session_id
    assert typed(await pay.subscription_status(scope="platform", user_jwt=JWT), payment.PaymentStatus).active is True
    assert await pay.cancel(scope="platform", user_jwt=JWT) is True


@pytest.mark.parametrize(
    "operation", ["create_checkout", "cancel_subscription", "deploy", "join_quest", "checkout", "cancel"]
)
async def test_writes_are_not_repeated(gateway, operation):
    """A retry would apply each a second time."""
    gateway.script(Fault(kind="status", times=0))
    arguments = {
        "create_checkout": {"scope": "platform", "plan": "p", "success_url": "s", "cancel_url": "c"},
        "cancel_subscription": {"scope": "platform"},
        "deploy": {"app_id": "a"},
        "join_quest": {"quest_id": "q"},
        "checkout": {},
        "cancel": {"scope": "platform"},
    }[operation]
    config = ConnectorConfig(managed_mode=True, gateway_base_url=gateway.url, api_key=DEFAULT_API_KEY)
    async with load_connectors(config) as bundle:
        owner = next(
            c for c in (bundle.billing, bundle.hosting, bundle.discovery, bundle.payment) if hasattr(c, operation)
        )
        with pytest.raises(PlatformError):
            await getattr(owner, operation)(**arguments)
    assert len(gateway.requests) == 1


@pytest.mark.parametrize(
    ("scope", "app_id", "place"), [("app", None, "app_id"), ("app", "", "app_id"), ("team", None, "scope")]
)
async def test_scope_rules_are_checked_before_sending(gateway, scope, app_id, place):
    """The platform would respond 500 to a permanent error in the arguments."""
    config = ConnectorConfig(managed_mode=True, gateway_base_url=gateway.url, api_key=DEFAULT_API_KEY)
    async with load_connectors(config) as bundle:
        for call in (bundle.billing.get_subscription_status, bundle.payment.subscription_status, bundle.payment.cancel):
            arguments = {"scope": scope, "app_id": app_id}
            with pytest.raises(InvalidArgumentError, match=place):
                await call(**arguments)
    assert gateway.requests == []


FIRST_CALLS = {
    "billing": (billing.ManagedBillingConnector, "get_subscription_status", ()),
    "discovery": (discovery.ManagedDiscoveryConnector, "get_listing", ("l",)),
    "hosting": (hosting.ManagedHostingConnector, "get_app", ("a",)),
    "identity": (identity.ManagedIdentityConnector, "get_user", ("u",)),
    "payment": (payment.ManagedPaymentConnector, "checkout", ()),
    "service": (service.ManagedServiceConnector, "get_item", ("i",)),
}
MODULE_NAMES = list(FIRST_CALLS)


@pytest.mark.parametrize(
    "name", ["last_login", "lastLogin", "lastLoginAt", "last_login_at", "lastLoginUtc", "LastLoginAtUtc"]
)
async def test_a_time_is_read_under_dotnets_names(name):
    """With `At`, `Utc` and both; one that is empty counts as not given, so that the next name is read."""
    document = {"id": "u", name: "2026-01-02T03:04:05Z", "createdAt": " ", "created_at_utc": "2026-01-01"}
    user = await responding(identity.ManagedIdentityConnector, document).get_user("u")
    assert user.last_login.day == 2
    assert user.created_at.day == 1


@pytest.mark.parametrize("flag", ["success", "ok"])
@pytest.mark.parametrize("name", ["error_code", "errorCode"])
@pytest.mark.parametrize("module", list(FIRST_CALLS))
async def test_a_failure_with_a_code_alone_is_an_operation_failure(module, name, flag):
    """In every connector: not a document that cannot be decoded."""
    managed, operation, arguments = FIRST_CALLS[module]
    with pytest.raises(OperationFailedError) as caught:
        await getattr(responding(managed, {flag: False, name: "NO_CUSTOMER"}), operation)(*arguments)
    assert caught.value.problem.code == "NO_CUSTOMER"


ERROR_BODIES = [
    (404, {"error": "NotFound"}, NotFoundError, "NotFound", ""),
    (400, {"error": "InvalidPagination", "page": 0}, InvalidRequestError, "InvalidPagination", ""),
    (500, {"errorCode": "internal_error", "message": "m", "detail": None}, ServerError, "internal_error", "m"),
    (500, {"message": "m", "detail": "d"}, ServerError, "", "m"),
    (400, {"title": "Invalid", "status": 400, "errors": {"Name": ["required"]}}, InvalidRequestError, "", "Invalid"),
    (401, None, AuthenticationError, "", ""),
    (403, None, PermissionDeniedError, "", ""),
    (400, "plain words", InvalidRequestError, "", "plain words"),
    (429, {"error": "RateLimited", "message": "m", "limit": 120}, RateLimitedError, "RateLimited", "m"),
    (409, {"error": "invalid_state", "message": "m", "upstreamStatusCode": 409}, ConflictError, "invalid_state", "m"),
    (422, {"detail": [{"loc": ["body", "name"], "msg": "required", "type": "x"}]}, InvalidRequestError, "", ""),
    (413, {"message": "too large"}, StatusError, "", "too large"),
    (404, {"detail": "d", "error_code": "NOT_FOUND", "status_code": 404}, NotFoundError, "NOT_FOUND", "d"),
    (400, {"error": {"code": "c", "message": "m", "details": {"f": ["bad"]}}}, InvalidRequestError, "c", "m"),
    (409, {"success": False, "error": {"code": "c", "message": "m", "kind": "conflict"}}, ConflictError, "c", "m"),
    (
        200,
        {"success": False, "error": {"code": "c", "message": "m", "kind": "conflict"}},
        OperationFailedError,
        "c",
        "m",
    ),
    (200, {"success": False, "error": "It failed.", "error_code": "c"}, OperationFailedError, "c", "It failed."),
]


@pytest.mark.parametrize(("status", "document", "kind", "code", "message"), ERROR_BODIES)
@pytest.mark.parametrize("module", MODULE_NAMES)
async def test_each_error_body_in_each_connector(module, status, document, kind, code, message):
    """Right class, code, message and field errors, from every service."""
    managed, operation, arguments = FIRST_CALLS[module]
    transport = httpx.MockTransport(
        lambda _request: httpx.Response(status) if document is None else httpx.Response(status, json=document)
    )
    connector = managed(PlatformHttpClient("http://platform", transport=transport))
    with call_options(max_attempts=1), pytest.raises(kind) as caught:
        await getattr(connector, operation)(*arguments)
    assert type(caught.value) is kind
    assert caught.value.problem.code == code
    assert caught.value.problem.message == message
    fields = {"errors": ("Name", "required"), "detail": ("body.name", "required")}
    for key, (name, text) in fields.items():
        if isinstance(document, dict) and isinstance(document.get(key), dict | list):
            assert caught.value.problem.field_errors == {name: (text,)}


@pytest.mark.parametrize(
    "body", [b"<html>login</html>", b"plain", b'{"id": "a", "na', b"\xff\xfe", b"[", b"nul", b"NaN", b"[" * 100_000]
)
@pytest.mark.parametrize("module", MODULE_NAMES)
async def test_a_200_that_is_no_document_is_a_decode_error(module, body):
    """HTML, text, truncated and broken bodies."""
    managed, operation, arguments = FIRST_CALLS[module]
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, content=body))
    with pytest.raises(DecodeError):
        await getattr(managed(PlatformHttpClient("http://platform", transport=transport)), operation)(*arguments)


@pytest.mark.sockets
async def test_five_hundred_callers_keep_apart():
    """Each user, token and correlation id arrives intact, and each caller gets the response to its own request."""
    tokens = {f"token-{number}": f"person_{number}" for number in range(500)}
    async with Gateway(tokens=tokens) as gateway:
        for name in tokens.values():
            gateway.platform.store.users[name] = {"user_id": name, "username": name, "email": "", "roles": ["user"]}
        config = ConnectorConfig(managed_mode=True, gateway_base_url=gateway.url, api_key=DEFAULT_API_KEY)
        async with load_connectors(config) as bundle:

            async def caller(number):
                user = await bundle.identity.get_current_user(user_jwt=f"token-{number}", correlation_id=f"c-{number}")
                return user.user_id

            found = await asyncio.gather(*(caller(number) for number in range(500)))
    assert found == [tokens[f"token-{number}"] for number in range(500)]
    seen = {(request.header("authorization"), request.header("x-correlation-id")) for request in gateway.requests}
    assert seen == {(f"Bearer token-{number}", f"c-{number}") for number in range(500)}


async def test_dotnets_user_decodes():
    """Other names, numbers for roles, objects where roles would be."""
    document = {
        "id": "u1", "firstName": "Ada", "email": "a@b.c", "userRoles": [1, 4, 9], "dob": None,
        "roles": [{"roleId": "r", "appId": "a"}], "createdAt": "2026-01-02T03:04:05.1234567Z", "updatedAt": None,
    }  # fmt: skip
    user = await responding(identity.ManagedIdentityConnector, document).get_user("u1")
    assert user.user_id == "u1"
    assert user.roles == ["admin", "user", "9"]
    assert user.created_at.microsecond == 123456
    users = await responding(identity.ManagedIdentityConnector, [document]).list_users()
    assert [entry.user_id for entry in users] == ["u1"]
    assert users.total is None


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_each_module_keeps_the_contract(module):
    """Same methods and signatures three times, documented, options keyword-only with the contract's defaults."""
    protocol, managed, mock = implementations(module)
    names = [name for name, _ in inspect.getmembers(protocol, inspect.isfunction) if not name.startswith("_")]
    for name in names:
        signature = inspect.signature(getattr(protocol, name))
        for kind in (managed, mock):
            assert inspect.signature(getattr(kind, name)) == signature, name
            assert getattr(kind, name).__doc__
        for option, default in (("user_jwt", None), ("correlation_id", "")):
            assert signature.parameters[option].kind is inspect.Parameter.KEYWORD_ONLY
            assert signature.parameters[option].default == default


CHANGES = [
    (payment.ManagedPaymentConnector, "cancel", {"scope": "platform"}),
    (billing.ManagedBillingConnector, "cancel_subscription", {"scope": "platform"}),
    (identity.ManagedIdentityConnector, "update_user_roles", {"user_id": "u", "roles": []}),
    (hosting.ManagedHostingConnector, "delete_app", {"app_id": "a"}),
    (hosting.ManagedHostingConnector, "remove_domain", {"app_id": "a", "domain_id": "d"}),
    (discovery.ManagedDiscoveryConnector, "delete_listing", {"listing_id": "l"}),
    (service.ManagedServiceConnector, "delete_item", {"item_id": "i"}),
]


@pytest.mark.parametrize(
    ("document", "worked"),
    [
        ({"ok": False}, False),
        ({"success": False}, False),
        ({"cancelled": False}, False),
        ({"status": "failed"}, False),
        (False, False),
        ({"success": True, "status": "failed"}, False),
        ({"ok": True}, True),
        ({"success": True}, True),
        (True, True),
    ],
)
@pytest.mark.parametrize(("kind", "operation", "arguments"), CHANGES, ids=lambda value: getattr(value, "__name__", ""))
async def test_every_change_reads_success_alike(kind, operation, arguments, document, worked):
    """No connector reports success where the platform reports failure."""
    result = await getattr(responding(kind, document), operation)(**arguments)
    assert (result.success if isinstance(result, billing.Cancellation) else result) is worked


@pytest.mark.parametrize("status", [200, 201, 202, 204, 205])
@pytest.mark.parametrize("body", [b"", b"{}", b" \n", b" {} "])
@pytest.mark.parametrize(("kind", "operation", "arguments"), CHANGES, ids=lambda value: getattr(value, "__name__", ""))
async def test_an_empty_response_to_a_change_is_a_success_only_by_its_status(kind, operation, arguments, status, body):
    """R52: gateways make a complete, empty response of one that was lost on its way; 204 and 205 never have a body."""
    transport = httpx.MockTransport(lambda _request: httpx.Response(status, content=body))
    connector = kind(PlatformHttpClient("http://platform", transport=transport))
    if status in (204, 205):
        result = await getattr(connector, operation)(**arguments)
        assert (result.success if isinstance(result, billing.Cancellation) else result) is True
        return
    with pytest.raises(DecodeError) as caught:
        await getattr(connector, operation)(**arguments)
    is_post = operation in ("cancel", "cancel_subscription")  # the others are idempotent: always safe to repeat
    assert caught.value.applied == "maybe"
    assert caught.value.status == status
    assert caught.value.attempts == 1
    assert caught.value.outcome_unknown == is_post
    assert caught.value.is_retry_safe == (not is_post)


@pytest.mark.parametrize("document", [{"ok": False, "error": "Full"}, {"status": "failed", "error": "Full"}])
@pytest.mark.parametrize(("kind", "operation", "arguments"), CHANGES, ids=lambda value: getattr(value, "__name__", ""))
async def test_every_change_that_failed_with_an_error_raises_it(kind, operation, arguments, document):
    """With the platform's own code."""
    with pytest.raises(OperationFailedError) as caught:
        await getattr(responding(kind, document), operation)(**arguments)
    assert caught.value.problem.code == "Full"


@pytest.mark.parametrize("answer", [{"allowed": True}, {"results": {"p": True}}])
async def test_a_failure_grants_no_permission(answer):
    """Whatever else the response contains."""
    connector = responding(identity.ManagedIdentityConnector, {"success": False, "error": "Full", **answer})
    for call in (connector.check_permission("u", "p"), connector.check_permissions("u", ["p"])):
        with pytest.raises(OperationFailedError):
            await call


FILLED = {str: "x", int: 1, int | str: 1}


def wanted_texts():
    """Every list of strings that a managed method takes: the method, how to call it, and the argument's place."""
    for module in MODULES:
        managed = implementations(module)[1]
        for operation, method in inspect.getmembers(managed, inspect.iscoroutinefunction):
            hints = get_type_hints(method)
            required = {
                name: FILLED.get(hints[name], {})
                for name, parameter in inspect.signature(method).parameters.items()
                if parameter.default is parameter.empty and name != "self"
            }
            for name, hint in hints.items():
                if name != "return" and _is_texts(hint):
                    yield managed, operation, lambda bad, name=name, given=required: {**given, name: bad}, name
                if dataclasses.is_dataclass(hint) and name != "return":
                    fields = get_type_hints(hint)
                    filled = {field.name: "x" for field in dataclasses.fields(hint) if fields[field.name] is str}
                    for field in (field for field in fields if _is_texts(fields[field])):
                        yield (
                            managed,
                            operation,
                            lambda bad, name=name, given=required, kind=hint, filled=filled, field=field: {
                                **given,
                                name: kind(**{**filled, field: bad}),
                            },
                            f"{name}.{field}",
                        )


def _is_texts(hint):
    options = [option for option in get_args(hint) if option is not type(None)] if get_origin(hint) is not None else []
    return hint in (Iterable[str], list[str]) or any(option in (Iterable[str], list[str]) for option in options)


WANTED_TEXTS = list(wanted_texts())


def test_the_lists_of_strings_are_found():
    """What the next test goes through."""
    assert {f"{operation}({place})" for _, operation, _, place in WANTED_TEXTS} == {
        "check_features(features)",
        "check_permissions(permissions)",
        "create_listing(request.tags)",
        "list_listings(tags)",
        "update_listing(request.tags)",
        "update_user_roles(roles)",
    }


class Broken:
    """An iterable that fails half-way."""

    def __iter__(self):
        yield "a"
        raise OSError("secret")


NO_TEXTS = ["admin", "", b"admin", bytearray(b"x"), {"admin": True}, 7, object(), ["admin", 7], [["admin"]], Broken()]
REFUSED = [
    (*wanted, bad)
    for wanted in WANTED_TEXTS
    # A field of a request that is None is not given.
    for bad in (NO_TEXTS if wanted[-1].startswith("request.") else [*NO_TEXTS, None])
]


@pytest.mark.parametrize(("kind", "operation", "arguments", "place", "bad"), REFUSED)
async def test_what_is_no_list_of_strings_is_rejected(kind, operation, arguments, place, bad):
    """A string would be sent as the list of its letters; nothing is sent, and the error names the argument."""
    upstream = ScriptedUpstream([])
    with pytest.raises(InvalidArgumentError) as caught:
        await getattr(kind(upstream.client()), operation)(**arguments(bad))
    assert caught.value.reason.startswith(place)
    assert caught.value.operation == operation
    assert not {"admin", "secret"} & set(re.findall(r"\w+", str(caught.value)))
    upstream.assert_count(0)


@pytest.mark.parametrize(
    "given", [["a", "b"], ("a", "b"), {"a": 1, "b": 2}.keys(), iter(["a", "b"])], ids=lambda given: type(given).__name__
)
async def test_any_iterable_of_strings_is_sent_as_a_list(given):
    """Read once, in its order."""
    upstream = ScriptedUpstream([{"success": True}])
    assert await identity.ManagedIdentityConnector(upstream.client()).update_user_roles("u", given) is True
    assert upstream.requests[0].json == {"roles": ["a", "b"]}


PLAIN = [None, True, False, 0, -1, 2**70, 1.5, float("inf"), "", "x", "true", "1", "2026-01-01", "2026-99-99T00:00:00Z",
         "0001-01-01T00:00:00", "\ud800", "\0"]  # fmt: skip
KEYS = ["", "id", "name", "status", "success", "error", "items", "allowed", "user_id", "results", "x"]


def a_value(random, depth=2):
    """Make any JSON value: plain ones most of the time, small lists and objects of others."""
    kind = random.randrange(6) if depth else 0
    if kind == 4:
        return [a_value(random, depth - 1) for _ in range(random.randrange(4))]
    if kind == 5:
        return {random.choice(KEYS): a_value(random, depth - 1) for _ in range(random.randrange(4))}
    return random.choice(PLAIN)


DOCUMENTS = {
    hosting._app: {"id": "a", "name": "n", "status": "s", "createdAt": "2026-01-01", "metadata": {"k": 1}},
    hosting._apps: {"ownedApps": [{"id": "a", "name": "n", "isActive": True}], "memberApps": []},
    hosting._app_state: {"appId": "a", "status": "paused", "pausedAt": "2026-01-01T00:00:00Z"},
    hosting._deployment: {"success": True, "operation": {"operation_id": "o", "status": "s", "error": None}},
    hosting._deployments: {"deployments": [{"deploymentId": "d", "status": "s"}], "totalDeployments": 1},
    hosting._domain: {
        "binding_id": "b",
        "domain": "d",
        "status": "s",
        "records": [{"type": "A", "name": "n", "value": "v"}],
    },
    hosting._summary: {"app_id": "a", "status": "s", "current_period_end": "2026-01-01"},
    discovery._listing: {"id": "l", "app_id": "a", "title": "t", "tags": ["x"], "price": 5, "rating": 4.5},
    discovery._listings: {"items": [{"id": "l", "app_id": "a", "title": "t"}], "total": 1},
    discovery._quest: {"id": "q", "title": "t", "total_steps": 3, "deadline": "2026-01-01", "metadata": {}},
    discovery._progress: {"quest_id": "q", "user_id": "u", "completed_steps": 1, "progress": 5},
    billing._subscription: {
        "status": "active",
        "plan": {"tier": "t"},
        "features": {"a": True},
        "cancel_at_period_end": False,
    },
    billing._feature: {"feature": "f", "allowed": True, "limit": 5, "reset_at": "2026-01-01"},
    billing._features: {"results": {"f": {"allowed": True, "usage": 5}}},
    billing._usage: {"user_id": "u", "period": "current", "metrics": {"m": {"used": 1, "limit": 2, "percentage": 50}}},
    billing._checkout: {"checkout_url": "u", "session_id": "s"},
    billing._cancellation: {"success": True, "cancel_at": "2026-01-01", "message": "m"},
    billing._invoices: {"invoices": [{"id": "i", "amount": 5, "currency": "usd", "status": "paid"}]},
    payment._checkout: {"sessionId": "s", "clientSecret": "c", "mode": "m", "status": "pending"},
    payment._status: {"isActive": True, "planId": "p", "status": "active", "expiresAtUtc": "2026-01-01"},
    identity._user: {"id": "u", "roles": ["r"], "profile": {"bio": "b"}, "userRoles": [1], "created_at": "2026-01-01"},
    identity._users: {"users": [{"user_id": "u"}], "total": 1},
    identity._user_roles: {"user_id": "u", "roles": ["r"], "permissions": ["p"]},
    identity._allowed: {"allowed": True},
    identity._results: {"results": {"p": True}},
    service._item: {"id": "i", "name": "n", "status": "s", "created_at": "2026-01-01", "metadata": {"k": [1]}},
    service._items: {"items": [{"id": "i", "name": "n", "status": "s"}], "total": 1},
}


def mutate(document, path, value):
    """Put *value* where the numbers of *path* lead in *document*."""
    if not path or not isinstance(document, dict | list) or not document:
        return value
    keys = list(document) if isinstance(document, dict) else list(range(len(document)))
    key = keys[path[0] % len(keys)]
    copied = document.copy()
    copied[key] = mutate(document[key], path[1:], value)
    return copied


@pytest.mark.torture
@pytest.mark.parametrize("decode", DOCUMENTS, ids=lambda decode: f"{decode.__module__}.{decode.__qualname__}")
def test_mutated_documents_give_an_object_or_a_typed_error(decode):
    """No other exception is raised, whatever a field becomes; a decode error names the path."""
    random = Random(decode.__qualname__)
    for _ in range(3000):
        path = [random.randrange(6) for _ in range(random.randint(1, 4))]
        document = mutate(DOCUMENTS[decode], path, a_value(random))
        try:
            decode(document)
        except DecodeError as error:
            assert ": " in error.reason, document
        except OperationFailedError as error:
            assert error.reason


def values_in_paths():
    """Every text that a connector's method puts into its path, by the connectors' own source."""
    for module in (billing, discovery, hosting, identity, payment, service):
        (managed,) = [kind for name, kind in vars(module).items() if re.fullmatch(r"Managed\w+Connector", name)]
        for name, method in inspect.getmembers(managed, inspect.isfunction):
            for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(method)))):
                if isinstance(node, ast.keyword) and node.arg == "path_params" and isinstance(node.value, ast.Dict):
                    for place, value in zip(node.value.keys, node.value.values, strict=True):
                        case = managed, name, value.id, place.value
                        yield pytest.param(*case, id=f"{managed.__name__}.{name}.{value.id}")


@pytest.mark.parametrize(("managed", "name", "argument", "place"), list(values_in_paths()))
@virtual_time
async def test_no_id_leaves_the_route_of_its_method(managed, name, argument, place):
    """R54: in every method that takes an id; nothing is sent, and the error names the argument and not the value."""
    upstream = ScriptedUpstream([])
    method = getattr(managed(upstream.client()), name)
    arguments = required_arguments(method)
    for value in ("../admin/7", "7%2F..%2Fadmin", "a\\..\\b", "a\r\nb"):
        with pytest.raises(InvalidArgumentError, match=f"path_params.{place}: must not contain") as caught:
            await method(**{**arguments, argument: value})
        assert value not in str(caught.value)
        assert caught.value.attempts == 0
    upstream.assert_count(0)


def test_the_ids_of_all_connectors_are_tested():
    """R54: the list above is complete: one value for each placeholder in the endpoints."""
    sources = [inspect.getsource(module) for module in (billing, discovery, hosting, identity, payment, service)]
    placeholders = sum(len(re.findall(r"\{\w+\}", text)) for text in re.findall(r'"/api/[^"]*"', "".join(sources)))
    assert len(list(values_in_paths())) == placeholders > 30
