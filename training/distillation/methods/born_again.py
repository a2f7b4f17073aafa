"""Born-again networks' controls: the teacher's confidence weights the label loss; its soft targets are not used.

The source's p_t is the teacher's as it comes out; here, as in every confidence, it is calibrated on validation rows.
"""

from __future__ import annotations

from torch import Tensor

from training.config import DistillationConfig
from training.distillation.confidence import teacher_confidence
from training.distillation.task_batch import TaskBatch, label_losses
from training.distillation.weighted_losses import mean_one


def cwtm(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """sum_i w_i CE_i, w_i = max_k p_t,i / sum_j max_k p_t,j: CWTM (arXiv:1805.04770; method.md 4).

    Raises:
        ValueError: the batch holds no soft targets.
    """
    return _weighted(batch, "max_prob")


def cwtc(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """sum_i w_i CE_i, w_i = p_t[y_i] / sum_j p_t[y_j]: CWTC (method.md 4).

    Raises:
        ValueError: the batch holds no soft targets.
    """
    return _weighted(batch, "true_prob")


def _weighted(batch: TaskBatch, confidence: str) -> Tensor:
    """The weighted cross-entropy; in a multilabel task weights add up to 1 for each label, and labels are averaged."""
    weight_N = teacher_confidence(
        confidence, batch.teacher_logits, batch.targets, batch.kind, batch.calibration_temperature
    )
    hard_N = label_losses(batch)
    return (mean_one(weight_N, dim=0) * hard_N).mean()
