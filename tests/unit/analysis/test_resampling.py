"""Bootstrap, quantiles, recall at a precision, calibration error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.statistics.bootstrap import percentile_interval, pivot_interval, ratio_replicates, unit_weights
from analysis.statistics.quantiles import Quantile, quantile, ratio_interval
from analysis.statistics.ranking import ScoredRows, ece, max_recall
from analysis.statistics.ratio import UnitSums, estimates


def test_weights_are_poisson_and_as_many_as_asked() -> None:
    weights = np.concatenate(list(unit_weights(700_000, 3, np.random.default_rng(0))))
    assert weights.shape == (3, 700_000)
    assert weights.mean() == pytest.approx(1.0, abs=0.004)
    assert weights.var() == pytest.approx(1.0, abs=0.01)
    assert (weights == 0).mean() == pytest.approx(np.exp(-1), abs=0.001)


def test_the_bootstraps_spread_is_the_delta_methods_error() -> None:
    rng = np.random.default_rng(1)
    denominator = 1.0 + rng.poisson(1.5, (800, 1))
    numerator = rng.binomial(denominator.astype(int), rng.beta(2, 2, (800, 1))).astype(float)
    sums = UnitSums(np.r_[numerator, np.zeros((200, 1))], np.r_[denominator, np.zeros((200, 1))])
    replicates = ratio_replicates(sums, 3000, rng)[:, 0]
    found = estimates(sums)[0]
    assert replicates.std() == pytest.approx(found.error, rel=0.05)
    assert replicates.mean() == pytest.approx(found.value, abs=0.1 * found.error)


def test_intervals_of_replicates() -> None:
    draws = np.r_[np.arange(101.0), np.nan]
    assert percentile_interval(draws, 0.1) == pytest.approx((4.1, 95.9))  # ranks 5.1 and 96.9 of 101
    assert pivot_interval(40.0, 50.0, draws, 0.1) == pytest.approx((-5.9, 85.9))
    assert np.isnan(percentile_interval(np.array([np.nan]))).all()


def test_a_quantile_and_its_interval_are_order_statistics() -> None:
    values = np.arange(1.0, 1001.0)
    found = quantile(values, np.arange(1000), 0.5, 1.96)
    assert found.value == 500.0
    assert (found.low, found.high) == (469.0, 532.0)  # 1000 x (0.5 -+ 1.96 x (0.25 / 999)^0.5), rounded up


def test_the_top_of_few_rows_is_not_known() -> None:
    found = quantile(np.arange(1.0, 101.0), np.arange(100), 0.99, 3.0)
    assert found.value == 99.0
    assert found.high == np.inf
    assert ratio_interval(found, Quantile(50.0, 49.0, 51.0))[2] == np.inf
    assert np.isnan(quantile(np.array([]), np.array([], np.int64), 0.5, 2.0).value)


def test_rows_of_a_unit_widen_a_quantiles_interval() -> None:
    values = np.repeat(np.random.default_rng(0).exponential(1.0, 300), 10)
    alone, grouped = (quantile(values, unit, 0.9, 1.96) for unit in (np.arange(3000), np.repeat(np.arange(300), 10)))
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_the_ratio_of_quantiles_turns_over_with_the_arms() -> None:
    one, other = Quantile(200.0, 180.0, 230.0), Quantile(100.0, 95.0, 104.0)
    ratio, low, high = ratio_interval(one, other)
    back, back_low, back_high = ratio_interval(other, one)
    assert low < ratio == 2.0 < high
    assert (1 / back, 1 / back_high, 1 / back_low) == pytest.approx((ratio, low, high))


def scored(score: np.ndarray, positive: np.ndarray) -> ScoredRows:
    n = len(score)
    return ScoredRows(score, positive, np.ones(n), np.arange(n), n)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(1, 3)), min_size=1, max_size=25))
def test_recall_at_a_precision_is_the_best_of_all_thresholds(rows: list[tuple[int, bool, int]]) -> None:
    score, positive, weight = (np.array([row[k] for row in rows]) for k in range(3))
    best = 0.0
    for threshold in range(7):
        called = score >= threshold
        hits = weight[called & positive].sum()
        if called.any() and hits >= 0.8 * weight[called].sum() - 1e-12:
            best = max(best, hits / max(1, weight[positive].sum()))
    found = max_recall(scored(score / 6.0, positive), weight[None, :].astype(float), 0.8)[0]
    if positive.any():
        assert found == pytest.approx(best)
    else:
        assert np.isnan(found)


def test_perfect_calibration_has_no_error_once_its_bias_is_off() -> None:
    rng = np.random.default_rng(2)
    free, plain = [], []
    for _ in range(40):
        score = rng.random(300)
        rows = scored(score, rng.random(300) < score)
        one_free, one_plain = ece(rows, np.ones((1, 300)))
        free.append(one_free[0])
        plain.append(one_plain[0])
    assert np.mean(plain) > 0.045
    assert np.mean(free) < 0.65 * np.mean(plain)


def test_a_shift_of_all_scores_is_the_error() -> None:
    rng = np.random.default_rng(3)
    truth = 0.2 + 0.5 * rng.random(40_000)
    rows = scored(truth + 0.1, rng.random(40_000) < truth)
    free, plain = ece(rows, np.ones((1, 40_000)))
    assert free[0] == pytest.approx(0.1, abs=0.01)
    assert plain[0] >= free[0]


def test_a_replicate_without_rows_has_no_calibration_error() -> None:
    rows = scored(np.array([0.2]), np.array([False]))
    free, plain = ece(rows, np.array([[1.0], [0.0]]))
    assert plain[0] == pytest.approx(0.2)
    assert np.isnan(free[1])
    assert np.isnan(plain[1])
