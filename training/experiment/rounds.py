"""The trainings of one trial: one, or two where a refit follows a selection; and what each of them predicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from training.data.leakage import groups_without_top
from training.data.loading.row_set import RowSet, joined, with_privileged
from training.data.manifest import Manifest, Split
from training.data.privileged import PrivilegedStatistics
from training.experiment.paired_predictions import write_paired_predictions
from training.experiment.plan import ExperimentPlan, Trial
from training.experiment.predictions import VALIDATION_PREDICTIONS_FILE, take_over_predictions, write_predictions
from training.fitting.checkpoint import read_card
from training.fitting.fit import FitData
from training.fitting.selection import Select, no_selection, selection_of
from training.teachers.cross_fitting import rows_at

SELECTION_FOLDER = "selection"


@dataclass(frozen=True)
class Round:
    """One training of a trial's methods.

    Attributes:
        home: of its checkpoints.
        data: what fits read.
        parts: rows by split.
        statistics: of the privileged features of the training rows.
        selected: of a refit: what was chosen for a checkpoint, by its name.
        selection: of a refit whose selection predicted validation rows for it: the folder of that round.
        name: in the log; without one, the trial's.
    """

    home: Path
    data: FitData
    parts: dict[Split, RowSet]
    statistics: PrivilegedStatistics
    selected: Select = no_selection
    selection: Path | None = None
    name: str = ""

    def predict_held_out(self, name: str, statistics: PrivilegedStatistics | None = None) -> None:
        """Stores what a checkpoint says of test and validation rows: of the latter, what a refit's selection said.

        Where no row is held out nothing is stored.
        """
        if "test" not in self.parts:
            return
        test, val = self.parts["test"], self.parts["val"]
        if statistics is not None:
            test, val = with_privileged(test, statistics), with_privileged(val, statistics)
        write_predictions(self.home / name, test)
        write_paired_predictions(self.home / name, test)
        if self.selection is None:
            write_predictions(self.home / name, val, VALIDATION_PREDICTIONS_FILE)
        else:
            take_over_predictions(self.selection / name, self.home / name)


def rounds(manifest: Manifest, plan: ExperimentPlan, trial: Trial, first: Round) -> Iterator[Round]:
    """The rounds of a trial, in order; a refit's may begin only where its selection is complete.

    With ``optimiser.refit`` all is done in ``selection`` first, and then again on training rows and those validation
    rows that are training rows in other trials.

    Args:
        manifest, plan, trial: what is trained.
        first: on training rows, in the trial's own folder.
    """
    if not plan.config.optimiser.refit:
        yield first
        return
    selection = first.home / SELECTION_FOLDER
    yield replace(first, home=selection)
    parts = first.parts
    of_folds = np.flatnonzero([row.fold is not None for row in parts["val"].rows])
    everything = joined(parts["train"], rows_at(parts["val"], of_folds))
    groups = groups_without_top(manifest, trial.test_fold, plan.config.teacher.drop_top)
    yield Round(
        first.home,
        replace(first.data, train=everything),
        parts | {"train": everything},
        PrivilegedStatistics.fit(everything.rows, groups),
        lambda name: selection_of(read_card(selection / name)),
        selection,
    )
