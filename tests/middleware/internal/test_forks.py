"""What is renewed in a process made by fork."""

import gc
import json
import os
from typing import ClassVar

import pytest

from middleware._internal.forks import renew_in_child

pytestmark = pytest.mark.sockets


def in_child(report):
    """What *report* returns in a child made by fork."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, json.dumps(report()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as opened:
        found = opened.read()
    os.waitpid(pid, 0)
    return json.loads(found)


class Counter:
    """Counts how often it was renewed, and in which order."""

    order: ClassVar = []

    def __init__(self, name):
        self.name, self.count = name, 0
        renew_in_child(self.renew)

    def renew(self):
        self.count += 1
        self.order.append(self.name)


def test_an_object_is_renewed_in_the_child_alone():
    """In the order of registration, since an object uses those that were made before it."""
    first, second = Counter("first"), Counter("second")
    assert in_child(lambda: [first.count, second.count, Counter.order]) == [1, 1, ["first", "second"]]
    assert (first.count, second.count, Counter.order) == (0, 0, [])


def test_an_object_that_is_gone_is_not_renewed():
    """Nor kept alive by the registration."""
    kept, gone = Counter("kept"), Counter("gone")
    del gone
    gc.collect()
    assert in_child(lambda: [kept.count, Counter.order]) == [1, ["kept"]]
