"""Experiments that are looked at again and again, drawn by unit counts so that hundreds of them take minutes.

A unit arrives, sends a first session of videos, and half of the units come back later for a second one: what a unit adds is
not complete when it is first looked at. Its videos share its own recall. Flagged videos are always labelled, others with a
small probability and the weight that goes with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.ratio import Array, UnitSums, divide

_LATER: Final = 0.05
"""Mean time until a second session, as a share of the experiment; sessions after its end are not seen."""


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
        """Mean number of videos that are seen: 2 at first, 2 of half of the units later, of which some come too late."""
        return 2.0 + 0.5 * 2.0 * (1 - _LATER * (1 - np.exp(-1 / _LATER)))

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
        arrived: (L, 2) units of control and of treatment.
    """

    difference: Array
    error: Array
    units: Array
    arrived: NDArray[np.int64]


@dataclass(frozen=True)
class _Session:
    numerator: Array
    denominator: Array


def look_at(scenario: Scenario, rng: np.random.Generator) -> Looks:
    """One experiment, at each of its looks."""
    arm, first, second, later = _draw(scenario, rng)
    looks = scenario.looks
    now = np.arange(scenario.units) * looks // scenario.units
    both = _Session(first.numerator + second.numerator, first.denominator + second.denominator)
    moments = np.zeros((6, 2 * looks + 1))
    _add(moments, arm * looks + now, first, 1.0)
    # A second session makes the unit's sums those of both; one after the end falls into the last, unread place.
    place = np.where(later < looks, arm * looks + np.minimum(later, looks - 1), 2 * looks)
    _add(moments, place, both, 1.0)
    _add(moments, place, first, -1.0)
    running = np.cumsum(moments[:, :-1].reshape(6, 2, looks), axis=2)
    arrived = np.stack([np.cumsum(np.bincount(now[arm == a], minlength=looks)) for a in (0, 1)], axis=1)
    value, variance = _ratio(running)
    return Looks(value[1] - value[0], np.sqrt(variance.sum(axis=0)), running[5].sum(axis=0), arrived)


def final_sums(scenario: Scenario, rng: np.random.Generator) -> tuple[UnitSums, UnitSums]:
    """Control and treatment at the end, as sums of units: what ``look_at`` must agree with."""
    arm, first, second, later = _draw(scenario, rng)
    seen = (later < scenario.looks) * 1.0
    numerator = (first.numerator + seen * second.numerator)[:, None]
    denominator = (first.denominator + seen * second.denominator)[:, None]
    every = UnitSums(numerator, denominator)
    return every.take(arm == 0), every.take(arm == 1)


def _draw(scenario: Scenario, rng: np.random.Generator) -> tuple[NDArray[np.int64], _Session, _Session, NDArray[np.int64]]:
    units = scenario.units
    arm = (rng.random(units) < scenario.share).astype(np.int64)
    recall = np.asarray(scenario.recalls)[rng.integers(0, len(scenario.recalls), units)] + scenario.gain * arm
    first = _session(scenario, recall, 1 + rng.poisson(1.0, units), rng)
    back = rng.random(units) < 0.5
    second = _session(scenario, recall, np.where(back, 1 + rng.poisson(1.0, units), 0), rng)
    time = (np.arange(units) / units + rng.exponential(_LATER, units)) * scenario.looks
    later = np.where(back, np.minimum(time, 10.0 * scenario.looks).astype(np.int64), 10 * scenario.looks)
    return arm, first, second, later


def _session(scenario: Scenario, recall: Array, videos: NDArray[np.int64], rng: np.random.Generator) -> _Session:
    positive = rng.binomial(videos, scenario.positives)
    found = rng.binomial(positive, recall)
    missed = rng.binomial(positive - found, scenario.review) / scenario.review
    if scenario.metric == "recall":
        return _Session(found.astype(float), found + missed)
    alarms = rng.binomial(videos - positive, scenario.overkill)
    return _Session(2.0 * found, 2.0 * found + missed + alarms)


def _add(moments: Array, place: NDArray[np.int64], sums: _Session, sign: float) -> None:
    n, d = sums.numerator, sums.denominator
    for row, values in enumerate((n, d, n * n, d * d, n * d, (d > 0).astype(float))):
        moments[row] += sign * np.bincount(place, values, moments.shape[1])


def _ratio(running: Array) -> tuple[Array, Array]:
    n, d, nn, dd, nd, count = running
    value = divide(n, d)
    spread = divide(nn - 2 * value * nd + value**2 * dd, d**2)
    return value, spread * divide(count, count - 1.0)
