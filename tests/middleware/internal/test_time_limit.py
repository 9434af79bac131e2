"""A time limit discards nothing that has arrived."""

import asyncio
import contextlib
import gc
import weakref

import anyio
import pytest
import uvloop

from middleware._internal.time_limit import _ALARMS, TimeLimit
from runtime.testing import virtual_time


class Pieces:
    pieces_read = 0


async def iterations(count, progress=None):
    """Let the event loop run *count* iterations, with a piece in each where there is *progress*."""
    for _ in range(count):
        await asyncio.sleep(0)
        if progress is not None:
            progress.pieces_read += 1


def late(monkeypatch, seconds, after_s=None):
    """Block the running loop for *seconds*; where *after_s* is given, *after_s* of them pass with each look at the time."""
    loop = asyncio.get_running_loop()
    time, blocked = loop.time, [seconds]

    def later():
        blocked[0] += after_s or 0
        return time() + blocked[0]

    monkeypatch.setattr(loop, "time", later)


@virtual_time
async def test_what_takes_too_long_is_cancelled():
    """R44, R45: at its time; the cancellation is the limit's own, and goes no further."""
    loop = asyncio.get_running_loop()
    with TimeLimit(2.5, Pieces()) as limit:
        await asyncio.sleep(10)
    assert (loop.time(), limit.is_exceeded, asyncio.current_task().cancelling()) == (2.5, True, 0)


@virtual_time
async def test_what_is_in_time_is_left_alone():
    """R44: also where an error ends it; what ends it later finds it stopped."""
    loop = asyncio.get_running_loop()
    with TimeLimit(2.5, Pieces()) as limit:
        await asyncio.sleep(2)
    with pytest.raises(KeyError), TimeLimit(2.5, Pieces()):
        raise KeyError
    await asyncio.sleep(10)
    assert (loop.time(), limit.is_exceeded) == (12.0, False)


@virtual_time
@pytest.mark.parametrize(("allowed", "needed", "exceeded"), [(8, 8, False), (8, 9, True), (24, 24, False)])
async def test_the_loop_runs_a_few_more_iterations(allowed, needed, exceeded):
    """R45: so that steps between the last byte and the result are not interrupted; more of them are."""
    with TimeLimit(0, Pieces(), allowed) as limit:
        await asyncio.sleep(0)  # the timer fires
        await iterations(needed)
    assert limit.is_exceeded is exceeded


@virtual_time
async def test_a_timer_in_time_does_not_wait_for_more_pieces():
    """R45: else a body that drips would have no end."""
    progress = Pieces()
    with TimeLimit(1.0, progress, 8) as limit:
        await asyncio.sleep(1.0)
        await iterations(100, progress)
    assert limit.is_exceeded
    assert progress.pieces_read <= 8


@virtual_time
async def test_a_late_timer_waits_while_pieces_are_read(monkeypatch):
    """R45: they have arrived while the loop was blocked; without a further one the iterations decide."""
    progress = Pieces()
    with TimeLimit(1.0, progress, 8) as limit:
        late(monkeypatch, 2.0)
        await iterations(100, progress)
        assert progress.pieces_read == 100
        await iterations(100)
    assert limit.is_exceeded


@virtual_time
async def test_a_late_timer_waits_no_longer_than_it_was_late(monkeypatch):
    """R45: that is the time that the response lost."""
    progress = Pieces()
    with TimeLimit(1.0, progress, 8) as limit:
        late(monkeypatch, 2.0, after_s=0.01)
        await iterations(1000, progress)
    assert limit.is_exceeded
    assert 30 < progress.pieces_read < 120


@virtual_time
@pytest.mark.parametrize("inner_s", [1.0, 2.0], ids=["earlier", "same"])
async def test_of_limits_that_are_over_together_the_outer_one_ends_the_block(monkeypatch, inner_s):
    """R45: after the loop was blocked past both, as by the attempt timeout and the deadline of a call."""
    with TimeLimit(2.0, Pieces()) as outer:
        with TimeLimit(inner_s, Pieces()) as inner:
            late(monkeypatch, 60.0)
            await asyncio.sleep(100)
        pytest.fail("the block of the outer limit went on")
    assert (outer.is_exceeded, inner.is_exceeded, asyncio.current_task().cancelling()) == (True, False, 0)


@virtual_time
async def test_a_timer_that_fires_early_is_set_again(monkeypatch):
    """The loop may round to milliseconds, as uvloop does: nothing ends before its time."""
    loop = asyncio.get_running_loop()
    call_at, early_s = loop.call_at, [0.0, 0.25, 0.5]
    monkeypatch.setattr(loop, "call_at", lambda when, *args, **options: call_at(when - early_s.pop(), *args, **options))
    with TimeLimit(1.0, Pieces()) as limit:
        await asyncio.Event().wait()
    assert (loop.time(), limit.is_exceeded, early_s) == (1.0, True, [])


@virtual_time
async def test_a_timer_does_not_keep_the_context_of_its_call():
    """A cancelled timer stays with its loop until its time has come."""
    loop, found = asyncio.get_running_loop(), []
    call_at = loop.call_at

    def recorded(when, callback, *, context=None):
        found.append(context)
        return call_at(when, callback, context=context)

    loop.call_at = recorded
    with TimeLimit(1.0, Pieces()):
        pass
    assert [len(context) for context in found] == [0]


@virtual_time
async def test_a_cancellation_that_is_swallowed_is_delivered_again():
    """R44: until the task has left the block; what the limit asked for is withdrawn then."""
    swallowed, loop = 0, asyncio.get_running_loop()
    with TimeLimit(1.0, Pieces()) as limit:
        while swallowed < 5:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                swallowed += 1
        await asyncio.sleep(10)
    assert (limit.is_exceeded, asyncio.current_task().cancelling()) == (True, 0)
    assert loop.time() == pytest.approx(1.031)  # after 1, 2, 4, 8 and 16 ms
    await asyncio.sleep(1)  # nothing is delivered afterwards


@virtual_time
@pytest.mark.parametrize("first", ["limit", "caller"])
async def test_a_callers_own_cancellation_is_never_taken_for_the_limits(first):
    """R42: also where both come in the same iteration of the loop."""

    async def block():
        with TimeLimit(1.0, Pieces(), 0):
            await asyncio.sleep(10)

    loop, task = asyncio.get_running_loop(), asyncio.create_task(block())
    if first == "limit":
        await asyncio.sleep(0)
    loop.call_at(loop.time() + 1.0, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert task.cancelling() == 1


@virtual_time
@pytest.mark.parametrize("group", ["asyncio", "anyio"])
async def test_a_task_group_in_the_block_ends_with_it(group):
    """R44: its tasks are cancelled, and the group of a host around it goes on."""
    ended = []

    async def child():
        try:
            await asyncio.sleep(10)
        finally:
            ended.append(asyncio.get_running_loop().time())

    async def block():
        with TimeLimit(1.0, Pieces()) as limit:
            if group == "asyncio":
                async with asyncio.TaskGroup() as inside:
                    inside.create_task(child())
            else:
                async with anyio.create_task_group() as inside:
                    inside.start_soon(child)
        return limit.is_exceeded

    async with asyncio.TaskGroup() as around:
        task = around.create_task(block())
    assert (task.result(), ended) == (True, [1.0])


@virtual_time
async def test_an_outer_scope_of_anyio_ends_at_its_own_time():
    """R42, R44: within a longer limit, whose own time is not touched."""
    with anyio.move_on_after(1.0) as scope, TimeLimit(2.0, Pieces()) as limit:
        await asyncio.sleep(10)
    assert (scope.cancelled_caught, limit.is_exceeded) == (True, False)


@virtual_time
async def test_limits_share_one_timer():
    """It looks when the first of them may be over, and for those alone that still run; each ends at its own time."""
    loop, set_at = asyncio.get_running_loop(), []
    call_at = loop.call_at
    loop.call_at = lambda when, *args, **options: set_at.append(when) or call_at(when, *args, **options)
    with TimeLimit(5.0, Pieces()) as outer:
        for _ in range(2):
            with TimeLimit(2.0, Pieces()):
                pass
        with TimeLimit(3.0, Pieces()) as inner:
            await asyncio.Event().wait()
        assert (loop.time(), inner.is_exceeded) == (3.0, True)
        await asyncio.Event().wait()
    assert (loop.time(), outer.is_exceeded) == (5.0, True)
    assert [when for when in set_at if when in (2.0, 3.0, 5.0)] == [5.0, 2.0, 3.0, 5.0]


@virtual_time
async def test_limits_that_are_over_together_share_their_iterations():
    """R44, R45: a callback in each, and one that looks again, for all of them: the errors of a thousand calls wait for it."""
    loop, callbacks = asyncio.get_running_loop(), []
    call_soon, call_later = loop.call_soon, loop.call_later

    async def block(ends_at):
        with TimeLimit(ends_at - loop.time(), Pieces()) as limit:
            await asyncio.Event().wait()
        return limit.is_exceeded

    tasks = [asyncio.create_task(block(1.0)) for _ in range(100)]
    await asyncio.sleep(0)
    loop.call_soon = lambda *args, **options: callbacks.append(args[0]) or call_soon(*args, **options)
    loop.call_later = lambda *args, **options: callbacks.append(args[1]) or call_later(*args, **options)
    await asyncio.wait(tasks)
    assert [task.result() for task in tasks] == [True] * 100
    ours = [one for one in callbacks if getattr(one, "__module__", "") == TimeLimit.__module__]
    assert len(ours) == 25  # 24 iterations, and the one that looks again


class _Uncancellable(asyncio.Future):
    def cancel(self, msg=None):
        raise KeyError(msg)


@virtual_time
async def test_a_future_that_cannot_be_cancelled_keeps_no_other_block_from_ending():
    """R44: of limits that are over together; a host may have made it, and its loop reports the error."""
    loop, reported = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _loop, found: reported.append(type(found["exception"])))
    unending = _Uncancellable()

    async def block(waits_for, iterations):
        with TimeLimit(1.0, Pieces(), iterations) as limit:
            await waits_for
        return limit.is_exceeded

    kinds = [(unending, 8), *((asyncio.Event().wait(), iterations) for iterations in (8, 8, 24))]
    first, *others = [asyncio.create_task(block(*kind)) for kind in kinds]
    await asyncio.wait(others)
    assert [task.result() for task in others] == [True] * 3
    assert reported == [KeyError]
    unending.set_result(None)
    assert await first is False


@virtual_time
async def test_limits_that_have_stopped_are_dropped():
    """However many were set: they are kept for a while, since to look for each would cost more than the limit."""
    alarm = _ALARMS.get()
    with TimeLimit(20.0, Pieces()) as limit:
        for _ in range(10_000):
            with TimeLimit(10.0, Pieces()):
                pass
        assert len(alarm._limits) <= 256
        await asyncio.sleep(30)
    assert limit.is_exceeded
    assert alarm._limits == []


def test_a_loop_that_nothing_else_refers_to_is_freed():
    """A limit that still runs there refers to its task, and so to the loop; the values of the loop must not."""

    async def waits():
        with TimeLimit(20.0, Pieces()):
            await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    task = loop.create_task(waits())
    loop.run_until_complete(asyncio.sleep(0))
    task._log_destroy_pending = False
    loop.close()
    freed = weakref.ref(loop)
    del loop, task
    gc.collect()
    assert freed() is None


KINDS = {"asyncio": (asyncio.new_event_loop, None), "uvloop": (uvloop.new_event_loop, None)}
if hasattr(asyncio, "eager_task_factory"):  # since Python 3.12
    KINDS["eager tasks"] = asyncio.new_event_loop, asyncio.eager_task_factory


@pytest.mark.parametrize(("new_loop", "factory"), KINDS.values(), ids=KINDS)
def test_limits_on_every_loop_and_in_every_kind_of_task(new_loop, factory):
    """R42, R44: in task groups of the host too; no request to cancel remains, and the host's own is never taken."""

    async def exceeded(*, stubborn=False):
        with TimeLimit(0.01, Pieces()) as limit:
            with contextlib.suppress(asyncio.CancelledError if stubborn else KeyError):
                await asyncio.sleep(10)
            await asyncio.sleep(10)
        return limit.is_exceeded, asyncio.current_task().cancelling()

    async def cancelled():
        with TimeLimit(10.0, Pieces()) as limit:
            try:
                await asyncio.sleep(10)
            finally:
                seen.append(limit.is_exceeded)

    async def scenario():
        asyncio.get_running_loop().set_task_factory(factory)
        async with asyncio.TaskGroup() as group:
            ended = [group.create_task(exceeded(stubborn=stubborn)) for stubborn in (False, True)]
        async with anyio.create_task_group() as scope:
            scope.start_soon(cancelled)
            await asyncio.sleep(0.01)
            scope.cancel_scope.cancel()
        task = asyncio.get_running_loop().create_task(cancelled())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return [one.result() for one in ended], task.cancelled(), await exceeded()

    seen = []
    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(scenario()) == ([(True, 0)] * 2, True, (True, 0))
    assert seen == [False, False]
