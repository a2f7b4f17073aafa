"""Single questions about figures, and their answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtest.measurement.figures import Figures, by_arm, figures
from loadtest.measurement.samples import Sample
from loadtest.objectives import Limits, Objectives

EVERYONE = "all requests"


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


def number(value: float) -> str:
    """Three figures, and all of those before the point; ``-`` for nan."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def bounds(scope: str, found: Figures, limits: Limits) -> list[Check]:
    """A check for each limit that is set."""
    return [
        Check(scope, name, getattr(found, name), limit, name == "goodput_share")
        for name, limit in limits.model_dump().items()
        if limit is not None
    ]


def checks_of(
    objectives: Objectives, samples: Sequence[Sample], seconds: float, measured: Mapping[str, float] | None = None
) -> list[Check]:
    """All checks of the judged samples but that of the capacity.

    Args:
        objectives: what is asked.
        samples: of the judged stages.
        seconds: that they were due within.
        measured: the arms' medians to compare the slowest arm's with; None: those of ``samples``.
    """
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
    medians = medians_of(arms, least)
    if objectives.max_arm_ratio is not None and len(medians) > 1:
        slowest = max(medians, key=medians.__getitem__)
        fastest_ms = min((measured or medians).values())
        ratio = medians[slowest] / max(fastest_ms, 1e-3)
        checks.append(Check(f"arm {slowest}", "arm_ratio", ratio, objectives.max_arm_ratio))
    return checks


def medians_of(arms: Mapping[str, Figures], least: int) -> dict[str, float]:
    """The p50 of each arm that answered often enough to have one."""
    return {arm: found.p50_ms for arm, found in arms.items() if found.answered >= least}
