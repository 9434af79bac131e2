"""
What the loader puts around each operation of a managed connector.

A connector's own code runs around its requests, and follows the contract's template at best: `Type(**json)` and
`response.get(…)` fail with a TypeError or an AttributeError where the platform responds otherwise than expected.
Callers get one of our errors all the same.
"""

import traceback
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import wraps
from typing import Any

from middleware.errors import (
    CallError,
    DecodeError,
    InvalidArgumentError,
    PlatformError,
    clear_traceback_locals,
    internal_error,
)
from middleware.records import Outcome

__all__ = ["Operation", "running_operation", "typed_errors"]

# What data of an unexpected shape raises; a pydantic ValidationError is a ValueError.
_OF_DATA = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Operation:
    """
    One operation that runs.

    Attributes:
        name: Name of the connector's method.
        has_called: It has begun a call.
        succeeded: Outcomes of its calls that succeeded.
    """

    __slots__ = ("has_called", "name", "succeeded")

    def __init__(self, name: str) -> None:
        self.name = name
        self.has_called = False
        self.succeeded: list[Outcome] = []


_running: ContextVar[Operation | None] = ContextVar("_running", default=None)
running_operation = _running.get
"""Return the operation that runs in this context; None outside of the loader's connectors."""


def typed_errors(
    service: str, operation: str, method: Callable[..., Coroutine[Any, Any, Any]]
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """
    Wrap *method*, so that it raises errors of ours alone, and their tracebacks keep none of its arguments (R52).

    What its own code raises as data of an unexpected shape does becomes `InvalidArgumentError` before its first request
    and `DecodeError` after a response; anything else becomes `InternalError`.
    """

    @wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            coroutine = method(*args, **kwargs)
        finally:
            del args, kwargs  # R52: the user's token among them
        outer, own = _running.get(), Operation(operation)
        _running.set(own)
        try:
            return await coroutine
        except PlatformError as error:
            clear_traceback_locals(error)
            raise
        except Exception as error:  # noqa: BLE001 - any that a connector's code raises
            failed = _failure(f"{service}.{operation}", error, own)
        except BaseException as error:
            clear_traceback_locals(error)
            raise
        finally:
            if _running.get() is own:  # else a collected coroutine would end the operation of another context
                _running.set(outer)
            if outer is not None:
                outer.has_called |= own.has_called
                outer.succeeded += own.succeeded
        raise failed  # outside the handler, so unchained: the exception may refer to the credentials

    return call


def _failure(place: str, error: Exception, running: Operation) -> CallError:
    """Return the error of ours for *error*; its text is not used, since it may quote the response."""
    frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
    where = f"{type(error).__name__} at {frame.f_globals.get('__name__', '?')}:{line} in {frame.f_code.co_qualname}"
    is_of_data = isinstance(error, _OF_DATA)
    if is_of_data and not running.has_called:
        return InvalidArgumentError(f"{place}: the arguments cannot be used: {where}")
    if not running.succeeded or not is_of_data:
        failed: CallError = internal_error(error, "yes" if running.succeeded else "no", where=place)
    else:
        failed = DecodeError(f"2xx response is not what the connector expects: {where}", request_sent="yes")
    if running.succeeded:
        failed.outcome = running.succeeded[-1]
        failed.note_response(next((one.status for one in reversed(failed.timeline)), None))
    return failed
