"""When the generator was the limit."""

from __future__ import annotations

import pytest

from loadtest.measurement.headroom import headroom
from loadtest.measurement.samples import Beat, Outcome, Sample
from loadtest.objectives import GeneratorLimits


@pytest.mark.parametrize(
    ("lag_s", "cpu_share", "late_s", "named"),
    [(0.0, 0.1, 0.0, ""), (0.2, 0.1, 0.0, "lagged"), (0.0, 0.99, 0.0, "core"), (0.0, 0.1, 0.5, "late")],
)
def test_what_makes_the_generator_the_limit(lag_s: float, cpu_share: float, late_s: float, named: str) -> None:
    beats = [Beat(0.5 * i, 0, lag_s, cpu_share, 4) for i in range(20)]
    samples = [Sample(0.1 * i, 0, "form", "a", Outcome.ANSWERED, "ok", 200, 0.1, late_s) for i in range(100)]
    found = headroom(beats, samples, GeneratorLimits())
    assert len(found.reasons) == bool(named)
    assert named in "".join(found.reasons)


def test_rows_survive_the_way_to_the_master() -> None:
    sample = Sample(1.5, 2, "form", "student", Outcome.SHED, "overloaded", 429, 0.2, 0.01, 1)
    assert Sample.from_row(sample.row()) == sample
    beat = Beat(1.0, 2, 0.1, 0.5, 3)
    assert Beat.from_row(beat.row()) == beat
