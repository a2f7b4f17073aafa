"""Confidence-conditioned distillation: the higher the teacher's probability of the label, the more of it is distilled.

Only the idea of the source was readable, not its equations: what is here is a form consistent with it (method.md 4).
Its third part, leaving out rows that the student has learnt, is not.
"""

from __future__ import annotations

from torch import Tensor

from training.config import DistillationConfig
from training.distillation.confidence import teacher_confidence
from training.distillation.task_batch import TaskBatch, label_losses
from training.distillation.task_losses import distillation, soft_cross_entropy


def cckd(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """CCKD-L or CCKD-T (arXiv:2107.06993; method.md 4), c_i = p_t[y_i] being the teacher's, calibrated.

    ``loss``    -L: mean[(1 - c_i) CE_i + c_i KD_i]: the loss is the row's own. CPFD's `mix` at lambda 1.
    ``target``  -T: mean of the cross-entropy with c_i p_t + (1 - c_i) onehot(y_i): the target is the row's own, T = 1.

    Raises:
        ValueError: the batch holds no soft targets.
    """
    teacher_NK = batch.teacher_logits
    trust_N = teacher_confidence("true_prob", teacher_NK, batch.targets, batch.kind, batch.calibration_temperature)
    hard_N = label_losses(batch)
    if config.cckd_form == "target":  # cross-entropy is linear in its target
        soft_N = soft_cross_entropy(batch.logits_NK, teacher_NK, batch.kind, 1.0)
    else:
        soft_N = distillation(batch.logits_NK, teacher_NK, batch.kind, config.temperature)
    return ((1 - trust_N) * hard_N + trust_N * soft_N).mean()
