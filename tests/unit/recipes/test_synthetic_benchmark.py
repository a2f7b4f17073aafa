"""The benchmark's machinery, and the directions that hold whatever the seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from contract.decision import TaskKind
from recipes.synthetic_benchmark.benchmark import _table, curve, run_study
from recipes.synthetic_benchmark.draws import ROWS, SCENARIOS, by_scenario, lopez_paz, predictive, stack
from recipes.synthetic_benchmark.learners import Contender, Scores, loss_of_each_seed, run_contender, train_teacher
from recipes.synthetic_benchmark.studies import LOPEZ_PAZ, SCENARIO_STUDIES, Study, knob_study
from recipes.synthetic_benchmark.table import render
from recipes.synthetic_benchmark.verdicts import difference
from training.config import DistillationConfig
from training.distillation.method import TeacherRole
from training.distillation.registry import METHODS
from training.distillation.task_batch import TaskBatch, TrainingContext

SEEDS = range(10)
TEACHERS: tuple[TeacherRole, ...] = ("privileged", "privileged_crossfit")


def shortened(study: Study, *names: str) -> Study:
    kept = tuple(one for one in study.contenders if one.name in names)
    return replace(study, contenders=kept, expectations=())


@pytest.mark.parametrize("index", [0, 2])
def test_lopez_paz_a_teacher_of_clean_labels_or_relevant_features_helps(index: int) -> None:
    scores, _ = run_study(shortened(LOPEZ_PAZ[index], "ce", "gend"), SEEDS, index)
    gain = scores["gend"].accuracy - scores["ce"].accuracy
    assert (gain > 0).all()
    assert gain.mean() > 0.04  # published: 7 and 8 points


def test_lopez_paz_a_sample_dependent_teacher_does_not_help() -> None:
    scores, _ = run_study(shortened(LOPEZ_PAZ[3], "ce", "gend"), SEEDS, 3)
    assert (scores["gend"].accuracy - scores["ce"].accuracy).mean() < 0.01


def test_gain_rises_and_then_falls_with_predictiveness() -> None:
    points = {}
    for stream, knob in enumerate((0.0, 0.5, 1.0)):
        points[knob] = run_study(shortened(knob_study(knob), "ce", "pfd", "gend", "cpfd"), SEEDS, 10 + stream)
    found = curve(points)
    assert found["students"]["gend"]["rises_then_falls"]
    teacher = [point[0] for point in found["teacher_accuracy"]]
    assert teacher == sorted(teacher)


def test_confidence_finds_the_scenarios_in_which_the_teacher_is_broken() -> None:
    study = next(s for s in SCENARIO_STUDIES if s.name == "scenario/flipped-1-noise-0")
    scores, _ = run_study(shortened(study, "pfd", "cpfd", "cpfd_constant", "cpfd_inverted"), SEEDS, 20)
    for other in ("pfd", "cpfd_constant", "cpfd_inverted"):
        assert difference(scores["cpfd"].accuracy, scores[other].accuracy, 3).verdict == "better", other


def test_a_cross_fitted_teacher_is_asked_only_of_rows_that_it_did_not_see() -> None:
    """Noise in the privileged columns: in sample it tells the labels by heart, out of fold no better than its share."""
    drawn = stack(lopez_paz("relevant_features"), SEEDS, 5)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(len(SEEDS), ROWS, 120))
    labels = rng.integers(0, 2, (len(SEEDS), ROWS)).astype(np.float64)
    leak = replace(drawn, regular=np.zeros_like(drawn.regular), privileged=noise, shown=noise, labels=labels)
    leak = replace(leak, validation_privileged=noise, test_privileged=rng.normal(size=(len(SEEDS), 2000, 120)))
    right = {}
    for role in TEACHERS:
        soft = train_teacher(leak, role)
        right[role] = ((soft.logits[..., 0] > 0).numpy() == (labels > 0.5)).mean()
    assert right["privileged"] > 0.8
    assert 0.42 < right["privileged_crossfit"] < 0.58
    plain = train_teacher(drawn, "plain_crossfit")
    changed = replace(drawn, privileged=noise, shown=noise)
    assert torch.equal(train_teacher(changed, "plain_crossfit").logits, plain.logits)


def test_confidence_does_not_beat_an_intact_teacher() -> None:
    scores, _ = run_study(shortened(SCENARIO_STUDIES[0], "pfd", "cpfd"), SEEDS, 21)
    assert abs((scores["cpfd"].accuracy - scores["pfd"].accuracy).mean()) < 0.005


@pytest.mark.parametrize(
    "method", [name for name, one in METHODS.items() if not one.predicts_privileged and not one.needs_features]
)
@pytest.mark.parametrize("per_class_norm", [False, True])
def test_mapped_losses_are_those_of_each_seed(method: str, per_class_norm: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, teacher = (torch.randn(3, 9, 1, generator=generator) for _ in range(2))
    labels = torch.randint(0, 2, (3, 9), generator=generator).float()
    temperatures, means = torch.tensor([0.5, 1.0, 2.0]), torch.rand(3, 2, generator=generator) + 0.1
    options = DistillationConfig(per_class_norm=per_class_norm)
    context = TrainingContext(step=4, total_steps=5, teacher_advantage=0.4)
    found = loss_of_each_seed(METHODS[method], options, logits, labels, teacher, temperatures, means, context)
    for s in range(3):
        own = replace(context, class_means=means[s])
        batch = TaskBatch(TaskKind.BINARY, logits[s], labels[s], teacher[s], float(temperatures[s]), own)
        if method != "cpfd_shuffled":  # one permutation for all seeds, not that of a single one
            assert found[s].item() == pytest.approx(METHODS[method](batch, options).item(), rel=1e-5)
    assert torch.isfinite(found).all()


def test_seeds_do_not_touch_each_other() -> None:
    contender = Contender("pfd", "pfd", DistillationConfig())
    alone, among = (run_contender(stack(lopez_paz("clean_labels"), seeds, 0), contender, {}) for seeds in ([1], [0, 1]))
    assert alone.accuracy[0] == pytest.approx(among.accuracy[1], abs=2e-3)
    assert alone.log_loss[0] == pytest.approx(among.log_loss[1], abs=1e-3)


def test_methods_that_need_a_representation_are_refused() -> None:
    draw = stack(lopez_paz("clean_labels"), [0], 0)
    for method in ("mtl", "pckd"):
        with pytest.raises(ValueError, match=method):
            run_contender(draw, Contender(method, method, DistillationConfig()), {})


def test_corruption_stays_in_its_scenarios() -> None:
    scenario = np.arange(ROWS) % SCENARIOS
    for corruption, broken in (("shuffled", scenario < 2), ("flipped", scenario < 2)):
        one = by_scenario(corruption, 2, 0.0)(np.random.default_rng(0))  # type: ignore[arg-type]
        changed = (one.shown != one.privileged).any(axis=1)
        assert not changed[~broken].any()
        assert changed[broken].mean() > 0.9
    intact = by_scenario("none", 2, 0.0)(np.random.default_rng(0))
    assert np.array_equal(intact.shown, intact.privileged)


def test_the_knob_makes_the_feature_ever_more_predictive() -> None:
    found = []
    for knob in (0.0, 0.25, 0.5, 0.75, 1.0):
        one = predictive(knob)(np.random.default_rng(3))
        found.append(np.corrcoef(one.test_privileged[:, 0], one.test_labels)[0, 1])
    assert found == sorted(found)


def test_verdicts_by_hand() -> None:
    up, down = np.array([0.3, 0.2, 0.25, 0.25]), np.array([0.1, 0.1, 0.1, 0.1])
    assert difference(up, down, 1).verdict == "better"
    assert difference(up, down, 1, higher_is_better=False).verdict == "worse"
    assert difference(down, up, 1).verdict == "worse"
    assert difference(np.array([0.1, -0.1, 0.2, -0.2]), np.zeros(4), 1).verdict == "not distinguishable"
    one, many = difference(up, down, 1).interval, difference(up, down, 10).interval
    assert many[0] < one[0] < one[1] < many[1]
    low, high = one
    assert (low, high) == pytest.approx((0.15 - 3.1824 * 0.0204124, 0.15 + 3.1824 * 0.0204124), abs=1e-4)


def test_the_table_prints_what_did_not_hold() -> None:
    flat = {name: Scores(np.full(5, 0.7) + np.arange(5) / 100, np.full(5, 0.5)) for name in ("ce", "gend")}
    study = shortened(LOPEZ_PAZ[0], "ce", "gend")
    study = replace(study, expectations=LOPEZ_PAZ[0].expectations)
    points = {knob: ({n: flat["ce"] for n in ("ce", "pfd", "gend", "cpfd")}, _teacher()) for knob in (0.0, 0.5, 1.0)}
    document: dict[str, Any] = {
        "seeds": list(range(5)),
        "rows": {"train": 1, "validation": 1, "held_out": 1, "width": 1},
        "training": {"steps": 1, "learning_rate": 1, "ridge": 1, "torch": "2"},
        "studies": {study.name: _table(study, flat, {})},
        "curve": curve(points),
    }
    text = render(document)
    assert "not distinguishable | **no** |" in text
    assert "no rise and fall beyond noise" in text


def _teacher() -> dict[Any, Any]:
    scores = Scores(np.array([0.8, 0.9]), np.array([0.1, 0.1]))
    return {"privileged": type("Found", (), {"held_out": scores})()}
