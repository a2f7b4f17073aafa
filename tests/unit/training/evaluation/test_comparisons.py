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


def constant(**replicates: list[float]) -> dict[str, dict[str, Array]]:
    """Each method's estimate and its replicates, as they stand here."""
    return {method: {"f1": np.array(v), "pr_auc": np.array(v)} for method, v in replicates.items()}


def test_a_difference_is_told_with_its_interval_and_p_value() -> None:
    """One of 39 replicates is on the other side, p = 2 (1 + 1) / 40: within the interval's rounding, yet no finding."""
    gains = [0.1] * 38 + [-0.1]
    made = constant(teacher=[0.5] * 40, ce=[0.5] * 40, cpfd=[0.55, *(0.5 + gain for gain in gains)])
    report = compare(made, ("ce", "cpfd"))
    assert set(report) == {"teacher - ce", "cpfd - ce"}
    assert set(report["cpfd - ce"]) == {"f1", "pr_auc"}
    found = report["cpfd - ce"]["f1"]
    assert found == {
        "difference": 0.05,
        "interval": [pytest.approx(np.percentile(gains, 2.5), abs=1e-4), 0.1],
        "verdict": "better",
        "p_value": 0.1,
        "p_holm": 0.1,
        "adjusted_verdict": "not distinguishable",
        "family": "against the baseline",
    }


@pytest.mark.parametrize(("sign", "word"), [(1, "better"), (-1, "worse")])
def test_a_difference_beyond_chance_is_better_or_worse(sign: int, word: str) -> None:
    level = [0.5] * 100
    made = constant(teacher=level, ce=level, cpfd=[0.5 + sign * 0.2] * 100)
    found = compare(made, ("ce", "cpfd"))["cpfd - ce"]["pr_auc"]
    assert (found["verdict"], found["adjusted_verdict"]) == (word, word)
    assert (found["p_value"], found["difference"]) == (0.02, sign * 0.2)
    same = compare(constant(teacher=level, ce=level, cpfd=level), ("ce", "cpfd"))["cpfd - ce"]["f1"]
    assert (same["verdict"], same["adjusted_verdict"], same["difference"]) == (*["not distinguishable"] * 2, 0.0)


def test_the_share_of_the_gap_by_hand() -> None:
    """Of a gap of 0.4 a quarter, 0.2 and 0.3 in the replicates; where there is no gap, no share either."""
    gained = np.array([0.25, *[0.5] * 20, *[0.75] * 20])
    made = constant(ce=[0.5] * 41, teacher=[0.9] * 41, cpfd=list(0.5 + 0.4 * gained))
    closed = gaps_closed(made, ("ce", "cpfd"))
    assert closed == {"cpfd": {m: {"share": 0.25, "interval": [0.5, 0.75], "why": None} for m in ("f1", "pr_auc")}}
    assert gaps_closed({"cpfd": made["cpfd"]}, ("cpfd",)) == {}
    uneven = constant(ce=[0.5] * 4, teacher=[0.9] * 4, cpfd=[0.7, 0.5, 0.6, 0.7])
    assert gaps_closed(uneven, ("cpfd",))["cpfd"]["f1"]["interval"] == pytest.approx(
        list(np.percentile([0.0, 0.25, 0.5], (2.5, 97.5))), abs=1e-4
    )


def test_a_relative_gain_by_hand() -> None:
    made = constant(ce=[0.5, 0.4, 0.5, 0.0], cpfd=[0.6, 0.5, 0.5, 0.5])
    found = relative_gain(made, "cpfd", "ce", "f1")
    assert found["gain"] == 0.2
    assert found["interval"] == pytest.approx(list(np.percentile([0.25, 0.0], (2.5, 97.5))), abs=1e-4)
    assert relative_gain(constant(ce=[0.0] * 3, cpfd=[0.5] * 3), "cpfd", "ce", "f1") == {
        "gain": None,
        "interval": [None, None],
    }
