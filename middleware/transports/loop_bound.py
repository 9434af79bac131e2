"""
What transports with connections of their own share.

Names, TLS, proxies, the life of connections, closing, and resources per event loop.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Generic, NoReturn, TypeVar

from middleware._internal.moved import renamed_member
from middleware._internal.per_loop import PerLoop
from middleware.clock import Clock
from middleware.errors import ClientClosedError

from .idle_connections import IdleConnections, KeptConnection
from .lifetime import Lifetime
from .origin import Origin, Origins
from .proxies import env_proxies
from .resolver import Resolver
from .tls import TlsContext
from .transport_settings import TransportSettings

__all__ = ["KeepingTransport", "LoopBoundTransport"]

_Resources = TypeVar("_Resources")
_Connection = TypeVar("_Connection", bound=KeptConnection)


class LoopBoundTransport(Generic[_Resources]):
    """
    Base of a transport that works for many tasks, event loops and threads: what is bound to a loop is kept per loop.

    Args:
        config: The settings.
        clock: Source of time.
        make: Makes the resources of the running event loop, on their first use.
        end: Closes the resources of an event loop that was closed.
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
        end: Callable[[_Resources], None],
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
        self._per_loop = PerLoop(make, end)
        # Returns the resources of the running event loop. Closing replaces it, so that no attempt pays for a check.
        self._resources: Callable[[], _Resources] = self._per_loop.get

    # An old name, for one release.
    close_soon = renamed_member("close_soon", "request_close")

    def _drain(self) -> list[tuple[asyncio.AbstractEventLoop, _Resources]]:
        """Reject further attempts, and return the resources to close with the loop that each is bound to."""
        self._resources = _reject
        return self._per_loop.drain()


class KeepingTransport(LoopBoundTransport[IdleConnections[Origin, _Connection]], Generic[_Connection]):
    """
    Base of a transport whose event loops keep `IdleConnections`.

    Args:
        config: The settings.
        clock: Source of time.
        sharing: As for `LoopBoundTransport`.
    """

    def __init__(
        self, config: TransportSettings, clock: Clock, sharing: "LoopBoundTransport[Any] | None" = None
    ) -> None:
        super().__init__(
            config,
            clock,
            lambda: IdleConnections(config.keepalive_expiry_s, clock.now),
            IdleConnections[Origin, _Connection].close,
            sharing,
        )
        self._origins = Origins(self._proxies)

    async def aclose(self) -> None:
        """Close idle connections now and busy ones when their attempt ends; idempotent."""
        self.request_close()
        # equivalent: `-1`: asyncio reads it as 0
        await asyncio.sleep(0)  # the running loop closes its sockets in its next iteration

    def request_close(self) -> None:
        """Close as `aclose` does, without waiting, from any thread: each event loop closes its own connections."""
        _close_each(self._drain())

    def drop_connections(self) -> None:
        """Close as `request_close` does, and stay open: later attempts open new connections."""
        _close_each(self._per_loop.drain())


def _close_each(drained: Iterable[tuple[asyncio.AbstractEventLoop, IdleConnections[Any, Any]]]) -> None:
    for loop, idle in drained:
        try:
            loop.call_soon_threadsafe(idle.close)
        except RuntimeError:  # the loop has just been closed, by its thread
            idle.close()


def _reject() -> NoReturn:
    raise ClientClosedError("the client is closed")
