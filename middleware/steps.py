"""
Layers as plain functions, and the one coroutine that runs several of them.

A coroutine per layer costs a frame each: to enter, at every wake-up of the call, and to unwind when it is cancelled.
Most layers only do something before and after what is below them. They are written as a `Step`, and `stack.py` runs
neighbouring ones in one coroutine, in the order in which they are listed.
"""

from collections.abc import Callable, Sequence
from functools import partial
from types import CoroutineType
from typing import Any, NamedTuple

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
            What `succeeded` or `failed` get as *entered*, never a response; where the step has to wait first, a
            coroutine of it.
        """

    def enter_above(self, below: Handler, request: PlatformRequest) -> Any:
        """
        Run as `enter`, instead of it, in a step that may run *below*, the layers below it, in a way of its own.

        Returns:
            As `enter`; where the step does that, a coroutine of their response.
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
    # Those that do nothing at that point are left out, once here and not in each call.
    places = _places(steps)
    entering = tuple(_enter(place.step, steps[place.depth + 1 :], call_next) for place in places if place.at >= 0)
    depths = tuple(place.depth for place in places if place.at >= 0)
    places.reverse()
    succeeding = tuple(
        (p.depth, p.at, p.step.succeeded) for p in places if type(p.step).succeeded is not Step.succeeded
    )
    failing = [place for place in places if type(place.step).failed is not Step.failed]

    async def handle(request: PlatformRequest) -> PlatformResponse:
        entered: list[Any] = []
        state: Any = None
        depth = -1  # of the step whose `succeeded` runs
        leaving = succeeding
        try:
            for enter in entering:
                state = enter(request)
                if state is not None and type(state) is CoroutineType:
                    state = await state
                    if isinstance(state, PlatformResponse):  # the step has run the layers below it
                        response, taken = state, depths[len(entered)]
                        leaving = tuple(outer for outer in succeeding if outer[0] < taken)
                        break
                entered.append(state)
            else:
                response = await call_next(request)
            entered.append(None)  # of steps without `enter`
            for depth, at, succeeded in leaving:  # noqa: B007 - read when one raises
                succeeded(request, entered[at], response)
            return response
        except BaseException as raised:  # noqa: BLE001 - raised again below
            error = raised
        try:
            # Outside the handler, so unchained: an exception of third-party code may refer to the request.
            raise _failed(request, entered, failing, depth, error)
        finally:
            del error, state  # each refers to this frame, by its traceback: a cycle

    return handle


def _enter(step: Step, below: Sequence[Step], call_next: Handler) -> Callable[[PlatformRequest], Any]:
    """Return what enters *step*; the steps *below* it are run around *call_next*."""
    if type(step).enter_above is Step.enter_above:
        return step.enter
    return partial(step.enter_above, in_one(below, call_next) if below else call_next)


class _Place(NamedTuple):
    """
    A step among others.

    Attributes:
        step: The step.
        depth: How many steps are around it.
        at: Where in the list of what the steps returned is its own; -1 without `enter`.
        after: How long that list is at least once the step is entered.
    """

    step: Step
    depth: int
    at: int
    after: int


def _places(steps: Sequence[Step]) -> list[_Place]:
    found, entering = list[_Place](), 0
    for depth, step in enumerate(steps):
        enters = (type(step).enter, type(step).enter_above) != (Step.enter, Step.enter_above)
        found.append(_Place(step, depth, entering if enters else -1, entering + enters))
        entering += enters
    return found


def _failed(
    request: PlatformRequest, entered: Sequence[Any], places: Sequence[_Place], depth: int, error: BaseException
) -> BaseException:
    """
    Leave the steps that are entered, after *error*; returns what the layers above get.

    Args:
        request: The request.
        entered: What the steps returned that were entered.
        places: The steps to leave, innermost first.
        depth: That of the last step that was left already; negative for none.
        error: The error.
    """
    for place in places:
        if place.after <= len(entered) and (depth < 0 or place.depth < depth):
            try:
                error = place.step.failed(request, None if place.at < 0 else entered[place.at], error)
            except BaseException as raised:  # noqa: BLE001 - returned, to be raised
                error = raised
    return error
