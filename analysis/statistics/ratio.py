"""Ratio metrics over units of several rows: sum of numerators / sum of denominators, and how far chance moves it.

The rows of a unit are alike, so the unit is what varies: a test on pooled rows would find effects that are not there.
The delta method linearises the ratio: its error is the mean over units of ``influence``, which makes differences,
regression adjustment and confidence sequences of ratios those of a mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Array = NDArray[np.float64]
_FEWEST: Final = 2


@dataclass(frozen=True)
class UnitSums:
    """What each unit adds to each ratio.

    Attributes:
        numerator, denominator: (U, M); a unit without a row that counts has zeros in both.
    """

    numerator: Array
    denominator: Array

    @property
    def contributing(self) -> NDArray[np.int64]:
        """(M,) units that have a row which counts."""
        return np.asarray((self.denominator != 0).sum(axis=0))

    @property
    def values(self) -> Array:
        """(M,) the ratios; NaN where nothing counts."""
        return divide(self.numerator.sum(axis=0), self.denominator.sum(axis=0))

    def take(self, units: NDArray[np.bool_]) -> UnitSums:
        """Of some units alone."""
        return UnitSums(self.numerator[units], self.denominator[units])


def sum_by_unit(unit: NDArray[np.int64], numerator: Array, denominator: Array, units: int) -> UnitSums:
    """The sums of rows over their units.

    Args:
        unit: (N,) in [0, units).
        numerator, denominator: (N, M).
        units: U.
    """
    columns = range(numerator.shape[1])
    return UnitSums(
        np.stack([np.bincount(unit, numerator[:, m], units) for m in columns], axis=1),
        np.stack([np.bincount(unit, denominator[:, m], units) for m in columns], axis=1),
    )


def divide(part: Array, whole: Array) -> Array:
    """``part / whole``, NaN where the whole is 0."""
    out = np.full(np.broadcast(part, whole).shape, np.nan)
    return np.asarray(np.divide(part, whole, out=out, where=whole != 0))


def influence(sums: UnitSums) -> Array:
    """(U, M): how far each unit moves each ratio, (n_u - r d_u) / sum d; adds up to 0. NaN where nothing counts.

    The delta method's linear term (Deng, Knoblich and Lu, 2018, arXiv:1803.06336, section 2.2).
    """
    return divide(sums.numerator - sums.values * sums.denominator, sums.denominator.sum(axis=0))


def variance_of_sum(influence_UM: Array, contributing: NDArray[np.int64], *, paired: bool = False) -> Array:
    """(M,): n / (n - 1) x sum of squares over the units that count; NaN below two of them.

    A share that no unit moves (recall of 1 in every unit) has a variance of 0 by the formula, which would call it
    certain.
    It is given that of a share of n units of which half a one differs: p (1 - p) / n at p = 0.5 / (n + 1).

    Args:
        influence_UM: of ``influence``, or a difference of two.
        contributing: (M,) n.
        paired: the influences are differences of two arms on one row: equal arms truly differ by 0.
    """
    squares = (influence_UM**2).sum(axis=0)
    n = np.maximum(contributing, 1)
    p = 0.5 / (n + 1)
    floor = 0.0 if paired else p * (1 - p) / n
    found = np.where(squares <= 1e-24, floor, squares * divide(n, n - 1.0))
    return np.where(contributing < _FEWEST, np.nan, found)


def degrees_of_freedom(influence_UM: Array, contributing: NDArray[np.int64]) -> Array:
    """(M,): 2 V^2 / (sum of fourth powers - V^2 / n), V the sum of squares; at least 1.

    Satterthwaite's (1946), with the variance of V as the units show it. Of normal influences it is n; of heavy tails
    (views, weights of sampled labels) far less, as few units then settle the error itself.
    """
    squares, fourth = (influence_UM**2).sum(axis=0), (influence_UM**4).sum(axis=0)
    spread = fourth - squares**2 / np.maximum(contributing, 1)
    known = spread > 1e-12 * squares**2
    freedom = np.divide(2 * squares**2, spread, out=np.full(len(squares), np.inf), where=known & (squares > 0))
    return np.asarray(np.maximum(freedom, 1.0))


@dataclass(frozen=True)
class Estimate:
    """An estimate that is normal about the truth in large samples.

    Attributes:
        value: of the estimate; NaN where it is undefined.
        error: its standard error; NaN where it cannot be told.
        units: that counted; of a difference in both arms together.
        freedom: degrees of freedom of the error (``degrees_of_freedom``): few where few units move the estimate.
    """

    value: float
    error: float
    units: int
    freedom: float = np.inf

    def interval(self, alpha: float = 0.05) -> tuple[float, float]:
        """The two-sided interval for one look at a moment chosen beforehand."""
        reach = float(student.isf(alpha / 2, self.freedom)) * self.error
        return self.value - reach, self.value + reach

    def p_value(self) -> float:
        """Two-sided, of "the truth is 0", for one look at a moment chosen beforehand; 1 where undefined."""
        if not np.isfinite(self.value) or not np.isfinite(self.error):
            return 1.0
        if self.error == 0:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * student.sf(abs(self.value) / self.error, self.freedom))


def estimates(sums: UnitSums) -> list[Estimate]:
    """One for each of the M ratios."""
    moved = influence(sums)
    error = np.sqrt(variance_of_sum(moved, sums.contributing))
    freedom = degrees_of_freedom(moved, sums.contributing)
    columns = zip(sums.values, error, sums.contributing, freedom, strict=True)
    return [Estimate(float(v), float(e), int(n), float(f)) for v, e, n, f in columns]


def difference(treatment: Estimate, control: Estimate) -> Estimate:
    """Treatment less control, of two groups of units that share none."""
    error = float(np.hypot(treatment.error, control.error))
    units = treatment.units + control.units
    return Estimate(treatment.value - control.value, error, units, welch(treatment, control))


def welch(one: Estimate, other: Estimate) -> float:
    """Degrees of freedom of the difference of two independent estimates (Welch, 1947)."""
    v_one, v_other = one.error**2, other.error**2
    spread = v_one**2 / one.freedom + v_other**2 / other.freedom
    return float((v_one + v_other) ** 2 / spread) if spread > 0 else float("inf")


def paired_differences(treatment: UnitSums, control: UnitSums) -> list[Estimate]:
    """Treatment less control of each ratio, where both arms judged the same rows: row u of both is one unit."""
    gap = influence(treatment) - influence(control)
    counts = np.asarray(((treatment.denominator != 0) | (control.denominator != 0)).sum(axis=0))
    error = np.sqrt(variance_of_sum(gap, counts, paired=True))
    values = treatment.values - control.values
    columns = zip(values, error, counts, degrees_of_freedom(gap, counts), strict=True)
    return [Estimate(float(v), float(e), int(n), float(f)) for v, e, n, f in columns]


def ratio_of(treatment: Estimate, control: Estimate) -> Estimate:
    """The logarithm of treatment / control, of two groups of units that share none; NaN unless both are above 0."""
    if not (treatment.value > 0 and control.value > 0):
        return Estimate(float("nan"), float("nan"), treatment.units + control.units)
    error = float(np.hypot(treatment.error / treatment.value, control.error / control.value))
    units = treatment.units + control.units
    return Estimate(float(np.log(treatment.value / control.value)), error, units, welch(treatment, control))
