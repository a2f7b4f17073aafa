"""PCKD: preview weights on distillation and on category contrast, and aligned features and classifiers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from contract.decision import TaskKind
from training.config import DistillationConfig
from training.distillation.task_batch import FeaturePair, TaskBatch, label_losses
from training.distillation.task_losses import class_index, distillation
from training.distillation.weighted_losses import mean_one

_GROWTH = 1.005
_CONTRAST_TEMPERATURE = 4.0
_BASE_TEMPERATURE = 0.07
"""The authors' code multiplies the contrastive term by the ratio of the two; its published beta counts on that."""


def pckd(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """mean CE_i + delta mean(v_i KD_i) + beta mean(v_i L_CC,i) + alpha L_CA + f L_FA (arXiv:2410.14143; method.md 4).

    The source averages L_CC over four rotated views of each of B pictures, (beta / 4B) sum_i v_i L_CC,i. Frames here
    are not rotated: a row is one view, and 4B becomes the number of rows. The features are what the heads read; the
    source's heads are linear, these have a hidden layer, so that E1 and E2 also map to that layer's width.

    Raises:
        ValueError: the batch holds no soft targets, or no features.
    """
    hard_N = label_losses(batch)
    soft_N = distillation(batch.logits_NK, batch.teacher_logits, batch.kind, config.temperature)
    if batch.features is None:
        raise ValueError("this method compares features, but the batch holds none")
    weight_N = preview_weights(hard_N, batch.context.epoch)
    contrast_N = category_contrast(batch.features, batch.targets, batch.kind)
    return (
        hard_N.mean()
        + config.preview_delta * (weight_N * soft_N).mean()
        + config.pckd_beta * (weight_N * contrast_N).mean()
        + config.pckd_alpha * classifier_alignment(batch.features, batch.kind)
        + config.pckd_fa * feature_alignment(batch.features)
    )


def category_contrast(pair: FeaturePair, targets: Tensor, kind: TaskKind) -> Tensor:
    """L_CC,i of the shape of ``cross_entropy``: rows of a class together, others apart (arXiv:2410.14143).

    The anchors of a row are W_s^T n(E1 f_s) and W_t^T n(E2 f_s): what the student's and the teacher's classifier make
    of the student's feature. A row's loss is the sum over its two anchors. The source knows softmax heads alone: a
    sigmoid's anchor z becomes (-z/2, +z/2), that of the softmax over (no, yes) that equals it, label by label.
    """
    anchors_VNK = torch.stack([pair.student_anchor_NK, pair.teacher_anchor_NK])
    index_N = class_index(targets, kind)
    if kind is TaskKind.MULTICLASS:
        return supervised_contrast(anchors_VNK, index_N)
    anchors_VNK2 = torch.stack([-anchors_VNK / 2, anchors_VNK / 2], dim=-1)
    if kind is TaskKind.BINARY:
        return supervised_contrast(anchors_VNK2[:, :, 0], index_N)
    of_labels = [supervised_contrast(anchors_VNK2[:, :, k], index_N[:, k]) for k in range(index_N.shape[1])]
    return torch.stack(of_labels, dim=1)


def supervised_contrast(anchors_VNC: Tensor, index_N: Tensor) -> Tensor:
    """(N,) the sum over V views of SupCon's loss (arXiv:2004.11362 eq. 2) among all V N anchors, at temperature 4.

    -(T / T_0) mean over the other anchors p of the row's class of log softmax_a(anchor_i . anchor_a / T)[p], a running
    over all anchors but i itself. With V >= 2 views no row is without a positive.
    """
    views, rows = anchors_VNC.shape[:2]
    flat = anchors_VNC.flatten(0, 1)
    itself = torch.eye(len(flat), dtype=torch.bool, device=flat.device)
    scores = (flat @ flat.mT / _CONTRAST_TEMPERATURE).masked_fill(itself, float("-inf"))
    labels = index_N.repeat(views)
    positive = (labels[:, None] == labels[None, :]) & ~itself
    log_p = torch.where(positive, F.log_softmax(scores, dim=1), 0.0)
    loss = -(_CONTRAST_TEMPERATURE / _BASE_TEMPERATURE) * log_p.sum(dim=1) / positive.sum(dim=1)
    return loss.view(views, rows).sum(dim=0)


def classifier_alignment(pair: FeaturePair, kind: TaskKind) -> Tensor:
    """L_CA: mean squared difference of [W; b] (arXiv:2410.14143); 0 where student's and teacher's shapes differ.

    A sigmoid's w is the softmax's (-w/2, +w/2), of a quarter of its squared difference.
    """
    gap = pair.classifier_gap_N1.mean()
    return gap if kind is TaskKind.MULTICLASS else gap / 4


def feature_alignment(pair: FeaturePair) -> Tensor:
    """L_FA = 2 - 2 mean cos(MLP(f_s), f_t) (arXiv:2410.14143)."""
    return 2 - 2 * F.cosine_similarity(pair.aligned_ND, pair.teacher_ND.detach(), dim=1).mean()


def pckd_preview(batch: TaskBatch, config: DistillationConfig) -> Tensor:
    """mean CE_i + delta mean(v_i KD_i) (PCKD, arXiv:2410.14143; method.md 4).

    Raises:
        ValueError: the batch holds no soft targets.
    """
    hard_N = label_losses(batch)
    soft_N = distillation(batch.logits_NK, batch.teacher_logits, batch.kind, config.temperature)
    weight_N = preview_weights(hard_N, batch.context.epoch)
    return hard_N.mean() + config.preview_delta * (weight_N * soft_N).mean()


def preview_weights(hard_N: Tensor, epoch: int) -> Tensor:
    """v_i = 1 if gamma_i <= t(e), else exp(-gamma_i^2); gamma_i = CE_i / mean CE, t(e) = 1.005^e (method.md 4).

    Rows that the student finds hard are looked at lightly at first. Detached, unlike upstream.
    """
    difficulty_N = mean_one(hard_N.detach())
    return torch.where(difficulty_N <= _GROWTH**epoch, 1.0, torch.exp(-(difficulty_N**2)))
