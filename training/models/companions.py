"""What is trained beside a student, in the same steps, and thrown away when it is done."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from training.models.df_xvlm import DFXVLM
from training.models.xvlm import XVLM

TEACHER_PREFIX = "teacher/"
PREDICTION_PREFIX = "privileged/"
Privileged = Mapping[str, tuple[Tensor, Tensor]]


class JointPair(nn.Module):
    """A student and a DF-X-VLM teacher over the same rows (method note 2.1). They share no weights."""

    def __init__(self, student: XVLM, teacher: DFXVLM) -> None:
        super().__init__()
        self.student = student
        self.teacher = teacher

    def forward(self, privileged: Privileged, **inputs: Tensor) -> dict[str, Tensor]:
        """Task -> the student's (B, K) logits, and ``teacher/<task>`` -> the teacher's. Arguments as ``DFXVLM``."""
        logits = dict(self.student(**inputs))
        taught = self.teacher(**inputs, privileged=privileged)
        return logits | {TEACHER_PREFIX + name: value for name, value in taught.items()}


class PrivilegedPredictor(nn.Module):
    """A student with a linear output for each privileged feature (method note 4). It reads none of them."""

    def __init__(self, student: XVLM, groups: Mapping[str, int], width: int) -> None:
        """Args: ``groups`` is group name -> number of features F, ``width`` that of what the heads read."""
        super().__init__()
        self.student = student
        self.predictors = nn.ModuleDict({name: nn.Linear(width, features) for name, features in groups.items()})

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Task name -> (B, K) logits, and ``privileged/<group>`` -> (B, F) predictions. Arguments as ``XVLM``."""
        represented_BD = self.student.encode(**inputs)
        predicted = {PREDICTION_PREFIX + name: head(represented_BD) for name, head in self.predictors.items()}
        return dict(self.student.classify(represented_BD)) | predicted
