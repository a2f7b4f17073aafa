"""What a method reads: one task's labelled rows of a batch, and the step of the training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from contract.decision import TaskKind
from training.distillation.task_losses import class_index, cross_entropy


@dataclass(frozen=True, eq=False)
class TrainingContext:
    """State that a loss may depend on beyond its rows. A function of the run's inputs, so a resumed run sees the same.

    Attributes:
        seed: of the run.
        epoch: counted from 0.
        step: optimiser steps done before this batch, counted over all epochs.
        total_steps: of the whole training.
        class_means: mean shaped confidence of each class over all labelled training rows, as
            ``row_weights.class_means`` lays it out; None where ``per_class_norm`` is off.
        teacher_advantage: of the task's teacher, over all labelled training rows; None where the method reads no soft
            targets.
        label_weights: weight of each class in the label loss, laid out as ``class_means``; None where all weigh
            the same.
    """

    seed: int = 0
    epoch: int = 0
    step: int = 0
    total_steps: int = 1
    class_means: Tensor | None = None
    teacher_advantage: float | None = None
    label_weights: Tensor | None = None

    def generator(self) -> torch.Generator:
        """A fresh generator for this seed and step; the global generator is not used."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)


@dataclass(frozen=True, eq=False)
class PrivilegedPrediction:
    """The student's predictions of the privileged features, and their true values.

    Attributes:
        predicted_NF: by the student, in standard deviations.
        values_NF: standardised values, 0 where absent.
        presence_NF: 1 where there is a value, else 0.
    """

    predicted_NF: Tensor
    values_NF: Tensor
    presence_NF: Tensor


@dataclass(frozen=True, eq=False)
class FeaturePair:
    """Features of student and teacher on the same rows, and the outputs of their classifiers on them.

    Attributes:
        student_anchor_NK: (N, K), W_s^T n(E1 f_s): the student's last layer on its projected, normalised feature.
        teacher_anchor_NK: (N, K), W_t^T n(E2 f_s): the teacher's last layer on the student's feature.
        classifier_gap_N1: (N, 1), the mean squared difference of student's and teacher's [W; b], the same in every row.
        aligned_ND: (N, D_t), the MLP of the student's feature f_s.
        teacher_ND: (N, D_t), the teacher's feature f_t.
    """

    student_anchor_NK: Tensor
    teacher_anchor_NK: Tensor
    classifier_gap_N1: Tensor
    aligned_ND: Tensor
    teacher_ND: Tensor


@dataclass(frozen=True, eq=False)
class TaskBatch:
    """The rows of a batch that hold a label of one task.

    Attributes:
        kind: of the task.
        logits_NK: the student's.
        targets: as ``task_losses`` lays them out.
        teacher_NK: the teacher's logits, stored ones or (in joint training) live ones, or None where the method
            reads none.
        calibration_temperature: of the teacher, fitted on validation rows.
        context: where in the training the batch stands.
        privileged: of the same rows, for a method that predicts them.
        features: of the same rows, for a method that compares them.
    """

    kind: TaskKind
    logits_NK: Tensor
    targets: Tensor
    teacher_NK: Tensor | None = None
    calibration_temperature: float = 1.0
    context: TrainingContext = TrainingContext()
    privileged: PrivilegedPrediction | None = None
    features: FeaturePair | None = None

    @property
    def teacher_logits(self) -> Tensor:
        """(N, K) detached: no gradient reaches the teacher (arXiv:1907.05171).

        Raises:
            ValueError: the batch holds none.
        """
        if self.teacher_NK is None:
            raise ValueError("this method distils, but the batch holds no soft targets")
        return self.teacher_NK.detach()


def label_losses(batch: TaskBatch) -> Tensor:
    """CE_i of the shape of ``cross_entropy``, times its class's weight where classes are balanced."""
    losses_N = cross_entropy(batch.logits_NK, batch.targets, batch.kind)
    weights = batch.context.label_weights
    return losses_N if weights is None else losses_N * of_each_row(weights, batch.targets, batch.kind)


def of_each_row(values: Tensor, targets: Tensor, kind: TaskKind) -> Tensor:
    """What ``values`` hold of each row's class; of the shape of ``cross_entropy``.

    Args:
        values: (2,), (K,) or, multilabel, (K, 2).
        targets: of the rows.
        kind: of the task.
    """
    index = class_index(targets, kind)
    values = values.to(index.device)
    if kind is TaskKind.MULTILABEL:
        return values.expand(len(index), -1, -1).gather(-1, index[..., None])[..., 0]
    return values[index]
