"""Experiments that are looked at again and again, drawn by unit counts so that hundreds of them take minutes.

A unit arrives, sends a first session of videos, and half of the units come back later for a second one: what a unit
adds is not complete when it is first looked at. Its videos share its own recall. Flagged videos are always labelled,
others with a small probability and the weight that goes with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.ratio import Array, UnitSums, divide

_LATER: Final = 0.05
"""Mean time until a second session, as a share of the experiment; sessions after its end are not seen."""
_POPULATION: Final = 400_000


@dataclass(frozen=True)
class Scenario:
    """What is drawn.

    Attributes:
        units: U, of both arms.
        looks: at even distances in units.
        share: of the treatment.
        positives: share of videos that should be flagged.
        recalls: of the units of an arm, each value for as many units as the others.
        gain: of the treatment's recall in every unit.
        overkill: share of negatives that is flagged.
        review: probability with which a video that was not flagged is labelled.
        metric: ``f1`` or ``recall``.
    """

    units: int = 200_000
    looks: int = 200
    share: float = 0.5
    positives: float = 0.3
    recalls: tuple[float, ...] = (0.7, 0.9)
    gain: float = 0.0
    overkill: float = 0.1
    review: float = 0.2
    metric: Literal["f1", "recall"] = "f1"

    @property
    def rows_a_unit(self) -> float:
        """Mean number of videos that are seen: 2 at first, 2 of half of the units later, some of them too late."""
        return float(2.0 + 0.5 * 2.0 * (1 - _LATER * (1 - np.exp(-1 / _LATER))))

    @property
    def correlation(self) -> float:
        """Of two videos of a unit, in whether they are found."""
        r = np.asarray(self.recalls)
        return float(r.var() / (r.mean() * (1 - r.mean())))


@dataclass(frozen=True)
class Looks:
    """What is seen at each look.

    Attributes:
        difference, error: (L,) of the ratio, treatment less control.
        units: (L,) that count, in both arms.
        fewest: (L,) that count, in the smaller arm.
        arrived: (L, 2) units of control and of treatment.
    """

    difference: Array
    error: Array
    units: Array
    fewest: Array
    arrived: NDArray[np.int64]


@dataclass(frozen=True)
class Population:
    """Units from which experiments are drawn with replacement: what is true of them is known exactly.

    Attributes:
        scenario: by which they were made.
        first, both: (4, 2 P) of a unit's first session and of both its sessions: numerator, denominator, whether it
        counts,
            and, of ``both``, whether the unit comes back; the first P units as control judges them, then as treatment
            does.
    """

    scenario: Scenario
    first: Array
    both: Array

    @property
    def difference(self) -> float:
        """Treatment less control, where every second session is seen."""
        size = self.both.shape[1] // 2
        control, treatment = (self.both[:2, a * size : (a + 1) * size].sum(axis=1) for a in (0, 1))
        return float(treatment[0] / treatment[1] - control[0] / control[1])


def populate(scenario: Scenario, rng: np.random.Generator) -> Population:
    """A population of the scenario. Without a gain both arms judge every unit alike: nothing differs between them."""
    size = _POPULATION
    recall = np.asarray(scenario.recalls)[rng.integers(0, len(scenario.recalls), size)]
    back = rng.random(size) < 0.5
    sides = []
    for gain in (0.0, scenario.gain) if scenario.gain else (0.0,):
        first = _session(scenario, recall + gain, 1 + rng.poisson(1.0, size), rng)
        second = _session(scenario, recall + gain, np.where(back, 1 + rng.poisson(1.0, size), 0), rng)
        sides.append([np.stack([*sums, sums[1] > 0, back]) for sums in (first, first + second)])
    first, both = (np.concatenate([sides[0][k], sides[-1][k]], axis=1) for k in (0, 1))
    return Population(scenario, first, both)


def look_at(population: Population, rng: np.random.Generator) -> Looks:
    """One experiment on units of the population, at each of its looks."""
    looks, units = population.scenario.looks, population.scenario.units
    arm, first, both, later = _draw(population, rng)
    now = np.arange(units) * looks // units
    moments = np.zeros((6, 2 * looks + 1))
    _add(moments, arm * looks + now, first, 1.0)
    # A second session makes the unit's sums those of both. One that never comes, or after the end, changes nothing.
    seen = np.flatnonzero(later < looks)
    place = arm[seen] * looks + later[seen]
    _add(moments, place, both[:, seen], 1.0)
    _add(moments, place, first[:, seen], -1.0)
    running = np.cumsum(moments[:, :-1].reshape(6, 2, looks), axis=2)
    arrived = np.stack([np.cumsum(np.bincount(now[arm == a], minlength=looks)) for a in (0, 1)], axis=1)
    value, variance = _ratio(running)
    return Looks(
        value[1] - value[0], np.sqrt(variance.sum(axis=0)), running[5].sum(axis=0), running[5].min(axis=0), arrived
    )


def final_sums(population: Population, rng: np.random.Generator) -> tuple[UnitSums, UnitSums]:
    """Control and treatment at the end, as sums of units: what ``look_at`` must agree with."""
    arm, first, both, later = _draw(population, rng)
    sums = np.where(later < population.scenario.looks, both[:2], first[:2])
    every = UnitSums(sums[0][:, None], sums[1][:, None])
    return every.take(arm == 0), every.take(arm == 1)


def _draw(
    population: Population, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Array, Array, NDArray[np.int64]]:
    """Arm, first and both sessions, and the look that sees the second: far beyond the last where none does."""
    scenario, size = population.scenario, population.first.shape[1] // 2
    arm = (rng.random(scenario.units) < scenario.share).astype(np.int64)
    drawn = rng.integers(0, size, scenario.units) + size * arm
    first, both = population.first[:, drawn], population.both[:, drawn]
    time = np.arange(scenario.units) / scenario.units + rng.exponential(_LATER, scenario.units)
    later = np.where(both[3] > 0, time * scenario.looks, 10.0 * scenario.looks).astype(np.int64)
    return arm, first, both, later


def _session(scenario: Scenario, recall: Array, videos: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """(2, P): numerator and denominator."""
    positive = rng.binomial(videos, scenario.positives)
    found = rng.binomial(positive, recall)
    missed = rng.binomial(positive - found, scenario.review) / np.float64(scenario.review)
    if scenario.metric == "recall":
        return np.stack([found, found + missed]).astype(np.float64)
    alarms = rng.binomial(videos - positive, scenario.overkill)
    return np.stack([2.0 * found, 2.0 * found + missed + alarms])


def _add(moments: Array, place: NDArray[np.int64], sums: Array, sign: float) -> None:
    n, d, counts = sums[:3]
    for row, values in enumerate((n, d, n * n, d * d, n * d, counts)):
        moments[row] += sign * np.bincount(place, values, moments.shape[1])


def _ratio(running: Array) -> tuple[Array, Array]:
    n, d, nn, dd, nd, count = running
    value = divide(n, d)
    spread = divide(nn - 2 * value * nd + value**2 * dd, d**2)
    return value, spread * divide(count, count - 1.0)
