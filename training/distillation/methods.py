"""The registry of training methods: each turns one task's logits, targets and soft targets into one loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from contract.decision import TaskKind
from training.config import DistillationConfig
from training.distillation.confidence import teacher_confidence
from training.distillation.task_losses import cross_entropy, distillation


@dataclass(frozen=True)
class TaskBatch:
    """The rows of a batch that hold a label of one task.

    Attributes:
        kind: of the task.
        logits_NK: the student's.
        targets: as ``task_losses`` lays them out.
        teacher_NK: the teacher's stored logits, or None where the method reads none.
        calibration_temperature: of the teacher, fitted on validation rows.
    """

    kind: TaskKind
    logits_NK: Tensor
    targets: Tensor
    teacher_NK: Tensor | None = None
    calibration_temperature: float = 1.0


Method = Callable[[TaskBatch, DistillationConfig], Tensor]


def ce(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """mean CE_i: labels alone. Trains the X-VLM baseline and the teacher."""
    return cross_entropy(batch.logits_NK, batch.targets, batch.kind).mean()


def pfd(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """(1 - lambda) mean CE_i + lambda mean KD_i (arXiv:1907.05171, with method note 1.5's placement of lambda)."""
    hard_N, soft_N = _terms(batch, config)
    return (1 - config.lam) * hard_N.mean() + config.lam * soft_N.mean()


def cpfd(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """(1 - lambda) mean CE_i + lambda mean(c_i KD_i): arXiv:2410.03038 as its abstract can be read.

    Raises:
        KeyError: a confidence or weighting that does not exist.
    """
    if config.weighting != "scale":
        raise KeyError(f"no weighting {config.weighting!r}; there are: scale")
    hard_N, soft_N = _terms(batch, config)
    assert batch.teacher_NK is not None
    confidence_N = teacher_confidence(
        config.confidence, batch.teacher_NK, batch.targets, batch.kind, batch.calibration_temperature
    )
    return (1 - config.lam) * hard_N.mean() + config.lam * (confidence_N * soft_N).mean()


METHODS: Final[dict[str, Method]] = {"ce": ce, "pfd": pfd, "cpfd": cpfd}
NEEDS_TEACHER: Final[frozenset[str]] = frozenset({"pfd", "cpfd"})


def _terms(batch: TaskBatch, config: DistillationConfig) -> tuple[Tensor, Tensor]:
    if batch.teacher_NK is None:
        raise ValueError("this method distils, but the batch holds no soft targets")
    hard_N = cross_entropy(batch.logits_NK, batch.targets, batch.kind)
    return hard_N, distillation(batch.logits_NK, batch.teacher_NK, batch.kind, config.temperature)
