"""
Which connectors a bundle has: our own, and those that other packages add.

A package outside adds one without a change here: by an entry point of the group `mozaiks.connectors`, which needs no
import by the host, or by `register`. Its operations have settings, spans, metrics and typed errors as ours have.
"""

import inspect
import keyword
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Literal, TypeVar

from middleware._internal.forks import renew_in_child
from middleware.errors import ConfigError

from .base import Endpoint, PlatformHttpClient
from .billing import BillingConnector, ManagedBillingConnector, MockBillingConnector
from .discovery import DiscoveryConnector, ManagedDiscoveryConnector, MockDiscoveryConnector
from .hosting import HostingConnector, ManagedHostingConnector, MockHostingConnector
from .identity import IdentityConnector, ManagedIdentityConnector, MockIdentityConnector
from .payment import ManagedPaymentConnector, MockPaymentConnector, PaymentConnector
from .service import ManagedServiceConnector, MockServiceConnector, ServiceConnector

__all__ = ["Connector", "connectors", "register"]

_T = TypeVar("_T")

_GROUP = "mozaiks.connectors"
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")  # variables of settings separate their parts by `__`


@dataclass(frozen=True)
class Connector(Generic[_T]):
    """
    Declaration of a connector, by which the loader makes it; annotated with its Protocol, which type checkers verify.

        ORDERS: Connector[OrdersConnector] = Connector("orders", ManagedOrdersConnector, MockOrdersConnector)

    Its operations are the public coroutine methods of the managed class.

    Args:
        name: Name of the service: the bundle's field, and the name in settings, spans, metrics and errors.
        managed: Class of the connector that calls the platform, made from its client.
        mock: Makes the connector of self-hosted mode.
        base_url: Which base URL it calls: the gateway's, or that of the core's APIs.

    Raises:
        ConfigError: The name or the class is unusable.
    """

    name: str
    managed: Callable[[PlatformHttpClient], _T]
    mock: Callable[[], _T]
    base_url: Literal["gateway", "core"] = "gateway"

    def __post_init__(self) -> None:
        found = []
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name) or keyword.iskeyword(self.name):
            found.append(f"name: must be words in lower case joined by single underscores, got {self.name!r}")
        if not inspect.isclass(self.managed):
            found.append("managed: must be a class")
        elif not self.operations:
            found.append("managed: must have public coroutine methods")
        found += [f"managed.{one}: must have single underscores" for one in self.operations if not _NAME.fullmatch(one)]
        if not callable(self.mock):
            found.append("mock: must be callable")
        if self.base_url not in {"gateway", "core"}:
            found.append("base_url: must be gateway or core")
        if found:
            raise ConfigError([f"Connector.{problem}" for problem in found])

    @cached_property
    def operations(self) -> tuple[str, ...]:
        """Names of the operations, in the order of their definition; inherited ones first."""
        kinds = reversed(self.managed.__mro__) if inspect.isclass(self.managed) else ()
        names = dict.fromkeys(name for kind in kinds for name in vars(kind) if not name.startswith("_"))
        return tuple(name for name in names if inspect.iscoroutinefunction(getattr(self.managed, name)))

    def endpoint(self, operation: str) -> Endpoint[Any] | None:
        """Return what is declared of the requests of *operation*; None where nothing is."""
        declared = getattr(sys.modules.get(self.managed.__module__), "__dict__", {}).values()
        return next((one for one in declared if isinstance(one, Endpoint) and one.operation == operation), None)

    def declared_attempts(self, operation: str) -> int | None:
        """Return the most attempts that the endpoint of *operation* declares; None where it declares none (R11)."""
        endpoint = self.endpoint(operation)
        return None if endpoint is None else endpoint.max_attempts


_HOSTING: Connector[HostingConnector] = Connector("hosting", ManagedHostingConnector, MockHostingConnector)
_DISCOVERY: Connector[DiscoveryConnector] = Connector("discovery", ManagedDiscoveryConnector, MockDiscoveryConnector)
_IDENTITY: Connector[IdentityConnector] = Connector(
    "identity", ManagedIdentityConnector, MockIdentityConnector, base_url="core"
)
_BILLING: Connector[BillingConnector] = Connector(
    "billing", ManagedBillingConnector, MockBillingConnector, base_url="core"
)
_SERVICE: Connector[ServiceConnector] = Connector("service", ManagedServiceConnector, MockServiceConnector)
_PAYMENT: Connector[PaymentConnector] = Connector("payment", ManagedPaymentConnector, MockPaymentConnector)
_OWN: tuple[Connector[Any], ...] = (_HOSTING, _DISCOVERY, _IDENTITY, _BILLING, _SERVICE, _PAYMENT)
# Other attributes of a bundle, which no connector's field may hide.
_RESERVED = {"aclose", "bind", "calls_in_flight", "close_soon", "drain", "health", "mode", "mode_reason", "of"}
_RESERVED |= {"request_close"}

# Subcommands of `python3 -m runtime config`, which takes the name of a service in the same place.
_SUBCOMMANDS = {"check", "explain", "schema", "show", "simulate"}

_lock = threading.Lock()
_registered: tuple[Connector[Any], ...] = ()
_all: tuple[Connector[Any], ...] = ()  # empty until entry points are read, which costs milliseconds


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603 - a thread that does not exist in the child may have acquired it
    _lock = threading.Lock()


renew_in_child(_renew_lock)


def register(connector: Connector[Any]) -> None:
    """
    Add *connector* to the bundles that are loaded from now on; the same one again changes nothing.

    Raises:
        ConfigError: It is no `Connector`, or its name is in use.
    """
    global _registered, _all  # noqa: PLW0603 - the registry
    with _lock:
        _registered = _added(_registered, connector, "register")
        _all = ()


def connectors() -> tuple[Connector[Any], ...]:
    """
    Return all connectors: ours, those of entry points and registered ones; the same object until one is registered.

    Raises:
        ConfigError: An entry point cannot be loaded, is no `Connector`, or its name is in use.
    """
    global _all  # noqa: PLW0603 - see register
    known = _all
    if not known:
        # Without the lock: an import may wait for another thread, which imports the same package and registers.
        points = sorted(entry_points(group=_GROUP), key=lambda point: point.name)
        installed = [_loaded(point) for point in points]
        with _lock:
            found = _registered
            for connector, place in installed:
                found = _added(found, connector, place)
            known = _all = (*_OWN, *sorted(found, key=lambda one: one.name))
    return known


def _loaded(point: EntryPoint) -> tuple[Any, str]:
    """Return what an entry point names, and its place for people."""
    place = f"entry point {point.name} of {_GROUP}" + (
        f" ({point.dist.name} {point.dist.version})" if point.dist else ""
    )
    try:
        return point.load(), place
    except Exception as error:  # noqa: BLE001 - the package's own code runs
        problem = f"{place}: {point.value} cannot be loaded ({type(error).__name__})"
    raise ConfigError(problem)


def _added(known: tuple[Connector[Any], ...], connector: Any, place: str) -> tuple[Connector[Any], ...]:
    if not isinstance(connector, Connector):
        raise ConfigError(f"{place}: must be a Connector, got {type(connector).__name__}")
    if connector in known:
        return known
    if connector.name in _SUBCOMMANDS:
        raise ConfigError(f"{place}: the name {connector.name} is a subcommand of `python3 -m runtime config`")
    if connector.name in {*_RESERVED, *(one.name for one in (*_OWN, *known))}:
        raise ConfigError(f"{place}: the name {connector.name} is in use")
    return (*known, connector)
