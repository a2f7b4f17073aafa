"""Entropy-adaptive distillation: the opposite of CPFD, more weight where the teacher is unsure."""

from __future__ import annotations

import math

from torch import Tensor

from contract.decision import TaskKind
from training.config import DistillationConfig
from training.distillation.task_batch import TaskBatch, label_losses
from training.distillation.task_losses import distillation, entropy, log_probabilities


def ea_kd(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """(1 - lambda) mean CE_i + lambda mean(w_i KD_i) (EA-KD, arXiv:2311.13621; method.md 4).

    Raises:
        ValueError: the batch holds no soft targets.
    """
    hard_N = label_losses(batch)
    soft_N = distillation(batch.logits_NK, batch.teacher_logits, batch.kind, config.temperature)
    weight_N = entropy_weights(batch.logits_NK, batch.teacher_logits, batch.kind, config.ea_temperature)
    return (1 - config.lam) * hard_N.mean() + config.lam * (weight_N * soft_N).mean()


def entropy_weights(student_NK: Tensor, teacher_NK: Tensor, kind: TaskKind, temperature: float) -> Tensor:
    """w_i = 0.5 H_t (1 + H_s / log K), entropies at T', detached (arXiv:2311.13621; method.md 4): in [0, log K]."""
    log_p_t = log_probabilities(teacher_NK.detach() / temperature, kind)
    log_p_s = log_probabilities(student_NK.detach() / temperature, kind)
    return 0.5 * entropy(log_p_t) * (1 + entropy(log_p_s) / math.log(log_p_s.shape[-1]))
