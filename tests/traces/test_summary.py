"""Figures of calls over time: how exact they are, and how much memory they take."""

from random import Random

import pytest
from trace_spans import call, summary_of

from runtime.traces.summary import Durations


def test_percentiles_are_exact_to_a_hundredth():
    """Of durations over four orders of magnitude, next to those of all values."""
    chance, durations = Random(3), Durations()
    values = sorted(int(chance.lognormvariate(16, 2)) for _ in range(5000))
    for value in values:
        durations.add(value)
    for share in (0.5, 0.95, 0.99):
        exact = values[-(-int(5000 * share * 100) // 100) - 1] / 1e9
        assert durations.quantile(share) == pytest.approx(exact, rel=0.0101)


def test_no_percentile_exceeds_the_longest_duration():
    """Nothing lasts longer than the timeout, though the middle of the bucket does."""
    durations = Durations()
    for _ in range(20):
        durations.add(9_860_000_000)
    assert durations.quantile(0.5) == durations.quantile(0.99) == pytest.approx(9.86)


def test_memory_is_bounded_by_time_not_by_calls():
    """Slices become longer where there are too many, names that have ids become one."""
    summary = summary_of(call(number, at_s=number * 2) for number in range(25_000))
    assert summary.slice_ns == 4_000_000_000
    assert sum(len(one.cells) for one in summary.operations) <= 20_000
    assert summary.operations[0].total().calls == 25_000
    many = summary_of(call(number, name=f"svc.op{number}") for number in range(1000))
    assert len(many.operations) <= 301
    assert sum(one.total().calls for one in many.operations) == 1000
