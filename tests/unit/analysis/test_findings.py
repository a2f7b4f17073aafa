"""Each finding on rows whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analysis.findings.assignment import assignment_document
from analysis.findings.decision import decide, task_verdicts
from analysis.findings.guardrails import guardrails_document
from analysis.findings.metrics import RATIOS, better, ratio_columns, task_sums
from analysis.findings.over_time import label_document, novelty_document
from analysis.findings.paired import paired_document
from analysis.findings.preconditions import assignment_lights, result_lights
from analysis.findings.slices import slices_document
from analysis.log.rows import Assignment, ExperimentRows, PairRows, Requests, TaskRows
from analysis.question import Question

DAY_MS = 86_400_000
ASK = Question(min_units=20, planned_units=200)


def task_rows(flagged: Any, positive: Any, **more: Any) -> TaskRows:
    n = len(flagged)
    values: dict[str, Any] = {
        "unit": np.arange(n), "arm": np.arange(n) % 2, "time_ms": np.arange(n), "score": np.full(n, 0.5),
        "weight": np.ones(n), "views": np.full(n, np.nan), "label_ms": np.arange(n) + 3_600_000.0, "slices": {},
    } | more  # fmt: skip
    return TaskRows(flagged=np.asarray(flagged, bool), positive=np.asarray(positive, bool), **values)


def test_the_ratios_are_those_of_their_definitions() -> None:
    rows = task_rows(
        [1, 1, 0, 0, 1], [1, 0, 1, 0, 1],
        weight=np.array([1.0, 1.0, 4.0, 4.0, 0.0]), views=np.array([10.0, 5.0, 20.0, np.nan, 9.0]),
        score=np.array([0.9, 0.8, 0.4, 0.1, 0.7]),
    )  # fmt: skip
    found = dict(zip(RATIOS, task_sums(rows, 5).values, strict=True))
    assert found["precision"] == pytest.approx(1 / 2)
    assert found["recall"] == pytest.approx(1 / 5)
    assert found["f1"] == pytest.approx(2 / (2 + 1 + 4))
    assert found["overkill"] == pytest.approx(1 / 5)
    assert found["vv_leakage"] == pytest.approx(80 / 90)
    assert found["vv_overkill"] == pytest.approx(1.0)
    assert found["brier"] == pytest.approx((0.01 + 0.64 + 4 * 0.36 + 4 * 0.01) / 10)
    assert ratio_columns(rows)[1][4].sum() == 0


def test_less_is_better_where_it_is() -> None:
    assert better("f1", 0.1) == 0.1
    assert better("brier", 0.1) == -0.1


def assigned(*counts: int, crossed: int = 0) -> Assignment:
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    names = ("control", "student", "third")[: len(counts)]
    return Assignment(order, np.arange(len(order)) // 200, names, tuple("ab" * crossed), forced=3, holdout=2)


def test_the_sample_ratio_is_judged_against_the_planned_shares() -> None:
    even = assignment_document(assigned(500, 520), Question())
    assert not even["mismatch"]
    assert even["planned_shares_given"] is False
    assert assignment_document(assigned(500, 700), Question())["mismatch"]
    planned = Question(shares={"control": 5, "student": 7})
    assert not assignment_document(assigned(500, 700), planned)["mismatch"]
    assert even["by_day"][0] == {"day": "1970-01-01", "units": even["by_day"][0]["units"]}
    assert sum(sum(day["units"].values()) for day in even["by_day"]) == 1020


def test_a_unit_in_an_arm_that_was_to_get_none_is_a_mismatch() -> None:
    planned = Question(shares={"control": 1, "student": 1, "third": 0})
    assert assignment_document(assigned(500, 500, 1), planned)["mismatch"]
    assert not assignment_document(assigned(500, 500, 0), planned)["mismatch"]


@pytest.mark.parametrize(("crossed", "state"), [(0, "green"), (2, "amber"), (20, "red")])
def test_units_in_both_arms_light_up(crossed: int, state: str) -> None:
    lights = assignment_lights(assignment_document(assigned(500, 500, crossed=crossed), Question()))
    assert [light["state"] for light in lights] == ["green", state]


def experiment(latency: tuple[float, float], errors: tuple[float, float], cpu: tuple[float, float]) -> ExperimentRows:
    n = 4000
    rng = np.random.default_rng(1)
    unit = np.arange(n)
    arm = unit % 2
    ok = rng.random(n) >= np.asarray(errors)[arm]
    code = np.where(ok, "ok", "corrupt_video")
    requests = Requests(
        unit, arm, unit, ok, code, np.asarray(latency)[arm] * np.exp(0.2 * rng.normal(size=n)),
        np.asarray(cpu)[arm] * np.exp(0.1 * rng.normal(size=n)),
    )  # fmt: skip
    return ExperimentRows(assigned(10, 10), n, arm, requests, {}, {}, {}, {}, {}, 0, n)


def test_guardrails_are_held_breached_or_open() -> None:
    found = guardrails_document(experiment((100, 70), (0.01, 0.1), (1.0, 1.1)), Question())
    assert {name: entry["status"] for name, entry in found.items()} == {
        "p50_ms": "held", "p99_ms": "held", "error_rate": "breached", "cost_per_1000": "breached",
    }  # fmt: skip
    assert found["p50_ms"]["ratio"] == pytest.approx(0.7, abs=0.02)
    assert found["cost_per_1000"]["ratio"] == pytest.approx(1.1 * 0.99 / 0.9, abs=0.02)
    near = guardrails_document(experiment((100, 110), (0.01, 0.013), (1.0, 1.0)), Question())
    assert near["p50_ms"]["status"] == "open"
    assert near["error_rate"]["status"] == "open"
    assert near["cost_per_1000"]["status"] == "held"


def test_cost_is_told_in_money_where_a_price_is_given() -> None:
    rows = experiment((100, 100), (0.0, 0.0), (1.0, 1.0))
    seconds, money = (guardrails_document(rows, Question(cpu_hour_price=p))["cost_per_1000"] for p in (None, 0.36))
    assert money["arms"][0]["value"] == pytest.approx(seconds["arms"][0]["value"] * 0.0001, rel=1e-4)
    assert money["ratio"] == seconds["ratio"]


def test_an_effect_that_wears_off_is_said() -> None:
    rng = np.random.default_rng(2)
    n = 12_000
    day = np.arange(n) // 1200
    arm = np.arange(n) % 2
    chance = 0.6 + arm * (0.3 - 0.03 * day)
    rows = task_rows(rng.random(n) < chance, np.ones(n), time_ms=day * DAY_MS)
    found = novelty_document(rows, Question(primary="recall"))
    assert found["wears_off"]
    assert found["slope_per_day"] == pytest.approx(-0.03, abs=0.01)
    assert len(found["by_day"]) == 10
    steady = task_rows(rng.random(n) < 0.6 + 0.1 * arm, np.ones(n), time_ms=day * DAY_MS)
    assert not novelty_document(steady, Question(primary="recall"))["wears_off"]


def test_few_days_have_no_trend() -> None:
    found = novelty_document(task_rows([1, 0] * 50, [1, 1] * 50), Question(primary="recall"))
    assert found["slope_per_day"] is None
    assert not found["wears_off"]


def test_labels_and_their_delay() -> None:
    weight = np.array([1.0, 4.0, 0.0, 0.0])
    rows = task_rows([1, 0, 0, 0], [1, 1, 0, 0], weight=weight, label_ms=np.array([3.6e6, 7.2e6 + 1, np.nan, np.nan]))
    found = label_document(rows, end_ms=4)
    assert [arm["coverage"] for arm in found["arms"]] == [0.5, 2.0]
    assert [arm["labelled"] for arm in found["arms"]] == [1, 1]
    assert found["arms"][0]["delay_h"]["p50"] == pytest.approx(1.0)
    assert found["arms"][1]["delay_h"]["p50"] == pytest.approx(2.0)
    assert found["young"] == 1.0


def test_slices_with_enough_units_are_compared_and_adjusted() -> None:
    rng = np.random.default_rng(3)
    n = 2000
    country = np.where(np.arange(n) < 1900, np.where(np.arange(n) // 2 % 2, "A", "B"), "small").astype(object)
    chance = 0.5 + 0.3 * (np.arange(n) % 2) * (country == "A")
    rows = task_rows(rng.random(n) < chance, np.ones(n), slices={"country": country})
    found = slices_document(rows, Question(primary="recall"))
    assert {entry["slice"] for entry in found} == {"country = A", "country = B"}
    by_name = {entry["slice"]: entry for entry in found}
    assert by_name["country = A"]["holm_p"] < 0.01 < by_name["country = B"]["holm_p"]
    assert by_name["country = A"]["holm_p"] >= by_name["country = A"]["always_valid_p"]


def pairs(control: Any, treatment: Any, **more: Any) -> PairRows:
    positive = np.ones(len(control))
    return PairRows(task_rows(control, positive, **more), task_rows(treatment, positive, **more))


def test_pairs_find_with_certainty_what_arms_cannot() -> None:
    rng = np.random.default_rng(4)
    control = rng.random(400) < 0.5
    treatment = control | (rng.random(400) < 0.2)
    found = paired_document(pairs(control, treatment), 400, ASK, calibrated=True, seed=1)
    assert found is not None
    recall = found["metrics"]["recall"]
    assert recall["difference"] == pytest.approx(treatment.mean() - control.mean(), rel=1e-4)
    assert recall["error"] < 0.5 * (2 * 0.25 / 400) ** 0.5 + 0.005
    assert found["mcnemar"]["control_right"] == 0
    assert found["mcnemar"]["p_value"] < 1e-8
    assert found["disagreement"]["share"] == pytest.approx((control != treatment).mean())
    swapped = paired_document(pairs(treatment, control), 400, ASK, calibrated=True, seed=1)
    assert swapped is not None
    assert swapped["metrics"]["recall"]["difference"] == -recall["difference"]
    assert swapped["mcnemar"]["p_value"] == found["mcnemar"]["p_value"]


def test_mcnemar_is_left_out_where_labels_were_sampled_unevenly() -> None:
    weight = np.where(np.arange(100) % 3, 4.0, 1.0)
    found = paired_document(pairs([1, 0] * 50, [0, 1] * 50, weight=weight), 100, ASK, calibrated=False, seed=1)
    assert found is not None
    assert found["mcnemar"]["p_value"] is None
    assert "different probabilities" in found["mcnemar"]["why"]
    assert "brier" not in found["metrics"]


def test_mcnemar_takes_one_pair_a_unit_and_no_pairs_are_no_finding() -> None:
    unit = np.arange(100) // 10
    found = paired_document(pairs([1] * 100, [0] * 100, unit=unit), 10, ASK, calibrated=True, seed=1)
    assert found is not None
    assert found["mcnemar"]["units"] == found["mcnemar"]["control_right"] == 10
    assert paired_document(pairs([], []), 0, ASK, calibrated=True, seed=1) is None


def metric(difference: float, reach: float, p: float, *, enough: bool = True) -> dict[str, Any]:
    return {
        "difference": difference, "always_valid_interval": [difference - reach, difference + reach],
        "always_valid_p": p, "enough_units": enough, "interval": [None, None],
    }  # fmt: skip


def tasks(**metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {"quality": {"metrics": {"f1": one, "overkill": one}}, "paired": None} for name, one in metrics.items()
    }


HELD = {"p50_ms": {"status": "held"}, "p99_ms": {"status": "held"}}
GREEN = [{"name": "sample ratio", "state": "green", "says": ""}]


def status(found: dict[str, Any], guardrails: Any = HELD, lights: Any = GREEN, question: Question | None = None) -> str:
    question = question or Question()
    verdicts = task_verdicts(found, question)
    return str(decide(lights, verdicts, guardrails, ("old", "new"), question)["status"])


def test_the_decision_follows_its_rules() -> None:
    gain, equal = metric(0.05, 0.02, 0.001), metric(0.0, 0.01, 1.0)
    wide, loss = metric(0.01, 0.1, 1.0), metric(-0.1, 0.02, 0.001)
    assert status(tasks(a=gain, b=equal)) == "replace"
    assert status(tasks(a=gain, b=wide)) == "wait"
    assert status(tasks(a=gain, b=loss)) == "keep"
    assert status(tasks(a=gain), HELD | {"p99_ms": {"status": "breached"}}) == "keep"
    assert status(tasks(a=gain), HELD | {"p99_ms": {"status": "open"}}) == "wait"
    assert status(tasks(a=gain, b=metric(0.05, 0.02, 0.001, enough=False))) == "wait"
    assert status({}) == "wait"
    for name in ("sample ratio", "one arm a unit", "labels"):
        assert status(tasks(a=gain), lights=[{"name": name, "state": "red", "says": ""}]) == "no result"


def test_a_sure_loss_within_the_margin_does_not_keep_the_old_arm() -> None:
    small = metric(-0.006, 0.004, 0.001)
    found = task_verdicts(tasks(a=small), Question())
    assert (found["a"]["verdict"], found["a"]["within_margin"]) == ("worse", True)
    assert status(tasks(a=small)) == "replace"
    assert status(tasks(a=small), question=Question(margin=0.0)) == "keep"


def test_signs_turn_where_less_is_better() -> None:
    question = Question(primary="overkill")
    assert task_verdicts(tasks(a=metric(-0.05, 0.02, 0.001)), question)["a"]["verdict"] == "better"
    assert task_verdicts(tasks(a=metric(0.05, 0.02, 0.001)), question)["a"]["verdict"] == "worse"


def test_many_tasks_are_adjusted_for() -> None:
    one = tasks(a=metric(0.05, 0.049, 0.03))
    many = one | tasks(b=metric(0.0, 0.1, 1.0), c=metric(0.0, 0.1, 1.0))
    assert task_verdicts(one, Question())["a"]["verdict"] == "better"
    assert task_verdicts(many, Question())["a"]["verdict"] == "not distinguishable"


def test_cuped_decides_where_there_is_a_past() -> None:
    entry = metric(0.0, 0.1, 1.0) | {"cuped": metric(0.05, 0.02, 0.001)}
    assert task_verdicts(tasks(a=entry), Question())["a"]["verdict"] == "better"


def labelled(coverage: tuple[float, float], p: float, young: float) -> dict[str, Any]:
    return {
        "labelled_units": [50, 50],
        "quality": {"metrics": {"f1": {"enough_units": True}}},
        "paired": None,
        "labels": {
            "arms": [{"coverage": share, "delay_h": {"p50": 1.0, "p90": 2.0}} for share in coverage],
            "coverage_p": p, "young": young,
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("coverage", "p", "young", "state"),
    [
        ((1.0, 0.98), 0.5, 0.0, "green"),
        ((0.5, 0.5), 0.9, 0.0, "amber"),
        ((1.0, 1.0), 0.9, 0.6, "amber"),
        ((1.0, 0.7), 1e-9, 0.0, "red"),
        ((1.0, 0.97), 1e-9, 0.0, "green"),
    ],
)
def test_the_light_of_the_labels(coverage: tuple[float, float], p: float, young: float, state: str) -> None:
    lights = result_lights({"t": labelled(coverage, p, young)}, HELD, Question())
    assert {light["name"]: light["state"] for light in lights}["labels"] == state


def test_the_light_of_the_units_and_guardrails() -> None:
    few = labelled((1.0, 1.0), 1.0, 0.0) | {"quality": {"metrics": {"f1": {"enough_units": False}}}}
    enough = labelled((1.0, 1.0), 1.0, 0.0)
    for found, state in (({"a": enough}, "green"), ({"a": enough, "b": few}, "amber"), ({"b": few}, "red")):
        assert result_lights(found, HELD, Question())[0]["state"] == state
    for status_, state in (("held", "green"), ("open", "amber"), ("breached", "red")):
        assert result_lights({"a": enough}, {"p99_ms": {"status": status_}}, Question())[2]["state"] == state


def test_nothing_always_valid_is_said_of_a_small_arm_beside_a_large_one() -> None:
    rows = experiment((100, 70), (0.01, 0.1), (1.0, 1.2))
    few = Question(min_units=2001)
    found = guardrails_document(rows, few)
    assert {entry["status"] for entry in found.values()} == {"open"}
    assert guardrails_document(rows, Question(min_units=2000))["error_rate"]["status"] == "breached"
    arm = (np.arange(2000) % 20 == 0).astype(np.int64)
    lopsided = task_rows(np.arange(2000) % 3 == 0, np.ones(2000), arm=arm, time_ms=np.zeros(2000, np.int64))
    day = novelty_document(lopsided, Question(primary="recall", min_units=101))["by_day"][0]
    assert day["always_valid_interval"] == [None, None]
    enough = novelty_document(lopsided, Question(primary="recall", min_units=100))["by_day"][0]
    assert None not in enough["always_valid_interval"]
