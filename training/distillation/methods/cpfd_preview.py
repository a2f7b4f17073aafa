"""Cross-fitted CPFD whose rows must also be within the student's reach: confidence times PCKD's preview weight."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from training.config import DistillationConfig
from training.distillation.method import Method
from training.distillation.methods.pckd_preview import preview_weights
from training.distillation.shaping import confidence_weights
from training.distillation.task_batch import TaskBatch
from training.distillation.task_losses import cross_entropy
from training.distillation.weighting import weighted_loss


def cpfd_preview(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """(1 - lambda) mean CE_i + lambda mean(c_i v_i KD_i): the teacher's say on a row and the student's, multiplied.

    c_i is the out-of-fold confidence, which stays what it is; v_i is PCKD's preview weight (TCSVT 2025; method note 4),
    which grows to 1 over the epochs for all rows but those that the student finds hardest. Both are detached.

    Raises:
        ValueError: the batch holds no soft targets.
    """
    hard_N = cross_entropy(batch.logits_NK, batch.targets, batch.kind)
    weight_N = confidence_weights(batch, config) * preview_weights(hard_N, batch.context.epoch)
    return weighted_loss(batch, config, weight_N)


METHOD: Final = Method(
    "cpfd_preview",
    cpfd_preview,
    teacher="privileged_crossfit",
    source="arXiv:2410.03038 and PCKD (TCSVT 2025), method note 4",
    options={"confidence": "true_prob", "weighting": "scale"},
    couples_rows=True,
)
