"""The loss of a batch: the mean over tasks of the method's loss on the task's labelled rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from contract.decision import TaskKind
from training.config import RunConfig
from training.data.loading.row_set import Batch, RowSet, TaskRows
from training.distillation.method import Method, TeacherRecord
from training.distillation.registry import METHODS
from training.distillation.row_weights import balancing_weights, class_means
from training.distillation.task_batch import FeaturePair, PrivilegedPrediction, TaskBatch, TrainingContext
from training.distillation.teacher_advantage import teacher_advantage
from training.models.companions import (
    ALIGNED,
    CLASSIFIER_GAP_PREFIX,
    PREDICTION_PREFIX,
    STUDENT_ANCHOR_PREFIX,
    TEACHER_ANCHOR_PREFIX,
    TEACHER_PREFIX,
)


@dataclass(frozen=True)
class LossPlan:
    """Everything that the loss of every step of one training reads.

    Attributes:
        method: of the registry.
        config: of the run.
        temperatures: task -> the teacher's calibration temperature; empty where it has none.
        class_means: task -> ``TrainingContext.class_means``; empty where ``per_class_norm`` is off.
        advantages: task -> ``TrainingContext.teacher_advantage``; empty where no soft targets are read.
        context: the seed and the number of steps.
        label_weights: task -> ``TrainingContext.label_weights``; empty where classes are not balanced.
    """

    method: Method
    config: RunConfig
    temperatures: Mapping[str, float]
    class_means: Mapping[str, Tensor]
    advantages: Mapping[str, float]
    context: TrainingContext
    label_weights: Mapping[str, Tensor] = field(default_factory=dict)

    def epoch(self, epoch: int, steps: int) -> Callable[[Batch, Mapping[str, Tensor], int], Tensor]:
        """The loss in one epoch of so many steps: the weighted mean over the tasks with labelled rows in the batch."""
        epoch_context = replace(self.context, epoch=epoch)

        def loss_of(batch: Batch, outputs: Mapping[str, Tensor], index: int) -> Tensor:
            context = replace(epoch_context, step=epoch * steps + index)
            terms, total = [], 0.0
            for name, rows in batch.tasks.items():
                if len(rows.positions_N) == 0:
                    continue
                weight = self.config.optimiser.task_weights.get(name, 1.0)
                one = self._task_batch(name, rows, batch, outputs, context)
                terms.append(weight * self.method(one, self.config.distillation))
                total += weight
            if not terms:
                return torch.stack([value.sum() for value in outputs.values()]).sum() * 0.0
            return torch.stack(terms).sum() / total

        return loss_of

    def _task_batch(
        self, name: str, rows: TaskRows, batch: Batch, outputs: Mapping[str, Tensor], context: TrainingContext
    ) -> TaskBatch:
        live = outputs.get(TEACHER_PREFIX + name)
        return TaskBatch(
            rows.task.kind,
            outputs[name][rows.positions_N],
            rows.targets,
            rows.teacher_NK if live is None else live[rows.positions_N],
            self.temperatures.get(name, 1.0),
            replace(
                context,
                class_means=self.class_means.get(name),
                teacher_advantage=self.advantages.get(name),
                label_weights=self.label_weights.get(name),
            ),
            _prediction(rows.positions_N, batch, outputs) if self.method.predicts_privileged else None,
            _features(name, rows, outputs) if self.method.needs_features else None,
        )


def plan_loss(
    method: str, config: RunConfig, teacher: TeacherRecord | None, train: RowSet, seed: int, total_steps: int
) -> LossPlan:
    """The losses of one training.

    Args:
        method: a name in ``METHODS``.
        config: of the run.
        teacher: whose soft targets ``train`` holds.
        train: the rows, for the class means of their confidence.
        seed: of the run.
        total_steps: of the whole training.

    Raises:
        ValueError: gradients are accumulated over parts of a batch, and the method couples the rows of a batch.
    """
    if METHODS[method].couples_rows and config.optimiser.accumulation_steps > 1:
        raise ValueError(f"method {method} looks at a batch as a whole: it needs optimiser.accumulation_steps 1")
    temperatures = {} if teacher is None else dict(teacher.temperatures)
    options = METHODS[method].configured(config.distillation)
    labelled_by_task = {name: (*_labelled(name, train), temperatures.get(name, 1.0)) for name in train.soft_targets}
    means: dict[str, Tensor] = {}
    if options.per_class_norm:
        means = {name: class_means(*arguments, options) for name, arguments in labelled_by_task.items()}
    advantages = {name: teacher_advantage(*rows) for name, rows in labelled_by_task.items() if len(rows[0])}
    context = TrainingContext(seed=seed, total_steps=total_steps)
    weights = _label_weights(train) if config.optimiser.balance == "class" else {}
    return LossPlan(METHODS[method], config, temperatures, means, advantages, context, weights)


def _label_weights(train: RowSet) -> dict[str, Tensor]:
    return {
        name: balancing_weights(torch.from_numpy(one.values[one.labelled]), one.task.kind, len(one.task.labels))
        for name, one in train.targets.items()
    }


def _labelled(name: str, train: RowSet) -> tuple[Tensor, Tensor, TaskKind]:
    """The teacher's logits, the targets and the kind of a task, over its labelled rows."""
    targets = train.targets[name]
    logits, values = train.soft_targets[name][targets.labelled], targets.values[targets.labelled]
    return torch.from_numpy(logits), torch.from_numpy(values), targets.task.kind


def _features(name: str, rows: TaskRows, outputs: Mapping[str, Tensor]) -> FeaturePair:
    if rows.features_ND is None:
        raise ValueError("this method compares features, but the rows hold none of the teacher's")
    return FeaturePair(
        outputs[STUDENT_ANCHOR_PREFIX + name][rows.positions_N],
        outputs[TEACHER_ANCHOR_PREFIX + name][rows.positions_N],
        outputs[CLASSIFIER_GAP_PREFIX + name][rows.positions_N],
        outputs[ALIGNED][rows.positions_N],
        rows.features_ND,
    )


def _prediction(positions_N: Tensor, batch: Batch, outputs: Mapping[str, Tensor]) -> PrivilegedPrediction:
    groups = list(batch.privileged)
    return PrivilegedPrediction(
        torch.cat([outputs[PREDICTION_PREFIX + name][positions_N] for name in groups], dim=1),
        torch.cat([batch.privileged[name][0][positions_N] for name in groups], dim=1),
        torch.cat([batch.privileged[name][1][positions_N] for name in groups], dim=1),
    )
