"""Per task and arm: the metrics with their intervals, and treatment less control."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from analysis.findings.metrics import RANKED, RATIOS, task_sums
from analysis.findings.numbers import bounds, difference_document, estimate_document, number
from analysis.log.rows import Array, ExperimentRows, Ints, TaskRows
from analysis.question import Question
from analysis.statistics.bootstrap import percentile_interval, pivot_interval, ratio_replicates, unit_weights
from analysis.statistics.cuped import adjust
from analysis.statistics.ranking import ScoredRows, ece, max_recall
from analysis.statistics.ratio import Estimate, UnitSums, difference, estimates

CUPED_SHARE: Final = 0.2
"""Share of units with a past from which on differences are freed of it."""
_RANKED_REPLICATES: Final = 300
"""At most: they sort or bin every row in each."""


def quality_document(
    rows: ExperimentRows, task: str, question: Question, *, calibrated: bool, seed: int
) -> dict[str, Any]:
    """Metric -> both arms and their difference.

    Args:
        rows: of the experiment.
        task: its name.
        question: levels and replicates.
        calibrated: the flag score is a probability, so that its calibration can be judged.
        seed: of this task's bootstrap.
    """
    rng = np.random.default_rng([question.seed, seed])
    found = rows.tasks[task]
    sides = [found.take(found.labelled & (found.arm == arm)) for arm in (0, 1)]
    units = [np.flatnonzero(rows.unit_arm == arm) for arm in (0, 1)]
    sums = [_arm_sums(side, units[arm], rows.units) for arm, side in enumerate(sides)]
    replicates = [ratio_replicates(one, question.replicates, rng) for one in sums]
    each = [estimates(one) for one in sums]
    before = rows.earlier[task]
    past = float(np.mean(~np.isnan(before))) if len(before) else 0.0
    adjusted = adjust(sums[0], sums[1], before[units[0]], before[units[1]]) if past >= CUPED_SHARE else None
    metrics: dict[str, Any] = {}
    for m, name in enumerate(RATIOS):
        if name == "brier" and not calibrated:
            continue
        enough = min(each[0][m].units, each[1][m].units) >= question.min_units
        raw = difference(each[1][m], each[0][m])
        moved = replicates[1][:, m] - replicates[0][:, m]
        metrics[name] = {
            "arms": [
                estimate_document(each[arm][m], question)
                | {"bootstrap_interval": bounds(*percentile_interval(replicates[arm][:, m], question.alpha))}
                for arm in (0, 1)
            ],
            "enough_units": enough,
            **difference_document(raw, question, enough=enough),
            "bootstrap_interval": bounds(*percentile_interval(moved, question.alpha)),
        }
        if adjusted is not None:
            metrics[name]["cuped"] = difference_document(adjusted[m].difference, question, enough=enough) | {
                "variance_share": number(adjusted[m].variance_share),
            }
    ranked = _ranked(sides, question, rng, calibrated=calibrated)
    return {"units_with_a_past": number(past), "metrics": metrics, "ranked": ranked}


def deciding(metric: dict[str, Any]) -> dict[str, Any]:
    """The difference that decides: freed of the units' past where there is one. Chosen before any result is seen."""
    return dict(metric.get("cuped", metric))


def _arm_sums(side: TaskRows, units: Ints, every: int) -> UnitSums:
    """Sums of an arm over its own units, also of those without a label: they are part of its spread of covariates."""
    return task_sums(side, every).take(np.isin(np.arange(every), units))


def _ranked(sides: list[TaskRows], question: Question, rng: np.random.Generator, *, calibrated: bool) -> dict[str, Any]:
    """Metrics that are no ratio of sums: recall at fixed precision and the calibration error; bootstrap only."""
    draws = min(question.replicates, _RANKED_REPLICATES)
    per_arm = [_ranked_arm(_scored(side), draws, rng, calibrated=calibrated) for side in sides]
    document: dict[str, Any] = {}
    for name in per_arm[0]:
        (v0, p0, r0), (v1, p1, r1) = per_arm[0][name], per_arm[1][name]
        pivot = name == "ece"
        entry: dict[str, Any] = {
            "arms": [
                {"value": number(v), "bootstrap_interval": bounds(*_interval(v, p, r, question.alpha, pivot=pivot))}
                for v, p, r in ((v0, p0, r0), (v1, p1, r1))
            ],
            "difference": number(v1 - v0),
            "bootstrap_interval": bounds(*_interval(v1 - v0, p1 - p0, r1 - r0, question.alpha, pivot=pivot)),
        }
        if pivot:
            for arm in entry["arms"]:
                arm["bootstrap_interval"] = [b if b is None else max(0.0, b) for b in arm["bootstrap_interval"]]
        document[name] = entry
    return document


def _interval(value: float, plain: float, draws_R: Array, alpha: float, *, pivot: bool) -> tuple[float, float]:
    return pivot_interval(value, plain, draws_R, alpha) if pivot else percentile_interval(draws_R, alpha)


def _scored(side: TaskRows) -> ScoredRows:
    names, dense = np.unique(side.unit, return_inverse=True)
    return ScoredRows(side.score, side.positive, side.weight, dense, len(names))


def _ranked_arm(
    rows: ScoredRows, draws: int, rng: np.random.Generator, *, calibrated: bool
) -> dict[str, tuple[float, float, Array]]:
    """Metric -> value, uncorrected value, replicates."""
    nan = float("nan")
    if not rows.units:
        return {name: (nan, nan, np.full(draws, nan)) for name in (*RANKED, *(["ece"] if calibrated else []))}
    own = rows.weight[None, :]
    blocks = [rows.of_units(w) for w in unit_weights(rows.units, draws, rng)]
    found = {}
    for name, precision in RANKED.items():
        value = float(max_recall(rows, own, precision)[0])
        found[name] = (value, value, np.concatenate([max_recall(rows, block, precision) for block in blocks]))
    if calibrated:
        free, plain = ece(rows, own)
        found["ece"] = (float(free[0]), float(plain[0]), np.concatenate([ece(rows, block)[0] for block in blocks]))
    return found


def labelled_units(rows: TaskRows) -> list[int]:
    """Units with a label, of control and treatment."""
    return [len(np.unique(rows.unit[rows.labelled & (rows.arm == arm)])) for arm in (0, 1)]


def primary_estimate(rows: TaskRows, metric: str) -> tuple[Estimate, int]:
    """Treatment less control of one metric on some labelled rows, and the units that count in the smaller arm."""
    m = RATIOS.index(metric)
    names, dense = np.unique(rows.unit, return_inverse=True)
    sums = sum_rows(rows, dense, len(names))
    control, treatment = (estimates(sums[arm])[m] for arm in (0, 1))
    return difference(treatment, control), min(control.units, treatment.units)


def sum_rows(rows: TaskRows, dense: Ints, units: int) -> list[UnitSums]:
    """Sums of control and of treatment over the same numbering of units."""
    found = []
    for arm in (0, 1):
        chosen = rows.arm == arm
        side = rows.take(chosen)
        found.append(task_sums(TaskRows(**{**_fields(side), "unit": dense[chosen]}), units))
    return found


def _fields(rows: TaskRows) -> dict[str, Any]:
    return dict(vars(rows))
