"""How much is sent when: a plan is a few stages of constant rate, so it ends by itself.

    steps      0.25 to 1.5 times the reference rate: where does it stop keeping up?
    spike      calm, twice the reference rate, calm: does it recover?
    soak       half the reference rate for long: does anything grow?
    ramp-arm   half the reference rate, with one arm's share of it from 5 to 100 %

The reference rate is what the service is thought to manage (``--rate``), or what a short closed loop measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

SHAPES = ("steps", "spike", "soak", "ramp-arm")
MAX_TOTAL_S = 12 * 3600.0
MAX_PER_S = 10_000.0
MAX_EXTENSION_S = 120.0

# shape -> (relative length, multiple of the reference rate) of each stage
_LOADS = {
    # The lower steps, which objectives are asked of, are longer: fewer requests come in a second.
    "steps": ((1.5, 0.25), (2.5, 0.5), (1.0, 0.75), (1.0, 1.0), (1.0, 1.25), (1.0, 1.5)),
    "spike": ((2.0, 0.3), (1.0, 2.0), (2.0, 0.3)),
    "soak": ((1.0, 0.5),) * 6,
    "ramp-arm": ((1.0, 0.5),) * 5,
}
_ARM_SHARES = (0.05, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Stage:
    """A stretch of constant rate.

    Attributes:
        seconds: its length.
        per_s: arrivals a second, on average.
        load: the same as a multiple of the reference rate.
        arm_share: the share of the requests that go to the plan's arm; None: as the service assigns.
    """

    seconds: float
    per_s: float
    load: float
    arm_share: float | None = None


@dataclass(frozen=True)
class Plan:
    """Stages, one after the other, and then an end.

    Attributes:
        shape: its name.
        stages: in order.
        arm: which arm ``arm_share`` speaks of.
    """

    shape: str
    stages: tuple[Stage, ...]
    arm: str | None = None

    @property
    def total_s(self) -> float:
        """Seconds from the first stage's start to the last one's end."""
        return sum(stage.seconds for stage in self.stages)

    def starts(self) -> list[float]:
        """When each stage begins."""
        begun, starts = 0.0, []
        for stage in self.stages:
            starts.append(begun)
            begun += stage.seconds
        return starts

    @property
    def may_extend_s(self) -> float:
        """How much longer the stages may take, all together, to decide whether their queue grows: in steps alone."""
        return min(self.total_s, MAX_EXTENSION_S) if self.shape == "steps" else 0.0

    def ends_at(self, index: int) -> float:
        """When a stage ends."""
        return sum(stage.seconds for stage in self.stages[: index + 1])

    def extended(self, index: int, seconds: float) -> Plan:
        """The plan with one stage longer by ``seconds``."""
        longer = replace(self.stages[index], seconds=self.stages[index].seconds + seconds)
        return replace(self, stages=(*self.stages[:index], longer, *self.stages[index + 1 :]))

    def stage_at(self, at_s: float) -> int:
        """Index of the stage at ``at_s``; the last one's after the end."""
        begun = 0.0
        for index, stage in enumerate(self.stages):
            begun += stage.seconds
            if at_s < begun:
                return index
        return len(self.stages) - 1


def make_plan(shape: str, *, per_s: float, seconds: float, arm: str | None = None) -> Plan:
    """The plan of a shape.

    Args:
        shape: one of ``SHAPES``.
        per_s: the reference rate, arrivals a second.
        seconds: of the whole plan.
        arm: of ``ramp-arm``, and only of that.

    Raises:
        ValueError: no such shape, a bound exceeded, or an arm missing or too many.
    """
    if shape not in _LOADS:
        raise ValueError(f"there is no shape {shape}: choose one of {', '.join(SHAPES)}")
    if not 0 < seconds <= MAX_TOTAL_S:
        raise ValueError(f"a plan takes more than 0 and at most {MAX_TOTAL_S:.0f} seconds")
    if not 0 < per_s <= MAX_PER_S:
        raise ValueError(f"the reference rate is more than 0 and at most {MAX_PER_S:.0f} a second")
    if (shape == "ramp-arm") != (arm is not None):
        raise ValueError("ramp-arm, and no other shape, needs the name of an arm")
    loads = _LOADS[shape]
    whole = sum(length for length, _ in loads)
    shares = _ARM_SHARES if shape == "ramp-arm" else (None,) * len(loads)
    return Plan(
        shape,
        tuple(
            Stage(round(seconds * length / whole, 3), round(per_s * load, 4), load, share)
            for (length, load), share in zip(loads, shares, strict=True)
        ),
        arm,
    )
