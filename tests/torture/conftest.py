"""What every torture needs: a place to run in, logging that is switched on, and garbage that is looked at."""

import asyncio
import gc
import logging

import pytest
from harness import OnSockets, Scripted, torture

from runtime.gateway import Gateway
from runtime.testing import run_virtual


@pytest.fixture(scope="session")
def _sockets():
    """One gateway and one event loop, for all that is tortured on sockets."""
    with asyncio.Runner() as runner:
        gateway = Gateway()
        runner.run(gateway.start())
        yield runner, gateway
        runner.run(gateway.stop())


@pytest.fixture
def run(_sockets):
    """Run one scenario under one injection, where the scenario wants it; gives what became of it."""
    runner, gateway = _sockets

    def once(scenario, injection):
        if scenario.library:
            return runner.run(torture(OnSockets(scenario, gateway), scenario, injection))
        return run_virtual(torture(Scripted(scenario), scenario, injection))

    return once


@pytest.fixture(autouse=True)
def _all_is_logged():
    """Every line is made, so that every call into logging happens; they need not be kept."""
    logger = logging.getLogger("mozaiks.connectors")

    def drop(_record):
        return False

    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addFilter(drop)
    yield
    logger.removeFilter(drop)
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def _no_garbage(_sockets):
    """
    Collect when the test is over, and not while it counts.

    An exception that was not retrieved, a coroutine that was not awaited and a socket that was not closed are
    reported when they are collected; here that fails the test.
    """
    gc.disable()
    gc.collect()  # what earlier tests left is reported as theirs
    gc.freeze()  # what is there already needs no looking at
    yield
    gc.collect()
    gc.enable()
