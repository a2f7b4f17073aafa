"""Thresholds of operating points, against every cut there is; that of a ratio of costs, against a calibration."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from contract.decision import Modality, OperatingPoint, TaskKind, TaskPolicy, TaskSpec, decide_task
from training.evaluation.calibration import cost_threshold, point_threshold

TASK = TaskSpec(name="violence", kind=TaskKind.BINARY, labels=("calm", "violent"))
BOTH = frozenset({Modality.VIDEO, Modality.TEXT})
SHARES = st.sampled_from((0.01, 0.1, 0.25, 1 / 3, 0.5, 0.6, 2 / 3, 0.75, 0.9, 1.0))
ROWS = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=10).filter(
    lambda rows: len({positive for _, positive in rows}) == 2
)
Rows = list[tuple[int, bool]]


def _arrays(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return np.asarray([score / 8 for score, _ in rows]), np.asarray([positive for _, positive in rows])


def _outcome(rows: Rows, threshold: float) -> tuple[int, int]:
    """Hits and false alarms."""
    flagged = [positive for score, positive in rows if score / 8 >= threshold]
    return sum(flagged), len(flagged) - sum(flagged)


def _outcomes(rows: Rows) -> list[tuple[int, int]]:
    """Of every cut that flags anything."""
    return [_outcome(rows, score / 8) for score in {score for score, _ in rows}]


def _threshold(rows: Rows, kind: str, value: float | None) -> float:
    found = point_threshold(*_arrays(rows), OperatingPoint(kind=kind, value=value))
    assert 0 <= found <= 1
    return found


@given(ROWS)
def test_no_cut_has_a_higher_f1(rows: Rows) -> None:
    positives = sum(positive for _, positive in rows)
    hits, alarms = _outcome(rows, _threshold(rows, "max_f1", None))
    assert 2 * hits / (hits + alarms + positives) == max(2 * h / (h + a + positives) for h, a in _outcomes(rows))


@given(ROWS, SHARES)
def test_no_cut_of_the_precision_has_a_higher_recall(rows: Rows, precision: float) -> None:
    reached = [h for h, a in _outcomes(rows) if h and h >= precision * (h + a) - 1e-9]
    threshold = _threshold(rows, "recall_at_precision", precision)
    if not reached:
        assert threshold == 1.0
        return
    hits, alarms = _outcome(rows, threshold)
    assert hits == max(reached)
    assert hits >= precision * (hits + alarms) - 1e-9


@given(ROWS, SHARES)
def test_no_cut_of_the_recall_has_a_higher_precision(rows: Rows, recall: float) -> None:
    least = recall * sum(positive for _, positive in rows) - 1e-9
    hits, alarms = _outcome(rows, _threshold(rows, "precision_at_recall", recall))
    assert hits >= least
    assert hits / (hits + alarms) == max(h / (h + a) for h, a in _outcomes(rows) if h >= least)


RATIOS = st.sampled_from((0.01, 0.25, 1.0, 3.0, 50.0))


def _bell_rows(seed: int, rows: int, shift: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probabilities whose log-odds are 2 z + shift, z normal about 1 in positives, a third of all, else about 0."""
    rng = np.random.default_rng(seed)
    positive = np.arange(rows) % 3 == 0
    return expit(2 * (rng.normal(size=rows) + positive) + shift), positive


@pytest.mark.parametrize("ratio", [0.25, 1.0, 4.0])
def test_a_ratio_of_costs_cuts_where_the_expected_costs_are_equal(ratio: float) -> None:
    scores, positive = _bell_rows(0, 60_000)
    # log-odds of the label at z: log(1/2) + z - 1/2; the cut is where they are -log(ratio).
    expected = expit(2 * (np.log(2) + 0.5 - np.log(ratio)))
    found = point_threshold(scores, positive, OperatingPoint(kind="cost_ratio", value=ratio))
    assert logit(found) == pytest.approx(logit(expected), abs=0.1)


@given(st.integers(0, 1000), RATIOS)
def test_the_cut_is_that_of_sigmoid_calibration(seed: int, ratio: float) -> None:
    scores, positive = _bell_rows(seed, 60)
    cut = logit(cost_threshold(scores, positive, ratio))
    assume(abs(cut) < 16)  # nearer to 1 a probability does not tell the log-odds to what is compared below
    odds = logit(scores)[:, None]
    oracle = CalibratedClassifierCV(FrozenEstimator(_Itself().fit(odds, positive)), method="sigmoid")
    oracle.fit(odds, positive)
    p = float(oracle.predict_proba([[cut]])[0, 1])
    assert np.log(ratio * p / (1 - p)) == pytest.approx(0, abs=0.02)


class _Itself(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Its decision function is the one feature that it is given."""

    def fit(self, x: NDArray[np.float64], y: NDArray[np.bool_]) -> _Itself:
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(x)[:, 0]

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.bool_]:
        return self.decision_function(x) > 0


@given(ROWS)
def test_a_dearer_miss_never_flags_fewer(rows: Rows) -> None:
    found = [_threshold(rows, "cost_ratio", ratio) for ratio in (0.01, 0.25, 1.0, 3.0, 50.0)]
    assert found == sorted(found, reverse=True)


@given(st.integers(0, 1000), RATIOS, st.sampled_from((-3.0, 0.5, 2.0)))
def test_the_cut_moves_with_the_scores(seed: int, ratio: float, shift: float) -> None:
    here, there = (cost_threshold(*_bell_rows(seed, 60, s), ratio) for s in (0.0, shift))
    # As probabilities: beyond 1 - 1e-13 a log-odds of 30 and more is no longer told to the third digit.
    assert there == pytest.approx(expit(logit(here) + shift), abs=1e-6)


@pytest.mark.parametrize(("ratio", "expected"), [(0.9, 1.0), (1.1, 0.0)])
@pytest.mark.parametrize("scores", [(0.5, 0.5, 0.5, 0.5), (0.1, 0.9, 0.1, 0.9), (0.0, 0.0, 0.0, 0.0)])
def test_a_score_that_does_not_rise_with_the_label_flags_all_or_none(
    scores: tuple[float, ...], ratio: float, expected: float
) -> None:
    positive, given = np.asarray([True, False, True, False]), np.asarray(scores)
    threshold = cost_threshold(given, positive, ratio)
    assert threshold == expected
    assert (given >= threshold).sum() == (0 if ratio < 1 else 4)


def test_scores_that_part_the_classes_are_cut_between_them() -> None:
    scores, positive = np.asarray([0.0, 0.1, 0.2, 0.8, 0.9, 1.0]), np.asarray([False] * 3 + [True] * 3)
    assert 0.2 < cost_threshold(scores, positive, 1.0) < 0.8


def test_one_row_moves_the_cut_little() -> None:
    scores, positive = _bell_rows(1, 200)
    whole = logit(cost_threshold(scores, positive, 1.0))
    without = [logit(cost_threshold(np.delete(scores, k), np.delete(positive, k), 1.0)) for k in range(200)]
    assert max(abs(cut - whole) for cut in without) < 0.15


@given(ROWS, SHARES)
def test_no_cut_within_the_budget_flags_more(rows: Rows, share: float) -> None:
    within = [h + a for h, a in _outcomes(rows) if h + a <= share * len(rows) + 1e-9]
    threshold = _threshold(rows, "review_budget", share)
    assert (sum(_outcome(rows, threshold)) == max(within)) if within else (threshold == 1.0)


@pytest.mark.parametrize(("kind", "value"), [("recall_at_precision", 0.9), ("review_budget", 0.1)])
def test_a_point_out_of_reach_flags_next_to_nothing(kind: str, value: float) -> None:
    assert _threshold([(6, False), (4, True), (4, False), (2, False)], kind, value) == 1.0


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize(
    "kind", ["max_f1", "recall_at_precision", "precision_at_recall", "cost_ratio", "review_budget"]
)
def test_one_class_alone_gives_a_half(kind: str, positive: bool) -> None:
    assert _threshold([(1, positive), (7, positive)], kind, None if kind == "max_f1" else 0.5) == 0.5


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "max_f1", "value": 0.5},
        {"kind": "cost_ratio"},
        {"kind": "review_budget", "value": 0.0},
        {"kind": "precision_at_recall", "value": 1.5},
        {"kind": "review_budget", "value": 1.01},
        {"kind": "min_loss"},
    ],
)
def test_points_that_mean_nothing_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OperatingPoint(**fields)


def test_a_cost_ratio_may_pass_one_and_points_have_words() -> None:
    assert str(OperatingPoint(kind="cost_ratio", value=20)) == "cost_ratio 20"
    assert str(OperatingPoint()) == "max_f1"


def test_an_unserved_task_never_flags_and_says_why() -> None:
    served = decide_task(np.asarray([4.0]), TASK, TaskPolicy(thresholds={"flag": 0.5}), BOTH)
    policy = TaskPolicy(thresholds={"flag": 0.5}, unserved="no better than chance")
    left_out = decide_task(np.asarray([4.0]), TASK, policy, BOTH)
    assert (served.supported, served.flagged, served.unsupported_because) == (True, True, None)
    assert (left_out.supported, left_out.flagged, left_out.flagged_labels) == (False, False, ())
    assert left_out.unsupported_because == "no better than chance"
    assert left_out.scores == served.scores


def test_later_fields_at_their_defaults_leave_a_policy_its_digest() -> None:
    first = {"temperature": 2.0, "thresholds": {"flag": 0.25}}
    canonical = json.dumps(first, sort_keys=True, separators=(",", ":"))
    policy = TaskPolicy(**first, point=OperatingPoint(), unserved=None)
    assert policy.digest() == hashlib.sha256(canonical.encode()).hexdigest()
    for later in ({"point": OperatingPoint(kind="cost_ratio", value=2)}, {"unserved": "chance"}):
        assert set(TaskPolicy(**first, **later).model_dump()) == {*first, *later}
        assert TaskPolicy(**first, **later).digest() != policy.digest()
