"""Trains the rows of an ablation: a row's method alone, and a teacher only where the method has one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from recipes.ablation.rows import AblationRow
from training.config import RunConfig
from training.data.manifest import Manifest
from training.distillation.registry import METHODS
from training.experiment.plan import ExperimentPlan, Trial, Workplace
from training.experiment.rounds import Round, rounds
from training.experiment.run import open_experiment, run_trial, trial_data
from training.fitting.fit import fit

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlannedRow:
    """A row with its configuration and its folder, which rows of equal configuration share."""

    row: AblationRow
    config: RunConfig
    home: Path


def plan_rows(rows: Sequence[tuple[AblationRow, RunConfig]], out: Path) -> list[PlannedRow]:
    """Gives each row a folder: that of the first row of its configuration."""
    homes: dict[str, Path] = {}
    return [PlannedRow(row, config, homes.setdefault(config.digest(), out / row.folder)) for row, config in rows]


def train_rows(
    manifest: Manifest,
    rows: Sequence[PlannedRow],
    trials: tuple[Trial, ...],
    cache: Path,
    vocabulary: Path | None,
    workers: int = 1,
) -> None:
    """Trains every row on every trial; what is complete is not trained again.

    Args:
        manifest: of all rows.
        rows: of ``plan_rows``.
        trials: seeds and folds, the same for every row.
        cache: of frames and of what frozen encoders give.
        vocabulary: a BERT ``vocab.txt`` for rows that start from no weights; None learns one.
        workers: processes that decode clips and run frozen encoders.

    Raises:
        ValueError: a folder holds another experiment.
        PretrainedError: weights to start from are missing.
    """
    for planned in tqdm(rows, desc="rows", disable=None):
        name, config = planned.row.method, planned.config
        plan = ExperimentPlan(trials=trials, methods=(name,), config=config, manifest_digest=manifest.digest())
        place = Workplace(planned.home, cache, vocabulary if config.pretrained is None else None)
        open_experiment(manifest, plan, place, jobs=workers)
        for trial in trials:
            _LOG.info("row %s, %s", planned.row.name, trial.name)
            if METHODS[name].teacher == "none" and not METHODS[name].predicts_privileged:
                _train_alone(manifest, plan, trial, place)
            else:
                run_trial(manifest, plan, trial, place)


def _train_alone(manifest: Manifest, plan: ExperimentPlan, trial: Trial, place: Workplace) -> None:
    """A method without a teacher, and no teacher beside it."""
    (name,) = plan.methods
    first = Round(place.out / trial.name, *trial_data(manifest, plan, trial, place))
    for one in rounds(manifest, plan, trial, first):
        home, selected = one.home / name, one.selected(name)
        fit(home, one.data, plan.config, method=name, seed=trial.seed, teacher=None, role="student", selection=selected)
        one.predict_held_out(name)
