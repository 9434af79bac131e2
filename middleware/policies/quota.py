"""
The quota of an application's key at a service, shared by all processes that use the key.

The platform counts requests by key; a process knows its own alone. So admissions are made by a server that all
processes share, and what one of them learns from a Retry-After is shared there too. The server is a help and no
condition: while it cannot be used, each process keeps to its share of the quota.
"""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass, field
from random import Random
from typing import Annotated, Any, TypeVar

from middleware._internal.per_loop import PerLoop
from middleware.clock import Clock
from middleware.errors import ConfigError, RateLimitExceededError, StatusError
from middleware.events import AttemptRejected, Listener, QuotaAcquired, QuotaSource, QuotaSourceChanged
from middleware.records import CallInfo
from middleware.settings import SecretUrl, Settings, SettingsLookup, SettingSpec
from middleware.steps import Step
from middleware.types import Call, PlatformRequest

from .gcra import RateLimiter, RatePerSecond
from .penalty import Penalty
from .shared_limiter import NoSlotError, ServerIllError, SharedLimiter

__all__ = ["QuotaMiddleware", "QuotaSettings", "limiter_of"]

_T = TypeVar("_T")

_LOOK_S = 0.25
"""Seconds between two looks of an event loop at the server: for a penalty, and for whether it is well again."""

_NO_URL = SecretUrl()
_NOW_S = 1e-6
"""A slot that is no later than this is free now."""

_SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaSettings(Settings):
    """The quota of the application's key at one service; off by default."""

    per_second: Annotated[
        float,
        SettingSpec(
            doc="Attempts per second that all processes together may send with one application key; 0 means no quota.",
            unit="1/s",
            ge=0,
            le=100_000,
            shared=True,
            raise_when="The platform gives the key more.",
            lower_when="The platform responds 429 to the processes together.",
        ),
    ] = 0.0
    burst: Annotated[
        int,
        SettingSpec(
            doc="Attempts of all processes allowed back to back after idling, and once more after the server was away.",
            ge=1,
            le=100_000,
            shared=True,
            raise_when="Short bursts wait although the platform takes them.",
            lower_when="The platform rejects bursts that are within the quota.",
        ),
    ] = 20
    replicas: Annotated[
        int,
        SettingSpec(
            doc="Processes that share the quota: each has its share of it while the server cannot be used.",
            ge=1,
            le=100_000,
            shared=True,
            raise_when="More processes use the key: together their shares must not exceed the quota.",
            lower_when="Fewer processes use the key, and without the server they wait although the platform has room.",
        ),
    ] = 1
    local_burst: Annotated[
        int,
        SettingSpec(
            doc="Attempts of each process back to back without asking the server; this part of the quota is its own.",
            ge=0,
            le=100_000,
            shared=True,
            raise_when="A round trip to the server costs more than a slot that another process cannot use.",
            lower_when="Processes wait although others leave their own part unused.",
        ),
    ] = 0
    url: Annotated[
        SecretUrl,
        SettingSpec(
            doc="Redis or Valkey server that the processes share, redis:// or rediss://, or redis+sentinel:// for a "
            "primary by its name; empty: each process has its share. Needs the extra quota.",
            shared=True,
            raise_when="Several processes use one application key.",
            lower_when="Each process is to keep to its share alone: empty.",
        ),
    ] = _NO_URL

    def __post_init__(self) -> None:
        if isinstance(self.url, str):
            object.__setattr__(self, "url", SecretUrl(self.url))
        Settings.__post_init__(self)
        if self.url and self.url.reveal().partition("://")[0] not in _SCHEMES:
            raise ConfigError(f"{type(self).__name__}.url: must begin with one of {', '.join(_SCHEMES)} and ://")

    @property
    def own(self) -> RatePerSecond | None:
        """The part of the quota that each process has for itself; None for none."""
        each = min(self.local_burst, (self.burst - 1) // self.replicas)
        return RatePerSecond(self.per_second * each / self.burst, each) if each else None

    @property
    def common(self) -> RatePerSecond:
        """The part that all processes share."""
        own = self.own
        if own is None:
            return RatePerSecond(self.per_second, self.burst)
        return RatePerSecond(self.per_second - self.replicas * own.per_second, self.burst - self.replicas * own.burst)

    @property
    def share(self) -> RatePerSecond:
        """What each process keeps to without the server."""
        return RatePerSecond(self.per_second / self.replicas, max(1, self.burst // self.replicas))


def limiter_of(config: QuotaSettings) -> SharedLimiter | None:
    """
    Return the server that *config* names; None where it names none, or there is no quota.

    Raises:
        ConfigError: It cannot be used: a library is missing, or its URL is wrong.
    """
    if not config.url or not config.per_second:
        return None
    try:
        from .redis_limiter import RedisLimiter  # redis is an extra
    except ImportError:
        raise ConfigError(
            f"{type(config).__name__}.url: needs redis and ratelimit-io: pip install 'mozaiks-connector-runtime[quota]'"
        ) from None
    return RedisLimiter(config.url)


@dataclass(slots=True, eq=False, weakref_slot=True)
class _OfLoop:
    """
    What one event loop knows.

    Attributes:
        look_at: Clock reading of its next look at the server.
        looking: The present look.
        tasks: Its tasks, which a loop keeps weakly.
    """

    look_at: float = float("-inf")
    looking: asyncio.Task[bool] | None = None
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def start(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Run *work*, whose end no call waits for, in a context of its own."""
        task = asyncio.get_running_loop().create_task(work, context=Context())
        task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001 - a loop may be closed before it ends
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


class QuotaMiddleware(Step):
    """
    Delays attempts so that all processes together keep to the quota.

    Args:
        clock: Source of time.
        emit: Listener for admissions, rejections and changes of the source.
        random: Source of the jitter at the end of a penalty.
        server: What the processes share; None: each has its share.
        longest_penalty_s: Returns the longest Retry-After that is waited for, by the settings of a call.
    """

    def __init__(
        self,
        clock: Clock,
        emit: Listener,
        random: Random,
        server: SharedLimiter | None,
        longest_penalty_s: Callable[[Call], float],
    ) -> None:
        self._clock = clock
        self._emit = emit
        self._random = random
        self._server = server
        self._longest_penalty_s = longest_penalty_s
        self._penalty = Penalty()
        self._of_loop = PerLoop(_OfLoop)
        self._own, self._share = RateLimiter(), RateLimiter()
        # Whether the share applies, and since when: for all event loops and threads.
        self._is_local, self._changed_at = server is None, float("-inf")
        self._failed_at: float | None = None  # of the first failure since the last success
        self._lock = threading.Lock()

    def is_needed(self, settings: SettingsLookup) -> bool:
        """A quota is off by default."""
        return settings(QuotaSettings).per_second > 0

    def enter(self, request: PlatformRequest) -> Coroutine[Any, Any, None]:
        """
        Wait for the admission of this attempt.

        Raises:
            RateLimitExceededError: It would be admitted after the deadline; `retry_after_s` is the time until then.
        """
        return self._admit(request)

    def failed(self, request: PlatformRequest, _entered: Any, error: BaseException) -> BaseException:
        """Share the Retry-After of a throttled response."""
        if isinstance(error, StatusError) and error.is_throttled and error.retry_after_s:
            seconds = min(error.retry_after_s, self._longest_penalty_s(request.call))
            is_longer = self._penalty.note(self._clock.now(), seconds)
            if is_longer and self._server is not None and not self._is_local:
                self._of_loop.get().start(self._publish(self._server, request, seconds))
        return error

    async def aclose(self) -> None:
        """Close the connections to the server; idempotent."""
        if self._server is not None:
            await self._server.aclose()

    def request_close(self) -> None:
        """Close them without waiting, from any thread."""
        if self._server is not None:
            self._server.request_close()

    async def _admit(self, request: PlatformRequest) -> None:
        started = self._clock.now()
        penalty_s = 0.0
        while True:
            usable = self._server is not None and await self._look(self._server, request)
            penalty_s += await self._wait_for_penalty(request)
            source = await self._acquire(request, usable=usable)
            if self._server is not None:
                await self._look(self._server, request)
            if not self._penalty.left_s(self._clock.now()):
                break  # R72: else it began while this attempt waited, and what waits for its end needs a slot then
        self._emit(
            QuotaAcquired(
                call=request.call.info,
                source=source,
                waited_s=self._clock.now() - started,
                penalty_s=penalty_s,
            )
        )

    async def _wait_for_penalty(self, request: PlatformRequest) -> float:
        """Wait until no penalty is left, and return for how long that was; most calls wait for none (R72)."""
        started = now = self._clock.now()
        if not self._penalty.left_s(now):
            return 0.0
        jitter_s = self._random.uniform(0, self._penalty.jitter_s())  # R72: else all processes start in one moment
        while (left_s := self._penalty.left_s(now)) > 0:
            if now + left_s >= request.call.deadline_at:  # R71
                raise self._rejection(request, "Retry-After of an earlier response ends after the deadline", left_s)
            await self._clock.sleep(min(left_s + jitter_s, request.call.deadline_at - now))
            now = self._clock.now()
        return now - started

    async def _acquire(self, request: PlatformRequest, *, usable: bool) -> QuotaSource:
        """Acquire a slot; of the server only where it was *usable* a moment ago, so that a call waits once at most."""
        config = request.call.settings(QuotaSettings)
        own = config.own
        if own is not None and usable:
            now = self._clock.now()
            if self._own.reserve(now, now + _NOW_S, own) is not None:
                return "own"
        if self._server is not None and usable and not self._is_local:
            try:
                await self._acquire_shared(self._server, request, config)
            except ServerIllError:
                pass
            except NoSlotError as error:
                raise self._rejection(request, "its slot is after the deadline", error.retry_after_s) from None
            else:
                return "shared"
        return await self._acquire_share(request, config)

    async def _acquire_shared(self, server: SharedLimiter, request: PlatformRequest, config: QuotaSettings) -> None:
        """
        Wait for the admission by the server.

        Raises:
            NoSlotError: It would be after the deadline.
            ServerIllError: The server cannot be used.
        """
        started = self._clock.now()
        try:
            await server.acquire(_key(request), config.common, request.call.deadline_at - started)
        except ServerIllError as error:
            self._note_failure(request.call, error, started)
            raise
        self._failed_at = None

    async def _acquire_share(self, request: PlatformRequest, config: QuotaSettings) -> QuotaSource:
        """Wait for a slot of this process' share, or until the server is well and has an earlier one (R73)."""
        now, server, limiter = self._clock.now(), self._server, self._share
        slot = limiter.reserve(now, request.call.deadline_at, config.share)
        if slot is None:
            retry_after_s = limiter.wait_s(now, config.share)
            raise self._rejection(request, "its slot of this process' share is after the deadline", retry_after_s)
        due_at, may_ask = now + slot.wait_s, server is not None
        try:
            while (left_s := due_at - self._clock.now()) > 0:
                if server is None or not may_ask or left_s <= _LOOK_S:
                    await self._clock.sleep(left_s)
                    break
                await self._clock.sleep(_LOOK_S)
                if await self._look(server, request):
                    try:
                        await self._acquire_shared(server, request, config)
                    except (ServerIllError, NoSlotError):
                        may_ask = False  # the slot of the share is as good as it was
                    else:
                        return "shared"
        except BaseException:
            limiter.cancel_reservation(slot)
            raise
        return "local"

    async def _look(self, server: SharedLimiter, request: PlatformRequest) -> bool:
        """
        Look at the server where it is time to, and return whether it can be used.

        Calls wait for the look, so that a process that was idle sees a penalty too; but for one at an ill server,
        which is in no call's way.
        """
        of_loop = self._of_loop.get()
        if of_loop.looking is None or of_loop.looking.done():
            now = self._clock.now()
            if now < max(of_loop.look_at, self._changed_at + _LOOK_S if self._is_local else now):
                return not self._is_local
            of_loop.look_at = now + _LOOK_S
            longest_s = self._longest_penalty_s(request.call)
            of_loop.looking = of_loop.start(self._look_now(server, request.call, _key(request), longest_s))
        if self._is_local:
            return False
        looking = of_loop.looking
        await asyncio.wait((looking,))
        return not self._is_local and not looking.cancelled() and looking.result()

    async def _look_now(self, server: SharedLimiter, call: Call, key: str, longest_s: float) -> bool:
        started = self._clock.now()
        try:
            if self._is_local:
                await server.check(key)
            self._penalty.note_shared(self._clock.now(), await server.penalty_s(key), longest_s)
        except ServerIllError as error:
            self._note_failure(call, error, started)
            return False
        self._use_server(call.info)
        return True

    async def _publish(self, server: SharedLimiter, request: PlatformRequest, seconds: float) -> None:
        started, call = self._clock.now(), request.call
        try:
            await server.penalize(_key(request), seconds)
        except ServerIllError as error:
            self._note_failure(call, error, started)

    def _note_failure(self, call: Call, error: ServerIllError, started_at: float) -> None:
        """
        Let the share apply after two failures in a row, the second of what began after the first.

        One alone may be a stall of this process, as where its CPU is throttled: only what has failed goes by the share
        then, and no slot is used twice, since the server most likely has counted it.
        """
        now = self._clock.now()
        with self._lock:
            if self._is_local or started_at < self._changed_at:
                return
            is_first, is_second = self._failed_at is None, False
            if self._failed_at is None:
                self._failed_at = now
            elif started_at >= self._failed_at:
                self._is_local, self._changed_at, is_second = True, now, True
        if is_first and self._server is not None:
            # Those that wait have slots that the server counted, so what goes by the share comes after them.
            share = call.settings(QuotaSettings).share
            for _ in range(self._server.waiting()):
                self._share.reserve(now, float("inf"), share)
        if is_second:
            self._emit(QuotaSourceChanged(call=call.info, source="local", reason=str(error)))

    def _use_server(self, info: CallInfo) -> None:
        self._failed_at = None
        with self._lock:
            if not self._is_local:
                return
            self._is_local, self._changed_at, self._share = False, self._clock.now(), RateLimiter()
        self._emit(QuotaSourceChanged(call=info, source="shared", reason=""))

    def _rejection(self, request: PlatformRequest, reason: str, retry_after_s: float) -> RateLimitExceededError:
        self._emit(AttemptRejected(call=request.call.info, guard="quota", retry_after_s=retry_after_s))
        return RateLimitExceededError(f"shared quota: {reason}", retry_after_s=retry_after_s)


def _key(request: PlatformRequest) -> str:
    """Return what the quota is counted by: the service, and a digest of the key, which the server must not have."""
    digest = hashlib.sha256((request.app_key or "").encode()).hexdigest()
    return f"{request.call.info.service}:{digest[:16]}"
