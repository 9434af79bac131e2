"""A caller's cancel is never taken for a scope's own."""

import asyncio

import pytest

from middleware._internal.cancellation import pass_on_cancel, pending_cancels
from middleware._internal.time_limit import TimeLimit
from runtime.testing import Reply, ScriptedUpstream, run_virtual


async def test_a_cancel_that_was_swallowed_is_passed_on():
    """R42: as a scope that ends in the same step may swallow it; one from before is not this scope's matter."""
    task = asyncio.current_task()
    before = pending_cancels()
    pass_on_cancel(before)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(1)
    with pytest.raises(asyncio.CancelledError):
        pass_on_cancel(before)
    pass_on_cancel(pending_cancels())
    assert task.uncancel() == before


async def test_outside_of_a_task_nobody_can_be_cancelled():
    """In a callback of the event loop."""
    found = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: found.set_result(pending_cancels()))
    assert await found == 0


def test_each_scope_passes_it_on(monkeypatch):
    """R42: a call that was cancelled while its scope was open ends in the cancellation, whatever its other outcome."""
    monkeypatch.setattr("middleware.policies.hedging.pending_cancels", lambda: -1)
    sections = {"hedging": {"max_hedges": 1}}

    async def scenario():
        task = asyncio.create_task(ScriptedUpstream([], then=200).client(**sections).get("/r", path_params={}))
        await asyncio.wait([task])
        return task.cancelled()

    assert run_virtual(scenario())


@pytest.mark.parametrize("caller_first", [True, False])
@pytest.mark.parametrize(
    ("step", "sections"),
    [
        ("hang", {"deadline": {"total_s": 1.0}}),
        ("hang", {"attempt": {"timeout_s": 1.0}}),
        (Reply(status=400, body_after_s=30), {}),
    ],
    ids=["deadline", "attempt timeout", "body of an error"],
)
def test_each_time_limit_passes_it_on(monkeypatch, caller_first, step, sections):
    """R42: a call that is cancelled in the same step as by a time limit of its own ends in the cancellation."""
    cancel = TimeLimit.cancel

    def cancel_twice(limit):
        results = [one() for one in (limit._task.cancel, lambda: cancel(limit))[:: 1 if caller_first else -1]]
        return results[1 if caller_first else 0]

    monkeypatch.setattr(TimeLimit, "cancel", cancel_twice)

    async def scenario():
        task = asyncio.create_task(ScriptedUpstream([], then=step).client(**sections).get("/r", path_params={}))
        await asyncio.wait([task])
        return task.cancelled()

    assert run_virtual(scenario())
