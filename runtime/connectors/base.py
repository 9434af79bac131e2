"""
The HTTP client that all connectors use, and the one module of this package that a connector file imports.

Each client composes one middleware stack. Clients of several services share a transport, and so its connections.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack
from urllib.parse import urlsplit

from middleware._internal.forks import renew_in_child
from middleware._internal.frozen import maker
from middleware.call_options import (
    NO_OPTIONS,
    call_options,
    current_options,
    current_request,
    given_options,
    incoming_deadlines,
)
from middleware.clock import Clock, SystemClock
from middleware.errors import CallError, ConfigError, DecodeError, InvalidArgumentError, clear_traceback_locals
from middleware.events import SettingsContradictory, SettingsRejected, SettingsReloaded
from middleware.host_layers import HostLayers, as_host_layers
from middleware.records import CallInfo
from middleware.request.auth import check_api_key
from middleware.request.correlation import choose_correlation_id
from middleware.stack import FixedSettings, SettingsChange, SettingsSource, StackSettings, Telemetry, build_stack
from middleware.transports.registry import as_transport
from middleware.types import Attempt, Call, PlatformRequest, PlatformResponse
from runtime._version import __version__
from runtime.settings import LiveSettings, ResolvedSettings

from .arguments import (
    MockState,
    any_copy,
    any_field,
    any_key,
    any_page,
    any_texts,
    body_of,
    headers_of,
    joined,
    mapping_of,
    mock_state,
    texts_of,
    without_none,
    wrong_type,
)
from .decoding import (
    OpenIntEnum,
    OpenStrEnum,
    Spellings,
    UnknownKeys,
    Variants,
    completed,
    decode_page,
    decoder,
    refuse_failure,
    spelled,
    subscription_is_active,
    succeeded,
    unwrap,
)
from .endpoint import Endpoint, is_idempotent
from .health import LastError, ServiceHealth
from .operations import running_operation
from .page import Page, Paging, by_number, by_skip

__all__ = [
    "CallArguments",
    "DecodeError",
    "Endpoint",
    "EndpointArguments",
    "MockState",
    "OpenIntEnum",
    "OpenStrEnum",
    "Page",
    "Paging",
    "PlatformHttpClient",
    "Spellings",
    "UnknownKeys",
    "Variants",
    "any_copy",
    "any_field",
    "any_key",
    "any_page",
    "any_texts",
    "body_of",
    "by_number",
    "by_skip",
    "call_options",
    "check_base_url",
    "completed",
    "decode_page",
    "decoder",
    "joined",
    "mapping_of",
    "mock_state",
    "refuse_failure",
    "spelled",
    "subscription_is_active",
    "succeeded",
    "texts_of",
    "unwrap",
    "without_none",
    "wrong_type",
]

_T = TypeVar("_T")

# The headers that every request carries, whatever the connector. `gzip` is the one content coding that
# middleware/transports decodes.
_CONSTANT_HEADERS = {
    "accept": "application/json",
    "accept-encoding": "gzip",
    "user-agent": f"mozaiks-connector-runtime/{__version__}",
}

_OTHER_ROUTE = "other"

_new_info = maker(CallInfo)
_new_call = maker(Call)  # its `settings` are given: `maker` runs no `__post_init__`
_new_attempt = maker(Attempt)
_new_request = maker(PlatformRequest)

_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]*")
# RFC 1123 section 2.1, with the underscore that names of containers have; a final dot is that of the root.
_HOST_NAME = re.compile(r"(?=.{1,253}\.?\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.|\Z))+")
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
_BLANKS = " \t\r\n"  # settings files and shells often add these around a value


def check_base_url(base_url: Any, *, name: str = "base_url") -> str:
    """
    Return *base_url* with scheme and host in lower case (RFC 3986 section 6.2.2.1) and without trailing slashes.

    An international host name is given in its ASCII form (RFC 5890), for example `xn--bcher-kva.example`.

    Raises:
        ConfigError: Not an absolute http(s) URL, or one with credentials, query or fragment. The text does not show it:
            it may contain a password.
    """
    problem = ""
    if not isinstance(base_url, str) or not _VISIBLE_ASCII.fullmatch(base_url.strip(_BLANKS)):
        problem = "must be a text of visible ASCII characters"
    else:
        try:
            parts = urlsplit(base_url.strip(_BLANKS))
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                problem = "must be an absolute http:// or https:// URL"
            elif parts.username is not None:
                problem = "must not contain credentials"
            elif "?" in base_url or "#" in base_url:
                problem = "must not contain a query or a fragment"
            elif parts.port == 0:
                problem = "must have a port between 1 and 65535"
            elif ("[" in parts.netloc) != (":" in parts.hostname) or not _is_host(parts.hostname):
                problem = "must have a host name of at most 253 characters, or an IP address"
            host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
            port = "" if parts.port is None else f":{parts.port}"
        except ValueError:  # raised by urlsplit for a bad port or IPv6 address
            problem = "must have a valid host, and a port between 1 and 65535"
    if problem:
        raise ConfigError(f"{name}: {problem}")
    return f"{parts.scheme}://{host}{port}{parts.path}".rstrip("/")


def _is_host(host: str) -> bool:
    """Return whether *host*, in lower case, can be one; a resolver would fail for another at each call."""
    if ":" in host:
        address = host.partition("%")[0]  # without its zone
    elif _NUMBER.fullmatch(
        host
    ):  # else `127.1` or `0x7f.1` would be an address for some resolvers, and a name for others
        address = host
    else:
        return _HOST_NAME.fullmatch(host) is not None
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


class EndpointArguments(TypedDict, total=False):
    """
    Arguments of a call of an `Endpoint`.

    Attributes:
        path_params: Values for the placeholders of the path template, each encoded as one segment.
        params: Query values; None values are omitted, lists repeat the key.
        json_body: JSON-ready body; None sends none.
        headers: Values of the service's own headers, by name; None values are left out. Those of the client and the
            stack are rejected.
        problem: An error found in the caller's arguments, `name: what`; the call then fails with
            `InvalidArgumentError` and nothing is sent.
        user_jwt: The caller's token, sent as Bearer.
        correlation_id: Sent with every attempt; a blank or unusable one is replaced by that of the request which is
            being served (`incoming_request`), else by a UUID.
    """

    path_params: Mapping[str, Any] | None
    params: Mapping[str, Any] | None
    json_body: Any
    headers: Mapping[str, Any] | None
    problem: str
    user_jwt: str | None
    correlation_id: str


class CallArguments(EndpointArguments, total=False):
    """
    Arguments of a call by method and path: those of `EndpointArguments`, and what an `Endpoint` declares.

    Here None and `{}` as `path_params` differ: `{}` marks the path as a template without placeholders.

    Attributes:
        decode: Converts the parsed document to the result; an error it raises becomes the error of the call.
        operation: Name of the operation; defaults to that of the connector's method, for a connector of a bundle, and
            else to the HTTP method in lower case.
        idempotent: Whether repeating the request is safe; None derives it from the method.
        max_attempts: As of `Endpoint`.
        decimals: As of `Endpoint`.
    """

    decode: Callable[[Any], Any] | None
    operation: str | None
    idempotent: bool | None
    max_attempts: int | None
    decimals: bool


class PlatformHttpClient:
    """
    HTTP client of one service of the platform; every call passes the whole stack.

    Safe for concurrent tasks, event loops and threads.

    Args:
        base_url: Absolute URL; its path is prepended to the path of every call.
        api_key: Sent as `X-Mozaiks-App-Key`; None or blank sends none.
        service: Name of the service, in spans, metrics, settings and errors.
        policies: Settings of the stack, or a source of settings; None uses the defaults.
        transport: A `Transport` shared with other clients, or any `httpx.AsyncBaseTransport`; None makes one.
        telemetry: Receives spans, metrics and events.
        middleware: Layers of the host's own.
        clock: Source of time.
        random: Source of jitter; None makes one, and another one in each process made by fork.

    Raises:
        ConfigError: A value is unusable.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        service: str = "platform",
        policies: StackSettings | SettingsSource | None = None,
        transport: Any = None,
        telemetry: Telemetry | None = None,
        middleware: HostLayers | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self.base_url = check_base_url(base_url)
        self.service = service
        given = StackSettings() if policies is None else policies
        self._policies: SettingsSource = FixedSettings(given) if isinstance(given, StackSettings) else given
        # A source without this method, as a host may have, sets nothing for single operations.
        self._is_set: Callable[[str, str, str], bool] = getattr(given, "is_set", lambda *_: False)
        self._clock = clock or SystemClock()
        self._owns_transport = transport is None
        self._transport = as_transport(transport, self.policy().transport, self._clock)
        checked_key = check_api_key(api_key)
        # In a closure, not in an attribute: the objects of a traceback must not show it.
        self._app_key: Callable[[], str | None] = lambda: checked_key
        self._stack = build_stack(
            service=service,
            base_url=self.base_url,
            policies=self._policies,
            middleware=as_host_layers(middleware),
            transport=self._transport,
            clock=self._clock,
            random=random,
            telemetry=telemetry or Telemetry(),
            version=__version__,
        )
        self._last_error: tuple[str, str, int | None, float] | None = None
        renew_in_child(self._renew)

    def _renew(self) -> None:
        self._last_error = None
        self._stack = self._stack.anew()  # R3

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.service} at {self.base_url}>"

    def describe(self) -> list[str]:
        """Return the names of the stack's layers, outermost first, and the library of a transport of ours."""
        describe = getattr(self._transport, "describe", None)
        return self._stack.describe() if describe is None else [*self._stack.describe(), f"transport: {describe()}"]

    @property
    def calls_in_flight(self) -> int:
        """Calls begun and not ended, waiting ones included."""
        return self._stack.state().calls_in_flight

    def health(self) -> ServiceHealth:
        """Return the state of the service as this process sees it; sends nothing."""
        state, last, policies = self._stack.state(), self._last_error, self._policies
        # A source of a host's own may not know where a value comes from.
        rows = policies.effective(self.service) if isinstance(policies, ResolvedSettings | LiveSettings) else []
        return ServiceHealth(
            breakers=state.breakers,
            budget_balance=state.budget_balance,
            calls_in_flight=state.calls_in_flight,
            attempts_in_flight=state.attempts_in_flight,
            attempts_queued=state.attempts_queued,
            attempts_limit=state.attempts_limit,
            last_error=None if last is None else LastError(*last[:3], age_s=max(0.0, self._clock.now() - last[3])),
            settings=tuple(row for row in rows if row.origin != "default"),
            settings_problems=policies.problems if isinstance(policies, LiveSettings) else (),
        )

    def policy(self, operation: str = "") -> StackSettings:
        """Return the settings in force now for *operation*, or for the service as a whole."""
        return self._policies.of(self.service, operation)

    async def call(self, endpoint: Endpoint[_T], **arguments: Unpack[EndpointArguments]) -> _T:
        """
        Make one call of *endpoint* and return its decoded result.

        Args:
            endpoint: The connector's declaration of the endpoint.
            arguments: The values of this call; see `EndpointArguments`.

        Raises:
            CallError: The call failed; the class describes the last attempt, or an earlier one that may have been
                applied where the last one was not sent.
            TypeError: There is no such argument, or the endpoint declares it.
        """
        try:
            complete = CallArguments(
                decode=endpoint.decode,
                operation=endpoint.operation,
                idempotent=endpoint.idempotent,
                max_attempts=endpoint.max_attempts,
                decimals=endpoint.decimals,
                **arguments,
            )
        finally:
            arguments.clear()  # type: ignore[attr-defined] # a plain dict at run time; R52
        if complete.get("path_params") is None:
            complete["path_params"] = {}  # an endpoint's path is always a template
        result: _T = (await self._call(endpoint.method, endpoint.path, complete)).data
        return result

    async def page(
        self,
        endpoint: Endpoint[tuple[list[_T], int | None]],
        skip: int = 0,
        limit: int | None = None,
        **arguments: Unpack[EndpointArguments],
    ) -> Page[_T]:
        """
        Load one page of the list at *endpoint*; the page loads the following ones with the same arguments.

        Args:
            endpoint: The connector's declaration; it decodes to items and total, as `decode_page` returns them.
            skip: Number of items before the page.
            limit: Largest number of items in the page; None for an endpoint without such a parameter.
            arguments: The values of this call; see `EndpointArguments`. `params` are sent in addition to the
                parameters that select the page.

        An endpoint without `paging` returns the whole list: *skip* and *limit* are not sent.

        Raises:
            CallError: The call failed; the class describes the last attempt, or an earlier one that may have been
                applied where the last one was not sent.
        """
        following = partial(self.page, endpoint, limit=limit, **arguments)
        try:
            problem = arguments.get("problem", "")
            if not problem and (type(skip) is not int or (limit is not None and type(limit) is not int)):
                problem = wrong_type(int, skip=skip) or wrong_type(int | None, limit=limit)
            if problem:
                arguments["problem"] = problem
            elif endpoint.paging is not None:
                selection, params = endpoint.paging(skip, limit), arguments.get("params")
                arguments["params"] = {**selection, **params} if params else selection
            items, total = await self.call(endpoint, **arguments)
        except BaseException:
            del following, arguments  # R52: they carry the caller's token
            raise
        if endpoint.paging is None:
            return Page(items, total=total)
        return Page(items, total=total, skip=skip, limit=limit, fetch=following)

    async def get(self, path: str, **arguments: Unpack[CallArguments]) -> Any:
        """GET *path* and return the decoded document; arguments and errors as for `request`."""
        return (await self._call("GET", path, arguments)).data

    async def post(self, path: str, **arguments: Unpack[CallArguments]) -> Any:
        """POST to *path* and return the decoded document; arguments and errors as for `request`."""
        return (await self._call("POST", path, arguments)).data

    async def put(self, path: str, **arguments: Unpack[CallArguments]) -> Any:
        """PUT *path* and return the decoded document; arguments and errors as for `request`."""
        return (await self._call("PUT", path, arguments)).data

    async def patch(self, path: str, **arguments: Unpack[CallArguments]) -> Any:
        """PATCH *path* and return the decoded document; arguments and errors as for `request`."""
        return (await self._call("PATCH", path, arguments)).data

    async def delete(self, path: str, **arguments: Unpack[CallArguments]) -> Any:
        """DELETE *path* and return the decoded document; arguments and errors as for `request`."""
        return (await self._call("DELETE", path, arguments)).data

    async def request(self, method: str, path: str, **arguments: Unpack[CallArguments]) -> PlatformResponse:
        """
        Make one call by method and path and return the whole response.

        Args:
            method: HTTP method.
            path: With `path_params` a template such as `/api/users/{user_id}`, which is also the route in spans,
                metrics and errors. Without `path_params` a complete path, whose route is `other`.
            arguments: The other arguments of the call; see `CallArguments`.

        Raises:
            CallError: The call failed; the class describes the last attempt, or an earlier one that may have been
                applied where the last one was not sent.
            TypeError: There is no such argument.
        """
        return await self._call(method, path, arguments)

    async def _call(self, method: str, path: str, arguments: CallArguments) -> PlatformResponse:
        """
        Make the call, and clear *arguments* so that no frame in the traceback of an error keeps credentials or bodies.

        The caller's frame shares the dictionary; it has not ended when the error passes, and so cannot be cleared.
        """
        running = running_operation()
        try:
            response = await self._stack.handle(self._request(method, path, arguments))  # in no variable: R52
            if running is not None and response.outcome is not None:
                running.succeeded.append(response.outcome)
            return response
        except BaseException as error:
            clear_traceback_locals(error)  # R52
            if isinstance(error, CallError) and not isinstance(error, InvalidArgumentError):
                # Not the error itself, which refers to the frames that it passed.
                self._last_error = error.code, error.operation, error.status, self._clock.now()
            raise
        finally:
            arguments.clear()  # type: ignore[attr-defined] # a plain dict at run time

    def _request(self, method: str, path: str, arguments: CallArguments) -> PlatformRequest:
        if not arguments.keys() <= _ARGUMENTS:
            unknown = min(arguments.keys() - _ARGUMENTS)
            raise TypeError(f"request() got an unexpected keyword argument {unknown!r}")
        method = str(method).upper()
        named, problem = arguments.get("operation"), arguments.get("problem", "")
        if named is not None and not isinstance(named, str):
            named, problem = None, "operation: must be str"
        own, wrong = headers_of(given) if (given := arguments.get("headers")) else ({}, "")
        problem = problem or wrong
        running = running_operation()
        operation = named or (method.lower() if running is None else running.name)
        path_params = arguments.get("path_params")
        served = current_request()
        chosen, replaced = choose_correlation_id(
            arguments.get("correlation_id"), "" if served is None else served.correlation_id
        )
        options, now = current_options() if incoming_deadlines() else given_options(), self._clock.now()
        change = self._policies.poll(now)
        policy = self._policies.of(self.service, operation)
        info = _new_info(
            service=self.service,
            operation=operation,
            method=method,
            route=_OTHER_ROUTE if path_params is None else path,  # R51
            idempotent=is_idempotent(method, arguments.get("idempotent")),
            correlation_id=chosen,
            base_url=self.base_url,
        )
        if change is not None:
            self._emit(info, change)
        allowed, declared = policy.retry.max_attempts, arguments.get("max_attempts")
        if declared is not None and not self._is_set(self.service, operation, "retry.max_attempts"):
            allowed = min(allowed, declared)  # R11
        call = _new_call(
            info=info,
            started_at=now,
            snapshot=policy.by_type,  # R61: one snapshot for the whole call
            settings=policy.lookup,
            settings_hash=policy.settings_hash,
            correlation_id_replaced=replaced,
            deadline_s=None if options is NO_OPTIONS else options.seconds_at(now),
            max_attempts=allowed if options.max_attempts is None else min(allowed, options.max_attempts),
            # R20: one attempt means no retry, and what a caller sets bounds all attempts.
            max_refused=policy.retry.not_sent_max_attempts if options.max_attempts is None and allowed > 1 else 0,
        )
        if running is not None:
            running.has_called = True
        return _new_request(
            call=call,
            attempt=_new_attempt(),
            method=method,
            path=path,
            path_params=path_params,
            params=arguments.get("params"),
            json_body=arguments.get("json_body"),
            user_jwt=arguments.get("user_jwt"),
            app_key=self._app_key(),
            decode=arguments.get("decode"),
            decimals=arguments.get("decimals", False),
            problem=problem,
            headers={**_CONSTANT_HEADERS, **own} if own else dict(_CONSTANT_HEADERS),
        )

    def _emit(self, info: CallInfo, change: SettingsChange) -> None:
        if change.problems:
            self._stack.events(SettingsRejected(call=info, problems=change.problems))
        else:
            self._stack.events(
                SettingsReloaded(
                    call=info,
                    changes=change.changes,
                    scopes=change.scopes,
                    shadowed=change.shadowed,
                    hashes=change.hashes,
                    policy=change.policy,
                )
            )
        if change.contradictions:
            self._stack.events(SettingsContradictory(call=info, contradictions=change.contradictions))

    async def aclose(self) -> None:
        """Close the connections, but for those of a transport that is shared; idempotent."""
        await self._stack.aclose()
        if self._owns_transport:
            await self._transport.aclose()

    def request_close(self) -> None:
        """Close what is not the transport's as `aclose` does, without waiting, from any thread."""
        self._stack.request_close()

    async def __aenter__(self) -> Self:
        """Return the client, which `async with` closes at the end of the block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


_ARGUMENTS = CallArguments.__optional_keys__
