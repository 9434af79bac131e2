"""Endpoints: what a connector declares, the call and the page that the client makes of it."""

import dataclasses
from importlib import import_module

import httpx
import pytest
from connector_support import required_arguments

from middleware import (
    CallError,
    ConfigError,
    InvalidArgumentError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    StackSettings,
    call_options,
)
from runtime.connectors.base import Endpoint, PlatformHttpClient, by_number, by_skip, decode_page
from runtime.connectors.loader import services_and_operations
from runtime.connectors.payment import ManagedPaymentConnector
from runtime.settings import LiveSettings, ResolvedSettings
from runtime.testing import Reply, ScriptedUpstream, virtual_time

SERVICES = list(services_and_operations())
OPERATIONS = [(service, operation) for service, names in services_and_operations().items() for operation in names]
TOKEN = "marker-token-1f3a"


def endpoints(service):
    """Every endpoint that the connector of *service* declares."""
    module = import_module(f"runtime.connectors.{service}")
    return [value for value in vars(module).values() if isinstance(value, Endpoint)]


def managed(service):
    module = import_module(f"runtime.connectors.{service}")
    return getattr(module, f"Managed{''.join(word.capitalize() for word in service.split('_'))}Connector")


@pytest.mark.parametrize("service", SERVICES)
def test_each_operation_has_one_endpoint_of_its_name(service):
    """The table of a connector is complete: its operations are its methods, each once, under the method's name."""
    declared = endpoints(service)
    assert sorted(one.operation for one in declared) == sorted(services_and_operations()[service])
    names = vars(import_module(f"runtime.connectors.{service}"))
    assert all(names[f"_{one.operation.upper()}"] is one for one in declared)


@pytest.mark.parametrize(("service", "operation"), OPERATIONS)
@virtual_time
async def test_each_method_requests_the_endpoint_of_its_name(service, operation):
    """The server sees the method and path that the table declares, and the error has operation and route."""
    (endpoint,) = [one for one in endpoints(service) if one.operation == operation]
    upstream = ScriptedUpstream([404])
    method = getattr(managed(service)(upstream.client()), operation)
    with pytest.raises(NotFoundError) as caught:
        await method(**required_arguments(method))
    assert caught.value.operation == operation
    assert caught.value.route == endpoint.path
    (seen,) = upstream.requests
    filled = [
        given if declared.startswith("{") else declared
        for declared, given in zip(endpoint.path.split("/"), seen.path.split("/"), strict=True)
    ]
    assert seen.method == endpoint.method
    assert seen.path.split("/") == filled


GET_ITEM = Endpoint("GET", "/items/{item_id}", "get_item", lambda document: document["id"])
LIST = Endpoint("GET", "/items", "list_items", lambda document: decode_page(document, str, "items"))


@virtual_time
async def test_a_call_sends_its_arguments_and_returns_the_decoded_result():
    """Everything that is constant comes from the endpoint, the rest from the call."""
    upstream = ScriptedUpstream([], then={"id": "a"})
    create = Endpoint("POST", "/items/{item_id}", "create", lambda document: document["id"] * 2)
    found = await upstream.client().call(
        create,
        path_params={"item_id": "x y"},
        params={"q": 1},
        json_body={"b": 2},
        user_jwt="token",
        correlation_id="c-1",
    )
    (seen,) = upstream.requests
    assert (found, seen.method, seen.path, seen.query, seen.json) == ("aa", "POST", "/items/x y", "q=1", {"b": 2})
    assert seen.headers["authorization"] == "Bearer token"
    assert seen.headers["x-correlation-id"] == "c-1"


@pytest.mark.parametrize("arguments", [{}, {"path_params": None}, {"path_params": {}}])
@virtual_time
async def test_the_path_of_an_endpoint_is_always_a_template(arguments):
    """Its route is the path, with or without placeholders; one without a value is an error of the call."""
    upstream = ScriptedUpstream([404])
    with pytest.raises(NotFoundError) as caught:
        await upstream.client().call(LIST, **arguments)
    assert caught.value.route == "/items"
    with pytest.raises(InvalidArgumentError, match="item_id"):
        await upstream.client().call(GET_ITEM, **arguments)
    upstream.assert_count(1)


@pytest.mark.parametrize(("idempotent", "attempts"), [(None, 1), (False, 1), (True, 2)])
@virtual_time
async def test_an_endpoint_declares_whether_it_is_safe_to_repeat(idempotent, attempts):
    """R11: None derives it from the method."""
    upstream = ScriptedUpstream([], then=500)
    with pytest.raises(ServerError) as caught:
        await upstream.client(retry={"max_attempts": 2}).call(Endpoint("POST", "/r", "op", str, idempotent=idempotent))
    assert caught.value.attempts == attempts
    assert caught.value.operation == "op"


CALLS = [("checkout", {"plan": "pro"}), ("cancel", {"scope": "platform"})]
FAILURES = [429, 503, Reply(status=503, headers={"Retry-After": "1"}), 500, 408, "lost", httpx.ConnectError]


@pytest.mark.parametrize("failure", FAILURES, ids=str)
@pytest.mark.parametrize(("operation", "arguments"), CALLS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"retry": {"max_attempts": 5}, "idempotency": {"honors_key": True}},
        {"services": {"payment": {"retry": {"max_attempts": 5, "repeat_writes_after_503": True}}}},
        {"services": {"payment": {"operations": {"checkout": {"deadline": {"total_s": 9}}}}}},
    ],
    ids=["defaults", "all", "service", "another"],
)
@virtual_time
async def test_a_payment_is_never_repeated(operation, arguments, failure, settings):
    """R11: whatever the failure, and whatever is set for the service or for all; the server sees one request."""
    upstream = ScriptedUpstream([failure], then={"sessionId": "s"})
    client = upstream.client(service="payment", policies=ResolvedSettings(settings))
    with pytest.raises(CallError) as caught:
        await getattr(ManagedPaymentConnector(client), operation)(**arguments)
    assert len(upstream.requests) + upstream.refused == 1
    assert caught.value.stop_reason in {"max_attempts", "not_retryable"}


@pytest.mark.parametrize(("operation", "arguments"), CALLS)
@virtual_time
async def test_a_setting_of_the_operation_itself_lifts_it(operation, arguments, tmp_path):
    """R11: fixed or from a file; the other operation stays as it is, and so do calls with fewer attempts allowed."""
    own = {"services": {"payment": {"operations": {operation: {"retry": {"max_attempts": 3}}}}}}
    file = tmp_path / "settings.toml"
    file.write_text(f"[services.payment.operations.{operation}.retry]\nmax_attempts = 3\n")
    for policies in (ResolvedSettings(own), LiveSettings(file=file)):
        upstream = ScriptedUpstream([429, 429], then={"sessionId": "s"})
        connector = ManagedPaymentConnector(upstream.client(service="payment", policies=policies))
        await getattr(connector, operation)(**arguments)
        upstream.assert_count(3)
        upstream = ScriptedUpstream([], then=429)
        connector = ManagedPaymentConnector(upstream.client(service="payment", policies=policies))
        for name, given in CALLS:
            if name != operation:
                with pytest.raises(RateLimitedError):
                    await getattr(connector, name)(**given)
        with call_options(max_attempts=2), pytest.raises(RateLimitedError):
            await getattr(connector, operation)(**arguments)
        upstream.assert_count(3)


@pytest.mark.parametrize(("declared", "expected"), [(None, 3), (2, 2), (9, 3)])
@virtual_time
async def test_an_endpoint_declares_its_most_attempts(declared, expected):
    """R11: by a call of an endpoint and by one of method and path; never more than the settings allow."""
    upstream = ScriptedUpstream([], then=429)
    client = upstream.client()
    endpoint = dataclasses.replace(LIST, max_attempts=declared)
    for call in (client.call(endpoint), client.get("/items", max_attempts=declared)):
        with pytest.raises(RateLimitedError) as caught:
            await call
        assert caught.value.attempts == expected


class HostsOwn:
    """A source of settings as a host may have one: with the two methods that it needs."""

    def of(self, service, operation=""):
        return StackSettings()

    def poll(self, now):
        return None


@virtual_time
async def test_a_source_that_knows_no_operations_keeps_what_is_declared():
    """R11: it sets nothing for the operation."""
    upstream = ScriptedUpstream([], then=429)
    with pytest.raises(RateLimitedError):
        await ManagedPaymentConnector(upstream.client(policies=HostsOwn())).checkout()
    upstream.assert_count(1)


@virtual_time
async def test_a_problem_with_the_arguments_fails_the_call():
    """Nothing is sent; the error has the operation of the endpoint."""
    upstream = ScriptedUpstream([])
    for load in (upstream.client().call, upstream.client().page):
        with pytest.raises(InvalidArgumentError) as caught:
            await load(LIST, problem="tags: wrong")
        assert caught.value.reason == "tags: wrong"
        assert caught.value.operation == "list_items"
        assert caught.value.route == "/items"
    upstream.assert_count(0)


@pytest.mark.parametrize("name", ["decode", "operation", "idempotent", "nonsense"])
@pytest.mark.parametrize("load", [PlatformHttpClient.call, PlatformHttpClient.page])
@virtual_time
async def test_what_the_endpoint_declares_is_no_argument_of_the_call(load, name):
    """Neither of two values is silently dropped; R52: the error's frames do not keep the token."""
    upstream = ScriptedUpstream([])
    with pytest.raises(TypeError, match=name) as caught:
        await load(upstream.client(), LIST, user_jwt=TOKEN, **{name: None})
    assert kept_by(caught.value) == []
    upstream.assert_count(0)


def kept_by(error):
    """The local variables of our frames in the traceback of *error* that contain the token."""
    found, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename != __file__:
            found += [f"{code.co_name}.{key}" for key, value in trace.tb_frame.f_locals.items() if TOKEN in repr(value)]
        trace = trace.tb_next
    return found


@pytest.mark.parametrize(
    ("paging", "limit", "queries"),
    [
        (by_skip, 2, ["skip=0&limit=2", "skip=2&limit=2"]),
        (by_skip, None, ["", "skip=2"]),
        (by_number, 2, ["page=1&page_size=2", "page=2&page_size=2"]),
    ],
)
@virtual_time
async def test_pages_follow_with_the_same_arguments(paging, limit, queries):
    """Each is requested as the service selects pages, with the caller's filter, token and correlation id."""
    upstream = ScriptedUpstream([{"items": ["a", "b"], "total": 3}, {"items": ["c"], "total": 3}])
    endpoint = dataclasses.replace(LIST, path="/{owner}/items", paging=paging)
    first = await upstream.client().page(
        endpoint, limit=limit, path_params={"owner": "me"}, params={"q": 1}, user_jwt=TOKEN, correlation_id="c-1"
    )
    assert [list(page) async for page in first.pages()] == [["a", "b"], ["c"]]
    assert first.total == 3
    assert first.skip == 0
    assert first.limit == limit
    assert [request.query for request in upstream.requests] == [f"{query}&q=1".lstrip("&") for query in queries]
    assert {request.path for request in upstream.requests} == {"/me/items"}
    for name, value in (("authorization", f"Bearer {TOKEN}"), ("x-correlation-id", "c-1")):
        assert {request.headers[name] for request in upstream.requests} == {value}


@virtual_time
async def test_a_page_starts_where_the_caller_asks():
    """Both ways of paging; a number of items that is not a multiple of the page size selects the page it is in."""
    upstream = ScriptedUpstream([], then={"items": ["a"]})
    by_number_page = await upstream.client().page(dataclasses.replace(LIST, paging=by_number), skip=5, limit=2)
    by_skip_page = await upstream.client().page(dataclasses.replace(LIST, paging=by_skip), skip=5, limit=2)
    await upstream.client().page(dataclasses.replace(LIST, paging=by_number), skip=5, limit=0)
    assert [request.query for request in upstream.requests] == [
        "page=3&page_size=2",
        "skip=5&limit=2",
        "page=6&page_size=0",
    ]
    assert by_number_page.skip == 5
    assert by_skip_page.skip == 5
    assert by_skip_page.limit == 2


@virtual_time
async def test_a_list_without_paging_is_one_page():
    """No parameters are sent, and no page follows, whatever the total is."""
    upstream = ScriptedUpstream([], then={"items": ["a"], "total": 3})
    page = await upstream.client().page(LIST, skip=1, limit=1, params={"q": 1})
    assert page == ["a"]
    assert page.total == 3
    assert page.skip == 0
    assert page.limit is None
    assert len([one async for one in page.pages()]) == 1
    assert [request.query for request in upstream.requests] == ["q=1"]


@virtual_time
async def test_a_page_that_failed_keeps_no_credentials_and_can_be_loaded_again():
    """R52: neither the first page nor a following one; the pages before it still have what they need."""
    upstream = ScriptedUpstream([400, {"items": ["a"], "total": 2}, 400, {"items": ["b"], "total": 2}])
    client, endpoint = upstream.client(), dataclasses.replace(LIST, paging=by_skip)
    with pytest.raises(CallError) as caught:
        await client.page(endpoint, limit=1, user_jwt=TOKEN)
    assert kept_by(caught.value) == []
    first = await client.page(endpoint, limit=1, user_jwt=TOKEN)
    with pytest.raises(CallError) as caught:
        assert [page async for page in first.pages()] == []
    assert kept_by(caught.value) == []
    assert [list(page) async for page in first.pages()] == [["a"], ["b"]]
    assert {request.headers["authorization"] for request in upstream.requests} == {f"Bearer {TOKEN}"}


@virtual_time
async def test_a_failed_call_of_an_endpoint_keeps_no_credentials():
    """R52: in no frame of the error."""
    with pytest.raises(CallError) as caught:
        await ScriptedUpstream([400]).client().call(LIST, params={"q": TOKEN}, user_jwt=TOKEN)
    assert kept_by(caught.value) == []


@pytest.mark.parametrize(
    ("method", "path", "problem"),
    [
        ("CONNECT", "/a", "method: must be an HTTP method other than CONNECT and TRACE"),
        ("trace", "/a", "method: must be an HTTP method other than CONNECT and TRACE"),
        ("GET ", "/a", "method: must be an HTTP method"),
        ("GET", "/a/../{id}", "path: must not contain '.' or '..' segments"),
        ("GET", "/a/%252e%252e/b", "path: must not contain '.' or '..' segments"),
        ("GET", "a", "path: must start with exactly one '/': absolute URLs are refused"),
        ("GET", "/a\ud800", "path: not encodable as UTF-8"),
        ("GET", None, "path: must be str, got NoneType"),
        (None, "/a", "method: must be str, got NoneType"),
    ],
)
def test_an_endpoint_that_can_never_be_sent_is_rejected_when_it_is_made(method, path, problem):
    """R54: and not by each of its calls."""
    with pytest.raises(ConfigError) as caught:
        Endpoint(method, path, "get_item", str)
    assert caught.value.problems == (f"Endpoint get_item: {problem.replace(chr(0xD800), chr(0xFFFD))}",)


def test_an_endpoint_is_constant():
    """Calls in parallel share it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        GET_ITEM.path = "/other"
