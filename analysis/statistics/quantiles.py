"""Quantiles of rows in units: latency's p50 and p99, with intervals that hold for correlated rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.ratio import Array, estimates, sum_by_unit


@dataclass(frozen=True)
class Quantile:
    """A quantile and how far chance moves it.

    Attributes:
        value: in the unit of the values; NaN without rows.
        low, high: of its interval.
    """

    value: float
    low: float
    high: float


def quantile(values: Array, unit: NDArray[np.int64], share: float, reach: float) -> Quantile:
    """The quantile of rows and its interval.

    Woodruff's interval (1952): the share of rows below the estimate is a ratio metric whose error is known; the
    quantiles of the shares at both ends of its interval are the ends.

    An end for which the rows reach no further is 0 or infinite.

    Args:
        values: (N,), none below 0.
        unit: (N,) of each row; any integers.
        share: 0.5 is the median.
        reach: standard errors on each side: 1.96, or a confidence sequence's.
    """
    if not len(values):
        return Quantile(float("nan"), float("nan"), float("nan"))
    ordered = np.sort(values)
    value = _at(ordered, share)
    dense = np.unique(unit, return_inverse=True)[1]
    below = sum_by_unit(
        dense, (values <= value)[:, None].astype(np.float64), np.ones((len(values), 1)), int(dense.max()) + 1
    )
    error = estimates(below)[0].error
    low, high = share - reach * error, share + reach * error
    # A NaN error fails both comparisons.
    return Quantile(value, _at(ordered, low) if low > 0 else 0.0, _at(ordered, high) if high < 1 else float("inf"))


def ratio_interval(treatment: Quantile, control: Quantile) -> tuple[float, float, float]:
    """Treatment / control and its interval, from the intervals of both (MOVER; Zou and Donner, 2008, on logarithms)."""
    if not (treatment.value > 0 and control.value > 0):
        return float("nan"), 0.0, float("inf")
    gap = np.log(treatment.value / control.value)
    down = np.hypot(_log_ratio(treatment.value, treatment.low), _log_ratio(control.high, control.value))
    up = np.hypot(_log_ratio(treatment.high, treatment.value), _log_ratio(control.value, control.low))
    return float(np.exp(gap)), float(np.exp(gap - down)), float(np.exp(gap + up))


def _log_ratio(more: float, less: float) -> float:
    return float(np.log(np.float64(more) / np.float64(less))) if less > 0 else float("inf")


def _at(ordered: Array, share: float) -> float:
    place = int(np.ceil(share * len(ordered))) - 1
    return float(ordered[min(max(place, 0), len(ordered) - 1)])
