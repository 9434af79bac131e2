"""
Slots and penalties in Redis or Valkey: the one module that knows the client's and the limiter's library.

Why this limiter: docs/decisions/0004-quota.md. Imported where a quota names a server, since both are extras.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from ratelimit_io import Algorithm, Limit, RateLimiter, RateLimitExceededError
from redis import exceptions
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff

from middleware._internal.per_loop import PerLoop
from middleware._internal.time_limit import TimeLimit
from middleware.errors import ConfigError
from middleware.settings import SecretUrl

from .gcra import Rate
from .shared_limiter import NoSlotError, ServerIllError

__all__ = ["RedisLimiter"]

_T = TypeVar("_T")

_LIMIT_S = 0.1
"""For a whole command, connecting included: what an ill server may cost a call (R73)."""
_CONNECTIONS = 4
"""Of one event loop and service: a command takes a fraction of a millisecond, and so many processes connect at once."""
_SENTINEL_S = _LIMIT_S / 4  # so that one that is away takes no time from the next
_PREFIX = "mozaiks:quota"
_SHORTEST_PERIOD_S = 0.05
"""The limiter counts in whole milliseconds, which is at most 2 % of this."""
_CHECKED = Limit(1, seconds=1)
_SENTINEL_PORT = 26379

# In this order: the first that matches. Bounded, since it is a label of a metric.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.ReadOnlyError, "read_only"),
    (exceptions.OutOfMemoryError, "out_of_memory"),
    (exceptions.BusyLoadingError, "loading"),
    (exceptions.AuthenticationError, "not_allowed"),
    (exceptions.NoPermissionError, "not_allowed"),
    (exceptions.TimeoutError, "timeout"),
    (MasterNotFoundError, "no_primary"),
    (exceptions.ConnectionError, "unreachable"),
    (OSError, "unreachable"),
)


class _NoProgress:
    """Of a command, no piece shows that its response is arriving."""

    pieces_read = 0


_NO_PROGRESS = _NoProgress()


class _Client(Redis):
    """
    A client whose commands end in time, and of which only so many run at once.

    redis-py has limits for connecting, writing and reading each, and none for a command, nor for its place in the
    queue for a connection; a connection too many is an error. Here commands wait, and one that has waited while another
    one failed is not sent: the server is ill.

    Attributes:
        gate: Lets so many commands run at once.
        pending: Commands that wait or run.
        failures: Commands that failed for the server's sake.
        sentinels: Clients of the sentinels that it asks for the primary.
    """

    gate: asyncio.Semaphore
    sentinels: "Sequence[Redis]" = ()
    pending = 0
    failures = 0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Execute a command; raises `redis.exceptions.TimeoutError` when its time is over."""
        failures = self.failures
        self.pending += 1
        try:
            async with self.gate:
                if failures == self.failures:
                    with TimeLimit(_LIMIT_S, _NO_PROGRESS):
                        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
            raise exceptions.TimeoutError  # noqa: TRY301 - counted as the library's own; so is one that was not sent
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError):
            self.failures += 1
            raise
        finally:
            self.pending -= 1


class _OfLoop:
    """
    The client and limiter of one event loop.

    Attributes:
        acquiring: Attempts between the start of their reservation and their slot.
        tasks: What closes it, since a loop keeps tasks weakly.
    """

    def __init__(self, url: SecretUrl) -> None:
        self.client = _open(url.reveal())
        self.client.gate = asyncio.Semaphore(_CONNECTIONS)
        self.limiter = RateLimiter(self.client, algorithm=Algorithm.GCRA, key_prefix=_PREFIX)
        self.acquiring = 0
        self.tasks = set[asyncio.Task[None]]()
        # `asyncio.run` closes the generators of its loop when it ends, and so these connections: a loop may end
        # without closing the client, and their descriptors would be left to the garbage collector.
        self._closing = self._close_at_end()
        begun = self._closing.__anext__()
        with suppress(StopIteration):  # up to its `yield`, where it waits for nothing
            begun.send(None)

    async def _close_at_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            for one in (self.client, *self.client.sentinels):
                await one.aclose()

    async def aclose(self) -> None:
        await self._closing.aclose()


class RedisLimiter:
    """
    A `SharedLimiter` in Redis or Valkey. One client per event loop, none that a process made by fork has inherited.

    Args:
        url: The server.

    Raises:
        ConfigError: The URL is wrong; its text does not show it.
    """

    def __init__(self, url: SecretUrl) -> None:
        try:
            pool: Any = _open(url.reveal()).connection_pool
            pool.make_connection()  # is not connected, and takes no option that it does not know
        except _UrlError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - the library's; it may quote the URL, and so it is not chained
            problem = f"is no URL of a server, or has a wrong option ({type(error).__name__})"
        else:
            problem = ""
        if problem:
            raise ConfigError(f"QuotaSettings.url: {problem}")
        self._loops = PerLoop(partial(_OfLoop, url))

    async def acquire(self, key: str, rate: Rate, max_wait_s: float) -> None:
        """As `SharedLimiter.acquire`."""
        mine = self._loops.get()
        mine.acquiring += 1
        try:
            limit = _limit(rate.per_second, rate.burst)
            await _usable(mine.limiter.acquire(key, limit=limit, max_wait=max(0.0, max_wait_s)))
        finally:
            mine.acquiring -= 1

    def waiting(self) -> int:
        """As `SharedLimiter.waiting`."""
        return sum(max(0, one.acquiring - one.client.pending) for one in self._loops.all())

    async def check(self, key: str) -> None:
        """As `SharedLimiter.check`: the limiter's script is run with a key that nothing else uses."""
        await _usable(self._loops.get().limiter.acquire(f"{key}:check:{uuid4().hex}", limit=_CHECKED))

    async def penalty_s(self, key: str) -> float:
        """As `SharedLimiter.penalty_s`."""
        left_ms: int = await _usable(self._loops.get().client.pttl(_penalty(key)))
        return max(0, left_ms) / 1000

    async def penalize(self, key: str, seconds: float) -> None:
        """As `SharedLimiter.penalize`."""
        await _usable(_penalize(self._loops.get().client, _penalty(key), max(1, math.ceil(seconds * 1000))))

    async def aclose(self) -> None:
        """As `SharedLimiter.aclose`."""
        here = asyncio.get_running_loop()
        for loop, one in self._loops.drain():
            if loop is here:
                await one.aclose()
            else:
                _close_in(loop, one)

    def request_close(self) -> None:
        """As `SharedLimiter.request_close`."""
        for loop, one in self._loops.drain():
            _close_in(loop, one)


def _close_in(loop: asyncio.AbstractEventLoop, one: _OfLoop) -> None:
    loop.call_soon_threadsafe(lambda: one.tasks.add(loop.create_task(one.aclose())))


async def _usable(work: Awaitable[_T]) -> _T:
    """
    Return the result of *work*.

    Raises:
        NoSlotError: The limiter has no slot in time.
        ServerIllError: It failed; no call fails for the server's sake, whatever a library raises.
    """
    try:
        return await work
    except RateLimitExceededError as error:
        raise NoSlotError(error.retry_after) from None
    except Exception as error:  # noqa: BLE001 - see above
        reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), "error")
    raise ServerIllError(reason)  # unchained: the text of the error may quote the URL


@lru_cache(maxsize=64)
def _limit(per_second: float, burst: int) -> Limit:
    """Return the limiter's form of a rate: so many in the time in which as many become free."""
    requests = max(burst, math.ceil(per_second * _SHORTEST_PERIOD_S))
    period_ms = math.ceil(requests / per_second * 1000 - 1e-6)  # rounded up: never more than the quota
    return Limit(requests, seconds=period_ms / 1000)


def _penalty(key: str) -> str:
    return f"{_PREFIX}:penalty:{key}"


async def _penalize(client: _Client, name: str, milliseconds: int) -> None:
    if await client.set(name, 1, nx=True, px=milliseconds):
        return
    try:
        await client.pexpire(name, milliseconds, gt=True)
    except exceptions.ResponseError:  # before Redis 7: look first; a later end that comes in between may be lost
        if await client.pttl(name) < milliseconds:
            await client.pexpire(name, milliseconds)


class _UrlError(Exception):
    """What is wrong with a URL, without the URL."""


def _open(url: str) -> _Client:
    """
    Make a client, which connects when it is used.

    `redis+sentinel://[user:password@]host[:port],host[:port]…/name[/database]` asks the sentinels for the primary of
    that name; credentials and options are those of the servers, and the sentinels have none.
    """
    # They win over the URL's. The command's own limit ends it; these are for what it cannot see. No retries: a command
    # whose response is late is executed twice then.
    options: dict[str, Any] = {
        "socket_timeout": 10 * _LIMIT_S,
        "socket_connect_timeout": 10 * _LIMIT_S,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "protocol": 2,  # needs no handshake, and every server speaks it
        "max_connections": _CONNECTIONS,
    }
    if not url.partition("://")[0].endswith("+sentinel"):
        given: dict[str, Any] = {**parse_url(url), **options}
        client: _Client = _Client.from_pool(ConnectionPool(**given))  # type: ignore[assignment] # typed as its base
        return client
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    name, _, database = parts.path.strip("/").partition("/")
    if not name:
        raise _UrlError("must have the name of the primary as its path: redis+sentinel://host,host/name")
    if database and not database.isdecimal():
        raise _UrlError("must have a number as the database: redis+sentinel://host,host/name/0")
    sentinels = [_address(host) for host in hosts.split(",")]
    quick = options | {"socket_timeout": _SENTINEL_S, "socket_connect_timeout": _SENTINEL_S}
    manager = Sentinel(  # type: ignore[no-untyped-call]
        sentinels,
        sentinel_kwargs=quick,
        ssl=parts.scheme.startswith("rediss"),
        username=unquote(user) or None,
        password=unquote(password) or None,
        db=int(database or 0),
        **{**parse_url(f"redis://?{parts.query}"), **options},
    )
    primary: _Client = manager.master_for(name, redis_class=_Client)
    primary.sentinels = manager.sentinels
    return primary


def _address(host: str) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise _UrlError("must name the sentinels: redis+sentinel://host,host/name")
    return parts.hostname, parts.port or _SENTINEL_PORT
