"""Logits -> scores -> verdict, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from contract.decision import (
    DecisionPolicy,
    Modality,
    TaskKind,
    TaskPolicy,
    TaskSpec,
    decide,
    decide_task,
    probabilities,
)

BOTH = frozenset({Modality.VIDEO, Modality.TEXT})
BINARY = TaskSpec(name="violence", kind=TaskKind.BINARY, labels=("calm", "violent"), modalities=(Modality.VIDEO,))
MULTICLASS = TaskSpec(
    name="object", kind=TaskKind.MULTICLASS, labels=("none", "drone", "gun"), flag_labels=("drone", "gun")
)
MULTILABEL = TaskSpec(name="topics", kind=TaskKind.MULTILABEL, labels=("news", "sport"))


def flag_at(threshold: float, temperature: float = 1.0) -> TaskPolicy:
    return TaskPolicy(temperature=temperature, thresholds={"flag": threshold})


def test_a_binary_score_is_the_sigmoid_of_the_scaled_logit() -> None:
    decided = decide_task(np.asarray([2.0]), BINARY, flag_at(0.7, temperature=2.0), BOTH)
    assert decided.scores == pytest.approx({"calm": 1 / (1 + math.e), "violent": math.e / (1 + math.e)})
    assert (decided.label, decided.flagged, decided.flagged_labels) == ("violent", True, ("violent",))


def test_the_threshold_itself_flags() -> None:
    assert decide_task(np.asarray([0.0]), BINARY, flag_at(0.5), BOTH).flagged
    below = decide_task(np.asarray([-1e-9]), BINARY, flag_at(0.5), BOTH)
    assert (below.flagged, below.label) == (False, "calm")


def test_a_request_without_the_tasks_modalities_is_answered_but_never_flagged() -> None:
    decided = decide_task(np.asarray([9.0]), BINARY, flag_at(0.5), frozenset({Modality.TEXT}))
    assert (decided.supported, decided.flagged, decided.flagged_labels) == (False, False, ())
    assert decided.scores["violent"] > 0.99


def test_flag_labels_of_a_multiclass_task_are_summed() -> None:
    logits = np.log(np.asarray([0.4, 0.25, 0.35]))
    decided = decide_task(logits, MULTICLASS, flag_at(0.6), BOTH)
    assert decided.flag_score == pytest.approx(0.6)
    assert decided.label == "none"
    assert decide_task(logits, MULTICLASS, flag_at(0.59), BOTH).flagged_labels == ("gun",)


def test_a_sum_of_probabilities_never_exceeds_one() -> None:
    rng = np.random.default_rng(0)
    spec = TaskSpec(name="t", kind=TaskKind.MULTICLASS, labels=tuple("abcdefg"), flag_labels=tuple("abcdefg"))
    scores = [decide_task(rng.normal(size=7), spec, flag_at(1.0), BOTH).flag_score for _ in range(300)]
    assert max(scores) <= 1.0
    assert min(scores) > 0.999


def test_each_label_of_a_multilabel_task_has_its_own_threshold() -> None:
    policy = TaskPolicy(thresholds={"news": 0.9, "sport": 0.3})
    decided = decide_task(np.asarray([1.0, -0.5]), MULTILABEL, policy, BOTH)
    assert (decided.flagged_labels, decided.label) == (("sport",), "news")
    assert (decided.flag_score, decided.threshold) == (decided.scores["sport"], 0.3)


@pytest.mark.parametrize("kind", list(TaskKind))
def test_extreme_logits_and_temperatures_give_probabilities(kind: TaskKind) -> None:
    for scale in (1e38, 1e300):
        p = probabilities(np.asarray([[scale, -scale, 0.0]]), kind, 1e-300)
        assert np.isfinite(p).all()
        assert p.min() >= 0
        assert p.max() == 1.0


@pytest.mark.parametrize("logits", [[math.nan], [math.inf], [1.0, 2.0], []])
def test_logits_that_are_none_are_refused(logits: list[float]) -> None:
    with pytest.raises(ValueError, match="violence"):
        decide_task(np.asarray(logits), BINARY, flag_at(0.5), BOTH)


def test_every_task_gets_its_own_policy() -> None:
    policy = DecisionPolicy(tasks={"violence": flag_at(0.1), "topics": TaskPolicy(thresholds={"news": 1, "sport": 1})})
    policy.check((BINARY, MULTILABEL))
    logits = {"violence": np.zeros(1), "topics": np.zeros(2)}
    decided = decide(logits, (BINARY, MULTILABEL), policy, BOTH)
    assert {name: d.flagged for name, d in decided.items()} == {"violence": True, "topics": False}


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"violence": flag_at(0.5), "other": flag_at(0.5)},
        {"violence": TaskPolicy(thresholds={})},
        {"violence": TaskPolicy(thresholds={"violent": 0.5})},
    ],
)
def test_a_policy_that_does_not_fit_the_tasks_is_refused(policy: dict[str, TaskPolicy]) -> None:
    with pytest.raises(ValueError, match="task"):
        DecisionPolicy(tasks=policy).check((BINARY,))


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": "binary", "labels": ("a", "b", "c")},
        {"kind": "binary", "labels": ("a", "b"), "flag_labels": ("a",)},
        {"kind": "binary", "labels": ("a", "a")},
        {"kind": "multiclass", "labels": ("a", "b")},
        {"kind": "multiclass", "labels": ("a", "b"), "flag_labels": ("c",)},
        {"kind": "multilabel", "labels": ()},
        {"kind": "multilabel", "labels": ("a",), "modalities": ()},
        {"kind": "multilabel", "labels": ("a",), "name": "Bad Name"},
    ],
)
def test_a_task_that_contradicts_itself_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TaskSpec.model_validate({"name": "t", **bad})


@pytest.mark.parametrize("bad", [{"temperature": 0}, {"temperature": math.inf}, {"thresholds": {"flag": 1.1}}])
def test_a_policy_out_of_range_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TaskPolicy.model_validate({"thresholds": {"flag": 0.5}, **bad})
