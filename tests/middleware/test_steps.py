"""Steps: layers as plain functions, several of them in one coroutine."""

import asyncio
import gc
import weakref

import pytest
from layer_support import a_request

from middleware.steps import Step, in_one
from middleware.types import PlatformResponse


class Noted(Step):
    """Notes what it runs; raises or waits where the test says so."""

    def __init__(self, name, notes, **acts):
        self.name, self.notes, self.acts = name, notes, acts

    def _note(self, what, *more):
        self.notes.append((self.name, what, *more))
        if what in self.acts:
            raise self.acts[what]

    def enter(self, request):
        self._note("enter")
        return self._wait() if "wait" in self.acts else f"{self.name}'s"

    async def _wait(self):
        await asyncio.sleep(0)
        self.notes.append((self.name, "waited"))
        return f"{self.name}'s"

    def succeeded(self, request, entered, response):
        self._note("succeeded", entered)

    def failed(self, request, entered, error):
        self._note("failed", entered, str(error))
        return self.acts.get("instead", error)


async def responds(request):
    return PlatformResponse(status=200)


async def run(*steps, then=responds):
    try:
        return (await in_one(steps, then)(a_request())).status
    except Exception as error:
        return str(error)


async def test_steps_are_left_in_the_opposite_order():
    """Each with what it returned when it was entered, also where it had to wait first."""
    notes = []
    assert await run(Noted("a", notes), Noted("b", notes, wait=True)) == 200
    assert notes == [
        ("a", "enter"),
        ("b", "enter"),
        ("b", "waited"),
        ("b", "succeeded", "b's"),
        ("a", "succeeded", "a's"),
    ]


@pytest.mark.parametrize(
    ("acts", "left"),
    [
        ({"enter": ValueError("no")}, [("b", "enter"), ("a", "failed", "a's", "no")]),
        (
            {"succeeded": ValueError("no")},
            [("b", "enter"), ("b", "succeeded", "b's"), ("a", "failed", "a's", "no")],
        ),
    ],
    ids=["on entering", "after a success"],
)
async def test_what_a_step_raises_is_a_failure_to_those_above(acts, left):
    """It is not entered itself, or was left already."""
    notes = []
    assert await run(Noted("a", notes), Noted("b", notes, **acts)) == "no"
    assert notes == [("a", "enter"), *left]


@pytest.mark.parametrize("how", ["instead", "failed"])
async def test_a_failure_may_become_another_one(how):
    """Whether a step returns or raises it, those above get it, and are left all the same."""
    notes = []

    async def fails(request):
        raise ValueError("below")

    inner = Noted("b", notes, **{how: KeyError("mapped")})
    assert await run(Noted("a", notes), inner, then=fails) == "'mapped'"
    assert notes[2:] == [("b", "failed", "b's", "below"), ("a", "failed", "a's", "'mapped'")]


async def test_an_error_is_freed_without_the_collector():
    """A frame that referred to the error, and the error to the frame, would keep the request until then."""

    class MarkedError(ValueError):
        pass

    async def fails(request):
        raise MarkedError

    gc.collect()
    gc.disable()
    try:
        caught = None
        try:
            await in_one((Noted("a", []),), fails)(a_request())
        except MarkedError as error:
            caught = weakref.ref(error)
        assert caught() is None
    finally:
        gc.enable()


async def test_a_cancelled_step_is_left():
    """A cancellation is a failure, and passes on unchanged."""
    notes = []
    task = asyncio.create_task(run(Noted("a", notes), then=lambda _request: asyncio.sleep(10)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert notes[-1][:2] == ("a", "failed")


async def test_a_step_is_a_layer_of_its_own():
    """As every other: `async (request, call_next) -> response`."""
    notes = []
    assert (await Noted("a", notes)(a_request(), responds)).status == 200
    assert [what for _, what, *_ in notes] == ["enter", "succeeded"]


async def test_a_step_without_enter_is_entered_when_those_above_are():
    """It is left after what is below it has failed, and not where a step above it was not entered."""
    notes = []

    class Boundary(Step):
        def failed(self, request, entered, error):
            notes.append(("boundary", entered, str(error)))
            return error

    async def fails(request):
        raise ValueError("below")

    rejecting = Noted("a", [], enter=ValueError("not entered"))
    assert await run(rejecting, Boundary(), then=fails) == "not entered"
    assert notes == []
    assert await run(Boundary(), rejecting) == "not entered"
    assert await run(Noted("a", []), Boundary(), then=fails) == "below"
    assert notes == [("boundary", None, "not entered"), ("boundary", None, "below")]


class Above(Noted):
    """Runs the layers below it itself, in a task, where the test says so."""

    def enter_above(self, below, request):
        self._note("enter")
        return self._run(below, request) if "runs" in self.acts else f"{self.name}'s"

    async def _run(self, below, request):
        response = await asyncio.create_task(below(request))
        self.notes.append((self.name, "ran"))
        return response


class WithoutEnter(Step):
    """Notes only what comes after."""

    def __init__(self, notes):
        self.notes = notes

    def succeeded(self, request, entered, response):
        self.notes.append(("x", "succeeded", entered))

    def failed(self, request, entered, error):
        self.notes.append(("x", "failed", entered, str(error)))
        return error


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("runs", [False, True])
async def test_a_step_may_run_those_below_itself(runs, fails):
    """Each of them is entered once and left once, by whoever runs it; the step itself is left where it does not."""
    notes = []
    acts = {"succeeded": ValueError("no")} if fails else {}
    above = Above("b", notes, runs=True) if runs else Above("b", notes)
    steps = (Noted("a", notes), WithoutEnter(notes), above, Noted("c", notes, **acts), WithoutEnter(notes))
    assert await run(*steps) == ("no" if fails else 200)
    below = [("a", "enter"), ("b", "enter"), ("c", "enter"), ("x", "succeeded", None), ("c", "succeeded", "c's")]
    if fails:
        after = [] if runs else [("b", "failed", "b's", "no")]
        after += [("x", "failed", None, "no"), ("a", "failed", "a's", "no")]
    else:
        after = [("b", "ran")] if runs else [("b", "succeeded", "b's")]
        after += [("x", "succeeded", None), ("a", "succeeded", "a's")]
    assert notes == below + after
