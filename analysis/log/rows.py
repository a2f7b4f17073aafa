"""What the statistics read: arrays of one experiment. Units are numbered in the order of their arrival.

Legend: U units, N rows of a task, P pairs. ``arm`` is 0 for the control, 1 for the treatment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Assignment:
    """Who was given to which arm, forced and held-out units left out.

    Attributes:
        order: (U,) each unit's first arm, as its place in ``arms``, in the order of arrival.
        days: (U,) day of the first exposure, since 1970.
        arms: every arm of the experiment.
        crossed: unit hashes that met more than one arm.
        forced, holdout: exposures left out.
    """

    order: Ints
    days: Ints
    arms: tuple[str, ...]
    crossed: tuple[str, ...]
    forced: int
    holdout: int


@dataclass(frozen=True)
class Requests:
    """One row an exposure of the two arms: how it ended.

    Attributes:
        unit, arm, time_ms: (N,).
        ok: (N,) it got a verdict.
        code: (N,) text; ``no_decision`` where the log holds none.
        latency_ms, cpu_s: (N,) NaN where there is no decision.
    """

    unit: Ints
    arm: Ints
    time_ms: Ints
    ok: Bools
    code: NDArray[Any]
    latency_ms: Array
    cpu_s: Array


@dataclass(frozen=True)
class TaskRows:
    """Verdicts of one task, one row each.

    Attributes:
        unit, arm: (N,).
        time_ms: (N,) of the verdict.
        flagged: (N,).
        score: (N,) the flag score.
        positive: (N,) whether it should be flagged; False where it is not labelled.
        weight: (N,) 1 / the probability with which the row was chosen to be labelled; 0 where it is not labelled.
        views: (N,) NaN where they are not known.
        label_ms: (N,) when the label was told; NaN without one.
        slices: attribute -> (N,) its value as text, empty where it has none.
    """

    unit: Ints
    arm: Ints
    time_ms: Ints
    flagged: Bools
    score: Array
    positive: Bools
    weight: Array
    views: Array
    label_ms: Array
    slices: Mapping[str, NDArray[Any]]

    @property
    def labelled(self) -> Bools:
        return self.weight > 0

    def take(self, chosen: Bools | Ints) -> TaskRows:
        """The chosen rows, by mask or by place."""
        arrays = {name: getattr(self, name)[chosen] for name in _COLUMNS}
        return replace(self, **arrays, slices={name: values[chosen] for name, values in self.slices.items()})


_COLUMNS = ("unit", "arm", "time_ms", "flagged", "score", "positive", "weight", "views", "label_ms")


@dataclass(frozen=True)
class PairRows:
    """The same requests as both arms answered them: row i of both is one request, whoever answered the caller.

    ``arm`` in both is the arm that answered the caller.
    """

    control: TaskRows
    treatment: TaskRows


@dataclass(frozen=True)
class ExperimentRows:
    """All of one experiment.

    Attributes:
        assignment: of units to arms.
        units: U, of the two arms, crossed ones left out.
        unit_arm: (U,).
        requests: every exposure.
        tasks: task -> its verdicts that an arm was able to give.
        unsupported: task -> verdicts of (control, treatment) that the arm could not judge.
        pairs: task -> shadow pairs.
        earlier: task -> (U,) mean flag score of the unit before the experiment began; NaN without one.
        sources: source -> labels that count.
        begin_ms, end_ms: first and last exposure.
    """

    assignment: Assignment
    units: int
    unit_arm: Ints
    requests: Requests
    tasks: Mapping[str, TaskRows]
    unsupported: Mapping[str, tuple[int, int]]
    pairs: Mapping[str, PairRows]
    earlier: Mapping[str, Array]
    sources: Mapping[str, int]
    begin_ms: int
    end_ms: int
