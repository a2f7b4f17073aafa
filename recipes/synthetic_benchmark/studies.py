"""What is compared on which rows, and which outcome is expected; written before the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from recipes.synthetic_benchmark.draws import CASES, Corruption, Draw, by_scenario, lopez_paz, predictive
from recipes.synthetic_benchmark.learners import Contender
from training.config import DistillationConfig


@dataclass(frozen=True)
class Expectation:
    """``one`` against ``other`` should come out ``verdict``; the reason says where that comes from."""

    one: str
    other: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class Study:
    """One table: rows, contenders, and the reference that the others are compared with."""

    name: str
    about: str
    draw: Callable[[np.random.Generator], Draw]
    contenders: tuple[Contender, ...]
    reference: str
    expectations: tuple[Expectation, ...] = ()


_HARD: Final = DistillationConfig(lam=1.0, temperature=1.0)
"""lambda = T = 1, as in arXiv:1511.03643 section 4.1."""


def _plain(options: DistillationConfig, *methods: str) -> tuple[Contender, ...]:
    return tuple(Contender(method, method, options) for method in methods)


def _lopez_paz() -> tuple[Study, ...]:
    figures = {
        "clean_labels": ("better", "88 -> 95 %"),
        "clean_features": ("not distinguishable", "68 -> 70 %, not significant"),
        "relevant_features": ("better", "89 -> 97 %"),
        "sample_dependent": ("not distinguishable", "55 -> 56 %"),
    }
    return tuple(
        Study(
            f"lopez_paz/{case}",
            f"Lopez-Paz's case {case.replace('_', ' ')} (arXiv:1511.03643 section 4.1): n 200, d 50, lambda = T = 1.",
            lopez_paz(case),
            _plain(_HARD, "ce", "gend", "pfd", "pfd_joint", "self_distillation"),
            "ce",
            (Expectation("gend", "ce", figures[case][0], f"published: {figures[case][1]}"),),
        )
        for case in CASES
    )


KNOBS: Final = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
QUICK_KNOBS: Final = (0.0, 0.5, 1.0)


def knob_study(knob: float) -> Study:
    """One point of the rise-then-fall curve: the teacher's own soft targets alone (lambda = T = 1)."""
    return Study(
        f"knob/{knob:g}",
        f"Privileged feature at predictiveness {knob:g}.",
        predictive(knob),
        _plain(_HARD, "ce", "pfd", "gend", "cpfd"),
        "ce",
    )


def _rivals() -> tuple[Contender, ...]:
    """CPFD's readings, its controls and its rivals at the project's default options.

    Without ``pfd_joint``: its teacher is never asked after its training, so that corruption would pass it by.
    """
    base = DistillationConfig()

    def read(name: str, **options: object) -> Contender:
        return Contender(name, "cpfd", DistillationConfig.model_validate(base.model_dump() | options))

    return (
        *_plain(base, "ce", "self_distillation", "gend", "pfd", "cpfd"),
        read("cpfd mix", weighting="mix"),
        read("cpfd norm", weighting="norm"),
        read("cpfd max_prob", confidence="max_prob"),
        read("cpfd correct mix", confidence="correct", weighting="mix"),
        read("cpfd per class", per_class_norm=True),
        *_plain(base, "cpfd_constant", "cpfd_shuffled", "cpfd_inverted"),
        *_plain(base, "pckd_preview", "wsld", "ea_kd", "tpd"),
        *_plain(base, "self_distillation_crossfit", "pfd_crossfit", "cpfd_crossfit", "cpfd_preview"),
    )


def _scenarios() -> tuple[Study, ...]:
    wins = (
        Expectation("cpfd", "pfd", "better", "a teacher that contradicts the label is silenced"),
        Expectation("cpfd", "cpfd_shuffled", "better", "the weights must sit on the right rows"),
        Expectation("cpfd_crossfit", "pfd_crossfit", "better", "out of fold the confidence is not flattered"),
    )
    clean = (Expectation("cpfd", "pfd", "not better", "there is no fault for the weights to find"),)
    noisy = (Expectation("cpfd", "pfd", "not better", "a teacher that is right about a wrong label is silenced"),)
    cells: tuple[tuple[Corruption, int, float, tuple[Expectation, ...]], ...] = (
        ("none", 0, 0.0, clean),
        ("none", 0, 1.0, noisy),
        ("shuffled", 2, 0.0, wins),
        ("flipped", 1, 0.0, wins),
        ("shuffled", 2, 1.0, ()),
        ("flipped", 1, 1.0, ()),
    )
    return tuple(
        Study(
            f"scenario/{corruption}-{count}-noise-{noise:g}",
            f"Teacher's feature {corruption if count else 'intact'} in {count} of 4 scenarios; label noise {noise:g}.",
            by_scenario(corruption, count, noise),
            _rivals(),
            "pfd",
            expected,
        )
        for corruption, count, noise, expected in cells
    )


LOPEZ_PAZ: Final = _lopez_paz()
SCENARIO_STUDIES: Final = _scenarios()
