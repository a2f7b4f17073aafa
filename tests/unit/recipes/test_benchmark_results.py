"""The rules that turn intervals into words about the published claims."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recipes.benchmark.results import COMPATIBLE, CONFIRMED, REFUTED, UNDECIDED, claims, judge, verdict_paragraph
from training.evaluation.comparisons import compare, gaps_closed, relative_gain

R = 400


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.01, 0.10, COMPATIBLE),
        (0.10, 0.20, CONFIRMED),
        (-0.01, 0.10, UNDECIDED),
        (0.01, 0.05, REFUTED),
        (-0.01, 0.05, REFUTED),
        (-0.10, -0.01, REFUTED),
        (None, None, UNDECIDED),
    ],
)
def test_verdict_on_a_claim(low: float | None, high: float | None, expected: str) -> None:
    assert judge(low, high, 0.0676)[0] == expected


def mean_report(cpfd: float, teacher: float, shuffled: float, spread: float = 0.002) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    levels = {"teacher": teacher, "ce": 0.5, "pfd": 0.51, "cpfd": cpfd, "cpfd_shuffled": shuffled}
    made = {m: np.append(level, level + rng.normal(0, spread, R)) for m, level in levels.items()}
    means = {m: {"f1": values, "pr_auc": values} for m, values in made.items()}
    methods = [m for m in levels if m != "teacher"]
    pairs = (("cpfd", "ce"), ("cpfd", "pfd"), ("pfd", "ce"), ("teacher", "ce"))
    return {
        "tasks": ["one", "two"],
        "comparisons": compare(means, methods),
        "relative_gains": {f"{a} - {b}": {"f1": relative_gain(means, a, b, "f1")} for a, b in pairs},
        "gap_closed": gaps_closed(means, methods),
    }


def test_a_clear_gain_is_confirmed_and_credited() -> None:
    mean = mean_report(cpfd=0.535, teacher=0.541, shuffled=0.51)
    found = claims(mean)
    assert {name: claim["verdict"] for name, claim in found.items()} == {
        "gain over X-VLM": COMPATIBLE,
        "gain over PFD": CONFIRMED,
        "gap closed": COMPATIBLE,
    }
    assert set(found) == {"gain over X-VLM", "gain over PFD", "gap closed"}
    words = verdict_paragraph(mean, found)
    assert "owed to confidence" in words
    assert "+7.0" in words


def test_a_gain_that_shuffled_weights_share_is_not_credited() -> None:
    mean = mean_report(cpfd=0.535, teacher=0.541, shuffled=0.535)
    assert "cannot be credited" in verdict_paragraph(mean, claims(mean))


def test_without_a_teacher_gap_the_share_decides_nothing() -> None:
    found = claims(mean_report(cpfd=0.5, teacher=0.5, shuffled=0.5))
    assert found["gap closed"]["verdict"] == UNDECIDED
    assert "teacher" in found["gap closed"]["why"]
    assert found["gain over X-VLM"]["verdict"] == REFUTED


def test_wide_intervals_decide_nothing() -> None:
    found = claims(mean_report(cpfd=0.51, teacher=0.6, shuffled=0.5, spread=0.1))
    assert found["gain over X-VLM"]["verdict"] == UNDECIDED
