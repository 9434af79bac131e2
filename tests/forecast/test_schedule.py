"""The schedule of one call: its bounds against the real stack in virtual time."""

from random import Random

import pytest

from benchmarks.explain_truth import FAULTS, LATENCY_S, READ, WRITE, policy, problems
from runtime.forecast.models import model_of
from runtime.forecast.schedule import schedule_of
from runtime.forecast.simulate import Operation, settings_of


def schedule(fault, operation=READ, **sections):
    return schedule_of(settings_of(sections), model_of(fault), operation=operation, latency_s=LATENCY_S)


def starts(found):
    return [tuple(round(at, 6) for at in one.starts_s) for one in found.attempts]


@pytest.mark.parametrize("fault", FAULTS)
def test_no_call_leaves_its_bounds_and_each_bound_is_reached(fault):
    """R10, R11, R15, R16, R18, R19, R20: six random policies; benchmarks/explain_truth.py does 2 000."""
    found = []
    for seed in range(6):
        random = Random(seed)
        sections = policy(random)
        found += problems(sections, fault, WRITE if random.random() < 0.3 else READ, seed)[0]
    assert found == []


def test_a_hedge_that_the_deadline_may_prevent_reaches_its_latest_start():
    """R19: the latest round that still has it, not the latest of all."""
    sections = {
        "retry": {"max_attempts": 9, "base_delay_s": 0.5},
        "hedging": {"max_hedges": 2, "delay_s": 0.7},
        "circuit_breaker": {"window_s": 30.0},
        "budget": {"enabled": False},
    }
    assert problems(sections, "hang", READ, 0)[0] == []


def test_the_check_detects_a_bound_that_is_wrong(monkeypatch):
    """A schedule that is a little too narrow, or a little too wide, is a problem."""
    sections = {"retry": {"max_attempts": 2}}
    assert problems(sections, "503", READ, 1)[0] == []
    for factor in (0.2, 1.1):
        real = schedule_of

        def wrong(settings, *arguments, factor=factor, real=real, **named):
            changed = {"retry": {"max_attempts": 2, "base_delay_s": 0.1 * factor}}
            return real(settings_of(changed), *arguments, **named)

        monkeypatch.setattr("benchmarks.explain_truth.schedule_of", wrong)
        assert problems(sections, "503", READ, 1)[0]
        monkeypatch.undo()


def test_the_defaults_under_a_hang():
    """R16, R40: the third attempt is ended by the deadline."""
    found = schedule("hang")
    assert starts(found) == [(0, 0), (10, 10.1), (20, 20.3)]
    assert [one.ends_s for one in found.attempts][-1] == (25, 25)
    assert found.fastest_s == 25
    assert found.worst_case_s == 25
    assert found.never == ()


def test_a_wait_for_retry_after_is_as_long_as_it_says():
    """R15: Retry-After plus at most 10 %."""
    assert starts(schedule("429:5")) == [(0, 0), (5.05, 5.55), (10.1, 11.1)]


@pytest.mark.parametrize(
    ("fault", "sections", "operation", "first", "reason"),
    [
        ("hang", {"attempt": {"timeout_s": 20.0}, "deadline": {"total_s": 19.0}}, READ, 2, "deadline"),
        ("429:30", {}, READ, 2, "retry_after_max"),
        ("lost", {}, WRITE, 2, "not_retryable"),
        ("slow:2s", {}, READ, 2, "success"),
        ("503", {"circuit_breaker": {"min_calls": 2}}, READ, 3, "circuit_open"),
        ("503", {"circuit_breaker": {"mode": "forced_open"}}, READ, 1, "circuit_open"),
        ("503", {"budget": {"min_per_s": 0.1, "ratio": 0.0}}, READ, 3, "budget"),
        ("503", {"rate_limit": {"per_second": 0.01, "burst": 1}}, READ, 2, "rate_limit"),
    ],
    ids=["deadline", "retry_after", "write", "success", "circuit", "forced", "budget", "rate_limit"],
)
def test_attempts_that_can_never_start_have_the_reason(fault, sections, operation, first, reason):
    """R10: the first reason that applies, of those attempts that the settings allow."""
    (never,) = schedule(fault, operation, **sections).never
    assert never.first == first
    assert never.last == 3
    assert never.reason == reason


def test_what_an_endpoint_declares_bounds_the_attempts():
    """R11, R20: one attempt, also after a refused connection."""
    assert len(schedule("refused", Operation(max_attempts=1)).attempts) == 1
    assert len(schedule("refused").attempts) == 5


@pytest.mark.parametrize("fault", ["errors:30%", "brownout", "lost:20%"])
def test_a_fault_by_chance_has_no_schedule(fault):
    """The error names the faults that have one."""
    with pytest.raises(ValueError, match="hang, 503, 429:30"):
        schedule(fault)
