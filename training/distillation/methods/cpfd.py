"""PFD whose distillation is weighted by the teacher's confidence in each row."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from training.config import DistillationConfig
from training.distillation.method import Method
from training.distillation.shaping import confidence_weights
from training.distillation.task_batch import TaskBatch
from training.distillation.weighting import weighted_loss


def cpfd(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """(1 - lambda) mean CE_i + lambda mean(c_i KD_i): arXiv:2410.03038 as its abstract can be read.

    That is the default; ``confidence``, ``weighting``, ``gamma``, ``floor`` and ``per_class_norm`` choose another
    reading (method note 1.5).

    Raises:
        ValueError: the batch holds no soft targets, or lacks the class means that ``per_class_norm`` needs.
    """
    return weighted_loss(batch, config, confidence_weights(batch, config))


METHOD: Final = Method("cpfd", cpfd, teacher="privileged", source="arXiv:2410.03038, method note 1.5")
