"""One experiment as this pod sees it: counts, the sample ratio, guardrails, disagreement with shadows."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from contract.reference import ScoreReference
from service.experiment.configuration import GuardrailSettings
from service.experiment.plan import Assignment
from service.experiment.watch.evidence import Multinomial
from service.experiment.watch.guardrails import Guardrails, Seen, Shifts
from service.experiment.watch.sightings import Sightings

_LATENCIES = 4096


@dataclass
class ArmTally:
    """What one arm did.

    Attributes:
        requests: part of the comparison.
        units: among them, those seen for the first time.
        outcomes: how requests ended.
        latencies_ms: the last of those that were answered, from assignment to answer.
    """

    requests: int = 0
    units: int = 0
    forced: int = 0
    held_out: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))

    def quantile_ms(self, share: float) -> float | None:
        """Of the last latencies; None before there are any."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


@dataclass
class Pairs:
    """An arm's shadow answers beside those that were given.

    Attributes:
        done: pairs.
        compared: task -> pairs in which both arms support it.
        disagreed: task -> those of them in which one flags and the other does not.
    """

    done: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    disagreed: Counter[str] = field(default_factory=Counter)


class Tally:
    """One experiment.

    Args:
        name: its name.
        references: arm -> the reference of its bundle; every arm that the experiment has, and the default arm.
        default_arm: what others are compared with.
        settings: bounds of the guardrails.
    """

    def __init__(
        self,
        name: str,
        references: Mapping[str, ScoreReference | None],
        default_arm: str,
        settings: GuardrailSettings,
    ) -> None:
        self.name = name
        self.arms = {arm: ArmTally() for arm in references}
        self.pairs = {arm: Pairs() for arm in references}
        self._references = references
        self._default = default_arm
        self._settings = settings
        self._sightings = Sightings()
        self._ratio = Multinomial({})
        self._waiting: deque[Seen] = deque()
        self.shifts = {arm: Shifts(reference, settings.max_psi) for arm, reference in references.items()}
        self.guardrails = {arm: self._guardrails(arm) for arm in references if arm != default_arm}

    def _guardrails(self, arm: str) -> Guardrails:
        return Guardrails(arm, self._default, self.shifts, self._settings)

    def exposed(self, assignment: Assignment) -> Seen | None:
        """Counts an assignment. What is returned must be given to ``ended``; None: the request counts for no test."""
        arm = self.arms[assignment.arm]
        arm.forced += assignment.forced
        arm.held_out += assignment.holdout
        if not assignment.compared:
            return None
        arm.requests += 1
        if not self._sightings.first(assignment.unit_hash):
            return None
        # A unit that comes again is no new draw: a single one that always fails would be all the evidence needed.
        arm.units += 1
        self._ratio.reweigh(assignment.weights)
        self._ratio.observe(assignment.arm)
        seen = Seen(assignment.arm, assignment.weights)
        self._waiting.append(seen)
        return seen

    def count(self, arm: str, outcome: str, latency_ms: float) -> None:
        """How a request of the comparison ended."""
        tally = self.arms[arm]
        tally.outcomes[outcome] += 1
        if outcome == "answered":
            tally.latencies_ms.append(latency_ms)

    def ended(self, seen: Seen, *, failed: bool, latency_ms: float) -> dict[str, tuple[str, float]]:
        """Feeds the guardrails; arm -> the guardrail that it breaks.

        Units count in the order in which they came: else what ends soonest, such as a failure, would count first.
        """
        seen.failed, seen.late, seen.done = failed, not failed and latency_ms > self._settings.p99_ms, True
        fed = False
        while self._waiting and self._waiting[0].done:
            self._feed(self._waiting.popleft())
            fed = True
        if not fed:
            return {}
        found = {arm: guardrails.breach() for arm, guardrails in self.guardrails.items()}
        return {arm: breach for arm, breach in found.items() if breach is not None}

    def _feed(self, seen: Seen) -> None:
        self.shifts[seen.arm].observe(seen.scores)
        for guardrails in self.guardrails.values():
            guardrails.observe(seen)

    def forget(self, arm: str) -> None:
        """An arm that was stopped runs again: what was held against it is over."""
        if arm not in self.guardrails:
            return
        self.shifts[arm] = Shifts(self._references[arm], self._settings.max_psi)
        self.guardrails[arm] = self._guardrails(arm)

    @property
    def ratio_evidence(self) -> float:
        """Evidence against the sample ratio, as a share of what is called a mismatch: 1 and over is one."""
        return max(0.0, self._ratio.log_e) / math.log(1 / self._settings.alpha)
