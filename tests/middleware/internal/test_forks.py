"""What is renewed in a process made by fork."""

import gc
import json
import os
import subprocess
import sys
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
    assert first.count == 0
    assert second.count == 0
    assert Counter.order == []


def test_an_object_that_is_gone_is_not_renewed():
    """Nor kept alive by the registration."""
    kept, gone = Counter("kept"), Counter("gone")
    del gone
    gc.collect()
    assert in_child(lambda: [kept.count, Counter.order]) == [1, ["kept"]]


class Alike(Counter):
    """Equal to all others of its kind."""

    __hash__ = None

    def __eq__(self, other):
        return isinstance(other, Alike)


def test_objects_that_are_equal_are_all_renewed():
    """An object needs no hash either."""
    first, second = Alike("first"), Alike("second")
    assert in_child(lambda: [first.count, second.count]) == [1, 1]


def test_the_end_of_the_interpreter_is_silent():
    """Objects may outlive this library's modules then, as those of a script's own globals do."""
    script = """if True:
        import asyncio
        from middleware import StackSettings
        from middleware.policies.retry import RetrySettings
        from runtime.connectors.base import PlatformHttpClient

        once = StackSettings(retry=RetrySettings(max_attempts=1))
        client = PlatformHttpClient("http://127.0.0.1:9", policies=once)

        async def call():
            try:
                await client.get("/x")
            except Exception as error:
                print(type(error).__name__)

        asyncio.run(call())
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "RequestNotSentError"
    assert done.stderr == ""
