"""The chance that a confidence sequence leaves out 0 by the last of several looks, without simulation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from analysis.statistics.ratio import Array
from analysis.statistics.sequences import boundary

_GRID: Final = 401


@dataclass(frozen=True)
class _Inside:
    """Runs without drift that have not left the boundary yet.

    Attributes:
        times: (K,) of the looks, up to 1.
        points_KG: (K, G) where such a run may be.
        density_KG: (K, G) how likely it is there.
    """

    times: Array
    points_KG: Array
    density_KG: Array


def crossing_probability(
    effect_in_errors: float, looks: int, final_units: float, planned: float, alpha: float
) -> tuple[float, float]:
    """The chance of having left out 0 at some look, and the mean share of the units at the first such look.

    The score process of an estimate is Brownian motion with drift. The density within the boundary is carried from
    look to look without drift, by numerical integration (Armitage, McPherson and Rowe, "Repeated significance tests on
    accumulating data", JRSS A 1969); a drift of d weighs it by exp(d b - d^2 t / 2) at place b and time t (Girsanov).
    Runs that never leave out 0 count with all their units in the mean.

    Args:
        effect_in_errors: the true effect over the standard error at the last look.
        looks: at even distances.
        final_units: that count, at the last look.
        planned: units at which the sequence is narrowest.
        alpha: of the sequence.
    """
    inside = _inside(looks, round(final_units / planned, 6), alpha)
    d = effect_in_errors
    weight_KG = inside.density_KG * np.exp(d * inside.points_KG - d**2 * inside.times[:, None] / 2)
    still_K = np.trapezoid(weight_KG, inside.points_KG, axis=1).clip(0.0, 1.0)
    left_K = -np.diff(still_K, prepend=1.0)
    return float(1 - still_K[-1]), float(left_K @ inside.times + still_K[-1])


@lru_cache(maxsize=64)
def _inside(looks: int, units_over_planned: float, alpha: float) -> _Inside:
    times = np.arange(1, looks + 1) / looks
    reach = boundary(units_over_planned * times, 1.0, alpha) * np.sqrt(times)
    points_KG = np.linspace(-reach, reach, _GRID, axis=1)
    density_KG = np.empty_like(points_KG)
    spread = looks**-0.5
    density_KG[0] = np.exp(-0.5 * (points_KG[0] / spread) ** 2) / (spread * np.sqrt(2 * np.pi))
    for k in range(1, looks):
        kernel = np.exp(-0.5 * ((points_KG[k][:, None] - points_KG[k - 1]) / spread) ** 2)
        width = points_KG[k - 1][1] - points_KG[k - 1][0]
        ends = np.ones(_GRID)
        ends[[0, -1]] = 0.5
        density_KG[k] = kernel @ (density_KG[k - 1] * ends) * (width / (spread * np.sqrt(2 * np.pi)))
    return _Inside(times, points_KG, density_KG)
