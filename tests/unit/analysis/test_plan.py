"""Power before the start: against statsmodels, a normal probability, and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import norm

from analysis.plan.crossing import crossing_probability
from analysis.plan.design import Design
from analysis.plan.power import fixed_power, plan_document, sequential_power
from analysis.statistics.sequences import boundary

SIMPLE = Design(base_rate=0.8, counting_rows=1.0, rows_a_unit=1.0, rows_variation=0.0)


def test_one_look_agrees_with_statsmodels() -> None:
    # statsmodels 0.15.0: NormalIndPower().power(0.02 / 0.16 ** 0.5, nobs1=5000, alpha=0.05), and solve_power for 0.8.
    assert fixed_power(SIMPLE, 10_000, 0.02) == pytest.approx(0.7054180011138002, abs=1e-6)
    needed = plan_document(SIMPLE, 10_000, 0.02)["effect"]["units_needed_one_look"]
    assert needed == pytest.approx(2 * 6279.088407460961, abs=3)


def test_a_single_look_crosses_as_a_normal_does() -> None:
    reach = float(boundary(np.asarray(500.0), 100, 0.05))
    for drift in (0.0, 3.0):
        chance = norm.sf(reach - drift) + norm.cdf(-reach - drift)
        assert crossing_probability(drift, 1, 500, 100, 0.05)[0] == pytest.approx(chance, abs=1e-5)


def test_crossing_agrees_with_random_walks() -> None:
    rng = np.random.default_rng(0)
    looks = 40
    times = np.arange(1, looks + 1) / looks
    reach = boundary(8000 * times, 1000, 0.05) * np.sqrt(times)
    steps = rng.standard_normal((20_000, looks)) / looks**0.5 + 3.0 / looks
    hit = np.abs(np.cumsum(steps, axis=1)) >= reach
    spent = np.where(hit.any(axis=1), times[hit.argmax(axis=1)], 1.0)
    chance, share = crossing_probability(3.0, looks, 8000, 1000, 0.05)
    assert chance == pytest.approx(hit.any(axis=1).mean(), abs=0.015)
    assert share == pytest.approx(spent.mean(), abs=0.01)


@pytest.mark.parametrize("looks", [5, 50, 200])
def test_without_an_effect_it_crosses_at_most_alpha_of_the_time(looks: int) -> None:
    assert 0 < crossing_probability(0.0, looks, 10_000, 1000, 0.05)[0] < 0.05


@settings(max_examples=25, deadline=None)
@given(st.floats(0.05, 0.95), st.floats(0.05, 1), st.floats(1, 5), st.floats(0, 0.5), st.floats(0.05, 1))
def test_what_makes_an_experiment_weaker_does(
    base: float, review: float, rows: float, correlation: float, counting: float
) -> None:
    values = {"base_rate": base, "rows_a_unit": rows, "unit_correlation": correlation, "counting_rows": counting}
    design = Design(**values, review_passed=review)
    assert design.error(1000) > design.error(2000)
    assert design.row_variance >= Design(**values).row_variance - 1e-12
    assert design.design_effect >= 1
    assert fixed_power(design, 5000, 0.03) >= sequential_power(design, 5000, 0.03)[0] - 1e-3
    assert fixed_power(design, 5000, 0.03) == pytest.approx(fixed_power(design, 5000, -0.03))


def test_sampled_reviews_cost_what_the_weights_say() -> None:
    rng = np.random.default_rng(1)
    found = rng.random(400_000) < 0.8
    weight = np.where(found, 1.0, (rng.random(400_000) < 0.1) / 0.1)
    residual = weight * (found - 0.8)
    assert Design(review_passed=0.1).row_variance == pytest.approx(residual.var(), rel=0.03)
    assert Design(metric="miss", base_rate=0.2, review_passed=0.1).row_variance == pytest.approx(
        residual.var(), rel=0.03
    )
    assert Design(metric="precision", review_flagged=0.5).row_variance == pytest.approx(0.16 / 0.5)
    assert Design(metric="error_rate", review_flagged=0.1).row_variance == pytest.approx(0.16)


def test_the_plan_says_both_tests() -> None:
    found = plan_document(Design(review_passed=0.2), 50_000, 0.05)
    smallest = found["smallest_effect"]
    assert smallest["one_look"] < smallest["always_valid"] < 2 * smallest["one_look"]
    assert found["effect"]["units_needed_one_look"] < found["effect"]["units_needed_always_valid"]
    assert "effect" not in plan_document(Design(), 1000, None)


def test_a_power_below_alpha_is_refused() -> None:
    with pytest.raises(ValidationError, match="power must exceed alpha"):
        Design(power=0.01)
