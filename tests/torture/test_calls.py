"""
Each call across a border, one at a time, raises, or finds its caller cancelled.

Its border: permits, connections and counters that stay after a cancellation or fault at each point. Which error a single
fault becomes is in `test_outcomes.py`.
"""

import asyncio

import httpx
import pytest
from harness import every_point
from injection import WIRE, Calls, ForeignError
from scenarios import OTHER_VERBS, SCENARIOS

pytestmark = pytest.mark.torture

IN_FULL = [scenario for scenario in SCENARIOS if scenario.calls]
AT_THE_WIRE = [
    (scenario, error)
    for scenario in SCENARIOS
    if scenario.library and scenario.calls
    for error in (ConnectionResetError, httpx.ReadError, httpx.ConnectError)
] + [(scenario, error) for scenario in OTHER_VERBS for error in (ForeignError, httpx.ConnectError)]
LIBRARIES = {"listener", "logging", "opentelemetry", "ours", "structlog"}


def raising(error):
    """Let the called function raise."""

    def act(_is_coroutine):
        raise error("tortured")

    return act


@pytest.mark.parametrize("scenario", IN_FULL, ids=str)
def test_what_raises_is_one_of_our_errors_and_for_telemetry_nothing_at_all(run, scenario):
    """R31, R41, R52: no third-party error escapes and nothing is kept; what a listener loses is counted."""
    reference = run(scenario, Calls())
    runs = every_point(lambda at: run(scenario, Calls(at, raising(ForeignError))))
    assert reference.end == scenario.end
    assert [text for one in runs for text in one.complaints()] == []
    assert [str(one) for one in runs if isinstance(one.ended, asyncio.CancelledError)] == []
    telemetry = [one for one in runs if one.hit.is_telemetry]
    assert [str(one) for one in telemetry if (one.end, one.sent) != (scenario.end, reference.sent)] == []
    assert [str(one) for one in telemetry if one.hit.is_counted and not one.dropped] == []
    if scenario.library and scenario.method == "POST":  # R12
        assert [str(one) for one in runs if one.sent > reference.sent] == []
    assert {one.hit.library for one in runs} >= LIBRARIES
    assert len(runs) >= scenario.calls


@pytest.mark.parametrize("scenario", IN_FULL, ids=str)
def test_a_cancel_at_a_call_ends_in_the_cancel(run, scenario):
    """R42: coroutines are cancelled before their first step; at all other calls the caller is, in the running step."""

    def run_at(at):
        def act(is_coroutine):
            if is_coroutine:
                raise asyncio.CancelledError
            calls.victim.cancel()

        calls = Calls(at, act)
        return run(scenario, calls)

    runs = every_point(run_at)
    assert [text for one in runs for text in one.complaints()] == []
    assert [str(one) for one in runs if one.end != "CancelledError"] == []
    assert len(runs) >= scenario.calls


@pytest.mark.parametrize(("scenario", "error"), AT_THE_WIRE, ids=lambda given: getattr(given, "__name__", str(given)))
def test_what_raises_at_the_wire_is_told_by_what_was_sent(run, scenario, error):
    """R12: whatever it is called; and no write is sent more often than without it."""
    reference = run(scenario, Calls())
    runs = every_point(lambda at: run(scenario, Calls(at, raising(error), WIRE)))
    assert reference.end == scenario.end
    assert [text for one in runs for text in one.complaints()] == []
    if scenario.method in {"POST", "PATCH"}:
        assert [str(one) for one in runs if one.sent > reference.sent] == []
    assert len(runs) >= 7
