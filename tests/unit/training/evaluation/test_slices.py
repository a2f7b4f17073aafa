"""A slice that the threshold treats much worse is warned of; chance, small slices and small differences are not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from training.data.manifest import Row
from training.evaluation.bootstrap import draw
from training.evaluation.metrics import Scored
from training.evaluation.slices import TOO_FEW, threshold_by_slice


@dataclass(frozen=True)
class Trial:
    scored: Scored
    rows: list[Row]


def trial(missed: dict[str, float], rows: int = 400, *, groups: int = 100, seed: int = 0) -> Trial:
    """Rows of the slice ``place``, half positive; ``missed`` is the share of each value's positives not flagged."""
    rng = np.random.default_rng(seed)
    values = [sorted(missed)[i % len(missed)] for i in range(rows)]
    positive = np.asarray([i // len(missed) % 2 == 0 for i in range(rows)])
    wrong = rng.random(rows) < np.asarray([missed[value] for value in values])
    flagged = (positive & ~wrong) | (~positive & (rng.random(rows) < 0.1))
    made = [
        Row(id=f"r{i}", video="a.mp4", split="test", group=f"g{i % groups}", slices={"place": value})
        for i, value in enumerate(values)
    ]
    return Trial(Scored(flagged.astype(float), flagged, positive), made)


def found(one: Trial) -> dict[str, dict[str, object]]:
    draws = draw("task", one.rows, [0], 500, 0)
    return threshold_by_slice([one], draws)["place"]


def test_a_slice_that_is_missed_much_more_often_is_warned_of() -> None:
    report = found(trial({"loud": 0.6, "quiet": 0.1}))
    loud, quiet = report["loud"], report["quiet"]
    assert loud["miss_rate"]["verdict"] == "worse"
    assert quiet["miss_rate"]["verdict"] == "better"
    assert loud["miss_rate"]["p_holm"] == quiet["miss_rate"]["p_holm"] < 0.05
    low, high = loud["miss_rate"]["difference_interval"]
    assert 0.3 < low < loud["miss_rate"]["difference"] < high
    assert len(loud["warnings"]) == 1
    assert loud["warnings"][0].startswith("misses ")
    assert "of positives" in loud["warnings"][0]
    assert quiet["warnings"] == []
    assert loud["overkill"]["verdict"] == "not distinguishable"


def test_equal_slices_are_seldom_called_unequal() -> None:
    called = 0
    for seed in range(40):
        report = found(trial({"a": 0.3, "b": 0.3, "c": 0.3}, seed=seed))
        called += any(entry["warnings"] for entry in report.values())
    assert called <= 5


def test_few_groups_tell_nothing() -> None:
    report = found(trial({"loud": 0.9, "quiet": 0.0}, groups=4))
    assert report["loud"]["miss_rate"]["verdict"] == TOO_FEW
    assert report["loud"]["miss_rate"]["p_holm"] is None
    assert report["loud"]["warnings"] == []


def test_a_sure_but_small_difference_is_no_warning() -> None:
    one = trial({"a": 0.0, "b": 0.0}, rows=8000, groups=2000)
    late = np.asarray([i % 50 == 1 for i in range(8000)])  # 2 % of the rows, all of b, half of them positive
    flagged = one.scored.flagged & ~(late & one.scored.positive)
    report = found(Trial(Scored(flagged.astype(float), flagged, one.scored.positive), one.rows))
    assert report["b"]["miss_rate"]["verdict"] == "worse"
    assert report["b"]["miss_rate"]["difference"] == pytest.approx(0.04, abs=0.001)
    assert report["b"]["warnings"] == []


def test_rows_that_do_not_name_the_slice_are_not_its_rest() -> None:
    one = trial({"loud": 0.6, "quiet": 0.1})
    rows = [row.model_copy(update={"slices": {}}) if row.slices["place"] == "quiet" else row for row in one.rows]
    report = found(Trial(one.scored, rows))
    assert report["loud"]["miss_rate"]["elsewhere"] is None
    assert report["loud"]["miss_rate"]["verdict"] == TOO_FEW


def test_rows_without_slices_give_none() -> None:
    one = trial({"a": 0.3})
    rows = [row.model_copy(update={"slices": {}}) for row in one.rows]
    assert threshold_by_slice([Trial(one.scored, rows)], draw("task", rows, [0], 100, 0)) == {}
