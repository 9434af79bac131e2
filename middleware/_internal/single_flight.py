"""Blocking work in threads of its own, at most one at a time for each key."""

import asyncio
import errno
import threading
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from typing import Generic, TypeAlias, TypeVar

from .forks import renew_in_child

__all__ = ["SingleFlight"]

_T = TypeVar("_T")
_Result: TypeAlias = tuple[_T | None, BaseException | None]
_Waiters: TypeAlias = list[asyncio.Future[_Result[_T]]]


class SingleFlight(Generic[_T]):
    """
    Runs blocking work outside the event loop; all that wait for the same key share one run and its result.

    Each key has a thread of its own while its work runs. An executor has a few threads for all keys, so that some that
    hang would block the others, and the program would wait for them at its end.
    """

    def __init__(self) -> None:
        self._renew()
        renew_in_child(self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, _Waiters[_T]] = {}

    async def run(self, key: str, work: Callable[[], _T]) -> _T:
        """
        Return the result of *work*, or of the work for *key* that runs already, for this event loop or another one.

        It goes on when all that waited were cancelled.

        Raises:
            OSError: No thread can be started.
            BaseException: What the work raised; each waiter gets a copy.
        """
        waiter: asyncio.Future[_Result[_T]] = asyncio.get_running_loop().create_future()
        with self._lock:
            waiting = self._waiting.setdefault(key, [])
            waiting.append(waiter)
            if len(waiting) == 1:
                try:
                    threading.Thread(
                        target=self._fly, args=(key, work, waiting), name=f"mozaiks-{key}", daemon=True
                    ).start()
                except RuntimeError as error:
                    del self._waiting[key]
                    raise OSError(errno.EAGAIN, str(error)) from None
        result, raised = await waiter
        if raised is not None:
            raise copy(raised)  # one object would collect the tracebacks of all that wait
        return result  # type: ignore[return-value] # None only where the work returns it

    def _fly(self, key: str, work: Callable[[], _T], waiting: _Waiters[_T]) -> None:
        result: _Result[_T]
        try:
            result = work(), None
        except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
            result = None, error
        with self._lock:
            del self._waiting[key]
        for waiter in waiting:
            with suppress(RuntimeError):  # its event loop is closed
                waiter.get_loop().call_soon_threadsafe(_settle, waiter, result)


def _settle(waiter: asyncio.Future[_Result[_T]], result: _Result[_T]) -> None:
    if not waiter.done():  # else it was cancelled
        waiter.set_result(result)
