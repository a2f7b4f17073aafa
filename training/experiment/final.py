"""The final student: trained on the rows of every fold, when the trials have said what it is worth and how to train it.

    <out>/final/teacher | soft_targets | ce | cpfd      checkpoints; no predictions, for no row of a fold is held out

Cross-validation estimates a recipe; what is shipped is the recipe on all rows. Epochs are the median of the trials',
temperatures and thresholds are fitted on what the trials said of their validation rows, each of which the student who
said it had not seen. Rows of fixed validation and test splits stay out of it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from training.data.manifest import Manifest
from training.experiment.plan import FINAL_FOLDER, ExperimentPlan, Workplace
from training.experiment.predictions import VALIDATION_PREDICTIONS_FILE, policy_of, require_stored
from training.experiment.rounds import SELECTION_FOLDER, Round
from training.experiment.run import fit_data, prepare, privileged_statistics, run_methods
from training.experiment.trial_scores import TEACHER
from training.fitting.checkpoint import read_card
from training.fitting.operation import PLAIN_OPERATION, Operation
from training.fitting.processes import world
from training.fitting.selection import Selection, selection_of_all


def train_final(
    manifest: Manifest, plan: ExperimentPlan, place: Workplace, operation: Operation = PLAIN_OPERATION
) -> Path:
    """Trains teacher and students of a finished experiment once more, on the rows of every fold; resumes.

    Args:
        manifest: of the experiment.
        plan: of the experiment, all of whose trials are finished.
        place: its folder and caches.
        operation: how it is run.

    Returns:
        The folder of the checkpoints.

    Raises:
        ValueError: the manifest has no folds, so that the trials' own students have seen all there is to see; or some
            folds were tested more often than others.
        FileNotFoundError, CheckpointError: a trial is not finished.
        PredictionsError: its predictions are of another checkpoint.
        ManifestError: the rows whose clips can be decoded no longer suffice.
    """
    if not manifest.folds:
        raise ValueError("the manifest has no folds: a trial's own student has seen all training rows; export that")
    tested = Counter(trial.test_fold for trial in plan.trials)
    if len({tested[fold] for fold in range(manifest.folds)}) > 1:
        raise ValueError(
            f"{len(plan.trials)} trials test {manifest.folds} folds unequally often: `run` with as many seeds as "
            "folds, or a multiple of that"
        )
    for trial in plan.trials:
        for name in (TEACHER, *plan.methods):
            require_stored(place.out / trial.name / name / VALIDATION_PREDICTIONS_FILE)
    if world().is_main_process:
        prepare(manifest, plan, place, workers=1)
    world().wait_for_everyone()
    home = place.out / FINAL_FOLDER
    seen = [row for row in manifest.rows if row.fold is not None or row.split == "train"]
    first = plan.trials[0]
    data, parts = fit_data(manifest, plan, None, {"train": seen}, place)
    statistics = privileged_statistics(manifest, plan, first, parts["train"], FINAL_FOLDER)
    chosen = _Chosen(manifest, plan, place.out)
    this = Round(home, data, parts, statistics, chosen.of, name=FINAL_FOLDER)
    run_methods(manifest, plan, first, this, operation)
    return home


class _Chosen:
    """What the trials chose, by the name of a checkpoint."""

    def __init__(self, manifest: Manifest, plan: ExperimentPlan, out: Path) -> None:
        self._manifest, self._plan = manifest, plan
        self._homes = [out / trial.name for trial in plan.trials]

    def of(self, name: str) -> Selection:
        chose = SELECTION_FOLDER if self._plan.config.optimiser.refit else ""
        cards = [read_card(home / chose / name) for home in self._homes]
        said = [home / chose / name / VALIDATION_PREDICTIONS_FILE for home in self._homes]
        # Other teachers keep no logits of validation rows, and nobody asks for their thresholds.
        points = self._plan.config.operating_points
        asked_for = name in (TEACHER, *self._plan.methods)
        return selection_of_all(cards, policy_of(said, self._manifest, points) if asked_for else None)
