"""PCKD's terms by hand, over every kind of head, and what its gradients may reach."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from contract.decision import TaskKind
from tests.unit.training.distillation.rows import KINDS, task_rows
from training.config import DistillationConfig
from training.distillation.methods.pckd import (
    category_contrast,
    classifier_alignment,
    feature_alignment,
    pckd,
    preview_weights,
    supervised_contrast,
)
from training.distillation.task_batch import FeaturePair, TaskBatch
from training.distillation.task_losses import cross_entropy, distillation
from training.models.companions import anchors, classifier_gap

RATIO = 4 / 0.07


def features(batch: TaskBatch) -> FeaturePair:
    assert batch.features is not None
    return batch.features


def test_supervised_contrast_by_hand() -> None:
    """Two rows of different classes, anchors of one number: 2 and 4, -2 and 0. Scores: products / 4."""
    found = supervised_contrast(torch.tensor([[[2.0], [-2.0]], [[4.0], [0.0]]]), torch.tensor([0, 1]))
    values = {"s0": 2.0, "s1": -2.0, "t0": 4.0, "t1": 0.0}

    def loss(anchor: str, positive: str) -> float:
        total = sum(math.exp(values[anchor] * v / 4) for name, v in values.items() if name != anchor)
        return -RATIO * math.log(math.exp(values[anchor] * values[positive] / 4) / total)

    expected = [loss("s0", "t0") + loss("t0", "s0"), loss("s1", "t1") + loss("t1", "s1")]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_supervised_contrast_averages_over_positives() -> None:
    """One class: every one of three equal others is a positive, each with a third of the mass."""
    found = supervised_contrast(torch.ones(2, 2, 3), torch.tensor([1, 1]))
    assert found.tolist() == pytest.approx([2 * RATIO * math.log(3)] * 2, rel=1e-5)
    assert supervised_contrast(torch.randn(2, 1, 3), torch.tensor([0])).tolist() == [0.0]  # a row by itself


def test_anchors_are_what_a_classifier_makes_of_normed_projections() -> None:
    """n(3, 4) = (0.6, 0.8) and n(0, 5) = (0, 1); the bias (last column) stays out."""
    classifier = torch.tensor([[2.0, 1.0, 9.0], [0.0, 3.0, 9.0]])
    found = anchors(torch.tensor([[3.0, 4.0], [0.0, 5.0]]), classifier)
    assert torch.allclose(found, torch.tensor([[2.0, 2.4], [1.0, 3.0]]))


def test_a_softmax_is_contrasted_by_its_anchors_as_they_are() -> None:
    one = task_rows(TaskKind.MULTICLASS)
    pair = features(one)
    expected = supervised_contrast(torch.stack([pair.student_anchor_NK, pair.teacher_anchor_NK]), one.targets)
    assert torch.equal(category_contrast(pair, one.targets, TaskKind.MULTICLASS), expected)


def test_a_label_of_a_multilabel_task_is_contrasted_by_itself() -> None:
    one = task_rows(TaskKind.MULTILABEL)
    pair = features(one)
    found = category_contrast(pair, one.targets, TaskKind.MULTILABEL)
    assert found.shape == one.targets.shape
    for k in range(4):
        z = torch.stack([pair.student_anchor_NK[:, k], pair.teacher_anchor_NK[:, k]])
        expected = supervised_contrast(torch.stack([-z / 2, z / 2], dim=-1), one.targets[:, k].long())
        assert torch.allclose(found[:, k], expected, rtol=1e-5)


def test_feature_alignment_by_hand() -> None:
    """Parallel (whatever the length), opposite and orthogonal: cosines 1, -1 and 0."""
    pair = features(task_rows(TaskKind.BINARY, rows=3))
    aligned, taught = torch.tensor([[2.0, 0], [1, 0], [1, 0]]), torch.tensor([[3.0, 0], [-1, 0], [0, 7]])
    for rows, expected in (([0], 0.0), ([1], 4.0), ([2], 2.0), ([0, 1, 1], 8 / 3)):
        found = feature_alignment(replace(pair, aligned_ND=aligned[rows], teacher_ND=taught[rows]))
        assert found.item() == pytest.approx(expected, abs=1e-6)


def test_classifier_alignment_by_hand() -> None:
    """Differences 1, 2 and 2 (the bias counts); a sigmoid's, as a softmax over two, are half of that, twice."""
    student, teacher = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    gap = classifier_gap(student, teacher)
    assert gap.item() == pytest.approx(3.0)
    assert classifier_gap(student, torch.ones(1, 5)).item() == 0.0
    pair = replace(features(task_rows(TaskKind.BINARY)), classifier_gap_N1=gap.expand(7, 1))
    two = (torch.cat([-layer / 2, layer / 2]) for layer in (student, teacher))
    assert classifier_alignment(pair, TaskKind.MULTICLASS).item() == pytest.approx(3.0)
    assert classifier_alignment(pair, TaskKind.BINARY).item() == pytest.approx(classifier_gap(*two).item())
    assert classifier_alignment(pair, TaskKind.MULTILABEL).item() == pytest.approx(0.75)


@pytest.mark.parametrize("kind", KINDS)
def test_pckd_is_the_sum_of_its_terms(kind: TaskKind) -> None:
    one = task_rows(kind)
    pair = features(one)
    hard = cross_entropy(one.logits_NK, one.targets, kind)
    weight = preview_weights(hard, one.context.epoch)
    assert (weight < 1).any()
    assert (weight == 1).any()
    soft = distillation(one.logits_NK, one.teacher_logits, kind, 3.0)
    terms = {
        "preview_delta": (weight * soft).mean(),
        "pckd_beta": (weight * category_contrast(pair, one.targets, kind)).mean(),
        "pckd_alpha": classifier_alignment(pair, kind),
        "pckd_fa": feature_alignment(pair),
    }
    factors = {"preview_delta": 0.3, "pckd_beta": 0.02, "pckd_alpha": 0.7, "pckd_fa": 2.0}
    assert all(term > 1e-3 for term in terms.values())
    for chosen in (list(factors), *([name] for name in factors)):
        config = DistillationConfig.model_validate(
            {"temperature": 3.0} | {name: factors[name] if name in chosen else 0.0 for name in factors}
        )
        expected = hard.mean() + sum(factors[name] * terms[name] for name in chosen)
        assert pckd(one, config).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_output_of_the_student_and_not_the_teachers_features(kind: TaskKind) -> None:
    one = task_rows(kind, requires_grad=True)
    pair = features(one)
    pckd(one, DistillationConfig()).backward()
    reached = (pair.student_anchor_NK, pair.teacher_anchor_NK, pair.classifier_gap_N1, pair.aligned_ND)
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in reached)
    assert pair.teacher_ND.grad is None


def test_preview_weights_are_detached() -> None:
    """The contrast does not depend on the logits: without distillation their gradient is cross-entropy's alone."""
    one, alone = (task_rows(TaskKind.BINARY, requires_grad=True) for _ in range(2))
    pckd(one, DistillationConfig(preview_delta=0.0, pckd_beta=5.0)).backward()
    cross_entropy(alone.logits_NK, alone.targets, TaskKind.BINARY).mean().backward()
    assert one.logits_NK.grad is not None
    assert alone.logits_NK.grad is not None
    assert torch.allclose(one.logits_NK.grad, alone.logits_NK.grad, atol=1e-7)


def test_missing_features_are_named() -> None:
    with pytest.raises(ValueError, match="holds none"):
        pckd(replace(task_rows(TaskKind.BINARY), features=None), DistillationConfig())
