"""Tests on counts: units per arm against their shares, and pairs that two arms judge differently."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, chisquare

from analysis.statistics.ratio import Array
from analysis.statistics.sequences import fair_coin_log_e, multinomial_log_e, p_of_log_e


@dataclass(frozen=True)
class SampleRatio:
    """Whether the arms got the shares of units that were planned.

    Attributes:
        counts: units of each arm.
        expected: by the shares.
        p_value: for one look: exact binomial for two arms, chi-square for more.
        always_valid_p: may be looked at daily.
    """

    counts: tuple[int, ...]
    expected: tuple[float, ...]
    p_value: float
    always_valid_p: float


def sample_ratio(order: NDArray[np.int64], shares_K: Array) -> SampleRatio:
    """The sample-ratio test over unique units.

    Args:
        order: (U,) arm of each unit in the order of arrival, in [0, K).
        shares_K: planned; add up to 1, none is 0.
    """
    arms = len(shares_K)
    counts = np.bincount(order, minlength=arms)
    expected = shares_K * len(order)
    if not len(order):
        return SampleRatio(tuple(map(int, counts)), tuple(map(float, expected)), 1.0, 1.0)
    if arms == 2:
        p = float(binomtest(int(counts[0]), len(order), float(shares_K[0])).pvalue)
    else:
        p = float(chisquare(counts, expected).pvalue)
    counts_TK = np.stack([np.cumsum(order == k) for k in range(arms)], axis=1)
    anytime = p_of_log_e(multinomial_log_e(counts_TK, shares_K))
    return SampleRatio(tuple(map(int, counts)), tuple(map(float, expected)), p, anytime)


@dataclass(frozen=True)
class McNemar:
    """Pairs on which exactly one arm is right.

    Attributes:
        treatment_right, control_right: how many of each.
        p_value: exact, for one look.
        always_valid_p: exact, may be looked at daily.
    """

    treatment_right: int
    control_right: int
    p_value: float
    always_valid_p: float


def mcnemar(treatment_right: NDArray[np.bool_], control_right: NDArray[np.bool_]) -> McNemar:
    """McNemar's exact test (1947): where the arms are equally good, a pair judged differently is a fair coin.

    Args:
        treatment_right, control_right: (P,) whether each arm judged the pair rightly, in the order of time; pairs must
        be
            independent: at most one of a unit.
    """
    treatment_only = treatment_right & ~control_right
    control_only = control_right & ~treatment_right
    tosses = treatment_only[treatment_only | control_only]
    heads = np.cumsum(tosses, dtype=np.int64)
    tails = np.arange(1, len(tosses) + 1, dtype=np.int64) - heads
    won = int(treatment_only.sum())
    p = float(binomtest(won, len(tosses)).pvalue) if len(tosses) else 1.0
    return McNemar(won, int(control_only.sum()), p, p_of_log_e(fair_coin_log_e(heads, tails)))
