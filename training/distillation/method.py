"""What a training method is: a loss, and the teacher it learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from training.config import DistillationConfig
from training.distillation.task_batch import TaskBatch

TeacherRole = Literal["none", "privileged", "plain", "plain_large", "privileged_only", "joint"]
"""Whose soft targets a method reads.

    none              nobody's: labels alone, or labels and the privileged features as targets
    privileged        DF-X-VLM: everything the student reads, and the privileged features
    plain             a model like the student, without privileged features, of another seed
    plain_large       the same with the architecture ``RunConfig.kd_teacher``
    privileged_only   a model that reads the privileged features and nothing else
    joint             DF-X-VLM trained in the same steps as the student
"""

LossFunction = Callable[[TaskBatch, DistillationConfig], Tensor]
"""(rows of one task, options) -> scalar loss."""


@dataclass(frozen=True)
class Method:
    """One row of the registry.

    Attributes:
        name: what ``--methods`` calls it.
        loss: of one task's rows.
        teacher: whose soft targets it needs.
        source: of the formula.
        predicts_privileged: whether the student gets auxiliary outputs that predict the privileged features.
    """

    name: str
    loss: LossFunction
    teacher: TeacherRole
    source: str
    predicts_privileged: bool = False

    def __call__(self, batch: TaskBatch, config: DistillationConfig) -> Tensor:
        """The loss of one task's rows."""
        return self.loss(batch, config)

    @property
    def reads_soft_targets(self) -> bool:
        """Whether a teacher must have been trained, and its logits stored, before."""
        return self.teacher not in ("none", "joint")
