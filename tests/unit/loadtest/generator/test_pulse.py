"""The generator's own pulse."""

from __future__ import annotations

import pytest

from loadtest.generator.pulse import Pulse
from loadtest.measurement.samples import Beat


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
