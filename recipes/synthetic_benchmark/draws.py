"""Rows of known origin: Lopez-Paz's four cases, the predictiveness knob, and teachers corrupted by scenario."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Case = Literal["clean_labels", "clean_features", "relevant_features", "sample_dependent"]
Corruption = Literal["none", "shuffled", "flipped"]
CASES: tuple[Case, ...] = ("clean_labels", "clean_features", "relevant_features", "sample_dependent")
ROWS, HELD_OUT, WIDTH = 200, 2000, 50
"""n and d of arXiv:1511.03643 section 4.1."""
_RELEVANT = 3
SCENARIOS = 4


@dataclass(frozen=True)
class Draw:
    """One seed's rows; stacked, those of S seeds (each array then has S in front).

    Attributes:
        regular: (N, D) what the student reads.
        privileged: (N, P) what a teacher reads besides, when it is trained.
        shown: (N, P) what the teacher reads when it writes its soft targets: ``privileged``, or corrupted.
        labels: (N,) in {0, 1}.
        validation_*: 200 more rows, for the teacher's calibration temperature.
        test_*: held-out rows, uncorrupted.
    """

    regular: Array
    privileged: Array
    shown: Array
    labels: Array
    validation_regular: Array
    validation_privileged: Array
    validation_labels: Array
    test_regular: Array
    test_privileged: Array
    test_labels: Array


Rows = tuple[Array, Array, Array]
"""(regular, privileged, labels)."""


def stack(draw: Callable[[np.random.Generator], Draw], seeds: Sequence[int], stream: int) -> Draw:
    """The draws of all seeds; ``stream`` sets one study's random numbers apart from another's."""
    drawn = [draw(np.random.default_rng([stream, seed])) for seed in seeds]
    return Draw(*(np.stack([getattr(one, field.name) for one in drawn]) for field in fields(Draw)))


def lopez_paz(case: Case) -> Callable[[np.random.Generator], Draw]:
    """The generator of one of the four cases of arXiv:1511.03643 section 4.1."""

    def draw(rng: np.random.Generator) -> Draw:
        direction = rng.normal(size=WIDTH)
        chosen = rng.permutation(WIDTH)[:_RELEVANT]
        return _split(_case_rows(case, rng, direction, chosen), lambda privileged: privileged)

    return draw


def _case_rows(case: Case, rng: np.random.Generator, direction: Array, chosen: NDArray[np.int64]) -> Rows:
    total = 2 * ROWS + HELD_OUT
    regular = rng.normal(size=(total, WIDTH))
    if case == "clean_labels":  # x* = <a, x>, y = 1[x* + e > 0]
        clean = regular @ direction
        return regular, clean[:, None], (clean + rng.normal(size=total) > 0).astype(float)
    if case == "clean_features":  # x* ~ N(0, I), x = x* + e, y = 1[<a, x*> > 0]
        noisy = regular + rng.normal(size=regular.shape)
        return noisy, regular, (regular @ direction > 0).astype(float)
    if case == "relevant_features":  # x* = x_J, y = 1[<a_J, x*> > 0]
        kept = regular[:, chosen]
        return regular, kept, (kept @ direction[chosen] > 0).astype(float)
    own = rng.permuted(np.tile(np.arange(WIDTH), (total, 1)), axis=1)[:, :_RELEVANT]  # J differs from row to row
    kept = np.take_along_axis(regular, own, axis=1)
    return regular, kept, ((kept * direction[own]).sum(axis=1) > 0).astype(float)


def predictive(knob: float) -> Callable[[np.random.Generator], Draw]:
    """Rows whose privileged feature is the more predictive of the label the higher the knob in [0, 1].

    y = 1[s + e > 0] with s a function of x and e noise that nothing in x tells of. The feature is
    x* = s + rho e + tau n. Turning the knob up first takes the measurement noise away (tau: 4 -> 0), which teaches the
    student about s; then it lets the outcome leak in (rho: 0 -> 1), as a count taken ever later after the event does.
    The rise and fall of arXiv:2209.08754 (method.md 2.2): what leaks in is not the student's to learn.
    """
    measured, leaked = max(0.0, 1 - 2 * knob), max(0.0, 2 * knob - 1)

    def draw(rng: np.random.Generator) -> Draw:
        total = 2 * ROWS + HELD_OUT
        direction = rng.normal(size=WIDTH)
        regular = rng.normal(size=(total, WIDTH))
        signal = regular @ direction / np.linalg.norm(direction)
        noise = rng.normal(size=total)
        feature = signal + leaked * noise + 4 * measured * rng.normal(size=total)
        labels = (signal + noise > 0).astype(float)
        return _split((regular, feature[:, None], labels), lambda privileged: privileged)

    return draw


def by_scenario(corruption: Corruption, scenarios: int, label_noise: float) -> Callable[[np.random.Generator], Draw]:
    """Rows of four scenarios, in some of which the teacher's privileged feature has broken since it was trained.

    x* = s + a little noise, y = 1[s + ``label_noise`` e > 0]. When soft targets are written, the feature
    of the first ``scenarios`` of four is dealt out to other rows (``shuffled``) or has its sign changed (``flipped``).
    """

    def draw(rng: np.random.Generator) -> Draw:
        total = 2 * ROWS + HELD_OUT
        direction = rng.normal(size=WIDTH)
        regular = rng.normal(size=(total, WIDTH))
        signal = regular @ direction / np.linalg.norm(direction)
        feature = signal + 0.1 * rng.normal(size=total)
        labels = (signal + label_noise * rng.normal(size=total) > 0).astype(float)
        scenario = np.arange(ROWS) % SCENARIOS
        order = np.arange(ROWS)
        for one in range(scenarios):
            members = np.flatnonzero(scenario == one)
            order[members] = rng.permutation(members)
        broken = scenario < scenarios

        def corrupt(privileged: Array) -> Array:
            if corruption == "shuffled":
                return privileged[order]
            return np.where(broken[:, None], -privileged, privileged) if corruption == "flipped" else privileged

        return _split((regular, feature[:, None], labels), corrupt)

    return draw


def _split(rows: Rows, corrupt: Callable[[Array], Array]) -> Draw:
    """Train, validation and test rows; features standardised on train, as a run does."""
    regular, privileged, labels = rows
    regular, privileged = (_standard(values) for values in (regular, privileged))
    train, validation, test = slice(0, ROWS), slice(ROWS, 2 * ROWS), slice(2 * ROWS, None)
    return Draw(
        regular[train],
        privileged[train],
        corrupt(privileged[train]),
        labels[train],
        regular[validation],
        privileged[validation],
        labels[validation],
        regular[test],
        privileged[test],
        labels[test],
    )


def _standard(values: Array) -> Array:
    train = values[:ROWS]
    return np.asarray((values - train.mean(axis=0)) / train.std(axis=0))
