"""The studies: what each statistic promises, and how often it keeps it. Each is seeded and returns a document."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from scipy.stats import beta, binom, kstest, norm

from analysis.findings.numbers import number
from analysis.plan.design import Design
from analysis.plan.power import fixed_power, sequential_power
from analysis.simulation.streams import Looks, Scenario, look_at, populate
from analysis.statistics.counts import mcnemar, sample_ratio
from analysis.statistics.ratio import Array, divide
from analysis.statistics.sequences import boundary, multinomial_log_e

ALPHA: Final = 0.05
PLANNED: Final = 1000
MIN_UNITS: Final = 200
"""Units that count, in each arm, before a sequence is read: as in the report."""
_FEWER: Final = (20, 50, 100)
"""What other minima would have given."""
Progress = Callable[[Iterable[int]], Iterable[int]]


def chance_band(repetitions: int, rate: float, level: float = 0.99) -> list[float]:
    """Between which shares a rate of ``rate`` lies in so many repetitions, by the exact binomial."""
    low, high = binom.interval(level, repetitions, rate)
    return [float(low / repetitions), float(high / repetitions)]


def upper_bound(hits: int, repetitions: int) -> float:
    """Exact one-sided 95 % upper bound of a rate (Clopper and Pearson, 1934)."""
    return 1.0 if hits == repetitions else float(beta.isf(0.05, hits + 1, repetitions - hits))


def no_effect(scenario: Scenario, repetitions: int, seed: int, progress: Progress) -> dict[str, Any]:
    """A/A: two equal arms. Shares, p-values at the end, and how often a look finds what is not there."""
    rng = np.random.default_rng([seed, 1])
    inside, p_values, ratio_p = 0, [], []
    sequential = peeking = ratio_sequential = 0
    early = dict.fromkeys(_FEWER, 0)
    low, high = binom.ppf([0.025, 0.975], scenario.units, scenario.share)
    within = float(np.diff(binom.cdf([low - 1, high], scenario.units, scenario.share))[0])
    shares = np.asarray([1 - scenario.share, scenario.share])
    population = populate(scenario, rng)
    for _ in progress(range(repetitions)):
        looks = look_at(population, rng)
        treated = looks.arrived[-1, 1]
        inside += bool(low <= treated <= high)
        z = divide(looks.difference, looks.error)
        p_values.append(float(2 * norm.sf(abs(z[-1]))))
        sequential += bool(leaves_out(looks, 0.0).any())
        for fewest in early:
            early[fewest] += bool(leaves_out(looks, 0.0, fewest).any())
        ready = looks.fewest >= MIN_UNITS
        peeking += bool((np.abs(z[ready]) > norm.isf(ALPHA / 2)).any())
        ratio_p.append(
            float(
                2
                * min(
                    binom.cdf(treated, scenario.units, scenario.share),
                    binom.sf(treated - 1, scenario.units, scenario.share),
                )
            )
        )
        ratio_sequential += bool(multinomial_log_e(looks.arrived, shares).max() >= np.log(1 / ALPHA))
    return {
        "units": scenario.units,
        "looks": scenario.looks,
        "repetitions": repetitions,
        "shares_within_95_bounds": inside / repetitions,
        "shares_band": chance_band(repetitions, within),
        "p_uniform_ks": _ks(np.asarray(p_values)),
        "sample_ratio_p_uniform_ks": _ks(np.minimum(1.0, ratio_p)),
        "one_look_false_positives": float(np.mean(np.asarray(p_values) < ALPHA)),
        "one_look_band": chance_band(repetitions, ALPHA),
        "sequential_false_positives": sequential / repetitions,
        "sequential_upper_bound": upper_bound(sequential, repetitions),
        "sequential_by_fewest_units": {str(fewest): hits / repetitions for fewest, hits in early.items()},
        "peeking_false_positives": peeking / repetitions,
        "sample_ratio_sequential_false_positives": ratio_sequential / repetitions,
    }  # fmt: skip


def leaves_out(looks: Looks, truth: float, fewest: int = MIN_UNITS) -> Any:
    """(L,) whether the confidence sequence leaves out the truth at each look; False while too few units count."""
    ready = looks.fewest >= fewest
    reach = boundary(np.maximum(looks.units, 1.0), PLANNED, ALPHA) * looks.error
    with np.errstate(invalid="ignore"):
        return ready & (np.abs(looks.difference - truth) >= reach)


def _ks(p_values: Array) -> dict[str, float | None]:
    found = kstest(p_values, "uniform")
    return {"statistic": number(float(found.statistic), 4), "p_value": number(float(found.pvalue), 4)}


def lost_units(units: int, repetitions: int, seed: int, progress: Progress) -> list[dict[str, Any]]:
    """Planted sample-ratio mismatches, and how often the tests see them at the levels of the report."""
    rng = np.random.default_rng([seed, 2])
    cases = {"none": 0.5, "1 point of share: 51 to 49": 0.51, "1 % of one arm's units lost": 0.5 / (0.5 + 0.5 * 0.99)}
    found = []
    for name, share in cases.items():
        fixed = sequential = either = 0
        for _ in progress(range(repetitions)):
            order = (rng.random(units) < share).astype(np.int64)
            test = sample_ratio(order, np.asarray([0.5, 0.5]))
            by_fixed, by_sequence = test.p_value < 0.001, test.always_valid_p < 0.01
            fixed, sequential, either = fixed + by_fixed, sequential + by_sequence, either + (by_fixed or by_sequence)
        z = abs(share - 0.5) / (0.5 / units**0.5)
        found.append(
            {
                "case": name,
                "share": number(share, 5),
                "units": units,
                "caught_one_look": fixed / repetitions,
                "caught_sequential": sequential / repetitions,
                "caught": either / repetitions,
                "arithmetic_one_look": number(
                    float(norm.sf(norm.isf(0.0005) - z) + norm.cdf(-norm.isf(0.0005) - z)), 3
                ),
            }
        )
    return found


def planted_effect(scenario: Scenario, repetitions: int, seed: int, progress: Progress) -> dict[str, Any]:
    """A planted gain of recall about as large as the plan promises to find in 80 %: how often it is found, and covered.

    The promise is for what the drawn population truly differs by.
    """
    design = design_of(scenario)
    gain = _gain_of(design, scenario.units)
    planted = replace(scenario, gain=gain)
    rng = np.random.default_rng([seed, 3])
    fixed = sequential = covered = 0
    spent = []
    population = populate(planted, rng)
    truth = population.difference
    for _ in progress(range(repetitions)):
        looks = look_at(population, rng)
        fixed += bool(abs(looks.difference[-1]) > norm.isf(ALPHA / 2) * looks.error[-1])
        crossed = leaves_out(looks, 0.0)
        sequential += bool(crossed.any())
        spent.append((crossed.argmax() + 1) / scenario.looks if crossed.any() else 1.0)
        covered += not leaves_out(looks, truth).any()
    promised_sequential, promised_share = sequential_power(design, scenario.units, truth)
    promised = fixed_power(design, scenario.units, truth)
    return {
        "units": scenario.units,
        "repetitions": repetitions,
        "gain": number(gain, 4),
        "true_difference": number(truth, 4),
        "one_look": {
            "promised": number(promised, 4),
            "found": fixed / repetitions,
            "band": chance_band(repetitions, promised),
        },
        "always_valid": {
            "promised": number(promised_sequential, 4),
            "found": sequential / repetitions,
            "band": chance_band(repetitions, promised_sequential),
            "promised_share_of_units": number(promised_share, 4),
            "share_of_units": float(np.mean(spent)),
        },
        "covered_at_all_looks": covered / repetitions,
    }


def design_of(scenario: Scenario) -> Design:
    """What an analyst would write into the plan of this scenario."""
    return Design(
        metric="recall",
        base_rate=float(np.mean(scenario.recalls)),
        counting_rows=scenario.positives,
        treatment_share=scenario.share,
        rows_a_unit=scenario.rows_a_unit,
        rows_variation=0.53,
        unit_correlation=scenario.correlation,
        review_flagged=1.0,
        review_passed=scenario.review,
        planned_units=PLANNED,
        looks=scenario.looks,
    )


def _gain_of(design: Design, units: int) -> float:
    """The effect that one look at the end finds with the design's power."""
    return float((norm.isf(design.alpha / 2) + norm.ppf(design.power)) * design.error(units))


def equal_pairs(pairs: int, repetitions: int, seed: int) -> dict[str, Any]:
    """McNemar on pairs of equally good arms, at the end and looked at after every pair."""
    rng = np.random.default_rng([seed, 4])
    exact = anytime = 0
    for _ in range(repetitions):
        draw = rng.random(pairs)
        test = mcnemar(draw < 0.1, (draw >= 0.1) & (draw < 0.2))
        exact += test.p_value < ALPHA
        anytime += test.always_valid_p < ALPHA
    return {
        "pairs": pairs,
        "repetitions": repetitions,
        "exact_false_positives": exact / repetitions,
        "always_valid_false_positives": anytime / repetitions,
        "always_valid_upper_bound": upper_bound(anytime, repetitions),
    }
