"""The generator's own check."""

from __future__ import annotations

import pytest

from loadtest.generator import GeneratorLimits, Pulse, headroom
from loadtest.samples import Beat, Outcome, Sample


def take_beat(oversleep_s: float, cpu_of_wall: float) -> Beat:
    """A beat in simulated time in which each nap overruns."""
    now = [10.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds + oversleep_s

    pulse = Pulse(lambda: now[0], sleep, lambda: cpu_of_wall * now[0])
    return pulse.beat(lambda at_s: int(at_s), lambda: 7)


def test_a_pulse_notices_lag_and_cpu() -> None:
    beat = take_beat(0.08, 0.6)
    assert beat.lag_s == pytest.approx(0.08)
    assert beat.cpu_share == pytest.approx(0.6)
    assert (beat.at_s, beat.stage, beat.in_flight) == (10.0, 10, 7)
    assert take_beat(0.0, 0.0).lag_s == pytest.approx(0.0)


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
