"""
What transports with connections of their own share.

Names, TLS, proxies, the life of connections, closing, and resources per event loop.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar

from middleware._internal.moved import renamed_member
from middleware._internal.per_loop import PerLoop
from middleware.clock import Clock
from middleware.errors import ClientClosedError

from .lifetime import Lifetime
from .proxies import env_proxies
from .resolver import Resolver
from .tls import TlsContext
from .transport_settings import TransportSettings

__all__ = ["LoopBoundTransport"]

_Resources = TypeVar("_Resources")


class LoopBoundTransport(Generic[_Resources]):
    """
    Base of a transport that works for many tasks, event loops and threads: what is bound to a loop is kept per loop.

    Args:
        config: The settings.
        clock: Source of time.
        make: Makes the resources of the running event loop, on their first use.
        sharing: Transport of the same settings whose names, TLS, proxies and life of connections are used; None for
            its own.

    Raises:
        ConfigError: A file or a proxy of the settings cannot be used.
    """

    def __init__(
        self,
        config: TransportSettings,
        clock: Clock,
        make: Callable[[], _Resources],
        sharing: "LoopBoundTransport[Any] | None" = None,
    ) -> None:
        self._config = config
        self._clock = clock
        if sharing is None:
            self._tls = TlsContext(config, clock.now)
            self._resolver = Resolver(config.dns_cache_s, clock.now)
            self._lifetime = Lifetime(config.connection_lifetime_s, clock.now)
            self._proxies = env_proxies(config)
        else:
            self._tls, self._resolver = sharing._tls, sharing._resolver  # noqa: SLF001 - of the same class
            self._lifetime, self._proxies = sharing._lifetime, sharing._proxies  # noqa: SLF001 - as above
        self._per_loop = PerLoop(make)
        # Returns the resources of the running event loop. Closing replaces it, so that no attempt pays for a check.
        self._resources: Callable[[], _Resources] = self._per_loop.get

    # An old name, for one release.
    close_soon = renamed_member("close_soon", "request_close")

    def _drain(self) -> list[tuple[asyncio.AbstractEventLoop, _Resources]]:
        """Reject further attempts, and return the resources to close with the loop that each is bound to."""
        self._resources = _reject
        return self._per_loop.drain()


def _reject() -> NoReturn:
    raise ClientClosedError("the client is closed")
