"""CUPED: what units were like before the experiment explains part of what they are like in it, and is taken out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.ratio import (
    Array,
    Estimate,
    UnitSums,
    degrees_of_freedom,
    difference,
    influence,
    variance_of_sum,
)


@dataclass(frozen=True)
class Adjusted:
    """A difference with and without the covariates.

    Attributes:
        difference: treatment less control, adjusted.
        variance_share: its variance over the unadjusted one's; under 1 where the covariates help.
    """

    difference: Estimate
    variance_share: float


def adjust(control: UnitSums, treatment: UnitSums, before_control: Array, before_treatment: Array) -> list[Adjusted]:
    """The adjusted difference of each ratio.

    The ratio is linearised (``influence``), then regressed on the covariates over both arms together and freed of them
    (Deng, Xu, Kohavi and Walker, "Improving the sensitivity of online controlled experiments by utilizing
    pre-experiment data", WSDM 2013, eq. 4; for ratios: Deng, Knoblich and Lu, arXiv:1803.06336, section 2.3). The arms
    cannot have moved the covariates, so the difference keeps its expectation.

    Args:
        control, treatment: (U, M) each.
        before_control, before_treatment: (U,) of the same units, from before the experiment; NaN where there is
        nothing.
    """
    x_control, x_treatment = _covariates(before_control), _covariates(before_treatment)
    gap = x_treatment.mean(axis=0) - x_control.mean(axis=0)
    x_control, x_treatment = x_control - x_control.mean(axis=0), x_treatment - x_treatment.mean(axis=0)
    found = []
    counts = zip(control.contributing, treatment.contributing, strict=True)
    pairs = zip(influence(control).T, influence(treatment).T, counts, strict=True)
    for m, (i_control, i_treatment, (n_control, n_treatment)) in enumerate(pairs):
        raw = float(treatment.values[m] - control.values[m])
        units = int(n_control + n_treatment)
        plain = _variance(i_control, n_control) + _variance(i_treatment, n_treatment)
        if not np.isfinite(plain) or plain == 0:
            found.append(Adjusted(Estimate(raw, float(np.sqrt(plain)), units), 1.0))
            continue
        # On the scale of one unit's value, so that both arms weigh alike.
        z = np.concatenate([i_control * len(i_control), i_treatment * len(i_treatment)])
        x = np.concatenate([x_control, x_treatment])
        slope = np.linalg.lstsq(x, z, rcond=None)[0]
        value = raw - float(gap @ slope)
        left_control = i_control - x_control @ slope / len(i_control)
        left_treatment = i_treatment - x_treatment @ slope / len(i_treatment)
        sides = [_side(left_control, n_control), _side(left_treatment, n_treatment)]
        freed = difference(sides[1], sides[0])
        share = float(freed.error**2 / plain)
        found.append(Adjusted(Estimate(value, freed.error, units, freed.freedom), share))
    return found


def _variance(influence_U: Array, contributing: int) -> float:
    return float(variance_of_sum(influence_U[:, None], np.asarray([contributing]))[0])


def _side(influence_U: Array, contributing: int) -> Estimate:
    """The error of one arm, about 0."""
    freedom = degrees_of_freedom(influence_U[:, None], np.asarray([contributing]))[0]
    return Estimate(0.0, _variance(influence_U, contributing) ** 0.5, int(contributing), float(freedom))


def _covariates(before_U: Array) -> Array:
    """(U, 2): the value, 0 where there is none; and whether there is one."""
    known: NDArray[np.bool_] = ~np.isnan(before_U)
    return np.stack([np.where(known, before_U, 0.0), known.astype(float)], axis=1)
