"""CPFD with manipulated weights: a gain that survives is not due to the confidence of each row (method.md 1.6)."""

from __future__ import annotations

import torch
from torch import Tensor

from training.config import DistillationConfig
from training.distillation.row_weights import confidence_weights
from training.distillation.task_batch import TaskBatch
from training.distillation.weighted_losses import weighted_loss


def cpfd_constant(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """Every row gets the batch's mean weight (method.md 1.6): the same total distillation, not adapted to the row."""
    weight_N = confidence_weights(batch, config)
    return weighted_loss(batch, config, weight_N.mean().expand_as(weight_N))


def cpfd_shuffled(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """The batch's weights randomly permuted over its rows (method.md 1.6): same weights, unrelated to the row."""
    weight_N = confidence_weights(batch, config)
    order = torch.randperm(len(weight_N), generator=batch.context.generator())
    return weighted_loss(batch, config, weight_N[order.to(weight_N.device)])


def cpfd_inverted(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """The batch's weights in reverse order: the highest confidence gets the lowest weight (method.md 1.6)."""
    return weighted_loss(batch, config, reverse_ranks(confidence_weights(batch, config)))


def reverse_ranks(weight_N: Tensor) -> Tensor:
    """The same multiset with the order reversed (label by label), unlike 1 - c, which also changes the mean weight."""
    order = weight_N.argsort(dim=0, stable=True)
    return torch.empty_like(weight_N).scatter(0, order, weight_N.gather(0, order.flip(0)))
