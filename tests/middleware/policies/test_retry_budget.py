"""Retries and hedges are bounded by the traffic of their service."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.policies.retry_budget import RetryBudget, RetryBudgetSettings


def test_the_budget_grows_with_traffic_and_slides():
    """R18: min_per_s * ttl + ratio * calls - retries, within the window."""
    budget, config = RetryBudget(), RetryBudgetSettings(ratio=0.2, min_per_s=0, ttl_s=10)
    for _ in range(10):
        budget.deposit(0.0, config)
    assert budget.balance(0.0, config) == 2
    assert [budget.withdraw(1.0, config) for _ in range(3)] == [True, True, False]
    assert budget.balance(9.9, config) == 0
    budget.deposit(10.5, config)
    assert budget.balance(10.5, config) == pytest.approx(0.2 - 2)
    assert budget.balance(11.5, config) == pytest.approx(0.2)


def test_a_window_is_kept_in_tenths_of_a_second():
    """R18: calls of one tenth expire with its first one, retries with what its last one could be."""
    config = RetryBudgetSettings(ratio=1, min_per_s=0, ttl_s=10)
    times = (0.0, 0.05, 0.1, 0.15)

    def balances(budget, *moments):
        return [round(budget.balance(now, config)) for now in moments]

    calls = RetryBudget()
    for now in times:
        calls.deposit(now, config)
    assert balances(calls, 9.99, 10.0, 10.02, 10.09, 10.11) == [4, 2, 2, 2, 0]
    retries = RetryBudget()
    for now in times:
        assert retries.withdraw(now, RetryBudgetSettings(ratio=1, min_per_s=1, ttl_s=10))
    assert balances(retries, 10.09, 10.12, 10.19, 10.22) == [-4, -2, -2, 0]


def test_a_refund_undoes_the_withdrawal_of_its_time():
    """R18: that one and no other, so that the others expire as they would have; once expired there is nothing to undo."""
    config = RetryBudgetSettings(ratio=0, min_per_s=1, ttl_s=10)
    budget = RetryBudget()
    for now in (0.0, 0.05, 0.1, 0.3):
        assert budget.withdraw(now, config)
    budget.refund(0.05)
    assert [budget.balance(now, config) for now in (0.3, 10.11, 10.21)] == [7, 8, 9]
    budget.refund(0.3)
    budget.refund(0.7)
    assert budget.balance(10.21, config) == 10
    budget.refund(0.05)
    assert budget.balance(10.3, config) == 10


def test_an_exhausted_budget_is_reported_once_per_window():
    """It is reported again when a whole window has passed."""
    budget, config = RetryBudget(), RetryBudgetSettings(ttl_s=10)
    assert [budget.is_first_refusal(now, config) for now in (0.0, 9.9, 10.0, 19.9)] == [True, False, True, False]


def test_a_budget_that_is_off_never_rejects():
    """R18: it is legitimate where the upstream has headroom."""
    budget = RetryBudget()
    assert all(budget.withdraw(0.0, RetryBudgetSettings(enabled=False)) for _ in range(1000))
    assert budget.balance(0.0, RetryBudgetSettings(enabled=False)) is None


def test_a_changed_budget_keeps_its_window():
    """R61: what was spent stays spent."""
    budget, config = RetryBudget(), RetryBudgetSettings(ratio=0, min_per_s=1, ttl_s=10)
    for _ in range(10):
        assert budget.withdraw(0.0, config)
    assert budget.balance(0.0, RetryBudgetSettings(ratio=0, min_per_s=2, ttl_s=10)) == 10


@given(st.lists(st.tuples(st.sampled_from(["call", "retry"]), st.floats(0, 2)), max_size=80))
def test_the_budget_is_its_formula(steps):
    """R18: against a list of everything that happened; entries of a tenth of a second are as exact as it gets."""
    config = RetryBudgetSettings(ratio=0.3, min_per_s=0.5, ttl_s=5)
    budget, now, calls, retries = RetryBudget(), 0.0, [], []
    for what, passed in steps:
        now += passed
        if what == "call":
            budget.deposit(now, config)
            calls.append(now)
        elif budget.withdraw(now, config):
            retries.append(now)

        def spent(slack, now=now):
            kept = [[at for at in kind if at > now - config.ttl_s - slack] for kind in (calls, retries)]
            return len(kept[0]), len(kept[1])

        (calls_low, retries_low), (calls_high, retries_high) = spent(-0.1), spent(0.1)
        lowest = config.min_per_s * config.ttl_s + config.ratio * calls_low - retries_high
        highest = config.min_per_s * config.ttl_s + config.ratio * calls_high - retries_low
        assert lowest - 1e-9 <= budget.balance(now, config) <= highest + 1e-9
