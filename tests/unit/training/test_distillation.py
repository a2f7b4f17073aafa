"""The identities that hold whatever the published CPFD equation is (method note 6.2), and the losses by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from contract.decision import TaskKind
from training.config import DistillationConfig
from training.distillation.confidence import teacher_confidence
from training.distillation.registry import METHODS
from training.distillation.task_batch import TaskBatch
from training.distillation.task_losses import cross_entropy, distillation

ROWS = 7
KINDS = list(TaskKind)


def batch(kind: TaskKind, *, requires_grad: bool = False, scale: float = 2.0) -> TaskBatch:
    generator = torch.Generator().manual_seed(KINDS.index(kind))
    width = 1 if kind is TaskKind.BINARY else 4
    student, teacher = (scale * torch.randn(ROWS, width, generator=generator) for _ in range(2))
    if kind is TaskKind.MULTICLASS:
        targets = torch.randint(0, width, (ROWS,), generator=generator)
    else:
        shape = (ROWS,) if kind is TaskKind.BINARY else (ROWS, width)
        targets = torch.randint(0, 2, shape, generator=generator).float()
    return TaskBatch(kind, student.requires_grad_(requires_grad), targets, teacher.requires_grad_(requires_grad), 1.7)


@pytest.mark.parametrize("kind", KINDS)
def test_uniform_confidence_is_pfd_bit_for_bit(kind: TaskKind) -> None:
    one = batch(kind)
    uniform = METHODS["cpfd"](one, DistillationConfig(confidence="uniform"))
    assert torch.equal(uniform, METHODS["pfd"](one, DistillationConfig()))
    assert not torch.equal(uniform, METHODS["cpfd"](one, DistillationConfig(confidence="true_prob")))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["pfd", "cpfd"])
def test_lambda_zero_is_cross_entropy(kind: TaskKind, method: str) -> None:
    one = batch(kind)
    assert torch.equal(METHODS[method](one, DistillationConfig(lam=0)), METHODS["ce"](one, DistillationConfig()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["pfd", "cpfd"])
def test_no_gradient_reaches_the_teacher(kind: TaskKind, method: str) -> None:
    one = batch(kind, requires_grad=True)
    METHODS[method](one, DistillationConfig()).backward()
    assert one.logits_NK.grad is not None
    assert one.logits_NK.grad.abs().sum() > 0
    assert one.teacher_NK is not None
    assert one.teacher_NK.grad is None


@pytest.mark.parametrize("kind", KINDS)
def test_confidence_is_detached_and_a_probability(kind: TaskKind) -> None:
    one = batch(kind, requires_grad=True)
    assert one.teacher_NK is not None
    confidence = teacher_confidence("true_prob", one.teacher_NK, one.targets, kind, 1.7)
    assert not confidence.requires_grad
    assert confidence.shape == cross_entropy(one.logits_NK, one.targets, kind).shape
    assert ((confidence >= 0) & (confidence <= 1)).all()


def test_binary_equals_two_class_softmax() -> None:
    one = batch(TaskKind.BINARY)
    assert one.teacher_NK is not None
    student2, teacher2 = (torch.cat([torch.zeros_like(z), z], dim=1) for z in (one.logits_NK, one.teacher_NK))
    two = TaskBatch(TaskKind.MULTICLASS, student2, one.targets.long(), teacher2, one.calibration_temperature)
    for method in METHODS:
        options = DistillationConfig(lam=0.3, temperature=3.0)
        assert METHODS[method](one, options).item() == pytest.approx(METHODS[method](two, options).item(), rel=1e-5)


def test_cpfd_by_hand() -> None:
    """Two rows, the teacher right about one and wrong about the other."""
    teacher, targets = torch.tensor([[2.0], [2.0]]), torch.tensor([1.0, 0.0])
    one = TaskBatch(TaskKind.BINARY, torch.zeros(2, 1), targets, teacher, 1.0)
    p, t = 1 / (1 + math.exp(-2.0)), 2.0
    q = 1 / (1 + math.exp(-2.0 / t))
    kd = t**2 * (q * math.log(q / 0.5) + (1 - q) * math.log((1 - q) / 0.5))
    expected = 0.5 * math.log(2) + 0.5 * (p * kd + (1 - p) * kd) / 2
    assert METHODS["cpfd"](one, DistillationConfig(lam=0.5, temperature=t)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_distillation_is_zero_only_at_the_teacher(kind: TaskKind) -> None:
    one = batch(kind)
    assert one.teacher_NK is not None
    assert distillation(one.teacher_NK, one.teacher_NK, kind, 2.0).abs().max() < 1e-5
    assert distillation(one.logits_NK, one.teacher_NK, kind, 2.0).min() > 0


def test_multiclass_distillation_agrees_with_the_library() -> None:
    one = batch(TaskKind.MULTICLASS)
    assert one.teacher_NK is not None
    expected = 9 * F.kl_div(
        F.log_softmax(one.logits_NK / 3, 1), F.log_softmax(one.teacher_NK / 3, 1), log_target=True, reduction="none"
    ).sum(1)
    assert torch.allclose(distillation(one.logits_NK, one.teacher_NK, TaskKind.MULTICLASS, 3.0), expected, atol=1e-5)


def test_extreme_logits_stay_finite() -> None:
    for kind in KINDS:
        one = batch(kind, scale=500.0)
        for method in METHODS:
            assert torch.isfinite(METHODS[method](one, DistillationConfig(temperature=1.0)))


def test_faults_are_named() -> None:
    one = batch(TaskKind.BINARY)
    with pytest.raises(KeyError, match="true_prob"):
        METHODS["cpfd"](one, DistillationConfig(confidence="nonsense"))
    with pytest.raises(KeyError, match="scale"):
        METHODS["cpfd"](one, DistillationConfig(weighting="nonsense"))
    with pytest.raises(ValueError, match="no soft targets"):
        METHODS["pfd"](TaskBatch(TaskKind.BINARY, one.logits_NK, one.targets), DistillationConfig())
