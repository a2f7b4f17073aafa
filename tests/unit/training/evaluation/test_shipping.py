"""The rule that the report prints and the export applies."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from training.evaluation.shipping import MAX_OVERKILL, ShipVerdict, judge, overall

GOOD: dict[str, Any] = {
    "methods": {
        "cpfd": {
            "roc_auc": {"mean": 0.8, "interval": [0.7, 0.9]},
            "overkill": {"mean": 0.1},
            "miss_rate": {"mean": 0.2},
        }
    },
    "comparisons": {},
    "classes": {kind: {"rows": 90, "groups": 30, "groups_in_manifest": 100} for kind in ("positive", "negative")},
}


def good(**changes: dict[str, Any]) -> dict[str, Any]:
    task = copy.deepcopy(GOOD)
    task["methods"]["cpfd"] |= changes
    return task


def test_a_good_task_ships_without_a_word() -> None:
    assert judge(good(), "cpfd") == ShipVerdict("ship")


def test_groups_come_before_every_other_reason() -> None:
    task = good(roc_auc={"mean": 0.5, "interval": [0.2, 0.8]}) | {"verdicts_withheld": "too few"}
    task["classes"]["positive"] |= {"groups": 2, "groups_in_manifest": 9}
    found = judge(task, "cpfd")
    assert (found.decision, found.reason, found.near_chance) == ("too_little_data", "too few", False)
    assert "at least 3 more with positives among the held-out groups" in found.needed
    assert "about 23 groups with positives in all" in found.needed


def test_of_a_class_that_is_not_held_out_at_all_no_total_is_made_up() -> None:
    task = good() | {"verdicts_withheld": "too few"}
    task["classes"]["negative"] |= {"groups": 0, "groups_in_manifest": 4}
    assert "in all" not in judge(task, "cpfd").needed


@pytest.mark.parametrize(
    ("mean", "needed"),
    [(0.7, "about 68 held-out groups of the rarer class would tell; there are 30"), (0.45, "would hardly help")],
)
def test_near_chance_is_said_and_what_would_tell(mean: float, needed: str) -> None:
    found = judge(good(roc_auc={"mean": mean, "interval": [0.4, 0.9]}), "cpfd")
    assert found.decision == "do_not_ship"
    assert found.near_chance
    assert needed in found.needed


def test_an_interval_that_does_not_exist_is_chance() -> None:
    found = judge(good(roc_auc={"mean": None, "interval": [None, None]}), "cpfd")
    assert found.reason == "no better than chance on held-out rows: ROC-AUC undefined"


@pytest.mark.parametrize(
    ("interval", "decision", "reason"),
    [
        ([0.01, 0.2], "ship", ""),
        ([-0.01, 0.2], "do_not_ship", "no better than the control background_only"),
        (None, "do_not_ship", "the report does not compare it with the control background_only"),
    ],
)
def test_a_student_that_is_not_shown_to_beat_a_free_control_is_not_shipped(
    interval: list[float] | None, decision: str, reason: str
) -> None:
    task = good()
    task["methods"]["background_only"] = {}
    if interval is not None:
        task["comparisons"] = {"cpfd - background_only": {"pr_auc": {"difference": 0.1, "interval": interval}}}
    found = judge(task, "cpfd")
    assert found.decision == decision
    assert reason in found.reason


def test_a_threshold_that_tells_nothing_is_not_shipped() -> None:
    nothing = judge(good(overkill={"mean": 0.0}, miss_rate={"mean": 1.0}), "cpfd")
    assert nothing.reason == "its threshold flags 0% of held-out positives and 0% of negatives"
    assert judge(good(overkill={"mean": 0.3}, miss_rate={"mean": 0.7}), "cpfd").decision == "do_not_ship"
    assert judge(good(overkill={"mean": 0.3}, miss_rate={"mean": 0.69}), "cpfd").decision == "ship"
    assert judge(good(overkill={"mean": MAX_OVERKILL + 0.01}), "cpfd").reason.startswith("its threshold flags 51%")


def test_cautions_stop_nothing() -> None:
    task = good() | {"seeds_per_fold": [1]}
    worse = {"difference": -0.1, "interval": [-0.2, -0.05], "adjusted_verdict": "worse", "verdict": "worse"}
    task["comparisons"] = {
        "cpfd - ce": {"f1": worse, "pr_auc": worse | {"adjusted_verdict": "not distinguishable"}},
        "cpfd - tfidf_logistic": {"pr_auc": {"difference": 0.1, "interval": [-0.1, 0.2]}},
    }
    task["threshold_by_slice"] = {"cpfd": {"country": {"fr": {"warnings": ["misses 80% of positives"]}}}}
    found = judge(task, "cpfd")
    assert found.decision == "ship"
    assert len(found.cautions) == 4
    said = "; ".join(found.cautions)
    for words in ("worse than the baseline in F1", "counting words", "one seed a fold", "country = fr: misses 80%"):
        assert words in said


@pytest.mark.parametrize(
    ("difference", "interval", "verdicts", "said"),
    [
        (0.05, [0.01, 0.1], {"verdict": "better"}, ()),
        (0.04, [-0.02, 0.1], {}, ("not shown to be better than counting words: PR-AUC +0.040 [-0.020, +0.100]",)),
        (-0.05, [-0.1, -0.01], {"verdict": "worse"}, ("worse than counting words: PR-AUC -0.050 [-0.100, -0.010]",)),
        (
            -0.05,
            [-0.1, -0.01],
            {"verdict": "worse", "adjusted_verdict": "not distinguishable"},
            ("not shown to be better than counting words: PR-AUC -0.050 [-0.100, -0.010]",),
        ),
        (None, None, {}, ("not shown to be better than counting words: PR-AUC undefined",)),
    ],
)
def test_what_counting_words_does_better_is_said(
    difference: float | None, interval: list[float] | None, verdicts: dict[str, str], said: tuple[str, ...]
) -> None:
    words = {"difference": difference, "interval": interval} | verdicts
    task = good() | {"comparisons": {"cpfd - tfidf_logistic": {"pr_auc": words}}}
    assert judge(task, "cpfd").cautions == said


def test_over_all_tasks_one_that_ships_is_enough() -> None:
    few, bad, ship = ShipVerdict("too_little_data"), ShipVerdict("do_not_ship"), ShipVerdict("ship")
    assert overall({"a": few, "b": bad, "c": ship}) == "ship"
    assert overall({"a": few, "b": bad}) == "do_not_ship"
    assert overall({"a": few}) == "too_little_data"
    assert overall({}) == "do_not_ship"
