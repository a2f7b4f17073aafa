"""Families, verdicts and shares of the gap on replicates made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.comparisons import compare, families, gaps_closed, relative_gain, too_few_groups
from training.evaluation.metrics import Array

R = 500


def means(**levels: float) -> dict[str, dict[str, Array]]:
    """Each method at its level, plus noise that all share and a little of its own."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.1, R)
    result = {}
    for method, level in levels.items():
        values = np.append(level, level + shared + rng.normal(0, 0.005, R))
        result[method] = {"f1": values, "pr_auc": values}
    return result


def test_families_hold_what_is_there() -> None:
    found = families(("ce", "pfd", "cpfd", "kd", "cpfd_shuffled"), ("tfidf_logistic",))
    assert found["against the baseline"] == [(m, "ce") for m in ("pfd", "cpfd", "kd", "cpfd_shuffled")]
    assert found["against CPFD"] == [("kd", "cpfd")]
    assert found["CPFD against its tampered weights"] == [("cpfd", "cpfd_shuffled")]
    assert found["against the controls"] == [("ce", "tfidf_logistic"), ("cpfd", "tfidf_logistic")]
    found = families(("self_distillation", "self_distillation_crossfit", "pfd", "mtl", "wsld", "cpfd_preview"))
    assert found["against distillation without privileged features"] == [
        ("pfd", "self_distillation"),
        ("wsld", "self_distillation"),
        ("cpfd_preview", "self_distillation_crossfit"),
    ]
    assert families(("ce",)) == {"teacher": [("teacher", "ce")]}


def test_noise_that_methods_share_does_not_hide_a_difference() -> None:
    report = compare(means(teacher=0.8, ce=0.5, pfd=0.6, cpfd=0.6), ("ce", "pfd", "cpfd"))
    assert report["cpfd - ce"]["f1"]["adjusted_verdict"] == "better"
    assert report["cpfd - pfd"]["f1"]["adjusted_verdict"] == "not distinguishable"
    assert report["cpfd - ce"]["f1"]["difference"] == pytest.approx(0.1)
    assert report["cpfd - ce"]["f1"]["p_holm"] >= report["cpfd - ce"]["f1"]["p_value"]


def test_a_verdict_may_not_survive_the_adjustment() -> None:
    made = means(teacher=0.8, ce=0.5)
    rng = np.random.default_rng(1)
    for n in range(10):
        made[f"rival{n}"] = {m: np.append(0.5, 0.5 + rng.normal(0, 0.1, R)) for m in ("f1", "pr_auc")}
    noise = rng.normal(0, 0.1, R)
    values = np.append(made["ce"]["f1"][0] + 0.22, made["ce"]["f1"][1:] + 0.22 + noise)
    made["cpfd"] = {"f1": values, "pr_auc": values}
    report = compare(made, ("ce", "cpfd", *(f"rival{n}" for n in range(10))))["cpfd - ce"]["f1"]
    assert report["verdict"] == "better"
    assert report["adjusted_verdict"] == "not distinguishable"


def test_the_gap_is_undefined_where_the_teacher_is_no_better() -> None:
    closed = gaps_closed(means(teacher=0.5, ce=0.5, cpfd=0.6), ("ce", "cpfd"))["cpfd"]["f1"]
    assert closed["share"] is None
    assert "not distinguishably better" in closed["why"]
    closed = gaps_closed(means(teacher=0.9, ce=0.5, cpfd=0.8), ("ce", "cpfd"))["cpfd"]["f1"]
    assert closed["share"] == pytest.approx(0.75)
    assert closed["interval"][0] < 0.75 < closed["interval"][1]


def test_no_verdict_is_given_on_too_few_groups() -> None:
    made = means(teacher=0.9, ce=0.5, cpfd=0.6)
    told, withheld = (compare(made, ("ce", "cpfd"), withheld=w)["cpfd - ce"]["f1"] for w in (False, True))
    assert (told["verdict"], told["adjusted_verdict"]) == ("better", "better")
    assert (withheld["verdict"], withheld["adjusted_verdict"]) == ("not distinguishable", "not distinguishable")
    assert (withheld["p_value"], withheld["p_holm"]) == (1.0, 1.0)
    assert (withheld["difference"], withheld["interval"]) == (told["difference"], told["interval"])
    closed = gaps_closed(made, ("ce", "cpfd"), withheld=True)["cpfd"]["f1"]
    assert closed == {"share": None, "interval": None, "why": "too few groups tell whether the teacher is better"}


@pytest.mark.parametrize(("positive", "negative"), [(4, 50), (50, 4), (0, 50), (1, 1)])
def test_either_answer_may_stand_in_too_few_groups(positive: int, negative: int) -> None:
    why = too_few_groups(positive, negative)
    assert why is not None
    assert f"positives stand in {positive} groups and negatives in {negative}" in why
    assert too_few_groups(5, 5) is None


def test_relative_gain() -> None:
    found = relative_gain(means(ce=0.5, cpfd=0.55), "cpfd", "ce", "f1")
    assert found["gain"] == pytest.approx(0.1)
