"""
A caller's cancel that comes in the same step as a scope's own.

Until 4.16 anyio takes both for the scope's and swallows the caller's, so that a cancelled call would go on. What
asyncio counts (`Task.cancelling`, Python 3.11) tells them apart: a scope takes back its own requests alone.
"""

import asyncio

__all__ = ["pass_on_cancel", "pending_cancels"]


def pending_cancels() -> int:
    """Requests to cancel the running task that nobody has taken back."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def pass_on_cancel(before: int) -> None:
    """
    Go on, unless the task was asked to end since *before* was read.

    Raises:
        CancelledError: It was; the scope just left has swallowed that.
    """
    if pending_cancels() > before:
        raise asyncio.CancelledError
