"""
The bundle of all connectors, in the implementation that the configuration asks for.

To add a connector: a field in `ConnectorBundle`, a line in `_managed` and one in `_mock`.
"""

import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, fields
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_type_hints

from middleware.clock import SystemClock
from middleware.errors import forget_locals
from middleware.stack import Telemetry
from middleware.transport import OwnTransport, TransportConfig, make_transport
from runtime.config import FILE_VARIABLE, PREFIX, LivePolicies, Policies

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

_TRUTHY = frozenset({"1", "true", "yes", "y", "on"})
_MODE = "MOZAIKS_HOSTING_MODE"
_MANAGED = "MOZAIKS_MANAGED"
_GATEWAY_URL = "MOZAIKS_GATEWAY_BASE_URL"
_API_KEY = "MOZAIKS_GATEWAY_API_KEY"
_CORE_URL = "MOZAIKS_CORE_BASE_URL"
_READ = (_MODE, _MANAGED, _GATEWAY_URL, _API_KEY, _CORE_URL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorConfig:
    """
    What the loader needs to know.

    Attributes:
        managed_mode: True for the real API, False for mocks.
        gateway_base_url: Base URL of the platform's gateway; required in managed mode.
        api_key: The application's key at the gateway; None or blank sends none.
        core_base_url: Base URL for identity and billing; None or blank takes the gateway's.
        policies: Settings of the services' stacks: a fixed snapshot, or one that follows a file.
        telemetry: Where spans, metrics and events go.

    Raises:
        ConfigError: A value is unusable.
    """

    managed_mode: bool = False
    gateway_base_url: str = ""
    api_key: str | None = field(default=None, repr=False)
    core_base_url: str | None = None
    policies: Policies | LivePolicies = field(default_factory=Policies, compare=False)
    telemetry: Telemetry = field(default_factory=Telemetry, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.managed_mode:
            check_base_url(self.gateway_base_url, name="gateway_base_url")
            if self.core_base_url:
                check_base_url(self.core_base_url, name="core_base_url")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, settings: Mapping[str, Any] | None = None) -> Self:
        """
        Read the configuration from the environment; nothing else in this library reads `MOZAIKS_*`.

        Managed mode needs a switch, `MOZAIKS_HOSTING_MODE=hosted` or a truthy `MOZAIKS_MANAGED`, and
        `MOZAIKS_GATEWAY_BASE_URL`; anything less is self-hosted mode. Where `MOZAIKS_CONNECTORS_FILE` names a TOML file
        of settings, they follow it while the program runs.

        Args:
            environ: Variables to read instead of the process's own.
            settings: Settings of the stacks as nested mappings, as in the file; stronger than both other sources.

        Raises:
            ConfigError: Lists every unusable setting by its variable.
        """
        env = os.environ if environ is None else environ
        values = {name: env.get(name, "").strip() for name in _READ}
        file = env.get(FILE_VARIABLE, "").strip()
        services = services_and_operations()
        policies: Policies | LivePolicies = (
            LivePolicies(settings, environ=env, file=Path(file), services=services)
            if file
            else Policies(settings, environ=env, services=services)
        )
        managed = _is_managed(values)
        if managed:
            check_base_url(values[_GATEWAY_URL], name=_GATEWAY_URL)
            if values[_CORE_URL]:
                check_base_url(values[_CORE_URL], name=_CORE_URL)
        return cls(
            managed_mode=managed,
            gateway_base_url=values[_GATEWAY_URL],
            api_key=values[_API_KEY] or None,
            core_base_url=values[_CORE_URL] or None,
            policies=policies,
        )


def _is_managed(values: Mapping[str, str]) -> bool:
    switched_on = values[_MODE].lower() == "hosted" or values[_MANAGED].lower() in _TRUTHY
    return switched_on and bool(values[_GATEWAY_URL])


@dataclass(frozen=True, kw_only=True)
class ConnectorBundle:
    """
    All available platform connectors.

    Attributes:
        mode: `managed` or `self_hosted`.
    """

    hosting: HostingConnector
    discovery: DiscoveryConnector
    identity: IdentityConnector
    billing: BillingConnector
    service: ServiceConnector
    payment: PaymentConnector
    mode: Literal["managed", "self_hosted"]
    _transports: tuple[OwnTransport, ...] = field(default=(), repr=False, compare=False)

    async def aclose(self) -> None:
        """Close all connections to the platform; idempotent."""
        for transport in self._transports:
            await transport.aclose()

    def close_soon(self) -> None:
        """As `aclose`, from code that cannot wait."""
        for transport in self._transports:
            transport.close_soon()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def services_and_operations() -> dict[str, tuple[str, ...]]:
    """Operations by service: the public methods of what stands in the bundle's fields, but those about itself."""
    hints = get_type_hints(ConnectorBundle)
    return {
        known.name: tuple(name for name in vars(hints[known.name]) if not name.startswith("_"))
        for known in fields(ConnectorBundle)
        if known.name not in {"mode", "_transports"}
    }


def _managed(config: ConnectorConfig) -> ConnectorBundle:
    transports: dict[TransportConfig, OwnTransport] = {}  # services with the same settings share connections

    def http(service: str, base_url: str | None = None) -> PlatformHttpClient:
        wire = config.policies.of(service).transport
        if wire not in transports:
            transports[wire] = make_transport(wire, SystemClock())
        return PlatformHttpClient(
            base_url or config.gateway_base_url,
            config.api_key,
            service=service,
            policies=config.policies,
            transport=transports[wire],
            telemetry=config.telemetry,
        )

    bundle = ConnectorBundle(
        hosting=ManagedHostingConnector(http("hosting")),
        discovery=ManagedDiscoveryConnector(http("discovery")),
        identity=ManagedIdentityConnector(http("identity", config.core_base_url)),
        billing=ManagedBillingConnector(http("billing", config.core_base_url)),
        service=ManagedServiceConnector(http("service")),
        payment=ManagedPaymentConnector(http("payment")),
        mode="managed",
        _transports=tuple(transports.values()),
    )
    for service, operations in services_and_operations().items():
        connector = getattr(bundle, service)
        for operation in operations:
            setattr(connector, operation, _forgetful(getattr(connector, operation)))
    return bundle


def _forgetful(method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Let the method's own frame forget its arguments, the token among them, when it ends with an error."""

    async def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await coroutine
        except BaseException as error:
            forget_locals(error)
            raise

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        return run(method(*args, **kwargs))  # not async: the arguments leave with this frame

    return call


def _mock() -> ConnectorBundle:
    return ConnectorBundle(
        hosting=MockHostingConnector(),
        discovery=MockDiscoveryConnector(),
        identity=MockIdentityConnector(),
        billing=MockBillingConnector(),
        service=MockServiceConnector(),
        payment=MockPaymentConnector(),
        mode="self_hosted",
    )


# The core loads once per HTTP request and never closes: the same settings must give the same bundle, or each request
# would leak its connections and start with a breaker that has seen nothing.
_lock = threading.Lock()
_by_settings: dict[tuple[tuple[str, str], ...], ConnectorBundle] = {}
_frozen: ConnectorBundle | None = None


def load_connectors(config: ConnectorConfig | None = None) -> ConnectorBundle:
    """
    Load the connectors for *config*; without it, for the environment as it is now.

    Loading from the environment is cheap and gives the same bundle for the same settings. Loading from a config
    gives a new bundle, which the caller closes.

    Raises:
        ConfigError: A setting is unusable.
    """
    if config is not None:
        return _managed(config) if config.managed_mode else _mock()
    settings = _snapshot()
    bundle = _by_settings.get(settings)
    if bundle is None:
        with _lock:
            bundle = _by_settings.get(settings)
            if bundle is None:
                bundle = _by_settings[settings] = load_connectors(ConnectorConfig.from_env(dict(settings)))
    return bundle


def _snapshot() -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in os.environ.items() if name in _READ or name.startswith(PREFIX))


def get_connectors() -> ConnectorBundle:
    """Return the process's bundle: loaded from the environment once, the same until `reset_connectors`."""
    global _frozen  # noqa: PLW0603 - the process-wide bundle is what this function is for
    if _frozen is None:
        _frozen = load_connectors()
    return _frozen


def reset_connectors() -> None:
    """Forget and close every bundle that was loaded from the environment."""
    global _frozen  # noqa: PLW0603 - see get_connectors
    with _lock:
        bundles = list(_by_settings.values())
        _by_settings.clear()
        _frozen = None
    for bundle in bundles:
        bundle.close_soon()


def is_managed_mode() -> bool:
    """Does the environment, as it is now, ask for managed mode?"""
    return _is_managed({name: os.environ.get(name, "").strip() for name in _READ})
