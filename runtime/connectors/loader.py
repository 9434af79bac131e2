"""
Loads the bundle of all connectors: managed or mock, as the configuration selects.

To add a connector: a field in `ConnectorBundle`, a line in `_managed` and one in `_mock`.
"""

import logging
import os
import threading
import warnings
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, fields
from functools import cache, partial, wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, get_type_hints

from middleware._internal.forks import renew_in_child
from middleware.clock import SystemClock
from middleware.errors import ConfigError, clear_traceback_locals
from middleware.host_layers import HostLayers, as_host_layers
from middleware.stack import Telemetry
from middleware.transports.registry import ClosableTransport, TransportSettings, make_transport
from runtime.settings import (
    FILE_VARIABLE,
    PREFIX,
    REQUIRE_VARIABLE,
    LiveSettings,
    ResolvedSettings,
    known_variables,
    no_such,
)
from runtime.settings.mode import GATEWAY_URL, HOSTING_MODE, MANAGED, mode_of
from runtime.settings.resolution import at_origins
from runtime.settings.typos import look_alikes

from .base import PlatformHttpClient, check_base_url
from .billing import BillingConnector, ManagedBillingConnector, MockBillingConnector
from .discovery import DiscoveryConnector, ManagedDiscoveryConnector, MockDiscoveryConnector
from .hosting import HostingConnector, ManagedHostingConnector, MockHostingConnector
from .identity import IdentityConnector, ManagedIdentityConnector, MockIdentityConnector
from .payment import ManagedPaymentConnector, MockPaymentConnector, PaymentConnector
from .service import ManagedServiceConnector, MockServiceConnector, ServiceConnector

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

_API_KEY = "MOZAIKS_GATEWAY_API_KEY"
_CORE_URL = "MOZAIKS_CORE_BASE_URL"
_READ = (HOSTING_MODE, MANAGED, GATEWAY_URL, _API_KEY, _CORE_URL)

# Unlike the logger of the calls, this one has no NullHandler: without a logging configuration Python prints its
# warnings on stderr. Mocks permit everything, so a program must not get them by mistake without a warning.
_log = logging.getLogger("mozaiks.mode")


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
            telemetry: Receives spans, metrics and events; None uses the process's global providers.
            middleware: Layers of the host's own; None has none.
            require_managed: Any mode but managed is an error, as with `MOZAIKS_CONNECTORS_REQUIRE_MANAGED=true`.

        Raises:
            ConfigError: Lists every unusable setting by its variable, or managed mode is required and not selected.
        """
        env = os.environ if environ is None else environ
        found: list[str] = []
        mode = mode_of(env, found)
        if not found and not mode.managed and (require_managed or mode.required):
            found.append(_not_managed(REQUIRE_VARIABLE if mode.required else "require_managed", mode.reason))
        values = {name: env.get(name, "").strip() for name in (GATEWAY_URL, _API_KEY, _CORE_URL)}
        policies = _collect(lambda: _policies(env, settings), found)
        for name in (GATEWAY_URL, _CORE_URL):
            if mode.managed and values[name]:
                _collect(partial(check_base_url, values[name], name=name), found)
        typos = _typos(env)
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
            core_base_url=values[_CORE_URL] or None,
            policies=policies,
            telemetry=telemetry or Telemetry(),
            middleware=as_host_layers(middleware),
            mode_reason=reason,
        )


def _policies(environ: Mapping[str, str], settings: Mapping[str, Any] | None) -> ResolvedSettings | LiveSettings:
    file, services = environ.get(FILE_VARIABLE, "").strip(), services_and_operations()
    if file:
        return LiveSettings(settings, environ=environ, file=Path(file), services=services)
    return ResolvedSettings(settings, environ=environ, services=services)


def _collect(make: Callable[[], _T], found: list[str]) -> _T | None:
    """Return the result of *make*; add the problems of its `ConfigError` to *found*, so that one error lists all."""
    try:
        return make()
    except ConfigError as error:
        found.extend(error.problems)
        return None


@cache
def _known_names() -> frozenset[str]:
    return frozenset({*_READ, *known_variables(services_and_operations())})


def _typos(environ: Mapping[str, str]) -> list[str]:
    """Return the variables that are not read and whose names are one edit away from one that is."""
    names = (
        name for name in environ if not name.startswith(PREFIX)
    )  # an unknown name with the prefix is an error already
    return [no_such(ascii(name)[1:-1], meant) for name, meant in look_alikes(names, _known_names())]


def _not_managed(place: str, reason: str) -> str:
    return f"{place}: managed mode is required, but {reason}"


def _warn(event: str, reason: str) -> None:
    _log.warning("%s %s", event, reason, extra={"event": event, "reason": reason})


@dataclass(frozen=True, kw_only=True)
class ConnectorBundle:
    """
    All available platform connectors.

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

    @property
    def calls_in_flight(self) -> int:
        """Calls begun and not ended, of all services and on all event loops."""
        return sum(client.calls_in_flight for client in self._clients)

    async def aclose(self) -> None:
        """Close all connections to the platform; idempotent."""
        _release(self)
        for transport in self._transports:
            await transport.aclose()

    def request_close(self) -> None:
        """Close all connections without waiting; may be called from any thread. Each event loop closes its own."""
        _release(self)
        for transport in self._transports:
            transport.request_close()

    def close_soon(self) -> None:
        """Deprecated: the old name of `request_close`."""
        text = "ConnectorBundle.close_soon is now called request_close; the old name goes with the next release"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        self.request_close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def services_and_operations() -> dict[str, tuple[str, ...]]:
    """Return the operations by service: the public methods of the Protocol of each connector in the bundle."""
    hints = get_type_hints(ConnectorBundle)
    return {
        known.name: tuple(name for name in vars(hints[known.name]) if not name.startswith("_"))
        for known in fields(ConnectorBundle)
        if known.name not in {"mode", "mode_reason", "_transports", "_clients"}
    }


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
    transports: dict[TransportSettings, ClosableTransport] = {}  # services with the same settings share connections
    clients: list[PlatformHttpClient] = []

    def http(service: str, base_url: str | None = None) -> PlatformHttpClient:
        wire = config.policies.of(service).transport
        if wire not in transports:
            transports[wire] = open_transport(config, service)
        client = PlatformHttpClient(
            base_url or config.gateway_base_url,
            config.api_key,
            service=service,
            policies=config.policies,
            transport=transports[wire],
            telemetry=config.telemetry,
            middleware=config.middleware,
        )
        clients.append(client)
        return client

    bundle = ConnectorBundle(
        hosting=ManagedHostingConnector(http("hosting")),
        discovery=ManagedDiscoveryConnector(http("discovery")),
        identity=ManagedIdentityConnector(http("identity", config.core_base_url)),
        billing=ManagedBillingConnector(http("billing", config.core_base_url)),
        service=ManagedServiceConnector(http("service")),
        payment=ManagedPaymentConnector(http("payment")),
        mode="managed",
        mode_reason=_reason(config),
        _transports=tuple(transports.values()),
        _clients=tuple(clients),
    )
    for service, operations in services_and_operations().items():
        connector = getattr(bundle, service)
        for operation in operations:
            setattr(connector, operation, _clearing_arguments(getattr(connector, operation)))
    return bundle


def _clearing_arguments(method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Wrap *method* so that an error's traceback keeps none of its arguments, the user's token among them (R52)."""

    async def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await coroutine
        except BaseException as error:
            clear_traceback_locals(error)
            raise

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        return run(method(*args, **kwargs))  # not async: this frame ends at once, and its arguments with it

    return call


def _reason(config: ConnectorConfig) -> str:
    return config.mode_reason or f"the program chose it by ConnectorConfig(managed_mode={config.managed_mode})"


def _mock(config: ConnectorConfig) -> ConnectorBundle:
    return ConnectorBundle(
        hosting=MockHostingConnector(),
        discovery=MockDiscoveryConnector(),
        identity=MockIdentityConnector(),
        billing=MockBillingConnector(),
        service=MockServiceConnector(),
        payment=MockPaymentConnector(),
        mode="self_hosted",
        mode_reason=_reason(config),
    )


# The core loads once per HTTP request and never closes: the same settings must return the same bundle, or each request
# would leak its connections and start with an empty circuit breaker.
_lock = threading.RLock()  # a signal handler may close a bundle while its thread loads one
_by_settings: dict[tuple[tuple[str, str], ...], ConnectorBundle] = {}
_frozen: ConnectorBundle | None = None
_process_wide: ConnectorBundle | None = None  # loaded from a config, for every caller in the process
_logged: list[str] = []  # what is_managed_mode last logged


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
    `ConnectorConfig.from_env` are logged once per bundle. Loading from a config returns a new bundle, which the caller
    closes. With *process_wide* every other caller in the process gets it too, by `load_connectors()` and
    `get_connectors()`, until it is closed or `reset_connectors` is called: one circuit breaker per service.

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
        return _load_process_wide(config) if process_wide else _load(config)
    if process_wide:
        raise ConfigError("process_wide: needs a config")
    bundle = _process_wide or _from_environment(require_managed=require_managed)
    if require_managed and bundle.mode != "managed":
        raise ConfigError(_not_managed("require_managed", bundle.mode_reason))
    return bundle


def _load(config: ConnectorConfig) -> ConnectorBundle:
    return _managed(config) if config.managed_mode else _mock(config)


def _load_process_wide(config: ConnectorConfig) -> ConnectorBundle:
    global _process_wide  # noqa: PLW0603 - what the argument is for
    with _lock:
        if _process_wide is not None:
            raise ConfigError("process_wide: another bundle is process-wide; close it first")
        _process_wide = _load(config)
        return _process_wide


def _release(bundle: ConnectorBundle) -> None:
    """Let a bundle that is being closed be process-wide no longer."""
    global _process_wide  # noqa: PLW0603 - see _load_process_wide
    if _process_wide is bundle:  # no lock for any other bundle, and then again under it: two may close at once
        with _lock:
            if _process_wide is bundle:
                _process_wide = None


def _from_environment(*, require_managed: bool = False) -> ConnectorBundle:
    settings = _snapshot()
    bundle = _by_settings.get(settings)
    if bundle is None:
        with _lock:
            bundle = _by_settings.get(settings)
            if bundle is None:
                # All names, since a typo may be in any of them; of values only those that are read.
                environ = {**dict.fromkeys(os.environ, ""), **dict(settings)}
                loaded = ConnectorConfig.from_env(environ, require_managed=require_managed)
                bundle = _by_settings[settings] = _load(loaded)
    return bundle


def _snapshot() -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in os.environ.items() if name in _READ or name.startswith(PREFIX))


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
    global _frozen, _process_wide  # noqa: PLW0603 - see get_connectors
    with _lock:
        bundles = list(_by_settings.values())
        if _process_wide is not None:
            bundles.append(_process_wide)
        _by_settings.clear()
        _logged.clear()
        _frozen = _process_wide = None
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
