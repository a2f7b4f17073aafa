"""How many rows and groups of each class a task's held-out rows hold: what every verdict rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contract.decision import TaskSpec
from training.data.manifest import Row
from training.data.targets import flag_columns, flag_targets, task_targets
from training.experiment.trial_scores import TrialScores


def class_counts(
    trials: Sequence[TrialScores], positive: bool, task: TaskSpec, rows: Mapping[str, Row]
) -> dict[str, int]:
    """Rows and groups of one class: those that were held out, and the groups that the whole manifest has of it."""
    held_out = {
        row.id: row.group
        for trial in trials
        for row, found in zip(trial.rows, trial.scored.positive, strict=True)
        if bool(found) is positive
    }
    labelled = [row for row in rows.values() if task.name in row.labels]
    of_class_NK = flag_columns(flag_targets(task_targets(labelled, task)), task) == positive
    chosen = of_class_NK.reshape(len(labelled), -1).any(axis=1)
    in_all = {row.group for row, one in zip(labelled, chosen, strict=True) if one}
    return {"rows": len(held_out), "groups": len(set(held_out.values())), "groups_in_manifest": len(in_all)}


def positive_groups(trials: Sequence[TrialScores]) -> list[int]:
    """Of each held-out part, in the order of the trials, how many groups its positives stand in."""
    folds = {
        tuple(row.id for row in trial.rows): len(
            {row.group for row, positive in zip(trial.rows, trial.scored.positive, strict=True) if positive}
        )
        for trial in trials
    }
    return list(folds.values())
