"""Each confidence against numbers worked out by hand, and what holds for all of them."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from contract.decision import TaskKind
from tests.unit.training.distillation.rows import CALIBRATION, KINDS, task_rows, two_class
from training.config import ConfidenceName
from training.distillation.confidence import CONFIDENCES, teacher_confidence
from training.distillation.task_losses import cross_entropy

P = (0.7, 0.2, 0.1)
ENTROPY = -sum(p * math.log(p) for p in P)
BY_HAND = {
    "true_prob": (0.7, 0.2, 0.1),
    "max_prob": (0.7, 0.7, 0.7),
    "max_prob_norm": (0.55, 0.55, 0.55),
    "entropy": (1 - ENTROPY / math.log(3),) * 3,
    "correct": (1.0, 0.0, 0.0),
    "margin": (0.5, 0.0, 0.0),
    "uniform": (1.0, 1.0, 1.0),
}
BINARY_BY_HAND = {
    "true_prob": (0.8, 0.2),
    "max_prob": (0.8, 0.8),
    "max_prob_norm": (0.6, 0.6),
    "entropy": (1 + (0.8 * math.log(0.8) + 0.2 * math.log(0.2)) / math.log(2),) * 2,
    "correct": (1.0, 0.0),
    "margin": (0.6, 0.0),
    "uniform": (1.0, 1.0),
}


def test_the_config_names_the_registry() -> None:
    assert set(get_args(ConfidenceName)) == set(CONFIDENCES) == set(BY_HAND) == set(BINARY_BY_HAND)


@pytest.mark.parametrize("name", CONFIDENCES)
def test_multiclass_by_hand(name: str) -> None:
    """The same teacher, and each of the three classes as the true one; its logits were heated to 2."""
    logits = 2 * torch.tensor([P] * 3).log()
    found = teacher_confidence(name, logits, torch.tensor([0, 1, 2]), TaskKind.MULTICLASS, 2.0)
    assert found.tolist() == pytest.approx(BY_HAND[name], abs=1e-6)


def test_a_teacher_may_be_right_about_any_class() -> None:
    logits = torch.eye(4) * 3
    for name, right, wrong in (("correct", 1.0, 0.0), ("margin", None, 0.0)):
        found = teacher_confidence(name, logits, torch.arange(4), TaskKind.MULTICLASS, 1.0)
        assert (found > 0).all()
        if right is not None:
            assert found.tolist() == [right] * 4
        beside = teacher_confidence(name, logits, torch.tensor([1, 2, 3, 0]), TaskKind.MULTICLASS, 1.0)
        assert beside.tolist() == [wrong] * 4


@pytest.mark.parametrize("name", CONFIDENCES)
def test_binary_and_multilabel_by_hand(name: str) -> None:
    logit = math.log(0.8 / 0.2)
    binary = teacher_confidence(name, torch.tensor([[logit], [logit]]), torch.tensor([1.0, 0.0]), TaskKind.BINARY, 1.0)
    assert binary.tolist() == pytest.approx(BINARY_BY_HAND[name], abs=1e-6)
    labels = teacher_confidence(
        name, torch.tensor([[logit, logit]]), torch.tensor([[1.0, 0.0]]), TaskKind.MULTILABEL, 1.0
    )
    assert labels[0].tolist() == pytest.approx(BINARY_BY_HAND[name], abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CONFIDENCES)
@pytest.mark.parametrize("scale", [2.0, 500.0])
def test_detached_and_in_the_unit_interval(kind: TaskKind, name: str, scale: float) -> None:
    one = task_rows(kind, requires_grad=True, scale=scale)
    assert one.teacher_NK is not None
    found = teacher_confidence(name, one.teacher_NK, one.targets, kind, CALIBRATION)
    assert not found.requires_grad
    assert found.shape == cross_entropy(one.logits_NK, one.targets, kind).shape
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("name", CONFIDENCES)
def test_binary_equals_two_class_softmax(name: str) -> None:
    one = task_rows(TaskKind.BINARY)
    two = two_class(one)
    found = [
        teacher_confidence(name, batch.teacher_logits, batch.targets, batch.kind, CALIBRATION) for batch in (one, two)
    ]
    assert torch.allclose(found[0], found[1], atol=1e-6)


def test_an_unknown_confidence_is_named() -> None:
    one = task_rows(TaskKind.BINARY)
    with pytest.raises(KeyError, match="max_prob_norm"):
        teacher_confidence("nonsense", one.teacher_logits, one.targets, one.kind, 1.0)
