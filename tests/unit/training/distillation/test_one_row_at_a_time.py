"""What is said of a row does not hang on its company: not on how many rows there are, nor on a label beside it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from contract.decision import TaskKind
from tests.unit.training.distillation.rows import CALIBRATION, KINDS, task_rows
from training.distillation.confidence import CONFIDENCES, teacher_confidence
from training.distillation.methods.ea_kd import entropy_weights
from training.distillation.methods.pckd import preview_weights
from training.distillation.row_weights import balancing_weights
from training.distillation.task_batch import TaskBatch
from training.distillation.task_losses import cross_entropy, distillation, log_probabilities, soft_cross_entropy

OF_ROWS = {
    "cross_entropy": lambda one, rows: cross_entropy(one.logits_NK[rows], one.targets[rows], one.kind),
    "distillation": lambda one, rows: distillation(one.logits_NK[rows], one.teacher_logits[rows], one.kind, 3.0),
    "soft_cross_entropy": lambda one, rows: soft_cross_entropy(
        one.logits_NK[rows], one.teacher_logits[rows], one.kind, 3.0
    ),
    "entropy_weights": lambda one, rows: entropy_weights(one.logits_NK[rows], one.teacher_logits[rows], one.kind, 3.0),
    "log_probabilities": lambda one, rows: log_probabilities(one.logits_NK[rows], one.kind),
} | {
    f"confidence {name}": lambda one, rows, name=name: teacher_confidence(
        name, one.teacher_logits[rows], one.targets[rows], one.kind, CALIBRATION
    )
    for name in CONFIDENCES
}


def found(name: str, one: TaskBatch, rows: slice = slice(None)) -> Tensor:
    values: Tensor = OF_ROWS[name](one, rows)
    return values


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OF_ROWS)
def test_a_row_alone_is_worth_what_it_is_among_others(name: str, kind: TaskKind) -> None:
    one = task_rows(kind)
    alone = torch.cat([found(name, one, slice(n, n + 1)) for n in range(len(one.targets))])
    assert torch.allclose(found(name, one), alone, atol=1e-6)


@pytest.mark.parametrize("name", OF_ROWS)
def test_a_label_of_several_is_worth_what_it_is_as_a_task_of_its_own(name: str) -> None:
    several = task_rows(TaskKind.MULTILABEL)
    together = found(name, several)
    for k in range(several.logits_NK.shape[1]):
        column = slice(k, k + 1)
        own = TaskBatch(
            TaskKind.BINARY, several.logits_NK[:, column], several.targets[:, k], several.teacher_logits[:, column]
        )
        assert torch.allclose(together[:, k], found(name, own), atol=1e-6)


def test_rows_that_are_all_as_hard_are_looked_at_in_full_from_the_start() -> None:
    assert preview_weights(torch.full((4,), 0.25), 0).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("kind", "targets", "expected"),
    [
        (TaskKind.BINARY, torch.tensor([1.0, 0, 0, 0]), [4 / 6, 4 / 2]),
        (TaskKind.BINARY, torch.zeros(4), [1.0, 1.0]),
        (TaskKind.MULTICLASS, torch.tensor([2, 2, 0]), [3 / 2, 1, 3 / 4]),
        (TaskKind.MULTILABEL, torch.tensor([[1.0, 1], [0, 1], [0, 1], [0, 1]]), [[4 / 6, 4 / 2], [1.0, 1.0]]),
    ],
)
def test_balanced_classes_weigh_the_same_and_rows_one_on_average(
    kind: TaskKind, targets: Tensor, expected: list[float]
) -> None:
    assert torch.allclose(balancing_weights(targets, kind, 3), torch.tensor(expected))
