"""Metrics against scikit-learn and by hand; the bootstrap's weights."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, roc_auc_score

from training.evaluation.metrics import METRICS, Scored, ece, group_weights, point, precision_at, recall_at, vv_leakage


def rows(n: int = 200, seed: int = 0, decimals: int = 2) -> Scored:
    rng = np.random.default_rng(seed)
    scores = np.round(rng.random(n), decimals)  # rounded, so that scores are tied
    return Scored(scores, scores >= 0.6, rng.random(n) < scores**2)


@pytest.mark.parametrize("seed", range(5))
def test_metrics_agree_with_scikit_learn(seed: int) -> None:
    one = rows(seed=seed)
    found = point(one)
    assert found["f1"] == pytest.approx(f1_score(one.positive, one.flagged))
    assert found["pr_auc"] == pytest.approx(average_precision_score(one.positive, one.scores))
    assert found["brier"] == pytest.approx(brier_score_loss(one.positive, one.scores))


@pytest.mark.parametrize("metric", METRICS)
def test_a_weight_of_two_is_the_row_twice(metric: str) -> None:
    one = rows(60)
    weights = np.random.default_rng(1).integers(0, 3, 60).astype(float)
    index = np.repeat(np.arange(60), weights.astype(int))
    twice = Scored(one.scores[index], one.flagged[index], one.positive[index])
    weighted = METRICS[metric](one, weights[None])[0]
    if metric == "ece":  # its bins come from the unweighted scores
        assert weighted == pytest.approx(METRICS[metric](twice, np.ones((1, len(index))))[0], abs=0.1)
    else:
        assert weighted == pytest.approx(METRICS[metric](twice, np.ones((1, len(index))))[0])


def test_ece_of_a_constant_score() -> None:
    one = Scored(np.full(10, 0.8), np.ones(10, bool), np.arange(10) < 5)
    assert ece(one, np.ones((1, 10)))[0] == pytest.approx(0.3)


@pytest.mark.parametrize("seed", range(20))
def test_replicates_of_ece_lie_around_the_estimate(seed: int) -> None:
    """Of calibrated scores, where the gaps that draws open are largest beside the error itself."""
    rng = np.random.default_rng(seed)
    scores = rng.random(200)
    one = Scored(scores, scores > 0.5, rng.random(200) < scores)
    names = [str(group) for group in rng.integers(0, 50, 200)]
    drawn = group_weights(names, 300, seed)
    weights = np.concatenate([np.ones((1, 200)), np.stack([drawn[name] for name in names], axis=1)])
    estimate, *replicates = ece(one, weights)
    low, high = np.percentile(replicates, (2.5, 97.5))
    assert low <= estimate <= high
    assert estimate == pytest.approx(ece(one, np.ones((1, 200)))[0])


def test_bootstrap_draws_as_many_groups_as_there_are() -> None:
    weights = group_weights(["a", "b", "b", "c"], 50, seed=3)
    assert set(weights) == {"a", "b", "c"}
    assert np.all(sum(weights.values()) == 3)
    again = group_weights(["c", "a", "b"], 50, seed=3)
    assert all(np.array_equal(weights[g], again[g]) for g in weights)


HAND = Scored(
    scores=np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]),
    flagged=np.array([True, True, True, False, False, False]),
    positive=np.array([True, False, True, True, False, False]),
    views=np.array([10.0, 7.0, np.nan, 30.0, 1.0, 1.0]),
    flagged_at={"p80": np.array([True, False, False, False, False, False])},
)


def test_rates_by_hand() -> None:
    found = point(HAND)
    assert found["miss_rate"] == pytest.approx(1 / 3)
    assert found["overkill"] == pytest.approx(1 / 3)
    assert found["vv_leakage"] == pytest.approx(30 / 40)  # the third row's views are not known
    assert found["recall_at_p80"] == pytest.approx(1 / 3)
    assert found["precision_at_p80"] == 1.0
    assert "recall_at_p90" not in found
    assert found["max_recall_at_p80"] == pytest.approx(1 / 3)
    assert found["max_f1"] == pytest.approx(2 * 3 / (4 + 3))


def test_without_views_there_is_no_vv_leakage() -> None:
    one = rows()
    assert "vv_leakage" not in point(one)
    assert np.isnan(vv_leakage(one, np.ones((1, 200)))[0])


@pytest.mark.parametrize("seed", range(3))
def test_roc_auc_agrees_with_scikit_learn(seed: int) -> None:
    one = rows(seed=seed)
    assert point(one)["roc_auc"] == pytest.approx(roc_auc_score(one.positive, one.scores))


def test_without_positives_what_divides_by_them_is_undefined() -> None:
    found = point(Scored(HAND.scores, HAND.flagged, np.zeros(6, bool), HAND.views, HAND.flagged_at))
    undefined = {name for name, value in found.items() if np.isnan(value)}
    assert undefined == {
        *("f1", "max_f1", "pr_auc", "roc_auc", "miss_rate", "vv_leakage"),
        *("recall_at_p80", "max_recall_at_p80", "max_recall_at_p90"),
    }


def test_a_precision_without_a_threshold_is_a_number_that_is_undefined() -> None:
    for metric in (recall_at, precision_at):
        found = metric(HAND, np.ones((3, 6)), "p90")
        assert found.dtype == np.float64
        assert np.isnan(found).tolist() == [True] * 3
        assert not np.isnan(metric(HAND, np.ones((3, 6)), "p80")).any()


def test_every_replicate_has_its_own_value() -> None:
    """Rows that a replicate did not draw are not there: here each draws half of them."""
    one = rows(80)
    halves = np.zeros((2, 80))
    halves[0, :40], halves[1, 40:] = 1, 1
    for name, metric in METRICS.items():
        if name == "ece":  # its bins come from the unweighted scores
            continue
        parts = [Scored(one.scores[s], one.flagged[s], one.positive[s]) for s in (slice(40), slice(40, 80))]
        assert metric(one, halves).tolist() == pytest.approx([point(part)[name] for part in parts])


def test_calibration_error_by_hand() -> None:
    """Ten bins of two rows each, each bin's mean score 0.05 off its share of positives; twice as far under weight 2."""
    scores = np.repeat(np.arange(10) / 10 + 0.05, 2)
    positive = np.zeros(20, bool)
    one = Scored(scores, positive, positive)
    assert ece(one, np.ones((1, 20)))[0] == pytest.approx(scores.mean())
    half = np.ones((1, 20))
    half[0, 10:] = 0
    assert ece(one, half)[0] == pytest.approx(scores[:10].mean())
    mixed = Scored(np.array([0.2] * 10 + [0.8] * 10), positive, np.arange(20) % 10 < 5)
    assert ece(mixed, np.ones((1, 20)))[0] == pytest.approx(0.3)
