"""
The HTTP client that every connector speaks through, and all that a connector file needs to import.

One middleware stack per client, composed once. Clients of several services are light: they share one transport.
"""

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from random import Random
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack
from urllib.parse import urlsplit

from middleware.call_options import call_options, current_options
from middleware.clock import Clock, SystemClock
from middleware.errors import ConfigError, DecodeError, clear_traceback_locals
from middleware.events import SettingsRejected, SettingsReloaded
from middleware.records import CallInfo
from middleware.request.auth import check_api_key
from middleware.request.correlation import choose_correlation_id
from middleware.stack import FixedSettings, SettingsChange, SettingsSource, StackSettings, Telemetry, build_stack
from middleware.transports.registry import as_transport
from middleware.types import Call, PlatformRequest, PlatformResponse
from runtime._version import __version__

from .decoding import Spellings, decode_page, decoder, refuse_failure, succeeded
from .page import Page

__all__ = [
    "CallArguments",
    "DecodeError",
    "Page",
    "PlatformHttpClient",
    "Spellings",
    "any_copy",
    "any_key",
    "any_texts",
    "call_options",
    "check_base_url",
    "decode_page",
    "decoder",
    "refuse_failure",
    "succeeded",
    "texts_of",
]

_V = TypeVar("_V")

# RFC 9110 section 9.2.2
_IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
_OTHER_ROUTE = "other"
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]*")
_BLANKS = " \t\r\n"  # what a settings file or a shell may leave around a value


def check_base_url(base_url: Any, *, name: str = "base_url") -> str:
    """
    Return *base_url* with scheme and host in lower case (RFC 3986 section 6.2.2.1) and without trailing slashes.

    An international host name is given in its ASCII form (RFC 5890), for example `xn--bcher-kva.example`.

    Raises:
        ConfigError: Not an absolute http(s) URL, or one with credentials, query or fragment. The text does not show it:
            it may hold a password.
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
                problem = "must not hold credentials"
            elif "?" in base_url or "#" in base_url:
                problem = "must not hold a query or a fragment"
            elif parts.port == 0:
                problem = "must have a port between 1 and 65535"
            host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
            port = "" if parts.port is None else f":{parts.port}"
        except ValueError:  # what urlsplit says of a port or an IPv6 address
            problem = "must have a valid host, and a port between 1 and 65535"
    if problem:
        raise ConfigError(f"{name}: {problem}")
    return f"{parts.scheme}://{host}{port}{parts.path}".rstrip("/")


class CallArguments(TypedDict, total=False):
    """
    What a call may be given beside its path.

    Attributes:
        path_params: Values for the placeholders, each one encoded segment; `{}` for a template without any.
        params: Query values; None values are left out, lists repeat the key.
        json_body: JSON-ready body; None sends none.
        decode: Turns the parsed document into the result; its failure is the call's.
        operation: Name of the operation; defaults to the method in lower case.
        problem: What is wrong with the caller's arguments, `name: what`; the call is then refused, nothing sent.
        idempotent: Whether repeating the request is harmless; None goes by the method.
        user_jwt: The caller's token, sent as Bearer.
        correlation_id: Sent on every attempt; a blank or unusable one is replaced by a UUID.
    """

    path_params: Mapping[str, Any] | None
    params: Mapping[str, Any] | None
    json_body: Any
    decode: Callable[[Any], Any] | None
    operation: str | None
    problem: str
    idempotent: bool | None
    user_jwt: str | None
    correlation_id: str


def any_copy(value: _V) -> _V:
    """Return a deep copy, for mocks; what cannot be copied is shared."""
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - deepcopy runs foreign code
        return value


def any_key(value: Any) -> str:
    """Return a text for any input at all, for mocks: they raise for none."""
    return value if isinstance(value, str) else object.__repr__(value)


def any_texts(values: Any) -> list[str]:
    """Return a list of texts for any input at all, for mocks."""
    return [any_key(value) for value in values] if isinstance(values, list | tuple | set | frozenset) else []


def texts_of(name: str, values: Any) -> tuple[list[str], str]:
    """
    Read the caller's argument *name*, in which a list of strings is wanted, for a managed method.

    A single `str` is refused: it would be taken for the list of its letters.

    Returns:
        The strings, and what is wrong with the argument, for `CallArguments.problem`; one of the two is empty.
    """
    if isinstance(values, str | bytes | bytearray | memoryview | Mapping) or not isinstance(values, Iterable):
        return [], f"{name}: must be a list of str, got {type(values).__name__}"
    try:
        found = list(values)
    except Exception as error:  # noqa: BLE001 - the caller's own iterator; its text may hold anything
        return [], f"{name}: cannot be read ({type(error).__name__})"
    for index, value in enumerate(found):
        if not isinstance(value, str):
            return [], f"{name}[{index}]: must be str, got {type(value).__name__}"
    return found, ""


class PlatformHttpClient:
    """
    Speaks to one service of the platform; every call goes through the whole stack.

    Serves many tasks at once, and works across event loops and threads.

    Args:
        base_url: Absolute URL; its path is kept in front of every call's path.
        api_key: Sent as `X-Mozaiks-App-Key`; None or blank sends none.
        service: Name of the service, in spans, metrics, settings and errors.
        policies: Settings of the stack, or where to get them from; None takes the defaults.
        transport: A `Transport` to share with other clients, or any `httpx.AsyncBaseTransport`; None makes one.
        telemetry: Where spans, metrics and events go.
        clock: Source of time.
        random: Source of jitter.

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
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self.base_url = check_base_url(base_url)
        self.service = service
        given = StackSettings() if policies is None else policies
        self._policies: SettingsSource = FixedSettings(given) if isinstance(given, StackSettings) else given
        self._clock = clock or SystemClock()
        self._owns_transport = transport is None
        self._transport = as_transport(transport, self.policy().transport, self._clock)
        self._stack = build_stack(
            service=service,
            base_url=self.base_url,
            api_key=check_api_key(api_key),
            policies=self._policies,
            transport=self._transport,
            clock=self._clock,
            random=random or Random(),  # noqa: S311 - jitter, not cryptography
            telemetry=telemetry or Telemetry(),
            version=__version__,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.service} at {self.base_url}>"

    def describe(self) -> list[str]:
        """Names of the stack's layers, outermost first."""
        return self._stack.describe()

    def policy(self, operation: str = "") -> StackSettings:
        """Settings in force for *operation* now; without it, those of the service at large."""
        return self._policies.of(self.service, operation)

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
        Make one call and return the whole response.

        Args:
            method: HTTP method.
            path: With `path_params` a template such as `/api/users/{user_id}`, and then the route in spans, metrics
                and settings. Without, a path filled by hand; its route is `other`.
            arguments: The rest of the call; see `CallArguments`.

        Raises:
            CallError: The call failed; its class tells what became of the request.
            TypeError: There is no such argument.
        """
        return await self._call(method, path, arguments)

    async def _call(self, method: str, path: str, arguments: CallArguments) -> PlatformResponse:
        """Make the call and empty *arguments*: no frame of an error's traceback keeps what a call carried."""
        try:
            return await self._stack.handle(self._request(method, path, arguments))
        except BaseException as error:
            clear_traceback_locals(error)  # R52
            raise
        finally:
            arguments.clear()  # type: ignore[attr-defined] # a plain dict at run time

    def _request(self, method: str, path: str, arguments: CallArguments) -> PlatformRequest:
        if unknown := arguments.keys() - _ARGUMENTS:
            raise TypeError(f"request() got an unexpected keyword argument {min(unknown)!r}")
        method = str(method).upper()
        named, problem = arguments.get("operation"), arguments.get("problem", "")
        if named is not None and not isinstance(named, str):
            named, problem = None, "operation: must be str"
        operation = named or method.lower()
        path_params = arguments.get("path_params")
        chosen, replaced = choose_correlation_id(arguments.get("correlation_id"))
        options, now = current_options(), self._clock.now()
        change = self._policies.poll(now)
        policy = self._policies.of(self.service, operation)
        info = CallInfo(
            service=self.service,
            operation=operation,
            method=method,
            route=_OTHER_ROUTE if path_params is None else path,  # R51
            idempotent=_is_idempotent(method, arguments.get("idempotent")),
            correlation_id=chosen,
        )
        if change is not None:
            self._tell(info, change)
        allowed = policy.retry.max_attempts
        call = Call(
            info=info,
            started_at=now,
            policy=policy.by_type,  # R61: this call's until it ends
            correlation_id_replaced=replaced,
            deadline_s=options.seconds_at(now),
            max_attempts=allowed if options.max_attempts is None else min(allowed, options.max_attempts),
        )
        return PlatformRequest(
            call=call,
            method=method,
            path=path,
            path_params=path_params,
            params=arguments.get("params"),
            json_body=arguments.get("json_body"),
            user_jwt=arguments.get("user_jwt"),
            decode=arguments.get("decode"),
            problem=problem,
            headers=dict(_HEADERS),
        )

    def _tell(self, info: CallInfo, change: SettingsChange) -> None:
        if change.problems:
            self._stack.events(SettingsRejected(call=info, problems=change.problems))
        else:
            self._stack.events(SettingsReloaded(call=info, changes=change.changes))

    async def aclose(self) -> None:
        """Close the connections, unless the transport is shared; idempotent."""
        self._stack.close()
        if self._owns_transport:
            await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _is_idempotent(method: str, declared: bool | None) -> bool:
    return method in _IDEMPOTENT_METHODS if declared is None else declared  # R11


_ARGUMENTS = frozenset(CallArguments.__annotations__)
_HEADERS = {
    "accept": "application/json",
    "accept-encoding": "gzip",
    "user-agent": f"mozaiks-connector-runtime/{__version__}",
}
