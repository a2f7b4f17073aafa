"""Guardrails of one arm: whether it fails, lags or scores otherwise so surely that it must not go on.

    error_rate    fails more often than the default arm and a margin (where no unit could have that, nothing is said)
    p99           over 1 % of what does not fail comes late, and more of it than of the default arm's
    shift:<task>  flag scores differ from the bundle's reference, and the default arm's from its own do not

Each is evidence that one may look at all the time (``evidence``). The level is shared among them, so an arm without
fault breaks any of them, ever, with probability ``alpha`` at most. What asks for two things stops less than the first
alone would: never more.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

from contract.reference import SCORE_BOUNDS, ScoreReference
from service.experiment.configuration import GuardrailSettings
from service.experiment.watch.evidence import NoWorse, ShareAtMost, ShiftAtMost

ERROR_RATE, P99, SHIFT = "error_rate", "p99", "shift:"
_LATE_SHARE = 0.01
_EACH = 25
"""Scores between two looks at a distribution: a look costs some hundred microseconds."""
_ENOUGH = 50
"""Scores of the default arm before it can say that the traffic has not moved."""


@dataclass
class Seen:
    """One unit's first request: what became of it.

    Attributes:
        arm: that answered.
        weights: arm -> the probability with which the unit had it.
        failed, late: what guardrails count.
        scores: supported task -> flag score.
        done: whether it has ended.
    """

    arm: str
    weights: Mapping[str, float]
    failed: bool = False
    late: bool = False
    scores: dict[str, float] = field(default_factory=dict)
    done: bool = False


class Shifts:
    """An arm's flag scores beside its reference, by task.

    Args:
        reference: the bundle's; None: it holds none, and nothing is compared.
        max_psi: how far they may differ.
    """

    def __init__(self, reference: ScoreReference | None, max_psi: float) -> None:
        tasks = reference.tasks if reference is not None else {}
        self.max_psi = max_psi
        self.tasks = {name: ShiftAtMost(task.shares(), max_psi) for name, task in tasks.items()}
        self._log_e = dict.fromkeys(self.tasks, 0.0)

    def observe(self, scores: Mapping[str, float]) -> None:
        for task, score in scores.items():
            if (shift := self.tasks.get(task)) is not None:
                shift.observe(bisect_left(SCORE_BOUNDS, score))
                if shift.total % _EACH == 0:
                    self._log_e[task] = shift.log_e

    def log_e(self, task: str) -> float:
        """The evidence at the last look."""
        return self._log_e[task]

    def stays(self, task: str) -> bool | None:
        """Whether the scores seen are like the reference; None where too few were seen, or nothing is compared."""
        shift = self.tasks.get(task)
        return None if shift is None or shift.total < _ENOUGH else shift.distance <= self.max_psi


class Guardrails:
    """The guardrails of one arm.

    Args:
        arm: its name.
        default_arm: what it is compared with.
        shifts: of every arm.
        settings: bounds.
    """

    def __init__(self, arm: str, default_arm: str, shifts: Mapping[str, Shifts], settings: GuardrailSettings) -> None:
        self.arm = arm
        self._default = default_arm
        self._shifts = shifts
        self._fails_more = NoWorse(settings.error_rate_margin)
        self._late = ShareAtMost(_LATE_SHARE)
        self._later = NoWorse(0.0)
        self._compared = False
        count = 2 + len(shifts[arm].tasks)
        self._threshold = math.log(count / settings.alpha)

    def observe(self, seen: Seen) -> None:
        """One unit, of any arm; scores are the shifts' to observe."""
        arm, reference = seen.weights.get(self.arm, 0.0), seen.weights.get(self._default, 0.0)
        if seen.arm == self.arm and not seen.failed:
            self._late.observe(event=seen.late)
        if seen.arm in (self.arm, self._default) and arm > 0 and reference > 0:
            self._compared = True
            drawn = {"in_arm": seen.arm == self.arm, "arm_weight": arm, "reference_weight": reference}
            self._fails_more.observe(event=seen.failed, **drawn)  # type: ignore[arg-type]
            self._later.observe(event=seen.late, **drawn)  # type: ignore[arg-type]

    def evidence(self) -> dict[str, float]:
        """Guardrail -> evidence as a share of what stops the arm, on a log scale: 1 and over is a breach."""
        # Where no unit could have had the default arm there is nobody to be later than.
        late = min(self._late.log_e, self._later.log_e) if self._compared else self._late.log_e
        found = {ERROR_RATE: self._fails_more.log_e, P99: late}
        for task in self._shifts[self.arm].tasks:
            found[SHIFT + task] = self._shift_log_e(task)
        return {name: max(0.0, log_e) / self._threshold for name, log_e in found.items()}

    def _shift_log_e(self, task: str) -> float:
        """None of it counts until the default arm's own scores say that it is not the traffic."""
        default = self._shifts.get(self._default)
        asked = self._compared and default is not None and task in default.tasks
        if asked and default is not None and default.stays(task) is not True:
            return 0.0
        return self._shifts[self.arm].log_e(task)

    def breach(self) -> tuple[str, float] | None:
        """The guardrail that is broken, and its evidence; None where none is."""
        name, share = max(self.evidence().items(), key=lambda found: found[1])
        return (name, share) if share >= 1 else None
