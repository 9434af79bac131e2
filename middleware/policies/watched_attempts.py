"""
Attempts that go on after the deadline has ended their call.

When the deadline is shorter than the attempt timeout, a service that hangs never shows as a failure, and the circuit
breaker does not open. So the breaker lets a few such attempts go on to their own timeout (R38).
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from middleware._internal.cancellation import pending_cancels
from middleware._internal.per_loop import PerLoop
from middleware.clock import Clock
from middleware.types import SAFE_METHODS, PlatformRequest, PlatformResponse

__all__ = ["WatchedAttempts"]


class WatchedAttempts:
    """
    Runs attempts in tasks of their own, so that an attempt can outlive its call.

    Args:
        clock: Source of time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: PerLoop[set[asyncio.Task[PlatformResponse]]] = PerLoop(set)  # loops keep tasks weakly

    async def run(
        self,
        request: PlatformRequest,
        attempt: Coroutine[Any, Any, PlatformResponse],
        on_late_end: Callable[[BaseException | None], None],
    ) -> PlatformResponse:
        """
        Wait for *attempt*; a cancellation of the caller ends it, the deadline of its call does not.

        Args:
            request: What is sent.
            attempt: The attempt.
            on_late_end: Called with its error, or None, when it ends after its call.
        """
        task = asyncio.get_running_loop().create_task(attempt)
        task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001 - a loop may be closed before it ends
        tasks, before = self._tasks.get(), pending_cancels()
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        try:
            try:
                await asyncio.wait((task,))
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError) and self._may_go_on(request, pending_cancels() - before):
                    request.attempt.goes_on = True  # R38
                    # In a new context: the span of the attempt, which is in this one, has ended by then.
                    task.add_done_callback(lambda ended: on_late_end(_error_of(ended)), context=Context())
                else:
                    await _end(task)
                    attempt.close()  # a task that was cancelled before its first step may not have done it
                raise
            return task.result()
        finally:
            del task  # its exception's traceback refers to this frame: a cycle that would keep the request alive

    def _may_go_on(self, request: PlatformRequest, cancels: int) -> bool:
        if cancels > 1 or not request.call.is_over(self._clock.now()):
            return False  # R42: its caller cancelled it, also at the moment of the deadline, or a hedge won
        # R38: the caller's error says "not sent", so it must not be sent later, unless it changes nothing.
        return request.attempt.request_sent != "no" or request.method in SAFE_METHODS

    def close(self) -> None:
        """Cancel all watched attempts, in every event loop."""
        for loop, tasks in self._tasks.drain():
            for task in tuple(tasks):
                loop.call_soon_threadsafe(task.cancel)


async def _end(task: asyncio.Task[PlatformResponse]) -> None:
    while not task.done():
        task.cancel()
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:  # delivered again; the first one is raised afterwards
            continue
    _error_of(task)  # asyncio logs errors that are never retrieved


def _error_of(task: asyncio.Task[PlatformResponse]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()
