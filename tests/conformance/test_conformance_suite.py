"""
The generated tests find planted violations of a connector, and nothing in one that keeps the contract.

Also the tests of `runtime.conformance.scenario`.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import pytest
from acme_orders import (
    _CREATE_ORDER,
    _GET_ORDER,
    _LIST_ORDERS,
    ORDERS,
    ManagedOrdersConnector,
    MockOrdersConnector,
    Order,
    OrderCreate,
)

from runtime.conformance import Conformance, Step
from runtime.conformance.subject import Subject
from runtime.conformance.suite import suite_of
from runtime.connectors.base import Endpoint
from runtime.connectors.registry import Connector

STEPS = [
    Step("create_order", lambda _: {"request": request("Tea")}),
    Step("get_order", lambda seen: {"order_id": seen["create_order"].id}),
    Step("list_orders"),
]


def request(name):
    return OrderCreate(name)


def run(test, managed=ManagedOrdersConnector, mock=MockOrdersConnector, *, operation="get_order", **declared):
    """Run one generated test of a connector."""
    suite = suite_of(Conformance(Connector("orders", managed, mock), **declared))()
    argument = {"dialect": "docs"} if "equivalent" in test else {"operation": operation}
    getattr(suite, test)(**({} if "scenario" in test or "recorded" in test else argument))


def managed(**methods):
    """The managed class with other methods."""
    return type("ManagedOrdersConnector", (ManagedOrdersConnector,), methods)


def mock(**methods):
    return type("MockOrdersConnector", (MockOrdersConnector,), methods)


def get_order(body):
    """A method `get_order` with the contract's signature and another body, a function of all it gets."""

    async def get_order(self, order_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Order:
        found = body(self, order_id, user_jwt, correlation_id)
        return await found if hasattr(found, "__await__") else found

    return get_order


def call(self, order_id, user_jwt, correlation_id, endpoint=_GET_ORDER, **others):
    given = {"path_params": {"order_id": order_id}, "user_jwt": user_jwt, "correlation_id": correlation_id, **others}
    return self._http.call(endpoint, **given)


NEVER_RAISES = "test_the_mock_raises_for_nothing"
ON_THE_WIRE = "test_id_token_and_key_reach_the_wire"
ERRORS = "test_each_error_status_becomes_its_error"
DOCUMENTS = "test_documents_may_change"
USERS = "test_users_do_not_mix"
TWINS = "test_the_mock_is_what_the_platform_could_respond"
EQUIVALENT = "test_mock_and_managed_give_equivalent_results"


@pytest.mark.parametrize("operation", ORDERS.operations)
@pytest.mark.parametrize("test", [NEVER_RAISES, ON_THE_WIRE, ERRORS, DOCUMENTS, USERS, TWINS])
def test_a_connector_that_keeps_the_contract_passes(test, operation):
    """The example's own."""
    run(test, operation=operation)


def test_its_scenario_passes():
    """Against the reference gateway, which has a collection for any service."""
    run(EQUIVALENT, steps=STEPS)
    run("test_the_scenario_has_every_operation", steps=STEPS)
    with pytest.raises(AssertionError, match="no step calls get_order, list_orders"):
        run("test_the_scenario_has_every_operation", steps=STEPS[:1])


MOCKS = {
    "raises": lambda *_: 1 / 0,
    "raises for None": lambda self, order_id, *_: Order(id=order_id.strip(), name=""),
    "raises for a token": lambda self, order_id, user_jwt, _: Order(id="x", name=user_jwt[:1]) if user_jwt else None,
    "raises for what cannot be a key": lambda self, order_id, *_: self._orders.get(order_id) or Order("x", ""),
    "returns None": lambda *_: None,
    "returns a dict": lambda *_: {"id": "x", "name": ""},
    "returns a field of another type": lambda *_: Order(id=7, name=""),
    "returns the argument as it came": lambda self, order_id, *_: Order(id=order_id, name=""),
}


@pytest.mark.parametrize("body", MOCKS.values(), ids=MOCKS)
def test_a_mock_that_raises_or_returns_another_type_is_found(body):
    """With the arguments that it was given."""
    with pytest.raises(pytest.fail.Exception, match=r"get_order\("):
        run(NEVER_RAISES, mock=mock(get_order=get_order(body)))


def test_a_mock_that_raises_later_for_what_it_stored_is_found():
    """In another operation than the one that got the hostile value."""

    async def list_orders(self, *, skip=0, limit=50, user_jwt=None, correlation_id=""):
        return [Order(id=key.upper(), name="") for key in self._orders]

    async def get(self, order_id, *, user_jwt=None, correlation_id=""):
        self._orders[id(order_id) if isinstance(order_id, int) else "x"] = order_id
        return Order("x", "")

    with pytest.raises(pytest.fail.Exception, match=r"list_orders\(\): raised AttributeError"):
        run(NEVER_RAISES, mock=mock(get_order=get, list_orders=list_orders))


ANOTHER = replace(_GET_ORDER, decode=lambda document: document)
PLANTED = [
    (ON_THE_WIRE, "no token", lambda self, order_id, _, cid: call(self, order_id, None, cid)),
    (ON_THE_WIRE, "no id", lambda self, order_id, jwt, _: call(self, order_id, jwt, "")),
    (ON_THE_WIRE, "a fixed id", lambda self, order_id, jwt, _: call(self, order_id, jwt, "fixed")),
    (ON_THE_WIRE, "swapped", lambda self, order_id, jwt, cid: call(self, order_id, cid, jwt)),
    (ON_THE_WIRE, "token in the query", lambda *given: call(*given, params={"token": given[2]})),
    (ON_THE_WIRE, "no request", lambda *_: Order("x", "")),
    (ON_THE_WIRE, "a token of its own", lambda self, order_id, jwt, cid: call(self, order_id, jwt or "robot", cid)),
    (ERRORS, "another operation", lambda *given: call(*given, replace(_GET_ORDER, operation="get"))),
    (ERRORS, "a failure in a 200 is a result", lambda *given: call(*given, replace(ANOTHER, decode=lambda _: Order("", "")))),
    (DOCUMENTS, "the template's Order(**json)", lambda *given: call(*given, replace(ANOTHER, decode=lambda one: Order(**one)))),
    (DOCUMENTS, "a raw document", lambda *given: call(*given, ANOTHER)),
    (DOCUMENTS, "a null field of the model", lambda *given: call(*given, replace(ANOTHER, decode=lambda one: Order(one.get("id"), one.get("name"))))),
]  # fmt: skip


@pytest.mark.parametrize(("test", "body"), [(one[0], one[2]) for one in PLANTED], ids=[one[1] for one in PLANTED])
def test_a_planted_violation_is_found(test, body):
    """By the test that is about it."""
    with pytest.raises(AssertionError):
        run(test, managed(get_order=get_order(body)))


async def sent_before_it_is_read(self, order_id, user_jwt, correlation_id):
    found = await call(self, "x", user_jwt, correlation_id, params={"id": order_id})
    return replace(found, name=found.name + order_id[:0])


def test_an_argument_that_is_invalid_after_the_request_is_found():
    """Only a request that was not sent is an `InvalidArgumentError`."""
    with pytest.raises(AssertionError, match="raised DecodeError"):
        run(TWINS, managed(get_order=get_order(sent_before_it_is_read)))


async def swallowed(self, order_id, user_jwt, correlation_id):
    try:
        return await call(self, order_id, user_jwt, correlation_id)
    except Exception:
        return Order(id=order_id, name="")


def test_an_error_that_is_swallowed_is_found():
    """The caller would take what is made up for what the platform says."""
    with pytest.raises(AssertionError, match="400 became Order"):
        run(ERRORS, managed(get_order=get_order(swallowed)))


async def by_an_attribute(self, order_id, user_jwt, correlation_id):
    self.token, self.cid = user_jwt, correlation_id
    await asyncio.sleep(0)
    return await call(self, order_id, self.token, self.cid)


_kept = {}


async def by_a_cache(self, order_id, user_jwt, correlation_id):
    if self not in _kept:
        _kept[self] = asyncio.ensure_future(call(self, order_id, user_jwt, correlation_id))
    return await _kept[self]


async def by_the_last_response(self, order_id, user_jwt, correlation_id):
    self.last = await call(self, order_id, user_jwt, correlation_id)
    await asyncio.sleep(0.05)
    return self.last


@pytest.mark.parametrize("body", [by_an_attribute, by_a_cache, by_the_last_response])
def test_users_that_mix_are_found(body):
    """Through an attribute before the request, a cache, and an attribute after it."""
    with pytest.raises(AssertionError):
        run(USERS, managed(get_order=get_order(body)))
    run(ON_THE_WIRE, managed(get_order=get_order(by_an_attribute)))  # which one caller at a time does not show


DRIFTED = {
    "the mock has another time zone": lambda self, order_id, *_: Dated(order_id, datetime(2026, 1, 1)),
    "the mock is another flag": lambda self, order_id, *_: Dated(order_id, None, paid=False),
    "the mock ignores what was given": lambda *_: Dated("other", None),
}


@dataclass
class Dated:
    id: str
    at: datetime | None = None
    paid: bool = True


@pytest.mark.parametrize("body", DRIFTED.values(), ids=DRIFTED)
def test_a_mock_that_drifts_from_the_platform_is_found(body):
    """The gateway returns the id that was asked for, a time with its zone, and the flag."""

    def as_dated(document):
        return Dated(document["id"], datetime.fromisoformat("2026-01-01T00:00:00Z"))

    def typed(method):
        method.__annotations__ = {**method.__annotations__, "return": Dated}
        return method

    endpoint = Endpoint("GET", "/api/orders/orders/{order_id}", "get_order", as_dated)
    theirs = managed(get_order=typed(get_order(partial(call, endpoint=endpoint))))
    same = mock(get_order=typed(get_order(lambda self, order_id, *_: Dated(order_id, None))))
    run(EQUIVALENT, theirs, same, steps=STEPS[:2])
    with pytest.raises(AssertionError, match="step 2, get_order"):
        run(EQUIVALENT, theirs, mock(get_order=typed(get_order(body))), steps=STEPS[:2])


def test_what_the_platform_no_longer_lists_no_mock_lists():
    """And a call that fails where the mock returns something is a difference."""
    found = [Step("list_orders"), Step("get_order", {"order_id": "unknown"})]

    class Full(MockOrdersConnector):
        async def list_orders(self, **_):
            return [Order("x", "")]

    with pytest.raises(AssertionError, match=r"step 1, list_orders: result: .*\n.*managed raised NotFoundError"):
        run(EQUIVALENT, mock=Full, steps=found)


def test_a_document_that_cannot_be_derived_is_asked_for():
    """By the name of the argument; with it the tests run."""
    odd = replace(_GET_ORDER, decode=lambda document: Order(document["order"]["key"], "x"))
    theirs = managed(get_order=get_order(partial(call, endpoint=odd)))
    with pytest.raises(
        AssertionError, match=r"get_order: it reads no document .* Conformance\(documents=\{'get_order'"
    ):
        run(DOCUMENTS, theirs)
    with pytest.raises(AssertionError, match=r"order\.key null"):  # Order(None, "x"), which is none
        run(DOCUMENTS, theirs, documents={"get_order": {"order": {"key": "k"}}})
    run(ON_THE_WIRE, theirs, documents={"get_order": {"order": {"key": "k"}}})


@pytest.mark.parametrize(
    ("decode", "document"),
    [
        (lambda found: found, {"key": True}),
        (lambda found: {"asked": found["results"]["key"]}, {"results": {"key": True}}),
    ],
    ids=["any_mapping", "asked_keys_of_an_envelope"],
)
def test_the_document_of_a_mapping(decode, document):
    """What reads any mapping reads an envelope as a mapping too; what has the keys that were asked for reads no other."""

    async def get_order(
        self, order_id: str, *, user_jwt: str | None = None, correlation_id: str = ""
    ) -> dict[str, bool]:
        return await call(self, order_id, user_jwt, correlation_id, replace(_GET_ORDER, decode=decode))

    orders = Connector("orders", managed(get_order=get_order), MockOrdersConnector)
    assert Subject(Conformance(orders)).document("get_order")[0] == document


@pytest.mark.parametrize(
    ("declared", "error"),
    [
        (Conformance("orders"), "TypeError: Conformance.connector: must be a Connector, got str"),
        (Conformance(ORDERS, arguments={"get": {}}), "ValueError: Conformance.arguments: orders has no get"),
        (Conformance(ORDERS, documents={"get": {}}), "ValueError: Conformance.documents: orders has no get"),
        (Conformance(ORDERS, steps=[Step("get")]), "ValueError: Conformance.steps: orders has no get"),
    ],
    ids=["connector", "arguments", "documents", "steps"],
)
def test_a_wrong_declaration_is_an_error(declared, error):
    """Not a test that is left out."""
    with pytest.raises((TypeError, ValueError)) as caught:
        suite_of(declared)
    assert f"{type(caught.value).__name__}: {caught.value}" == error


def test_the_endpoints_of_the_example_are_what_the_plants_change():
    """A renamed endpoint would let each plant above fail for another reason."""
    assert [one.operation for one in (_LIST_ORDERS, _GET_ORDER, _CREATE_ORDER)] == list(ORDERS.operations)
