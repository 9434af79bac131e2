"""A caller's cancel is never taken for a scope's own."""

import asyncio

import pytest

from middleware.cancellation import pass_on_cancel, pending_cancels


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
