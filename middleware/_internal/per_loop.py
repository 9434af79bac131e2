"""One value per event loop, for objects bound to a loop: the core re-creates loops and uses several threads."""

import asyncio
import threading
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from .forks import renew_in_child

__all__ = ["PerLoop"]

_T = TypeVar("_T")

_OF_THE_PARENT: list[object] = []


class PerLoop(Generic[_T]):
    """
    One value per event loop; a process made by fork begins without any.

    Args:
        make: Makes the value of the running event loop, on its first use.
        end: Called with the value of an event loop that was closed, when that is noticed; from any thread.
    """

    def __init__(self, make: Callable[[], _T], end: Callable[[_T], None] = lambda _value: None) -> None:
        self._make = make
        self._end = end
        self._renew()
        renew_in_child(self._renew_in_child)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._known: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _T] = weakref.WeakKeyDictionary()
        # The last result, which is nearly always the next one too; weak, so that it keeps neither loop nor value alive.
        self._last: tuple[Callable[[], asyncio.AbstractEventLoop | None], Callable[[], _T | None]] | None = None

    def _renew_in_child(self) -> None:
        # Kept, and never closed: to close a loop or a connection of the parent here would remove it from the epoll
        # instance that both processes share, and the parent would wait for it for ever.
        _OF_THE_PARENT.append(list(self._known.items()))
        self._renew()

    def get(self) -> _T:
        """Return the running loop's value; making a new one drops those of closed loops."""
        loop, last = asyncio.get_running_loop(), self._last
        if last is not None and last[0]() is loop:  # equivalent: `-1`, `1`: it is found again in the dictionary
            recent = last[1]()
            if recent is not None:  # equivalent: it lives as long as its loop
                return recent
        ended: list[_T] = []
        with self._lock:  # else `drain` in another thread could be followed by a result that it has removed
            found = self._known.get(loop)
            if found is None:
                ended = [self._known.pop(known) for known in list(self._known) if known.is_closed()]
                found = self._known[loop] = self._make()
            self._last = weakref.ref(loop), weakref.ref(found)  # equivalent: it is found again in the dictionary
        for value in ended:
            self._end(value)
        return found

    def all(self) -> list[_T]:
        """Return the values of all loops that are open."""
        with self._lock:
            return [found for loop, found in self._known.items() if not loop.is_closed()]

    def drain(self) -> list[tuple[asyncio.AbstractEventLoop, _T]]:
        """Remove all values, and return those whose loop is open, with their loops."""
        with self._lock:
            taken = list(self._known.items())
            self._known.clear()
            self._last = None
        for loop, found in taken:
            if loop.is_closed():
                self._end(found)
        return [(loop, found) for loop, found in taken if not loop.is_closed()]
