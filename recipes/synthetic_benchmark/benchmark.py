"""All studies -> one document of means, intervals and verdicts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from tqdm import tqdm

from recipes.synthetic_benchmark import learners
from recipes.synthetic_benchmark.draws import HELD_OUT, ROWS, WIDTH, stack
from recipes.synthetic_benchmark.learners import Scores, Soft, run_contender
from recipes.synthetic_benchmark.studies import (
    KNOBS,
    LOPEZ_PAZ,
    QUICK_KNOBS,
    SCENARIO_STUDIES,
    Expectation,
    Study,
    knob_study,
)
from recipes.synthetic_benchmark.verdicts import difference, mean_interval
from training.distillation.method import TeacherRole

FULL_SEEDS, QUICK_SEEDS = 40, 12
_LOG = logging.getLogger(__name__)


def run_benchmark(*, quick: bool) -> dict[str, Any]:
    """The benchmark's document: tables of every study, the rise-then-fall curve, and every expectation's outcome.

    Args:
        quick: 12 seeds in place of 40, and 3 points of the curve in place of 9.
    """
    seeds = range(QUICK_SEEDS if quick else FULL_SEEDS)
    knobs = QUICK_KNOBS if quick else KNOBS
    studies = [*LOPEZ_PAZ, *(knob_study(knob) for knob in knobs), *SCENARIO_STUDIES]
    results = {
        study.name: run_study(study, seeds, stream)
        for stream, study in enumerate(tqdm(studies, desc="studies", disable=None))
    }
    return {
        "seeds": list(seeds),
        "rows": {"train": ROWS, "validation": ROWS, "held_out": HELD_OUT, "width": WIDTH},
        "training": {
            "steps": learners.STEPS,
            "learning_rate": learners.LEARNING_RATE,
            "ridge": learners.RIDGE,
            "torch": torch.__version__.split("+")[0],
        },
        "studies": {study.name: _table(study, *results[study.name]) for study in studies},
        "curve": curve({knob: results[f"knob/{knob:g}"] for knob in knobs}),
    }


def run_study(study: Study, seeds: range, stream: int) -> tuple[dict[str, Scores], dict[TeacherRole, Soft]]:
    """Every contender's scores, and the teachers trained for them."""
    draw = stack(study.draw, seeds, stream)
    teachers: dict[TeacherRole, Soft] = {}
    scores = {one.name: run_contender(draw, one, teachers) for one in study.contenders}
    _LOG.info("%s done", study.name)
    return scores, teachers


def _table(study: Study, scores: Mapping[str, Scores], teachers: Mapping[TeacherRole, Soft]) -> dict[str, Any]:
    comparisons = len(scores) - 1
    rows: dict[str, dict[str, Any]] = {}
    for name, method_scores in scores.items():
        rows[name] = {
            "accuracy": _rounded(mean_interval(method_scores.accuracy)),
            "log_loss": _rounded(mean_interval(method_scores.log_loss)),
        }
        if name != study.reference:
            base = scores[study.reference]
            rows[name]["accuracy_difference"] = difference(
                method_scores.accuracy, base.accuracy, comparisons
            ).model_dump()
            rows[name]["log_loss_difference"] = difference(
                method_scores.log_loss, base.log_loss, comparisons, higher_is_better=False
            ).model_dump()
    return {
        "about": study.about,
        "reference": study.reference,
        "methods": rows,
        "teachers": {role: _rounded(mean_interval(soft.held_out.accuracy)) for role, soft in teachers.items()},
        "expectations": [_outcome(one, scores, comparisons) for one in study.expectations],
    }


def _outcome(expected: Expectation, scores: Mapping[str, Scores], comparisons: int) -> dict[str, Any]:
    outcome = difference(scores[expected.one].accuracy, scores[expected.other].accuracy, comparisons)
    held = outcome.verdict != "better" if expected.verdict == "not better" else outcome.verdict == expected.verdict
    return {**vars(expected), "found": outcome.model_dump(), "held": held}


def curve(points: Mapping[float, tuple[dict[str, Scores], dict[TeacherRole, Soft]]]) -> dict[str, Any]:
    """The students' gain over cross-entropy by predictiveness, and whether each rises and then falls.

    A student's curve rises and falls where its best inner point is better than both ends, the intervals being widened
    for the choice of that point.
    """
    knobs = list(points)
    comparisons = 2 * (len(knobs) - 2)
    document: dict[str, Any] = {
        "knobs": knobs,
        "teacher_accuracy": [_rounded(mean_interval(t["privileged"].held_out.accuracy)) for _, t in points.values()],
        "students": {},
    }
    for name in ("pfd", "gend", "cpfd"):
        gains = [scores[name].accuracy - scores["ce"].accuracy for scores, _ in points.values()]
        best = max(range(1, len(knobs) - 1), key=lambda k: float(gains[k].mean()))
        rise, fall = (difference(gains[best], gains[end], comparisons) for end in (0, -1))
        document["students"][name] = {
            "gain": [_rounded(mean_interval(gain)) for gain in gains],
            "best": knobs[best],
            "rise": rise.model_dump(),
            "fall": fall.model_dump(),
            "rises_then_falls": rise.verdict == "better" and fall.verdict == "better",
        }
    return document


def _rounded(values: tuple[float, ...]) -> list[float]:
    return [round(value, 5) for value in values]
