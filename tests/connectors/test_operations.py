"""What the loader puts around each operation: typed errors from any connector's code, and nothing kept."""

import asyncio
import contextvars
import gc
import inspect
import weakref
from dataclasses import dataclass

import pytest
from connector_support import required_arguments

from middleware import CallError, DecodeError, InternalError, InvalidArgumentError, NotFoundError, call_options
from runtime.connectors.loader import ConnectorConfig, load_connectors, services_and_operations
from runtime.connectors.operations import typed_errors
from runtime.settings import ResolvedSettings
from runtime.testing import Reply, ScriptedUpstream, virtual_time

TOKEN = "marker-token-1f3a"


@dataclass
class Item:
    """An item as the contract's template has it."""

    id: str
    name: str


class Template:
    """The contract's template, followed literally."""

    def __init__(self, http):
        self._http = http

    async def list_items(self, *, user_jwt=None, correlation_id=""):
        response = await self._http.get("/api/items", user_jwt=user_jwt, correlation_id=correlation_id)
        return [Item(**item) for item in response.get("items", [])]

    async def get_item(self, item_id, *, user_jwt=None, correlation_id=""):
        response = await self._http.get(f"/api/items/{item_id}", user_jwt=user_jwt, correlation_id=correlation_id)
        return Item(**response)

    async def create_item(self, request, *, user_jwt=None, correlation_id=""):
        response = await self._http.post(
            "/api/items", json_body={"name": request.name}, user_jwt=user_jwt, correlation_id=correlation_id
        )
        return Item(**response)

    async def first_item(self, *, user_jwt=None, correlation_id=""):
        return (await self.list_items(user_jwt=user_jwt))[0]

    async def count(self, how, *, user_jwt=None, correlation_id=""):
        response = await self._http.get("/api/items", user_jwt=user_jwt)
        return how(response)

    async def count_missing(self, *, user_jwt=None, correlation_id=""):
        try:
            await self._http.get("/api/items", user_jwt=user_jwt)
        except NotFoundError:
            return None.count


OPERATIONS = ["list_items", "get_item", "create_item", "first_item", "count", "count_missing"]


def connector(upstream, **sections):
    """The template's connector, as the loader returns it."""
    made = Template(upstream.client(service="orders", **sections))
    for name in OPERATIONS:
        setattr(made, name, typed_errors("orders", name, getattr(made, name)))
    return made


def is_clean(error):
    """Whether no frame of the error keeps the token, and nothing is chained to it."""
    trace, found = error.__traceback__, []
    while trace is not None:
        if trace.tb_frame.f_code.co_filename != __file__:
            found += [name for name, value in trace.tb_frame.f_locals.items() if TOKEN in repr(value)]
        trace = trace.tb_next
    return not found and error.__cause__ is None and error.__context__ is None


@pytest.mark.parametrize(
    ("operation", "arguments", "document"),
    [
        ("list_items", (), {"items": [{"id": "a", "name": "n", "surprise": 1}]}),
        ("list_items", (), {"items": [{"id": "a"}]}),
        ("list_items", (), {"items": [7]}),
        ("list_items", (), {"items": 7}),
        ("list_items", (), []),
        ("list_items", (), "text"),
        ("get_item", ("a",), {"id": "a", "Name": "n"}),
        ("get_item", ("a",), []),
        ("create_item", (Item("", "n"),), {"errors": ["x"]}),
        ("first_item", (), {"items": []}),
        ("count", (lambda found: 1 // len(found["items"]),), {"items": []}),
        ("count", (lambda found: int(found["items"]),), {"items": "many"}),
        ("count", (lambda found: found["missing"],), {"items": []}),
    ],
)
@virtual_time
async def test_a_response_that_the_template_cannot_read_is_a_decode_error(operation, arguments, document):
    """Never a TypeError or AttributeError; the error has the call's outcome, and quotes no value of the response."""
    upstream = ScriptedUpstream([Reply(json=document)])
    with pytest.raises(DecodeError) as caught:
        await getattr(connector(upstream), operation)(*arguments, user_jwt=TOKEN, correlation_id="c-1")
    error = caught.value
    expected = "list_items" if operation == "first_item" else operation
    assert error.service == "orders"
    assert error.operation == expected
    assert error.attempts == 1
    assert error.status == 200
    assert error.request_sent == "yes"
    assert error.reason.startswith("2xx response is not what the connector expects: ")
    assert "test_operations:" in error.reason
    assert "many" not in str(error)
    assert is_clean(error)


@pytest.mark.parametrize("request_", [None, {"name": "n"}, 7, "text"])
@virtual_time
async def test_a_wrong_argument_of_the_template_is_a_typed_error(request_):
    """Before a request was made, data of an unexpected shape is the caller's; nothing is sent."""
    upstream = ScriptedUpstream([])
    with pytest.raises(
        InvalidArgumentError, match=r"^orders\.create_item: the arguments cannot be used: AttributeError at "
    ) as caught:
        await connector(upstream).create_item(request_, user_jwt=TOKEN)
    assert is_clean(caught.value)
    upstream.assert_count(0)


@pytest.mark.parametrize("item_id", ["../admin", "a?b", "a#b", "", None, "a\r\nb"])
@virtual_time
async def test_a_path_filled_in_by_hand_is_checked(item_id):
    """What would select another path is an error; anything else is a request below the template's path."""
    upstream = ScriptedUpstream([], then=404)
    with pytest.raises((InvalidArgumentError, NotFoundError)):
        await connector(upstream).get_item(item_id)
    assert all(request.path.startswith("/api/items/") for request in upstream.requests)


@virtual_time
async def test_what_is_no_matter_of_data_is_an_internal_error():
    """Before a response and after; also where a connector has handled a failed call."""

    def broken(_found):
        raise OSError(f"secret {TOKEN}")

    upstream = ScriptedUpstream([{}, 404])
    for call, sent in ((connector(upstream).count(broken), "yes"), (connector(upstream).count_missing(), "no")):
        with pytest.raises(InternalError) as caught:
            await call
        assert caught.value.request_sent == sent
        assert TOKEN not in str(caught.value)
        assert is_clean(caught.value)


@virtual_time
async def test_our_own_errors_pass_as_they_are():
    """With their class and outcome, and cancellation is cancellation."""
    upstream = ScriptedUpstream([404, "hang"])
    made = connector(upstream)
    with pytest.raises(NotFoundError) as caught:
        await made.get_item("a", user_jwt=TOKEN)
    assert is_clean(caught.value)
    task = asyncio.create_task(made.list_items())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@virtual_time
async def test_a_wrong_signature_is_a_type_error_as_everywhere_in_python():
    """It is a mistake in the program and no data."""
    with pytest.raises(TypeError, match="nonsense"):
        await connector(ScriptedUpstream([])).get_item("a", nonsense=1)


@virtual_time
async def test_the_templates_calls_have_the_name_of_their_operation():
    """In errors, and in settings: one operation has its own."""
    own = {"services": {"orders": {"operations": {"list_items": {"retry": {"max_attempts": 1}}}}}}
    upstream = ScriptedUpstream([], then=503)
    made = connector(upstream, policies=ResolvedSettings(own))
    for operation, attempts in (("list_items", 1), ("get_item", 3)):
        with pytest.raises(CallError) as caught:
            await getattr(made, operation)(**({} if operation == "list_items" else {"item_id": "a"}))
        assert caught.value.operation == operation
        assert caught.value.attempts == attempts
    with call_options(max_attempts=1), pytest.raises(CallError) as caught:
        await made._http.get("/api/items")  # outside of an operation, as before
    assert caught.value.operation == "get"


BUNDLE = load_connectors(ConnectorConfig(managed_mode=True, gateway_base_url="http://platform.test"))
METHODS = [(service, name) for service, names in services_and_operations().items() for name in names]


@pytest.mark.parametrize(("service", "operation"), METHODS)
def test_managed_methods_are_coroutine_functions(service, operation):
    """As `inspect` and plugin managers see them, with their signature; those of mocks too."""
    for bundle in (BUNDLE, load_connectors(ConnectorConfig())):
        method = getattr(getattr(bundle, service), operation)
        assert inspect.iscoroutinefunction(method)
        assert asyncio.iscoroutinefunction(method)
        assert {"user_jwt", "correlation_id"} <= set(inspect.signature(method).parameters)
        assert set(required_arguments(method)) <= set(inspect.signature(method).parameters)


@virtual_time
async def test_an_operation_that_is_dropped_does_not_end_another():
    """A coroutine that is never finished is closed wherever it is collected."""
    upstream = ScriptedUpstream(["hang", 404])
    made = connector(upstream)

    async def count():
        dropped = made.list_items()
        contextvars.Context().run(dropped.send, None)
        dropped.close()
        return await made._http.get("/api/items")

    with pytest.raises(NotFoundError) as caught:
        await typed_errors("orders", "count", count)()
    assert caught.value.operation == "count"
    upstream.assert_count(2)


@virtual_time
async def test_an_operation_keeps_nothing_of_a_call_that_ended():
    """Arguments and result go with their caller."""

    class Result(dict):
        """A value that can be referred to weakly."""

    made = connector(ScriptedUpstream([{}]))
    kept = [Result()]
    gone = weakref.ref(kept[0])
    assert await made.count(lambda _found: kept[0]) is kept[0]
    kept.clear()
    gc.collect()
    assert gone() is None
