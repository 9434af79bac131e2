"""Work in an empty context, in the task that awaits it."""

import asyncio
from contextvars import ContextVar, copy_context

import anyio
import pytest

from middleware._internal.detached import detached

user = ContextVar("user")


async def test_the_work_sees_no_context_variable_and_runs_in_the_same_task():
    """Nor does its caller see what it sets; its result is returned."""
    user.set("alice")

    async def work():
        seen = dict(copy_context())
        user.set("bob")
        await asyncio.sleep(0)
        return seen, user.get(), asyncio.current_task()

    assert await detached(work()) == ({}, "bob", asyncio.current_task())
    assert user.get() == "alice"


async def test_an_error_is_raised_as_it_is():
    """One of the work, and one of what it awaits; neither is part of a cycle."""

    async def work(waited):
        await asyncio.sleep(0) if waited else None
        raise ValueError("broken")

    for waited in (False, True):
        with pytest.raises(ValueError, match="broken") as caught:
            await detached(work(waited))
        assert caught.value.__context__ is None
        frames = []
        trace = caught.value.__traceback__
        while trace is not None:
            frames.append(trace.tb_frame)
            trace = trace.tb_next
        (here,) = [frame for frame in frames if frame.f_code.co_name == "detached"]
        assert not [value for value in here.f_locals.values() if value is caught.value]


async def awaited(work):
    return await detached(work)


async def test_a_cancellation_reaches_the_work():
    """It may clean up, and wait for that; the caller gets the cancellation."""
    seen = []

    async def work():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            seen.append(dict(copy_context()))
            raise

    user.set("alice")
    task = asyncio.create_task(awaited(work()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert seen == [{}]


async def test_a_cancel_scope_ends_it():
    """anyio's, around it and inside it."""

    async def inside():
        with anyio.move_on_after(0):
            await anyio.sleep_forever()
        return "went on"

    with anyio.move_on_after(0) as scope:
        await detached(anyio.sleep_forever())
    assert scope.cancelled_caught
    assert await detached(inside()) == "went on"


def test_work_that_is_given_up_is_closed():
    """By the garbage collector, for example: what it cleans up is cleaned up."""
    ended = []

    async def work():
        try:
            await asyncio.sleep(1)
        finally:
            ended.append(True)

    async def give_up():
        waiting = awaited(work())
        waiting.send(None)
        waiting.close()

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(give_up())
    assert ended == [True]
