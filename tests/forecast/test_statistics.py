"""Intervals over seeds, and whether two policies differ."""

from random import Random

import pytest

from runtime.forecast.statistics import compared, estimate


def test_an_interval_is_that_of_students_t():
    """Five values: 2.776 standard errors."""
    found = estimate([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.mean == 3
    assert found.least == 1
    assert found.most == 5
    assert found.high - found.mean == pytest.approx(2.776 * 2.5**0.5 / 5**0.5)
    assert estimate([1.0]).high == float("inf")


def test_noise_is_seldom_called_real():
    """Of 100 comparisons of the same with the same in two figures at most 5 % are, with some tolerance."""
    random, real = Random(1), 0
    for _ in range(100):
        pairs = {
            name: ([random.gauss(0, 1) for _ in range(8)], [random.gauss(0, 1) for _ in range(8)]) for name in "ab"
        }
        real += any(one.verdict == "real" for one in compared(pairs).values())
    assert real <= 100 * 0.1


def test_a_difference_in_each_seed_is_real():
    """Pairs are compared: chance that both share does not hide it."""
    random = Random(1)
    shared = [random.gauss(0, 10) for _ in range(10)]
    found = compared({"figure": (shared, [one + 1 + random.gauss(0, 0.2) for one in shared])})["figure"]
    assert found.verdict == "real"
    assert found.p == 2 / 2**10
    assert found.low < 1 < found.high


@pytest.mark.parametrize(("seeds", "verdict"), [(3, "too few seeds"), (6, "real")])
def test_too_few_seeds_say_so(seeds, verdict):
    """Two to the number of seeds is the number of assignments of signs."""
    assert compared({"figure": ([0.0] * seeds, [1.0] * seeds)})["figure"].verdict == verdict


def test_what_does_not_differ_is_the_same():
    """Not noise: no seed differs."""
    assert compared({"figure": ([1.0, 2.0], [1.0, 2.0])})["figure"].verdict == "same"


def test_many_pairs_are_sampled():
    """Beyond 12 pairs the assignments are drawn, the same in each run."""
    pairs = {"figure": ([0.0] * 20, [1.0] * 20)}
    assert compared(pairs) == compared(pairs)
    assert compared(pairs)["figure"].verdict == "real"
