"""Privileged feature distillation in one stage: teacher and student learn in the same steps."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from training.config import DistillationConfig
from training.distillation.method import Method
from training.distillation.methods.pfd import pfd
from training.distillation.task_batch import TaskBatch
from training.distillation.task_losses import cross_entropy


def pfd_joint(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """PFD's loss + mean CE_i of the teacher, lambda being 0 until the swap step (arXiv:1907.05171, method note 2.1).

    The distillation term does not reach the teacher: its only gradient is that of its own cross-entropy.

    Raises:
        ValueError: the batch holds no teacher logits.
    """
    swapped = batch.context.step >= config.swap_share * batch.context.total_steps
    student = pfd(batch, config if swapped else config.model_copy(update={"lam": 0.0}))
    assert batch.teacher_NK is not None
    return student + cross_entropy(batch.teacher_NK, batch.targets, batch.kind).mean()


METHOD: Final = Method("pfd_joint", pfd_joint, teacher="joint", source="arXiv:1907.05171")
