"""Metrics that rank or bin scores, under row weights, so that one bootstrap serves them all.

Every function takes weights (R, N), one row a replicate, and returns R values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from analysis.statistics.ratio import Array, divide

_BINS: Final = 10


@dataclass(frozen=True)
class ScoredRows:
    """Labelled rows of one arm.

    Attributes:
        score: (N,) in [0, 1].
        positive: (N,).
        weight: (N,) above 0: 1 / the probability with which the row was labelled.
        unit: (N,) dense, in [0, units).
        units: U.
    """

    score: Array
    positive: NDArray[np.bool_]
    weight: Array
    unit: NDArray[np.int64]
    units: int

    def of_units(self, weights_RU: Array) -> Array:
        """(R, N) row weights of unit weights."""
        return np.asarray(weights_RU[:, self.unit] * self.weight)


def max_recall(rows: ScoredRows, weights_RN: Array, precision: float) -> Array:
    """(R,) the highest recall of any threshold that reaches the precision on these very rows; 0 where none does.

    The threshold is chosen on the rows it is judged on: an upper bound, alike in both arms. NaN without positives.
    """
    order = np.argsort(-rows.score, kind="stable")
    ends = np.append(np.diff(rows.score[order]) < 0, True)
    hits_RP = np.cumsum(weights_RN[:, order] * rows.positive[order], axis=1)[:, ends]
    called_RP = np.cumsum(weights_RN[:, order], axis=1)[:, ends]
    reached_RP = np.where(hits_RP >= precision * called_RP - 1e-12, hits_RP, 0.0)
    return divide(reached_RP.max(axis=1), hits_RP[:, -1])


def bins_of(score: Array) -> NDArray[np.int64]:
    """(N,) of 10 bins of equal mass, in [0, 10)."""
    edges = np.quantile(score, np.linspace(0, 1, _BINS + 1)[1:-1])
    return np.searchsorted(edges, score, side="right")


def ece(rows: ScoredRows, weights_RN: Array) -> tuple[Array, Array]:
    """(R,), (R,): expected calibration error over 10 bins of equal mass, freed of its bias, and as it is without.

    Plain: sum over bins of share x |mean score - share positive|. Chance alone moves each bin off 0, so it is too high
    where rows are few (Kumar, Liang and Ma, "Verified uncertainty calibration", arXiv:1909.10155, section 4). A bin
    whose gap is normal with its standard error has a known expected |gap|; what this exceeds |gap| by is taken off.
    NaN without rows.
    """
    bins = bins_of(rows.score)
    residual_N = rows.score - rows.positive
    total_R = weights_RN.sum(axis=1)
    plain_R, free_R = np.zeros(len(weights_RN)), np.zeros(len(weights_RN))
    for b in range(_BINS):
        inside = bins == b
        if not inside.any():
            continue
        w_RN = weights_RN[:, inside]
        mass_R = w_RN.sum(axis=1)
        gap_R = divide(w_RN @ residual_N[inside], mass_R)
        error_R = _gap_error(w_RN, residual_N[inside], gap_R, rows.unit[inside], mass_R)
        share_R = divide(mass_R, total_R)
        plain_R += np.nan_to_num(share_R * np.abs(gap_R))
        free_R += np.nan_to_num(share_R * (2 * np.abs(gap_R) - _folded_mean(gap_R, error_R)))
    known_R = total_R > 0
    return np.where(known_R, np.maximum(free_R, 0.0), np.nan), np.where(known_R, plain_R, np.nan)


def _gap_error(w_RN: Array, residual_N: Array, gap_R: Array, unit_N: NDArray[np.int64], mass_R: Array) -> Array:
    """(R,) standard error of a bin's gap, over units."""
    order = np.argsort(unit_N, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(unit_N[order]) > 0))
    moved_RN = w_RN * (residual_N - gap_R[:, None])
    squares_R = (np.add.reduceat(moved_RN[:, order], starts, axis=1) ** 2).sum(axis=1)
    return np.asarray(np.sqrt(squares_R) / np.where(mass_R > 0, mass_R, np.nan))


def _folded_mean(mean_R: Array, error_R: Array) -> Array:
    """E|X| of X normal with this mean and error."""
    error_R = np.maximum(error_R, 1e-12)
    z_R = mean_R / error_R
    return np.asarray(error_R * np.sqrt(2 / np.pi) * np.exp(-(z_R**2) / 2) + mean_R * (1 - 2 * ndtr(-z_R)))
