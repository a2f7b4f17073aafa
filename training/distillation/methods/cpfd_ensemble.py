"""CPFD of an ensemble of teachers: the confidence in a row is how far they agree on it."""

from __future__ import annotations

from torch import Tensor

from training.config import DistillationConfig
from training.distillation.row_weights import shape
from training.distillation.task_batch import TaskBatch
from training.distillation.weighted_losses import weighted_loss


def cpfd_ensemble(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """(1 - lambda) mean CE_i + lambda mean(a_i KD_i): a_i is what the members' distributions have in common.

    Ours (method.md 1.8). The soft targets are the members' mean, so that where they differ these are softer too. Of the
    options, ``gamma`` and ``floor`` shape a_i as they do c_i.

    Raises:
        ValueError: the batch holds no soft targets, or nothing of an ensemble's agreement.
    """
    if batch.agreement_N is None:
        raise ValueError("this method weighs by an ensemble's agreement, but the batch holds none")
    return weighted_loss(batch, config, shape(batch.agreement_N, config))
