"""
A caller's cancellation in the same step as that of a cancel scope.

Until 4.16 anyio attributes both to the scope and swallows the caller's, so that a cancelled call would continue.
asyncio's count (`Task.cancelling`, Python 3.11) distinguishes them: a scope withdraws only its own requests.
"""

import asyncio

__all__ = ["pass_on_cancel", "pending_cancels"]


def pending_cancels() -> int:
    """Return the number of requests to cancel the running task that were not withdrawn."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def pass_on_cancel(before: int) -> None:
    """
    Raise the caller's cancellation that a scope has swallowed.

    Args:
        before: `pending_cancels()` before the scope.

    Raises:
        CancelledError: The task was cancelled by its caller since then.
    """
    if pending_cancels() > before:
        raise asyncio.CancelledError
