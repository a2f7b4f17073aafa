"""How often an interval holds the truth, with units of several rows, ratio metrics and sampled labels."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from scipy.stats import norm

from analysis.findings.metrics import RATIOS, task_sums
from analysis.findings.numbers import number
from analysis.log.rows import TaskRows
from analysis.simulation.row_draws import Drawn, as_pairs, draw_rows
from analysis.simulation.studies import Progress, chance_band
from analysis.statistics.bootstrap import percentile_interval, pivot_interval, ratio_replicates, unit_weights
from analysis.statistics.cuped import adjust
from analysis.statistics.quantiles import quantile, ratio_interval
from analysis.statistics.ranking import ScoredRows, ece
from analysis.statistics.ratio import Array, UnitSums, difference, estimates, paired_differences

_Z: Final = float(norm.isf(0.025))
_TRUTH_UNITS: Final = 400_000
_TRUTH_DRAWS: Final = 5
Interval = tuple[float, float]


def coverage(units: int, repetitions: int, replicates: int, seed: int, progress: Progress) -> dict[str, Any]:
    """Share of repetitions in which each 95 % interval holds the truth.

    Args:
        units: U, of both arms.
        repetitions: experiments.
        replicates: of the bootstrap in each.
        seed: of everything.
        progress: of the repetitions.
    """
    truth = _truth(seed)
    rng = np.random.default_rng([seed, 6])
    hits: dict[str, int] = {}
    widths: dict[str, float] = {}
    for _ in progress(range(repetitions)):
        drawn = draw_rows(units, rng)
        for name, (key, (low, high)) in _intervals(drawn, replicates, rng).items():
            hits[name] = hits.get(name, 0) + (low <= truth[key] <= high)
            widths[name] = widths.get(name, 0.0) + (high - low)
    band = chance_band(repetitions, 0.95)
    rows = [
        {
            "interval": name,
            "covered": count / repetitions,
            "mean_width": number(widths[name] / repetitions, 4),
            "within_band": bool(band[0] <= count / repetitions <= band[1]),
        }
        for name, count in hits.items()
    ]
    naive = _naive(units, repetitions, truth, seed)
    return {
        "units": units,
        "repetitions": repetitions,
        "replicates": replicates,
        "nominal": 0.95,
        "band": band,
        "intervals": rows,
        "pooled_rows_covered": naive,
    }


def _arm_sums(drawn: Drawn) -> list[UnitSums]:
    labelled = drawn.rows.take(drawn.rows.labelled)
    every = task_sums(labelled, len(drawn.unit_arm))
    return [every.take(drawn.unit_arm == arm) for arm in (0, 1)]


def _truth(seed: int) -> dict[str, float]:
    """Values of the population, from draws some hundred times as large as an experiment, in which all is labelled."""
    rng = np.random.default_rng([seed, 5])
    draws = [_population(draw_rows(_TRUTH_UNITS, rng, sampled=False)) for _ in range(_TRUTH_DRAWS)]
    return {key: float(np.mean([draw[key] for draw in draws])) for key in draws[0]}


def _population(drawn: Drawn) -> dict[str, float]:
    values = {}
    control, treatment = (_values(side) for side in as_pairs(drawn))
    for m, name in enumerate(RATIOS):
        values[f"{name} control"] = float(control[m])
        values[f"{name} difference"] = float(treatment[m] - control[m])
    for arm in (0, 1):
        mine = drawn.rows.arm == arm
        ordered = np.sort(drawn.latency_ms[mine])
        for share in (0.5, 0.99):
            values[f"p{share} {arm}"] = float(ordered[int(share * len(ordered))])
    for share in (0.5, 0.99):
        values[f"p{100 * share:g} ratio"] = values[f"p{share} 1"] / values[f"p{share} 0"]
    side = as_pairs(drawn)[0]
    values["ece control"] = float(ece(_scored(side), side.weight[None, :])[0][0])
    return values


def _values(rows: TaskRows) -> Array:
    return task_sums(rows, int(rows.unit.max()) + 1).values


def _scored(rows: TaskRows) -> ScoredRows:
    names, dense = np.unique(rows.unit, return_inverse=True)
    return ScoredRows(rows.score, rows.positive, rows.weight, dense, len(names))


def _intervals(drawn: Drawn, replicates: int, rng: np.random.Generator) -> dict[str, tuple[str, Interval]]:
    """Interval -> which truth it is of, and its ends."""
    found: dict[str, tuple[str, Interval]] = {}
    sums = _arm_sums(drawn)
    each = [estimates(one) for one in sums]
    draws = [ratio_replicates(one, replicates, rng) for one in sums]
    past = [drawn.before[drawn.unit_arm == arm] for arm in (0, 1)]
    adjusted = adjust(sums[0], sums[1], past[0], past[1])
    pair_sums = [task_sums(side, len(drawn.unit_arm)) for side in as_pairs(drawn)]
    paired = paired_differences(pair_sums[1], pair_sums[0])
    for m, name in enumerate(RATIOS):
        key = f"{name} difference"
        found[f"{name}, control, delta"] = (f"{name} control", each[0][m].interval())
        found[f"{name}, control, bootstrap"] = (f"{name} control", percentile_interval(draws[0][:, m]))
        found[f"{name}, difference, delta"] = (key, difference(each[1][m], each[0][m]).interval())
        found[f"{name}, difference, bootstrap"] = (key, percentile_interval(draws[1][:, m] - draws[0][:, m]))
        found[f"{name}, difference, CUPED"] = (key, adjusted[m].difference.interval())
        found[f"{name}, difference, pairs"] = (key, paired[m].interval())
    for share in (0.5, 0.99):
        sides = []
        for arm in (0, 1):
            mine = drawn.rows.arm == arm
            sides.append(quantile(drawn.latency_ms[mine], drawn.rows.unit[mine], share, _Z))
        found[f"latency p{100 * share:g}, ratio"] = (f"p{100 * share:g} ratio", ratio_interval(sides[1], sides[0])[1:])
    found["ECE, control, bootstrap"] = ("ece control", _ece_interval(drawn, replicates, rng))
    return found


def _ece_interval(drawn: Drawn, replicates: int, rng: np.random.Generator) -> Interval:
    rows = _scored(drawn.rows.take(drawn.rows.labelled & (drawn.rows.arm == 0)))
    free, plain = ece(rows, rows.weight[None, :])
    draws = [ece(rows, rows.of_units(w))[0] for w in unit_weights(rows.units, replicates, rng)]
    return pivot_interval(float(free[0]), float(plain[0]), np.concatenate(draws))


def _naive(units: int, repetitions: int, truth: dict[str, float], seed: int) -> dict[str, float]:
    """What a test on pooled rows covers, which takes every row as independent: what it prevents to count units."""
    rng = np.random.default_rng([seed, 7])
    hits = np.zeros(len(RATIOS))
    for _ in range(repetitions):
        drawn = draw_rows(units, rng)
        sides = []
        for arm in (0, 1):
            rows = drawn.rows.take(drawn.rows.labelled & (drawn.rows.arm == arm))
            alone = TaskRows(**{**vars(rows), "unit": np.arange(len(rows.unit))})
            sides.append(estimates(task_sums(alone, len(rows.unit))))
        for m, name in enumerate(RATIOS):
            low, high = difference(sides[1][m], sides[0][m]).interval()
            hits[m] += low <= truth[f"{name} difference"] <= high
    return {name: float(hits[m] / repetitions) for m, name in enumerate(RATIOS)}
