"""
What a process made by fork must have of its own.

The child has a copy of the parent's objects, but none of the threads that used them: a lock that one of them had
acquired stays locked, a call in flight never ends, and all children would draw the same random numbers.
"""

import os
import weakref
from collections.abc import Callable
from inspect import ismethod
from itertools import count
from typing import Any

__all__ = ["renew_in_child"]

# In the order of registration: an object is made after those that it uses. Weak, so that it keeps nothing alive.
_renewals: "dict[int, tuple[weakref.ref[Any], Callable[[Any], None]]]" = {}
_numbers = count()


def renew_in_child(renew: Callable[[], None]) -> None:
    """Call *renew* in each process that is made by fork, before anything else runs there, while its object lives."""
    number = next(_numbers)

    # No `WeakMethod`: its own callback fails, and says so on standard error, when the interpreter ends before its
    # object. For the same reason the dictionary is an argument.
    def forget(_gone: "weakref.ref[Any]", renewals: dict[int, Any] = _renewals) -> None:
        renewals.pop(number, None)

    if ismethod(renew):
        _renewals[number] = weakref.ref(renew.__self__, forget), renew.__func__
    else:
        _renewals[number] = weakref.ref(renew, forget), _call


def _call(renew: Callable[[], None]) -> None:
    renew()


def _renew() -> None:
    for known, renew in list(_renewals.values()):
        owner = known()
        if owner is not None:
            renew(owner)


os.register_at_fork(after_in_child=_renew)
