"""Numbers as JSON takes them, and the document of a difference."""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.question import Question
from analysis.statistics.ratio import Estimate
from analysis.statistics.sequences import Sequential, sequential


def number(value: float, digits: int = 6) -> float | None:
    """Rounded to significant digits; None where it is undefined or infinite."""
    return float(f"{value:.{digits}g}") if np.isfinite(value) else None


def bounds(low: float, high: float) -> list[float | None]:
    """An interval."""
    return [number(low), number(high)]


def estimate_document(estimate: Estimate, question: Question) -> dict[str, Any]:
    """A share or a mean square, which lies in [0, 1], with its interval for one look."""
    low, high = estimate.interval(question.alpha)
    return {
        "value": number(estimate.value),
        "interval": bounds(float(np.maximum(low, 0.0)), float(np.minimum(high, 1.0))),
        "units": estimate.units,
    }


def read_sequence(estimate: Estimate, fewest: int, question: Question) -> Sequential:
    """The confidence sequence of a comparison; nothing is said of fewer units than ``min_units`` in the smaller arm."""
    found = sequential(estimate, planned=question.planned_units, alpha=question.alpha)
    return found if fewest >= question.min_units else Sequential(-np.inf, np.inf, 1.0)


def difference_document(estimate: Estimate, question: Question, *, enough: bool) -> dict[str, Any]:
    """A difference, its interval and p-value for one look, and both always valid.

    Args:
        estimate: treatment less control.
        question: alpha and the planned number of units.
        enough: whether both arms have the units that the confidence sequence asks for.
    """
    found = sequential(estimate, planned=question.planned_units, alpha=question.alpha)
    return {
        "difference": number(estimate.value),
        "error": number(estimate.error),
        "units": estimate.units,
        "interval": bounds(*estimate.interval(question.alpha)),
        "p_value": number(estimate.p_value()),
        "always_valid_interval": bounds(found.low, found.high) if enough else [None, None],
        "always_valid_p": number(found.p_value) if enough else 1.0,
    }
