"""Teacher-privileged distillation: imitate the teacher where it is right, move away from it where it is wrong."""

from __future__ import annotations

from torch import Tensor

from training.config import DistillationConfig
from training.distillation.confidence import teacher_confidence
from training.distillation.task_batch import TaskBatch
from training.distillation.task_losses import log_probabilities


def tpd(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """mean(c_i l_i) - beta mean((1 - c_i) min(l_i, clip)) (TPD, KBS 2025; method.md 2.3).

    c_i = 1 where the teacher is right, l_i = -sum_k p_s log p_t in the argument order of the authors' code. Unclipped,
    the second term rewards ever greater distance; ``tpd_clip`` ends the reward (and its gradient) there.

    Raises:
        ValueError: the batch holds no soft targets.
    """
    teacher_NK = batch.teacher_logits
    right_N = teacher_confidence("correct", teacher_NK, batch.targets, batch.kind, 1.0)
    p_s, log_p_t = log_probabilities(batch.logits_NK, batch.kind).exp(), log_probabilities(teacher_NK, batch.kind)
    apart_N = -(p_s * log_p_t).sum(dim=-1)
    left_N = (1 - right_N) * apart_N.clamp(max=config.tpd_clip)
    return (right_N * apart_N).mean() - config.tpd_beta * left_N.mean()
