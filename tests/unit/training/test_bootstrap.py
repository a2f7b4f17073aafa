"""The two-level bootstrap, p-values, Holm's adjustment."""

from __future__ import annotations

import numpy as np
import pytest

from training.bootstrap import draw, holm, interval, mean_over_trials, number, p_value, verdict

R = 4000


def test_folds_weigh_the_same_however_many_seeds_they_have() -> None:
    trials_TR = draw("task", ["a", "b"], ["fold 0", "fold 0", "fold 0", "fold 1"], 20, 0).trials_TR
    assert trials_TR[:, 0] == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert trials_TR.sum(axis=0) == pytest.approx(np.ones(21))
    assert np.all(trials_TR[3] == 0.5)


def test_the_variance_over_seeds_is_that_of_their_mean() -> None:
    values = np.array([0.1, 0.5, 0.9])
    trials_TR = draw("task", ["a"], ["same"] * 3, R, 1).trials_TR
    means = mean_over_trials(np.repeat(values[:, None], R + 1, axis=1), trials_TR)
    assert means[0] == pytest.approx(0.5)
    assert means[1:].var() == pytest.approx(values.var(ddof=1) / 3, rel=0.1)


def test_one_seed_a_fold_has_no_spread_of_seeds() -> None:
    trials_TR = draw("task", ["a"], ["fold 0", "fold 1"], 10, 1).trials_TR
    assert np.all(trials_TR == 0.5)


def test_tasks_draw_apart_and_a_draw_can_be_repeated() -> None:
    groups = [f"g{i}" for i in range(20)]
    one, again, other = (draw(name, groups, ["f"], 5, 0) for name in ("a", "a", "b"))
    assert all(np.array_equal(one.groups[g], again.groups[g]) for g in groups)
    assert not all(np.array_equal(one.groups[g], other.groups[g]) for g in groups)


def test_an_undefined_trial_is_left_out_of_the_mean() -> None:
    values_TR = np.array([[0.2, np.nan], [0.4, np.nan]])
    values_TR[0, 0] = np.nan
    found = mean_over_trials(values_TR, np.full((2, 2), 0.5))
    assert found[0] == pytest.approx(0.4)
    assert np.isnan(found[1])


def test_p_values() -> None:
    assert p_value(np.ones(999)) == pytest.approx(2 / 1000)
    assert p_value(np.array([-1.0, 1.0] * 500)) == 1.0
    assert p_value(np.concatenate([np.full(10, -1.0), np.ones(989)])) == pytest.approx(2 * 11 / 1000)
    assert p_value(np.full(5, np.nan)) == 1.0


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}


def test_words_and_numbers() -> None:
    assert [verdict(*bounds) for bounds in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (None, None))] == [
        *("better", "worse", "not distinguishable", "not distinguishable")
    ]
    assert number(np.nan) is None
    assert interval(np.full(3, np.nan)) == [None, None]
