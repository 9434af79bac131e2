"""The longest life of a connection."""

import os
from random import Random

import pytest
from layer_support import FakeClock, LowerBound

from middleware.transports.lifetime import Lifetime
from runtime.testing import UpperBound


@pytest.mark.parametrize(("random", "ends_at"), [(LowerBound(), 87.0), (UpperBound(), 107.0)])
def test_it_is_the_configured_time_or_up_to_a_fifth_less(random, ends_at):
    """So that connections that were opened together do not end together; never longer."""
    clock = FakeClock()
    clock.time = 7.0
    lifetime = Lifetime(100.0, clock.now, random)
    assert lifetime.ends_at() == ends_at
    for clock.time, lasts in [(ends_at - 0.001, True), (ends_at, False)]:
        assert lifetime.lasts(ends_at) == lasts


def test_each_connection_has_its_own():
    """Drawn anew."""
    lifetime = Lifetime(100.0, FakeClock().now)
    assert len({lifetime.ends_at() for _ in range(50)}) == 50


def test_without_a_limit_it_does_not_end():
    """0 keeps connections for ever."""
    assert Lifetime(0.0, FakeClock().now).lasts(Lifetime(0.0, FakeClock().now).ends_at())


@pytest.mark.sockets
def test_children_made_by_fork_draw_their_own():
    """Also where the parent's random numbers were given."""
    lifetime, found = Lifetime(100.0, FakeClock().now, Random(7)), set()
    for _ in range(3):
        read, write = os.pipe()
        if (pid := os.fork()) == 0:
            os.write(write, repr(lifetime.ends_at()).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as opened:
            found.add(opened.read())
        os.waitpid(pid, 0)
    assert len(found) == 3
