"""PCKD's preview weighting alone; ``pckd`` has its category-contrastive and alignment terms too."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from training.config import DistillationConfig
from training.distillation.method import Method
from training.distillation.task_batch import TaskBatch
from training.distillation.task_losses import cross_entropy, distillation

_GROWTH = 1.005
_SMALLEST_MEAN = 1e-12


def pckd_preview(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """mean CE_i + delta mean(v_i KD_i) (PCKD, arXiv:2410.14143; method note 4).

    Raises:
        ValueError: the batch holds no soft targets.
    """
    hard_N = cross_entropy(batch.logits_NK, batch.targets, batch.kind)
    soft_N = distillation(batch.logits_NK, batch.teacher_logits, batch.kind, config.temperature)
    weight_N = preview_weights(hard_N, batch.context.epoch)
    return hard_N.mean() + config.preview_delta * (weight_N * soft_N).mean()


def preview_weights(hard_N: Tensor, epoch: int) -> Tensor:
    """v_i = 1 if gamma_i <= t(e), else exp(-gamma_i^2); gamma_i = CE_i / mean CE, t(e) = 1.005^e (method note 4).

    Rows that the student finds hard are looked at lightly at first. Detached, unlike upstream.
    """
    difficulty_N = hard_N.detach() / hard_N.detach().mean().clamp(min=_SMALLEST_MEAN)
    return torch.where(difficulty_N <= _GROWTH**epoch, 1.0, torch.exp(-(difficulty_N**2)))


METHOD: Final = Method("pckd_preview", pckd_preview, teacher="privileged", source="arXiv:2410.14143", couples_rows=True)
