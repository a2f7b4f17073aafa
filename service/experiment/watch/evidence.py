"""Evidence against an assumption that may be looked at after every observation.

Each object is an e-process: the capital of somebody who bets against the assumption, and whose bets are fair or worse
where it holds. Then the probability that the capital ever reaches 1 / alpha is at most alpha (Ville 1939), however
often one looks. Mixtures share the capital among several bets at the start (arXiv:2010.09686, 4.4).

    Multinomial    categories come with given probabilities         Lindon and Malek, arXiv:2011.03567
    ShareAtMost    a share is at most p                             betting on a bounded mean, arXiv:2010.09686
    NoWorse        an arm's share is at most another's and a margin the same, on differences over the chance of each
    ShiftAtMost    a distribution is within a distance of another   universal inference, arXiv:1912.11436, eq. 8
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_FRACTIONS = np.asarray([0.9] + [2.0**-k for k in range(1, 10)])
"""Bets, as shares of the largest that cannot ruin."""
_JEFFREYS = 0.5


class Multinomial:
    """Against: category i comes with its probability.

    Args:
        shares: category -> its probability, adding up to 1.
    """

    def __init__(self, shares: Mapping[str, float]) -> None:
        self.log_e = 0.0
        self._shares: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self.reweigh(shares)

    def reweigh(self, shares: Mapping[str, float]) -> None:
        """Other probabilities from now on. The capital stays; what was learnt of the old ones does not."""
        if dict(shares) != self._shares:
            self._shares = dict(shares)
            self._counts = dict.fromkeys(shares, 0)

    def observe(self, category: str) -> None:
        """Raises KeyError for a category without a probability: that is no chance."""
        share = self._shares[category]
        # Dirichlet prior around the assumed shares, worth as many observations as there are categories.
        prior = len(self._shares)
        predicted = (self._counts[category] + prior * share) / (sum(self._counts.values()) + prior)
        self._counts[category] += 1
        self.log_e += math.log(predicted / share)


class _Bets:
    """A mixture of bets, each a fixed share of the largest that cannot ruin."""

    def __init__(self) -> None:
        self._log_capital = np.zeros(len(_FRACTIONS))

    @property
    def log_e(self) -> float:
        top = float(self._log_capital.max())
        return top + math.log(float(np.exp(self._log_capital - top).mean()))

    def _win(self, gain: float, largest_loss: float) -> None:
        self._log_capital += np.log1p(_FRACTIONS * gain / largest_loss)


class ShareAtMost(_Bets):
    """Against: the probability of an event is at most ``share`` each time."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share

    def observe(self, *, event: bool) -> None:
        self._win(float(event) - self._share, self._share)


class NoWorse(_Bets):
    """Against: the probability of an event in the arm is at most that in the reference arm and ``margin``, each time.

    Both may change with time and load: only the draw between the arms has to be as its weights say.
    """

    def __init__(self, margin: float) -> None:
        super().__init__()
        self._margin = margin

    def observe(self, *, in_arm: bool, event: bool, arm_weight: float, reference_weight: float) -> None:
        """One unit of the two arms.

        Args:
            in_arm: in the arm, not in the reference arm.
            event: whether it happened.
            arm_weight, reference_weight: the probabilities with which a unit has the one or the other.
        """
        total = arm_weight + reference_weight
        arm, reference = arm_weight / total, reference_weight / total
        gain = (event - self._margin) / arm if in_arm else -float(event) / reference
        self._win(gain, max(self._margin / arm, 1 / reference))


class ShiftAtMost:
    """Against: the distribution over bins lies within a distance of the reference.

    The distance is KL(reference || now). The population stability index is the sum of that and KL(now || reference): a
    distribution whose index is at most ``limit`` is within ``limit`` here, and so is seldom found guilty.

    Args:
        reference: each bin's probability, none of them 0.
        limit: of the distance.
    """

    def __init__(self, reference: Sequence[float], limit: float) -> None:
        self._reference = np.asarray(reference, np.float64)
        self._limit = limit
        self._log_predicted = 0.0
        self.counts: NDArray[np.float64] = np.zeros(len(self._reference))

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def psi(self) -> float:
        """The index of what was seen, half a score added to each bin; 0 before anything was."""
        if not self.total:
            return 0.0
        now = self._smoothed()
        return float(((now - self._reference) * np.log(now / self._reference)).sum())

    @property
    def distance(self) -> float:
        """The distance of what was seen, half a score added to each bin."""
        return self._distance(self._smoothed())

    @property
    def log_e(self) -> float:
        """The bins as predicted one by one, against the likeliest distribution within the limit."""
        return self._log_predicted - self._best_within() if self.total else 0.0

    def observe(self, category: int) -> None:
        predicted = (self.counts[category] + _JEFFREYS) / (self.total + _JEFFREYS * len(self.counts))
        self._log_predicted += math.log(predicted)
        self.counts[category] += 1

    def _smoothed(self) -> NDArray[np.float64]:
        held: NDArray[np.float64] = self.counts + _JEFFREYS
        return held / held.sum()

    def _distance(self, now: NDArray[np.float64]) -> float:
        with np.errstate(divide="ignore"):
            return float((self._reference * np.log(self._reference / now)).sum())

    def _best_within(self) -> float:
        """The highest log likelihood of the counts within the limit.

        The likeliest of all is the counts' own distribution; at the limit it is drawn to the reference, as by ``pull``
        observations of it (Lagrange): the smallest that is enough, found from below, so that it errs on the safe side.
        """
        total = float(self.counts.sum())
        low, high = 0.0, total
        if self._distance(self.counts / total) > self._limit:
            while self._distance(self._pulled(high)) > self._limit:
                low, high = high, 2 * high
            for _ in range(40):
                middle = (low + high) / 2
                low, high = (middle, high) if self._distance(self._pulled(middle)) > self._limit else (low, middle)
        seen = self.counts > 0
        return float((self.counts[seen] * np.log(self._pulled(low)[seen])).sum())

    def _pulled(self, pull: float) -> NDArray[np.float64]:
        drawn: NDArray[np.float64] = self.counts + pull * self._reference
        return drawn / drawn.sum()
