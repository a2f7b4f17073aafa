"""Power, smallest effect and units needed, for one look at the end and for the always-valid test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from scipy.optimize import brentq
from scipy.stats import norm

from analysis.findings.numbers import number
from analysis.plan.crossing import crossing_probability
from analysis.plan.design import Design

_MOST_UNITS: Final = 1e9


def fixed_power(design: Design, units: float, effect: float) -> float:
    """Chance that one two-sided test at the end finds the effect."""
    z, shift = float(norm.isf(design.alpha / 2)), effect / design.error(units)
    return float(norm.sf(z - shift) + norm.cdf(-z - shift))


def planned_units(design: Design, units: float) -> float:
    """Counting units at which the sequence is narrowest: what the report must be told as ``--planned-units``."""
    return design.planned_units or max(1.0, units * design.counting_units_share / 5)


def sequential_power(design: Design, units: float, effect: float) -> tuple[float, float]:
    """Chance that the always-valid test finds the effect by the end, and the mean share of units it takes."""
    counting = max(1.0, units * design.counting_units_share)
    planned = planned_units(design, units)
    return crossing_probability(effect / design.error(units), design.looks, counting, planned, design.alpha)


def smallest_effect(design: Design, units: float, power_of: Callable[[float], float]) -> float:
    """The effect that is found with the power that is wanted."""
    error = design.error(units)
    return float(brentq(lambda effect: power_of(effect) - design.power, 1e-9 * error, 20 * error, xtol=1e-5 * error))


def plan_document(design: Design, units: float, effect: float | None) -> dict[str, Any]:
    """What the experiment can find.

    Args:
        design: of it.
        units: of both arms together, all that will come.
        effect: that matters, as a difference of shares; None: the smallest effect alone.
    """
    fixed = smallest_effect(design, units, lambda e: fixed_power(design, units, e))
    anytime = smallest_effect(design, units, lambda e: sequential_power(design, units, e)[0])
    document: dict[str, Any] = {
        "design": design.model_dump(mode="json"),
        "units": units,
        "standard_error": number(design.error(units), 4),
        "design_effect": number(design.design_effect, 4),
        "planned_units": round(planned_units(design, units)),
        "units_that_count": round(units * design.counting_units_share),
        "smallest_effect": {
            "one_look": number(fixed, 3),
            "always_valid": number(anytime, 3),
            "always_valid_mean_share_of_units": number(sequential_power(design, units, anytime)[1], 3),
        },
    }
    if effect:
        found, share = sequential_power(design, units, effect)
        document["effect"] = {
            "size": effect,
            "power_one_look": number(fixed_power(design, units, effect), 3),
            "power_always_valid": number(found, 3),
            "always_valid_mean_share_of_units": number(share, 3),
            "units_needed_one_look": _units_needed(design, lambda n: fixed_power(design, n, effect)),
            "units_needed_always_valid": _units_needed(design, lambda n: sequential_power(design, n, effect)[0]),
        }
    return document


def _units_needed(design: Design, power_of: Callable[[float], float]) -> int | None:
    """None where a thousand million units do not suffice."""
    low = 10.0
    if power_of(low) >= design.power:
        return int(low)
    if power_of(_MOST_UNITS) < design.power:
        return None
    return int(brentq(lambda n: power_of(n) - design.power, low, _MOST_UNITS, rtol=1e-4)) + 1
