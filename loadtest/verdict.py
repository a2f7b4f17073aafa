"""Figures against objectives -> checks -> a verdict and its exit code."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from loadtest.generator import UNSENT, headroom
from loadtest.objectives import Limits, Objectives
from loadtest.samples import Beat, Sample
from loadtest.summary import Figures, StageSummary, by_arm, figures

EVERYONE = "all requests"


class ExitCode(IntEnum):
    """What ``python -m loadtest`` ends with; 2 is bad usage, as everywhere."""

    PASSED = 0
    FAILED = 1
    INCONCLUSIVE = 3


@dataclass(frozen=True)
class Check:
    """One question and its answer.

    Attributes:
        scope: ``all requests`` or ``arm NAME``.
        name: of the objective.
        measured: what was found; nan: nothing was.
        limit: what was asked.
        at_least: whether the limit is a lower one.
    """

    scope: str
    name: str
    measured: float
    limit: float
    at_least: bool = False

    @property
    def passed(self) -> bool:
        """Whether it held; what was not measured did not."""
        if math.isnan(self.measured):
            return False
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    @property
    def bound(self) -> str:
        """``at most 500``."""
        return f"at {'least' if self.at_least else 'most'} {number(self.limit)}"

    def sentence(self) -> str:
        """``arm student: p95_ms is 812, asked: at most 500``."""
        return f"{self.scope}: {self.name} is {number(self.measured)}, asked: {self.bound}"


@dataclass(frozen=True)
class Verdict:
    """The answer of the whole test.

    Attributes:
        checks: one for each objective and group.
        capacity_per_s: the highest planned rate up to which the limits held at every stage; 0: at none.
        generator_reasons: why the generator was at its limit in the judged stages; empty: it was not.
        stands: whether a failure stays one after all that the generator may have added is taken off.
    """

    checks: tuple[Check, ...]
    capacity_per_s: float
    generator_reasons: tuple[str, ...]
    stands: bool = True

    @property
    def exit_code(self) -> ExitCode:
        """The generator only ever makes figures worse: what passes has passed, what fails may be its doing."""
        if all(check.passed for check in self.checks):
            return ExitCode.PASSED
        return ExitCode.FAILED if self.stands or not self.generator_reasons else ExitCode.INCONCLUSIVE


def number(value: float) -> str:
    """Three figures, and all of those before the point; ``-`` for nan."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def judge(
    objectives: Objectives,
    stages: Sequence[StageSummary],
    samples: Sequence[Sample],
    beats: Sequence[Beat],
    ended_s: float,
) -> Verdict:
    """The verdict over the judged stages taken together. A plan that was cut short has not passed."""
    indices = {index for index, stage in enumerate(stages) if stage.judged}
    here = [sample for sample in samples if sample.stage in indices]
    pulse = [beat for beat in beats if beat.stage in indices]
    seconds = sum(stages[index].stage.seconds for index in indices)
    reasons = headroom(pulse, here, objectives.generator).reasons
    planned_s = round(sum(stage.stage.seconds for stage in stages), 1)
    checks = [Check(EVERYONE, "planned_seconds", round(ended_s, 1), planned_s, True)]
    checks += _checks(objectives, here, seconds)
    capacity = _capacity(objectives.limits, stages)
    if objectives.min_capacity_per_s is not None:
        checks.append(Check(EVERYONE, "capacity_per_s", capacity, objectives.min_capacity_per_s, True))
    forgiven = _forgive(here, max((beat.lag_s for beat in pulse), default=0.0))
    fastest = _medians(by_arm(here, seconds=seconds, within_ms=objectives.within_ms), objectives.min_requests)
    stands = not all(check.passed for check in (checks[0], *_checks(objectives, forgiven, seconds, fastest)))
    return Verdict(tuple(checks), capacity, reasons, stands)


def _checks(
    objectives: Objectives, samples: Sequence[Sample], seconds: float, measured: Mapping[str, float] | None = None
) -> list[Check]:
    """All checks but that of the capacity; ``measured`` are the arms' medians to compare the slowest with."""
    within_ms, least = objectives.within_ms, objectives.min_requests
    overall = figures(samples, seconds=seconds, within_ms=within_ms)
    arms = by_arm(samples, seconds=seconds, within_ms=within_ms)
    checks = [Check(EVERYONE, "answered", overall.answered, least, True)]
    checks += bounds(EVERYONE, overall, objectives.limits)
    for arm in sorted(set(arms) | set(objectives.arms)):
        found = arms.get(arm) or figures([], seconds=seconds, within_ms=within_ms)
        if arm in objectives.arms:
            checks.append(Check(f"arm {arm}", "answered", found.answered, least, True))
        if found.requests:
            checks += bounds(f"arm {arm}", found, objectives.limits_of(arm))
    medians = _medians(arms, least)
    if objectives.max_arm_ratio is not None and len(medians) > 1:
        slowest = max(medians, key=medians.__getitem__)
        fastest_ms = min((measured or medians).values())
        ratio = medians[slowest] / max(fastest_ms, 1e-3)
        checks.append(Check(f"arm {slowest}", "arm_ratio", ratio, objectives.max_arm_ratio))
    return checks


def bounds(scope: str, found: Figures, limits: Limits) -> list[Check]:
    """A check for each limit that is set."""
    return [
        Check(scope, name, getattr(found, name), limit, name == "goodput_share")
        for name, limit in limits.model_dump().items()
        if limit is not None
    ]


def _medians(arms: Mapping[str, Figures], least: int) -> dict[str, float]:
    """The p50 of each arm that answered often enough to have one."""
    return {arm: found.p50_ms for arm, found in arms.items() if found.answered >= least}


def _forgive(samples: Sequence[Sample], lag_s: float) -> list[Sample]:
    """The samples as they would be at best: sent when due, read at once, and without those that were not sent."""
    return [
        replace(sample, latency_s=max(0.0, sample.latency_s - sample.late_s - lag_s))
        for sample in samples
        if sample.code != UNSENT
    ]


def _capacity(limits: Limits, stages: Sequence[StageSummary]) -> float:
    """The highest planned rate such that the limits hold at it and at every lower one."""
    held = 0.0
    for stage in sorted(stages, key=lambda found: found.stage.per_s):
        if not all(check.passed for check in bounds(EVERYONE, stage.overall, limits)):
            break
        held = stage.stage.per_s
    return held
