"""Privileged feature distillation, in two stages (the teacher is trained, then the student) or in one."""

from __future__ import annotations

from torch import Tensor

from training.config import DistillationConfig
from training.distillation.task_batch import TaskBatch, label_losses
from training.distillation.task_losses import cross_entropy, distillation


def pfd(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """(1 - lambda) mean CE_i + lambda mean KD_i (arXiv:1907.05171, with method.md 1.5's placement of lambda).

    Raises:
        ValueError: the batch holds no soft targets.
    """
    hard_N = label_losses(batch)
    soft_N = distillation(batch.logits_NK, batch.teacher_logits, batch.kind, config.temperature)
    return (1 - config.lam) * hard_N.mean() + config.lam * soft_N.mean()


def pfd_joint(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """PFD's loss + mean CE_i of the teacher, lambda being 0 until the swap step (arXiv:1907.05171, method.md 2.1).

    The distillation term does not reach the teacher: its only gradient is that of its own cross-entropy.

    Raises:
        ValueError: the batch holds no teacher logits.
    """
    swapped = batch.context.step >= config.swap_share * batch.context.total_steps
    student = pfd(batch, config if swapped else config.model_copy(update={"lam": 0.0}))
    assert batch.teacher_NK is not None
    return student + cross_entropy(batch.teacher_NK, batch.targets, batch.kind).mean()
