"""Rows of one task with random logits, for the suites of the distillation methods."""

from __future__ import annotations

from dataclasses import replace

import torch

from contract.decision import TaskKind
from training.config import DistillationConfig
from training.distillation.row_weights import class_means
from training.distillation.task_batch import FeaturePair, PrivilegedPrediction, TaskBatch, TrainingContext

ROWS = 7
KINDS = list(TaskKind)
CALIBRATION = 1.7


def task_rows(
    kind: TaskKind, *, requires_grad: bool = False, scale: float = 2.0, rows: int = ROWS, seed: int = 0
) -> TaskBatch:
    """Rows of a task of one logit (binary) or four, with privileged features of two columns and represented ones."""
    generator = torch.Generator().manual_seed(100 * seed + KINDS.index(kind))
    width = 1 if kind is TaskKind.BINARY else 4
    student, teacher = (scale * torch.randn(rows, width, generator=generator) for _ in range(2))
    if kind is TaskKind.MULTICLASS:
        targets = torch.randint(0, width, (rows,), generator=generator)
    else:
        shape = (rows,) if kind is TaskKind.BINARY else (rows, width)
        targets = torch.randint(0, 2, shape, generator=generator).float()
    predicted, values = (torch.randn(rows, 2, generator=generator) for _ in range(2))
    present = (torch.rand(rows, 2, generator=generator) < 0.7).float()
    privileged = PrivilegedPrediction(predicted.requires_grad_(requires_grad), values, present)
    means = class_means(teacher, targets, kind, CALIBRATION, DistillationConfig())
    shapes = [(rows, width), (rows, width), (rows, 1), (rows, 5), (rows, 5)]
    pair = FeaturePair(*(torch.rand(s, generator=generator).requires_grad_(requires_grad) for s in shapes))
    return TaskBatch(
        kind,
        student.requires_grad_(requires_grad),
        targets,
        teacher.requires_grad_(requires_grad),
        CALIBRATION,
        TrainingContext(seed=3, epoch=1, step=10, total_steps=20, class_means=means, teacher_advantage=0.4),
        privileged,
        pair,
    )


def with_class_means(batch: TaskBatch, config: DistillationConfig) -> TaskBatch:
    """The batch, its own rows being all the training rows there are."""
    means = class_means(batch.teacher_logits, batch.targets, batch.kind, batch.calibration_temperature, config)
    return replace(batch, context=replace(batch.context, class_means=means))


def two_class(batch: TaskBatch) -> TaskBatch:
    """A binary batch as a softmax over (no, yes)."""
    student, teacher = (torch.cat([torch.zeros_like(z), z], dim=1) for z in (batch.logits_NK, batch.teacher_logits))
    pair = batch.features
    assert pair is not None
    anchors = (pair.student_anchor_NK, pair.teacher_anchor_NK)
    one, other = (torch.cat([-values / 2, values / 2], dim=1) for values in anchors)
    return replace(
        batch,
        kind=TaskKind.MULTICLASS,
        logits_NK=student,
        targets=batch.targets.long(),
        teacher_NK=teacher,
        features=replace(
            pair, student_anchor_NK=one, teacher_anchor_NK=other, classifier_gap_N1=pair.classifier_gap_N1 / 4
        ),
    )
