"""Ratios over units: against tea-tasting and the binomial, and what must not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from analysis.statistics.cuped import adjust
from analysis.statistics.ratio import (
    Estimate,
    UnitSums,
    degrees_of_freedom,
    difference,
    estimates,
    influence,
    paired_differences,
    ratio_of,
    sum_by_unit,
)

I = np.arange(60)  # noqa: E741
TREATED = I % 2 == 1
NUMERATOR = ((I * 7) % 5).astype(float) + 0.5 * TREATED
DENOMINATOR = 1.0 + (I * 3) % 4
BEFORE = ((I * 11) % 6).astype(float) + (I * 7) % 5
NORMAL = 1.959963984540054


def one(numerator: np.ndarray, denominator: np.ndarray) -> UnitSums:
    return UnitSums(numerator[:, None].astype(float), denominator[:, None].astype(float))


def normal_interval(estimate: Estimate) -> tuple[float, float]:
    """tea-tasting's with ``use_t=False``."""
    return replace(estimate, freedom=np.inf).interval()


def arms(denominator: np.ndarray) -> list[UnitSums]:
    return [one(NUMERATOR[side], denominator[side]) for side in (~TREATED, TREATED)]


def test_the_delta_method_agrees_with_tea_tasting() -> None:
    # tea-tasting 1.14.0 (which would bring ibis and sqlglot): RatioOfMeans("n", "d", use_t=False) on these very rows.
    control, treatment = arms(DENOMINATOR)
    found = difference(estimates(treatment)[0], estimates(control)[0])
    assert found.value == pytest.approx(-0.16666666666666663)
    assert normal_interval(found) == pytest.approx((-0.5395011261353503, 0.20616779280201702))
    assert found.p_value() == pytest.approx(0.38094593916916963, abs=0.01)


def test_a_mean_is_a_ratio_with_a_denominator_of_one() -> None:
    # tea-tasting 1.14.0: Mean("y", use_t=False, equal_var=False).
    control, treatment = arms(np.ones(60))
    found = difference(estimates(treatment)[0], estimates(control)[0])
    assert (found.value, *normal_interval(found)) == pytest.approx((0.5, -0.22791234984801478, 1.227912349848015))


def test_cuped_agrees_with_tea_tasting() -> None:
    # tea-tasting 1.14.0: Mean("y", covariate="x", use_t=False, equal_var=False). Its slope is over both arms,
    # whose means are not taken out first; with 60 units that moves the difference by a twentieth of its error.
    control, treatment = arms(np.ones(60))
    found = adjust(control, treatment, BEFORE[~TREATED], BEFORE[TREATED])[0]
    assert found.difference.value == pytest.approx(0.06779661016949134, abs=0.05 * 0.5615 * 1.0)
    assert NORMAL * found.difference.error == pytest.approx((0.6180614446716252 + 0.48246822433264247) / 2, rel=0.01)
    assert found.variance_share < 0.65


def test_cuped_of_means_is_the_regression_on_arm_and_past() -> None:
    control, treatment = arms(np.ones(60))
    found = adjust(control, treatment, BEFORE[~TREATED], BEFORE[TREATED])[0]
    columns = np.stack([np.ones(60), TREATED, BEFORE], axis=1).astype(float)
    assert found.difference.value == pytest.approx(np.linalg.lstsq(columns, NUMERATOR, rcond=None)[0][1])


def test_a_share_of_single_rows_has_the_binomials_error() -> None:
    sums = one(np.r_[np.ones(30), np.zeros(70)], np.ones(100))
    found = estimates(sums)[0]
    assert found.error == pytest.approx((0.3 * 0.7 / 99) ** 0.5)
    assert (found.value, found.units) == (0.3, 100)


def test_units_without_a_row_that_counts_change_nothing() -> None:
    sums = one(NUMERATOR, DENOMINATOR)
    more = UnitSums(np.r_[sums.numerator, np.zeros((500, 1))], np.r_[sums.denominator, np.zeros((500, 1))])
    a, b = estimates(more)[0], estimates(sums)[0]
    assert (a.value, a.error, a.units) == pytest.approx((b.value, b.error, b.units))


def test_twice_the_same_row_in_a_unit_is_no_more_evidence() -> None:
    once = estimates(one(NUMERATOR, DENOMINATOR))[0]
    twice = estimates(one(2 * NUMERATOR, 2 * DENOMINATOR))[0]
    as_units = estimates(one(np.tile(NUMERATOR, 2), np.tile(DENOMINATOR, 2)))[0]
    assert twice.error == pytest.approx(once.error)
    assert as_units.error < 0.75 * once.error


def test_a_share_that_no_unit_moves_is_not_certain() -> None:
    found = estimates(one(np.ones(30), np.ones(30)))[0]
    assert found.value == 1.0
    assert 0.02 < found.error < 0.03


def test_equal_arms_on_the_same_rows_differ_by_nothing_for_certain() -> None:
    sums = one(NUMERATOR, DENOMINATOR)
    found = paired_differences(sums, sums)[0]
    assert (found.value, found.error, found.p_value()) == (0.0, 0.0, 1.0)


def test_what_is_undefined_is_nan_and_no_finding() -> None:
    nothing = estimates(one(np.zeros(5), np.zeros(5)))[0]
    assert np.isnan(nothing.value)
    assert nothing.p_value() == 1.0
    assert np.isnan(estimates(one(np.ones(1), np.ones(1)))[0].error)


def test_sums_over_units() -> None:
    sums = sum_by_unit(np.array([2, 0, 2]), np.array([[1.0], [5.0], [3.0]]), np.ones((3, 1)), 4)
    assert sums.numerator[:, 0].tolist() == [5, 0, 4, 0]
    assert sums.denominator[:, 0].tolist() == [1, 0, 2, 0]
    assert sums.contributing.tolist() == [2]


def test_the_ratio_of_two_arms_is_told_on_logarithms() -> None:
    found = ratio_of(Estimate(2.0, 0.2, 10), Estimate(1.0, 0.1, 10))
    assert (found.value, found.error) == pytest.approx((np.log(2), 0.1 * 2**0.5))
    assert np.isnan(ratio_of(Estimate(0.0, 0.1, 10), Estimate(1.0, 0.1, 10)).value)


def test_degrees_of_freedom_are_those_of_normal_units_and_fewer_of_heavy_tails() -> None:
    rng = np.random.default_rng(0)
    n = np.array([4000])
    normal = degrees_of_freedom(rng.normal(size=(4000, 1)), n)[0]
    assert normal == pytest.approx(4000, rel=0.15)
    assert degrees_of_freedom(rng.standard_t(5, size=(4000, 1)), n)[0] < 0.6 * normal
    assert degrees_of_freedom(np.ones((10, 1)), np.array([10]))[0] == np.inf
    assert degrees_of_freedom(np.eye(10)[:, :1], np.array([10]))[0] == pytest.approx(2 / 0.9)


def test_of_two_arms_the_degrees_of_freedom_are_welchs() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=40), rng.normal(size=25)
    values = [Estimate(float(x.mean()), float(x.std(ddof=1)) / len(x) ** 0.5, len(x), len(x) - 1) for x in (a, b)]
    found, oracle = difference(*values), ttest_ind(a, b, equal_var=False)
    assert found.p_value() == pytest.approx(oracle.pvalue)
    assert found.interval() == pytest.approx(tuple(oracle.confidence_interval()))


counts = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=30)


@settings(max_examples=60, deadline=None)
@given(counts, counts)
def test_swapping_the_arms_turns_the_signs(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    sides = [UnitSums(*(np.array([[float(row[k])] for row in rows]) for k in (0, 1))) for rows in (first, second)]
    there, back = (difference(estimates(sides[a])[0], estimates(sides[b])[0]) for a, b in ((0, 1), (1, 0)))
    np.testing.assert_allclose([there.value, there.error], [-back.value, back.error], rtol=1e-12)
    assert there.p_value() == pytest.approx(back.p_value())
    before = [np.arange(len(rows)) % 3.0 for rows in (first, second)]
    one_way = adjust(sides[0], sides[1], before[0], before[1])[0].difference
    other_way = adjust(sides[1], sides[0], before[1], before[0])[0].difference
    np.testing.assert_allclose([one_way.value, one_way.error], [-other_way.value, other_way.error], atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(counts, st.floats(0.1, 10))
def test_influence_adds_up_to_nothing_and_scale_does_not_matter(rows: list[tuple[int, int]], scale: float) -> None:
    sums = UnitSums(*(np.array([[float(row[k])] for row in rows]) for k in (0, 1)))
    scaled = UnitSums(scale * sums.numerator, scale * sums.denominator)
    if sums.denominator.sum() > 0:
        assert influence(sums).sum() == pytest.approx(0, abs=1e-9)
        np.testing.assert_allclose(estimates(scaled)[0].error, estimates(sums)[0].error, rtol=1e-9)


def test_cuped_takes_out_what_the_past_explains_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(size=4000)
    y = before + 0.3 * rng.normal(size=4000)
    treated = np.arange(4000) % 2 == 1
    control, treatment = one(y[~treated], np.ones(2000)), one(y[treated] + 0.1, np.ones(2000))
    helped = adjust(control, treatment, before[~treated], before[treated])[0]
    assert helped.variance_share == pytest.approx(0.09 / 1.09, rel=0.1)
    assert helped.difference.value == pytest.approx(0.1, abs=0.04)
    nothing = np.full(2000, np.nan)
    unchanged = adjust(control, treatment, nothing, nothing)[0]
    assert unchanged.variance_share == pytest.approx(1.0)
    assert unchanged.difference.value == pytest.approx(treatment.values[0] - control.values[0])
