"""Means with their intervals, and whether two policies differ, over the seeds of a simulation."""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from random import Random
from statistics import fmean, stdev
from typing import Literal, NamedTuple, TypeAlias

__all__ = ["Difference", "Estimate", "Verdict", "compared", "estimate"]

# Two-sided 95 % quantiles of Student's t by degrees of freedom; beyond the table those of the normal distribution,
# widened by its first correction.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_NORMAL = 1.96
_SIGNIFICANT = 0.05
_ALL_FLIPS = 12  # up to so many pairs all assignments of signs are counted
_FLIPS = 4_000

Verdict: TypeAlias = Literal["real", "noise", "same", "too few seeds"]


class Estimate(NamedTuple):
    """
    A mean and what it is sure of.

    Attributes:
        mean: The mean over the seeds.
        low: Lower end of its 95 % interval.
        high: Upper end; with a single seed the interval is infinite.
        least: Smallest value of a seed.
        most: Largest value of a seed.
    """

    mean: float
    low: float
    high: float
    least: float
    most: float


class Difference(NamedTuple):
    """
    How two policies differ in one figure, seed by seed.

    Attributes:
        mean: Mean of second minus first.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: Probability of such a difference, or a larger one, where there is none; adjusted for the number of figures.
        verdict: `real` where *p* is below 0.05; `same` where no seed differs; `too few seeds` where no difference could
            be real.
    """

    mean: float
    low: float
    high: float
    p: float
    verdict: Verdict


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of *values*, one per seed, with its interval (Student's t)."""
    middle = fmean(values)
    if len(values) == 1:
        return Estimate(middle, float("-inf"), float("inf"), middle, middle)
    degrees = len(values) - 1
    quantile = _T[degrees - 1] if degrees <= len(_T) else _NORMAL + 2.4 / degrees
    half = quantile * stdev(values) / math.sqrt(len(values))
    return Estimate(middle, middle - half, middle + half, min(values), max(values))


def compared(pairs: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> dict[str, Difference]:
    """
    Compare two policies in several figures.

    Both have met the same calls and the same service in each seed, so the seeds are pairs. Where the policies do not
    differ, the sign of each pair's difference is chance: *p* is the share of all assignments of signs whose mean is at
    least as large (Fisher's exact test of randomization). Holm's procedure accounts for the number of figures.

    Args:
        pairs: For each figure the values of the first and of the second policy, in the order of the seeds.
    """
    by_seed = {name: [b - a for a, b in zip(*values, strict=True)] for name, values in pairs.items()}
    chances = {name: _chance(differences) for name, differences in by_seed.items()}
    adjusted = _holm(chances)
    found = {}
    for name, differences in by_seed.items():
        middle = estimate(differences)
        found[name] = Difference(
            middle.mean, middle.low, middle.high, adjusted[name], _verdict(differences, adjusted[name], len(pairs))
        )
    return found


def _verdict(differences: Sequence[float], p: float, figures: int) -> Verdict:
    if not any(differences):
        return "same"
    if p < _SIGNIFICANT:
        return "real"
    return "too few seeds" if figures * 2 / 2 ** len(differences) >= _SIGNIFICANT else "noise"


def _chance(differences: Sequence[float]) -> float:
    """Return the share of assignments of signs whose sum is at least as far from 0 as that of *differences*."""
    if not any(differences):
        return 1.0
    seen = abs(sum(differences)) * (1 - 1e-12)
    if len(differences) <= _ALL_FLIPS:
        flips = list(product((1, -1), repeat=len(differences)))
        return sum(_sum(differences, signs) >= seen for signs in flips) / len(flips)
    random = Random(0)  # noqa: S311 - a simulation
    hits = sum(_sum(differences, random.choices((1, -1), k=len(differences))) >= seen for _ in range(_FLIPS))
    return (hits + 1) / (_FLIPS + 1)


def _sum(differences: Sequence[float], signs: Sequence[int]) -> float:
    return abs(sum(one * sign for one, sign in zip(differences, signs, strict=True)))


def _holm(chances: Mapping[str, float]) -> dict[str, float]:
    """Return each p adjusted for their number (Holm, Scandinavian Journal of Statistics, 1979)."""
    adjusted, worst = {}, 0.0
    for rank, (name, p) in enumerate(sorted(chances.items(), key=lambda item: item[1])):
        worst = max(worst, min(1.0, p * (len(chances) - rank)))
        adjusted[name] = worst
    return adjusted
