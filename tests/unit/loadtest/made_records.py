"""Records as runs leave them, without a run."""

from __future__ import annotations

import random
from collections.abc import Callable

from loadtest.measurement.samples import Beat, Outcome, Record, Sample
from loadtest.shapes import Plan, make_plan
from loadtest.traffic.arrivals import arrivals

STEPS = make_plan("steps", per_s=40, seconds=30)


def calm(sample: Sample) -> Sample:
    return sample


def make_record(
    plan: Plan = STEPS, change: Callable[[Sample], Sample] = calm, *, lag_s: float = 0.001, cpu_share: float = 0.1
) -> Record:
    """A record of 20 to 60 ms a request on two arms, each sample passed through ``change``."""
    rng = random.Random(9)
    samples = []
    for number, due in enumerate(arrivals(plan, rng)):
        arm = ("baseline", "student")[number % 2]
        latency_s = rng.uniform(0.02, 0.06)
        made = Sample(due.at_s, due.stage, "form", arm, Outcome.ANSWERED, "ok", 200, latency_s, 0.001)
        samples.append(change(made).row())
    beats = [Beat(0.5 * i, plan.stage_at(0.5 * i), lag_s, cpu_share, 3).row() for i in range(int(2 * plan.total_s))]
    return Record(processes=1, ended_s=plan.total_s, samples=samples, beats=beats)
