"""Always-valid inference: intervals and p-values that may be looked at as often as one likes, and acted on at once.

An interval of 95 % is right at one moment chosen beforehand. Looked at daily, "does it leave out 0" is wrong far more
often than once in twenty. A confidence sequence holds at all moments together with probability 1 - alpha.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

from analysis.statistics.ratio import Array, Estimate


def mixture_precision(planned: float, alpha: float) -> float:
    """rho^2 that makes the sequence narrow after ``planned`` units.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
    sequences" (arXiv:2103.06476), the approximation in appendix B.2. It must be chosen before the data are seen.
    """
    return float((-2 * np.log(alpha) + np.log(-2 * np.log(alpha)) + 1) / planned)


def boundary(units: Array, planned: float, alpha: float) -> Array:
    """By how many standard errors the sequence reaches after so many units, on each side; 1.96 at a single look of 5 %.

    sqrt((1 + 1 / (t rho^2)) log((t rho^2 + 1) / alpha^2)): arXiv:2103.06476, theorem 2.2, whose width is this times
    sigma / sqrt(t). It is Robbins' normal mixture, and the mixture SPRT of Johari, Pekelis and Walsh
    (arXiv:1512.04922).
    """
    x = np.maximum(units, 1e-12) * mixture_precision(planned, alpha)
    return np.asarray(np.sqrt((1 + 1 / x) * np.log((x + 1) / alpha**2)))


@dataclass(frozen=True)
class Sequential:
    """What may be said of an estimate whenever it is looked at.

    Attributes:
        low, high: of the confidence sequence; infinite where the estimate is undefined.
        p_value: always valid, of "the truth is 0"; 1 where the estimate is undefined.
    """

    low: float
    high: float
    p_value: float


def sequential(estimate: Estimate, *, planned: int, alpha: float) -> Sequential:
    """The confidence sequence and the always-valid p-value of an estimate.

    The p-value is the smallest level whose sequence leaves out 0, with the mixture that ``alpha`` fixes:
    sqrt(x + 1) exp(-z^2 x / (2 (x + 1))) with x = t rho^2.

    Args:
        estimate: by ``analysis.statistics.ratio``.
        planned: units at which it is narrowest.
        alpha: of all looks together.
    """
    if not np.isfinite(estimate.value) or not np.isfinite(estimate.error):
        return Sequential(-np.inf, np.inf, 1.0)
    reach = float(boundary(np.asarray(float(estimate.units)), planned, alpha)) * estimate.error
    p = always_valid_p(estimate, planned=planned, alpha=alpha)
    return Sequential(estimate.value - reach, estimate.value + reach, p)


def always_valid_p(estimate: Estimate, *, planned: int, alpha: float) -> float:
    """The p-value of ``sequential``, whatever the number of units."""
    if estimate.error == 0:
        return 1.0 if estimate.value == 0 else 0.0
    x = estimate.units * mixture_precision(planned, alpha)
    z = estimate.value / estimate.error
    return float(min(1.0, np.exp(0.5 * np.log1p(x) - 0.5 * z**2 * x / (x + 1))))


def fair_coin_log_e(heads: NDArray[np.int64], tails: NDArray[np.int64], spread: float = 1.0) -> Array:
    """log e-value of "the coin is fair" after so many heads and tails, against a Beta(spread, spread) mixture.

    B(h + s, t + s) / B(s, s) x 2^(h + t): the beta-binomial martingale (Robbins, 1970; Howard et al., arXiv:1810.08240,
    section 3). No approximation: it holds for any number of tosses.
    """
    flips = heads + tails
    return np.asarray(betaln(heads + spread, tails + spread) - betaln(spread, spread) + flips * np.log(2))


def multinomial_log_e(counts_TK: NDArray[np.int64], shares_K: Array, concentration: float = 100.0) -> Array:
    """(T,) log e-value of "units fall into K arms by these shares", after each of T counts.

    The Dirichlet-multinomial Bayes factor with a prior centred on the shares (Lindon and Malek, "Anytime-valid
    inference for multinomial count data", arXiv:2011.03567, eq. 6). No approximation.

    Args:
        counts_TK: units of each arm so far.
        shares_K: planned; add up to 1, none is 0.
        concentration: of the prior; more makes it quicker on small mismatches and slower on gross ones.
    """
    prior_K = concentration * shares_K
    total_T = counts_TK.sum(axis=1)
    mixed_T = gammaln(prior_K.sum()) - gammaln(prior_K.sum() + total_T)
    mixed_T = mixed_T + (gammaln(prior_K + counts_TK) - gammaln(prior_K)).sum(axis=1)
    return np.asarray(mixed_T - counts_TK @ np.log(shares_K))


def p_of_log_e(log_e_T: Array) -> float:
    """Always-valid p-value: 1 over the highest e-value so far (Ville's inequality)."""
    return float(min(1.0, np.exp(-log_e_T.max()))) if len(log_e_T) else 1.0
