"""Shaping and weighting: identities, numbers by hand, the same mean for every class."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch

from contract.decision import TaskKind
from tests.unit.training.distillation.rows import KINDS, task_rows, with_class_means
from training.config import DistillationConfig, WeightingName
from training.distillation.registry import METHODS
from training.distillation.row_weights import class_means, confidence_weights, shape
from training.distillation.task_losses import class_index
from training.distillation.weighted_losses import WEIGHTINGS, mean_one, weighted_loss

HARD, SOFT, WEIGHT = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 10.0]), torch.tensor([0.5, 0.1])


def test_the_config_names_the_registry() -> None:
    assert set(get_args(WeightingName)) == set(WEIGHTINGS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("scale", 0.75 * 2 + 0.25 * (0.5 * 2 + 0.1 * 10) / 2),
        ("mix", ((1 - 0.125) * 1 + 0.125 * 2 + (1 - 0.025) * 3 + 0.025 * 10) / 2),
        ("norm", 0.75 * 2 + 0.25 * (0.5 / 0.3 * 2 + 0.1 / 0.3 * 10) / 2),
    ],
)
def test_weightings_by_hand(name: str, expected: float) -> None:
    assert WEIGHTINGS[name](HARD, SOFT, WEIGHT, 0.25).item() == pytest.approx(expected, rel=1e-6)


def test_mix_never_pays_for_being_wrong() -> None:
    """A weight of 10 at lambda 0.5 would give the label a share of -4."""
    found = WEIGHTINGS["mix"](HARD, SOFT, torch.tensor([10.0, 10.0]), 0.5)
    assert found.item() == pytest.approx(SOFT.mean().item())


def test_norm_of_nothing_is_nothing() -> None:
    assert mean_one(torch.zeros(3)).tolist() == [0, 0, 0]
    assert mean_one(WEIGHT).mean().item() == pytest.approx(1)


def test_shape_by_hand() -> None:
    confidence = torch.tensor([0.0, 0.25, 1.0])
    assert shape(confidence, DistillationConfig(gamma=0.5, floor=0.2)).tolist() == pytest.approx([0.2, 0.5, 1])
    assert torch.equal(shape(confidence, DistillationConfig()), confidence)
    assert shape(confidence, DistillationConfig(gamma=0)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("neutral", [{"confidence": "uniform"}, {"gamma": 0.0}, {"floor": 1.0}])
@pytest.mark.parametrize("per_class_norm", [False, True])
def test_neutral_weights_are_pfd_bit_for_bit(
    kind: TaskKind, weighting: str, neutral: dict[str, object], per_class_norm: bool
) -> None:
    options = {"weighting": weighting, "per_class_norm": per_class_norm}
    config = DistillationConfig.model_validate(options | neutral)
    one = with_class_means(task_rows(kind), config)
    assert torch.equal(METHODS["cpfd"](one, config), METHODS["pfd"](one, config))
    adaptive = DistillationConfig.model_validate(options)
    other = with_class_means(one, adaptive)
    assert not torch.equal(METHODS["cpfd"](other, adaptive), METHODS["pfd"](other, adaptive))


@pytest.mark.parametrize("kind", KINDS)
def test_every_class_has_mean_weight_one(kind: TaskKind) -> None:
    config = DistillationConfig(per_class_norm=True)
    one = with_class_means(task_rows(kind, rows=40), config)
    weight, index = confidence_weights(one, config), class_index(one.targets, kind)
    columns = zip(weight.T, index.T, strict=True) if kind is TaskKind.MULTILABEL else [(weight, index)]
    for own, classes in columns:
        for k in classes.unique():
            assert own[classes == k].mean().item() == pytest.approx(1, abs=1e-5)
    assert weight.std() > 0.1


def test_class_means_by_hand() -> None:
    """Binary, p_t(yes) = 0.8 and 0.6 on two positives, 0.2 on none of the negatives: there are none."""
    logits = torch.tensor([[0.8], [0.6]]).logit()
    means = class_means(logits, torch.tensor([1.0, 1.0]), TaskKind.BINARY, 1.0, DistillationConfig())
    assert means.tolist() == pytest.approx([1.0, 0.7])
    three = class_means(torch.zeros(2, 3), torch.tensor([0, 2]), TaskKind.MULTICLASS, 1.0, DistillationConfig())
    assert three.tolist() == pytest.approx([1 / 3, 1, 1 / 3])
    labels = class_means(
        torch.tensor([[0.8, 0.6]]).logit(), torch.tensor([[1.0, 0.0]]), TaskKind.MULTILABEL, 1.0, DistillationConfig()
    )
    assert labels.flatten().tolist() == pytest.approx([1.0, 0.8, 0.4, 1.0])


def test_class_means_have_to_be_there() -> None:
    one = task_rows(TaskKind.BINARY)
    without = replace(one, context=replace(one.context, class_means=None))
    with pytest.raises(ValueError, match="class means"):
        confidence_weights(without, DistillationConfig(per_class_norm=True))


def test_faults_are_named() -> None:
    one = task_rows(TaskKind.BINARY)
    wrong = DistillationConfig().model_copy(update={"weighting": "nonsense"})
    with pytest.raises(KeyError, match="scale, mix, norm"):
        weighted_loss(one, wrong, confidence_weights(one, DistillationConfig()))
    with pytest.raises(ValueError, match="no soft targets"):
        confidence_weights(replace(one, teacher_NK=None), DistillationConfig())
