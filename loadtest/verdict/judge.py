"""All checks, the capacity and the generator's share in a failure -> a verdict and its exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from loadtest.measurement.figures import StageSummary, by_arm
from loadtest.measurement.headroom import headroom
from loadtest.measurement.samples import UNSENT, Beat, Sample
from loadtest.objectives import Objectives
from loadtest.verdict.capacity import Capacity, capacity_of
from loadtest.verdict.checks import EVERYONE, Check, checks_of, medians_of

CAPACITY = "capacity_per_s"


class ExitCode(IntEnum):
    """What ``python -m loadtest`` ends with; 2 is bad usage, as everywhere."""

    PASSED = 0
    FAILED = 1
    INCONCLUSIVE = 3


@dataclass(frozen=True)
class Verdict:
    """The answer of the whole test.

    Attributes:
        checks: one for each objective and group.
        capacity: up to which of the planned rates the service keeps up.
        generator_reasons: why the generator was at its limit in the judged stages; empty: it was not.
        stands: whether a failure stays one after all that the generator may have added is taken off.
    """

    checks: tuple[Check, ...]
    capacity: Capacity
    generator_reasons: tuple[str, ...]
    stands: bool = True

    @property
    def exit_code(self) -> ExitCode:
        """The generator only ever makes figures worse: what passes has passed, what fails may be its doing."""
        failed = [check for check in self.checks if not check.passed]
        if not failed:
            return ExitCode.PASSED
        open_ = bool(self.generator_reasons) or all(self.undecided(check) for check in failed)
        return ExitCode.INCONCLUSIVE if open_ and not self.stands else ExitCode.FAILED

    def undecided(self, check: Check) -> bool:
        """Whether a check failed only because some queue is not decided."""
        return check.name == CAPACITY and check.measured < check.limit <= self.capacity.at_most_per_s


def judge(
    objectives: Objectives,
    stages: Sequence[StageSummary],
    samples: Sequence[Sample],
    beats: Sequence[Beat],
    ended_s: float,
) -> Verdict:
    """The verdict over the judged stages taken together. A plan that was cut short has not passed.

    Args:
        objectives: what is asked.
        stages: all of them.
        samples, beats: of the judged ones.
        ended_s: how far the plan got.
    """
    seconds = sum(stage.stage.seconds for stage in stages if stage.judged)
    reasons = headroom(beats, samples, objectives.generator).reasons
    planned_s = round(sum(stage.stage.seconds for stage in stages), 1)
    checks = [Check(EVERYONE, "planned_seconds", round(ended_s, 1), planned_s, True)]
    checks += checks_of(objectives, samples, seconds)
    capacity = capacity_of(objectives.limits, stages)
    if objectives.min_capacity_per_s is not None:
        checks.append(Check(EVERYONE, CAPACITY, capacity.per_s, objectives.min_capacity_per_s, True))
    forgiven = _forgive(samples, max((beat.lag_s for beat in beats), default=0.0))
    fastest = medians_of(by_arm(samples, seconds=seconds, within_ms=objectives.within_ms), objectives.min_requests)
    stands = not all(check.passed for check in (checks[0], *checks_of(objectives, forgiven, seconds, fastest)))
    return Verdict(tuple(checks), capacity, reasons, stands)


def _forgive(samples: Sequence[Sample], lag_s: float) -> list[Sample]:
    """The samples as they would be at best: sent when due, read at once, and without those that were not sent."""
    return [
        replace(sample, latency_s=max(0.0, sample.latency_s - sample.late_s - lag_s))
        for sample in samples
        if sample.code != UNSENT
    ]
