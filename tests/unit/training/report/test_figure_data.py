"""Curves: their areas and bins are the metrics', and files that may be missing are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.finished_run import SPAM, TOPICS, FinishedRun, make_finished_run
from training.config import RunConfig
from training.evaluation.metrics import Scored, point
from training.report.figure_data import (
    LEARNING_CURVE_FILE,
    HeldOut,
    learning_curves,
    precision_recall,
    read_held_out,
    reliability,
    teacher_confidences,
)
from training.teachers.soft_targets import SOFT_TARGETS_FILE


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_config: RunConfig) -> FinishedRun:
    return make_finished_run(tmp_path_factory.mktemp("curves") / "runs", tiny_config)


def test_area_under_the_mean_curve_is_the_mean_average_precision() -> None:
    rng = np.random.default_rng(0)
    trials, areas = [], []
    for n in (40, 90):
        positive = rng.random(n) < 0.3
        scores = np.round(np.clip(positive * 0.2 + rng.random(n), 0, 1), 1)  # many ties
        trials.append(HeldOut(scores, None, positive))
        areas.append(point(Scored(scores, scores > 0.5, positive))["pr_auc"])
    curve = precision_recall(trials)
    assert curve is not None
    assert curve.mean.mean() == pytest.approx(np.mean(areas), abs=0.01)
    assert (curve.low <= curve.mean).all()
    assert (curve.mean <= curve.high).all()


def test_a_trial_without_positives_has_no_curve() -> None:
    assert precision_recall([HeldOut(np.ones(3), None, np.zeros(3, np.bool_))]) is None


def test_reliability_bins_add_up_to_the_ece() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random(200)
    positive = rng.random(200) < scores**2
    bins = reliability(scores, positive)
    assert bins.rows.sum() == 200
    assert np.ptp(bins.rows) <= 1
    assert (bins.low < bins.share + 1e-9).all()
    assert (bins.share - 1e-9 < bins.high).all()
    ece = (bins.rows * np.abs(bins.score - bins.share)).sum() / 200
    assert ece == pytest.approx(point(Scored(scores, scores > 0.5, positive))["ece"])


def test_methods_and_controls_are_read_and_what_a_trial_lacks_is_left_out(finished: FinishedRun) -> None:
    rows = {row.id: row for row in finished.manifest.rows}
    methods = ("teacher", "cpfd", "container_only", "never_trained")
    spam = read_held_out(finished.runs, finished.plan, SPAM, rows, methods)
    assert list(spam) == ["teacher", "cpfd", "container_only"]
    assert spam["container_only"][0].raw is None
    assert len(spam["cpfd"]) == 2
    topics = read_held_out(finished.runs, finished.plan, TOPICS, rows, methods)
    assert list(topics) == ["teacher", "cpfd"]
    assert len(topics["cpfd"][0].scores) == 2 * len(spam["cpfd"][0].scores)  # once for each label


def test_confidence_of_cross_fitted_teachers_is_read_at_their_own_temperature(
    tmp_path: Path, tiny_config: RunConfig
) -> None:
    finished = make_finished_run(tmp_path / "runs", tiny_config)
    rows = {row.id: row for row in finished.manifest.rows}
    before = teacher_confidences(finished.runs, finished.plan, SPAM, rows)
    assert list(before) == ["train", "held_out"]
    assert before["train"].mean() > before["held_out"].mean()
    for trial in finished.plan.trials:
        home = finished.runs / trial.name
        with np.load(home / "soft_targets" / SOFT_TARGETS_FILE) as arrays:
            held = dict(arrays)
        card = {"cross_fit": {"temperatures": {"spam": 1e6}}}
        held["header"] = np.frombuffer(json.dumps(card).encode(), np.uint8)
        (home / "soft_targets_privileged_crossfit").mkdir()
        np.savez(home / "soft_targets_privileged_crossfit" / SOFT_TARGETS_FILE, **held)
    after = teacher_confidences(finished.runs, finished.plan, SPAM, rows)
    assert list(after) == ["train", "cross_fitted", "held_out"]
    assert after["cross_fitted"] == pytest.approx(0.5, abs=1e-3)


def test_a_finer_learning_curve_is_taken_where_there_is_one(tmp_path: Path, tiny_config: RunConfig) -> None:
    finished = make_finished_run(tmp_path / "runs", tiny_config)
    directory = finished.runs / finished.plan.trials[0].name / "cpfd"
    steps = {"epoch": [0] * 100 + [1] * 100, "step": list(range(1, 201)), "loss": [2.0] * 100 + [1.0] * 100}
    (directory / LEARNING_CURVE_FILE).write_text(json.dumps({"steps": steps, "epochs": {}}))
    finer, coarse = learning_curves(finished.runs, finished.plan, ["cpfd", "never_trained"])["cpfd"]
    assert len(finer.epochs) == 60
    assert finer.epochs[-1] == 2.0
    assert finer.losses[0] == 2.0
    assert finer.losses[-1] == 1.0
    assert (np.diff(finer.losses) <= 0).all()
    assert coarse.epochs.tolist() == [1, 2, 3]
    assert coarse.losses.tolist() == [0.9, 0.7, 0.7]
