"""What holds for every method of the registry, and each method's formula by hand."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch

from contract.decision import TaskKind
from tests.unit.training.distillation.rows import KINDS, task_rows, two_class
from training.config import DistillationConfig
from training.distillation.methods.controls import reverse_ranks
from training.distillation.methods.ea_kd import entropy_weights
from training.distillation.methods.pckd import preview_weights
from training.distillation.methods.wsld import wsld_weights
from training.distillation.registry import METHODS, require_known
from training.distillation.row_weights import confidence_weights
from training.distillation.task_batch import PrivilegedPrediction, TaskBatch, TrainingContext
from training.distillation.task_losses import cross_entropy, distillation, soft_cross_entropy

DISTILS = [name for name, method in METHODS.items() if method.teacher != "none"]
OWN_BALANCE = ("pfd_joint", "pckd_preview", "pckd", "wsld", "tpd", "cckd", "cwtm", "cwtc")
LAMBDA_MIXES = [name for name in DISTILS if name not in OWN_BALANCE]
CONTROLS = ["cpfd_constant", "cpfd_shuffled", "cpfd_inverted"]


def test_registry_lists_each_method_once_with_its_source() -> None:
    assert all(method.name == name and method.source for name, method in METHODS.items())
    assert all(re.search(r"arXiv:\d{4}\.\d{5}|method.md", one.source) or name == "ce" for name, one in METHODS.items())
    assert {"ce", "kd", "self_distillation", "gend", "pfd", "pfd_joint", "cpfd", "mtl"} <= set(METHODS)
    with pytest.raises(ValueError, match=r"'nonsense'.*cpfd_inverted"):
        require_known(["ce", "nonsense"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", LAMBDA_MIXES)
@pytest.mark.parametrize("weighting", ["scale", "mix", "norm"])
def test_lambda_zero_is_cross_entropy(kind: TaskKind, method: str, weighting: str) -> None:
    one, config = task_rows(kind), DistillationConfig.model_validate({"lam": 0, "weighting": weighting})
    assert torch.equal(METHODS[method](one, config), METHODS["ce"](one, config))
    assert not torch.equal(METHODS[method](one, config.model_copy(update={"lam": 0.5})), METHODS["ce"](one, config))


@pytest.mark.parametrize("kind", KINDS)
def test_no_distillation_is_cross_entropy_where_it_is_added(kind: TaskKind) -> None:
    one = task_rows(kind)
    off = DistillationConfig(preview_delta=0, wsld_alpha=0, mtl_beta=0, pckd_beta=0, pckd_alpha=0, pckd_fa=0)
    for method in ("pckd_preview", "pckd", "wsld", "mtl"):
        assert torch.equal(METHODS[method](one, off), METHODS["ce"](one, off))
        assert not torch.equal(METHODS[method](one, DistillationConfig()), METHODS["ce"](one, off))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_gradients_reach_the_student_and_no_teacher(kind: TaskKind, method: str) -> None:
    one = task_rows(kind, requires_grad=True)
    METHODS[method](one, DistillationConfig()).backward()
    assert one.logits_NK.grad is not None
    assert one.logits_NK.grad.abs().sum() > 0
    assert one.teacher_NK is not None
    if method == "pfd_joint":
        alone = task_rows(kind, requires_grad=True)
        assert alone.teacher_NK is not None
        cross_entropy(alone.teacher_NK, alone.targets, kind).mean().backward()
        assert one.teacher_NK.grad is not None
        assert torch.equal(one.teacher_NK.grad, alone.teacher_NK.grad)  # its own labels' and nothing of the student's
    else:
        assert one.teacher_NK.grad is None
    assert one.features is not None
    assert one.features.teacher_ND.grad is None


@pytest.mark.parametrize("method", [name for name in METHODS if name != "cpfd_shuffled"])
def test_binary_equals_two_class_softmax(method: str) -> None:
    one, config = task_rows(TaskKind.BINARY), DistillationConfig(lam=0.3, temperature=3.0)
    assert METHODS[method](one, config).item() == pytest.approx(
        METHODS[method](two_class(one), config).item(), rel=1e-5
    )


def test_binary_equals_two_class_softmax_for_shuffled_weights() -> None:
    """The shuffle is the context's, so it is the same on both heads."""
    one, config = task_rows(TaskKind.BINARY), DistillationConfig(lam=1)
    found, other = (METHODS["cpfd_shuffled"](batch, config).item() for batch in (one, two_class(one)))
    assert found == pytest.approx(other, rel=1e-5)
    assert found != pytest.approx(METHODS["cpfd"](one, config).item(), rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_extreme_logits_stay_finite(kind: TaskKind, method: str) -> None:
    one = task_rows(kind, scale=500.0, requires_grad=True)
    loss = METHODS[method](one, DistillationConfig(temperature=1.0))
    loss.backward()
    assert torch.isfinite(loss)
    assert one.logits_NK.grad is not None
    assert torch.isfinite(one.logits_NK.grad).all()


@pytest.mark.parametrize("method", DISTILS)
def test_missing_soft_targets_are_named(method: str) -> None:
    with pytest.raises(ValueError, match="no soft targets"):
        METHODS[method](replace(task_rows(TaskKind.BINARY), teacher_NK=None), DistillationConfig())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["ce", "pfd", "cpfd"])
@pytest.mark.parametrize("scale", [0.5, 2.0, 30.0])
def test_default_methods_are_bit_for_bit_what_they_were(kind: TaskKind, method: str, scale: float) -> None:
    """The formulas as version 0.1.0 wrote them."""
    one, config = task_rows(kind, scale=scale, rows=33), DistillationConfig()
    hard, soft = (
        cross_entropy(one.logits_NK, one.targets, kind),
        distillation(one.logits_NK, one.teacher_logits, kind, 2),
    )
    calibrated = one.teacher_logits / one.calibration_temperature
    if kind is TaskKind.MULTICLASS:
        confidence = torch.softmax(calibrated, dim=1).gather(1, one.targets[:, None])[:, 0]
    else:
        logits = calibrated[:, 0] if kind is TaskKind.BINARY else calibrated
        confidence = torch.sigmoid(torch.where(one.targets > 0.5, logits, -logits))
    expected = {
        "ce": hard.mean(),
        "pfd": (1 - 0.5) * hard.mean() + 0.5 * soft.mean(),
        "cpfd": (1 - 0.5) * hard.mean() + 0.5 * (confidence * soft).mean(),
    }
    assert torch.equal(METHODS[method](one, config), expected[method])


@pytest.mark.parametrize("kind", KINDS)
def test_controls_keep_what_they_say(kind: TaskKind, monkeypatch: pytest.MonkeyPatch) -> None:
    one, config = task_rows(kind, rows=20), DistillationConfig()
    seen: dict[str, torch.Tensor] = {}
    for name in CONTROLS:
        module = "training.distillation.methods.controls.weighted_loss"
        monkeypatch.setattr(module, lambda batch, config, weight, name=name: seen.setdefault(name, weight).sum())
        METHODS[name](one, config)
    weight = confidence_weights(one, config)
    assert torch.equal(seen["cpfd_constant"], torch.full_like(weight, weight.mean().item()))
    for name in ("cpfd_shuffled", "cpfd_inverted"):
        assert torch.equal(seen[name].sort(dim=0).values, weight.sort(dim=0).values)
        assert not torch.equal(seen[name], weight)
    assert torch.equal(seen["cpfd_inverted"].argsort(dim=0), weight.argsort(dim=0).flip(0))


def test_shuffle_follows_the_step_and_leaves_the_global_generator_alone() -> None:
    one, config = task_rows(TaskKind.BINARY, rows=30), DistillationConfig(lam=1)
    before = torch.get_rng_state()
    first, again = (METHODS["cpfd_shuffled"](one, config) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    later = replace(one, context=replace(one.context, step=11))
    assert not torch.equal(METHODS["cpfd_shuffled"](later, config), first)


def test_reverse_ranks_by_hand() -> None:
    assert reverse_ranks(torch.tensor([0.1, 0.9, 0.5, 0.2])).tolist() == pytest.approx([0.9, 0.1, 0.2, 0.5])


@pytest.mark.parametrize("epoch", [0, 100])
def test_preview_weights_by_hand(epoch: int) -> None:
    """Mean 1: gammas are the losses themselves. 1.005^100 = 1.647 lets the third row in."""
    found = preview_weights(torch.tensor([0.5, 0.4, 1.5, 1.6]), epoch)
    expected = [1, 1, 1 if epoch else math.exp(-(1.5**2)), 1 if epoch else math.exp(-(1.6**2))]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_wsld_weights_by_hand() -> None:
    found = wsld_weights(torch.tensor([2.0, 1.0, 0.0, 1.0]), torch.tensor([1.0, 2.0, 0.0, 0.0]))
    assert found.tolist() == pytest.approx([1 - math.exp(-2), 1 - math.exp(-0.5), 0, 1], rel=1e-6)


def test_entropy_weights_by_hand() -> None:
    """A teacher that knows nothing weighs log K (1 + H_s / log K) / 2; one that is certain, nothing."""
    uniform, certain = torch.zeros(1, 4), torch.tensor([[500.0, 0, 0, 0]])
    pairs = [(uniform, uniform, math.log(4)), (certain, uniform, 0.5 * math.log(4)), (uniform, certain, 0.0)]
    for student, teacher, expected in pairs:
        found = entropy_weights(student, teacher, TaskKind.MULTICLASS, 3.0).item()
        assert found == pytest.approx(expected, abs=1e-5)


def binary(student: float, teacher: float, label: float, context: TrainingContext | None = None) -> TaskBatch:
    return TaskBatch(
        TaskKind.BINARY,
        torch.tensor([[student]]),
        torch.tensor([label]),
        torch.tensor([[teacher]]),
        1.0,
        context or TrainingContext(),
    )


def bernoulli(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def test_wsld_by_hand() -> None:
    p, q = bernoulli(0.5 / 2), bernoulli(1.5 / 2)
    ce_s, ce_t = -math.log(bernoulli(0.5)), -math.log(bernoulli(1.5))
    soft = -(q * math.log(p) + (1 - q) * math.log(1 - p))
    expected = ce_s + 2.5 * 4 * (1 - math.exp(-ce_s / ce_t)) * soft
    assert METHODS["wsld"](binary(0.5, 1.5, 1.0), DistillationConfig()).item() == pytest.approx(expected, rel=1e-5)


def test_tpd_by_hand() -> None:
    """Right about a positive: follow. Wrong about a negative: leave, but not for more than the clip."""
    p, q = bernoulli(0.5), bernoulli(1.5)
    apart = -(p * math.log(q) + (1 - p) * math.log(1 - q))
    config = DistillationConfig(tpd_beta=0.3)
    assert METHODS["tpd"](binary(0.5, 1.5, 1.0), config).item() == pytest.approx(apart, rel=1e-5)
    assert METHODS["tpd"](binary(0.5, 1.5, 0.0), config).item() == pytest.approx(-0.3 * apart, rel=1e-5)
    assert METHODS["tpd"](binary(-9.0, 9.0, 0.0), config).item() == pytest.approx(-0.3 * 2.0, rel=1e-5)


def test_joint_waits_for_the_swap_step() -> None:
    config = DistillationConfig(swap_share=0.25)
    early, late = (TrainingContext(step=step, total_steps=8) for step in (1, 2))
    one = binary(0.5, 1.5, 1.0)
    teacher_ce = -math.log(bernoulli(1.5))
    before = METHODS["pfd_joint"](replace(one, context=early), config).item()
    after = METHODS["pfd_joint"](replace(one, context=late), config).item()
    assert before == pytest.approx(METHODS["ce"](one, config).item() + teacher_ce, rel=1e-6)
    assert after == pytest.approx(METHODS["pfd"](one, config).item() + teacher_ce, rel=1e-6)
    assert before != pytest.approx(after)


def test_mtl_by_hand() -> None:
    """Errors 1 and 3, the second row's first feature absent: (1 + 9 + 4) / 3."""
    prediction = PrivilegedPrediction(
        torch.tensor([[1.0, 3.0], [99.0, 2.0]]), torch.zeros(2, 2), torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    )
    one = TaskBatch(TaskKind.BINARY, torch.zeros(2, 1), torch.tensor([1.0, 0.0]), privileged=prediction)
    expected = math.log(2) + 0.5 * 14 / 3
    assert METHODS["mtl"](one, DistillationConfig()).item() == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="holds none"):
        METHODS["mtl"](replace(one, privileged=None), DistillationConfig())


@pytest.mark.parametrize("kind", KINDS)
def test_soft_cross_entropy_is_divergence_plus_entropy(kind: TaskKind) -> None:
    one = task_rows(kind)
    own = soft_cross_entropy(one.teacher_logits, one.teacher_logits, kind, 2.0)
    apart = soft_cross_entropy(one.logits_NK, one.teacher_logits, kind, 2.0) - own
    assert torch.allclose(4 * apart, distillation(one.logits_NK, one.teacher_logits, kind, 2.0), atol=1e-5)


def test_cckd_by_hand() -> None:
    """The calibrated confidence is 1 / (1 + e^-0.75): the label's share of the loss, or of the target, is the rest."""
    one = replace(binary(0.5, 1.5, 1.0), calibration_temperature=2.0)
    trust, ce = bernoulli(0.75), -math.log(bernoulli(0.5))
    p, q = bernoulli(0.25), bernoulli(0.75)
    kd = 4 * (q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p)))
    found = METHODS["cckd"](one, DistillationConfig()).item()
    assert found == pytest.approx((1 - trust) * ce + trust * kd, rel=1e-5)
    positive = trust * bernoulli(1.5) + (1 - trust)
    expected = -positive * math.log(bernoulli(0.5)) - (1 - positive) * math.log(1 - bernoulli(0.5))
    assert METHODS["cckd"](one, DistillationConfig(cckd_form="target")).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_cckd_is_the_mix_of_cpfd_at_lambda_one(kind: TaskKind) -> None:
    one = task_rows(kind)
    expected = METHODS["cpfd"](one, DistillationConfig(lam=1, weighting="mix"))
    assert METHODS["cckd"](one, DistillationConfig()).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("method", "weights"), [("cwtm", (0.8, 0.6)), ("cwtc", (0.8, 0.4))])
def test_born_again_weights_by_hand(method: str, weights: tuple[float, float]) -> None:
    """The teacher says 0.8 and 0.6; the first label is positive, the second negative. The weights add up to 1."""
    teacher = torch.logit(torch.tensor([[0.8], [0.6]]))
    one = TaskBatch(TaskKind.BINARY, torch.tensor([[0.3], [-0.2]]), torch.tensor([1.0, 0.0]), teacher)
    losses = (-math.log(bernoulli(0.3)), -math.log(bernoulli(0.2)))
    expected = sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)
    assert METHODS[method](one, DistillationConfig()).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("method", ["cwtm", "cwtc"])
def test_a_label_of_a_multilabel_task_is_weighed_by_itself(method: str) -> None:
    one = task_rows(TaskKind.MULTILABEL)
    alone = [
        METHODS[method](
            TaskBatch(
                TaskKind.BINARY,
                one.logits_NK[:, k : k + 1],
                one.targets[:, k],
                one.teacher_logits[:, k : k + 1],
                one.calibration_temperature,
            ),
            DistillationConfig(),
        )
        for k in range(4)
    ]
    assert METHODS[method](one, DistillationConfig()).item() == pytest.approx(
        torch.stack(alone).mean().item(), rel=1e-5
    )
