"""Labels alone."""

from __future__ import annotations

from torch import Tensor

from training.config import DistillationConfig
from training.distillation.task_batch import TaskBatch, label_losses


def ce(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """mean CE_i: labels alone. Trains the X-VLM baseline and the teachers."""
    return label_losses(batch).mean()
