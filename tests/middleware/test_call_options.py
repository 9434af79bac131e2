"""What a caller asks of the calls in a block."""

import asyncio
import gc
import time
from contextvars import copy_context

import pytest
from layer_support import FakeClock

from middleware.call_options import CallOptions, call_options, current_options, incoming_deadline
from middleware.errors import ConfigError


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"deadline_s": 0}, "call_options.deadline_s: must be > 0, got 0"),
        ({"deadline_s": -1}, "call_options.deadline_s: must be > 0, got -1"),
        ({"deadline_s": float("nan")}, "call_options.deadline_s: must be > 0, got nan"),
        ({"deadline_s": True}, "call_options.deadline_s: must be > 0, got True"),
        ({"max_attempts": 0}, "call_options.max_attempts: must be a whole number >= 1, got 0"),
        ({"max_attempts": 1.5}, "call_options.max_attempts: must be a whole number >= 1, got 1.5"),
        ({"max_attempts": True}, "call_options.max_attempts: must be a whole number >= 1, got True"),
    ],
)
def test_a_value_out_of_bounds_is_named(asked, text):
    """And nothing is in force then."""
    with pytest.raises(ConfigError) as caught, call_options(**asked):
        pass
    assert str(caught.value) == text
    assert current_options() == CallOptions()


def test_every_wrong_value_is_named():
    """Not the first alone."""
    with pytest.raises(ConfigError) as caught, call_options(deadline_s=0, max_attempts=0):
        pass
    assert len(caught.value.problems) == 2


def test_an_inner_block_never_loosens_an_outer_one():
    """R40: what is left out keeps what the outer asked for; the end of a block ends its options."""
    with call_options(deadline_s=0.5, max_attempts=1):
        with call_options(deadline_s=3, max_attempts=2):
            assert current_options() == CallOptions(deadline_s=0.5, max_attempts=1)
        with call_options(deadline_s=0.25):
            assert current_options() == CallOptions(deadline_s=0.25, max_attempts=1)
        with pytest.raises(KeyError), call_options():
            assert current_options() == CallOptions(deadline_s=0.5, max_attempts=1)
            raise KeyError
        assert current_options() == CallOptions(deadline_s=0.5, max_attempts=1)
    assert current_options() == CallOptions()


def test_options_can_be_seen_in_the_context():
    """By their name, for who looks for what a task was given."""
    with call_options(max_attempts=1):
        assert {var.name: value for var, value in copy_context().items()}["mozaiks_call_options"] == current_options()


def test_an_incoming_deadline_is_of_the_machines_clock():
    """Where no other is given."""
    before = time.monotonic()
    with incoming_deadline(5):
        assert before + 5 <= current_options().ends_at <= time.monotonic() + 5


def test_an_incoming_deadline_is_one_point_in_time():
    """R40: calls begun later have less; an inner block never extends it, and other options stay."""
    clock = FakeClock()
    clock.time = 100.0
    assert current_options().seconds_at(100.0) is None
    with call_options(deadline_s=4), incoming_deadline(5, clock=clock):
        with incoming_deadline(9, clock=clock):
            assert [current_options().seconds_at(now) for now in (100.0, 101.0, 103.0)] == [4, 4, 2]
        with incoming_deadline(1, clock=clock):
            assert current_options() == CallOptions(deadline_s=4, ends_at=101.0)
        assert current_options().ends_at == 105.0
    assert current_options() == CallOptions()


BLOCKS = {"call_options": lambda: call_options(max_attempts=1), "incoming_deadline": lambda: incoming_deadline(5)}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_a_block_may_end_in_another_context(block):
    """As a framework does that runs the halves of a dependency in two threads; nothing is raised, and nothing stays."""
    entered, left = copy_context(), copy_context()
    manager = block()
    entered.run(manager.__enter__)
    assert entered.run(current_options) != CallOptions()
    left.run(manager.__exit__, None, None, None)
    assert [left.run(current_options), current_options()] == [CallOptions()] * 2


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
async def test_a_generator_that_is_not_exhausted_ends_its_block_in_silence(block):
    """The event loop finalizes it, in a task of its own and so in another context."""
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    async def rows():
        with block():
            yield 1
            yield 2

    async def consume():
        async for _ in rows():
            break

    await asyncio.create_task(consume())
    gc.collect()
    await asyncio.sleep(0.01)
    assert reported == []


def test_a_lifted_deadline_binds_no_call_that_begins_later():
    """R40: in whichever task, since all of a request share it; an outer one stays."""
    clock = FakeClock()
    clock.time = 100.0
    with incoming_deadline(9, clock=clock) as outer, incoming_deadline(5, clock=clock) as inner:
        elsewhere = copy_context()
        assert elsewhere.run(current_options).seconds_at(101.0) == 4
        inner.lift()
        assert [current_options().seconds_at(101.0), elsewhere.run(current_options).seconds_at(101.0)] == [8, 8]
        outer.lift()
        assert elsewhere.run(current_options) == current_options() == CallOptions()
