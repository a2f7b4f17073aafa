"""Privileged feature distillation, two stages: the teacher is trained, then the student."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from training.config import DistillationConfig
from training.distillation.method import Method
from training.distillation.task_batch import TaskBatch
from training.distillation.task_losses import cross_entropy, distillation


def pfd(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """(1 - lambda) mean CE_i + lambda mean KD_i (arXiv:1907.05171, with method note 1.5's placement of lambda).

    Raises:
        ValueError: the batch holds no soft targets.
    """
    hard_N = cross_entropy(batch.logits_NK, batch.targets, batch.kind)
    soft_N = distillation(batch.logits_NK, batch.teacher_logits, batch.kind, config.temperature)
    return (1 - config.lam) * hard_N.mean() + config.lam * soft_N.mean()


METHOD: Final = Method("pfd", pfd, teacher="privileged", source="arXiv:1907.05171")
