"""Sample ratio and McNemar: against scipy, tea-tasting and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from analysis.statistics.counts import mcnemar, sample_ratio
from analysis.statistics.multiplicity import holm


def order(*counts: int) -> np.ndarray:
    arms = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(0).permutation(arms)


def test_the_sample_ratio_agrees_with_tea_tasting() -> None:
    # tea-tasting 1.14.0: SampleRatio(method="binom") of 560 and 440.
    found = sample_ratio(order(560, 440), np.array([0.5, 0.5]))
    assert found.p_value == pytest.approx(0.00016504987055045286)
    assert found.counts == (560, 440)
    assert found.expected == (500.0, 500.0)
    assert found.always_valid_p < 0.01


def test_of_three_arms_it_is_a_chi_square() -> None:
    shares = np.array([0.5, 0.25, 0.25])
    found = sample_ratio(order(480, 260, 270), shares)
    assert found.p_value == pytest.approx(chisquare([480, 260, 270], shares * 1010).pvalue)


def test_planned_shares_are_no_mismatch_however_uneven() -> None:
    found = sample_ratio(order(9000, 1000), np.array([0.9, 0.1]))
    assert found.p_value > 0.9
    assert found.always_valid_p > 0.2


def test_without_units_nothing_is_found() -> None:
    found = sample_ratio(np.array([], np.int64), np.array([0.5, 0.5]))
    assert (found.p_value, found.always_valid_p) == (1.0, 1.0)


def test_a_mismatch_at_the_start_is_not_forgotten() -> None:
    early = np.r_[np.zeros(300, np.int64), np.ones(300, np.int64)]
    assert sample_ratio(early, np.array([0.5, 0.5])).always_valid_p < 1e-6
    assert sample_ratio(early, np.array([0.5, 0.5])).p_value == 1.0


def test_mcnemar_agrees_with_statsmodels() -> None:
    # statsmodels 0.15.0: mcnemar([[50, 5], [17, 30]], exact=True).
    treatment = np.r_[np.ones(50), np.ones(5), np.zeros(17), np.zeros(30)].astype(bool)
    control = np.r_[np.ones(50), np.zeros(5), np.ones(17), np.zeros(30)].astype(bool)
    found = mcnemar(treatment, control)
    assert (found.treatment_right, found.control_right) == (5, 17)
    assert found.p_value == pytest.approx(0.01690053939819336)
    assert found.always_valid_p >= found.p_value


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_swapping_the_arms_swaps_the_counts_and_nothing_else(pairs: list[tuple[bool, bool]]) -> None:
    one, other = (np.array([pair[k] for pair in pairs], bool) for k in (0, 1))
    there, back = mcnemar(one, other), mcnemar(other, one)
    assert (there.treatment_right, there.control_right) == (back.control_right, back.treatment_right)
    assert (there.p_value, there.always_valid_p) == pytest.approx((back.p_value, back.always_valid_p))


def test_holm_agrees_with_statsmodels() -> None:
    # statsmodels 0.15.0: multipletests([0.01, 0.04, 0.03, 0.005], method="holm").
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert [found[name] for name in "abcd"] == pytest.approx([0.03, 0.06, 0.06, 0.02])
