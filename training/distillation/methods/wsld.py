"""Weighted soft labels: more distillation on rows where the student's loss is high relative to the teacher's."""

from __future__ import annotations

import torch
from torch import Tensor

from training.config import DistillationConfig
from training.distillation.task_batch import TaskBatch, label_losses
from training.distillation.task_losses import cross_entropy, soft_cross_entropy

_SMALLEST_LOSS = 1e-7


def wsld(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """mean CE_i + alpha T^2 mean(w_i softCE_i) (WSLD, arXiv:2102.00650; method.md 4).

    Raises:
        ValueError: the batch holds no soft targets.
    """
    hard_N = label_losses(batch)
    soft_N = soft_cross_entropy(batch.logits_NK, batch.teacher_logits, batch.kind, config.temperature)
    weight_N = wsld_weights(hard_N, cross_entropy(batch.teacher_logits, batch.targets, batch.kind))
    return hard_N.mean() + config.wsld_alpha * config.temperature**2 * (weight_N * soft_N).mean()


def wsld_weights(student_ce_N: Tensor, teacher_ce_N: Tensor) -> Tensor:
    """w_i = 1 - exp(-CE_s,i / CE_t,i), detached (arXiv:2102.00650; method.md 4)."""
    return 1 - torch.exp(-student_ce_N.detach() / teacher_ce_N.detach().clamp(min=_SMALLEST_LOSS))
