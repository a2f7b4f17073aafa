"""Labels alone."""

from __future__ import annotations

from torch import Tensor

from training.config import DistillationConfig
from training.distillation.task_batch import TaskBatch
from training.distillation.task_losses import cross_entropy


def ce(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """mean CE_i: labels alone. Trains the X-VLM baseline and the teachers."""
    return cross_entropy(batch.logits_NK, batch.targets, batch.kind).mean()
