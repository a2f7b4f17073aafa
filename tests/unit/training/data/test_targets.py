"""Targets of the flag."""

from __future__ import annotations

import numpy as np

from contract.decision import TaskKind, TaskSpec
from training.data.manifest import Row
from training.data.targets import flag_columns
from training.evaluation.metrics import point
from training.experiment.trial_scores import scored

LABELS = ("a", "b", "c")


def test_only_labels_that_raise_the_flag_are_asked_for() -> None:
    """A perfect model of a multilabel task is perfect, whatever the rows hold of labels that flag nothing."""
    task = TaskSpec(name="topics", kind=TaskKind.MULTILABEL, labels=LABELS, flag_labels=("a", "c"))
    held = (["a", "b"], ["b"], ["c"], [])
    rows = [
        Row(id=str(i), texts={"title": "t"}, labels={"topics": names}, group=str(i)) for i, names in enumerate(held)
    ]
    scores = np.asarray([[float(label in names) for label in LABELS] for names in held])
    found = scored(task, rows, scores, scores >= np.asarray([0.5, np.inf, 0.5]), {})
    assert [row.id for row in found.rows] == ["0", "0", "1", "1", "2", "2", "3", "3"]
    assert point(found.scored)["f1"] == 1
    assert point(found.scored)["miss_rate"] == 0


def test_other_tasks_have_one_column() -> None:
    task = TaskSpec(name="risky", kind=TaskKind.BINARY, labels=("no", "yes"))
    assert flag_columns(np.arange(3), task).tolist() == [0, 1, 2]
