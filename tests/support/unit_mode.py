"""
Pytest plugin for `--unit`: only tests that open no internet socket and start no process, and it enforces that.

A test is excluded by one of the markers of `EXCLUDED`: on itself, on its file (`pytestmark`), or by a fixture of
`FIXTURES`, which implies `sockets`. Property tests run with fewer examples; the whole suite runs all of them.
"""

import re
import socket
import sys

import hypothesis
import pytest

EXCLUDED = {"sockets", "torture"}
FIXTURES = {"collector", "demo", "gateway"}
PROCESSES = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"}
WATCHED = {"socket.__new__", *PROCESSES}
WHOLE_FILE = re.compile(rf"^pytestmark = pytest\.mark\.({'|'.join(EXCLUDED)})$", re.MULTILINE)
EXAMPLES = 10


class ForbiddenUseError(RuntimeError):
    """A test that is not marked `sockets` opened a socket or started a process."""


class UnitMode:
    """What `--unit` adds to a session; its audit hook stays installed for the life of the process."""

    def __init__(self):
        self._test = ""
        self._used = []

    def pytest_collection_finish(self):
        """Imports, of which collection is full, are events too; the hook is called for each."""
        sys.addaudithook(self._audit)

    def _audit(self, event, arguments):
        if event not in WATCHED or not self._test:
            return
        # The event loop wakes itself through a pair of Unix sockets.
        if event == "socket.__new__" and arguments[1] in {socket.AF_INET, socket.AF_INET6}:
            used = "opens a socket"
        elif event in PROCESSES:
            used = f"starts a process ({event})"
        else:  # a socket of another family
            return
        self._used.append(f"{self._test} {used}: mark it with `sockets`")
        raise ForbiddenUseError(self._used[-1])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self._test = item.nodeid
        try:
            return (yield)
        finally:
            self._test = ""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self):
        return (yield from self._phase())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self):
        return (yield from self._phase())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self):
        return (yield from self._phase())

    def _phase(self):
        """Fail even where the code under test caught `ForbiddenUseError`."""
        self._used.clear()
        result = yield
        if self._used:
            pytest.fail(self._used[0], pytrace=False)
        return result


def pytest_addoption(parser):
    parser.addoption("--unit", action="store_true", help="run only the tests without sockets and processes")


def pytest_configure(config):
    if config.getoption("--unit"):
        config.pluginmanager.register(UnitMode(), "unit-mode")
        hypothesis.settings.register_profile("unit", max_examples=EXAMPLES, deadline=None, database=None)
        hypothesis.settings.load_profile("unit")


def pytest_ignore_collect(collection_path, config):
    """Skip the import of files that are excluded as a whole."""
    if (
        config.getoption("--unit")
        and collection_path.suffix == ".py"
        and WHOLE_FILE.search(collection_path.read_text())
    ):
        return True
    return None


def pytest_collection_modifyitems(config, items):
    for item in items:
        if FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("sockets")
    if config.getoption("--unit"):
        kept, excluded = [], []
        for item in items:
            (excluded if EXCLUDED.intersection(mark.name for mark in item.iter_markers()) else kept).append(item)
        config.hook.pytest_deselected(items=excluded)
        items[:] = kept
