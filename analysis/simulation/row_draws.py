"""Experiments drawn row by row, for the statistics that need scores, views, latencies or pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis.log.rows import Array, Bools, Ints, TaskRows

REVIEW: Final = 0.25
"""Probability with which a row that the deciding arm did not flag is labelled."""
_NOISE: Final = (1.2, 0.9)
"""Of the score, in logits: of control and treatment."""


@dataclass(frozen=True)
class Drawn:
    """One experiment.

    Attributes:
        unit_arm: (U,).
        rows: as the deciding arm judged them.
        other: the same rows as the other arm did.
        before: (U,) a value of the unit from before; NaN for some.
        latency_ms: (N,).
    """

    unit_arm: Ints
    rows: TaskRows
    other: TaskRows
    before: Array
    latency_ms: Array


def draw_rows(units: int, rng: np.random.Generator, *, sampled: bool = True) -> Drawn:
    """Rows of units, all of which share their unit's leaning, patience of the network, and viewers.

    Args:
        units: U.
        rng: what chance there is.
        sampled: whether labels are sampled; else every row is labelled, which gives the truth.
    """
    unit_arm = rng.integers(0, 2, units)
    leaning = rng.normal(0, 1.0, units)
    unit = np.repeat(np.arange(units), 1 + rng.poisson(1.2, units))
    n = len(unit)
    latent = -0.5 + leaning[unit] + rng.normal(0, 1.0, n)
    positive = rng.random(n) < 1 / (1 + np.exp(-2.5 * latent))
    views = np.exp(0.7 * leaning[unit] + rng.normal(0, 0.8, n)) * 50
    logits = 2.0 * latent[:, None] + rng.normal(0, 1.0, (n, 2)) * (2 * np.asarray(_NOISE))
    arm = unit_arm[unit]
    mine = logits[np.arange(n), arm]
    chance = np.where(mine >= 0, 1.0, REVIEW) if sampled else np.ones(n)
    weight = np.where(rng.random(n) < chance, 1 / chance, 0.0)
    slow = rng.normal(0, 0.2, units)
    latency = np.exp(5.0 - 0.3 * arm + slow[unit] + 0.3 * rng.standard_normal(n))
    before = np.where(rng.random(units) < 0.6, leaning + rng.normal(0, 0.5, units), np.nan)
    sides = [_rows(unit, arm, score, positive, weight, views) for score in (mine, logits[np.arange(n), 1 - arm])]
    return Drawn(unit_arm, sides[0], sides[1], before, latency)


def _rows(unit: Ints, arm: Ints, logit: Array, positive: Bools, weight: Array, views: Array) -> TaskRows:
    nothing = np.full(len(unit), np.nan)
    return TaskRows(
        unit=unit, arm=arm, time_ms=np.arange(len(unit)), flagged=logit >= 0, score=1 / (1 + np.exp(-logit)),
        positive=positive & (weight > 0), weight=weight, views=views, label_ms=nothing, slices={},
    )  # fmt: skip


def as_pairs(drawn: Drawn) -> tuple[TaskRows, TaskRows]:
    """The labelled rows as control and as treatment judged them."""
    mine, other, treated = drawn.rows, drawn.other, drawn.rows.arm == 1
    sides = []
    for is_mine in (~treated, treated):
        score = np.where(is_mine, mine.score, other.score)
        flagged = np.where(is_mine, mine.flagged, other.flagged)
        sides.append(TaskRows(**{**vars(mine), "score": score, "flagged": flagged}).take(mine.labelled))
    return sides[0], sides[1]
