"""The plan: who is in which experiment, and which arm answers. A function of configuration, units and time alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from contract.decision_log import Unit, name_hash
from service.experiment.assignment import assign, held_out, place
from service.experiment.configuration import (
    NO_EXPERIMENT,
    ArmSettings,
    Experiments,
    ExperimentSettings,
    ListedExperiment,
    RampStep,
)

Stopped = Collection[tuple[str, str]]
"""(experiment, arm) of those that get no weight."""


@dataclass(frozen=True)
class Units:
    """What a request could stick to an arm by.

    Attributes:
        content: SHA-256, in hex, of the video's bytes; of the texts where there is no video.
        video_id, account_id: the caller's names.
    """

    content: str
    video_id: str | None = None
    account_id: str | None = None

    def of(self, kind: Unit) -> tuple[Unit, str] | None:
        """The unit of a kind and which kind it is; None where the request has none."""
        if kind == "account_id":
            return None if self.account_id is None else (kind, self.account_id)
        if kind == "video_id" and self.video_id is not None:
            return kind, self.video_id
        return "content", self.content


@dataclass(frozen=True)
class Assignment:
    """Which arm answers, and why.

    Attributes:
        experiment: ``none`` where the request is in none.
        arm: its name.
        unit: what it sticks by.
        unit_hash: ``name_hash`` of that.
        weights: arm -> probability with which such a unit has it; empty where nothing was drawn.
        holdout: left out of the experiment.
        forced: the caller chose the arm.
    """

    experiment: str
    arm: str
    unit: Unit
    unit_hash: str
    weights: Mapping[str, float]
    holdout: bool = False
    forced: bool = False

    @property
    def compared(self) -> bool:
        """Whether it is part of a comparison."""
        return bool(self.weights) and not self.forced


@dataclass(frozen=True)
class Experiment:
    """One experiment, as the settings describe it."""

    name: str
    salt: str
    layer: str
    part: tuple[float, float]
    unit: Unit
    holdout: float
    base_weights: Mapping[str, float]
    ramp: tuple[RampStep, ...]

    @property
    def named(self) -> tuple[str, ...]:
        """Its arms, also those that never have a weight: they may be shadows."""
        return tuple(sorted(set(self.base_weights).union(*(step.weights for step in self.ramp))))

    @property
    def arms(self) -> tuple[str, ...]:
        """Those that have a weight at some time."""
        return tuple(name for name in self.named if self._ever(name))

    def _ever(self, arm: str) -> bool:
        return max([self.base_weights.get(arm, 0.0), *(step.weights.get(arm, 0.0) for step in self.ramp)]) > 0

    def weights(self, at: datetime, stopped: Stopped = ()) -> dict[str, float]:
        """Arm -> weight above 0, adding up to 1; empty where every arm that has one is stopped."""
        now: Mapping[str, float] = self.base_weights
        for step in self.ramp:
            if step.since <= at:
                now = step.weights
        left = {arm: w for arm, w in now.items() if w > 0 and (self.name, arm) not in stopped}
        total = sum(left.values())
        return {arm: weight / total for arm, weight in left.items()}


class Plan:
    """All experiments.

    Args:
        arms: every arm and its own weight.
        experiment: the single experiment, and the default arm.
        listed: the experiments where there are several.
    """

    def __init__(
        self,
        arms: tuple[ArmSettings, ...],
        experiment: ExperimentSettings,
        listed: tuple[ListedExperiment, ...] = (),
    ) -> None:
        own = {arm.name: arm.weight for arm in arms}
        self.arms = tuple(own)
        self.default_arm = experiment.default_arm or arms[0].name
        single = ListedExperiment(
            name=experiment.name,
            salt=experiment.salt,
            unit=experiment.unit,
            holdout=experiment.holdout,
            ramp=experiment.ramp,
        )
        self.experiments = {
            e.name: Experiment(e.name, e.salt, e.layer, e.part, e.unit, e.holdout, e.arms or own, e.ramp)
            for e in (listed or (single,))
        }

    @classmethod
    def of(cls, experiments: Experiments) -> Plan:
        return cls(experiments.arms, experiments.experiment, experiments.experiments)

    def assign(self, units: Units, at: datetime, stopped: Stopped = ()) -> Assignment:
        """The arm of a request.

        Args:
            units: what it may stick by.
            at: when it came: ramps go by it.
            stopped: arms that get no weight.
        """
        for experiment in self.experiments.values():
            found = units.of(experiment.unit)
            if found is None:
                continue
            kind, value = found
            unit = f"{kind}:{value}"
            if experiment.part != (0.0, 1.0):
                where = place(unit, experiment.layer)
                if not experiment.part[0] <= where < experiment.part[1]:
                    continue
            if experiment.holdout and held_out(unit, experiment.holdout, experiment.name, experiment.salt):
                return Assignment(experiment.name, self.default_arm, kind, name_hash(value), {}, holdout=True)
            weights = experiment.weights(at, stopped) or {self.default_arm: 1.0}
            arm = assign(unit, weights.items(), experiment.name, experiment.salt)
            return Assignment(experiment.name, arm, kind, name_hash(value), weights)
        return self._outside(units)

    def force(self, units: Units, arm: str, at: datetime) -> Assignment:
        """The same for a caller who chose the arm: it is in the experiment that it would be in, and marked."""
        own = self.assign(units, at)
        return Assignment(own.experiment, arm, own.unit, own.unit_hash, {}, forced=True)

    def _outside(self, units: Units) -> Assignment:
        found = units.of("video_id")
        assert found is not None  # there is always the content
        return Assignment(NO_EXPERIMENT, self.default_arm, found[0], name_hash(found[1]), {})
