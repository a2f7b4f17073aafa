"""The effect by day, and how long labels take."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from scipy.stats import norm

from analysis.findings.metrics import better
from analysis.findings.numbers import bounds, number, read_sequence
from analysis.findings.quality import primary_estimate
from analysis.log.read import DAY_MS
from analysis.log.rows import TaskRows
from analysis.question import Question
from analysis.statistics.ratio import Estimate

_FEWEST_DAYS: Final = 4
_QUANTILES: Final = {"p50": 0.5, "p90": 0.9}


def novelty_document(rows: TaskRows, question: Question) -> dict[str, Any]:
    """The primary difference of each day and of all days up to it, and whether it moves.

    The slope is weighted least squares over days with their errors; it takes days as independent, which units that
    come on several days are not quite. A p-value here is for one look.
    """
    labelled = rows.take(rows.labelled)
    days = labelled.time_ms // DAY_MS
    by_day: list[dict[str, Any]] = []
    daily: list[Estimate] = []
    names = np.unique(days)
    for day in names:
        one, _ = primary_estimate(labelled.take(days == day), question.primary)
        so_far, fewest = primary_estimate(labelled.take(days <= day), question.primary)
        found = read_sequence(so_far, fewest, question)
        daily.append(one)
        by_day.append(
            {
                "day": str(np.datetime64(int(day), "D")),
                "difference": number(one.value),
                "interval": bounds(*one.interval(question.alpha)),
                "so_far": number(so_far.value),
                "always_valid_interval": bounds(found.low, found.high),
            }
        )
    return {"by_day": by_day, **_trend(names - names.min() if len(names) else names, daily, question)}


def _trend(days: Any, daily: list[Estimate], question: Question) -> dict[str, Any]:
    usable = [k for k, one in enumerate(daily) if np.isfinite(one.value) and np.isfinite(one.error) and one.error > 0]
    if len(usable) < _FEWEST_DAYS:
        return {"slope_per_day": None, "slope_interval": [None, None], "slope_p": None, "wears_off": False}
    x = np.asarray([float(days[k]) for k in usable])
    y = np.asarray([daily[k].value for k in usable])
    weight = np.asarray([daily[k].error ** -2 for k in usable])
    centred = x - weight @ x / weight.sum()
    spread = float(weight @ centred**2)
    slope, error = float(weight @ (centred * y)) / spread, spread**-0.5
    reach = float(norm.isf(question.alpha / 2)) * error
    p = float(2 * norm.sf(abs(slope) / error))
    return {
        "slope_per_day": number(slope),
        "slope_interval": bounds(slope - reach, slope + reach),
        "slope_p": number(p),
        "wears_off": bool(p < question.alpha and better(question.primary, slope) < 0),
    }


def label_document(rows: TaskRows, end_ms: int) -> dict[str, Any]:
    """How many verdicts are labelled, and after how long.

    ``coverage``: the weighted number of labels over the number of verdicts: 1 where every verdict had its chance to be
    labelled and the probabilities are right; less while labels still come. ``young``: share of verdicts younger than
    the time within which nine of ten labels came. Delays are of labels that came: slow ones are not seen yet.
    """
    labelled = rows.labelled
    delay_h = (rows.label_ms - rows.time_ms) / 3_600_000
    # A video known by its name may have been labelled before this verdict.
    known = labelled & (delay_h >= 0)
    arms = []
    for arm in (0, 1):
        mine = rows.arm == arm
        delays = delay_h[mine & known]
        total = int(mine.sum())
        arms.append(
            {
                "verdicts": total,
                "labelled": int((mine & labelled).sum()),
                "positive": int((mine & labelled & rows.positive).sum()),
                "coverage": number(float(rows.weight[mine].sum()) / total) if total else None,
                "delay_h": {q: number(float(np.quantile(delays, s))) if len(delays) else None
                            for q, s in _QUANTILES.items()},
            }
        )  # fmt: skip
    delays = delay_h[known]
    young = None
    if len(delays):
        bound_ms = float(np.quantile(delays, 0.9)) * 3_600_000
        young = number(float(np.mean(rows.time_ms > end_ms - bound_ms)))
    return {"arms": arms, "young": young, "coverage_p": number(_coverage_p(rows))}


def _coverage_p(rows: TaskRows) -> float:
    """Of "both arms' verdicts are as likely to have been labelled", rows as units: what selects labels is a row."""
    parts = []
    for arm in (0, 1):
        weight = rows.weight[rows.arm == arm]
        if len(weight) < 2:
            return 1.0
        parts.append((float(weight.mean()), float(weight.var(ddof=1) / len(weight))))
    error = (parts[0][1] + parts[1][1]) ** 0.5
    return float(2 * norm.sf(abs(parts[1][0] - parts[0][0]) / error)) if error > 0 else 1.0
