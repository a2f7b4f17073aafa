"""Losses by hand and against the library."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from contract.decision import TaskKind
from tests.unit.training.distillation.rows import KINDS, task_rows
from training.config import DistillationConfig
from training.distillation.registry import METHODS
from training.distillation.task_batch import TaskBatch, TrainingContext, label_losses
from training.distillation.task_losses import cross_entropy, distillation


def test_cpfd_by_hand() -> None:
    """Two rows, the teacher right about one and wrong about the other."""
    teacher, targets = torch.tensor([[2.0], [2.0]]), torch.tensor([1.0, 0.0])
    one = TaskBatch(TaskKind.BINARY, torch.zeros(2, 1), targets, teacher, 1.0)
    p, t = 1 / (1 + math.exp(-2.0)), 2.0
    q = 1 / (1 + math.exp(-2.0 / t))
    kd = t**2 * (q * math.log(q / 0.5) + (1 - q) * math.log((1 - q) / 0.5))
    expected = 0.5 * math.log(2) + 0.5 * (p * kd + (1 - p) * kd) / 2
    assert METHODS["cpfd"](one, DistillationConfig(lam=0.5, temperature=t)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_distillation_is_zero_only_at_the_teacher(kind: TaskKind) -> None:
    one = task_rows(kind)
    assert distillation(one.teacher_logits, one.teacher_logits, kind, 2.0).abs().max() < 1e-5
    assert distillation(one.logits_NK, one.teacher_logits, kind, 2.0).min() > 0


def test_multiclass_distillation_agrees_with_the_library() -> None:
    one = task_rows(TaskKind.MULTICLASS)
    expected = 9 * F.kl_div(
        F.log_softmax(one.logits_NK / 3, 1), F.log_softmax(one.teacher_logits / 3, 1), log_target=True, reduction="none"
    ).sum(1)
    assert torch.allclose(
        distillation(one.logits_NK, one.teacher_logits, TaskKind.MULTICLASS, 3.0), expected, atol=1e-5
    )


@pytest.mark.parametrize(
    ("kind", "targets", "weights", "expected"),
    [
        (TaskKind.BINARY, [1.0, 0.0], [0.5, 3.0], [3.0, 0.5]),
        (TaskKind.MULTICLASS, [2, 0], [0.5, 3.0, 7.0], [7.0, 0.5]),
        (TaskKind.MULTILABEL, [[1.0, 0.0], [0.0, 1.0]], [[0.5, 3.0], [7.0, 11.0]], [[3.0, 7.0], [0.5, 11.0]]),
    ],
)
def test_a_label_weighs_what_its_class_weighs(
    kind: TaskKind, targets: list[object], weights: list[object], expected: list[object]
) -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0], [1.1, 0.4, -0.2]])[
        :, : {TaskKind.BINARY: 1, TaskKind.MULTILABEL: 2}.get(kind, 3)
    ]
    plain = TaskBatch(kind, logits, torch.tensor(targets))
    balanced = replace(plain, context=TrainingContext(label_weights=torch.tensor(weights)))
    unweighted = cross_entropy(logits, plain.targets, kind)
    assert torch.equal(label_losses(plain), unweighted)
    assert torch.allclose(label_losses(balanced), unweighted * torch.tensor(expected))
