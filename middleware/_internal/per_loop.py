"""Things that are bound to one event loop, kept for each: the core re-creates loops and uses several threads."""

import asyncio
import threading
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["PerLoop"]

_T = TypeVar("_T")


class PerLoop(Generic[_T]):
    """
    One thing per event loop.

    Args:
        make: Makes the thing of the running event loop, when it is first asked for.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._known: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _T] = weakref.WeakKeyDictionary()
        # The answer of last time, which is nearly always the answer; it keeps neither loop nor thing alive.
        self._last: tuple[Callable[[], asyncio.AbstractEventLoop | None], Callable[[], _T | None]] | None = None

    def get(self) -> _T:
        """Return the running loop's; forget those of loops that are closed when a new one comes."""
        loop, last = asyncio.get_running_loop(), self._last
        if last is not None and last[0]() is loop:
            recent = last[1]()
            if recent is not None:
                return recent
        found = self._known.get(loop)
        if found is None:
            with self._lock:
                for gone in [known for known in self._known if known.is_closed()]:
                    del self._known[gone]
                found = self._known[loop] = self._make()
        self._last = weakref.ref(loop), weakref.ref(found)
        return found

    def all(self) -> list[_T]:
        """Return everything that is kept."""
        with self._lock:
            return list(self._known.values())

    def drain(self) -> list[tuple[asyncio.AbstractEventLoop, _T]]:
        """Give away everything that is kept, without what belonged to closed loops."""
        with self._lock:
            taken = [(loop, found) for loop, found in self._known.items() if not loop.is_closed()]
            self._known.clear()
            self._last = None
        return taken
