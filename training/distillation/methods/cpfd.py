"""PFD whose distillation is weighted by the teacher's confidence in each row."""

from __future__ import annotations

from torch import Tensor

from training.config import DistillationConfig
from training.distillation.methods.pckd import preview_weights
from training.distillation.row_weights import confidence_weights
from training.distillation.task_batch import TaskBatch, label_losses
from training.distillation.weighted_losses import weighted_loss


def cpfd(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """(1 - lambda) mean CE_i + lambda mean(c_i KD_i): the reading of arXiv:2410.03038 used here.

    That is the default; ``confidence``, ``weighting``, ``gamma``, ``floor`` and ``per_class_norm`` choose another
    reading (method.md 1.5).

    Raises:
        ValueError: the batch holds no soft targets, or lacks the class means that ``per_class_norm`` needs.
    """
    return weighted_loss(batch, config, confidence_weights(batch, config))


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


def cpfd_preview(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """(1 - lambda) mean CE_i + lambda mean(c_i v_i KD_i): c_i times PCKD's preview weight.

    c_i is the out-of-fold confidence, which stays what it is; v_i is PCKD's preview weight (TCSVT 2025; method.md 4),
    which grows to 1 over the epochs for all rows but those that the student finds hardest. Both are detached.

    Raises:
        ValueError: the batch holds no soft targets.
    """
    hard_N = label_losses(batch)
    weight_N = confidence_weights(batch, config) * preview_weights(hard_N, batch.context.epoch)
    return weighted_loss(batch, config, weight_N)
