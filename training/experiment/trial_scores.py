"""Stored predictions -> scored rows, method by method and trial by trial, of one task.

What is decided on test rows (the flag, the thresholds of fixed precisions) was chosen on validation rows. ``held_out``
scores the validation rows themselves, for choosing between methods without a look at test rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contract.decision import TaskKind, TaskPolicy, TaskSpec
from training.data.manifest import Row
from training.data.targets import flag_columns, flag_targets, task_targets
from training.evaluation.calibration import flag_scores, max_f1_threshold, precision_threshold
from training.evaluation.metrics import PRECISIONS, Array, Scored
from training.experiment.control_predictions import CONTROLS, ControlScores, read_control
from training.experiment.paired_predictions import read_paired
from training.experiment.plan import ExperimentPlan
from training.experiment.predictions import (
    PREDICTIONS_FILE,
    VALIDATION_PREDICTIONS_FILE,
    labelled_logits,
    require_stored,
)
from training.fitting.checkpoint import read_card, read_policy

TEACHER = "teacher"
HeldOut = Literal["test", "val"]
HALVES: dict[str, dict[str, str]] = {
    "sensational_violence": {"clip_half_only": "violence", "title_half_only": "clickbait"},
}
"""Composite task -> control -> the task whose head of the baseline answers alone."""
_HALVES_FROM = "ce"


@dataclass(frozen=True)
class TrialScores:
    """One method's scored rows in one trial, for one task.

    Attributes:
        scored: what they score.
        rows: N rows; one of a multilabel task stands once for each label.
        cuts: ``p80`` and ``p90`` -> the threshold that reaches this precision on validation rows, infinite where none
            does; empty where their scores were not stored.
    """

    scored: Scored
    rows: list[Row]
    cuts: Mapping[str, float] = field(default_factory=dict)


Table = dict[str, list[TrialScores]]
"""Method -> one entry for each trial."""


def score_table(
    out: Path, plan: ExperimentPlan, task: TaskSpec, rows: Mapping[str, Row], held_out: HeldOut = "test"
) -> Table:
    """The teacher, every method and every control that has scores in all trials.

    Raises:
        FileNotFoundError: a trial is not finished; the message names the file.
        ValueError: a trial holds out no row of the task.
    """
    table: Table = {
        method: [_of_method(out / trial.name / method, task, rows, held_out) for trial in plan.trials]
        for method in (TEACHER, *plan.methods)
    }
    for trial, scores in zip(plan.trials, table[TEACHER], strict=True):
        if not scores.rows:
            raise ValueError(f"{trial.name} holds out no {held_out} row of task {task.name}")
    if held_out == "val":
        return table
    for control in CONTROLS:
        entries = [read_control(out / trial.name / "controls", control, task.name) for trial in plan.trials]
        stored = [entry for entry in entries if entry is not None]
        if len(stored) == len(plan.trials):
            table[control] = [_of_control(task, rows, entry) for entry in stored]
    table |= _half_controls(out, plan, task, rows)
    return table


def method_scores(
    directory: Path, task: TaskSpec, rows: Mapping[str, Row], policy: TaskPolicy | None = None
) -> TrialScores:
    """The held-out rows of one checkpoint of one trial, scored: by its own policy, or by another's.

    Raises:
        FileNotFoundError: it is not finished; the message names the file.
    """
    if policy is None:
        return _of_method(directory, task, rows, "test")
    return _decided(task, *_stored(directory / PREDICTIONS_FILE, task, rows), {}, policy)


def paired_scores(
    out: Path, plan: ExperimentPlan, method: str, task: TaskSpec, rows: Mapping[str, Row]
) -> list[TrialScores]:
    """Rows that share their request with an unrelated one of the other modality; empty where a trial has none."""
    labelled = {row_id for row_id, row in rows.items() if task.name in row.labels}
    trials = []
    for trial in plan.trials:
        directory = out / trial.name / method
        paired = read_paired(directory, task.output_name, labelled)
        if paired is None:
            return []
        trials.append(_decided(task, [rows[i] for i in paired[0]], paired[1], {}, _policy(directory, task)))
    return trials


def _of_method(directory: Path, task: TaskSpec, rows: Mapping[str, Row], held_out: HeldOut) -> TrialScores:
    if held_out == "val":
        validation = _stored(directory / VALIDATION_PREDICTIONS_FILE, task, rows)
        return _decided(task, *validation, {}, _policy(directory, task))
    kept, logits_NK = _stored(directory / PREDICTIONS_FILE, task, rows)
    return _decided(task, kept, logits_NK, _validation_cuts(directory, task, rows), _policy(directory, task))


def _stored(
    path: Path, task: TaskSpec, rows: Mapping[str, Row], head: TaskSpec | None = None
) -> tuple[list[Row], NDArray[np.float32]]:
    require_stored(path)
    return labelled_logits(path, task, rows, head)


def _policy(directory: Path, task: TaskSpec) -> TaskPolicy:
    return read_policy(directory).tasks[task.name]


def _decided(
    task: TaskSpec, kept: list[Row], logits_NK: NDArray[np.float32], cuts: Mapping[str, float], policy: TaskPolicy
) -> TrialScores:
    """The rows as a policy decides them."""
    scores = flag_scores(logits_NK, task, policy.temperature)
    if task.kind is TaskKind.MULTILABEL:
        thresholds = np.asarray([policy.thresholds.get(label, np.inf) for label in task.labels])
    else:
        thresholds = np.asarray(policy.thresholds["flag"])
    return scored(task, kept, scores, scores >= thresholds, cuts)


def _validation_cuts(directory: Path, task: TaskSpec, rows: Mapping[str, Row]) -> dict[str, float]:
    """``p80`` and ``p90`` -> the threshold that reaches it on validation rows; none where they were not stored."""
    path = directory / VALIDATION_PREDICTIONS_FILE
    if not path.exists():
        return {}
    return _cuts(_decided(task, *_stored(path, task, rows), {}, _policy(directory, task)).scored)


def _cuts(validation: Scored) -> dict[str, float]:
    return {n: precision_threshold(validation.scores, validation.positive, p) for n, p in PRECISIONS.items()}


def _of_control(task: TaskSpec, rows: Mapping[str, Row], control: ControlScores) -> TrialScores:
    cuts = {}
    if control.validation_row_ids:
        validation = [rows[i] for i in control.validation_row_ids]
        cuts = _cuts(scored(task, validation, control.validation_scores, control.validation_scores > 0, {}).scored)
    test = [rows[i] for i in control.row_ids]
    return scored(task, test, control.scores, control.scores >= control.threshold, cuts)


def _half_controls(out: Path, plan: ExperimentPlan, task: TaskSpec, rows: Mapping[str, Row]) -> Table:
    """Of a composite task: what the baseline's head for one half alone says of the very same requests."""
    if _HALVES_FROM not in plan.methods:
        return {}
    table: Table = {}
    for control, name in HALVES.get(task.name, {}).items():
        entries = [_of_half(out / trial.name / _HALVES_FROM, task, name, rows) for trial in plan.trials]
        stored = [entry for entry in entries if entry is not None]
        if len(stored) == len(plan.trials):
            table[control] = stored
    return table


def _of_half(directory: Path, task: TaskSpec, name: str, rows: Mapping[str, Row]) -> TrialScores | None:
    card = read_card(directory)
    head = next((known for known in card.tasks if known.name == name), None)
    path = directory / VALIDATION_PREDICTIONS_FILE
    if head is None or not path.exists():
        return None
    temperature = read_policy(directory).tasks[name].temperature
    kept, logits_NK = _stored(path, task, rows, head)
    scores = flag_scores(logits_NK, head, temperature)
    validation = scored(task, kept, scores, scores > 0, {}).scored
    cut = max_f1_threshold(validation.scores, validation.positive)
    kept, logits_NK = _stored(directory / PREDICTIONS_FILE, task, rows, head)
    scores = flag_scores(logits_NK, head, temperature)
    return scored(task, kept, scores, scores >= cut, _cuts(validation))


def scored(
    task: TaskSpec, rows: list[Row], scores: Array, flagged: NDArray[np.bool_], cuts: Mapping[str, float]
) -> TrialScores:
    """A multilabel row becomes one yes-or-no question for each label that can raise the flag (micro-averaging)."""
    targets = flag_targets(task_targets(rows, task))
    scores, flagged, positive = (flag_columns(values, task) for values in (scores, flagged, targets))
    if task.kind is TaskKind.MULTILABEL:
        rows = [row for row in rows for _ in task.flagged_by]
    views = None
    if any(row.view_count is not None for row in rows):
        views = np.asarray([np.nan if row.view_count is None else row.view_count for row in rows], np.float64)
    flagged_at = {name: scores.ravel() >= cut for name, cut in cuts.items()}
    return TrialScores(Scored(scores.ravel(), flagged.ravel(), positive.ravel(), views, flagged_at), rows, cuts)


def strata(table: Table) -> list[tuple[str, ...]]:
    """Of each trial, the rows it was tested on: trials that share them are seeds of one fold."""
    return [tuple(row.id for row in trial.rows) for trial in next(iter(table.values()))]
