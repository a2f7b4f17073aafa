"""How much of a task's uncertainty the teacher removes, compared with knowing only the class shares."""

from __future__ import annotations

import torch
from torch import Tensor

from contract.decision import TaskKind
from training.distillation.task_losses import class_index, cross_entropy


def teacher_advantage(teacher_NK: Tensor, targets: Tensor, kind: TaskKind, calibration_temperature: float) -> float:
    """A = 1 - CE(teacher) / H(class shares) over these rows, at most 1 and negative for a teacher worse than none.

    H is the mean cross-entropy of the best guess that reads labels alone, so A is the share of it that the teacher
    saves: McFadden's pseudo R^2, an estimate of I(Y; X, X*) / H(Y), Theil's uncertainty coefficient. It is such an
    estimate only where the teacher did not see the rows: on its own training rows A rises with what it learned by
    heart. 0 where there is nothing to be uncertain of. A multilabel task's labels are summed before dividing.

    Args:
        teacher_NK: logits.
        targets: as ``task_losses`` lays them out.
        kind: of the task.
        calibration_temperature: of the teacher.
    """
    with torch.no_grad():
        spent = cross_entropy(teacher_NK / calibration_temperature, targets, kind).mean()
        classes = teacher_NK.shape[1] if kind is TaskKind.MULTICLASS else 2
        one_hot = torch.nn.functional.one_hot(class_index(targets, kind), classes).to(teacher_NK.dtype)
        prior = torch.special.entr(one_hot.mean(dim=0)).sum(dim=-1).mean()
        return float(1 - spent / prior) if prior > 0 else 0.0
