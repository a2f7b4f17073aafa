"""Multi-task learning: the student predicts the privileged features instead of a teacher that reads them."""

from __future__ import annotations

from torch import Tensor

from training.config import DistillationConfig
from training.distillation.task_batch import TaskBatch, label_losses


def mtl(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """mean CE_i + beta mean over present features of (x^*_if - x*_if)^2 (method.md 4, "MTL on privileged features").

    The features are standardised, so that none outweighs the others. Rows without any contribute their labels alone.

    Raises:
        ValueError: the batch holds no predictions of privileged features.
    """
    if batch.privileged is None:
        raise ValueError("this method predicts privileged features, but the batch holds none")
    privileged = batch.privileged
    squares_NF = privileged.presence_NF * (privileged.predicted_NF - privileged.values_NF) ** 2
    hard = label_losses(batch).mean()
    return hard + config.mtl_beta * squares_NF.sum() / privileged.presence_NF.sum().clamp(min=1)
