"""Did units fall into the arms as planned? An experiment that lost units of one arm compares different people."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from analysis.log.rows import Assignment
from analysis.question import Question
from analysis.statistics.counts import sample_ratio

FIXED_LEVEL: Final = 0.001
"""Of the fixed-horizon test. It is strict because reports are written again and again."""
SEQUENTIAL_LEVEL: Final = 0.01
"""Of the sequential test, over all looks together."""
_NAMED: Final = 20


def assignment_document(assignment: Assignment, question: Question) -> dict[str, Any]:
    """The sample-ratio test on unique units, and units that met more than one arm.

    A unit counts once, in its first arm, from its exposure: before anything that an arm does can lose it.
    """
    weights = np.asarray([question.shares.get(arm, 0.0) if question.shares else 1.0 for arm in assignment.arms])
    shares = weights / weights.sum()
    planned = shares > 0
    order = assignment.order
    # An arm that was to get nothing has a share of 0: any unit in it is a mismatch, which needs no test.
    strays = int((~planned[order]).sum())
    dense = np.cumsum(planned) - 1
    test = sample_ratio(dense[order[planned[order]]], shares[planned])
    mismatch = strays > 0 or test.p_value < FIXED_LEVEL or test.always_valid_p < SEQUENTIAL_LEVEL
    counts = np.bincount(order, minlength=len(shares))
    return {
        "mismatch": bool(mismatch),
        "units": len(order),
        "arms": {
            arm: {"units": int(counts[k]), "planned_share": float(shares[k]), "share": float(counts[k] / len(order))}
            for k, arm in enumerate(assignment.arms)
        },
        "planned_shares_given": bool(question.shares),
        "p_value": float(f"{test.p_value:.4g}"),
        "always_valid_p": float(f"{test.always_valid_p:.4g}"),
        "levels": {"p_value": FIXED_LEVEL, "always_valid_p": SEQUENTIAL_LEVEL},
        "by_day": _by_day(assignment),
        "crossed": {"units": len(assignment.crossed), "first": list(assignment.crossed[:_NAMED])},
        "excluded_exposures": {"forced": assignment.forced, "holdout": assignment.holdout},
    }


def _by_day(assignment: Assignment) -> list[dict[str, Any]]:
    """New units of each arm by day of their first exposure: where a mismatch begins says what caused it."""
    return [
        {
            "day": str(np.datetime64(int(day), "D")),
            "units": {
                arm: int(((assignment.days == day) & (assignment.order == k)).sum())
                for k, arm in enumerate(assignment.arms)
            },
        }
        for day in np.unique(assignment.days)
    ]
