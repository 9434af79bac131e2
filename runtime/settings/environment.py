"""
The process's environment, read next to other threads that change it.

Iterating over `os.environ.items()` looks each value up after its name was listed, and fails where a name is gone by
then; and it decodes every variable of the process, which with hundreds of them is most of the cost of loading. So names
are listed in one step, looked through once per distinct list, and values are read of our own names alone.
"""

import os
from collections.abc import Callable
from typing import Any

__all__ = ["Environment"]


class Environment:
    """
    The variables of the process that are ours.

    Args:
        is_own: Returns whether the variable of a name is read.
    """

    def __init__(self, is_own: Callable[[str], bool]) -> None:
        self._is_own = is_own
        self._last: tuple[tuple[Any, ...], tuple[str, ...]] = (), ()  # one assignment, for threads

    def own(self) -> tuple[tuple[str, str], ...]:
        """Return our variables that are set, with their values."""
        names, own = self._last
        listed = _listed()
        if listed != names:
            own = tuple(name for name in map(os.fsdecode, listed) if self._is_own(name))
            self._last = listed, own
        values = [(name, os.environ.get(name)) for name in own]
        return tuple((name, value) for name, value in values if value is not None)

    def with_names(self, own: tuple[tuple[str, str], ...]) -> dict[str, str]:
        """Return *own* with the names of all other variables, since a typo may be in any of them; those are empty."""
        return {**{name: "" for name in map(os.fsdecode, _listed()) if not self._is_own(name)}, **dict(own)}


def _listed() -> tuple[Any, ...]:
    """List the names, as bytes or str, in one step of the interpreter, which no other thread can interrupt."""
    return tuple(getattr(os.environ, "_data", os.environ))  # without it, as in a test's own dict, the public mapping
