"""The reference is shown in the bins of the scores, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.reference import SCORE_BOUNDS
from service.experiment.reference import show_reference
from service.metrics import Metrics
from tests.synthetic_bundle import write_synthetic_bundle, write_synthetic_reference


def samples(metrics: Metrics, name: str) -> list[tuple[dict[str, str], float]]:
    families = metrics.registry.collect()
    return [(s.labels, s.value) for family in families for s in family.samples if s.name == name]


def test_bins_are_named_as_the_histogram_names_its_buckets(tmp_path: Path) -> None:
    counts = (*(0,) * 19, 90)
    reference = write_synthetic_reference(write_synthetic_bundle(tmp_path / "b"), violence=counts)
    metrics = Metrics()
    show_reference(metrics, "student", reference)
    metrics.score.labels("student", "violence").observe(1.0)
    shown = samples(metrics, "cpfd_reference_score_share")
    buckets = [labels["le"] for labels, _ in samples(metrics, "cpfd_score_bucket")]
    assert [labels["le"] for labels, _ in shown] == buckets[:-1]
    assert [labels["above"] for labels, _ in shown] == ["0.0", *buckets[:-2]]
    assert shown[-1][1] == pytest.approx(90.5 / 100)
    assert sum(share for _, share in shown) == pytest.approx(1)
    assert samples(metrics, "cpfd_reference_rows") == [({"arm": "student", "task": "violence"}, 90.0)]


def test_an_arm_without_a_reference_shows_nothing() -> None:
    metrics = Metrics()
    show_reference(metrics, "student", None)
    assert samples(metrics, "cpfd_reference_score_share") == []
    assert samples(metrics, "cpfd_reference_rows") == []


def test_the_alerts_mark_is_of_as_many_bins_as_there_are() -> None:
    """43.8 in the rule is the 99.9th percentile of a chi-square of one degree of freedom less than bins."""
    assert len(SCORE_BOUNDS) == 20
    rule = (Path(__file__).parents[4] / "helm" / "cpfd" / "files" / "rules.yaml").read_text()
    degrees = len(SCORE_BOUNDS) - 1
    z = 3.0902  # of a normal distribution; Wilson and Hilferty's approximation of the chi-square
    approximate = degrees * (1 - 2 / (9 * degrees) + z * (2 / (9 * degrees)) ** 0.5) ** 3
    assert approximate == pytest.approx(43.8, abs=0.2)
    assert "> 43.8 * (1 /" in rule
