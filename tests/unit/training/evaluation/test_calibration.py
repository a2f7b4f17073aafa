from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from contract.decision import TaskKind, TaskSpec, decide_task
from training.data.targets import TaskTargets
from training.evaluation.calibration import (
    at_bound,
    fit_policy,
    fit_temperature,
    flag_scores,
    max_f1_threshold,
    precision_threshold,
)

BINARY = TaskSpec(name="t", kind=TaskKind.BINARY, labels=("no", "yes"))
MULTI = TaskSpec(name="m", kind=TaskKind.MULTICLASS, labels=("a", "b", "c"), flag_labels=("b", "c"))
LABELS = TaskSpec(name="l", kind=TaskKind.MULTILABEL, labels=("x", "y"))


def binary_targets(n: int, seed: int = 0) -> tuple[np.ndarray, TaskTargets]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, 1)).astype(np.float32)
    values = (rng.random(n) < 1 / (1 + np.exp(-logits[:, 0]))).astype(np.float32)
    return logits, TaskTargets(BINARY, np.ones(n, bool), values)


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_temperature_undoes_a_scale(factor: float) -> None:
    logits, targets = binary_targets(20000)
    assert fit_temperature(logits * factor, targets) == pytest.approx(factor, rel=0.08)


def test_a_search_that_ends_at_its_bound_is_told_from_one_that_does_not() -> None:
    values = np.tile(np.asarray([1, 0], np.float32), 50)
    targets = TaskTargets(BINARY, np.ones(100, np.bool_), values)
    certain, against = (fit_temperature(sign * (2 * values[:, None] - 1), targets) for sign in (1, -1))
    assert at_bound(certain)
    assert certain < 1
    assert at_bound(against)
    assert against > 1
    assert not at_bound(1.0)


def test_temperature_without_labels_is_one() -> None:
    logits, targets = binary_targets(5)
    assert fit_temperature(logits, TaskTargets(BINARY, np.zeros(5, bool), targets.values)) == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_threshold_has_the_highest_f1(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.round(rng.random(80), 1)
    positive = rng.random(80) < scores
    best = f1_score(positive, scores >= max_f1_threshold(scores, positive))
    assert best == pytest.approx(max(f1_score(positive, scores >= t, zero_division=0) for t in np.unique(scores)))


@pytest.mark.parametrize("positive", [False, True])
def test_threshold_of_one_class_is_neutral(positive: bool) -> None:
    assert max_f1_threshold(np.asarray([0.1, 0.9]), np.asarray([positive, positive])) == 0.5


@pytest.mark.parametrize("task", [BINARY, MULTI])
def test_flag_scores_are_what_serving_compares(task: TaskSpec) -> None:
    logits = np.random.default_rng(0).normal(size=(9, task.logits_width)).astype(np.float32)
    values = np.zeros(9, np.int64 if task.kind is TaskKind.MULTICLASS else np.float32)
    values[::2] = 1
    policy = fit_policy({task.name: logits}, [TaskTargets(task, np.ones(9, bool), values)]).tasks[task.name]
    scores = flag_scores(logits, task, policy.temperature)
    for row, score in zip(logits, scores, strict=True):
        decided = decide_task(row, task, policy, frozenset(task.modalities))
        assert decided.flag_score == pytest.approx(score)
        assert decided.flagged == (score >= policy.thresholds["flag"])


def test_multilabel_tasks_get_a_threshold_a_label() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    values = (logits > 0.2).astype(np.float32)
    policy = fit_policy({"l": logits}, [TaskTargets(LABELS, np.ones(20, bool), values)]).tasks["l"]
    assert set(policy.thresholds) == {"x", "y"}
    flagged = flag_scores(logits, LABELS, policy.temperature) >= [policy.thresholds["x"], policy.thresholds["y"]]
    assert np.array_equal(flagged, values > 0.5)


def test_precision_threshold_has_the_highest_recall_that_reaches_it() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    positive = np.array([True, False, True, True, True, False])
    assert precision_threshold(scores, positive, 0.8) == pytest.approx(0.45)
    assert precision_threshold(scores, positive, 0.9) == pytest.approx(0.85)
    assert precision_threshold(scores, ~positive, 0.8) == float("inf")
    assert precision_threshold(np.full(4, 0.5), np.array([True, False, False, False]), 0.8) == float("inf")
