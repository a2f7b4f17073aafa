"""Cross-fitted CPFD whose lambda is set, task by task, by what the teacher knows of rows it did not see."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from training.config import DistillationConfig
from training.distillation.method import Method
from training.distillation.methods.cpfd import cpfd
from training.distillation.task_batch import TaskBatch


def cpfd_adaptive(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """(1 - l) mean CE_i + l mean(c_i KD_i), l = min(max(A, 0), lambda), A = 1 - CE_oof / H: CPFD with a lambda a task.

    A (``teacher_advantage``) is the share of the label's uncertainty that the calibrated teacher removes on training
    rows it did not see, measured once over all of them. The KD term replaces labels by the teacher's opinion; of that
    opinion the share A is about the row, and the rest is no more than the class shares. So a teacher that knows
    nothing out of fold (A <= 0), such as one that learned its rows or a leak by heart, is not distilled at all, and
    the loss is cross-entropy bit for bit; one that knows much (A >= lambda) is distilled as by ``cpfd_crossfit``, bit
    for bit. c_i tells apart the rows of a task, A the tasks: c_i alone cannot, for where positives are rare a teacher
    that repeats the class shares has a mean c_i close to 1.

    Raises:
        ValueError: the batch holds no soft targets, or nothing of the teacher's advantage.
    """
    advantage = batch.context.teacher_advantage
    if batch.teacher_NK is not None and advantage is None:
        raise ValueError("cpfd_adaptive needs the teacher's advantage over the class shares")
    lam = min(max(advantage or 0.0, 0.0), config.lam)
    return cpfd(batch, config.model_copy(update={"lam": lam}))


METHOD: Final = Method(
    "cpfd_adaptive",
    cpfd_adaptive,
    teacher="privileged_crossfit",
    source="arXiv:2410.03038 with lambda from the teacher's out-of-fold information gain",
    options={"confidence": "true_prob", "weighting": "scale"},
)
