"""The unit bootstrap: every replicate weighs whole units, so rows of a unit stay together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from analysis.statistics.ratio import Array, UnitSums, divide

_CELLS: Final = 4_000_000
"""Weights that are in memory at a time."""


def unit_weights(units: int, replicates: int, rng: np.random.Generator) -> Iterator[Array]:
    """Blocks (r, U) of weights, ``replicates`` rows in all: independent Poisson(1) draws.

    The Poisson bootstrap (Chamandy, Muralidharan, Najmi and Naidu, "Estimating uncertainty for massive data streams",
    Google, 2012): units come and go without one another, as they do in an experiment.
    """
    rows = max(1, _CELLS // max(1, units))
    for begin in range(0, replicates, rows):
        shape = (min(rows, replicates - begin), units)
        yield _POISSON[rng.integers(0, len(_POISSON), shape, np.uint16)]


def _poisson_table() -> Array:
    """Poisson(1) by look-up of a 16-bit number, several times as fast as drawing it: shares are right to 1 / 65536."""
    at_most = np.cumsum(np.exp(-1.0) / np.cumprod([1.0, *range(1, 10)]))
    return np.searchsorted(at_most, (np.arange(65536) + 0.5) / 65536).astype(np.float64)


_POISSON: Final = _poisson_table()


def ratio_replicates(sums: UnitSums, replicates: int, rng: np.random.Generator) -> Array:
    """(R, M) of the ratios; NaN where a replicate drew nothing that counts."""
    counts = (sums.denominator != 0).any(axis=1)
    part, whole = sums.numerator[counts], sums.denominator[counts]
    blocks = [divide(w @ part, w @ whole) for w in unit_weights(int(counts.sum()), replicates, rng)]
    return np.concatenate(blocks)


def percentile_interval(replicates_R: Array, alpha: float = 0.05) -> tuple[float, float]:
    """The middle 1 - alpha of the replicates in which the value is defined; NaNs where it is in none.

    The k-th of R replicates stands for the share k / (R + 1): with k / R, intervals of 200 replicates would
    cover a hundredth less than they say.
    """
    defined = replicates_R[~np.isnan(replicates_R)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [alpha / 2, 1 - alpha / 2], method="weibull")
    return float(low), float(high)


def pivot_interval(estimate: float, plain: float, replicates_R: Array, alpha: float = 0.05) -> tuple[float, float]:
    """The interval of a bias-corrected estimate: its error is distributed as the replicates are about the plain one.

    Args:
        estimate: corrected.
        plain: the uncorrected value on the rows themselves: what the replicates estimate.
        replicates_R: (R,) of the corrected estimator.
        alpha: left out, half on each side.
    """
    low, high = percentile_interval(replicates_R, alpha)
    return estimate - (high - plain), estimate - (low - plain)
