"""The identity connector: the managed one against the gateway, the mock by itself."""

import inspect

import httpx
import pytest

from middleware import CallError, DecodeError, InvalidArgumentError, NotFoundError, PermissionDeniedError
from runtime.connectors.base import Page, PlatformHttpClient
from runtime.connectors.identity import (
    IdentityConnector,
    ManagedIdentityConnector,
    MockIdentityConnector,
    User,
    UserProfile,
    UserRoles,
)
from runtime.connectors.service import ManagedServiceConnector, MockServiceConnector, ServiceConnector
from runtime.gateway import Fault


@pytest.fixture
def identity(make_client):
    return ManagedIdentityConnector(make_client("identity"))


def responding(document, status=200):
    """Make a connector whose platform always responds with *document*."""
    transport = httpx.MockTransport(lambda _request: httpx.Response(status, json=document))
    return ManagedIdentityConnector(PlatformHttpClient("http://platform", service="identity", transport=transport))


async def test_get_current_user_is_whose_token_it_is(identity, gateway):
    """The token decides; the profile and times are typed."""
    user = await identity.get_current_user(user_jwt="token-ada", correlation_id="c-1")
    assert user.user_id == "user_1"
    assert user.roles == ["user", "admin"]
    assert user.profile == UserProfile("Ada", "https://cdn.example.com/ada.png", "First.")
    assert user.created_at.isoformat() == "2025-03-14T15:09:26.535897+00:00"
    assert gateway.requests[0].header("x-correlation-id") == "c-1"


async def test_get_user_reads_zoneless_times_as_utc(identity):
    """A .NET time without a zone is UTC, and null is None."""
    user = await identity.get_user("user_2")
    assert user.created_at.isoformat() == "2025-06-01T10:00:00+00:00"
    assert user.last_login is None
    assert user.profile is None


async def test_the_zero_date_is_none(identity):
    """Year 1 is how .NET writes that there is no date."""
    assert (await identity.get_user("user_5")).created_at is None


async def test_list_users_is_a_page(identity, gateway):
    """A list with total, skip and limit; filters go out as asked, absent ones not at all."""
    page = await identity.list_users(skip=1, limit=2, role="user")
    assert isinstance(page, Page)
    assert [user.user_id for user in page] == ["user_2", "user_3"]
    assert page.total == 4
    assert page.skip == 1
    assert page.limit == 2
    assert gateway.requests[0].query == "skip=1&limit=2&role=user"


async def test_pages_follow_to_the_end(identity, gateway):
    """Five users by two are three requests."""
    pages = [
        [user.user_id async for user in _users(page)] async for page in (await identity.list_users(limit=2)).pages()
    ]
    assert pages == [["user_1", "user_2"], ["user_3", "user_4"], ["user_5"]]
    assert len(gateway.requests) == 3


async def _users(page):
    for user in page:
        yield user


async def test_a_user_without_the_permission_is_denied(identity):
    """403 is its own class, even with an empty body."""
    with pytest.raises(PermissionDeniedError):
        await identity.list_users(user_jwt="token-grace")


async def test_an_unknown_user_is_not_found(identity):
    """The body's code and message are on the error."""
    with pytest.raises(NotFoundError) as caught:
        await identity.get_user("nobody")
    assert caught.value.problem.code == "NotFound"
    assert caught.value.operation == "get_user"


async def test_roles_are_replaced(identity):
    """The roles that were put are the roles that are read."""
    assert await identity.update_user_roles("user_3", ["moderator"]) is True
    assert await identity.get_user_roles("user_3") == UserRoles("user_3", ["moderator"], ["read:users"])


async def test_permissions_are_checked(identity, gateway):
    """One by one and in one call; the colon of a permission is sent in its segment."""
    assert await identity.check_permission("user_1", "read:users") is True
    assert await identity.check_permission("user_2", "read:users") is False
    assert await identity.check_permissions("user_1", ["read:users", "no:such"]) == {
        "read:users": True,
        "no:such": False,
    }
    assert gateway.requests[0].path == "/api/users/user_1/permissions/read:users"


async def test_a_batch_check_is_a_read_and_repeated(identity, gateway):
    """It is a POST only because it needs a body."""
    gateway.script(Fault(kind="status"))
    assert await identity.check_permissions("user_1", ["read:users"]) == {"read:users": True}
    assert len(gateway.requests) == 2


async def test_an_empty_permission_is_rejected(identity, gateway):
    """It would be the path of another endpoint."""
    with pytest.raises(InvalidArgumentError, match=r"path_params\.permission"):
        await identity.check_permission("user_1", "")
    assert gateway.requests == []


@pytest.mark.parametrize("document", [{}, {"allowed": "true"}, {"allowed": 1}, {"allowed": None}, [], "true", 1, None])
async def test_a_permission_that_is_no_flag_is_never_granted(document):
    """Fail closed: anything but true or false is an error."""
    with pytest.raises(DecodeError, match="allowed: must be true or false"):
        await responding(document).check_permission("u", "p")


async def test_a_bare_boolean_is_a_permission():
    """The .NET service responds without an object."""
    assert await responding(True).check_permission("u", "p") is True


@pytest.mark.parametrize("document", [{}, [], {"results": []}, {"results": {"p": "true"}}, {"results": {"p": 1}}])
async def test_batch_permissions_fail_closed(document):
    """A result that is no flag is an error; one that is missing is False."""
    with pytest.raises(DecodeError, match="results"):
        await responding(document).check_permissions("u", ["p"])
    assert await responding({"results": {"q": True}}).check_permissions("u", ["p"]) == {"p": False}


@pytest.mark.parametrize("document", [{"userId": "u", "roles": ["r"]}, {"UserId": "u", "Roles": ["r"], "Extra": 1}])
async def test_other_spellings_decode(document):
    """CamelCase and PascalCase are the same document."""
    assert await responding(document).get_user("u") == User(user_id="u", roles=["r"])


@pytest.mark.parametrize("document", [{}, [], {"user_id": 7}, {"user_id": None}, {"user_id": "u", "roles": "admin"}])
async def test_a_wrong_user_is_a_decode_error(document):
    """No half-made user reaches a plugin."""
    with pytest.raises(DecodeError):
        await responding(document).get_user("u")


@pytest.mark.parametrize(("document", "status", "succeeded"), [({"success": False}, 200, False), (None, 204, True)])
async def test_an_update_reports_its_success(document, status, succeeded):
    """An empty response is a success; a false flag is not."""
    transport = httpx.MockTransport(
        lambda _request: httpx.Response(status, json=document) if document else httpx.Response(status)
    )
    connector = ManagedIdentityConnector(PlatformHttpClient("http://platform", transport=transport))
    assert await connector.update_user_roles("u", ["r"]) is succeeded


async def test_an_update_with_an_unclear_success_is_an_error():
    """A text is no flag."""
    with pytest.raises(DecodeError, match="success"):
        await responding({"success": "yes"}).update_user_roles("u", ["r"])


async def test_the_mock_returns_what_is_documented():
    """One local user with all permissions."""
    mock = MockIdentityConnector()
    user = await mock.get_current_user()
    assert user.user_id == "mock_user"
    assert user.username == "mock_user"
    assert user.email == "mock@example.com"
    assert user.roles == ["user", "admin"]
    other = await mock.get_user("7")
    assert other.username == "user_7"
    assert other.email == "7@example.com"
    users = await mock.list_users()
    assert users == []
    assert users.total == 0
    assert (await mock.get_user_roles("7")).permissions == ["read:self"]
    assert await mock.check_permission("7", "anything") is True
    assert await mock.check_permissions("7", ["a", "b"]) == {"a": True, "b": True}


async def test_the_mock_keeps_roles_and_returns_copies():
    """State is stored, and a caller's changes to results do not affect it."""
    mock = MockIdentityConnector()
    roles = ["admin"]
    assert await mock.update_user_roles("7", roles) is True
    roles.append("superadmin")
    (await mock.get_user("7")).roles.append("superadmin")
    assert (await mock.get_user("7")).roles == ["admin"]


@pytest.mark.parametrize(
    ("protocol", "managed", "mock"),
    [
        (IdentityConnector, ManagedIdentityConnector, MockIdentityConnector),
        (ServiceConnector, ManagedServiceConnector, MockServiceConnector),
    ],
)
def test_protocol_managed_and_mock_agree(protocol, managed, mock):
    """Same methods, same signatures, documented, with the contract's keyword-only parameters."""
    names = [name for name, _ in inspect.getmembers(protocol, inspect.isfunction) if not name.startswith("_")]
    assert names
    for name in names:
        signature = inspect.signature(getattr(protocol, name))
        for kind in (managed, mock):
            assert inspect.signature(getattr(kind, name)) == signature, name
            assert getattr(kind, name).__doc__
        for option, default in (("user_jwt", None), ("correlation_id", "")):
            assert signature.parameters[option].kind is inspect.Parameter.KEYWORD_ONLY
            assert signature.parameters[option].default == default


async def test_every_failure_is_one_of_ours(identity, gateway):
    """A plugin needs one `except` for all failures of the platform."""
    for fault in (Fault(kind="garbage", times=3), Fault(kind="short_body", times=3), Fault(kind="status", status=418)):
        gateway.script(fault)
        with pytest.raises(CallError):
            await identity.get_user("user_1")
        gateway.clear_faults()
