"""The loss of a batch: its tasks weighted, and everything that a method is handed about the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from contract.decision import TaskKind, TaskSpec
from training.config import DistillationConfig, OptimiserConfig, RunConfig
from training.data.loading.row_set import Batch, TaskRows
from training.data.targets import TaskTargets
from training.distillation.batch_loss import LossPlan, plan_loss
from training.distillation.method import Method
from training.distillation.registry import METHODS
from training.distillation.row_weights import balancing_weights, class_means
from training.distillation.task_batch import TaskBatch, TrainingContext
from training.distillation.task_losses import cross_entropy
from training.distillation.teacher_advantage import teacher_advantage

YES = TaskSpec(name="yes", kind=TaskKind.BINARY, labels=("no", "yes"))
TOPIC = TaskSpec(name="topic", kind=TaskKind.MULTICLASS, labels=("a", "b", "c"), flag_labels=("c",))
EMPTY = TaskSpec(name="empty", kind=TaskKind.BINARY, labels=("no", "yes"))
YES_ROWS = TaskRows(YES, torch.tensor([3, 0]), torch.tensor([1.0, 0.0]), torch.tensor([[0.5], [-2.0]]))
TOPIC_ROWS = TaskRows(TOPIC, torch.tensor([1, 2, 3]), torch.tensor([0, 2, 1]), torch.arange(9.0).view(3, 3))
NO_ROWS = TaskRows(EMPTY, torch.zeros(0, dtype=torch.long), torch.zeros(0), None)
OUTPUTS = {
    "yes": torch.tensor([[0.3], [9.0], [9.0], [-1.2]]),
    "topic": torch.tensor([[9.0, 0, 0], [0.1, 0.2, 0.3], [1.0, -1.0, 0.5], [0.0, 2.0, -2.0]]),
    "empty": torch.full((4, 1), 9.0),
}


def batch(*tasks: TaskRows, privileged: dict[str, tuple[Tensor, Tensor]] | None = None) -> Batch:
    return Batch({}, privileged or {}, {rows.task.name: rows for rows in tasks})


class Recorder:
    """A loss that keeps what it was handed; the loss itself is the cross-entropy of the labels."""

    def __init__(self) -> None:
        self.seen: list[TaskBatch] = []
        self.options: list[DistillationConfig] = []

    def __call__(self, rows: TaskBatch, options: DistillationConfig) -> Tensor:
        self.seen.append(rows)
        self.options.append(options)
        return cross_entropy(rows.logits_NK, rows.targets, rows.kind).mean()


def planned(config: RunConfig, recorder: Recorder, method: Mapping[str, Any] | None = None, **facts: Any) -> LossPlan:
    plan = LossPlan(
        Method("recorded", recorder, "none", "here", **(method or {})), config, {}, {}, {}, TrainingContext()
    )
    return replace(plan, **facts)


def by_hand(rows: TaskRows) -> float:
    logits = OUTPUTS[rows.task.name][rows.positions_N]
    return float(cross_entropy(logits, rows.targets, rows.task.kind).mean())


@pytest.mark.parametrize(
    ("weights", "yes", "topic"), [({}, 0.5, 0.5), ({"yes": 3.0}, 0.75, 0.25), ({"topic": 0.0}, 1.0, 0.0)]
)
def test_tasks_are_averaged_by_their_weights(
    tiny_config: RunConfig, weights: dict[str, float], yes: float, topic: float
) -> None:
    config = tiny_config.model_copy(update={"optimiser": OptimiserConfig(task_weights=weights)})
    loss = planned(config, Recorder()).epoch(0, 5)(batch(YES_ROWS, TOPIC_ROWS, NO_ROWS), OUTPUTS, 0)
    assert loss.item() == pytest.approx(yes * by_hand(YES_ROWS) + topic * by_hand(TOPIC_ROWS), rel=1e-6)


def test_a_task_without_labelled_rows_neither_counts_nor_ends_the_sum(tiny_config: RunConfig) -> None:
    recorder = Recorder()
    loss = planned(tiny_config, recorder).epoch(0, 5)(batch(NO_ROWS, YES_ROWS), OUTPUTS, 0)
    assert loss.item() == pytest.approx(by_hand(YES_ROWS), rel=1e-6)
    assert [len(rows.targets) for rows in recorder.seen] == [2]


def test_a_batch_without_labels_costs_nothing_and_can_still_be_gone_back_through(tiny_config: RunConfig) -> None:
    outputs = {name: values.clone().requires_grad_() for name, values in OUTPUTS.items()}
    loss = planned(tiny_config, Recorder()).epoch(0, 5)(batch(NO_ROWS), outputs, 0)
    assert (loss.item(), loss.shape) == (0.0, ())
    loss.backward()
    assert all(values.grad is not None and values.grad.abs().sum() == 0 for values in outputs.values())


def test_a_method_is_handed_each_tasks_own_rows_and_facts(tiny_config: RunConfig) -> None:
    recorder = Recorder()
    means, weights = torch.tensor([0.5, 0.7]), torch.tensor([1.0, 2.0, 3.0])
    plan = planned(
        tiny_config,
        recorder,
        temperatures={"yes": 1.7},
        class_means={"yes": means},
        advantages={"yes": 0.4},
        label_weights={"topic": weights},
        context=TrainingContext(seed=11, total_steps=60),
    )
    plan.epoch(2, 20)(batch(YES_ROWS, TOPIC_ROWS), OUTPUTS, 7)
    yes, topic = recorder.seen
    for found, rows in ((yes, YES_ROWS), (topic, TOPIC_ROWS)):
        assert found.kind is rows.task.kind
        assert torch.equal(found.logits_NK, OUTPUTS[rows.task.name][rows.positions_N])
        assert torch.equal(found.targets, rows.targets)
        assert found.teacher_NK is rows.teacher_NK
        assert (found.privileged, found.features) == (None, None)
        assert (found.context.seed, found.context.total_steps) == (11, 60)
        assert (found.context.epoch, found.context.step) == (2, 47)
    assert (yes.calibration_temperature, topic.calibration_temperature) == (1.7, 1.0)
    assert yes.context.class_means is means
    assert yes.context.teacher_advantage == 0.4
    assert yes.context.label_weights is None
    assert (topic.context.class_means, topic.context.teacher_advantage) == (None, None)
    assert topic.context.label_weights is weights
    assert recorder.options == [tiny_config.distillation] * 2


def test_a_teacher_that_trains_along_stands_in_the_place_of_the_stored_one(tiny_config: RunConfig) -> None:
    recorder = Recorder()
    live = {"teacher/topic": torch.arange(12.0).view(4, 3) - 5}
    planned(tiny_config, recorder).epoch(0, 5)(batch(YES_ROWS, TOPIC_ROWS), OUTPUTS | live, 0)
    yes, topic = recorder.seen
    assert topic.teacher_NK is not None
    assert topic.teacher_NK.tolist() == [[-2, -1, 0], [1, 2, 3], [4, 5, 6]]
    assert yes.teacher_NK is YES_ROWS.teacher_NK


def test_predicted_privileged_features_stand_beside_what_is_known_of_them(tiny_config: RunConfig) -> None:
    recorder = Recorder()
    one, two = torch.arange(8.0).view(4, 2), torch.arange(4.0).view(4, 1) + 100
    known = {"clicks": (-one, torch.ones(4, 2)), "age": (-two, torch.zeros(4, 1))}
    outputs = OUTPUTS | {"privileged/clicks": one, "privileged/age": two}
    plan = planned(tiny_config, recorder, {"predicts_privileged": True})
    plan.epoch(0, 5)(batch(YES_ROWS, privileged=known), outputs, 0)
    found = recorder.seen[0].privileged
    assert found is not None
    assert found.predicted_NF.tolist() == [[6, 7, 103], [0, 1, 100]]
    assert found.values_NF.tolist() == [[-6, -7, -103], [0, -1, -100]]
    assert found.presence_NF.tolist() == [[1, 1, 0], [1, 1, 0]]


def test_features_of_student_and_teacher_are_of_the_same_rows(tiny_config: RunConfig) -> None:
    recorder = Recorder()
    names = ("features/student_anchor/yes", "features/teacher_anchor/yes", "features/classifier_gap/yes")
    outputs = {name: 100.0 * k + torch.arange(4.0).view(4, 1) for k, name in enumerate((*names, "features/aligned"))}
    represented = torch.tensor([[7.0], [8.0]])
    plan = planned(tiny_config, recorder, {"needs_features": True})
    plan.epoch(0, 5)(batch(replace(YES_ROWS, features_ND=represented)), OUTPUTS | outputs, 0)
    found = recorder.seen[0].features
    assert found is not None
    assert found.student_anchor_NK.tolist() == [[3], [0]]
    assert found.teacher_anchor_NK.tolist() == [[103], [100]]
    assert found.classifier_gap_N1.tolist() == [[203], [200]]
    assert found.aligned_ND.tolist() == [[303], [300]]
    assert found.teacher_ND is represented
    with pytest.raises(ValueError, match="none of the teacher's"):
        plan.epoch(0, 5)(batch(YES_ROWS), OUTPUTS | outputs, 0)


def training_rows(*, soft: bool = True) -> Any:
    """Of a row set, what a plan reads: row 1 of ``yes`` and row 3 of ``topic`` are not labelled."""
    rng = np.random.default_rng(5)
    targets = {
        "yes": TaskTargets(YES, np.array([True, False, True, True]), np.array([1, 0, 0, 1], np.float32)),
        "topic": TaskTargets(TOPIC, np.array([True, True, True, False]), np.array([2, 0, 2, 0])),
        "empty": TaskTargets(EMPTY, np.zeros(4, np.bool_), np.zeros(4, np.float32)),
    }
    logits = {name: rng.normal(0, 2, (4, 3 if name == "topic" else 1)).astype(np.float32) for name in targets}
    return SimpleNamespace(targets=targets, soft_targets=logits if soft else {})


TEACHER: Any = SimpleNamespace(temperatures={"yes": 1.7})


def labelled(rows: Any, name: str) -> tuple[Tensor, Tensor]:
    mask = rows.targets[name].labelled
    return torch.from_numpy(rows.soft_targets[name][mask]), torch.from_numpy(rows.targets[name].values[mask])


def test_a_plan_measures_the_teacher_on_the_labelled_rows_at_its_own_temperature(tiny_config: RunConfig) -> None:
    rows = training_rows()
    plan = plan_loss("cpfd", tiny_config, TEACHER, rows, 11, 60)
    expected = {
        "yes": teacher_advantage(*labelled(rows, "yes"), TaskKind.BINARY, 1.7),
        "topic": teacher_advantage(*labelled(rows, "topic"), TaskKind.MULTICLASS, 1.0),
    }
    assert plan.advantages == pytest.approx(expected)
    assert plan.temperatures == {"yes": 1.7}
    assert plan.method is METHODS["cpfd"]
    assert plan.config is tiny_config
    assert (plan.context.seed, plan.context.total_steps) == (11, 60)
    assert (plan.class_means, plan.label_weights) == ({}, {})


def test_a_plan_holds_class_means_where_confidence_is_evened_out(tiny_config: RunConfig) -> None:
    rows, options = training_rows(), DistillationConfig(per_class_norm=True, gamma=2)
    plan = plan_loss("cpfd", tiny_config.model_copy(update={"distillation": options}), TEACHER, rows, 0, 1)
    assert set(plan.class_means) == {"yes", "topic", "empty"}
    for name, kind, temperature in (("yes", TaskKind.BINARY, 1.7), ("topic", TaskKind.MULTICLASS, 1.0)):
        expected = class_means(*labelled(rows, name), kind, temperature, options)
        assert torch.equal(plan.class_means[name], expected)


def test_a_method_that_fixes_the_option_decides_over_the_run(tiny_config: RunConfig) -> None:
    fixed = next(name for name, one in METHODS.items() if one.options.get("per_class_norm"))
    assert plan_loss(fixed, tiny_config, TEACHER, training_rows(), 0, 1).class_means


def test_a_plan_balances_classes_only_where_it_is_asked_to(tiny_config: RunConfig) -> None:
    rows = training_rows(soft=False)
    config = tiny_config.model_copy(update={"optimiser": OptimiserConfig(balance="class")})
    plan = plan_loss("ce", config, None, rows, 0, 1)
    assert plan.temperatures == {}
    assert set(plan.label_weights) == {"yes", "topic", "empty"}
    assert plan.label_weights["yes"].tolist() == pytest.approx([1.5, 0.75])  # one no, two yes
    assert plan.label_weights["topic"].tolist() == pytest.approx([1.5, 1.0, 0.75])
    assert torch.equal(plan.label_weights["empty"], balancing_weights(torch.zeros(0), TaskKind.BINARY, 2))
    assert plan_loss("ce", tiny_config, None, rows, 0, 1).label_weights == {}


def test_rows_that_depend_on_each_other_are_refused_in_parts_alone(tiny_config: RunConfig) -> None:
    parts = tiny_config.model_copy(update={"optimiser": OptimiserConfig(accumulation_steps=2)})
    coupled = next(name for name, one in METHODS.items() if one.couples_rows)
    with pytest.raises(ValueError, match=f"{coupled}.*accumulation_steps 1"):
        plan_loss(coupled, parts, TEACHER, training_rows(), 0, 1)
    assert plan_loss(coupled, tiny_config, TEACHER, training_rows(), 0, 1).method.couples_rows
    assert plan_loss("ce", parts, None, training_rows(soft=False), 0, 1).config is parts


def test_chance_follows_seed_and_step_as_it_always_did() -> None:
    """A resumed run, and one of an older release, must draw what was drawn."""
    assert TrainingContext(seed=3, step=10).generator().initial_seed() == 3 * 1_000_003 + 10
