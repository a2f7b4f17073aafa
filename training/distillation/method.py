"""What a training method is: a loss, and the teacher it learns from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from torch import Tensor

from contract.decision import TaskSpec
from training.config import DistillationConfig
from training.distillation.task_batch import TaskBatch

TeacherRole = Literal[
    "none", "privileged", "privileged_crossfit", "plain", "plain_crossfit", "plain_large", "privileged_only", "joint"
]
"""Which teacher's soft targets a method reads.

    none                  no teacher: labels alone, or labels and the privileged features as targets
    privileged            DF-X-VLM: everything the student reads, and the privileged features
    privileged_crossfit   DF-X-VLMs trained without the rows that they are asked about (``teachers.cross_fitting``)
    plain                 a model like the student, without privileged features, of another seed
    plain_crossfit        the same, trained without the rows that they are asked about, in the same parts
    plain_large           the same with the architecture ``RunConfig.kd_teacher``
    privileged_only       a model that reads the privileged features and nothing else
    joint                 DF-X-VLM trained in the same steps as the student
"""

CROSS_FITTED: Final[tuple[TeacherRole, ...]] = ("privileged_crossfit", "plain_crossfit")
_PRIVILEGED: Final[tuple[TeacherRole, ...]] = ("privileged", "privileged_crossfit", "privileged_only", "joint")

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
        options: fields of ``DistillationConfig`` that the method fixes, whatever the run's configuration says.
        needs_features: whether it compares what student and teacher represent: the teacher's representation of the
            training rows is then stored beside its logits, and projections of the student's are trained beside it.
        couples_rows: whether the gradient of one row depends on the student's outputs for the other rows. Gradients
            can then not be accumulated over parts of a batch.
    """

    name: str
    loss: LossFunction
    teacher: TeacherRole
    source: str
    predicts_privileged: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    needs_features: bool = False
    couples_rows: bool = False

    def __call__(self, batch: TaskBatch, config: DistillationConfig) -> Tensor:
        """The loss of one task's rows."""
        return self.loss(batch, self.configured(config))

    def configured(self, config: DistillationConfig) -> DistillationConfig:
        """The run's options with those that the method fixes in their place."""
        return config.model_copy(update=self.options) if self.options else config

    @property
    def cross_fitted(self) -> bool:
        """Whether every row's soft targets come from a teacher that was not trained on that row."""
        return self.teacher in CROSS_FITTED

    @property
    def reads_privileged(self) -> bool:
        """Whether the privileged features reach the student at all: through a teacher, or as auxiliary targets."""
        return self.predicts_privileged or self.teacher in _PRIVILEGED

    @property
    def reads_soft_targets(self) -> bool:
        """Whether a teacher must have been trained, and its logits stored, before."""
        return self.teacher not in ("none", "joint")


class TeacherRecord(Protocol):
    """What a student records of its teacher: the card of one checkpoint, or of several cross-fitted ones."""

    @property
    def tasks(self) -> tuple[TaskSpec, ...]:
        """The tasks that the teacher gives logits for."""

    @property
    def temperatures(self) -> Mapping[str, float]:
        """Task -> calibration temperature."""

    def digest(self) -> str:
        """The digest that the student's card refers to the teacher by."""
