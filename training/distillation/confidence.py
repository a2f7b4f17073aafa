"""Confidence of a frozen teacher in each row, c_i in [0, 1] (method.md 1.5).

The teacher's logits are divided by its own calibration temperature, not by the distillation temperature T: with an
over-confident teacher all weights would otherwise be nearly equal. In a multilabel task every label has its own
confidence, that of a binary task.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from contract.decision import TaskKind
from training.distillation.task_losses import class_index, entropy, log_probabilities

ConfidenceFunction = Callable[[Tensor, Tensor, TaskKind], Tensor]


def true_prob(calibrated_NK: Tensor, targets: Tensor, kind: TaskKind) -> Tensor:
    """c_i = p_t[y_i] (method.md 1.5): the teacher's probability of the true label; low where it is wrong."""
    if kind is TaskKind.MULTICLASS:
        return torch.softmax(calibrated_NK, dim=1).gather(1, targets[:, None])[:, 0]
    logits = calibrated_NK[:, 0] if kind is TaskKind.BINARY else calibrated_NK
    return torch.sigmoid(torch.where(targets > 0.5, logits, -logits))


def max_prob(calibrated_NK: Tensor, targets: Tensor, kind: TaskKind) -> Tensor:
    """c_i = max_k p_t[k] (method.md 1.5; CWTM, arXiv:1805.04770). Reads no label: a confident mistake counts fully."""
    return log_probabilities(calibrated_NK, kind).amax(dim=-1).exp()


def max_prob_norm(calibrated_NK: Tensor, targets: Tensor, kind: TaskKind) -> Tensor:
    """c_i = (max_k p_t[k] - 1/K) / (1 - 1/K) (method.md 1.5): 0 at the uniform distribution; binary |2p - 1|."""
    log_p = log_probabilities(calibrated_NK, kind)
    classes = log_p.shape[-1]
    return ((log_p.amax(dim=-1).exp() - 1 / classes) / (1 - 1 / classes)).clamp(0, 1)


def entropy_confidence(calibrated_NK: Tensor, targets: Tensor, kind: TaskKind) -> Tensor:
    """c_i = 1 - H(p_t) / log K (method.md 1.5). Reads no label."""
    log_p = log_probabilities(calibrated_NK, kind)
    return (1 - entropy(log_p) / math.log(log_p.shape[-1])).clamp(0, 1)


def correct(calibrated_NK: Tensor, targets: Tensor, kind: TaskKind) -> Tensor:
    """c_i = 1[argmax_k p_t[k] = y_i] (method.md 1.5): a hard gate."""
    log_p = log_probabilities(calibrated_NK, kind)
    return (log_p.argmax(dim=-1) == class_index(targets, kind)).to(log_p.dtype)


def margin(calibrated_NK: Tensor, targets: Tensor, kind: TaskKind) -> Tensor:
    """c_i = max(0, p_t[y_i] - max_{k != y_i} p_t[k]) (method.md 1.5)."""
    p = log_probabilities(calibrated_NK, kind).exp()
    index = class_index(targets, kind)[..., None]
    others = p.scatter(-1, index, -1.0).amax(dim=-1)
    return (p.gather(-1, index)[..., 0] - others).clamp(0, 1)


def uniform(calibrated_NK: Tensor, targets: Tensor, kind: TaskKind) -> Tensor:
    """c_i = 1: the same weight for every row, which is PFD. The control for every other confidence."""
    return torch.ones_like(true_prob(calibrated_NK, targets, kind))


CONFIDENCES: Final[dict[str, ConfidenceFunction]] = {
    "true_prob": true_prob,
    "max_prob": max_prob,
    "max_prob_norm": max_prob_norm,
    "entropy": entropy_confidence,
    "correct": correct,
    "margin": margin,
    "uniform": uniform,
}


def teacher_confidence(
    name: str, teacher_NK: Tensor, targets: Tensor, kind: TaskKind, calibration_temperature: float
) -> Tensor:
    """The named confidence, detached, of the shape of ``cross_entropy``'s result.

    Raises:
        KeyError: no such confidence; the message lists those there are.
    """
    if name not in CONFIDENCES:
        raise KeyError(f"no confidence {name!r}; there are: {', '.join(CONFIDENCES)}")
    with torch.no_grad():
        return CONFIDENCES[name](teacher_NK.detach() / calibration_temperature, targets, kind)
