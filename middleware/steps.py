"""
Layers as plain functions, and the one coroutine that runs several of them.

A coroutine per layer costs a frame each: to enter, at every wake-up of the call, and to unwind when it is cancelled.
Most layers only do something before and after what is below them. They are written as a `Step`, and `stack.py` runs
neighbouring ones in one coroutine, in the order in which they are listed.
"""

from collections.abc import Callable, Sequence
from types import CoroutineType
from typing import Any

from .types import Handler, PlatformRequest, PlatformResponse

__all__ = ["Step", "in_one"]


class Step:
    """
    A layer in plain functions; what has been entered is left again, innermost first, however the call ends.

    An instance is also a layer of its own, `async (request, call_next) -> response`.
    """

    def enter(self, request: PlatformRequest) -> Any:
        """
        Run before the layers below; a step that raises is not entered.

        Returns:
            What `succeeded` or `failed` get as *entered*; where the step has to wait first, a coroutine of it.
        """

    def succeeded(self, request: PlatformRequest, entered: Any, response: PlatformResponse) -> None:
        """Run after the layers below returned *response*; what this raises is a failure to the layers above."""

    def failed(self, request: PlatformRequest, entered: Any, error: BaseException) -> BaseException:  # noqa: ARG002
        """Run after the layers below raised *error*, a cancellation included; return what the layers above get."""
        return error

    async def __call__(self, request: PlatformRequest, call_next: Handler, /) -> PlatformResponse:
        """Run this step around *call_next*."""
        return await in_one((self,), call_next)(request)


def in_one(steps: Sequence[Step], call_next: Handler) -> Handler:
    """Return a handler that runs *steps*, the first one outermost, around *call_next*."""
    # Those that do nothing at that point are left out.
    entering = [(None if type(step).enter is Step.enter else step.enter, _is_left(step)) for step in steps]
    left = [step for step in steps if _is_left(step)]
    succeeding = [None if type(step).succeeded is Step.succeeded else step.succeeded for step in left]
    failing = [None if type(step).failed is Step.failed else step.failed for step in left]

    async def handle(request: PlatformRequest) -> PlatformResponse:
        entered: list[Any] = []
        state: Any = None
        try:
            for enter, is_left in entering:
                state = None if enter is None else enter(request)
                if type(state) is CoroutineType:
                    state = await state
                if is_left:
                    entered.append(state)
            response = await call_next(request)
            while entered:
                state = entered.pop()
                succeeded = succeeding[len(entered)]
                if succeeded is not None:
                    succeeded(request, state, response)
            return response
        except BaseException as raised:  # noqa: BLE001 - raised again below
            error = raised
        try:
            # Outside the handler, so unchained: an exception of third-party code may refer to the request.
            raise _failed(request, entered, failing, error)
        finally:
            del error, state  # each refers to this frame, by its traceback: a cycle

    return handle


def _failed(
    request: PlatformRequest,
    entered: list[Any],
    failing: Sequence[Callable[[PlatformRequest, Any, BaseException], BaseException] | None],
    error: BaseException,
) -> BaseException:
    """Leave the steps that are entered, after *error*; returns what the layers above get."""
    while entered:
        state = entered.pop()
        failed = failing[len(entered)]
        if failed is not None:
            try:
                error = failed(request, state, error)
            except BaseException as raised:  # noqa: BLE001 - returned, to be raised
                error = raised
    return error


def _is_left(step: Step) -> bool:
    return type(step).succeeded is not Step.succeeded or type(step).failed is not Step.failed
