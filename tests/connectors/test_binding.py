"""Views of a bundle: whose calls carry a user's token and an id, and what they share with the bundle."""

import asyncio
import inspect
import traceback

import pytest

from middleware import ConfigError, InvalidArgumentError, PlatformError
from middleware.call_options import incoming_request
from runtime.connectors.binding import BoundConnector
from runtime.connectors.loader import ConnectorConfig, load_connectors
from runtime.connectors.registry import Connector, register
from runtime.connectors.service import ServiceItemCreate
from runtime.testing import ScriptedUpstream, bundle, virtual_time

USER = {"user_id": "u", "username": "n"}


def platform(**options):
    upstream = ScriptedUpstream([], then=USER)
    return upstream, bundle(identity=upstream, **options)


def sent(upstream):
    return [
        (request.headers.get("authorization"), request.headers["x-correlation-id"]) for request in upstream.requests
    ]


@virtual_time
async def test_calls_of_a_view_carry_what_is_bound_and_those_of_the_bundle_do_not():
    """The token goes nowhere else: a call of the bundle itself is made with the application's key."""
    upstream, connectors = platform()
    bound = connectors.bind(user_jwt="jwt", correlation_id="id-1")
    await bound.identity.get_user("u")
    await bound.identity.get_current_user()
    with incoming_request("req"):
        await connectors.identity.get_user("u")
    assert sent(upstream) == [("Bearer jwt", "id-1"), ("Bearer jwt", "id-1"), (None, "req")]


@virtual_time
async def test_a_calls_own_arguments_win():
    """None as token is the application's key alone; a blank id is none."""
    upstream, connectors = platform()
    bound = connectors.bind(user_jwt="jwt", correlation_id="id-1")
    await bound.identity.get_user("u", user_jwt=None, correlation_id="own")
    await bound.identity.get_user("u", user_jwt="other", correlation_id=" ")
    assert sent(upstream) == [(None, "own"), ("Bearer other", "id-1")]


@virtual_time
async def test_a_view_of_a_view_adds_to_it():
    """And changes neither the first view nor the bundle."""
    upstream, connectors = platform()
    first = connectors.bind(user_jwt="jwt")
    second = first.bind(correlation_id="id-2")
    third = second.bind(user_jwt="other")
    for one in (second, third):
        await one.identity.get_user("u")
    with incoming_request("req"):
        await first.identity.get_user("u")
    assert sent(upstream) == [("Bearer jwt", "id-2"), ("Bearer other", "id-2"), ("Bearer jwt", "req")]


@virtual_time
async def test_a_token_ends_with_the_request_it_was_bound_in():
    """Nothing is sent later, by neither key nor token; a token bound outside of a request does not end."""
    upstream, connectors = platform()
    unbound = connectors.bind(user_jwt="jwt", correlation_id="id-1")
    with incoming_request("req") as request:
        bound, only_id = connectors.bind(user_jwt="jwt"), connectors.bind(correlation_id="id-2")
        await bound.identity.get_user("u")
        request.end()
        for view in (bound, bound.bind(correlation_id="id-3")):
            with pytest.raises(InvalidArgumentError, match="user_jwt: the request that it was bound in has ended"):
                await view.identity.get_user("u")
        await only_id.identity.get_user("u")
    await unbound.identity.get_user("u")
    assert sent(upstream) == [("Bearer jwt", "req"), (None, "id-2"), ("Bearer jwt", "id-1")]


@virtual_time
async def test_further_pages_end_with_the_request_too():
    """A page that a view has returned loads no more with the token, however far it was read before."""
    users = [{"user_id": f"u{number}", "username": "a"} for number in range(2)]
    upstream = ScriptedUpstream([], then={"users": users, "total": 100})
    connectors = bundle(identity=upstream)
    with incoming_request("req") as request:
        page = await connectors.bind(user_jwt="jwt").identity.list_users(limit=2)
        pages = page.pages()
        seen = [len(await anext(pages)) for _ in range(3)]
        request.end()
        with pytest.raises(InvalidArgumentError, match="has ended, as it has for a background task"):
            await anext(pages)
    assert seen == [2, 2, 2]
    assert len(sent(upstream)) == 3
    assert {token for token, _ in sent(upstream)} == {"Bearer jwt"}


@virtual_time
async def test_a_view_shares_the_state_of_its_bundle_and_closes_nothing():
    """Its breakers and connections are the bundle's."""
    _, connectors = platform()
    view = connectors.bind(user_jwt="jwt")
    view.request_close()
    await view.aclose()
    assert view.health().state == "open"
    assert connectors.health().state == "open"
    await connectors.identity.get_user("u")
    await view.identity.get_user("u")
    await connectors.aclose()
    assert view.health().state == "closed"


async def test_mocks_are_bound_too():
    """They ignore token and id, keep their state, and never raise."""
    connectors = load_connectors(ConnectorConfig())
    with incoming_request("req"):
        view = connectors.bind(user_jwt="jwt", correlation_id="id-1")
        made = await view.service.create_item(ServiceItemCreate(name="one"))
    assert [one.id for one in await connectors.service.list_items()] == [made.id]
    assert (await view.service.get_item(made.id)).name == "one"
    assert view.mode == "self_hosted"


@virtual_time
async def test_the_token_is_shown_nowhere():
    """R52: in no text of the view, and in no local variable of an error's traceback."""
    upstream = ScriptedUpstream([], then=404)
    view = bundle(identity=upstream).bind(user_jwt="secret-token")
    try:
        await view.identity.get_user("u")
    except PlatformError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "secret-token" not in shown + repr(view) + repr(vars(view.identity))
    assert "ManagedIdentityConnector" in repr(view.identity)


@virtual_time
async def test_signatures_and_other_attributes_are_the_connectors_own():
    """A host or a test that looks at them finds what it knows."""
    _, connectors = platform()
    view = connectors.bind(user_jwt="jwt")
    assert inspect.signature(view.identity.get_user) == inspect.signature(connectors.identity.get_user)
    assert view.identity.get_user.__doc__ == connectors.identity.get_user.__doc__
    with pytest.raises(AttributeError, match="no_such"):
        _ = view.identity.no_such


class Own:
    """A connector of another package, which takes these parameters in its own way, or not at all."""

    def __init__(self, *_):
        self.note = "own"
        self.seen = []

    async def positional(self, item, user_jwt=None, correlation_id=""):
        self.seen.append((item, user_jwt, correlation_id))

    async def without(self, item):
        self.seen.append(item)


def test_an_operation_of_another_package_is_given_what_it_takes():
    """An argument by place counts as the call's own."""
    own = Own()
    view = BoundConnector(own, ("positional", "without"), {"user_jwt": "jwt", "correlation_id": "id-1"}, request=None)

    async def main():
        await view.positional("a")
        await view.positional("a", None)
        await view.positional("a", None, "own")
        await view.without("a")

    asyncio.run(main())
    assert own.seen == [("a", "jwt", "id-1"), ("a", None, "id-1"), ("a", None, "own"), "a"]
    assert view.note == "own"


@pytest.mark.parametrize("name", ["bind", "drain", "health"])
def test_no_connector_may_hide_a_method_of_the_bundle(name):
    """Its name is in use."""
    with pytest.raises(ConfigError, match="in use"):
        register(Connector(name, Own, Own))
