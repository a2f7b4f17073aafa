"""Confidence of a frozen teacher in each row, c_i in [0, 1] (method note 1.5).

The teacher's logits are divided by its own calibration temperature, not by the distillation temperature T: an
over-confident teacher would otherwise weigh every row alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from contract.decision import TaskKind

ConfidenceFunction = Callable[[Tensor, Tensor, TaskKind], Tensor]


def true_prob(calibrated_NK: Tensor, targets: Tensor, kind: TaskKind) -> Tensor:
    """c_i = p_t[y_i]: what the teacher gives the true label. A wrong teacher silences itself."""
    if kind is TaskKind.MULTICLASS:
        return torch.softmax(calibrated_NK, dim=1).gather(1, targets[:, None])[:, 0]
    logits = calibrated_NK[:, 0] if kind is TaskKind.BINARY else calibrated_NK
    return torch.sigmoid(torch.where(targets > 0.5, logits, -logits))


def uniform(calibrated_NK: Tensor, targets: Tensor, kind: TaskKind) -> Tensor:
    """c_i = 1: every row alike, which is PFD. The control of every other confidence."""
    return torch.ones_like(true_prob(calibrated_NK, targets, kind))


CONFIDENCES: Final[dict[str, ConfidenceFunction]] = {"true_prob": true_prob, "uniform": uniform}


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
