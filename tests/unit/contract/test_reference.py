"""The reference counts as a Prometheus histogram does, and belongs to one model and one policy."""

from __future__ import annotations

import itertools
import math

import pytest
from prometheus_client import CollectorRegistry, Histogram
from pydantic import ValidationError

from contract.reference import SCORE_BOUNDS, ScoreReference, TaskReference, count_scores

SCORES = [0.0, 1e-9, 0.05, 0.050001, 0.15, 0.3, 0.6, 0.949999, 0.95, 0.95001, 1.0]
DIGEST = "0" * 64


def test_scores_fall_into_the_bins_that_a_histogram_puts_them_in() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("h", "h", buckets=SCORE_BOUNDS, registry=registry)
    for score in SCORES:
        histogram.observe(score)
    buckets = [s for s in next(iter(registry.collect())).samples if s.name == "h_bucket"]
    cumulative = [0.0, *(sample.value for sample in buckets[:-1])]
    assert count_scores(SCORES).counts == tuple(b - a for a, b in itertools.pairwise(cumulative))
    assert [float(sample.labels["le"]) for sample in buckets[:-1]] == list(SCORE_BOUNDS)


@pytest.mark.parametrize("score", [-0.01, 1.01, math.nan])
def test_what_is_no_probability_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match="no probability"):
        count_scores([0.5, score])


def test_no_scores_make_no_reference() -> None:
    with pytest.raises(ValidationError, match="nor all be 0"):
        count_scores([])


def test_shares_are_never_0_and_add_up_to_1() -> None:
    shares = count_scores([0.5] * 90).shares()
    assert min(shares) == pytest.approx(0.5 / 100)
    assert max(shares) == pytest.approx(90.5 / 100)
    assert sum(shares) == pytest.approx(1)


def test_other_bins_are_refused() -> None:
    task = TaskReference(counts=(1,) * len(SCORE_BOUNDS))
    known = {"model_digest": DIGEST, "policy_digest": DIGEST, "manifest_digest": DIGEST, "split": "val", "rows": 1}
    assert ScoreReference.model_validate(known | {"tasks": {"t": task}}).upper_bounds == SCORE_BOUNDS
    with pytest.raises(ValidationError, match="upper_bounds"):
        ScoreReference.model_validate(known | {"tasks": {"t": task}, "upper_bounds": SCORE_BOUNDS[:-1]})
    with pytest.raises(ValidationError, match="counts"):
        TaskReference(counts=(1,) * (len(SCORE_BOUNDS) - 1))
