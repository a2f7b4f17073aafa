"""Per-row loss terms of one task's head.

A binary task is a sigmoid over one logit, a multilabel task one sigmoid for each label (averaged over labels), a
multiclass task a softmax. Targets come as

    binary       (N,)   float in {0, 1}
    multiclass   (N,)   int64 class index
    multilabel   (N, K) float in {0, 1}
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from contract.decision import TaskKind


def cross_entropy(logits_NK: Tensor, targets: Tensor, kind: TaskKind) -> Tensor:
    """CE_i, shape (N,) for binary and multiclass tasks and (N, K) for multilabel ones."""
    if kind is TaskKind.MULTICLASS:
        return F.cross_entropy(logits_NK, targets, reduction="none")
    if kind is TaskKind.BINARY:
        return F.binary_cross_entropy_with_logits(logits_NK[:, 0], targets, reduction="none")
    return F.binary_cross_entropy_with_logits(logits_NK, targets, reduction="none")


def distillation(student_NK: Tensor, teacher_NK: Tensor, kind: TaskKind, temperature: float) -> Tensor:
    """KD_i = T^2 KL(p_t^T || p_s^T) (arXiv:1503.02531), of the same shape as ``cross_entropy``.

    The teacher's logits are detached: no gradient reaches it (PFD, arXiv:1907.05171).
    """
    student_NK = student_NK / temperature
    teacher_NK = teacher_NK.detach() / temperature
    if kind is TaskKind.MULTICLASS:
        log_p_t, log_p_s = F.log_softmax(teacher_NK, dim=1), F.log_softmax(student_NK, dim=1)
        return temperature**2 * (log_p_t.exp() * (log_p_t - log_p_s)).sum(dim=1)
    p_t = torch.sigmoid(teacher_NK)
    positive = p_t * (F.logsigmoid(teacher_NK) - F.logsigmoid(student_NK))
    negative = (1 - p_t) * (F.logsigmoid(-teacher_NK) - F.logsigmoid(-student_NK))
    divergence_NK = temperature**2 * (positive + negative)
    return divergence_NK[:, 0] if kind is TaskKind.BINARY else divergence_NK


def log_probabilities(logits_NK: Tensor, kind: TaskKind) -> Tensor:
    """log p over the last axis: (N, K) of a softmax, (N, 2) of a sigmoid (no, yes), (N, K, 2) of a multilabel head."""
    if kind is TaskKind.MULTICLASS:
        return F.log_softmax(logits_NK, dim=1)
    logits = logits_NK[:, 0] if kind is TaskKind.BINARY else logits_NK
    return torch.stack([F.logsigmoid(-logits), F.logsigmoid(logits)], dim=-1)


def class_index(targets: Tensor, kind: TaskKind) -> Tensor:
    """Where the true class stands on ``log_probabilities``' last axis: int64 of the shape of ``cross_entropy``."""
    return targets if kind is TaskKind.MULTICLASS else (targets > 0.5).long()


def entropy(log_p: Tensor) -> Tensor:
    """H = -sum_k p_k log p_k over the last axis, in nats."""
    return -(log_p.exp() * log_p).sum(dim=-1)


def soft_cross_entropy(student_NK: Tensor, teacher_NK: Tensor, kind: TaskKind, temperature: float) -> Tensor:
    """-sum_k p_t^T log p_s^T (arXiv:1503.02531), of the shape of ``cross_entropy``: KD_i / T^2 + H(p_t^T)."""
    log_p_t = log_probabilities(teacher_NK.detach() / temperature, kind)
    log_p_s = log_probabilities(student_NK / temperature, kind)
    return -(log_p_t.exp() * log_p_s).sum(dim=-1)
