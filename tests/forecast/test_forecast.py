"""A forecast in a test: `runtime.testing.forecast`."""

import logging
import re

import pytest

from middleware import ConfigError
from middleware.stack import StackSettings
from runtime.settings import ResolvedSettings
from runtime.testing import forecast

INERT = "every call fails, and the circuit never opens (hang, 0.5 calls/s): circuit_breaker.min_calls is 10"


def test_a_hanging_service_opens_the_circuit():
    """R32, R38: after the first attempt timeout; the example of docs/tuning.md."""
    found = forecast(fault="hang", rps=5, runs=3)
    assert found.opens_within(30)
    assert not found.opens_within(5)
    assert re.fullmatch(
        r"<the circuit opens after 11\.\d to 1\d\.\d s \(hang, 5 calls/s\)>", repr(found.opens_within(5))
    )
    assert 10 < found.opens_at_s[0] <= found.opens_at_s[1] < 14
    assert found.success == 0
    assert found.worst_case_s == 25


@pytest.mark.parametrize(
    ("policy", "method", "cause"),
    [({"retry": {"max_attempts": 1}}, "GET", "retry.max_attempts 1"), ({}, "POST", "none is repeated")],
    ids=["one attempt", "write"],
)
def test_a_policy_whose_breaker_is_inert_fails_with_the_reason(policy, method, cause):
    """R32: ten attempts in ten seconds never come together, so each call waits and fails."""
    opening = forecast(policy, fault="hang", rps=0.5, method=method, runs=3).opens_within(30)
    with pytest.raises(AssertionError) as failed:
        assert opening
    assert INERT in str(failed.value)
    assert f"5 attempts ({cause}); set min_calls to 3 or window_s to 30" in str(failed.value)


@pytest.mark.parametrize(
    ("policy", "operation", "method", "attempts"),
    [
        ({}, "checkout", None, 1),
        ({}, "subscription_status", None, 3),
        ({}, "checkout", "get", 1),
        ({"services": {"payment": {"operations": {"checkout": {"retry": {"max_attempts": 2}}}}}}, "checkout", "get", 2),
    ],
)
def test_an_operation_of_a_connector_is_called_as_its_endpoint_declares(policy, operation, method, attempts):
    """R11: its method and its attempts, unless a setting of its own says otherwise."""
    found = forecast(
        policy, fault="503", rps=1, service="payment", operation=operation, method=method, duration_s=1, runs=1
    )
    assert found.amplification == attempts


def test_an_operation_that_the_connector_does_not_have_is_named():
    with pytest.raises(ValueError, match=r"^forecast\.operation: payment has .*, got 'refund'$"):
        forecast(fault="hang", rps=1, service="payment", operation="refund")


@pytest.mark.parametrize(
    ("policy", "fault", "reason"),
    [
        ({"circuit_breaker": {"mode": "shadow"}}, "503", "circuit_breaker.mode is shadow"),
        ({}, "429:30", "does not count 429:30 as a failure"),
        ({}, "errors:30%", "fewer than circuit_breaker.failure_ratio, 0.7"),
    ],
)
def test_the_reason_names_what_keeps_the_circuit_closed(policy, fault, reason):
    """R30, R31, R32."""
    opening = forecast(policy, fault=fault, rps=5, duration_s=10, runs=2).opens_within(10)
    assert not opening
    assert reason in repr(opening)


def test_figures_are_deterministic_by_seed_and_have_an_interval():
    """The mean is inside its interval, which another seed moves."""
    first, same, other = (forecast(fault="errors:30%", rps=20, duration_s=10, seed=seed, runs=3) for seed in (1, 1, 9))
    assert first.success == same.success != other.success
    assert first.success_interval[0] <= first.success <= first.success_interval[1]
    assert first.amplification_interval[0] <= first.amplification <= first.amplification_interval[1]
    assert first.worst_case_s == 25


@pytest.mark.parametrize(
    "policy",
    [{"retry": {"max_attempts": 2}}, ResolvedSettings({"services": {"service": {"retry": {"max_attempts": 2}}}})],
    ids=["mapping", "source"],
)
def test_a_policy_is_a_mapping_settings_or_a_source(policy):
    """As a file has them, or as a program has them in force."""
    assert len(forecast(policy, fault="503", rps=1).schedule.attempts) == 2
    assert len(forecast(StackSettings(), fault="503", rps=1).schedule.attempts) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"fault": "nothing"}, ValueError, "nothing"),
        ({"rps": 0}, ValueError, "forecast.rps"),
        ({"rps": float("inf")}, ValueError, "forecast.rps"),
        ({"latency_s": -1}, ValueError, "forecast.latency_s"),
        ({"runs": 0}, ValueError, "forecast.runs"),
        ({"policy": {"retry": {"max_atempts": 1}}}, ConfigError, "max_atempts"),
    ],
)
def test_what_is_wrong_is_named(arguments, error, named):
    """Before anything runs."""
    with pytest.raises(error, match=named):
        forecast(arguments.pop("policy", None), **{"fault": "hang", "rps": 1, **arguments})


def test_a_forecast_logs_nothing(caplog):
    """Its calls are not the program's: no lines, spans or metrics of them."""
    caplog.set_level(logging.DEBUG)
    assert forecast(fault="503", rps=5, duration_s=5, runs=1).success == 0
    assert not [record for record in caplog.records if record.name != "asyncio"]
