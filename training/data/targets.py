"""Labels of rows -> target arrays of each task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.decision import TaskKind, TaskSpec
from training.data.manifest import Row


@dataclass(frozen=True)
class TaskTargets:
    """One task's labels over N rows.

    Attributes:
        task: the task.
        labelled: (N,) bool: which rows hold a label of it.
        values: (N,) float32 in {0, 1} (binary), (N,) int64 (multiclass) or (N, K) float32 (multilabel); zero
            where unlabelled.
    """

    task: TaskSpec
    labelled: NDArray[np.bool_]
    values: NDArray[np.float32] | NDArray[np.int64]


def task_targets(rows: Sequence[Row], task: TaskSpec) -> TaskTargets:
    """The targets of one task.

    Raises:
        ValueError: a label outside the task's set.
    """
    position = {label: i for i, label in enumerate(task.labels)}
    labelled = np.asarray([task.name in row.labels for row in rows], np.bool_)
    shape = (len(rows), len(task.labels)) if task.kind is TaskKind.MULTILABEL else (len(rows),)
    values = np.zeros(shape, np.int64 if task.kind is TaskKind.MULTICLASS else np.float32)
    for i, row in enumerate(rows):
        label = row.labels.get(task.name)
        if label is None:
            continue
        try:
            if isinstance(label, str):
                values[i] = position[label]
            else:
                values[i, [position[name] for name in label]] = 1
        except (KeyError, IndexError) as error:
            raise ValueError(f"row {row.id}: {label!r} is not a label of task {task.name}") from error
    return TaskTargets(task, labelled, values)


def flag_targets(targets: TaskTargets) -> NDArray[np.bool_]:
    """(n,) over the labelled rows (n, K for multilabel tasks): whether the true label is one that raises the flag."""
    values = targets.values[targets.labelled]
    if targets.task.kind is TaskKind.MULTICLASS:
        flagged = [targets.task.labels.index(label) for label in targets.task.flagged_by]
        return np.isin(values, flagged)
    return values > 0.5


def flag_columns(values: NDArray[Any], task: TaskSpec) -> NDArray[Any]:
    """(n, F) of a multilabel task's (n, K): the labels that can raise the flag; (n,) of other tasks as it is."""
    if task.kind is not TaskKind.MULTILABEL:
        return values
    return values[:, [task.labels.index(label) for label in task.flagged_by]]
