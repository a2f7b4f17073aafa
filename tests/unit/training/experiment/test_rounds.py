"""A refit, end to end: chosen on validation rows, then trained on them too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.conftest import Toy
from training.config import RunConfig
from training.experiment.plan import ExperimentPlan, Trial, Workplace
from training.experiment.predictions import VALIDATION_PREDICTIONS_FILE
from training.experiment.rounds import SELECTION_FOLDER
from training.experiment.run import run
from training.fitting.checkpoint import CheckpointCard, read_card


@pytest.fixture(scope="module")
def refitted(toy: Toy, tiny_config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trial's folder."""
    home = tmp_path_factory.mktemp("refit")
    changes = {"refit": True, "keep": "best", "ema_decay": 0.9}
    config = tiny_config.model_copy(update={"optimiser": tiny_config.optimiser.model_copy(update=changes)})
    trials = (Trial(seed=0, test_fold=0),)
    plan = ExperimentPlan(trials=trials, methods=("cpfd",), config=config, manifest_digest=toy.manifest.digest())
    run(toy.manifest, plan, Workplace(home, home / "cache", None))
    return home / "seed0-fold0"


def cards(home: Path, name: str) -> tuple[CheckpointCard, CheckpointCard]:
    return read_card(home / SELECTION_FOLDER / name), read_card(home / name)


@pytest.mark.parametrize("name", ["teacher", "cpfd"])
def test_all_that_is_trained_is_trained_on_the_validation_fold_too(name: str, refitted: Path, toy: Toy) -> None:
    chosen, final = cards(refitted, name)
    parts = toy.manifest.split_rows(0)
    of_folds = sum(row.fold is not None for row in parts["val"])
    assert 0 < of_folds < len(parts["val"]), "rows of a fixed split stay out of it"
    assert chosen.train_rows == len(parts["train"])
    assert final.train_rows == chosen.train_rows + of_folds
    assert chosen.weights_digest != final.weights_digest


@pytest.mark.parametrize("name", ["teacher", "cpfd"])
def test_thresholds_and_validation_scores_are_those_of_the_selection(name: str, refitted: Path) -> None:
    chosen, final = cards(refitted, name)
    assert final.policy == chosen.policy
    assert final.selection_digest == chosen.digest()
    scores = [np.load(home / name / VALIDATION_PREDICTIONS_FILE) for home in (refitted / SELECTION_FOLDER, refitted)]
    for key in scores[0].files:
        if scores[0][key].dtype.kind == "f":
            np.testing.assert_array_equal(scores[0][key], scores[1][key])


def test_the_student_of_the_refit_learns_from_the_teacher_of_the_refit(refitted: Path) -> None:
    teacher, student = read_card(refitted / "teacher"), read_card(refitted / "cpfd")
    assert student.teacher_digest == teacher.digest()
    assert student.teacher_digest != read_card(refitted / SELECTION_FOLDER / "teacher").digest()
