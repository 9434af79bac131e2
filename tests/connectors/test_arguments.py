"""
Arguments of connectors: a managed one rejects what is wrong before anything is sent, a mock accepts anything.

That a mock raises for nothing is in `test_conformance.py`.
"""

import dataclasses
import functools
import inspect
import re
from collections.abc import Iterable
from typing import get_args, get_type_hints

import pytest
from connector_support import MODULES, anything, implementations, required_arguments

from middleware import ConfigError, InvalidArgumentError
from runtime.connectors import billing, hosting, identity, payment
from runtime.testing import ScriptedUpstream, virtual_time

REQUESTS = [
    kind
    for module in MODULES
    for name, kind in vars(module).items()
    if re.search(r"(Create|Update|Request)$", name) and dataclasses.is_dataclass(kind)
]


IN_PATHS = {"feature", *re.findall(r"{(\w+)}", "".join(inspect.getsource(module) for module in MODULES))}
STATES = [
    (billing.MockBillingConnector, ["active", "no_plan", "denied", "expired"]),
    (payment.MockPaymentConnector, ["active", "no_plan", "denied", "expired"]),
    (identity.MockIdentityConnector, ["active", "denied"]),
    (hosting.MockHostingConnector, ["active", "no_plan", "expired"]),
]


@pytest.mark.parametrize(("mock", "state"), [(mock, state) for mock, states in STATES for state in states])
async def test_a_mock_raises_in_no_state(mock, state):
    """For no operation; and the default is `active`."""
    for name, method in inspect.getmembers(mock(state=state), inspect.iscoroutinefunction):
        if not name.startswith("_"):
            await method(**required_arguments(method))
    assert vars(mock()) == vars(mock("active"))


@pytest.mark.parametrize(("mock", "states"), STATES)
@pytest.mark.parametrize("state", ["no plan", "ACTIVE", "", None, 7])
def test_a_state_that_a_mock_does_not_have_is_an_error(mock, states, state):
    """A misspelled one would permit everything."""
    with pytest.raises(ConfigError, match=f"^state: must be one of {', '.join(states)}, got "):
        mock(state=state)


async def test_what_a_plugins_test_sees_in_each_state():
    """As docs/mocks.md says."""
    seen = {}
    for state in STATES[0][1]:
        bills, pay = billing.MockBillingConnector(state=state), payment.MockPaymentConnector(state=state)
        subscription, status = await bills.get_subscription_status(), await pay.subscription_status(scope="platform")
        access = await bills.check_feature_access("f")
        assert (await bills.check_features(["f"])) == {"f": access}
        assert access.reason == (None if access.allowed else state)
        seen[state] = (
            subscription.status, subscription.is_active, subscription.tier, access.allowed,
            (await bills.cancel_subscription(scope="platform")).success,
            status.active, status.status, status.plan, (await pay.checkout()).status, await pay.cancel(scope="platform"),
        )  # fmt: skip
    assert seen == {
        "active": ("active", True, "premium", True, True, True, "active", "self_hosted", None, True),
        "no_plan": ("inactive", False, None, False, True, False, "inactive", None, None, True),
        "denied": ("active", True, "free", False, False, False, "denied", "self_hosted", "denied", False),
        "expired": ("expired", False, "premium", False, True, False, "expired", "self_hosted", None, True),
    }
    people = identity.MockIdentityConnector(state="denied")
    assert await people.check_permission("u", "p") is False
    assert await people.check_permissions("u", ["p"]) == {"p": False}
    summaries = [
        await hosting.MockHostingConnector(state=state).get_subscription_summary("a") for state in STATES[3][1]
    ]
    assert [(one.status, one.plan) for one in summaries] == [
        ("active", "self_hosted"),
        ("inactive", None),
        ("expired", "self_hosted"),
    ]


# Values of a type that the annotation excludes. Ids may be int, since a path segment may; what is put in a header, and
# the lists of strings, have tests of their own.
WRONG = {
    str: [None, 7, b"x", ["platform"], {"a": 1}, object()],
    str | None: [7, b"x", ["platform"], {"a": 1}, object()],
    int: ["10", None, 1.5, True, [1], {}, object()],
    int | None: ["10", 1.5, True, [1], {}, object()],
    int | str: [None, 1.5, True, [1], {}, object()],
}


def wrong_arguments():
    """Every managed method with each of its arguments at values of a wrong type."""
    for module in MODULES:
        managed = implementations(module)[1]
        for operation, method in inspect.getmembers(managed, inspect.iscoroutinefunction):
            hints = get_type_hints(method)
            for name, parameter in inspect.signature(method).parameters.items():
                if name in {"self", "user_jwt", "correlation_id"} or hints[name] == Iterable[str]:
                    continue
                others = ["text", 7, [1], object(), *([None] if parameter.default is parameter.empty else [])]
                for value in WRONG.get(hints[name], others):
                    if not (name in IN_PATHS and type(value) is int):
                        case = f"{managed.__name__}.{operation}-{name}-{type(value).__name__}"
                        yield pytest.param(managed, operation, name, value, id=case)


@functools.cache
def connected(kind):
    """A platform that gets nothing, and a connector to it."""
    upstream = ScriptedUpstream([])
    return upstream, kind(upstream.client())


@pytest.mark.parametrize(("kind", "operation", "name", "value"), list(wrong_arguments()))
@virtual_time
async def test_a_wrong_argument_is_a_typed_error_and_sends_nothing(kind, operation, name, value):
    """Never a TypeError or a ValueError alone, and never a request that the platform has to reject."""
    upstream, connector = connected(kind)
    upstream.requests.clear()
    method = getattr(connector, operation)
    with pytest.raises(InvalidArgumentError) as caught:
        await method(**{**required_arguments(method), name: value})
    place = caught.value.reason.partition(":")[0].removeprefix("path_params.")
    assert place in {name, "feature_id"}
    assert caught.value.operation == operation
    upstream.assert_count(0)


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.__name__)
@virtual_time
async def test_a_wrong_field_of_a_request_is_a_typed_error(kind):
    """Each field, at each wrong type; the error names it."""
    (module,) = [one for one in MODULES if one.__name__ == kind.__module__]
    managed, hints = implementations(module)[1], get_type_hints(kind)
    upstream = ScriptedUpstream([])
    connector = managed(upstream.client())
    (operation, *_) = [
        name
        for name, method in inspect.getmembers(managed, inspect.iscoroutinefunction)
        if kind in (hint := get_type_hints(method).get("request"), *get_args(hint))
    ]
    method = getattr(connector, operation)
    filled = vars(anything(kind))
    for field, hint in hints.items():
        for value in WRONG.get(hint, [7, "text", object()]):
            with pytest.raises(InvalidArgumentError, match=rf"request\.{field}") as caught:
                await method(**{**required_arguments(method), "request": kind(**{**filled, field: value})})
            assert caught.value.operation == operation
    for value in ({"name": "x"}, "x", 7, object(), *([] if operation == "deploy" else [None])):
        with pytest.raises(InvalidArgumentError, match=r"request: must be "):
            await method(**{**required_arguments(method), "request": value})
    upstream.assert_count(0)
