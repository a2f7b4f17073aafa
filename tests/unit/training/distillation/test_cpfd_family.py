"""CPFD's named formulations: the options each one fixes, and what it equals where it must."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from contract.decision import TaskKind
from tests.unit.training.distillation.rows import CALIBRATION, KINDS, task_rows, with_class_means
from training.config import DistillationConfig
from training.distillation.methods.pckd import preview_weights
from training.distillation.registry import METHODS
from training.distillation.row_weights import confidence_weights
from training.distillation.task_batch import TaskBatch
from training.distillation.task_losses import cross_entropy, distillation
from training.distillation.teacher_advantage import teacher_advantage

CROSS_FITTED = ["pfd_crossfit", "cpfd_crossfit", "cpfd_balanced", "cpfd_adaptive", "cpfd_preview"]
FAMILY = [*CROSS_FITTED, "cpfd_norm", "cpfd_mix"]
OTHERWISE = DistillationConfig(lam=0.3, confidence="entropy", weighting="mix", gamma=0.5)


def test_the_cross_fitted_control_differs_from_its_method_in_the_teacher_alone() -> None:
    control, method = METHODS["self_distillation_crossfit"], METHODS["pfd_crossfit"]
    assert replace(control, name=method.name, teacher=method.teacher, source=method.source) == method
    assert control.cross_fitted
    assert not control.reads_privileged
    assert method.cross_fitted
    assert method.reads_privileged
    assert not METHODS["self_distillation"].cross_fitted
    assert [name for name, one in METHODS.items() if one.reads_privileged and not one.reads_soft_targets] == [
        "mtl",
        "pfd_joint",
    ]


def with_advantage(batch: TaskBatch, advantage: float | None) -> TaskBatch:
    return replace(batch, context=replace(batch.context, teacher_advantage=advantage))


@pytest.mark.parametrize("name", FAMILY)
def test_each_reads_the_teacher_its_name_says_and_fixes_options_that_exist(name: str) -> None:
    method = METHODS[name]
    assert method.teacher == ("privileged_crossfit" if name in CROSS_FITTED else "privileged")
    assert DistillationConfig.model_validate(dict(method.options)).model_dump().items() >= method.options.items()
    kept = method.configured(OTHERWISE)
    assert (kept.lam, kept.gamma) == (0.3, 0.5)
    assert {field: getattr(kept, field) for field in method.options} == dict(method.options)
    assert METHODS["cpfd"].configured(OTHERWISE) is OTHERWISE


@pytest.mark.parametrize("kind", KINDS)
def test_without_confidence_cpfd_crossfit_is_pfd_crossfit(kind: TaskKind) -> None:
    one, constant = task_rows(kind), DistillationConfig(gamma=0)
    expected = METHODS["pfd_crossfit"](one, constant)
    assert torch.equal(METHODS["cpfd_crossfit"](one, constant), expected)
    assert torch.equal(METHODS["cpfd_mix"](one, constant), METHODS["pfd"](one, constant))
    assert not torch.equal(METHODS["cpfd_crossfit"](one, DistillationConfig()), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cpfd_crossfit", {"weighting": "scale"}),
        ("cpfd_norm", {"weighting": "norm"}),
        ("cpfd_mix", {"weighting": "mix"}),
        ("cpfd_balanced", {"weighting": "scale", "per_class_norm": True}),
    ],
)
def test_a_named_formulation_is_cpfd_with_its_options(name: str, options: dict[str, object], kind: TaskKind) -> None:
    config = OTHERWISE.model_copy(update={"confidence": "true_prob"} | options)
    one = with_class_means(task_rows(kind, rows=20), config)
    assert torch.equal(METHODS[name](one, OTHERWISE), METHODS["cpfd"](one, config))
    assert not torch.equal(METHODS[name](one, OTHERWISE), METHODS["cpfd"](one, OTHERWISE))


def test_balanced_needs_class_means_and_gives_each_class_the_same_mean_weight() -> None:
    one = task_rows(TaskKind.BINARY, rows=40)
    config = METHODS["cpfd_balanced"].configured(DistillationConfig())
    weight = confidence_weights(with_class_means(one, config), config)
    for label in (0, 1):
        assert weight[one.targets == label].mean().item() == pytest.approx(1.0, rel=1e-5)
    with pytest.raises(ValueError, match="class means"):
        METHODS["cpfd_balanced"](replace(one, context=replace(one.context, class_means=None)), DistillationConfig())


@pytest.mark.parametrize("kind", KINDS)
def test_adaptive_lambda_runs_from_cross_entropy_to_cpfd(kind: TaskKind) -> None:
    one, config = task_rows(kind), DistillationConfig(lam=0.5)
    found = {a: METHODS["cpfd_adaptive"](with_advantage(one, a), config) for a in (-0.2, 0.0, 0.2, 0.5, 0.9)}
    for knows_nothing in (-0.2, 0.0):
        assert torch.equal(found[knows_nothing], METHODS["ce"](one, config))
    for knows_much in (0.5, 0.9):
        assert torch.equal(found[knows_much], METHODS["cpfd_crossfit"](one, config))
    assert torch.equal(found[0.2], METHODS["cpfd_crossfit"](one, DistillationConfig(lam=0.2)))
    with pytest.raises(ValueError, match="advantage"):
        METHODS["cpfd_adaptive"](with_advantage(one, None), config)


def test_advantage_by_hand() -> None:
    """One positive in four: H = 0.5623. A teacher that says 0.25 of all rows saves nothing of it."""
    targets = torch.tensor([1.0, 0, 0, 0])
    says = torch.full((4, 1), math.log(0.25 / 0.75))
    assert teacher_advantage(says, targets, TaskKind.BINARY, 1.0) == pytest.approx(0.0, abs=1e-6)
    knows = torch.tensor([[2.0], [-2.0], [-2.0], [-2.0]])
    saved = 1 - math.log1p(math.exp(-2.0)) / -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert teacher_advantage(knows, targets, TaskKind.BINARY, 1.0) == pytest.approx(saved, rel=1e-5)
    assert teacher_advantage(knows * 3, targets, TaskKind.BINARY, 3.0) == pytest.approx(saved, rel=1e-5)
    assert teacher_advantage(-knows, targets, TaskKind.BINARY, 1.0) < -1
    assert teacher_advantage(knows, torch.zeros(4), TaskKind.BINARY, 1.0) == 0.0
    softmax = torch.cat([torch.zeros(4, 1), knows], dim=1)
    assert teacher_advantage(softmax, targets.long(), TaskKind.MULTICLASS, 1.0) == pytest.approx(saved, rel=1e-5)
    twice = teacher_advantage(torch.cat([knows, says], dim=1), targets[:, None].expand(-1, 2), TaskKind.MULTILABEL, 1.0)
    assert twice == pytest.approx(saved / 2, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_preview_multiplies_confidence_by_what_the_student_can_reach(kind: TaskKind) -> None:
    one, config = task_rows(kind, rows=20), DistillationConfig(lam=0.3)
    hard = cross_entropy(one.logits_NK, one.targets, kind)
    soft = distillation(one.logits_NK, one.teacher_logits, kind, config.temperature)
    weight = confidence_weights(one, config) * preview_weights(hard, one.context.epoch)
    assert torch.equal(METHODS["cpfd_preview"](one, config), 0.7 * hard.mean() + 0.3 * (weight * soft).mean())
    late = replace(one, context=replace(one.context, epoch=10_000))
    assert torch.equal(METHODS["cpfd_preview"](late, config), METHODS["cpfd_crossfit"](one, config))


@pytest.mark.parametrize("kind", KINDS)
def test_preview_weights_are_detached(kind: TaskKind) -> None:
    """The gradient is that of the loss with its weights frozen."""
    one, again = (task_rows(kind, requires_grad=True) for _ in range(2))
    config = DistillationConfig(lam=0.4)
    METHODS["cpfd_preview"](one, config).backward()
    hard = cross_entropy(again.logits_NK, again.targets, kind)
    frozen = (confidence_weights(again, config) * preview_weights(hard, again.context.epoch)).detach()
    soft = distillation(again.logits_NK, again.teacher_logits, kind, config.temperature)
    (0.6 * hard.mean() + 0.4 * (frozen * soft).mean()).backward()
    assert one.logits_NK.grad is not None
    assert torch.allclose(one.logits_NK.grad, again.logits_NK.grad)


def test_calibration_enters_the_confidence_alone() -> None:
    one, config = task_rows(TaskKind.BINARY), DistillationConfig()
    other = replace(one, calibration_temperature=CALIBRATION * 2)
    assert torch.equal(METHODS["pfd_crossfit"](one, config), METHODS["pfd_crossfit"](other, config))
    assert not torch.equal(METHODS["cpfd_crossfit"](one, config), METHODS["cpfd_crossfit"](other, config))
