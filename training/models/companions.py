"""Modules trained in the same steps as a student and discarded afterwards."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from training.models.df_xvlm import DFXVLM
from training.models.moment_xvlm import MomentXVLM
from training.models.xvlm import XVLM, classification_head

TEACHER_PREFIX = "teacher/"
PREDICTION_PREFIX = "privileged/"
ALIGNED = "features/aligned"
STUDENT_ANCHOR_PREFIX = "features/student_anchor/"
TEACHER_ANCHOR_PREFIX = "features/teacher_anchor/"
CLASSIFIER_GAP_PREFIX = "features/classifier_gap/"
TASK_PREFIXES = (TEACHER_PREFIX, STUDENT_ANCHOR_PREFIX, TEACHER_ANCHOR_PREFIX, CLASSIFIER_GAP_PREFIX)
"""What stands before a task's name in outputs that only its rows' loss reads."""
Privileged = Mapping[str, tuple[Tensor, Tensor]]


class JointPair(nn.Module):
    """A student and a DF-X-VLM teacher over the same rows (method.md 2.1). They share no weights."""

    def __init__(self, student: XVLM | MomentXVLM, teacher: DFXVLM) -> None:
        super().__init__()
        self.student = student
        self.teacher = teacher

    def forward(self, privileged: Privileged, **inputs: Tensor) -> dict[str, Tensor]:
        """Task -> the student's (B, K) logits, and ``teacher/<task>`` -> the teacher's. Arguments as ``DFXVLM``."""
        logits = dict(self.student(**inputs))
        taught = self.teacher(**inputs, privileged=privileged)
        return logits | {TEACHER_PREFIX + name: value for name, value in taught.items()}


class PrivilegedPredictor(nn.Module):
    """A student with a linear output for each privileged feature (method.md 4). It reads none of them."""

    def __init__(self, student: XVLM | MomentXVLM, groups: Mapping[str, int], width: int) -> None:
        """Args: ``groups`` is group name -> number of features F, ``width`` that of what the heads read."""
        super().__init__()
        self.student = student
        self.predictors = nn.ModuleDict({name: nn.Linear(width, features) for name, features in groups.items()})

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Task name -> (B, K) logits, and ``privileged/<group>`` -> (B, F) predictions. Arguments as ``XVLM``."""
        represented = self.student.encode(**inputs)
        summary_BD = summary(represented)
        predicted = {PREDICTION_PREFIX + name: head(summary_BD) for name, head in self.predictors.items()}
        return dict(self.student.logits(represented, **inputs)) | predicted


class FeatureProjector(nn.Module):
    """A student with projections of its features, and the frozen last layers of its teacher's heads.

    The projections are PCKD's (arXiv:2410.14143, method.md 4): for each task, linear maps E1 and E2 to the widths
    that the last layers of the student's and of the teacher's head read, and one MLP to the teacher's representation.
    The MLP is a head's (Linear, LayerNorm, GELU, Linear); the source's is wider and normalises over the batch, which
    the small batches here, of clips or of texts alone, would not bear.
    """

    def __init__(
        self,
        student: XVLM | MomentXVLM,
        teacher_classifiers: Mapping[str, Tensor],
        student_width: int,
        teacher_width: int,
    ) -> None:
        """Args: the teacher's ``classifiers()``, and the widths D_s and D_t of what the heads read."""
        super().__init__()
        self.student = student
        own = student.classifiers()
        self.to_student = nn.ModuleDict({n: nn.Linear(student_width, own[n].shape[1] - 1) for n in own})
        self.to_teacher = nn.ModuleDict({n: nn.Linear(student_width, teacher_classifiers[n].shape[1] - 1) for n in own})
        self.align = classification_head(student_width, teacher_width)
        self.teacher_layers = nn.ModuleDict({n: _Frozen(teacher_classifiers[n]) for n in own})

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Task name -> (B, K) logits, and what ``FeaturePair`` holds of the student. Arguments as ``XVLM``.

        Every output is (B, C), so that a batch can be put together from shares of it.
        """
        represented = self.student.encode(**inputs)
        represented_BD = summary(represented)
        outputs = dict(self.student.logits(represented, **inputs)) | {ALIGNED: self.align(represented_BD)}
        for name, classifier_KE in self.student.classifiers().items():
            teachers_KE = self.teacher_layers[name].values
            outputs[STUDENT_ANCHOR_PREFIX + name] = anchors(self.to_student[name](represented_BD), classifier_KE)
            outputs[TEACHER_ANCHOR_PREFIX + name] = anchors(self.to_teacher[name](represented_BD), teachers_KE)
            gap = classifier_gap(classifier_KE, teachers_KE)
            outputs[CLASSIFIER_GAP_PREFIX + name] = gap.expand(len(represented_BD), 1)
        return outputs


def summary(represented: Tensor) -> Tensor:
    """(B, D) of what ``encode`` returned: itself, or the mean over its R readings (B, R, D)."""
    return represented if represented.ndim == 2 else represented.mean(dim=1)


def anchors(projected_BE: Tensor, classifier_KE: Tensor) -> Tensor:
    """(B, K): W^T n(E f), n being the L2 norm (arXiv:2410.14143); the bias, the last column of [W; b], stays out."""
    return F.linear(F.normalize(projected_BE, dim=1), classifier_KE[:, :-1])


def classifier_gap(student_KE: Tensor, teacher_KE: Tensor) -> Tensor:
    """L_CA: the mean squared difference of [W; b] (arXiv:2410.14143); 0 where the shapes differ."""
    if student_KE.shape != teacher_KE.shape:
        return student_KE.new_zeros(())
    return F.mse_loss(student_KE, teacher_KE)


class _Frozen(nn.Module):
    """A tensor that moves with its module and is never trained."""

    values: Tensor

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("values", values)
