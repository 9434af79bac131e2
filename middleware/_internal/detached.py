"""
Work that must not keep the context of the call that started it.

asyncio copies the context variables for each callback: a connection keeps those of the call that opened it for as long
as it is open, and a cancelled timer those of the call that set it until its time comes. Whatever a request has put
there, a database session for example, would live as long.
"""

from collections.abc import Coroutine, Generator
from contextvars import Context
from types import coroutine
from typing import Any, TypeVar

__all__ = ["detached"]

_T = TypeVar("_T")


@coroutine
def detached(work: Coroutine[Any, Any, _T]) -> Generator[Any, Any, _T]:
    """
    Await *work* in the running task, in an empty context.

    Raises:
        BaseException: What *work* raises; a cancellation reaches it as if it had been awaited directly.
    """
    run = Context().run
    try:
        awaited = run(work.send, None)
        while True:
            try:
                received = yield awaited
            except BaseException as error:  # noqa: BLE001 - passed on, whatever it is
                awaited = run(work.throw, error)
            else:
                awaited = run(work.send, received)
    except StopIteration as end:
        result: _T = end.value
        return result
