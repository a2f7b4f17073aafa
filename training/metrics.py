"""Weighted metrics of one task on one set of rows, vectorised over bootstrap replicates.

A replicate is a vector of row weights: how often each row's group was drawn. The point estimate is the replicate of
ones. Everywhere R is the number of replicates and N the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_ECE_BINS = 10


@dataclass(frozen=True)
class Scored:
    """Scored rows of a yes-or-no question.

    Attributes:
        scores: (N,) calibrated probability that the row should be flagged.
        flagged: (N,) bool: whether the decision flags it, at the threshold fitted on validation rows.
        positive: (N,) bool: whether it truly should be.
    """

    scores: Array
    flagged: NDArray[np.bool_]
    positive: NDArray[np.bool_]


def f1(rows: Scored, weights_RN: Array) -> Array:
    """(R,) F1 of the flag; 0 where nothing is positive and nothing flagged."""
    hits = weights_RN @ (rows.flagged & rows.positive)
    called, there = weights_RN @ rows.flagged, weights_RN @ rows.positive
    return np.divide(2 * hits, called + there, out=np.zeros_like(hits), where=called + there > 0)


def pr_auc(rows: Scored, weights_RN: Array) -> Array:
    """(R,) average precision (the step-wise area under precision over recall); NaN without positives."""
    order = np.argsort(-rows.scores, kind="stable")
    ends = np.append(np.diff(rows.scores[order]) < 0, True)  # equal scores share one operating point
    weights_RN = weights_RN[:, order]
    hits_RN = np.cumsum(weights_RN * rows.positive[order], axis=1)[:, ends]
    called_RN = np.cumsum(weights_RN, axis=1)[:, ends]
    precision_RN = np.divide(hits_RN, called_RN, out=np.zeros_like(hits_RN), where=called_RN > 0)
    there_R = hits_RN[:, -1]
    gained_RN = np.diff(hits_RN, axis=1, prepend=0.0)
    area_R = (gained_RN * precision_RN).sum(axis=1)
    return np.divide(area_R, there_R, out=np.full_like(area_R, np.nan), where=there_R > 0)


def ece(rows: Scored, weights_RN: Array) -> Array:
    """(R,) expected calibration error over 10 bins of equal mass: sum of share x |mean score - share positive|."""
    edges = np.quantile(rows.scores, np.linspace(0, 1, _ECE_BINS + 1)[1:-1])
    bins = np.searchsorted(edges, rows.scores, side="right")
    error_R = np.zeros(len(weights_RN))
    for b in range(_ECE_BINS):
        inside = bins == b
        if inside.any():
            w_RN = weights_RN[:, inside]
            error_R += np.abs(w_RN @ (rows.scores[inside] - rows.positive[inside]))
    return np.asarray(error_R / weights_RN.sum(axis=1))


def brier(rows: Scored, weights_RN: Array) -> Array:
    """(R,) mean squared error of the probability."""
    return np.asarray(weights_RN @ (rows.scores - rows.positive) ** 2 / weights_RN.sum(axis=1))


METRICS: Final[dict[str, Callable[[Scored, Array], Array]]] = {"f1": f1, "pr_auc": pr_auc, "ece": ece, "brier": brier}


def point(rows: Scored) -> dict[str, float]:
    """Every metric on the rows as they are."""
    ones_1N = np.ones((1, len(rows.scores)))
    return {name: float(metric(rows, ones_1N)[0]) for name, metric in METRICS.items()}


def group_weights(groups: list[str], replicates: int, seed: int) -> dict[str, Array]:
    """Group -> (R,) how often each replicate draws it: a bootstrap over groups, because rows of a group are alike."""
    names = sorted(set(groups))
    rng = np.random.default_rng(seed)
    drawn_RG = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=replicates).astype(np.float64)
    return {name: drawn_RG[:, g] for g, name in enumerate(names)}
