"""Which transport sends the attempts: the one that the settings choose, or one that was passed in."""

import logging
from contextlib import suppress
from importlib import import_module
from typing import Any, Protocol

import httpx

from middleware._internal.loggers import LibraryLogger
from middleware.clock import Clock
from middleware.errors import ConfigError
from middleware.types import Transport

from . import h11_transport as _default  # noqa: F401
from .httpx_transport import HttpxTransport
from .transport_settings import AUTO, LIBRARIES, TransportSettings

# Imported with the package, since the import is too slow for a running event loop that makes its first client.
with suppress(ImportError):
    from . import httptools_transport as _fast  # noqa: F401

_log = LibraryLogger("mozaiks.transport")

__all__ = ["ClosableTransport", "DescribedTransport", "TransportSettings", "as_transport", "make_transport"]


class ClosableTransport(Transport, Protocol):
    """A transport whose connections are ours to close."""

    def request_close(self) -> None:
        """Close as `aclose` does, without waiting, from any thread: each event loop closes its own connections."""
        ...

    def drop_connections(self) -> None:
        """Close as `request_close` does, and stay open: later attempts open new connections."""
        ...


class DescribedTransport(ClosableTransport, Protocol):
    """A transport over one of the libraries to choose from."""

    def describe(self) -> str:
        """Return the library that is used, and which one for proxies, if that is another."""
        ...


def make_transport(config: TransportSettings, clock: Clock) -> DescribedTransport:
    """
    Make the transport that the settings choose.

    Raises:
        ConfigError: A file or a proxy of the settings cannot be used, or the library is not installed.
    """
    made: DescribedTransport = _transport_class(config.library)(config, clock)
    chosen = made.describe()
    with suppress(Exception):  # a host's handler that raises changes nothing
        _log.log(logging.DEBUG, f"transport.chosen {chosen}", {"event": "transport.chosen", "reason": chosen})
    return made


def _transport_class(library: str) -> Any:
    if library == AUTO:
        try:
            return _transport_class("httptools")
        except ConfigError:
            return _transport_class("h11")
    module, class_name, extra = LIBRARIES[library]
    try:
        return getattr(import_module(module), class_name)
    except ImportError:
        package = f"mozaiks-connector-runtime[{extra}]"
        raise ConfigError(f"TransportSettings.library: {library} is not installed; install {package}") from None


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
