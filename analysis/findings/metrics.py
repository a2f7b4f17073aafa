"""The metrics of a task as ratios of sums over rows; names are those of the training's report where it has them.

f, y, v, s, w: flagged, truly positive, views, flag score, and 1 / the probability of being labelled.

    f1            sum w 2 f y / sum w (f + y)
    precision     sum w f y / sum w f
    recall        sum w f y / sum w y
    overkill      sum w f (1 - y) / sum w (1 - y)
    vv_leakage    sum w v y (1 - f) / sum w v y            share of the views of violations that were missed
    vv_overkill   sum w v (1 - y) f / sum w v (1 - y)      share of the views of sound videos that were flagged
    brier         sum w (s - y)^2 / sum w
"""

from __future__ import annotations

from typing import Final

import numpy as np

from analysis.log.rows import Array, TaskRows
from analysis.statistics.ratio import UnitSums, sum_by_unit

RATIOS: Final = ("f1", "precision", "recall", "overkill", "vv_leakage", "vv_overkill", "brier")
RANKED: Final = {"max_recall_at_p80": 0.8, "max_recall_at_p90": 0.9}
LOWER_IS_BETTER: Final = frozenset({"overkill", "vv_leakage", "vv_overkill", "brier", "ece"})
TITLES: Final = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "overkill": "overkill",
    "vv_leakage": "view-weighted miss",
    "vv_overkill": "view-weighted overkill",
    "brier": "Brier score",
    "max_recall_at_p80": "recall at 80 % precision",
    "max_recall_at_p90": "recall at 90 % precision",
    "ece": "calibration error (ECE)",
}


def ratio_columns(rows: TaskRows) -> tuple[Array, Array]:
    """(N, 7), (N, 7): what each row adds to numerator and denominator of ``RATIOS``; 0 where it is not labelled."""
    f, y = rows.flagged.astype(float), rows.positive.astype(float)
    v = np.nan_to_num(rows.views)
    numerator = [2 * f * y, f * y, f * y, f * (1 - y), v * y * (1 - f), v * (1 - y) * f, (rows.score - y) ** 2]
    denominator = [f + y, f, y, 1 - y, v * y, v * (1 - y), np.ones_like(f)]
    weight = rows.weight[:, None]
    return np.stack(numerator, axis=1) * weight, np.stack(denominator, axis=1) * weight


def task_sums(rows: TaskRows, units: int) -> UnitSums:
    """The sums of ``RATIOS`` over units [0, units)."""
    return sum_by_unit(rows.unit, *ratio_columns(rows), units)


def better(metric: str, difference: float) -> float:
    """The difference with its sign turned so that more is better."""
    return -difference if metric in LOWER_IS_BETTER else difference
