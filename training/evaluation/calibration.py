"""Temperatures and thresholds, fitted on validation rows only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from contract.decision import DecisionPolicy, OperatingPoint, TaskKind, TaskPolicy, TaskSpec, probabilities
from training.data.targets import TaskTargets, flag_targets
from training.distillation.task_losses import cross_entropy

TEMPERATURE_BOUNDS = (0.05, 20.0)
"""Between which a calibration temperature is sought."""
_LEAST_PROBABILITY = 1e-7
_LEAST_SPREAD = 1e-9


def fit_temperature(logits_NK: NDArray[np.float32], targets: TaskTargets) -> float:
    """The temperature in [0.05, 20] that minimises the labelled rows' cross-entropy (arXiv:1706.04599); 1 if none."""
    labelled = targets.labelled
    if not labelled.any():
        return 1.0
    logits, values = torch.from_numpy(logits_NK[labelled]), torch.from_numpy(targets.values[labelled])

    def loss(log_temperature: float) -> float:
        return float(cross_entropy(logits / np.exp(log_temperature), values, targets.task.kind).mean())

    bounds = tuple(np.log(TEMPERATURE_BOUNDS))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def at_bound(temperature: float) -> bool:
    """Whether the fitted temperature lies at a bound of the search: uninformative logits, or too few rows."""
    low, high = TEMPERATURE_BOUNDS
    return not low * 1.01 < temperature < high / 1.01


def flag_scores(logits_NK: NDArray[np.float32], task: TaskSpec, temperature: float) -> NDArray[np.float64]:
    """What is compared with the threshold: (N,), or (N, K) for a multilabel task. As ``contract.decision`` does."""
    p_NK = probabilities(logits_NK, task.kind, temperature)
    if task.kind is TaskKind.BINARY:
        return p_NK[:, 0]
    if task.kind is TaskKind.MULTICLASS:
        return np.asarray(p_NK[:, [task.labels.index(label) for label in task.flagged_by]].sum(axis=1))
    return p_NK


def max_f1_threshold(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """The threshold of the highest F1, halfway to the next lower score; 0.5 where a class is missing."""
    if not positive.any() or positive.all():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    sorted_scores, hits = scores[order], np.cumsum(positive[order])
    f1 = 2 * hits / (np.arange(1, len(scores) + 1) + positive.sum())
    last_of_its_score = np.append(sorted_scores[:-1] > sorted_scores[1:], True)
    best = int(np.argmax(np.where(last_of_its_score, f1, -1.0)))
    below = sorted_scores[best + 1] if best + 1 < len(scores) else 0.0
    return float((sorted_scores[best] + below) / 2)


def precision_threshold(scores: NDArray[np.float64], positive: NDArray[np.bool_], precision: float) -> float:
    """The threshold of the highest recall that reaches the precision on these rows, halfway to the next lower score.

    Infinite, so that nothing is flagged, where no threshold reaches it.
    """
    cuts = _cuts(scores, positive)
    reached = np.flatnonzero((cuts.hits >= precision * cuts.flagged - 1e-9) & (cuts.hits > 0))
    return cuts.thresholds[reached[-1]] if len(reached) else float("inf")


def cost_threshold(scores: NDArray[np.float64], positive: NDArray[np.bool_], ratio: float) -> float:
    """The probability in [0, 1] from which on to miss a row is expected to cost more than to flag it.

    Not the cheapest cut of these rows: among some hundred, noise decides which that is. A line is fitted to the label's
    log-odds over those of the score (Platt 1999, with its smoothed targets), and the cut is where the expected costs
    are equal (Elkan 2001). That takes the label's log-odds for linear in the score's, and few rows for little evidence:
    a ratio far from 1 may have next to all flagged, or next to nothing. So it has where the label does not rise with
    the score.

    Args:
        scores: (N,) probabilities.
        positive: (N,) rows of both classes.
        ratio: what a miss costs, in false alarms.
    """
    odds_N = logit(np.clip(scores, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY))
    hits = int(positive.sum())
    all_or_none = 0.0 if ratio * hits > len(scores) - hits else 1.0
    spread = float(odds_N.std())
    if spread < _LEAST_SPREAD:
        return all_or_none
    centre = float(odds_N.mean())
    target_N = np.where(positive, (hits + 1) / (hits + 2), 1 / (len(scores) - hits + 2))
    line = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(
        np.tile((odds_N - centre) / spread, 2)[:, None],
        np.repeat([1, 0], len(scores)),
        sample_weight=np.concatenate([target_N, 1 - target_N]),
    )
    slope, offset = float(line.coef_[0, 0]), float(line.intercept_[0])
    if slope <= 0:
        return all_or_none
    return float(expit(centre - spread * (np.log(ratio) + offset) / slope))


def point_threshold(scores: NDArray[np.float64], positive: NDArray[np.bool_], point: OperatingPoint) -> float:
    """The threshold in [0, 1] of an operating point on validation rows; 0.5 where a class is missing.

    1 where the point cannot be reached: then next to nothing is flagged, which ``TaskPolicy.point`` explains.
    """
    if not positive.any() or positive.all():
        return 0.5
    if point.value is None:
        return max_f1_threshold(scores, positive)
    if point.kind == "cost_ratio":
        return cost_threshold(scores, positive, point.value)
    cuts = _cuts(scores, positive)
    match point.kind:
        case "recall_at_precision":
            return min(1.0, precision_threshold(scores, positive, point.value))
        case "precision_at_recall":
            reached = np.flatnonzero(cuts.hits >= point.value * positive.sum() - 1e-9)
            best = reached[np.argmax(cuts.hits[reached] / cuts.flagged[reached])]
        case _:
            within = np.flatnonzero(cuts.flagged <= point.value * len(scores) + 1e-9)
            if not len(within):
                return 1.0
            best = within[-1]
    return float(cuts.thresholds[best])


@dataclass(frozen=True)
class _Cuts:
    """Every way to cut the rows in two between different scores, highest first: rows flagged, hits among them."""

    thresholds: NDArray[np.float64]
    flagged: NDArray[np.int64]
    hits: NDArray[np.int64]


def _cuts(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> _Cuts:
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(positive[order], dtype=np.int64)
    last = np.flatnonzero(np.append(ordered[:-1] > ordered[1:], True))
    below = np.append(ordered, 0.0)[last + 1]
    return _Cuts((ordered[last] + below) / 2, last + 1, hits[last])


def fit_policy(
    logits: Mapping[str, NDArray[np.float32]],
    targets: Sequence[TaskTargets],
    points: Mapping[str, OperatingPoint] | None = None,
) -> DecisionPolicy:
    """Temperature and threshold of every task.

    Args:
        logits: task name -> (N, K) on the validation rows.
        targets: of the same rows.
        points: task name -> what its threshold is chosen for; the highest F1 where nothing is said.
    """
    policies = {}
    for task_targets in targets:
        task = task_targets.task
        temperature = fit_temperature(logits[task.name], task_targets)
        scores = flag_scores(logits[task.name][task_targets.labelled], task, temperature)
        positive = flag_targets(task_targets)
        point = (points or {}).get(task.name, OperatingPoint())
        if task.kind is TaskKind.MULTILABEL:
            thresholds = {
                label: point_threshold(scores[:, k], positive[:, k], point)
                for k, label in enumerate(task.labels)
                if label in task.flagged_by
            }
        else:
            thresholds = {"flag": point_threshold(scores, positive, point)}
        policies[task.name] = TaskPolicy(temperature=temperature, thresholds=thresholds, point=point)
    return DecisionPolicy(tasks=policies)
