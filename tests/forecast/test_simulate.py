"""
Traffic on the real stack in virtual time: determinism, figures, and cases.

Also the tests of `runtime.forecast.simulated_transport`.
"""

from dataclasses import replace

import pytest

from middleware.stack import StackSettings
from runtime.forecast.simulate import Operation, Scenario, run_all, run_one, sections_of, settings_of

NO_RETRY = {"retry": {"max_attempts": 1}, "circuit_breaker": {"mode": "disabled"}}


def scenario(fault, **changes):
    return replace(Scenario(fault=fault, rps=20.0, duration_s=12.0, ill_from_s=2.0, ill_until_s=8.0), **changes)


def test_success_and_amplification_are_those_of_the_arithmetic():
    """R11: without retries a third fails in half the time; each call is one request."""
    run = run_one(scenario("errors:30%", rps=100.0), NO_RETRY, 0)
    assert run.success == pytest.approx(1 - 0.3 / 2, abs=0.03)
    assert run.amplification == 1.0
    assert run.calls == sum(second[0] for second in run.by_second) == pytest.approx(1200, abs=100)
    assert run.requests == sum(second[2] for second in run.by_second)


def test_the_same_seed_gives_the_same_run_and_another_one_another():
    """Whatever ran before, and in whichever process."""
    first = run_one(scenario("lost:20%"), {}, 3)
    assert run_one(scenario("lost:20%"), {}, 3) == first != run_one(scenario("lost:20%"), {}, 4)


def test_an_outage_opens_the_circuit_and_is_recovered_from():
    """R32, R33: rejections while it is open, and the time from its end."""
    run = run_one(scenario("outage:503", duration_s=30.0), {}, 0)
    assert 2 < run.opened_at_s < 6
    assert run.rejected == run.errors["CIRCUIT_OPEN"] > 50
    assert run.recovery_s <= 6
    assert run_one(scenario("outage:503", duration_s=9.0), {}, 0).recovery_s is None


def test_writes_are_repeated_as_the_operation_says():
    """R11: a POST is not repeated after a lost response, unless its connector declares it idempotent."""
    for operation, repeated in ((Operation(method="POST"), False), (Operation(method="POST", idempotent=True), True)):
        run = run_one(scenario("lost:20%", operation=operation), {}, 0)
        assert (run.amplification > 1) is repeated


def test_settings_survive_the_way_to_another_process():
    """As plain values, by section and field."""
    settings = settings_of({"retry": {"max_attempts": 7}, "bulkhead": {"adaptive": True}})
    assert settings_of(sections_of(settings)) == settings
    assert settings_of({}) == StackSettings()


def test_each_case_has_each_seed():
    """The index says of which case a run is."""
    cases = [(scenario("hang", duration_s=1.0, rps=2.0), {}), (scenario("503", duration_s=1.0, rps=2.0), {})]
    assert [(index, run.seed) for index, run in run_all(cases, [5, 6])] == [(0, 5), (1, 5), (0, 6), (1, 6)]
