"""The terminal of the stack: which transport sends the attempts."""

from typing import Protocol

import httpx

from middleware.clock import Clock
from middleware.errors import ConfigError
from middleware.types import Transport

from .response_reader import TransportSettings
from .httpcore_transport import HttpcoreTransport
from .httpx_transport import HttpxTransport

__all__ = ["ClosableTransport", "TransportSettings", "as_transport", "make_transport"]


class ClosableTransport(Transport, Protocol):
    """A transport whose connections are ours to close."""

    def request_close(self) -> None:
        """As `aclose`, from code that cannot wait: each event loop closes its own connections when it gets to it."""
        ...


def make_transport(config: TransportSettings, clock: Clock) -> ClosableTransport:
    """
    Make the transport that the settings ask for.

    Raises:
        ConfigError: A file, a proxy or the library that the settings ask for cannot be used.
    """
    if config.library == "httpcore":
        return HttpcoreTransport(config, clock)
    try:
        from .aiohttp_transport import AiohttpTransport
    except ImportError:
        extra = "mozaiks-connector-runtime[aiohttp]"
        raise ConfigError(f"TransportSettings.library: aiohttp is not installed; install {extra}") from None
    return AiohttpTransport(config, clock)


def as_transport(
    given: Transport | httpx.AsyncBaseTransport | None, config: TransportSettings, clock: Clock
) -> Transport:
    """
    Take a transport as it is, wrap an httpx one, or make the one that the settings ask for.

    Raises:
        ConfigError: As for `make_transport`.
    """
    if given is None:
        return make_transport(config, clock)
    return HttpxTransport(config, clock, given) if isinstance(given, httpx.AsyncBaseTransport) else given
