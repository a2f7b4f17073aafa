"""Up to which rate a service keeps up: the limits hold, and the queue is stationary."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.measurement.figures import StageSummary
from loadtest.measurement.queue import QueueState
from loadtest.objectives import Limits
from loadtest.verdict.checks import EVERYONE, bounds, number


@dataclass(frozen=True)
class Capacity:
    """What the stages show of the capacity.

    Attributes:
        per_s: the highest planned rate that was held, as every lower one was or may have been; 0: none was.
        undecided_per_s: rates above it at which the limits held, but whether the queue grew is not decided.
        growing_per_s: the lowest rate at which the limits held and the queue grew, if that is what bounds the capacity.
    """

    per_s: float
    undecided_per_s: tuple[float, ...] = ()
    growing_per_s: float | None = None

    @property
    def at_most_per_s(self) -> float:
        """The highest planned rate that may have been held."""
        return max((self.per_s, *self.undecided_per_s))

    def sentence(self) -> str:
        """In words, for the page and for stderr."""
        held = f"up to {number(self.per_s)} requests/s, of" if self.per_s else "at none of"
        said = f"The limits on all requests held, with a queue that did not grow, {held} the rates that were tried."
        if self.undecided_per_s:
            rates = ", ".join(map(number, self.undecided_per_s))
            said += f" Not decided: at {rates} requests/s they held, too shortly to tell whether the queue grew."
        if self.growing_per_s is not None:
            said += f" At {number(self.growing_per_s)} requests/s they held only while the queue grew."
        return said


def capacity_of(limits: Limits, stages: Sequence[StageSummary]) -> Capacity:
    """The capacity, by all stages of each rate. A queue that was stationary at a rate is so at every lower one."""
    held, undecided = 0.0, list[float]()
    for per_s, group in itertools.groupby(sorted(stages, key=_planned_per_s), _planned_per_s):
        found = list(group)
        states = {stage.queue.state for stage in found}
        if not all(check.passed for stage in found for check in bounds(EVERYONE, stage.overall, limits)):
            break
        if QueueState.GROWING in states:
            return Capacity(held, tuple(undecided), per_s)
        if states == {QueueState.STATIONARY}:
            held, undecided = per_s, []
        else:
            undecided.append(per_s)
    return Capacity(held, tuple(undecided))


def _planned_per_s(stage: StageSummary) -> float:
    return stage.stage.per_s
