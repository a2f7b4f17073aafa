"""Methods compared with each other on the same replicates: differences, Holm's adjustment, share of the gap closed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from training.distillation.registry import METHODS
from training.evaluation.bootstrap import (
    FEWEST_GROUPS,
    SIGNIFICANT,
    UNDECIDED,
    holm,
    interval,
    number,
    p_value,
    verdict,
)
from training.evaluation.metrics import Array

BASELINE, TEACHER, RIVAL, SUBJECT = "ce", "teacher", "pfd", "cpfd"
TAMPERED: Final = ("cpfd_constant", "cpfd_shuffled", "cpfd_inverted")
"""CPFD with manipulated weights: a gain that they share is not due to confidence."""
COMPARED: Final = ("f1", "pr_auc")
Means = Mapping[str, Mapping[str, Array]]
"""Method -> metric -> (1 + R,): the estimate, then each replicate's."""


def families(methods: Iterable[str], controls: Iterable[str] = ()) -> dict[str, list[tuple[str, str]]]:
    """Family -> its pairs (one, other), each read as ``one - other``. Holm's adjustment is within a family.

    Args:
        methods: of students, without the teacher.
        controls: that need no distillation, such as ``container_only``.
    """
    students = list(methods)
    rivals = [m for m in students if m not in (BASELINE, RIVAL, SUBJECT, *TAMPERED)]
    by_family = {
        "teacher": [(TEACHER, BASELINE)],
        "against the baseline": [(m, BASELINE) for m in students if m != BASELINE],
        "against PFD": [(m, RIVAL) for m in students if m not in (BASELINE, RIVAL)],
        "against CPFD": [(m, SUBJECT) for m in rivals],
        "against distillation without privileged features": [(m, _without_privileged(m)) for m in students],
        "CPFD against its tampered weights": [(SUBJECT, m) for m in TAMPERED],
        "against the controls": [(m, control) for m in (BASELINE, SUBJECT) for control in controls],
    }
    known = {TEACHER, *students, *controls}
    kept = {name: [pair for pair in pairs if set(pair) <= known] for name, pairs in by_family.items()}
    return {name: pairs for name, pairs in kept.items() if pairs}


def _without_privileged(method: str) -> str:
    """The same distillation from a teacher without privileged features, as a control; "" where there is none."""
    known = METHODS.get(method)
    if known is None or not (known.reads_soft_targets and known.reads_privileged):
        return ""
    return "self_distillation_crossfit" if known.cross_fitted else "self_distillation"


def too_few_groups(positive: int, negative: int) -> str | None:
    """Why no verdict is given on rows whose positives and negatives stand in so many groups; None where one is."""
    if min(positive, negative) >= FEWEST_GROUPS:
        return None
    return (
        f"held-out positives stand in {positive} groups and negatives in {negative}: nothing is called better or worse "
        f"with fewer than {FEWEST_GROUPS} of either"
    )


def compare(
    means: Means, methods: Iterable[str], controls: Iterable[str] = (), *, withheld: bool = False
) -> dict[str, Any]:
    """``one - other`` -> metric -> difference, 95 % interval, p-values and verdicts.

    ``verdict`` is the interval's own, ``adjusted_verdict`` holds at the 5 % level for the whole family together.
    """
    report: dict[str, Any] = {}
    for family, pairs in families(methods, controls).items():
        differences = {
            f"{one} - {other}": {metric: means[one][metric] - means[other][metric] for metric in COMPARED}
            for one, other in pairs
        }
        for metric in COMPARED:
            p_values = {
                pair: 1.0 if withheld else p_value(difference[metric][1:]) for pair, difference in differences.items()
            }
            adjusted = holm(p_values)
            for pair, difference in differences.items():
                entry = _difference(difference[metric], p_values[pair], adjusted[pair], withheld) | {"family": family}
                report.setdefault(pair, {})[metric] = entry
    return report


def _difference(values_R: Array, p: float, adjusted: float, withheld: bool) -> dict[str, Any]:
    bounds = interval(values_R[1:])
    estimate = number(values_R[0])
    word = UNDECIDED
    if adjusted < SIGNIFICANT and estimate:
        word = "better" if estimate > 0 else "worse"
    return {
        "difference": estimate,
        "interval": bounds,
        "verdict": UNDECIDED if withheld else verdict(bounds[0], bounds[1]),
        "p_value": round(p, 5),
        "p_holm": round(adjusted, 5),
        "adjusted_verdict": word,
    }


def relative_gain(means: Means, one: str, other: str, metric: str) -> dict[str, Any]:
    """``one / other - 1`` with its interval."""
    base_R = means[other][metric]
    gain_R = np.divide(means[one][metric], base_R, out=np.full(len(base_R), np.nan), where=base_R > 0) - 1
    return {"gain": number(gain_R[0]), "interval": interval(gain_R[1:])}


def gaps_closed(means: Means, methods: Iterable[str], *, withheld: bool = False) -> dict[str, Any]:
    """Method -> metric -> (method - baseline) / (teacher - baseline), undefined where the teacher is not better.

    Args:
        means: as ``compare`` takes them, as the rest.
        methods: of students.
        withheld: too few groups tell whether the teacher is better (``too_few_groups``).
    """
    students = [m for m in methods if m != BASELINE]
    if BASELINE not in means:
        return {}
    return {m: {metric: _gap_closed(means, m, metric, withheld) for metric in COMPARED} for m in students}


def _gap_closed(means: Means, method: str, metric: str, withheld: bool) -> dict[str, Any]:
    base_R = means[BASELINE][metric]
    gain_R, gap_R = means[method][metric] - base_R, means[TEACHER][metric] - base_R
    low, high = interval(gap_R[1:])
    if withheld:
        return {"share": None, "interval": None, "why": "too few groups tell whether the teacher is better"}
    if verdict(low, high) != "better":
        return {"share": None, "interval": None, "why": "the teacher is not distinguishably better than the baseline"}
    share_R = np.divide(gain_R, gap_R, out=np.full(len(gap_R), np.nan), where=gap_R != 0)
    return {"share": number(share_R[0]), "interval": interval(share_R[1:]), "why": None}
