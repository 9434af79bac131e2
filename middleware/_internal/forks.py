"""
What a process made by fork must have of its own.

The child has a copy of the parent's objects, but none of the threads that used them: a lock that one of them had
acquired stays locked, a call in flight never ends, and all children would draw the same random numbers.
"""

import os
import weakref
from collections.abc import Callable
from inspect import ismethod

__all__ = ["renew_in_child"]

# In the order of registration: an object is made after those that it uses. Weak, so that it keeps nothing alive.
_renewals: "dict[weakref.ref[Callable[[], None]], None]" = {}


def renew_in_child(renew: Callable[[], None]) -> None:
    """Call *renew* in each process that is made by fork, before anything else runs there, while its object lives."""
    kind = weakref.WeakMethod if ismethod(renew) else weakref.ref
    _renewals[kind(renew, _forget)] = None


def _forget(gone: "weakref.ref[Callable[[], None]]") -> None:
    _renewals.pop(gone, None)


def _renew() -> None:
    for known in list(_renewals):
        renew = known()
        if renew is not None:
            renew()


os.register_at_fork(after_in_child=_renew)
