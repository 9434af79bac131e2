"""What type checkers see of everything else that hosts and connectors use; as `connectors.py`."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal, assert_type

from middleware import (
    AttemptRecord,
    CallError,
    ConfigError,
    HostLayers,
    LocalRejectionError,
    Outcome,
    PlatformError,
    PlatformRequest,
    PlatformResponse,
    Problem,
    RateLimitedError,
    StackSettings,
    StatusError,
    call_options,
    current_correlation_id,
)
from middleware.policies.retry import RetrySettings
from runtime.connectors.base import Endpoint, PlatformHttpClient
from runtime.connectors.identity import IdentityConnector, ManagedIdentityConnector, MockIdentityConnector, User
from runtime.connectors.loader import ConnectorBundle, ConnectorConfig, get_connectors, load_connectors
from runtime.connectors.page import Page
from runtime.settings import ResolvedSettings


def _user(document: Any) -> User:
    return User(user_id=document["id"])


def _users(document: Any) -> tuple[list[User], int | None]:
    return [_user(one) for one in document], None


def endpoints() -> None:
    assert_type(Endpoint("GET", "/u", "get_user", _user), Endpoint[User])
    takes_any: Callable[[Endpoint[object]], None] = print
    takes_any(Endpoint("GET", "/u", "get_user", _user))  # covariant
    Endpoint("GET", "/u", "get_user", "user")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def client(http: PlatformHttpClient) -> None:
    assert_type(await http.call(Endpoint("GET", "/u", "get_user", _user)), User)
    assert_type(await http.page(Endpoint("GET", "/u", "list_users", _users), limit=5), Page[User])
    assert_type(await http.get("/u/{id}", path_params={"id": 1}), Any)
    assert_type(http.policy(), StackSettings)
    await http.get("/u", user_token="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    async with http as entered:
        assert_type(entered, PlatformHttpClient)


async def pages(page: Page[User]) -> None:
    assert_type(page[0], User)
    assert_type(list(page), list[User])
    assert_type(page.total, int | None)


async def config_and_bundles() -> None:
    config = ConnectorConfig.from_env({}, middleware=HostLayers(call=[layer]))
    assert_type(config, ConnectorConfig)
    ConnectorConfig(policies=ResolvedSettings(environ={}))
    PlatformHttpClient("http://h", policies=StackSettings(retry=RetrySettings(max_attempts=2)))
    assert_type(load_connectors(config), ConnectorBundle)
    assert_type(get_connectors(), ConnectorBundle)
    async with load_connectors() as bundle:
        assert_type(bundle, ConnectorBundle)
        assert_type(bundle.mode, Literal["managed", "self_hosted"])
        assert_type(bundle.bind(user_jwt="t"), ConnectorBundle)
    load_connectors(require_managd=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def layer(
    request: PlatformRequest, call_next: Callable[[PlatformRequest], Awaitable[PlatformResponse]]
) -> PlatformResponse:
    assert_type(request.method, str)
    response = await call_next(request)
    assert_type(response.status, int)
    return response


def protocols(managed: ManagedIdentityConnector, mock: MockIdentityConnector) -> None:
    both: list[IdentityConnector] = [managed, mock]
    assert_type(both[0], IdentityConnector)


async def errors(bundle: ConnectorBundle) -> None:
    try:
        with call_options(deadline_s=2.0, max_attempts=1):
            await bundle.identity.get_user("x")
    except RateLimitedError as error:
        assert_type(error.status, int)
        assert_type(error.retry_after_s, float | None)
    except StatusError as error:
        assert_type(error.problem, Problem)
    except LocalRejectionError as error:
        assert_type(error.request_sent, Literal["no", "maybe", "yes"])
    except CallError as error:
        assert_type(error.outcome, Outcome | None)
        if error.outcome is not None:
            assert_type(error.outcome.timeline, tuple[AttemptRecord, ...])
    except ConfigError as error:
        assert_type(error.problems, tuple[str, ...])
    except PlatformError as error:
        assert_type(error.code, str)
    assert_type(current_correlation_id(), str)
