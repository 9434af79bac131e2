"""
Loads the bundle of all connectors: managed or mock, as the configuration selects.

To add a connector: a field in `ConnectorBundle`, and its declaration in `registry.py`.
"""

import logging
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, TypeVar

import anyio

from middleware._internal.forks import renew_in_child
from middleware._internal.loggers import LibraryLogger
from middleware.call_options import current_request
from middleware.clock import SystemClock
from middleware.errors import ConfigError, PlatformError
from middleware.host_layers import HostLayers, as_host_layers
from middleware.stack import Telemetry
from middleware.transports.registry import ClosableTransport, TransportSettings, make_transport
from runtime.settings import (
    FILE_VARIABLE,
    PREFIX,
    REQUIRE_VARIABLE,
    Environment,
    LiveSettings,
    ResolvedSettings,
    known_variables,
    no_such,
)
from runtime.settings.mode import CORE_URL, GATEWAY_URL, HOSTING_MODE, MANAGED, mode_of
from runtime.settings.resolution import at_origins
from runtime.settings.typos import look_alikes

from .base import PlatformHttpClient, check_base_url
from .billing import BillingConnector
from .binding import BoundConnector
from .discovery import DiscoveryConnector
from .health import BundleHealth
from .hosting import HostingConnector
from .identity import IdentityConnector
from .operations import typed_errors
from .payment import PaymentConnector
from .registry import Connector, connectors
from .service import ServiceConnector

__all__ = [
    "ConnectorBundle",
    "ConnectorConfig",
    "get_connectors",
    "is_managed_mode",
    "load_connectors",
    "reset_connectors",
    "services_and_operations",
]

_T = TypeVar("_T")

_DRAIN_POLL_S = 0.01
_API_KEY = "MOZAIKS_GATEWAY_API_KEY"
_READ = frozenset({HOSTING_MODE, MANAGED, GATEWAY_URL, _API_KEY, CORE_URL})
_environment = Environment(lambda name: name in _READ or name.startswith(PREFIX))

# Printed on stderr where logging is not configured, unlike lines of calls. Mocks permit everything, so a program must
# not get them by mistake without a warning.
_log = LibraryLogger("mozaiks.mode", prints_unconfigured=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorConfig:
    """
    Configuration of the loader.

    Attributes:
        managed_mode: True selects the real API, False the mocks.
        gateway_base_url: Base URL of the platform's gateway; required in managed mode.
        api_key: The application's key at the gateway; None or blank sends none.
        core_base_url: Base URL for identity and billing; None or blank uses the gateway's.
        policies: Settings of the services' stacks: a fixed snapshot, or one that is reloaded from a file.
        telemetry: Receives spans, metrics and events.
        middleware: Layers of the host's own, around the calls and attempts of every service.
        mode_reason: Human-readable reason for the mode; empty if the program itself selected it.

    Raises:
        ConfigError: A value is unusable.
    """

    managed_mode: bool = False
    gateway_base_url: str = ""
    api_key: str | None = field(default=None, repr=False)
    core_base_url: str | None = None
    policies: ResolvedSettings | LiveSettings = field(default_factory=ResolvedSettings, compare=False)
    telemetry: Telemetry = field(default_factory=Telemetry, repr=False, compare=False)
    middleware: HostLayers = field(default_factory=HostLayers, repr=False, compare=False)
    mode_reason: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        as_host_layers(self.middleware)
        if self.managed_mode:
            check_base_url(self.gateway_base_url, name="gateway_base_url")
            if self.core_base_url:
                check_base_url(self.core_base_url, name="core_base_url")

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
        telemetry: Telemetry | None = None,
        middleware: HostLayers | None = None,
        require_managed: bool = False,
    ) -> Self:
        """
        Read the configuration from the environment; nothing else in this library reads `MOZAIKS_*`.

        Managed mode needs a switch, `MOZAIKS_HOSTING_MODE=hosted` or a truthy `MOZAIKS_MANAGED`, and
        `MOZAIKS_GATEWAY_BASE_URL`; otherwise the mode is self-hosted. A switch without the URL is logged at WARNING,
        and so is a variable whose name is one edit away from one that is read. If `MOZAIKS_CONNECTORS_FILE` names a
        TOML file of settings, changes of the file are applied while the program runs.

        Args:
            environ: Variables to read instead of the process's.
            settings: Settings of the stacks as nested mappings, as in the file; override both other sources.
            defaults: As *settings*, and weaker than both other sources: defaults of the host instead of ours.
            telemetry: Receives spans, metrics and events; None uses the process's global providers.
            middleware: Layers of the host's own; None has none.
            require_managed: Any mode but managed is an error, as with `MOZAIKS_CONNECTORS_REQUIRE_MANAGED=true`.

        Raises:
            ConfigError: Lists every unusable setting by its variable, or managed mode is required and not selected.
        """
        env = _environment.with_names(_environment.own()) if environ is None else environ
        found: list[str] = []
        mode = mode_of(env, found)
        if not found and not mode.managed and (require_managed or mode.required):
            found.append(_not_managed(REQUIRE_VARIABLE if mode.required else "require_managed", mode.reason))
        values = {name: env.get(name, "").strip() for name in (GATEWAY_URL, _API_KEY, CORE_URL)}
        policies = _collect(lambda: _policies(env, settings, defaults), found)
        for name in (GATEWAY_URL, CORE_URL):
            if mode.managed and values[name]:
                _collect(partial(check_base_url, values[name], name=name), found)
        typos = misspelled(env)
        if found or policies is None:
            raise ConfigError([*found, *typos])
        reason = mode.reason if mode.managed else "; ".join([mode.reason, *typos])
        for typo in typos:
            _warn("settings.unknown", typo)
        if mode.incomplete:
            _warn("mode.self_hosted", reason)
        return cls(
            managed_mode=mode.managed,
            gateway_base_url=values[GATEWAY_URL],
            api_key=values[_API_KEY] or None,
            core_base_url=values[CORE_URL] or None,
            policies=policies,
            telemetry=telemetry or Telemetry(),
            middleware=as_host_layers(middleware),
            mode_reason=reason,
        )


def _policies(
    environ: Mapping[str, str], settings: Mapping[str, Any] | None, defaults: Mapping[str, Any] | None
) -> ResolvedSettings | LiveSettings:
    file, services = environ.get(FILE_VARIABLE, "").strip(), services_and_operations()
    if file:
        return LiveSettings(settings, environ=environ, file=Path(file), defaults=defaults, services=services)
    return ResolvedSettings(settings, environ=environ, defaults=defaults, services=services)


def _collect(make: Callable[[], _T], found: list[str]) -> _T | None:
    """Return the result of *make*; add the problems of its `ConfigError` to *found*, so that one error lists all."""
    try:
        return make()
    except ConfigError as error:
        found.extend(error.problems)
        return None


@lru_cache(maxsize=4)  # equivalent: a list that is made anew is the same list
def _known_names(_connectors: tuple[Connector[Any], ...]) -> frozenset[str]:
    return frozenset({*_READ, *known_variables(services_and_operations())})


def misspelled(environ: Mapping[str, str]) -> list[str]:
    """Return the variables that are not read and whose names are one edit away from one that is."""
    # An unknown name with the prefix is an error already.
    names = frozenset(name for name in environ if not name.startswith(PREFIX))
    return list(_look_alikes(names, _known_names(connectors())))


@lru_cache(maxsize=16)  # once per distinct set of names: each is compared with thousands of known ones
def _look_alikes(names: frozenset[str], known: frozenset[str]) -> tuple[str, ...]:
    return tuple(no_such(ascii(name)[1:-1], meant) for name, meant in look_alikes(names, known))


def _not_managed(place: str, reason: str) -> str:
    return f"{place}: managed mode is required, but {reason}"


def _warn(event: str, reason: str, *, level: int = logging.WARNING) -> None:
    _log.log(level, f"{event} {reason}", {"event": event, "reason": reason})


class _Life:
    """The state of a bundle, which its bound views share."""

    def __init__(self) -> None:
        self.state: Literal["open", "draining", "closed"] = "open"


@dataclass(frozen=True, kw_only=True)
class ConnectorBundle:
    """
    All available platform connectors.

    A connector that another package adds is a field of its name too; `of` returns it with its type.

    Attributes:
        mode: `managed` or `self_hosted`.
        mode_reason: Human-readable reason for the mode: the setting that selected it, and names that look like typos.
    """

    hosting: HostingConnector
    discovery: DiscoveryConnector
    identity: IdentityConnector
    billing: BillingConnector
    service: ServiceConnector
    payment: PaymentConnector
    mode: Literal["managed", "self_hosted"]
    mode_reason: str = field(default="", compare=False)
    _transports: tuple[ClosableTransport, ...] = field(default=(), repr=False, compare=False)
    _clients: tuple[PlatformHttpClient, ...] = field(default=(), repr=False, compare=False)
    _life: _Life = field(default_factory=_Life, repr=False, compare=False)
    _is_view: bool = field(default=False, repr=False, compare=False)

    @property
    def calls_in_flight(self) -> int:
        """Calls begun and not ended, of all services and on all event loops."""
        return sum(client.calls_in_flight for client in self._clients)

    def of(self, connector: Connector[_T]) -> _T:
        """
        Return the connector that *connector* declares.

        Raises:
            ConfigError: It was registered after this bundle was loaded, or not at all.
        """
        try:
            found: _T = getattr(self, connector.name)
        except AttributeError:
            problem = f"{connector.name}: not in this bundle; register it before the bundle is loaded"
        else:
            return found
        raise ConfigError(problem)

    def bind(self, *, user_jwt: str | None = None, correlation_id: str = "") -> Self:
        """
        Return a view of this bundle whose calls carry a user's token and a correlation id.

        It shares connections, breakers and all other state, and closes nothing. A call's own arguments win:
        `user_jwt=None` sends the application's key alone, and a blank id counts as none. Calls of this bundle itself
        are as before.

        A token that is bound while a request is served (`runtime.asgi`) ends with the response's last byte: a call of
        the view that begins later fails with `InvalidArgumentError`, and nothing is sent.

        Args:
            user_jwt: The user's token; None binds none.
            correlation_id: The id of all calls; blank binds none, so that each has that of the request being served, or
                one of its own.
        """
        given = {"user_jwt": user_jwt, "correlation_id": correlation_id}
        arguments = {name: value for name, value in given.items() if value}
        request = current_request() if user_jwt and self.mode == "managed" else None
        names = services_and_operations()
        bound: dict[str, Any] = {
            name: BoundConnector(getattr(self, name), operations, arguments, request)
            for name, operations in names.items()
            if hasattr(self, name)
        }
        return replace(self, **bound, _transports=(), _is_view=True)

    def health(self) -> BundleHealth:
        """Return the state of all services as this process sees it; calls none of them."""
        services = {client.service: client.health() for client in self._clients}
        return BundleHealth(mode=self.mode, state=self._life.state, services=services)

    async def drain(self, seconds: float) -> int:
        """
        Wait until no call is in flight, at most *seconds*; the bundle is not ready from now on.

        Calls that begin meanwhile are made and waited for too. Close it afterwards.

        Returns:
            The number of calls still in flight.
        """
        if self._life.state == "open":
            self._life.state = "draining"
        with anyio.move_on_after(seconds):
            while self.calls_in_flight:  # noqa: ASYNC110 - a call signals its end to no other task
                await anyio.sleep(_DRAIN_POLL_S)
        return self.calls_in_flight

    async def aclose(self) -> None:
        """Close all connections to the platform; idempotent."""
        _release(self)
        for client in self._clients if not self._is_view else ():
            await client.aclose()
        for transport in self._transports:
            await transport.aclose()

    def request_close(self) -> None:
        """Close all connections without waiting; may be called from any thread. Each event loop closes its own."""
        _release(self)
        for client in self._clients if not self._is_view else ():
            client.request_close()
        for transport in self._transports:
            transport.request_close()

    def close_soon(self) -> None:
        """Deprecated: the old name of `request_close`."""
        text = "ConnectorBundle.close_soon is now called request_close; the old name goes with the next release"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        self.request_close()

    async def __aenter__(self) -> Self:
        """Return the bundle: `async with load_connectors(config) as connectors:` closes it at the end of the block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def services_and_operations() -> dict[str, tuple[str, ...]]:
    """Return the operations by service, of all connectors; errors as of `registry.connectors`."""
    return {one.name: one.operations for one in connectors()}


@lru_cache(maxsize=4)  # equivalent: a class that is made anew has the same fields
def _bundle_of(known: tuple[Connector[Any], ...]) -> type[ConnectorBundle]:
    """Return the class of bundles with a field for each of *known*, those of other packages included."""
    own = {one.name for one in fields(ConnectorBundle)}
    others: list[tuple[str, Any]] = [(one.name, Any) for one in known if one.name not in own]
    name, namespace = ConnectorBundle.__name__, {"__module__": __name__, "__doc__": ConnectorBundle.__doc__}
    made: type[ConnectorBundle] = make_dataclass(
        name, others, bases=(ConnectorBundle,), namespace=namespace, frozen=True, kw_only=True
    )
    return made if others else ConnectorBundle


def open_transport(config: ConnectorConfig, service: str) -> ClosableTransport:
    """
    Make the transport of *service*; opens the files that its settings name.

    Raises:
        ConfigError: A file, a proxy or a library cannot be used; names where the setting was written.
    """
    try:
        return make_transport(config.policies.of(service).transport, SystemClock())
    except ConfigError as error:
        raise ConfigError(at_origins(error.problems, config.policies.effective(service))) from None


def _managed(config: ConnectorConfig) -> ConnectorBundle:
    for contradiction in config.policies.contradictions():
        _warn("settings.contradictory", contradiction)
    transports: dict[TransportSettings, ClosableTransport] = {}  # services with the same settings share connections

    def client(service: str, base_url: str | None) -> PlatformHttpClient:
        wire = config.policies.of(service).transport
        if wire not in transports:
            transports[wire] = open_transport(config, service)
        try:
            return PlatformHttpClient(
                base_url or config.gateway_base_url,
                config.api_key,
                service=service,
                policies=config.policies,
                transport=transports[wire],
                telemetry=config.telemetry,
                middleware=config.middleware,
            )
        except ConfigError as error:  # of the server of its quota
            raise ConfigError(at_origins(error.problems, config.policies.effective(service))) from None

    bundle = managed_bundle(config, client, transports.values())
    if _log.enabled(logging.INFO) is not None:
        policies = config.policies
        lines = "; ".join([*policies.departures(), *policies.shadowed]) or "every value is the default"
        fields = {"event": "settings.loaded", "reason": lines, "hashes": policies.hashes(), "policy": policies.policy()}
        _log.log(logging.INFO, f"settings.loaded {lines}", fields)
    return bundle


def managed_bundle(
    config: ConnectorConfig,
    client: Callable[[str, str | None], PlatformHttpClient],
    transports: Iterable[ClosableTransport] = (),
) -> ConnectorBundle:
    """
    Make a bundle of managed connectors from clients of any kind; those of the test kit are scripted.

    Args:
        config: What the bundle is made for.
        client: Makes the client of a service, by the service's name and the base URL that differs for it.
        transports: What the bundle closes; read after all clients are made.
    """
    clients: list[PlatformHttpClient] = []

    def http(connector: Connector[Any]) -> PlatformHttpClient:
        clients.append(client(connector.name, config.core_base_url if connector.base_url == "core" else None))
        return clients[-1]

    made: dict[str, Any] = {}
    known = connectors()  # once: another thread may register meanwhile
    for declared in known:
        made[declared.name] = managed_connector(declared, http(declared))
    return _bundle_of(known)(
        **made,
        mode="managed",
        mode_reason=_reason(config),
        _transports=tuple(transports),
        _clients=tuple(clients),
    )


def managed_connector(declared: Connector[Any], client: PlatformHttpClient) -> Any:
    """
    Make the managed connector of one declaration; its operations raise errors of ours alone.

    Raises:
        ConfigError: It cannot be made, or does not have all operations.
    """
    connector = _made(declared, "managed", partial(declared.managed, client))
    for operation in declared.operations:
        wrapped = typed_errors(declared.name, operation, getattr(connector, operation))
        try:
            object.__setattr__(connector, operation, wrapped)  # also where it is a frozen dataclass
        except AttributeError:
            problem = f"{declared.name}: managed: must allow attributes, so no __slots__"
            raise ConfigError(problem) from None
    return connector


def _made(declared: Connector[Any], kind: str, make: Callable[[], Any]) -> Any:
    """
    Make a connector.

    Raises:
        ConfigError: It cannot be made, or does not have all operations.
    """
    try:
        made = make()
    except PlatformError:
        raise
    except Exception as error:  # noqa: BLE001 - another package's code
        problem = f"{declared.name}: {kind}: cannot be made ({type(error).__name__})"
    else:
        missing = [name for name in declared.operations if not hasattr(made, name)]
        if not missing:
            return made
        problem = f"{declared.name}: {kind}: has no {', '.join(missing)}"
    raise ConfigError(problem)


def _reason(config: ConnectorConfig) -> str:
    return config.mode_reason or f"the program chose it by ConnectorConfig(managed_mode={config.managed_mode})"


def _mock(config: ConnectorConfig) -> ConnectorBundle:
    known = connectors()
    made: dict[str, Any] = {one.name: _made(one, "mock", one.mock) for one in known}
    return _bundle_of(known)(**made, mode="self_hosted", mode_reason=_reason(config))


# The core loads once per HTTP request and never closes: the same settings must return the same bundle, or each request
# would leak its connections and start with an empty circuit breaker.
_Key: TypeAlias = tuple[tuple[Connector[Any], ...], tuple[tuple[str, str], ...]]
_lock = threading.RLock()  # a signal handler may close a bundle while its thread loads one
_current: tuple[_Key, ConnectorBundle] | None = None  # of the settings that the environment has now
# Of settings that it had before, for as long as a caller uses them: the same settings give the same bundle again.
_earlier: weakref.WeakValueDictionary[_Key, ConnectorBundle] = weakref.WeakValueDictionary()
_frozen: ConnectorBundle | None = None
_process_wide: ConnectorBundle | None = None  # loaded from a config, for every caller in the process
_logged: list[str] = []  # what is_managed_mode last logged
# Makes the configuration of the environment: of its variables, and whether managed mode is required.
_ConfigOf: TypeAlias = Callable[[Mapping[str, str], bool], ConnectorConfig]
_config_of: _ConfigOf | None = None


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603 - a thread that does not exist in the child may have acquired it
    _lock = threading.RLock()


renew_in_child(_renew_lock)


def load_connectors(
    config: ConnectorConfig | None = None, *, require_managed: bool = False, process_wide: bool = False
) -> ConnectorBundle:
    """
    Load the connectors for *config*; without it the process-wide ones, else those for the current environment.

    Loading from the environment is cheap and returns the same bundle for the same settings; the warnings of
    `ConnectorConfig.from_env` are logged once per bundle. When the settings change, the bundle of the earlier ones
    closes its idle connections, and goes when its last caller does. Loading from a config returns a new bundle, which
    the caller closes: `async with load_connectors(config) as connectors:`, or `aclose`. With *process_wide* every other
    caller in the process gets it too, by `load_connectors()` and `get_connectors()`, until it is closed or
    `reset_connectors` is called: one circuit breaker per service.

    Args:
        config: Configuration to use instead of the environment.
        require_managed: Any mode but managed is an error.
        process_wide: Return this bundle to callers without a config too; one at a time.

    Raises:
        ConfigError: A setting is unusable, or managed mode is required and not selected, or a process-wide bundle is
            wanted without a config or while another one is open.
    """
    if config is not None:
        if require_managed and not config.managed_mode:
            raise ConfigError(_not_managed("require_managed", _reason(config)))
        return make_process_wide(partial(_load, config)) if process_wide else _load(config)
    if process_wide:
        raise ConfigError("process_wide: needs a config")
    bundle = _process_wide or _from_environment(require_managed=require_managed)
    if require_managed and bundle.mode != "managed":
        raise ConfigError(_not_managed("require_managed", bundle.mode_reason))
    return bundle


def _load(config: ConnectorConfig) -> ConnectorBundle:
    return _managed(config) if config.managed_mode else _mock(config)


def make_process_wide(make: Callable[[], ConnectorBundle]) -> ConnectorBundle:
    """
    Return the bundle that *make* returns, which is process-wide until it is closed.

    Raises:
        ConfigError: Another bundle is process-wide.
    """
    global _process_wide  # noqa: PLW0603 - what this function is for
    with _lock:
        if _process_wide is not None:
            raise ConfigError("process_wide: another bundle is process-wide; close it first")
        _process_wide = make()
        return _process_wide


def _release(bundle: ConnectorBundle) -> None:
    """Let a bundle that is being closed be neither ready nor process-wide any longer."""
    if not bundle._is_view:  # noqa: SLF001 - of this module
        bundle._life.state = "closed"  # noqa: SLF001 - of this module
    global _process_wide  # noqa: PLW0603 - see make_process_wide
    if _process_wide is bundle:  # no lock for any other bundle, and then again under it: two may close at once
        with _lock:
            if _process_wide is bundle:
                _process_wide = None


def _from_environment(*, require_managed: bool = False) -> ConnectorBundle:
    global _current  # noqa: PLW0603 - the bundle of the environment
    key, current = (connectors(), _environment.own()), _current
    if current is not None and current[0] == key:
        return current[1]
    with _lock:
        if _current is not None and _current[0] == key:
            return _current[1]
        bundle = _earlier.pop(key, None) or _load(
            (_config_of or _plain_config)(_environment.with_names(key[1]), require_managed)
        )
        if _current is not None:
            _retire(*_current)
        _current = key, bundle
        return bundle


def _plain_config(environ: Mapping[str, str], require_managed: bool) -> ConnectorConfig:
    return ConnectorConfig.from_env(environ, require_managed=require_managed)


def config_of_environment() -> ConnectorConfig:
    """Return the configuration of a bundle of the current environment, that of an adapter; errors as of `from_env`."""
    return (_config_of or _plain_config)(_environment.with_names(_environment.own()), False)


def set_config_of_environment(make: _ConfigOf | None) -> None:
    """
    Let *make* make the configuration of every bundle that is loaded from the environment from now on.

    An adapter of a host adds the host's defaults, telemetry and layers so: all callers in the process share one bundle
    that has them. Bundles that were loaded before are closed.

    Args:
        make: Makes the configuration from the variables, and from whether managed mode is required; raises
            `ConfigError`. None is `ConnectorConfig.from_env`.
    """
    global _config_of  # noqa: PLW0603 - what this function is for
    with _lock:
        _config_of = make
    reset_connectors()


def client_of(bundle: ConnectorBundle, service: str) -> PlatformHttpClient:
    """
    Return the client of *service* in a managed *bundle*, for an adapter that makes a connector of its own from it.

    Raises:
        ConfigError: The bundle has no such client, as one of mocks has none.
    """
    for client in bundle._clients:  # noqa: SLF001 - of this module
        if client.service == service:
            return client
    raise ConfigError(f"{service}: this bundle has no client of it")


def _retire(key: _Key, bundle: ConnectorBundle) -> None:
    """
    Let go of a bundle whose settings are gone.

    Its idle connections are closed now. Callers that have it, or one of its connectors, go on with new ones, and calls
    in flight end as they would have; when the last is done, nothing refers to it.
    """
    _earlier[key] = bundle
    for transport in bundle._transports:  # noqa: SLF001 - of this module
        transport.drop_connections()


def get_connectors() -> ConnectorBundle:
    """Return the process-wide bundle; without one, that of the environment, the same until `reset_connectors`."""
    global _frozen  # noqa: PLW0603 - what this function is for
    process_wide = _process_wide  # read once: it may be closed meanwhile
    if process_wide is not None:
        return process_wide
    if _frozen is None:
        _frozen = _from_environment()
    return _frozen


def reset_connectors() -> None:
    """Close the process-wide bundle and every one that was loaded from the environment, and drop them."""
    global _current, _frozen, _process_wide  # noqa: PLW0603 - see get_connectors
    with _lock:
        bundles = [*_earlier.values(), *([_current[1]] if _current else [])]
        bundles += [one for one in (_frozen, _process_wide) if one is not None]
        _earlier.clear()
        _logged.clear()
        _current = _frozen = _process_wide = None
    for bundle in bundles:
        bundle.request_close()


def is_managed_mode() -> bool:
    """
    Return whether the current environment selects managed mode.

    Never raises. For a switch with an unknown value, for which `load_connectors` raises, it returns False and logs one
    line at WARNING.
    """
    found: list[str] = []
    mode = mode_of(os.environ, found)
    if not found:
        return mode.managed
    with _lock:
        is_new = found != _logged
        _logged[:] = found
    if is_new:
        _warn("mode.unreadable", "; ".join(found))
    return False
