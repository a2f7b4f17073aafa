"""The two-level bootstrap, p-values, Holm's adjustment."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.manifest import Row
from training.evaluation.bootstrap import draw, holm, interval, mean_over_trials, number, p_value, verdict

R = 4000


def rows_of(*groups: str) -> list[Row]:
    """One row of each group."""
    return [Row(id=f"row {n}", texts={"title": "t"}, labels={}, group=group) for n, group in enumerate(groups)]


def test_folds_weigh_the_same_however_many_seeds_they_have() -> None:
    trials_TR = draw("task", rows_of("a", "b"), ["fold 0", "fold 0", "fold 0", "fold 1"], 20, 0).trials_TR
    assert trials_TR[:, 0] == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert trials_TR.sum(axis=0) == pytest.approx(np.ones(21))
    assert np.all(trials_TR[3] == 0.5)


def test_the_variance_over_seeds_is_that_of_their_mean() -> None:
    values = np.array([0.1, 0.5, 0.9])
    trials_TR = draw("task", rows_of("a"), ["same"] * 3, R, 1).trials_TR
    means = mean_over_trials(np.repeat(values[:, None], R + 1, axis=1), trials_TR)
    assert means[0] == pytest.approx(0.5)
    assert means[1:].var() == pytest.approx(values.var(ddof=1) / 3, rel=0.1)


def test_one_seed_a_fold_has_no_spread_of_seeds() -> None:
    trials_TR = draw("task", rows_of("a"), ["fold 0", "fold 1"], 10, 1).trials_TR
    assert np.all(trials_TR == 0.5)


def test_tasks_draw_apart_and_a_draw_can_be_repeated() -> None:
    groups = [f"g{i}" for i in range(20)]
    one, again, other = (draw(name, rows_of(*groups), ["f"], 5, 0) for name in ("a", "a", "b"))
    assert all(np.array_equal(one.groups[g], again.groups[g]) for g in groups)
    assert not all(np.array_equal(one.groups[g], other.groups[g]) for g in groups)


def test_rows_of_two_groups_weigh_the_product_and_leave_other_draws_as_they_are() -> None:
    rows = rows_of("clip a", "clip a", "clip b")
    plain, crossed = (draw("task", rows, ["f"], R, 0, second) for second in ({}, {"row 1": "c", "row 2": "d"}))
    assert all(np.array_equal(plain.groups[name], crossed.groups[name]) for name in ("clip a", "clip b"))
    weights_RN, own_R = crossed.of_rows(rows), crossed.groups["clip a"]
    assert np.array_equal(weights_RN[:, 0], own_R)
    assert np.array_equal(weights_RN[:, 1], own_R * crossed.crossed["c"])
    assert weights_RN[:, 2].mean() == pytest.approx(1, abs=0.1)
    assert weights_RN[:, 2].var() > plain.of_rows(rows)[:, 2].var() * 1.5
    assert abs(np.corrcoef(own_R, crossed.crossed["c"])[0, 1]) < 0.05  # drawn apart


def test_the_mean_of_crossed_rows_varies_at_least_as_it_does_over_new_clips_and_titles() -> None:
    """Scores that are a clip's share plus a title's: true variance of the mean is s1^2 / n1 + s2^2 / n2."""
    rng = np.random.default_rng(0)
    clips, titles = rng.normal(0, 1, 12), rng.normal(0, 2, 15)
    pairs = [(c, t) for c in range(12) for t in range(15) if rng.random() < 0.4]
    values = np.asarray([clips[c] + titles[t] for c, t in pairs])
    rows = rows_of(*(f"clip {c}" for c, _ in pairs))
    second = {row.id: f"title {t}" for row, (_, t) in zip(rows, pairs, strict=True)}
    true = clips.var(ddof=1) / 12 + titles.var(ddof=1) / 15

    def variance(second_group: dict[str, str]) -> float:
        weights_RN = draw("task", rows, ["f"], R, 0, second_group).of_rows(rows)
        return float((weights_RN @ values / weights_RN.sum(axis=1)).var())

    assert 0.8 * true < variance(second) < 2 * true
    assert variance({}) < 0.5 * true


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


def test_methods_that_never_differ_are_not_told_apart() -> None:
    assert p_value(np.zeros(999)) == 1.0
    assert p_value(np.append(np.zeros(600), np.ones(399))) == 1.0
    assert p_value(np.append(np.zeros(20), np.full(979, -1.0))) == pytest.approx(2 * 21 / 1000)


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}


def test_words_and_numbers() -> None:
    assert [verdict(*bounds) for bounds in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (None, None))] == [
        *("better", "worse", "not distinguishable", "not distinguishable")
    ]
    assert [verdict(*bounds) for bounds in ((0.0, 0.2), (-0.2, 0.0), (0.0, 0.0))] == ["not distinguishable"] * 3
    assert number(np.nan) is None
    assert interval(np.full(3, np.nan)) == [None, None]
