"""Each wait, one at a time, raises, or finds its caller gone."""

import asyncio

import pytest
from harness import every_point
from injection import ForeignError, Waits
from scenarios import SCENARIOS

pytestmark = pytest.mark.torture

WITH_WAITS = [scenario for scenario in SCENARIOS if scenario.waits]


def cancel(victim, nth, _waited):
    """In the next iteration of the loop, as a task that is given up."""
    if nth == 0:
        asyncio.get_running_loop().call_soon(victim.cancel)


def cancel_again_and_again(victim, _nth, _waited):
    """At this wait and at every one that follows: in the middle of a release."""
    asyncio.get_running_loop().call_soon(victim.cancel)
    asyncio.get_running_loop().call_soon(victim.cancel)


def cancel_as_it_ends(victim, nth, waited):
    """When what was waited for is there, and before the waiting task has seen it."""
    if nth == 0:
        if waited is None:
            victim.cancel()
        else:
            waited.add_done_callback(victim.cancel)


def cancel_scope(victim, nth, _waited):
    """By an anyio scope around the call."""
    if nth == 0:
        asyncio.get_running_loop().call_soon(victim.cancel_scope)


def time_out(victim, nth, _waited):
    """By an `asyncio.timeout` around the call."""
    if nth == 0:
        asyncio.get_running_loop().call_soon(victim.time_out)


def torture_all(run, scenario, act):
    """Act at each wait of *scenario*, one run for each; what must be true in any case is asserted here."""

    def run_at(at):
        waits = Waits(at, lambda nth, waited: act(waits.victim, nth, waited))
        return run(scenario, waits)

    reference = run(scenario, Waits())
    runs = every_point(run_at)
    assert reference.end == scenario.end
    assert [text for one in runs for text in one.complaints()] == []
    assert len(runs) >= scenario.waits
    return runs


@pytest.mark.parametrize("error", [ForeignError, ConnectionResetError, TimeoutError])
@pytest.mark.parametrize("scenario", WITH_WAITS, ids=str)
def test_a_wait_that_raises_ends_in_one_of_our_errors(run, scenario, error):
    """R34, R41: whatever was waited for, a permit, a slot, a response or the end of a backoff."""
    runs = torture_all(run, scenario, lambda _victim, nth, _waited: None if nth else error("tortured"))
    assert [str(one) for one in runs if isinstance(one.ended, asyncio.CancelledError)] == []


@pytest.mark.parametrize(
    ("act", "end"),
    [
        (cancel, "CancelledError"),
        (cancel_again_and_again, "CancelledError"),
        (cancel_as_it_ends, "CancelledError"),
        (cancel_scope, "ok"),
        (time_out, "TimeoutError"),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
@pytest.mark.parametrize("scenario", WITH_WAITS, ids=str)
def test_a_caller_who_goes_away_is_gone(run, scenario, act, end):
    """R34, R41, R42, R44: the cancel comes out unchanged, and all is released, the permit just handed over too."""
    runs = torture_all(run, scenario, act)
    gone = [one for one in runs if one.was_cancelled]
    assert [str(one) for one in gone if one.end != end] == []
    # What a call waits for last may come in the step that ends it: then nothing is left to be cancelled.
    assert act is cancel_as_it_ends or len(gone) == len(runs)


@pytest.mark.parametrize("scenario", WITH_WAITS, ids=str)
def test_a_wait_that_is_itself_cancelled_cancels_the_call(run, scenario):
    """R11: what was cancelled below passes, hedged or not; on sockets a library may make an error of it, or go on."""
    runs = torture_all(run, scenario, lambda _victim, nth, _waited: None if nth else asyncio.CancelledError())
    assert scenario.library or {one.end for one in runs} == {"CancelledError"}
