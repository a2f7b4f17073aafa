"""Confidence -> weight of each row: power, floor, and the same mean for every class (method.md 1.5 and 1.6)."""

from __future__ import annotations

import torch
from torch import Tensor

from contract.decision import TaskKind
from training.config import DistillationConfig
from training.distillation.confidence import teacher_confidence
from training.distillation.task_batch import TaskBatch, of_each_row
from training.distillation.task_losses import class_index


def confidence_weights(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """The weight of each row: its shaped confidence, detached, of the shape of ``cross_entropy``'s result.

    It lies in [0, 1]; with ``per_class_norm`` it is at least 0 and has mean 1 over each class's training rows.

    Raises:
        ValueError: the batch holds no soft targets, or ``per_class_norm`` is on and the context has no class means.
    """
    confidence_N = teacher_confidence(
        config.confidence, batch.teacher_logits, batch.targets, batch.kind, batch.calibration_temperature
    )
    shaped_N = shape(confidence_N, config)
    if not config.per_class_norm:
        return shaped_N
    if batch.context.class_means is None:
        raise ValueError("per_class_norm needs the class means of the training rows")
    return shaped_N / of_each_row(batch.context.class_means, batch.targets, batch.kind)


def shape(confidence_N: Tensor, config: DistillationConfig) -> Tensor:
    """max(c_i^gamma, c_min) (method.md 1.5). gamma = 0 gives 1 bit for bit, gamma = 1 and no floor c_i itself."""
    return (confidence_N**config.gamma).clamp(min=config.floor)


def class_means(
    teacher_NK: Tensor, targets: Tensor, kind: TaskKind, calibration_temperature: float, config: DistillationConfig
) -> Tensor:
    """Mean shaped confidence of each class over all training rows: (2,), (K,) or, multilabel, (K, 2).

    Over the whole training split and not over the batch: where positives are rare a batch holds one or two of them,
    and dividing by their own mean would leave nothing of what sets them apart. A class without rows has mean 1.
    """
    confidence_N = teacher_confidence(config.confidence, teacher_NK, targets, kind, calibration_temperature)
    shaped_N = shape(confidence_N, config)
    index_N = class_index(targets, kind)
    classes = teacher_NK.shape[1] if kind is TaskKind.MULTICLASS else 2
    one_hot = torch.nn.functional.one_hot(index_N, classes).to(shaped_N.dtype)
    totals, counts = (one_hot * shaped_N[..., None]).sum(dim=0), one_hot.sum(dim=0)
    means = totals / counts.clamp(min=1)
    return torch.where(means > 0, means, torch.ones_like(means))


def balancing_weights(targets: Tensor, kind: TaskKind, classes: int) -> Tensor:
    """Weight of each class under which classes weigh the same and rows weigh 1 on average; 1 for a class without rows.

    Args:
        targets: of the labelled training rows.
        kind: of the task.
        classes: K of a multiclass task; otherwise not read.
    """
    index_N = class_index(targets, kind)
    one_hot = torch.nn.functional.one_hot(index_N, classes if kind is TaskKind.MULTICLASS else 2).float()
    counts = one_hot.sum(dim=0)
    present = (counts > 0).float()
    even = counts.sum(dim=-1, keepdim=True) / present.sum(dim=-1, keepdim=True).clamp(min=1)
    return torch.where(counts > 0, even / counts.clamp(min=1), torch.ones_like(counts))
