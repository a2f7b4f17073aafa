"""Paired differences over seeds -> an interval and a word."""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy import stats

from contract.frozen import FrozenDocument
from recipes.synthetic_benchmark.draws import Array

LEVEL = 0.95


class Difference(FrozenDocument):
    """One method less another, over the same seeds."""

    mean: float
    interval: tuple[float, float]
    """Holds together with the other ``comparisons`` of its table at the 95 % level (Bonferroni)."""
    verdict: str
    comparisons: int = Field(ge=1)


def mean_interval(values: Array, comparisons: int = 1) -> tuple[float, float, float]:
    """(mean, low, high) of Student's t interval over seeds, widened for so many comparisons."""
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    reach = float(stats.t.ppf(1 - (1 - LEVEL) / (2 * comparisons), len(values) - 1)) * error
    return mean, mean - reach, mean + reach


def difference(one: Array, other: Array, comparisons: int, *, higher_is_better: bool = True) -> Difference:
    """``one`` less ``other``, seed by seed: better, worse, or not distinguishable where the interval holds 0."""
    mean, low, high = mean_interval(one - other, comparisons)
    verdict = "not distinguishable"
    if low > 0 or high < 0:
        verdict = "better" if (low > 0) == higher_is_better else "worse"
    return Difference(
        mean=round(mean, 5), interval=(round(low, 5), round(high, 5)), verdict=verdict, comparisons=comparisons
    )
