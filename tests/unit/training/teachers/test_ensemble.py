"""Several teachers as one: their mean, their agreement, and what a student is given of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax
from scipy.stats import entropy

from contract.decision import TaskKind
from tests.unit.training.conftest import Toy
from training.config import RunConfig
from training.data.loading.row_set import with_soft_targets
from training.data.privileged import PrivilegedStatistics
from training.distillation.method import CROSS_FITTED, ENSEMBLE
from training.distillation.registry import METHODS
from training.teachers.cross_fitting import rows_at
from training.teachers.ensemble import EnsembleCard, opinion
from training.teachers.soft_targets import SoftTargetsError
from training.teachers.trial_teachers import Teachers

LOGITS = st.lists(st.floats(-30, 30, width=32), min_size=4, max_size=4)


def _one(*logits: float) -> NDArray[np.float32]:
    return np.asarray([logits], np.float32)


def test_members_that_say_the_same_agree_and_are_repeated() -> None:
    said = np.asarray([[-2.0], [0.5], [7.0]], np.float32)
    found = opinion([said, said * 3], [1.0, 3.0], TaskKind.BINARY)
    assert found.logits_NK == pytest.approx(said, abs=1e-5)
    assert found.agreement_N == pytest.approx(1.0)
    assert found.agreement_N.shape == (3,)


def test_members_that_are_sure_of_different_classes_have_nothing_in_common() -> None:
    found = opinion([_one(40.0), _one(-40.0)], [1.0, 1.0], TaskKind.BINARY)
    assert found.agreement_N[0] == pytest.approx(0, abs=1e-6)
    assert found.logits_NK[0, 0] == pytest.approx(0, abs=1e-5)


def test_mean_and_agreement_by_hand() -> None:
    found = opinion([_one(logit(0.9)), _one(2 * logit(0.5))], [1.0, 2.0], TaskKind.BINARY)
    assert expit(found.logits_NK[0, 0]) == pytest.approx(0.7)
    assert found.agreement_N[0] == pytest.approx(0.5 + 0.1)
    several = opinion([_one(*np.log([0.6, 0.3, 0.1])), _one(*np.log([0.2, 0.3, 0.5]))], [1.0, 1.0], TaskKind.MULTICLASS)
    assert softmax(several.logits_NK[0]) == pytest.approx([0.4, 0.3, 0.3])
    assert several.agreement_N[0] == pytest.approx(0.2 + 0.3 + 0.1)


def test_each_label_of_a_multilabel_task_has_its_own_agreement() -> None:
    found = opinion([_one(logit(0.9), 0.0), _one(logit(0.9), 40.0)], [1.0, 1.0], TaskKind.MULTILABEL)
    assert found.agreement_N == pytest.approx(np.asarray([[1.0, 0.5]]))
    assert expit(found.logits_NK[0]) == pytest.approx([0.9, 0.75])


@given(LOGITS, LOGITS, st.sampled_from(list(TaskKind)))
def test_agreement_lies_between_none_and_all_and_knows_no_order(
    one: list[float], other: list[float], kind: TaskKind
) -> None:
    width = 1 if kind is TaskKind.BINARY else 2
    a, b = (np.asarray(values, np.float32).reshape(-1, width) for values in (one, other))
    found, turned = opinion([a, b], [1.0, 2.0], kind), opinion([b, a], [2.0, 1.0], kind)
    assert ((found.agreement_N >= 0) & (found.agreement_N <= 1)).all()
    assert np.array_equal(found.agreement_N, turned.agreement_N)
    assert found.logits_NK == pytest.approx(turned.logits_NK, abs=1e-5)
    assert np.isfinite(found.logits_NK).all()


def test_the_mean_is_never_surer_than_its_members_are_on_average() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(0, 3, (50, 4)).astype(np.float32) for _ in range(2))
    mean = opinion([a, b], [1.0, 1.0], TaskKind.MULTICLASS).logits_NK
    entropies = [entropy(softmax(x, axis=1), axis=1) for x in (mean, a, b)]
    assert (entropies[0] >= (entropies[1] + entropies[2]) / 2 - 1e-6).all()


@pytest.mark.parametrize("members", [[], [_one(1.0)]])
def test_one_teacher_is_no_ensemble(members: list[NDArray[np.float32]]) -> None:
    with pytest.raises(ValueError, match="two or more"):
        opinion(members, [1.0] * len(members), TaskKind.BINARY)


def test_the_ensemble_is_of_both_kinds_of_cross_fitted_teachers(
    toy: Toy, tiny_config: RunConfig, tmp_path: Path
) -> None:
    short = tiny_config.model_copy(update={"optimiser": tiny_config.optimiser.model_copy(update={"epochs": 1})})
    train = toy.parts["train"]
    statistics = PrivilegedStatistics.fit(train.rows, toy.manifest.privileged_groups)
    teachers = Teachers(tmp_path, toy.data, short, statistics, 0)
    together = teachers.get(ENSEMBLE)
    members = [teachers.get(role) for role in CROSS_FITTED]
    assert isinstance(together.card, EnsembleCard)
    assert together.card.members == tuple(member.card.digest() for member in members)
    assert together.card.digest() not in together.card.members
    assert set(together.card.temperatures.values()) == {1.0}
    for task in toy.manifest.tasks:
        p = [
            softmax(m.soft_targets[task.name] / m.card.temperatures[task.name], axis=1)
            if task.kind is TaskKind.MULTICLASS
            else expit(m.soft_targets[task.name] / m.card.temperatures[task.name])
            for m in members
        ]
        mean = together.soft_targets[task.name]
        said = softmax(mean, axis=1) if task.kind is TaskKind.MULTICLASS else expit(mean)
        assert said == pytest.approx((p[0] + p[1]) / 2, abs=1e-5)
    with pytest.raises(SoftTargetsError, match="several teachers"):
        teachers.features(ENSEMBLE)

    rows = with_soft_targets(train, together.soft_targets, together.agreement)
    name = toy.manifest.tasks[0].name
    chosen = np.flatnonzero(rows.targets[name].labelled)[:3]
    batch = rows.build([(int(i), None) for i in chosen]).tasks[name]
    assert batch.agreement_N is not None
    assert torch.equal(batch.agreement_N, torch.from_numpy(together.agreement[name][chosen]))
    assert np.array_equal(rows_at(rows, chosen).agreement[name], together.agreement[name][chosen])
    assert METHODS["cpfd_ensemble"].cross_fitted
    assert METHODS["cpfd_ensemble"].reads_privileged
