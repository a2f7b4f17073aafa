"""Temperatures and thresholds, fitted on validation rows only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from contract.decision import DecisionPolicy, TaskKind, TaskPolicy, TaskSpec, probabilities
from training.data.targets import TaskTargets, flag_targets
from training.distillation.task_losses import cross_entropy

TEMPERATURE_BOUNDS = (0.05, 20.0)
"""Between which a calibration temperature is sought."""


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
    """Whether the search ended where it may not go further: the logits are of no use, or too few rows tell."""
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
    order = np.argsort(-scores, kind="stable")
    sorted_scores, hits = scores[order], np.cumsum(positive[order])
    reached = hits >= precision * np.arange(1, len(scores) + 1) - 1e-9
    last_of_its_score = np.append(sorted_scores[:-1] > sorted_scores[1:], True)
    chosen = np.flatnonzero(reached & last_of_its_score & (hits > 0))
    if not len(chosen):
        return float("inf")
    last = chosen[-1]
    below = sorted_scores[last + 1] if last + 1 < len(scores) else 0.0
    return float((sorted_scores[last] + below) / 2)


def fit_policy(logits: Mapping[str, NDArray[np.float32]], targets: Sequence[TaskTargets]) -> DecisionPolicy:
    """Temperature and max-F1 threshold of every task.

    Args:
        logits: task name -> (N, K) on the validation rows.
        targets: of the same rows.
    """
    policies = {}
    for task_targets in targets:
        task = task_targets.task
        temperature = fit_temperature(logits[task.name], task_targets)
        scores = flag_scores(logits[task.name][task_targets.labelled], task, temperature)
        positive = flag_targets(task_targets)
        if task.kind is TaskKind.MULTILABEL:
            thresholds = {
                label: max_f1_threshold(scores[:, k], positive[:, k])
                for k, label in enumerate(task.labels)
                if label in task.flagged_by
            }
        else:
            thresholds = {"flag": max_f1_threshold(scores, positive)}
        policies[task.name] = TaskPolicy(temperature=temperature, thresholds=thresholds)
    return DecisionPolicy(tasks=policies)
