"""Which transport sends the attempts: the one that the settings choose, or one that was passed in."""

from importlib import import_module
from typing import Protocol

import httpx

from middleware.clock import Clock
from middleware.errors import ConfigError
from middleware.types import Transport

# Imported with the package, since the import is too slow for a running event loop that makes its first client.
from . import httpcore_transport as _default  # noqa: F401
from .httpx_transport import HttpxTransport
from .transport_settings import LIBRARIES, TransportSettings

__all__ = ["ClosableTransport", "TransportSettings", "as_transport", "make_transport"]


class ClosableTransport(Transport, Protocol):
    """A transport whose connections are ours to close."""

    def request_close(self) -> None:
        """Close as `aclose` does, without waiting, from any thread: each event loop closes its own connections."""
        ...

    def drop_connections(self) -> None:
        """Close as `request_close` does, and stay open: later attempts open new connections."""
        ...


def make_transport(config: TransportSettings, clock: Clock) -> ClosableTransport:
    """
    Make the transport that the settings choose.

    Raises:
        ConfigError: A file or a proxy of the settings cannot be used, or the library is not installed.
    """
    module, class_name, extra = LIBRARIES[config.library]
    try:
        transport = getattr(import_module(module), class_name)
    except ImportError:
        package = f"mozaiks-connector-runtime[{extra}]"
        raise ConfigError(f"TransportSettings.library: {config.library} is not installed; install {package}") from None
    made: ClosableTransport = transport(config, clock)
    return made


def as_transport(
    given: Transport | httpx.AsyncBaseTransport | None, config: TransportSettings, clock: Clock
) -> Transport:
    """
    Return a transport as it is, wrap an httpx one, or make the one that the settings choose.

    Raises:
        ConfigError: As for `make_transport`.
    """
    if given is None:
        return make_transport(config, clock)
    return HttpxTransport(config, clock, given) if isinstance(given, httpx.AsyncBaseTransport) else given
