"""Metrics of scored rows, under row weights, so that one bootstrap serves all of them.

Every function takes weights (R, N), one row a replicate, and returns R values: with a single row of ones it is the
metric itself.

    at the validation threshold     f1, miss_rate, overkill, vv_leakage
    over all thresholds             pr_auc, roc_auc, max_f1, max_recall_at_p80, max_recall_at_p90
    at a validation precision       recall_at_p80, precision_at_p80, recall_at_p90, precision_at_p90
    of the probability              ece, brier

``max_*`` choose their threshold on the scored rows themselves, which no operator can: an upper bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_ECE_BINS = 10
PRECISIONS: Final = {"p80": 0.8, "p90": 0.9}
"""The precisions at which recall is reported."""


@dataclass(frozen=True)
class Scored:
    """Scored rows of a yes-or-no question.

    Attributes:
        scores: (N,) calibrated probability that the row should be flagged.
        flagged: (N,) bool: whether the decision flags it, at the threshold fitted on validation rows.
        positive: (N,) bool: whether it truly should be.
        views: (N,) how often it was watched, NaN where that is not known; None where it is of no row.
        flagged_at: ``p80`` or ``p90`` -> (N,) bool: whether it is flagged at the threshold of the highest recall that
            reached this precision on validation rows; empty where their scores were not stored.
    """

    scores: Array
    flagged: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    views: Array | None = None
    flagged_at: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True)
class OperatingPoints:
    """What each threshold finds: (R, P) weight of hits and of rows called, highest score first; (R,) totals."""

    hits_RP: Array
    called_RP: Array

    @property
    def positives(self) -> Array:
        """(R,) weight of the positives."""
        return self.hits_RP[:, -1]

    @property
    def precision(self) -> Array:
        """(R, P); 0 where nothing is called."""
        return _share(self.hits_RP, self.called_RP, 0.0)


def operating_points(rows: Scored, weights_RN: Array) -> OperatingPoints:
    """One point for each different score: equal scores share it."""
    order = np.argsort(-rows.scores, kind="stable")
    ends = np.append(np.diff(rows.scores[order]) < 0, True)
    weights_RN = weights_RN[:, order]
    hits_RP = np.cumsum(weights_RN * rows.positive[order], axis=1)[:, ends]
    return OperatingPoints(hits_RP, np.cumsum(weights_RN, axis=1)[:, ends])


def f1(rows: Scored, weights_RN: Array) -> Array:
    """(R,) F1 of the flag; NaN without positives, as are recall and PR-AUC."""
    hits = weights_RN @ (rows.flagged & rows.positive)
    called, there = weights_RN @ rows.flagged, weights_RN @ rows.positive
    return np.where(there > 0, _share(2 * hits, called + there, 0.0), np.nan)


def miss_rate(rows: Scored, weights_RN: Array) -> Array:
    """(R,) share of the positives that is not flagged; NaN without positives."""
    return _share(weights_RN @ (rows.positive & ~rows.flagged), weights_RN @ rows.positive)


def overkill(rows: Scored, weights_RN: Array) -> Array:
    """(R,) share of the negatives that is flagged all the same; NaN without negatives."""
    return _share(weights_RN @ (~rows.positive & rows.flagged), weights_RN @ ~rows.positive)


def vv_leakage(rows: Scored, weights_RN: Array) -> Array:
    """(R,) sum v_i 1[y_i = 1, not flagged] / sum v_i 1[y_i = 1] over rows whose views v_i are known (method.md 5).

    NaN where no positive was watched, or no row's views are known.
    """
    if rows.views is None:
        return np.full(len(weights_RN), np.nan)
    views = np.where(rows.positive, np.nan_to_num(rows.views), 0.0)
    return _share(weights_RN @ (views * ~rows.flagged), weights_RN @ views)


def recall_at(rows: Scored, weights_RN: Array, precision: str) -> Array:
    """(R,) recall at the validation threshold of ``p80`` or ``p90``; NaN without positives or such a threshold."""
    if precision not in rows.flagged_at:
        return np.full(len(weights_RN), np.nan)
    return _share(weights_RN @ (rows.positive & rows.flagged_at[precision]), weights_RN @ rows.positive)


def precision_at(rows: Scored, weights_RN: Array, precision: str) -> Array:
    """(R,) the precision on these rows at ``recall_at``'s threshold; NaN where nothing is flagged."""
    if precision not in rows.flagged_at:
        return np.full(len(weights_RN), np.nan)
    flagged = rows.flagged_at[precision]
    return _share(weights_RN @ (rows.positive & flagged), weights_RN @ flagged)


def ece(rows: Scored, weights_RN: Array) -> Array:
    """(R,) expected calibration error over 10 bins of equal mass: sum of share x |mean score - share positive|.

    Drawing rows anew opens gaps of its own, in every bin and always outwards, so that replicates would lie above the
    estimate. What draws add to the square of a bin's gap is its variance over them: it is taken off. Rows that weigh
    the same are no draw, and their error is what it is.
    """
    edges = np.quantile(rows.scores, np.linspace(0, 1, _ECE_BINS + 1)[1:-1])
    bins = np.searchsorted(edges, rows.scores, side="right")
    drawn_R = np.ptp(weights_RN, axis=1) > 0
    error_R = np.zeros(len(weights_RN))
    for b in range(_ECE_BINS):
        inside = bins == b
        if not inside.any():
            continue
        w_RN = weights_RN[:, inside]
        mass_R = w_RN.sum(axis=1)
        gap_R = _share(w_RN @ (rows.scores[inside] - rows.positive[inside]), mass_R, 0.0)
        met_R = drawn_R & (mass_R > 0)
        if met_R.sum() > 1:
            gap_R[met_R] = np.sqrt(np.maximum(gap_R[met_R] ** 2 - gap_R[met_R].var(ddof=1), 0.0))
        error_R += mass_R * np.abs(gap_R)
    return np.asarray(error_R / weights_RN.sum(axis=1))


def brier(rows: Scored, weights_RN: Array) -> Array:
    """(R,) mean squared error of the probability."""
    return np.asarray(weights_RN @ (rows.scores - rows.positive) ** 2 / weights_RN.sum(axis=1))


def _pr_auc(points: OperatingPoints) -> Array:
    """(R,) average precision (the step-wise area under precision over recall); NaN without positives."""
    gained_RP = np.diff(points.hits_RP, axis=1, prepend=0.0)
    return _share((gained_RP * points.precision).sum(axis=1), points.positives)


def _roc_auc(points: OperatingPoints) -> Array:
    """(R,) chance that a positive scores above a negative, a tie counting half; NaN without one of them."""
    false_RP = points.called_RP - points.hits_RP
    passed_RP = np.diff(false_RP, axis=1, prepend=0.0)
    before_RP = np.concatenate([np.zeros((len(false_RP), 1)), points.hits_RP[:, :-1]], axis=1)
    area_R = (passed_RP * (points.hits_RP + before_RP) / 2).sum(axis=1)
    return _share(area_R, points.positives * false_RP[:, -1])


def _max_f1(points: OperatingPoints) -> Array:
    """(R,) the best F1 of any threshold on these very rows; NaN without positives."""
    f1_RP = _share(2 * points.hits_RP, points.called_RP + points.positives[:, None], 0.0)
    return np.where(points.positives > 0, f1_RP.max(axis=1), np.nan)


def _max_recall(points: OperatingPoints, precision: float) -> Array:
    """(R,) the highest recall of any threshold that reaches the precision on these very rows; 0 where none does."""
    reached_RP = np.where(points.precision >= precision - 1e-12, points.hits_RP, 0.0)
    return _share(reached_RP.max(axis=1), points.positives)


def _share(part: Array, whole: Array, otherwise: float = np.nan) -> Array:
    return np.divide(part, whole, out=np.full(np.shape(part), otherwise), where=whole > 0)


Metric = Callable[[Scored, Array], Array]
_RANKED: Final[dict[str, Callable[[OperatingPoints], Array]]] = {
    "pr_auc": _pr_auc,
    "roc_auc": _roc_auc,
    "max_f1": _max_f1,
    "max_recall_at_p80": lambda points: _max_recall(points, PRECISIONS["p80"]),
    "max_recall_at_p90": lambda points: _max_recall(points, PRECISIONS["p90"]),
}
_DIRECT: Final[dict[str, Metric]] = {
    "f1": f1,
    "ece": ece,
    "brier": brier,
    "miss_rate": miss_rate,
    "overkill": overkill,
}


def evaluate(rows: Scored, weights_RN: Array) -> dict[str, Array]:
    """Metric -> (R,): every metric that the rows allow. Views and validation thresholds may be missing."""
    points = operating_points(rows, weights_RN)
    values = {name: metric(rows, weights_RN) for name, metric in _DIRECT.items()}
    values |= {name: metric(points) for name, metric in _RANKED.items()}
    if rows.views is not None:
        values["vv_leakage"] = vv_leakage(rows, weights_RN)
    for name in rows.flagged_at:
        values[f"recall_at_{name}"] = recall_at(rows, weights_RN, name)
        values[f"precision_at_{name}"] = precision_at(rows, weights_RN, name)
    return values


def pr_auc(rows: Scored, weights_RN: Array) -> Array:
    """(R,) average precision (the step-wise area under precision over recall); NaN without positives."""
    return _pr_auc(operating_points(rows, weights_RN))


METRICS: Final[dict[str, Metric]] = _DIRECT | {
    name: lambda rows, weights_RN, metric=metric: metric(operating_points(rows, weights_RN))
    for name, metric in _RANKED.items()
}
"""The metrics that any scored rows allow."""


def point(rows: Scored) -> dict[str, float]:
    """Every metric on the rows, each with weight 1."""
    ones_1N = np.ones((1, len(rows.scores)))
    return {name: float(values[0]) for name, values in evaluate(rows, ones_1N).items()}


def group_weights(groups: list[str], replicates: int, seed: int) -> dict[str, Array]:
    """Group -> (R,) how often each replicate draws it: a bootstrap over groups, because rows of a group are alike."""
    names = sorted(set(groups))
    if not names:
        return {}
    rng = np.random.default_rng(seed)
    drawn_RG = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=replicates).astype(np.float64)
    return {name: drawn_RG[:, g] for g, name in enumerate(names)}
